/*-------------------------------------------------------------------------
 *
 * halfvec_aggregate.c
 *	  avg(halfvec).  Its combine function is vector_combine(); of
 *	  sum(halfvec) all there is, is halfvec_add().
 *
 * Sums are float8, so an average is right where the sum exceeds a half.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "distance/distance.h"
#include "types/average_state.h"
#include "types/halfvec.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(halfvec_accum);
VECDIST_FUNCTION_INFO_V1(halfvec_avg);

/* Transition function: one more value. */
Datum
halfvec_accum(PG_FUNCTION_ARGS)
{
	Halfvec    *halfvec = PG_GETARG_HALFVEC_P(1);
	ArrayType  *state = AverageStateAdvance(fcinfo, halfvec->dim);
	float8	   *pg_restrict sums = AverageStateSums(state);
	int			dim = halfvec->dim;
	float		x[HALFVEC_MAX_DIM];

	DistanceHalfToFloat(halfvec->x, x, dim);
	for (int i = 0; i < dim; i++)
		sums[i] += x[i];
	return AverageStateResult(fcinfo, state);
}

/* Final function; NULL if there were no values. */
Datum
halfvec_avg(PG_FUNCTION_ARGS)
{
	float8	   *sums;
	int			dim;
	float8		count = AverageStateGet(fcinfo, &dim, &sums);
	float		x[HALFVEC_MAX_DIM];

	if (count == 0)
		PG_RETURN_NULL();
	VectorListCheckDim(&halfvec_list_type, dim);

	for (int i = 0; i < dim; i++)
		x[i] = sums[i] / count;
	PG_RETURN_HALFVEC_P(HalfvecFromFloats(x, dim));
}
