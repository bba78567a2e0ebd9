/*-------------------------------------------------------------------------
 *
 * vector_list.c
 *	  Forms and checks that vector and halfvec have in common.
 *
 * Both directions of the text form are on the path of bulk loads and of
 * clients that send query vectors as text, so numbers are read by a short
 * exact method where possible (see parse_float) and written by PostgreSQL's
 * shortest round-trip algorithm.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "types/vector.h"
#include "types/vector_list.h"

static int	count_commas(const char *p);
static const char *parse_float(const VectorListType *type, const char *p,
							   const char *literal, float *result);
static const char *parse_float_slow(const VectorListType *type, const char *p,
									const char *literal, float *result);
static void read_numeric_array(ArrayType *array, float *x);

void
VectorListCheckDim(const VectorListType *type, int dim)
{
	if (dim < 1)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("%s must have at least 1 dimension", type->name));
	if (dim > type->max_dim)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("%s cannot have more than %d dimensions",
					   type->name, type->max_dim),
				errdetail("The value has %d dimensions.", dim),
				errhint("Reduce the number of dimensions, or split the value over two columns."));
}

void
VectorListCheckSameDim(const VectorListType *type, int dim_a, int dim_b)
{
	if (unlikely(dim_a != dim_b))
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("different %s dimensions %d and %d",
					   type->name, dim_a, dim_b),
				errdetail("Distances and arithmetic are defined between vectors of equal length only."),
				errhint("Declare the column with its length, as in %s(%d), to refuse other lengths when they are stored.",
						type->name, dim_a));
}

/* 'element' counts from 1 */
void
VectorListNotFinite(const VectorListType *type, bool is_nan, int element)
{
	if (is_nan)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("NaN not allowed in %s", type->name),
				errdetail("Element %d is NaN.", element));
	ereport(ERROR,
			errcode(ERRCODE_DATA_EXCEPTION),
			errmsg("infinite value not allowed in %s", type->name),
			errdetail("Element %d is infinite, or too large for type real.",
					  element));
}

/* An element that arithmetic made too large, or zero; counts from 1 */
void
VectorListOutOfRange(bool overflow, int element)
{
	if (overflow)
		ereport(ERROR,
				errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("value out of range: overflow"),
				errdetail("Element %d of the result is too large for the type.",
						  element));
	ereport(ERROR,
			errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			errmsg("value out of range: underflow"),
			errdetail("Element %d of the result is too small to differ from zero.",
					  element));
}

/*
 * VectorListClampRange
 *		Which of 'dim' elements are start to start + count - 1, counted from 1?
 *
 * Returns how many exist, at least one or an error; *first is where they
 * begin, counted from 0.
 */
int
VectorListClampRange(const VectorListType *type, int dim, int32 start,
					 int32 count, int *first)
{
	int64		end = Min((int64) start + count, (int64) dim + 1);
	int64		begin = Max(start, 1);

	if (count < 1 || end <= begin)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("%s must have at least 1 dimension", type->name),
				errdetail("The value has elements 1 to %d; asked for are %d from element %d on.",
						  dim, count, start));
	*first = begin - 1;
	return end - begin;
}

/* ----------
 * Text form: [1,2.5,-3e-7], white space allowed around every token.
 * ----------
 */

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * VectorListParse
 *		Read the text form into x, which has room for VECTOR_MAX_DIM numbers.
 *
 * Returns how many there are, at least one.  NaN and infinities are read as
 * such; the caller refuses them.
 */
int
VectorListParse(const VectorListType *type, const char *literal, float *x)
{
	const char *p = VectorListSkipSpaces(literal);
	int			dim = 0;

	if (*p != '[')
		VectorListSyntaxError(type, literal, "The value must start with \"[\".");

	p = VectorListSkipSpaces(p + 1);
	if (*p == ']')
		VectorListCheckDim(type, 0);

	for (;;)
	{
		if (dim == VECTOR_MAX_DIM)
			VectorListCheckDim(type, dim + 1 + count_commas(p));
		p = parse_float(type, VectorListSkipSpaces(p), literal, &x[dim]);
		dim++;

		p = VectorListSkipSpaces(p);
		if (*p == ']')
			break;
		if (*p == '\0')
			VectorListSyntaxError(type, literal, "The value ends before the closing \"]\".");
		if (*p != ',')
			VectorListSyntaxError(type, literal, "Elements must be separated by commas.");
		p++;
	}

	p = VectorListSkipSpaces(p + 1);
	if (*p != '\0')
		VectorListSyntaxError(type, literal, "There is text after the closing \"]\".");
	return dim;
}

