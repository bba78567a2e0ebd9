/*-------------------------------------------------------------------------
 *
 * vector_cast.c
 *	  Casts between vector and arrays of numbers.
 *
 * As for all casts with a length, the second argument is the target's type
 * modifier and the third says whether the cast was written explicitly.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "types/vector.h"
#include "types/vector_list.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(vector);
VECDIST_FUNCTION_INFO_V1(array_to_vector);
VECDIST_FUNCTION_INFO_V1(vector_to_float4);

/* vector to vector(n): a check, nothing is converted. */
Datum
vector(PG_FUNCTION_ARGS)
{
	Vector	   *arg = PG_GETARG_VECTOR_P(0);
	int32		typmod = PG_GETARG_INT32(1);

	VectorCheckTypmod(typmod, arg->dim);
	PG_RETURN_VECTOR_P(arg);
}

/* integer[], real[], double precision[] or numeric[] to vector. */
Datum
array_to_vector(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int32		typmod = PG_GETARG_INT32(1);
	int			dim = VectorListCheckArray(&vector_list_type, array, typmod);
	Vector	   *result = VectorCreate(dim);

	VectorListReadArray(array, result->x);
	VectorCheckFinite(result->x, dim);
	PG_RETURN_VECTOR_P(result);
}

/* vector to real[] */
Datum
vector_to_float4(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	ArrayType  *result = VectorListCreateArray(vector->dim);

	memcpy(ARR_DATA_PTR(result), vector->x, sizeof(float4) * vector->dim);

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_ARRAYTYPE_P(result);
}
