/*-------------------------------------------------------------------------
 *
 * vector_aggregate.c
 *	  avg(vector).  Of sum(vector) all there is, is vector_add().
 *
 * Sums are float8, so an average is right where the sum exceeds float4.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "types/average_state.h"
#include "types/vector.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(vector_accum);
VECDIST_FUNCTION_INFO_V1(vector_combine);
VECDIST_FUNCTION_INFO_V1(vector_avg);

/* Transition function: one more value. */
Datum
vector_accum(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(1);
	ArrayType  *state = AverageStateAdvance(fcinfo, vector->dim);
	float8	   *pg_restrict sums = AverageStateSums(state);
	int			dim = vector->dim;

	for (int i = 0; i < dim; i++)
		sums[i] += vector->x[i];
	return AverageStateResult(fcinfo, state);
}

Datum
vector_combine(PG_FUNCTION_ARGS)
{
	return AverageStateCombine(fcinfo);
}

/* Final function; NULL if there were no values. */
Datum
vector_avg(PG_FUNCTION_ARGS)
{
	float8	   *sums;
	int			dim;
	float8		count = AverageStateGet(fcinfo, &dim, &sums);
	Vector	   *result;

	if (count == 0)
		PG_RETURN_NULL();
	VectorCheckDim(dim);

	result = VectorCreate(dim);
	for (int i = 0; i < dim; i++)
		result->x[i] = sums[i] / count;
	VectorCheckFinite(result->x, dim);
	PG_RETURN_VECTOR_P(result);
}
