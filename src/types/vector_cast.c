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

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "types/vector.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(vector);
VECDIST_FUNCTION_INFO_V1(array_to_vector);
VECDIST_FUNCTION_INFO_V1(vector_to_float4);

static void read_numeric_array(ArrayType *array, float *x);

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
	char	   *data = ARR_DATA_PTR(array);
	Vector	   *result;
	int			dim;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("array must be 1-D"),
				errdetail("The array has %d dimensions.", ARR_NDIM(array)));
	if (ARR_HASNULL(array) && array_contains_nulls(array))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("array must not contain nulls"),
				errhint("Remove the nulls with array_remove, or replace them by numbers."));

	dim = ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
	VectorCheckDim(dim);
	VectorCheckTypmod(typmod, dim);
	result = VectorCreate(dim);

	/* Elements of fixed size lie side by side, aligned, without nulls. */
	switch (ARR_ELEMTYPE(array))
	{
		case INT4OID:
			for (int i = 0; i < dim; i++)
				result->x[i] = ((int32 *) data)[i];
			break;
		case FLOAT4OID:
			memcpy(result->x, data, sizeof(float4) * dim);
			break;
		case FLOAT8OID:
			for (int i = 0; i < dim; i++)
				result->x[i] = ((float8 *) data)[i];
			break;
		case NUMERICOID:
			read_numeric_array(array, result->x);
			break;
		default:
			ereport(ERROR,
					errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("unsupported array type"),
					errhint("Cast the array to real[] first."));
	}

	VectorCheckFinite(result->x, dim);
	PG_RETURN_VECTOR_P(result);
}

/* Elements of an array without nulls into x. */
static void
read_numeric_array(ArrayType *array, float *x)
{
	Datum	   *elements;
	int			num_elements;

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &num_elements);
	for (int i = 0; i < num_elements; i++)
		x[i] = DatumGetFloat4(DirectFunctionCall1(numeric_float4, elements[i]));
}

/* vector to real[] */
Datum
vector_to_float4(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	Size		size = ARR_OVERHEAD_NONULLS(1) + sizeof(float4) * vector->dim;
	ArrayType  *result = (ArrayType *) palloc0(size);

	SET_VARSIZE(result, size);
	result->ndim = 1;
	result->dataoffset = 0;		/* no nulls */
	result->elemtype = FLOAT4OID;
	ARR_DIMS(result)[0] = vector->dim;
	ARR_LBOUND(result)[0] = 1;
	memcpy(ARR_DATA_PTR(result), vector->x, sizeof(float4) * vector->dim);

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_ARRAYTYPE_P(result);
}
