/*-------------------------------------------------------------------------
 *
 * halfvec.c
 *	  The type halfvec: checks, text and binary forms, type modifier.
 *
 * As vector, with elements in half precision.  Text is read as real and then
 * rounded to half, as pgvector does and as a cast from vector gives, and
 * written with the digits of real.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "port/pg_bswap.h"

#include "distance/distance.h"
#include "types/halfvec.h"
#include "types/vector_list.h"
#include "vecdist_compat.h"

StaticAssertDecl(offsetof(Halfvec, x) == 8, "halfvec's elements start at byte 8 on disk");
StaticAssertDecl(sizeof(Half) == 2, "a half has two bytes on disk");

VECDIST_FUNCTION_INFO_V1(halfvec_in);
VECDIST_FUNCTION_INFO_V1(halfvec_out);
VECDIST_FUNCTION_INFO_V1(halfvec_typmod_in);
VECDIST_FUNCTION_INFO_V1(halfvec_recv);
VECDIST_FUNCTION_INFO_V1(halfvec_send);

const VectorListType halfvec_list_type = {
	.name = "halfvec",
	.max_dim = HALFVEC_MAX_DIM,
	.range = "Elements are stored in half precision, whose largest value is 65504.",
	.form = "a list of numbers in brackets, for example '[1,2.5,-3]'",
};

static Halfvec *create_from_floats(const float *x, int dim, const char *literal);
static void not_a_half(float value, int element, const char *literal) pg_attribute_noreturn();
static char *copy_number(const char *literal, int element);

Halfvec *
HalfvecCreate(int dim)
{
	Halfvec    *result = (Halfvec *) palloc0(HALFVEC_SIZE(dim));

	Assert(dim >= 1 && dim <= HALFVEC_MAX_DIM);
	SET_VARSIZE(result, HALFVEC_SIZE(dim));
	result->dim = dim;
	return result;
}

/*
 * HalfvecFromFloats
 *		A new halfvec of these numbers, rounded to nearest.
 *
 * Raises an error for NaN, infinity and what is too large for a half; a
 * number that is too small becomes zero.
 */
Halfvec *
HalfvecFromFloats(const float *x, int dim)
{
	return create_from_floats(x, dim, NULL);
}

/* The same; 'literal' is the text form they come from, or NULL. */
static Halfvec *
create_from_floats(const float *x, int dim, const char *literal)
{
	Halfvec    *result = HalfvecCreate(dim);

	DistanceFloatToHalf(x, result->x, dim);
	for (int i = 0; i < dim; i++)
	{
		if (unlikely(!HalfIsFinite(result->x[i])))
			not_a_half(x[i], i, literal);
	}
	return result;
}

/* 'element' counts from 0; 'literal' as above */
static void
not_a_half(float value, int element, const char *literal)
{
	char		digits[FLOAT_SHORTEST_DECIMAL_LEN];

	if (!isfinite(value))
		VectorListNotFinite(&halfvec_list_type, isnan(value), element + 1);

	float_to_shortest_decimal_buf(value, digits);
	ereport(ERROR,
			errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			errmsg("\"%s\" is out of range for type halfvec",
				   literal ? copy_number(literal, element) : digits),
			errdetail("%s", halfvec_list_type.range),
			errhint("Scale the data, or use type vector."));
}

/* What a text form that has been read says for an element. */
static char *
copy_number(const char *literal, int element)
{
	static const char separators[] = "[], \t\n\v\f\r";
	const char *p = literal;

	for (int i = 0; i < element; i++)
		p = strchr(p, ',') + 1;
	p += strspn(p, separators);
	return pnstrdup(p, strcspn(p, separators));
}

void
HalfvecCheckSameDim(const Halfvec *a, const Halfvec *b)
{
	if (unlikely(a->dim != b->dim))
		VectorListCheckSameDim(&halfvec_list_type, a->dim, b->dim);
}

/*
 * HalfvecCheckFinite
 *		Refuse NaN and infinities, which have no distance to anything.
 */
void
HalfvecCheckFinite(const Half *x, int dim)
{
	for (int i = 0; i < dim; i++)
	{
		if (unlikely(!HalfIsFinite(x[i])))
			VectorListNotFinite(&halfvec_list_type, HalfIsNan(x[i]), i + 1);
	}
}

/* Text form to halfvec: [1,2.5,-3e-7]. */
Datum
halfvec_in(PG_FUNCTION_ARGS)
{
	const char *literal = PG_GETARG_CSTRING(0);
	int32		typmod = PG_GETARG_INT32(2);
	float		x[HALFVEC_MAX_DIM];
	int			dim = VectorListParse(&halfvec_list_type, literal, x);

	VectorCheckTypmod(typmod, dim);
	PG_RETURN_HALFVEC_P(create_from_floats(x, dim, literal));
}

Datum
halfvec_out(PG_FUNCTION_ARGS)
{
	Halfvec    *halfvec = PG_GETARG_HALFVEC_P(0);
	float		x[HALFVEC_MAX_DIM];
	char	   *result;

	DistanceHalfToFloat(halfvec->x, x, halfvec->dim);
	result = VectorListPrint(x, halfvec->dim);

	PG_FREE_IF_COPY(halfvec, 0);
	PG_RETURN_CSTRING(result);
}

Datum
halfvec_typmod_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VectorListTypmodIn(&halfvec_list_type,
									   PG_GETARG_ARRAYTYPE_P(0)));
}

/* ----------
 * Binary form: int16 dim, int16 0, then dim times 2 bytes; network byte order.
 * ----------
 */

Datum
halfvec_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int32		typmod = PG_GETARG_INT32(2);
	int			dim = VectorListReceiveHeader(&halfvec_list_type, buf, typmod);
	Halfvec    *result;

	result = HalfvecCreate(dim);
	pq_copymsgbytes(buf, (char *) result->x, sizeof(Half) * dim);
	for (int i = 0; i < dim; i++)
		result->x[i] = pg_ntoh16(result->x[i]);

	HalfvecCheckFinite(result->x, dim);
	PG_RETURN_HALFVEC_P(result);
}

Datum
halfvec_send(PG_FUNCTION_ARGS)
{
	Halfvec    *halfvec = PG_GETARG_HALFVEC_P(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	enlargeStringInfo(&buf, HALFVEC_SIZE(halfvec->dim));
	pq_sendint16(&buf, halfvec->dim);
	pq_sendint16(&buf, halfvec->unused);
	for (int i = 0; i < halfvec->dim; i++)
		pq_writeint16(&buf, halfvec->x[i]);

	PG_FREE_IF_COPY(halfvec, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}