static int
count_commas(const char *p)
{
	int			count = 0;

	for (; *p != '\0'; p++)
		count += (*p == ',');
	return count;
}

/*
 * Read one number at p, which is not at white space; return what follows it.
 *
 * The short way collects up to 18 digits into an integer and scales it once
 * by a power of ten that is exact in double: one rounding.  Rounding that
 * double to float is a second one, and goes wrong only if the first gave
 * exactly the middle of two floats.  That, more digits, large exponents,
 * values outside of float's normal range and all odd forms go to strtof().
 */
static const char *
parse_float(const VectorListType *type, const char *p, const char *literal,
			float *result)
{
	static const double power_of_ten[] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
		1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
	};
	const char *start = p;
	bool		negative = (*p == '-');
	uint64		mantissa = 0;
	int			num_digits = 0;
	int			exponent = 0;
	double		value;
	uint64		bits;

	if (negative)
		p++;
	for (; is_digit(*p); p++, num_digits++)
		mantissa = mantissa * 10 + (*p - '0');
	if (*p == '.')
	{
		p++;
		for (; is_digit(*p); p++, num_digits++, exponent--)
			mantissa = mantissa * 10 + (*p - '0');
	}
	/* A mantissa of too many digits has wrapped around: not used. */
	if (num_digits == 0 || num_digits > 18)
		return parse_float_slow(type, start, literal, result);

	if (*p == 'e' || *p == 'E')
	{
		bool		negative_exponent = (p[1] == '-');
		int			written = 0;
		const char *digits = p + ((p[1] == '-' || p[1] == '+') ? 2 : 1);

		for (p = digits; is_digit(*p) && p - digits < 4; p++)
			written = written * 10 + (*p - '0');
		if (p == digits)
			return parse_float_slow(type, start, literal, result);
		exponent += negative_exponent ? -written : written;
	}

	/* Only a comma, a bracket or white space may follow a number. */
	if (*p != ',' && *p != ']' && !VectorListIsSpace(*p))
		return parse_float_slow(type, start, literal, result);

	if (mantissa >= UINT64CONST(1) << 53 || exponent < -22 || exponent > 22)
		return parse_float_slow(type, start, literal, result);
	value = (double) mantissa;
	if (exponent < 0)
		value /= power_of_ten[-exponent];
	else
		value *= power_of_ten[exponent];

	/* Of a double's 52 bits a float keeps 23: look at the other 29. */
	memcpy(&bits, &value, sizeof(bits));
	if ((bits & ((UINT64CONST(1) << 29) - 1)) == UINT64CONST(1) << 28 ||
		value > FLT_MAX || (value < FLT_MIN && mantissa != 0))
		return parse_float_slow(type, start, literal, result);

	*result = (float) (negative ? -value : value);
	return p;
}

/*
 * The same through strtof(), which also knows what counts as a number: signs,
 * "nan", "infinity", hexadecimal.  A number too small for float becomes zero.
 */
static const char *
parse_float_slow(const VectorListType *type, const char *p, const char *literal,
				 float *result)
{
	char	   *end;

	errno = 0;
	*result = strtof(p, &end);
	if (end == p)
		VectorListSyntaxError(type, literal, *p == '\0' ?
							  "The value ends before the closing \"]\"." :
							  "A number is missing or is not written as a number.");
	if (errno == ERANGE && isinf(*result))
		VectorListNumberOutOfRange(type, p, end - p);
	return end;
}

/*
 * VectorListReadNumber
 *		The same for the text forms of other types, whose number is at p.
 */
const char *
VectorListReadNumber(const VectorListType *type, const char *p,
					 const char *literal, float *x)
{
	return parse_float(type, p, literal, x);
}

/* For the number of this length that is written at p. */
void
VectorListNumberOutOfRange(const VectorListType *type, const char *p, int length)
{
	ereport(ERROR,
			errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			errmsg("\"%s\" is out of range for type %s",
				   pnstrdup(p, length), type->name),
			errdetail("%s", type->range));
}

/* 'detail' is a sentence that says where the text form went wrong. */
void
VectorListSyntaxError(const VectorListType *type, const char *literal,
					  const char *detail)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			errmsg("invalid input syntax for type %s: \"%s\"",
				   type->name, literal),
			errdetail("%s", detail),
			errhint("Write a %s as %s.", type->name, type->form));
}

/*
 * VectorListPrint
 *		The text form: shortest digits that read back as the same float4.
 */
