/*-------------------------------------------------------------------------
 *
 * sparsevec_cast.c
 *	  Casts between sparsevec, vector, halfvec and arrays of numbers.
 *
 * As for all casts with a length, the second argument is the target's type
 * modifier and the third says whether the cast was written explicitly.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "distance/distance.h"
#include "types/halfvec.h"
#include "types/sparsevec.h"
#include "types/vector.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(sparsevec);
VECDIST_FUNCTION_INFO_V1(vector_to_sparsevec);
VECDIST_FUNCTION_INFO_V1(halfvec_to_sparsevec);
VECDIST_FUNCTION_INFO_V1(sparsevec_to_vector);
VECDIST_FUNCTION_INFO_V1(sparsevec_to_halfvec);
VECDIST_FUNCTION_INFO_V1(array_to_sparsevec);

/* sparsevec to sparsevec(n): a check, nothing is converted. */
Datum
sparsevec(PG_FUNCTION_ARGS)
{
	Sparsevec  *arg = PG_GETARG_SPARSEVEC_P(0);
	int32		typmod = PG_GETARG_INT32(1);

	VectorCheckTypmod(typmod, arg->dim);
	PG_RETURN_SPARSEVEC_P(arg);
}

Datum
vector_to_sparsevec(PG_FUNCTION_ARGS)
{
	Vector	   *arg = PG_GETARG_VECTOR_P(0);
	int32		typmod = PG_GETARG_INT32(1);

	VectorCheckTypmod(typmod, arg->dim);
	PG_RETURN_SPARSEVEC_P(SparsevecFromFloats(arg->x, arg->dim));
}

Datum
halfvec_to_sparsevec(PG_FUNCTION_ARGS)
{
	Halfvec    *arg = PG_GETARG_HALFVEC_P(0);
	int32		typmod = PG_GETARG_INT32(1);
	float		x[HALFVEC_MAX_DIM];

	VectorCheckTypmod(typmod, arg->dim);
	DistanceHalfToFloat(arg->x, x, arg->dim);
	PG_RETURN_SPARSEVEC_P(SparsevecFromFloats(x, arg->dim));
}

Datum
sparsevec_to_vector(PG_FUNCTION_ARGS)
{
	Sparsevec  *arg = PG_GETARG_SPARSEVEC_P(0);
	int32		typmod = PG_GETARG_INT32(1);
	Vector	   *result;

	VectorListCheckDim(&vector_list_type, arg->dim);
	VectorCheckTypmod(typmod, arg->dim);
	result = VectorCreate(arg->dim);
	SparsevecToFloats(arg, result->x);
	PG_RETURN_VECTOR_P(result);
}

Datum
sparsevec_to_halfvec(PG_FUNCTION_ARGS)
{
	Sparsevec  *arg = PG_GETARG_SPARSEVEC_P(0);
	int32		typmod = PG_GETARG_INT32(1);
	float		x[HALFVEC_MAX_DIM];

	VectorListCheckDim(&halfvec_list_type, arg->dim);
	VectorCheckTypmod(typmod, arg->dim);
	SparsevecToFloats(arg, x);
	PG_RETURN_HALFVEC_P(HalfvecFromFloats(x, arg->dim));
}

/* integer[], real[], double precision[] or numeric[] to sparsevec. */
Datum
array_to_sparsevec(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int32		typmod = PG_GETARG_INT32(1);
	int			dim = VectorListCheckArray(&sparsevec_list_type, array, typmod);
	float	   *x = palloc_array(float, dim);
	Sparsevec  *result;

	VectorListReadArray(array, x);
	result = SparsevecFromFloats(x, dim);
	pfree(x);
	PG_RETURN_SPARSEVEC_P(result);
}
