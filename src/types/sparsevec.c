/*-------------------------------------------------------------------------
 *
 * sparsevec.c
 *	  The type sparsevec: checks, text and binary forms, type modifier.
 *
 * Formats, limits, SQLSTATEs and primary messages are pgvector's.  Indices
 * count from 1 in the text form and from 0 everywhere else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "types/sparsevec.h"
#include "types/vector.h"
#include "vecdist_compat.h"

StaticAssertDecl(offsetof(Sparsevec, indices) == 16, "sparsevec's indices start at byte 16 on disk");

VECDIST_FUNCTION_INFO_V1(sparsevec_in);
VECDIST_FUNCTION_INFO_V1(sparsevec_out);
VECDIST_FUNCTION_INFO_V1(sparsevec_typmod_in);
VECDIST_FUNCTION_INFO_V1(sparsevec_recv);
VECDIST_FUNCTION_INFO_V1(sparsevec_send);

const VectorListType sparsevec_list_type = {
	.name = "sparsevec",
	.max_dim = SPARSEVEC_MAX_DIM,
	.range = "Elements are stored as type real, from about 1.4e-45 to 3.4e38.",
	.form = "pairs of an index, counted from 1, and a number, and the number of dimensions, for example '{1:1.5,3:-2}/5'",
};

/* An element of the text form. */
typedef struct Element
{
	int32		index;			/* counted from 0 */
	float		x;
} Element;

static const char *parse_elements(const char *p, const char *literal,
								  Element *element, int *nnz);
static const char *parse_element(const char *p, const char *literal, Element *element);
static const char *parse_integer(const char *p, int32 *result);
static int	compare_indices(const void *a, const void *b);
static void check_nnz(int nnz);

Sparsevec *
SparsevecCreate(int dim, int nnz)
{
	Sparsevec  *result = (Sparsevec *) palloc0(SPARSEVEC_SIZE(nnz));

	Assert(dim >= 1 && dim <= SPARSEVEC_MAX_DIM);
	Assert(nnz >= 0 && nnz <= SPARSEVEC_MAX_NNZ);
	SET_VARSIZE(result, SPARSEVEC_SIZE(nnz));
	result->dim = dim;
	result->nnz = nnz;
	return result;
}

Sparsevec *
SparsevecFromFloats(const float *x, int dim)
{
	Sparsevec  *result;
	int			nnz = 0;
	int			n = 0;

	for (int i = 0; i < dim; i++)
	{
		nnz += (x[i] != 0);
		if (unlikely(!isfinite(x[i])))
			VectorListNotFinite(&sparsevec_list_type, isnan(x[i]), i + 1);
	}
	check_nnz(nnz);

	result = SparsevecCreate(dim, nnz);
	for (int i = 0; i < dim; i++)
	{
		if (x[i] == 0)
			continue;
		result->indices[n] = i;
		SPARSEVEC_X(result)[n++] = x[i];
	}
	return result;
}

void
SparsevecToFloats(const Sparsevec *sparsevec, float *x)
{
	memset(x, 0, sizeof(float) * sparsevec->dim);
	for (int i = 0; i < sparsevec->nnz; i++)
		x[sparsevec->indices[i]] = SPARSEVEC_X(sparsevec)[i];
}

void
SparsevecCheckSameDim(const Sparsevec *a, const Sparsevec *b)
{
	if (unlikely(a->dim != b->dim))
		VectorListCheckSameDim(&sparsevec_list_type, a->dim, b->dim);
}

static void
check_nnz(int nnz)
{
	if (nnz > SPARSEVEC_MAX_NNZ)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("sparsevec cannot have more than %d non-zero elements",
					   SPARSEVEC_MAX_NNZ),
				errhint("Set the elements nearest to zero to zero, or split the value over two columns."));
}

/*
 * SparsevecCheckElements
 *		Refuse indices that are out of bounds, not ascending or doubled, and
 *		elements that are not finite.
 */
void
SparsevecCheckElements(const Sparsevec *sparsevec)
{
	const float *x = SPARSEVEC_X(sparsevec);

	for (int i = 0; i < sparsevec->nnz; i++)
	{
		int32		index = sparsevec->indices[i];

		if (index < 0 || index >= sparsevec->dim)
			ereport(ERROR,
					errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("sparsevec index out of bounds"),
					index < 0 ? errdetail("An index is less than 1.") :
					errdetail("An index is greater than the number of dimensions, %d.",
							  sparsevec->dim));
		if (i > 0 && index < sparsevec->indices[i - 1])
			ereport(ERROR,
					errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("sparsevec indices must be in ascending order"),
					errdetail("Index %d comes after %d.",
							  index + 1, sparsevec->indices[i - 1] + 1));
		if (i > 0 && index == sparsevec->indices[i - 1])
			ereport(ERROR,
					errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("sparsevec indices must not contain duplicates"),
					errdetail("Index %d occurs more than once.", index + 1));
		if (!isfinite(x[i]))
			VectorListNotFinite(&sparsevec_list_type, isnan(x[i]), index + 1);
	}
}

