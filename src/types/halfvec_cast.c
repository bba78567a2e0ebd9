/*-------------------------------------------------------------------------
 *
 * halfvec_cast.c
 *	  Casts between halfvec, vector and arrays of numbers.
 *
 * As for all casts with a length, the second argument is the target's type
 * modifier and the third says whether the cast was written explicitly.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/array.h"

#include "distance/distance.h"
#include "types/halfvec.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(halfvec);
VECDIST_FUNCTION_INFO_V1(vector_to_halfvec);
VECDIST_FUNCTION_INFO_V1(halfvec_to_vector);
VECDIST_FUNCTION_INFO_V1(array_to_halfvec);
VECDIST_FUNCTION_INFO_V1(halfvec_to_float4);

/* halfvec to halfvec(n): a check, nothing is converted. */
Datum
halfvec(PG_FUNCTION_ARGS)
{
	Halfvec    *arg = PG_GETARG_HALFVEC_P(0);
	int32		typmod = PG_GETARG_INT32(1);

	VectorCheckTypmod(typmod, arg->dim);
	PG_RETURN_HALFVEC_P(arg);
}

Datum
vector_to_halfvec(PG_FUNCTION_ARGS)
{
	Vector	   *arg = PG_GETARG_VECTOR_P(0);
	int32		typmod = PG_GETARG_INT32(1);

	VectorCheckTypmod(typmod, arg->dim);
	PG_RETURN_HALFVEC_P(HalfvecFromFloats(arg->x, arg->dim));
}

Datum
halfvec_to_vector(PG_FUNCTION_ARGS)
{
	Halfvec    *arg = PG_GETARG_HALFVEC_P(0);
	int32		typmod = PG_GETARG_INT32(1);
	Vector	   *result;

	VectorCheckTypmod(typmod, arg->dim);
	result = VectorCreate(arg->dim);
	DistanceHalfToFloat(arg->x, result->x, arg->dim);
	PG_RETURN_VECTOR_P(result);
}

/* integer[], real[], double precision[] or numeric[] to halfvec, by way of real. */
Datum
array_to_halfvec(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int32		typmod = PG_GETARG_INT32(1);
	int			dim = VectorListCheckArray(&halfvec_list_type, array, typmod);
	float		x[HALFVEC_MAX_DIM];

	VectorListReadArray(array, x);
	PG_RETURN_HALFVEC_P(HalfvecFromFloats(x, dim));
}

/* halfvec to real[] */
Datum
halfvec_to_float4(PG_FUNCTION_ARGS)
{
	Halfvec    *halfvec = PG_GETARG_HALFVEC_P(0);
	ArrayType  *result = VectorListCreateArray(halfvec->dim);

	DistanceHalfToFloat(halfvec->x, (float *) ARR_DATA_PTR(result),
						halfvec->dim);

	PG_FREE_IF_COPY(halfvec, 0);
	PG_RETURN_ARRAYTYPE_P(result);
}