char *
VectorListPrint(const float *x, int dim)
{
	char	   *result;
	char	   *p;

	/* the length of one number already has room for its comma */
	p = result = palloc(FLOAT_SHORTEST_DECIMAL_LEN * (Size) dim + 3);
	*p++ = '[';
	for (int i = 0; i < dim; i++)
	{
		if (i > 0)
			*p++ = ',';
		p += float_to_shortest_decimal_bufn(x[i], p);
	}
	*p++ = ']';
	*p = '\0';
	return result;
}

/*
 * VectorListReceiveHeader
 *		The binary form begins with int16 dim, int16 0.  Returns dim, checked.
 */
int
VectorListReceiveHeader(const VectorListType *type, StringInfo buf, int32 typmod)
{
	int			dim = (int16) pq_getmsgint(buf, sizeof(int16));
	int			unused = (int16) pq_getmsgint(buf, sizeof(int16));

	VectorListCheckDim(type, dim);
	VectorCheckTypmod(typmod, dim);
	if (unused != 0)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("expected unused to be 0, not %d", unused),
				errdetail("The second 16-bit number of a %s's binary form is reserved.",
						  type->name));
	return dim;
}

/* vector(n): the modifier is n. */
int32
VectorListTypmodIn(const VectorListType *type, ArrayType *array)
{
	int			num_modifiers;
	int32	   *modifiers = ArrayGetIntegerTypmods(array, &num_modifiers);

	if (num_modifiers != 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid type modifier"),
				errhint("Write %s(n), where n is the number of dimensions.",
						type->name));
	if (modifiers[0] < 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("dimensions for type %s must be at least 1", type->name),
				errdetail("The type modifier is %d.", modifiers[0]));
	if (modifiers[0] > type->max_dim)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("dimensions for type %s cannot exceed %d",
					   type->name, type->max_dim),
				errdetail("The type modifier is %d.", modifiers[0]));
	return modifiers[0];
}

/* ----------
 * Arrays of integer, real, double precision or numeric
 * ----------
 */

/*
 * VectorListCheckArray
 *		Can this array be cast to 'type' with this modifier?  Returns its
 *		number of elements; VectorListReadArray() may follow.
 */
int
VectorListCheckArray(const VectorListType *type, ArrayType *array, int32 typmod)
{
	int			dim;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("array must be 1-D"),
				errdetail("The array has %d dimensions.", ARR_NDIM(array)));
	if (ARR_HASNULL(array) && array_contains_nulls(array))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("array must not contain nulls"),
				errhint("Remove the nulls with array_remove, or replace them by numbers."));

	dim = ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
	VectorListCheckDim(type, dim);
	VectorCheckTypmod(typmod, dim);
	return dim;
}

/*
 * VectorListReadArray
 *		The elements of a checked array, rounded to float4, into x.
 *
 * What is too large becomes infinite, which the caller refuses.
 */
void
VectorListReadArray(ArrayType *array, float *x)
{
	char	   *data = ARR_DATA_PTR(array);
	int			dim = ARR_DIMS(array)[0];

	/* Elements of fixed size lie side by side, aligned, without nulls. */
	switch (ARR_ELEMTYPE(array))
	{
		case INT4OID:
			for (int i = 0; i < dim; i++)
				x[i] = ((int32 *) data)[i];
			break;
		case FLOAT4OID:
			memcpy(x, data, sizeof(float4) * dim);
			break;
		case FLOAT8OID:
			for (int i = 0; i < dim; i++)
				x[i] = ((float8 *) data)[i];
			break;
		case NUMERICOID:
			read_numeric_array(array, x);
			break;
		default:
			ereport(ERROR,
					errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("unsupported array type"),
					errhint("Cast the array to real[] first."));
	}
}

/* Elements of an array without nulls into x. */
static void
read_numeric_array(ArrayType *array, float *x)
{
	Datum	   *elements;
	int			num_elements;

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &num_elements);
	for (int i = 0; i < num_elements; i++)
		x[i] = DatumGetFloat4(DirectFunctionCall1(numeric_float4, elements[i]));
}

/*
 * VectorListCreateArray
 *		A real[] without nulls, whose elements the caller fills in.
 */
ArrayType *
VectorListCreateArray(int dim)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + sizeof(float4) * dim;
	ArrayType  *result = (ArrayType *) palloc0(size);

	SET_VARSIZE(result, size);
	result->ndim = 1;
	result->dataoffset = 0;		/* no nulls */
	result->elemtype = FLOAT4OID;
	ARR_DIMS(result)[0] = dim;
	ARR_LBOUND(result)[0] = 1;
	return result;
}