/* ----------
 * Text form: {1:1.5,3:-2}/5, white space allowed around every token.
 * ----------
 */

/*
 * Elements may come in any order.  Those written as zero are forgotten, with
 * their indices, before anything is checked.
 */
Datum
sparsevec_in(PG_FUNCTION_ARGS)
{
	const char *literal = PG_GETARG_CSTRING(0);
	int32		typmod = PG_GETARG_INT32(2);
	const char *p = VectorListSkipSpaces(literal);
	const char *end;
	Element    *element;
	int			max_nnz = 1;
	int32		dim;
	int			nnz;
	bool		ascending = true;
	Sparsevec  *result;

	if (*p != '{')
		VectorListSyntaxError(&sparsevec_list_type, literal,
							  "The value must start with \"{\".");
	for (const char *q = p; *q != '\0'; q++)
		max_nnz += (*q == ',');
	element = palloc_array(Element, Min(max_nnz, SPARSEVEC_MAX_NNZ));
	p = parse_elements(p + 1, literal, element, &nnz);

	p = VectorListSkipSpaces(p);
	if (*p != '/')
		VectorListSyntaxError(&sparsevec_list_type, literal,
							  "After the closing \"}\" follow \"/\" and the number of dimensions.");
	p = VectorListSkipSpaces(p + 1);
	end = parse_integer(p, &dim);
	if (end == p)
		VectorListSyntaxError(&sparsevec_list_type, literal,
							  "The number of dimensions is missing or is not an integer.");
	if (*VectorListSkipSpaces(end) != '\0')
		VectorListSyntaxError(&sparsevec_list_type, literal,
							  "There is text after the number of dimensions.");
	VectorListCheckDim(&sparsevec_list_type, dim);
	VectorCheckTypmod(typmod, dim);

	for (int i = 1; i < nnz; i++)
		ascending &= element[i - 1].index < element[i].index;
	if (!ascending)
		qsort(element, nnz, sizeof(Element), compare_indices);

	result = SparsevecCreate(dim, nnz);
	for (int i = 0; i < nnz; i++)
	{
		result->indices[i] = element[i].index;
		SPARSEVEC_X(result)[i] = element[i].x;
	}
	pfree(element);
	SparsevecCheckElements(result);
	PG_RETURN_SPARSEVEC_P(result);
}

/*
 * Read what follows the opening brace; return what follows the closing one.
 * 'element' has room for all elements that the type can have.
 */
static const char *
parse_elements(const char *p, const char *literal, Element *element, int *nnz)
{
	*nnz = 0;
	p = VectorListSkipSpaces(p);
	if (*p == '}')
		return p + 1;

	for (;;)
	{
		Element		next;

		p = VectorListSkipSpaces(parse_element(p, literal, &next));
		if (next.x != 0)
		{
			check_nnz(*nnz + 1);
			element[(*nnz)++] = next;
		}

		if (*p == '}')
			return p + 1;
		if (*p != ',')
			VectorListSyntaxError(&sparsevec_list_type, literal, *p == '\0' ?
								  "The value ends before the closing \"}\"." :
								  "Elements must be separated by commas.");
		p++;
	}
}

/* Read index:number; return what follows. */
static const char *
parse_element(const char *p, const char *literal, Element *element)
{
	const char *number;
	const char *end;
	int32		index;

	p = VectorListSkipSpaces(p);
	end = parse_integer(p, &index);
	number = VectorListSkipSpaces(end);
	if (end == p || *number != ':')
		VectorListSyntaxError(&sparsevec_list_type, literal, *number == '\0' ?
							  "The value ends before the closing \"}\"." :
							  "An element must be an integer, \":\" and a number.");
	number = VectorListSkipSpaces(number + 1);
	if (*number == '\0')
		VectorListSyntaxError(&sparsevec_list_type, literal,
							  "The value ends before the closing \"}\".");
	end = VectorListReadNumber(&sparsevec_list_type, number, literal, &element->x);

	/* What is too small for real would vanish from the list. */
	if (element->x == 0)
	{
		errno = 0;
		(void) strtof(number, NULL);
		if (errno == ERANGE)
			VectorListNumberOutOfRange(&sparsevec_list_type, number, end - number);
	}

	/* Below 1 it is out of bounds, by how much does not matter. */
	element->index = Max(index, 0) - 1;
	return end;
}

