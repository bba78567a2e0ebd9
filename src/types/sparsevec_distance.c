/*-------------------------------------------------------------------------
 *
 * sparsevec_distance.c
 *	  Distances between sparsevecs, their norm.
 *
 * See distance_sparse.c for how they are computed.  All results are finite,
 * but for the cosine of a zero vector, which is NaN.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "distance/distance.h"
#include "types/sparsevec.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(sparsevec_l2_distance);
VECDIST_FUNCTION_INFO_V1(sparsevec_l2_squared_distance);
VECDIST_FUNCTION_INFO_V1(sparsevec_inner_product);
VECDIST_FUNCTION_INFO_V1(sparsevec_negative_inner_product);
VECDIST_FUNCTION_INFO_V1(sparsevec_cosine_distance);
VECDIST_FUNCTION_INFO_V1(sparsevec_l1_distance);
VECDIST_FUNCTION_INFO_V1(sparsevec_vector_dims);
VECDIST_FUNCTION_INFO_V1(sparsevec_l2_norm);
VECDIST_FUNCTION_INFO_V1(sparsevec_l2_normalize);

typedef double (*SparseDistance) (const DistanceSparse *a, const DistanceSparse *b);

/*
 * This distance between the two arguments, checked.
 *
 * The detoasted copies are left to the caller's context: the executor resets
 * it after every tuple, and so must whoever calls these functions in a loop.
 */
static inline double
distance_of(FunctionCallInfo fcinfo, SparseDistance distance)
{
	Sparsevec  *a = PG_GETARG_SPARSEVEC_P(0);
	Sparsevec  *b = PG_GETARG_SPARSEVEC_P(1);
	DistanceSparse elements_a = SparsevecElements(a);
	DistanceSparse elements_b = SparsevecElements(b);

	SparsevecCheckSameDim(a, b);
	return distance(&elements_a, &elements_b);
}

/* Operator <-> */
Datum
sparsevec_l2_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(sqrt(distance_of(fcinfo, DistanceSparseL2Squared)));
}

Datum
sparsevec_l2_squared_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, DistanceSparseL2Squared));
}

Datum
sparsevec_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, DistanceSparseInnerProduct));
}

/* Operator <#>: negative, so that the most similar comes first in order. */
Datum
sparsevec_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(-distance_of(fcinfo, DistanceSparseInnerProduct));
}

/* Operator <=>; NaN if either vector is zero. */
Datum
sparsevec_cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, DistanceSparseCosine));
}

/* Operator <+> */
Datum
sparsevec_l1_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, DistanceSparseL1));
}

/* Number of dimensions, not of stored elements. */
Datum
sparsevec_vector_dims(PG_FUNCTION_ARGS)
{
	Sparsevec  *sparsevec = PG_GETARG_SPARSEVEC_P(0);

	PG_RETURN_INT32(sparsevec->dim);
}

/* Euclidean norm, in float8 throughout. */
Datum
sparsevec_l2_norm(PG_FUNCTION_ARGS)
{
	Sparsevec  *sparsevec = PG_GETARG_SPARSEVEC_P(0);

	PG_RETURN_FLOAT8(sqrt(DistanceNormSquared(SPARSEVEC_X(sparsevec),
											  sparsevec->nnz)));
}

/*
 * The vector of length 1 in the same direction; zero stays zero.
 *
 * No element can grow beyond 1 by more than rounding, so the result is finite;
 * one that becomes zero is no longer stored.
 */
Datum
sparsevec_l2_normalize(PG_FUNCTION_ARGS)
{
	Sparsevec  *sparsevec = PG_GETARG_SPARSEVEC_P(0);
	const float *x = SPARSEVEC_X(sparsevec);
	double		norm = sqrt(DistanceNormSquared(x, sparsevec->nnz));
	Sparsevec  *result;
	int			nnz = 0;

	for (int i = 0; i < sparsevec->nnz; i++)
		nnz += ((float) (x[i] / norm) != 0);

	result = SparsevecCreate(sparsevec->dim, nnz);
	for (int i = 0, n = 0; n < nnz; i++)
	{
		float		element = x[i] / norm;

		if (element == 0)
			continue;
		result->indices[n] = sparsevec->indices[i];
		SPARSEVEC_X(result)[n++] = element;
	}
	PG_RETURN_SPARSEVEC_P(result);
}
