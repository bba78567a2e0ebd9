/*-------------------------------------------------------------------------
 *
 * vector_distance.c
 *	  Distances between vectors, their number of dimensions, their norm.
 *
 * Arithmetic is that of src/distance: terms in float4, results in float8.  A
 * sum too large for float4 makes a distance Infinity (NaN for the cosine,
 * which divides two of them); nothing here raises an error for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"

#include "distance/distance.h"
#include "types/vector.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(l2_distance);
VECDIST_FUNCTION_INFO_V1(vector_l2_squared_distance);
VECDIST_FUNCTION_INFO_V1(inner_product);
VECDIST_FUNCTION_INFO_V1(vector_negative_inner_product);
VECDIST_FUNCTION_INFO_V1(cosine_distance);
VECDIST_FUNCTION_INFO_V1(l1_distance);
VECDIST_FUNCTION_INFO_V1(vector_dims);
VECDIST_FUNCTION_INFO_V1(vector_norm);
VECDIST_FUNCTION_INFO_V1(l2_normalize);

/*
 * Both arguments of a distance function, checked.
 *
 * The detoasted copies are left to the caller's context: the executor resets
 * it after every tuple, and so must whoever calls these functions in a loop.
 */
#define GET_TWO_VECTORS(a, b) \
	Vector	   *a = PG_GETARG_VECTOR_P(0); \
	Vector	   *b = PG_GETARG_VECTOR_P(1); \
	\
	VectorCheckSameDim(a, b)

/* Operator <-> */
Datum
l2_distance(PG_FUNCTION_ARGS)
{
	GET_TWO_VECTORS(a, b);
	PG_RETURN_FLOAT8(sqrt(DistanceL2Squared(a->x, b->x, a->dim)));
}

Datum
vector_l2_squared_distance(PG_FUNCTION_ARGS)
{
	GET_TWO_VECTORS(a, b);
	PG_RETURN_FLOAT8(DistanceL2Squared(a->x, b->x, a->dim));
}

Datum
inner_product(PG_FUNCTION_ARGS)
{
	GET_TWO_VECTORS(a, b);
	PG_RETURN_FLOAT8(DistanceInnerProduct(a->x, b->x, a->dim));
}

/* Operator <#>: negative, so that the most similar comes first in order. */
Datum
vector_negative_inner_product(PG_FUNCTION_ARGS)
{
	GET_TWO_VECTORS(a, b);
	PG_RETURN_FLOAT8(-DistanceInnerProduct(a->x, b->x, a->dim));
}

/* Operator <=>; NaN if either vector is zero. */
Datum
cosine_distance(PG_FUNCTION_ARGS)
{
	GET_TWO_VECTORS(a, b);
	PG_RETURN_FLOAT8(DistanceCosine(a->x, b->x, a->dim));
}

/* Operator <+> */
Datum
l1_distance(PG_FUNCTION_ARGS)
{
	GET_TWO_VECTORS(a, b);
	PG_RETURN_FLOAT8(DistanceL1(a->x, b->x, a->dim));
}

/* Number of dimensions. */
Datum
vector_dims(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);

	PG_RETURN_INT32(vector->dim);
}

/* Euclidean norm, in float8 throughout: finite for every vector. */
Datum
vector_norm(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);

	PG_RETURN_FLOAT8(sqrt(DistanceNormSquared(vector->x, vector->dim)));
}

/*
 * The vector of length 1 in the same direction; zero stays zero.
 *
 * No element can grow beyond 1 by more than rounding, so the result is finite.
 */
Datum
l2_normalize(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	Vector	   *result = VectorCreate(vector->dim);
	double		norm = sqrt(DistanceNormSquared(vector->x, vector->dim));

	if (norm > 0)
	{
		for (int i = 0; i < vector->dim; i++)
			result->x[i] = vector->x[i] / norm;
	}
	PG_RETURN_VECTOR_P(result);
}