/*
 * Read an integer; return what follows it, or p if there is none.  What is
 * beyond the range of int32 becomes its nearest value.
 */
static const char *
parse_integer(const char *p, int32 *result)
{
	const char *digits = p + (*p == '-' || *p == '+');
	const char *end = digits;
	int64		value = 0;

	for (; *end >= '0' && *end <= '9'; end++)
	{
		value = value * 10 + (*end - '0');
		value = Min(value, PG_INT32_MAX);
	}
	*result = *p == '-' ? -value : value;
	return end > digits ? end : p;
}

static int
compare_indices(const void *a, const void *b)
{
	int32		index_a = ((const Element *) a)->index;
	int32		index_b = ((const Element *) b)->index;

	return (index_a > index_b) - (index_a < index_b);
}

/* Shortest digits that read back as the same float4. */
Datum
sparsevec_out(PG_FUNCTION_ARGS)
{
	Sparsevec  *sparsevec = PG_GETARG_SPARSEVEC_P(0);
	const float *x = SPARSEVEC_X(sparsevec);
	char	   *result;
	char	   *p;

	/* an index and a colon have up to 11 characters, the frame up to 14 */
	p = result = palloc((11 + FLOAT_SHORTEST_DECIMAL_LEN) * (Size) sparsevec->nnz + 14);
	*p++ = '{';
	for (int i = 0; i < sparsevec->nnz; i++)
	{
		if (i > 0)
			*p++ = ',';
		p += pg_ltoa(sparsevec->indices[i] + 1, p);
		*p++ = ':';
		p += float_to_shortest_decimal_bufn(x[i], p);
	}
	*p++ = '}';
	*p++ = '/';
	pg_ltoa(sparsevec->dim, p);

	PG_FREE_IF_COPY(sparsevec, 0);
	PG_RETURN_CSTRING(result);
}

Datum
sparsevec_typmod_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VectorListTypmodIn(&sparsevec_list_type,
									   PG_GETARG_ARRAYTYPE_P(0)));
}

/* ----------
 * Binary form: int32 dim, int32 nnz, int32 0, then nnz times int32 index, then
 * nnz times float4; network byte order.
 * ----------
 */

Datum
sparsevec_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int32		typmod = PG_GETARG_INT32(2);
	int32		dim = pq_getmsgint(buf, sizeof(int32));
	int32		nnz = pq_getmsgint(buf, sizeof(int32));
	int32		unused = pq_getmsgint(buf, sizeof(int32));
	Sparsevec  *result;
	float	   *x;

	VectorListCheckDim(&sparsevec_list_type, dim);
	if (nnz < 0)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("sparsevec cannot have negative number of elements"),
				errdetail("The binary form says %d.", nnz));
	check_nnz(nnz);
	if (nnz > dim)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("sparsevec cannot have more elements than dimensions"),
				errdetail("The binary form says %d elements and %d dimensions.",
						  nnz, dim));
	VectorCheckTypmod(typmod, dim);
	if (unused != 0)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("expected unused to be 0, not %d", unused),
				errdetail("The third number of a sparsevec's binary form is reserved."));

	result = SparsevecCreate(dim, nnz);
	x = SPARSEVEC_X(result);
	for (int i = 0; i < nnz; i++)
		result->indices[i] = pq_getmsgint(buf, sizeof(int32));
	for (int i = 0; i < nnz; i++)
	{
		x[i] = pq_getmsgfloat4(buf);
		if (x[i] == 0)
			ereport(ERROR,
					errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("binary representation of sparsevec cannot contain zero values"),
					errhint("Leave out the elements that are zero."));
	}
	SparsevecCheckElements(result);
	PG_RETURN_SPARSEVEC_P(result);
}

Datum
sparsevec_send(PG_FUNCTION_ARGS)
{
	Sparsevec  *sparsevec = PG_GETARG_SPARSEVEC_P(0);
	const float *x = SPARSEVEC_X(sparsevec);
	StringInfoData buf;

	pq_begintypsend(&buf);
	enlargeStringInfo(&buf, SPARSEVEC_SIZE(sparsevec->nnz));
	pq_sendint32(&buf, sparsevec->dim);
	pq_sendint32(&buf, sparsevec->nnz);
	pq_sendint32(&buf, sparsevec->unused);
	for (int i = 0; i < sparsevec->nnz; i++)
		pq_writeint32(&buf, sparsevec->indices[i]);
	for (int i = 0; i < sparsevec->nnz; i++)
		pq_sendfloat4(&buf, x[i]);

	PG_FREE_IF_COPY(sparsevec, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}
