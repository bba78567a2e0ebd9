/*-------------------------------------------------------------------------
 *
 * average_state.c
 *	  State of avg(vector) and avg(halfvec), and its combine function.
 *
 * An aggregate owns its state, so there sums are added to in place.  Called
 * as plain functions, by anybody and with any array, ours check the array and
 * work on a copy.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/float.h"
#include "utils/lsyscache.h"

#include "types/average_state.h"

static ArrayType *get_state(FunctionCallInfo fcinfo, int argument);
static ArrayType *create_state(int dim);
static ArrayType *state_to_change(FunctionCallInfo fcinfo, ArrayType *state);

/* The count, which the sums follow. */
#define STATE_COUNT(state) (((float8 *) ARR_DATA_PTR(state))[0])
#define STATE_DIM(state) (ARR_DIMS(state)[0] - 1)

/*
 * AverageStateAdvance
 *		The state, argument 0, with one more value counted.
 *
 * The caller adds the value's 'dim' elements to AverageStateSums() of it and
 * returns AverageStateResult().  An error if earlier values had another
 * number of dimensions.
 */
ArrayType *
AverageStateAdvance(FunctionCallInfo fcinfo, int dim)
{
	ArrayType  *state = get_state(fcinfo, 0);
	ArrayType  *result;

	if (STATE_DIM(state) == 0)
	{
		result = create_state(dim);
		STATE_COUNT(result) = STATE_COUNT(state);
	}
	else if (STATE_DIM(state) == dim)
		result = state_to_change(fcinfo, state);
	else
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("expected %d dimensions, not %d", STATE_DIM(state), dim),
				errdetail("All values of an average must have the same number of dimensions."));

	STATE_COUNT(result) += 1;
	return result;
}

/*
 * AverageStateResult
 *		The state as a function's result.
 *
 * Within an aggregate no number of float4 values brings a sum near the limit
 * of float8; other callers get an error for it.
 */
Datum
AverageStateResult(FunctionCallInfo fcinfo, ArrayType *state)
{
	if (!AggCheckCallContext(fcinfo, NULL))
	{
		float8	   *sums = AverageStateSums(state);

		for (int i = 0; i < STATE_DIM(state); i++)
		{
			if (isinf(sums[i]))
				float_overflow_error();
		}
	}
	PG_RETURN_ARRAYTYPE_P(state);
}

/*
 * AverageStateCombine
 *		The state of all values behind two states, arguments 0 and 1.
 *
 * Either may stand for no values: a parallel worker may have found none.
 */
Datum
AverageStateCombine(FunctionCallInfo fcinfo)
{
	ArrayType  *a = get_state(fcinfo, 0);
	ArrayType  *b = get_state(fcinfo, 1);
	float8	   *pg_restrict sums;
	float8	   *sums_b;
	ArrayType  *result;

	if (STATE_COUNT(a) == 0)
		PG_RETURN_ARRAYTYPE_P(b);
	if (STATE_COUNT(b) == 0)
		PG_RETURN_ARRAYTYPE_P(a);
	if (STATE_DIM(a) != STATE_DIM(b))
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("expected %d dimensions, not %d",
					   STATE_DIM(a), STATE_DIM(b)),
				errdetail("All values of an average must have the same number of dimensions."));

	result = state_to_change(fcinfo, a);
	STATE_COUNT(result) += STATE_COUNT(b);
	sums = AverageStateSums(result);
	sums_b = AverageStateSums(b);
	for (int i = 0; i < STATE_DIM(result); i++)
		sums[i] += sums_b[i];
	return AverageStateResult(fcinfo, result);
}

/*
 * AverageStateGet
 *		Number of values behind the state, argument 0; their dimensions and
 *		sums, which belong to the caller's caller.
 */
float8
AverageStateGet(FunctionCallInfo fcinfo, int *dim, float8 **sums)
{
	ArrayType  *state = get_state(fcinfo, 0);

	*dim = STATE_DIM(state);
	*sums = AverageStateSums(state);
	return STATE_COUNT(state);
}

static ArrayType *
get_state(FunctionCallInfo fcinfo, int argument)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(argument);

	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] < 1 || ARR_HASNULL(array) ||
		ARR_ELEMTYPE(array) != FLOAT8OID)
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("%s: expected state array",
					   get_func_name(fcinfo->flinfo->fn_oid)),
				errdetail("The state of an average is a number of values, then the sum of each element, without nulls."));
	return array;
}

/* No values, and 'dim' sums of zero. */
static ArrayType *
create_state(int dim)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + sizeof(float8) * (dim + 1);
	ArrayType  *result = (ArrayType *) palloc0(size);

	SET_VARSIZE(result, size);
	result->ndim = 1;
	result->dataoffset = 0;		/* no nulls */
	result->elemtype = FLOAT8OID;
	ARR_DIMS(result)[0] = dim + 1;
	ARR_LBOUND(result)[0] = 1;
	return result;
}

/*
 * Argument 0, or a copy if it is not ours.  nodeAgg.c knows the state by its
 * address and copies what is elsewhere into its own memory.
 */
static ArrayType *
state_to_change(FunctionCallInfo fcinfo, ArrayType *state)
{
	ArrayType  *result;

	if (AggCheckCallContext(fcinfo, NULL))
		return state;
	result = (ArrayType *) palloc(VARSIZE(state));
	memcpy(result, state, VARSIZE(state));
	return result;
}
