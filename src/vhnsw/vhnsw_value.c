/*-------------------------------------------------------------------------
 *
 * vhnsw_value.c
 *	  The values that an index is over, whatever their type.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "types/vector.h"
#include "vhnsw/vhnsw_value.h"

/*
 * VhnswValueGet
 *		Detoast a value and convert it to the form that codes are made from.
 *
 * Detoasting may read catalogs.  What is allocated belongs to the current
 * context.
 */
void
VhnswValueGet(VhnswValueType type, Datum datum, VhnswValue *value)
{
	Vector	   *vector = DatumGetVector(datum);

	value->dims = vector->dim;
	value->x = vector->x;
}

/*
 * VhnswValueCheckColumn
 *		Raise an error if a row's value does not fit the column.
 */
void
VhnswValueCheckColumn(VhnswValueType type, int dims, const VhnswValue *value)
{
	VectorCheckTypmod(dims, value->dims);
}

/*
 * VhnswValueCheckQuery
 *		Raise the error that the operator would raise at the first row.
 */
void
VhnswValueCheckQuery(VhnswValueType type, int dims, const VhnswValue *value)
{
	if (value->dims != dims)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("different vector dimensions %d and %d",
					   dims, value->dims));
}
