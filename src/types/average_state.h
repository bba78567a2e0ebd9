/*-------------------------------------------------------------------------
 *
 * average_state.h
 *	  State of avg(vector) and avg(halfvec).
 *
 * A float8 array: how many values there were, then the sum of each element.
 * '{0}' before the first value.  It is an array and not "internal" because
 * pgvector's is, so that its functions can be called and extended from SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AVERAGE_STATE_H
#define AVERAGE_STATE_H

#include "fmgr.h"
#include "utils/array.h"

extern ArrayType *AverageStateAdvance(FunctionCallInfo fcinfo, int dim);
extern Datum AverageStateResult(FunctionCallInfo fcinfo, ArrayType *state);
extern Datum AverageStateCombine(FunctionCallInfo fcinfo);
extern float8 AverageStateGet(FunctionCallInfo fcinfo, int *dim, float8 **sums);

/* Sums of an array that one of these functions has returned. */
static inline float8 *
AverageStateSums(ArrayType *state)
{
	return (float8 *) ARR_DATA_PTR(state) + 1;
}

#endif							/* AVERAGE_STATE_H */
