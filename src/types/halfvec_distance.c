/*-------------------------------------------------------------------------
 *
 * halfvec_distance.c
 *	  Distances between halfvecs, their norm.
 *
 * Each has the bits of the same distance between the values cast to vector.
 * Sums of halves stay far inside of float4's range: all results are finite,
 * but for the cosine of a zero vector, which is NaN.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "distance/distance.h"
#include "types/halfvec.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(halfvec_l2_distance);
VECDIST_FUNCTION_INFO_V1(halfvec_l2_squared_distance);
VECDIST_FUNCTION_INFO_V1(halfvec_inner_product);
VECDIST_FUNCTION_INFO_V1(halfvec_negative_inner_product);
VECDIST_FUNCTION_INFO_V1(halfvec_cosine_distance);
VECDIST_FUNCTION_INFO_V1(halfvec_l1_distance);
VECDIST_FUNCTION_INFO_V1(halfvec_vector_dims);
VECDIST_FUNCTION_INFO_V1(halfvec_l2_norm);
VECDIST_FUNCTION_INFO_V1(halfvec_l2_normalize);

/*
 * Both arguments of a distance function, checked.
 *
 * The detoasted copies are left to the caller's context: the executor resets
 * it after every tuple, and so must whoever calls these functions in a loop.
 */
#define GET_TWO_HALFVECS(a, b) \
	Halfvec    *a = PG_GETARG_HALFVEC_P(0); \
	Halfvec    *b = PG_GETARG_HALFVEC_P(1); \
	\
	HalfvecCheckSameDim(a, b)

/* Operator <-> */
Datum
halfvec_l2_distance(PG_FUNCTION_ARGS)
{
	GET_TWO_HALFVECS(a, b);
	PG_RETURN_FLOAT8(sqrt(DistanceHalfL2Squared(a->x, b->x, a->dim)));
}

Datum
halfvec_l2_squared_distance(PG_FUNCTION_ARGS)
{
	GET_TWO_HALFVECS(a, b);
	PG_RETURN_FLOAT8(DistanceHalfL2Squared(a->x, b->x, a->dim));
}

Datum
halfvec_inner_product(PG_FUNCTION_ARGS)
{
	GET_TWO_HALFVECS(a, b);
	PG_RETURN_FLOAT8(DistanceHalfInnerProduct(a->x, b->x, a->dim));
}

/* Operator <#>: negative, so that the most similar comes first in order. */
Datum
halfvec_negative_inner_product(PG_FUNCTION_ARGS)
{
	GET_TWO_HALFVECS(a, b);
	PG_RETURN_FLOAT8(-DistanceHalfInnerProduct(a->x, b->x, a->dim));
}

/* Operator <=>; NaN if either vector is zero. */
Datum
halfvec_cosine_distance(PG_FUNCTION_ARGS)
{
	GET_TWO_HALFVECS(a, b);
	PG_RETURN_FLOAT8(DistanceHalfCosine(a->x, b->x, a->dim));
}

/* Operator <+> */
Datum
halfvec_l1_distance(PG_FUNCTION_ARGS)
{
	GET_TWO_HALFVECS(a, b);
	PG_RETURN_FLOAT8(DistanceHalfL1(a->x, b->x, a->dim));
}

/* Number of dimensions. */
Datum
halfvec_vector_dims(PG_FUNCTION_ARGS)
{
	Halfvec    *halfvec = PG_GETARG_HALFVEC_P(0);

	PG_RETURN_INT32(halfvec->dim);
}

/* Euclidean norm, in float8 throughout. */
Datum
halfvec_l2_norm(PG_FUNCTION_ARGS)
{
	Halfvec    *halfvec = PG_GETARG_HALFVEC_P(0);

	PG_RETURN_FLOAT8(sqrt(DistanceHalfNormSquared(halfvec->x, halfvec->dim)));
}

/*
 * The vector of length 1 in the same direction; zero stays zero.
 *
 * No element can grow beyond 1 by more than rounding, so the result is finite.
 */
Datum
halfvec_l2_normalize(PG_FUNCTION_ARGS)
{
	Halfvec    *halfvec = PG_GETARG_HALFVEC_P(0);
	Halfvec    *result = HalfvecCreate(halfvec->dim);
	double		norm = sqrt(DistanceHalfNormSquared(halfvec->x, halfvec->dim));

	if (norm > 0)
	{
		for (int i = 0; i < halfvec->dim; i++)
			result->x[i] = HalfFromFloat(HalfToFloat(halfvec->x[i]) / norm);
	}
	PG_RETURN_HALFVEC_P(result);
}
