/*-------------------------------------------------------------------------
 *
 * vector.c
 *	  The type vector: checks, text and binary forms, type modifier.
 *
 * Formats, limits, SQLSTATEs and primary messages are pgvector's, because
 * clients, dumps and stored tables depend on them.
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

#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "port/pg_bswap.h"
#include "utils/array.h"
#include "utils/guc.h"

#include "distance/distance.h"
#include "types/vector.h"
#include "vecdist_compat.h"

StaticAssertDecl(offsetof(Vector, x) == 8, "vector's elements start at byte 8 on disk");
StaticAssertDecl(VECTOR_MAX_DIM <= PG_INT16_MAX, "a dimension count fits int16");

VECDIST_FUNCTION_INFO_V1(vector_in);
VECDIST_FUNCTION_INFO_V1(vector_out);
VECDIST_FUNCTION_INFO_V1(vector_typmod_in);
VECDIST_FUNCTION_INFO_V1(vector_recv);
VECDIST_FUNCTION_INFO_V1(vector_send);

static char *simd_setting = NULL;

static bool check_simd(char **newval, void **extra, GucSource source);
static void assign_simd(const char *newval, void *extra);
static const char *show_simd(void);
static int	count_commas(const char *p);
static const char *parse_float(const char *p, const char *literal, float *result);
static const char *parse_float_slow(const char *p, const char *literal, float *result);
static void syntax_error(const char *literal, const char *detail) pg_attribute_noreturn();

/*
 * VectorInit
 *		Set up the subsystem when the library is loaded.
 */
void
VectorInit(void)
{
	DistanceInit();

	/* Kernels differ in speed only, so anybody may change it at any time. */
	DefineCustomStringVariable("vecdist.simd",
							   "Instruction set for distances: auto, avx2 or scalar.",
							   "With auto, SHOW tells which one was chosen.",
							   &simd_setting,
							   "auto",
							   PGC_USERSET, 0,
							   check_simd, assign_simd, show_simd);
}

static bool
check_simd(char **newval, void **extra, GucSource source)
{
	if (DistanceFind(*newval) != NULL)
		return true;
	GUC_check_errdetail("This CPU and this build can use \"auto\", \"scalar\"%s.",
						DistanceFind("avx2") ? " and \"avx2\"" : "");
	return false;
}

static void
assign_simd(const char *newval, void *extra)
{
	distance_kernels = DistanceFind(newval);
}

static const char *
show_simd(void)
{
	return distance_kernels->name;
}

Vector *
VectorCreate(int dim)
{
	Vector	   *result = (Vector *) palloc0(VECTOR_SIZE(dim));

	Assert(dim >= 1 && dim <= VECTOR_MAX_DIM);
	SET_VARSIZE(result, VECTOR_SIZE(dim));
	result->dim = dim;
	return result;
}

void
VectorCheckDim(int dim)
{
	if (dim < 1)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("vector must have at least 1 dimension"));
	if (dim > VECTOR_MAX_DIM)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("vector cannot have more than %d dimensions",
					   VECTOR_MAX_DIM),
				errdetail("The value has %d dimensions.", dim),
				errhint("Reduce the number of dimensions, or split the value over two columns."));
}

/*
 * VectorCheckTypmod
 *		Does a value with 'dim' dimensions fit a column of this modifier?
 */
void
VectorCheckTypmod(int32 typmod, int dim)
{
	if (typmod != -1 && typmod != dim)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("expected %d dimensions, not %d", typmod, dim),
				errhint("Compute the value with the model that filled the column, or change the column's type."));
}

void
VectorCheckSameDim(const Vector *a, const Vector *b)
{
	if (unlikely(a->dim != b->dim))
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("different vector dimensions %d and %d", a->dim, b->dim),
				errdetail("A distance is defined between vectors of equal length only."),
				errhint("Declare the column with its length, as in vector(%d), to refuse other lengths when they are stored.",
						a->dim));
}

/*
 * VectorCheckFinite
 *		Refuse NaN and infinities, which have no distance to anything.
 */
void
VectorCheckFinite(const float *x, int dim)
{
	for (int i = 0; i < dim; i++)
	{
		if (likely(isfinite(x[i])))
			continue;
		if (isnan(x[i]))
			ereport(ERROR,
					errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("NaN not allowed in vector"),
					errdetail("Element %d is NaN.", i + 1));
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("infinite value not allowed in vector"),
				errdetail("Element %d is infinite, or too large for type real.",
						  i + 1));
	}
}

/* ----------
 * Text form: [1,2.5,-3e-7], white space allowed around every token.
 * ----------
 */

/* As isspace() in the C locale. */
static inline bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline const char *
skip_spaces(const char *p)
{
	while (is_space(*p))
		p++;
	return p;
}

