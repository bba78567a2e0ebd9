/*-------------------------------------------------------------------------
 *
 * vhnsw_value.c
 *	  The values that an index is over, whatever their type.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "distance/distance.h"
#include "types/bit.h"
#include "types/halfvec.h"
#include "types/sparsevec.h"
#include "types/vector.h"
#include "vhnsw/vhnsw_value.h"

/* How many bits of a code each dimension gets, if they fit a page. */
int
VhnswOwnBits(VhnswValueType type)
{
	switch (type)
	{
		case VHNSW_BIT:
			return 1;
		case VHNSW_SPARSEVEC:
			return 16;
		default:
			return 8;
	}
}

/* As users write it. */
const char *
VhnswValueTypeName(VhnswValueType type)
{
	switch (type)
	{
		case VHNSW_VECTOR:
			return "vector";
		case VHNSW_HALFVEC:
			return "halfvec";
		case VHNSW_BIT:
			return "bit";
		case VHNSW_SPARSEVEC:
			return "sparsevec";
	}
	return NULL;				/* not reached */
}

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
	switch (type)
	{
		case VHNSW_VECTOR:
			{
				Vector	   *vector = DatumGetVector(datum);

				value->dims = vector->dim;
				value->x = vector->x;
				break;
			}
		case VHNSW_HALFVEC:
			{
				/* As floats it is the same vector, with the same distances. */
				Halfvec    *halfvec = DatumGetHalfvec(datum);
				float	   *x = palloc_array(float, halfvec->dim);

				DistanceHalfToFloat(halfvec->x, x, halfvec->dim);
				value->dims = halfvec->dim;
				value->x = x;
				break;
			}
		case VHNSW_BIT:
			{
				VarBit	   *bits = DatumGetVarBitP(datum);

				value->dims = VARBITLEN(bits);
				value->bits = VARBITS(bits);
				break;
			}
		case VHNSW_SPARSEVEC:
			{
				Sparsevec  *sparsevec = DatumGetSparsevec(datum);

				value->dims = sparsevec->dim;
				value->sparse = SparsevecElements(sparsevec);
				break;
			}
	}
}

/*
 * VhnswValueCheckColumn
 *		Raise an error if a row's value does not fit the column.
 */
void
VhnswValueCheckColumn(VhnswValueType type, int dims, const VhnswValue *value)
{
	/* A column of type varbit is indexed as bit, and may hold any length. */
	if (type == VHNSW_BIT)
	{
		if (value->dims != dims)
			ereport(ERROR,
					errcode(ERRCODE_STRING_DATA_LENGTH_MISMATCH),
					errmsg("bit string length %d does not match type bit(%d)",
						   value->dims, dims));
	}
	else
		VectorCheckTypmod(dims, value->dims);
}

/*
 * VhnswValueCheckQuery
 *		Raise the error that the operator would raise at the first row.
 */
void
VhnswValueCheckQuery(VhnswValueType type, int dims, const VhnswValue *value)
{
	switch (type)
	{
		case VHNSW_VECTOR:
			VectorListCheckSameDim(&vector_list_type, dims, value->dims);
			break;
		case VHNSW_HALFVEC:
			VectorListCheckSameDim(&halfvec_list_type, dims, value->dims);
			break;
		case VHNSW_BIT:
			BitCheckSameLength(dims, value->dims);
			break;
		case VHNSW_SPARSEVEC:
			VectorListCheckSameDim(&sparsevec_list_type, dims, value->dims);
			break;
	}
}