/* Text form to vector. */
Datum
vector_in(PG_FUNCTION_ARGS)
{
	const char *literal = PG_GETARG_CSTRING(0);
	int32		typmod = PG_GETARG_INT32(2);
	const char *p = skip_spaces(literal);
	float		x[VECTOR_MAX_DIM];
	int			dim = 0;
	Vector	   *result;

	if (*p != '[')
		syntax_error(literal, "The value must start with \"[\".");

	p = skip_spaces(p + 1);
	if (*p == ']')
		VectorCheckDim(0);

	for (;;)
	{
		if (dim == VECTOR_MAX_DIM)
			VectorCheckDim(dim + 1 + count_commas(p));
		p = parse_float(skip_spaces(p), literal, &x[dim]);
		dim++;

		p = skip_spaces(p);
		if (*p == ']')
			break;
		if (*p == '\0')
			syntax_error(literal, "The value ends before the closing \"]\".");
		if (*p != ',')
			syntax_error(literal, "Elements must be separated by commas.");
		p++;
	}

	p = skip_spaces(p + 1);
	if (*p != '\0')
		syntax_error(literal, "There is text after the closing \"]\".");

	VectorCheckTypmod(typmod, dim);
	VectorCheckFinite(x, dim);

	result = VectorCreate(dim);
	memcpy(result->x, x, sizeof(float) * dim);
	PG_RETURN_VECTOR_P(result);
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
parse_float(const char *p, const char *literal, float *result)
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
		return parse_float_slow(start, literal, result);

	if (*p == 'e' || *p == 'E')
	{
		bool		negative_exponent = (p[1] == '-');
		int			written = 0;
		const char *digits = p + ((p[1] == '-' || p[1] == '+') ? 2 : 1);

		for (p = digits; is_digit(*p) && p - digits < 4; p++)
			written = written * 10 + (*p - '0');
		if (p == digits)
			return parse_float_slow(start, literal, result);
		exponent += negative_exponent ? -written : written;
	}

	/* Only a comma, a bracket or white space may follow a number. */
	if (*p != ',' && *p != ']' && !is_space(*p))
		return parse_float_slow(start, literal, result);

	if (mantissa >= UINT64CONST(1) << 53 || exponent < -22 || exponent > 22)
		return parse_float_slow(start, literal, result);
	value = (double) mantissa;
	if (exponent < 0)
		value /= power_of_ten[-exponent];
	else
		value *= power_of_ten[exponent];

	/* Of a double's 52 bits a float keeps 23: look at the other 29. */
	memcpy(&bits, &value, sizeof(bits));
	if ((bits & ((UINT64CONST(1) << 29) - 1)) == UINT64CONST(1) << 28 ||
		value > FLT_MAX || (value < FLT_MIN && mantissa != 0))
		return parse_float_slow(start, literal, result);

	*result = (float) (negative ? -value : value);
	return p;
}

/*
 * The same through strtof(), which also knows what counts as a number: signs,
 * "nan", "infinity", hexadecimal.  A number too small for float becomes zero.
 */
static const char *
parse_float_slow(const char *p, const char *literal, float *result)
{
	char	   *end;

	errno = 0;
	*result = strtof(p, &end);
	if (end == p)
		syntax_error(literal, *p == '\0' ?
					 "The value ends before the closing \"]\"." :
					 "A number is missing or is not written as a number.");
	if (errno == ERANGE && isinf(*result))
		ereport(ERROR,
				errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("\"%s\" is out of range for type vector",
					   pnstrdup(p, end - p)),
				errdetail("Elements are stored as type real, whose largest value is about 3.4e38."));
	return end;
}

static void
syntax_error(const char *literal, const char *detail)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			errmsg("invalid input syntax for type vector: \"%s\"", literal),
			errdetail("%s", detail),
			errhint("Write a vector as a list of numbers in brackets, for example '[1,2.5,-3]'."));
}

/* Vector to text form: shortest digits that read back as the same value. */
Datum
vector_out(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	int			dim = vector->dim;
	char	   *result;
	char	   *p;

	/* the length of one number already has room for its comma */
	p = result = palloc(FLOAT_SHORTEST_DECIMAL_LEN * (Size) dim + 3);
	*p++ = '[';
	for (int i = 0; i < dim; i++)
	{
		if (i > 0)
			*p++ = ',';
		p += float_to_shortest_decimal_bufn(vector->x[i], p);
	}
	*p++ = ']';
	*p = '\0';

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_CSTRING(result);
}

/* vector(n): the modifier is n. */
Datum
vector_typmod_in(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			num_modifiers;
	int32	   *modifiers = ArrayGetIntegerTypmods(array, &num_modifiers);

	if (num_modifiers != 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid type modifier"),
				errhint("Write vector(n), where n is the number of dimensions."));
	if (modifiers[0] < 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("dimensions for type vector must be at least 1"),
				errdetail("The type modifier is %d.", modifiers[0]));
	if (modifiers[0] > VECTOR_MAX_DIM)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("dimensions for type vector cannot exceed %d",
					   VECTOR_MAX_DIM),
				errdetail("The type modifier is %d.", modifiers[0]));

	PG_RETURN_INT32(modifiers[0]);
}

/* ----------
 * Binary form: int16 dim, int16 0, then dim times float4; network byte order.
 * ----------
 */

Datum
vector_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int32		typmod = PG_GETARG_INT32(2);
	int			dim = (int16) pq_getmsgint(buf, sizeof(int16));
	int			unused = (int16) pq_getmsgint(buf, sizeof(int16));
	Vector	   *result;

	VectorCheckDim(dim);
	VectorCheckTypmod(typmod, dim);
	if (unused != 0)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("expected unused to be 0, not %d", unused),
				errdetail("The second 16-bit number of a vector's binary form is reserved."));

	result = VectorCreate(dim);
	pq_copymsgbytes(buf, (char *) result->x, sizeof(float) * dim);
#ifndef WORDS_BIGENDIAN
	for (int i = 0; i < dim; i++)
	{
		uint32		word;

		memcpy(&word, &result->x[i], sizeof(word));
		word = pg_ntoh32(word);
		memcpy(&result->x[i], &word, sizeof(word));
	}
#endif
	VectorCheckFinite(result->x, dim);
	PG_RETURN_VECTOR_P(result);
}

Datum
vector_send(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	enlargeStringInfo(&buf, VECTOR_SIZE(vector->dim));
	pq_sendint16(&buf, vector->dim);
	pq_sendint16(&buf, vector->unused);
	for (int i = 0; i < vector->dim; i++)
	{
		uint32		word;

		memcpy(&word, &vector->x[i], sizeof(word));
		pq_writeint32(&buf, word);
	}

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}
