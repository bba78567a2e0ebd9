/*-------------------------------------------------------------------------
 *
 * vhnsw_value.h
 *	  The values that an index is over, whatever their type.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_VALUE_H
#define VHNSW_VALUE_H

#include "postgres.h"

#include "distance/distance_sparse.h"

/* What the support function 2 of an operator class returns. */
typedef enum VhnswValueType
{
	VHNSW_VECTOR = 1,
	VHNSW_HALFVEC = 2,
	VHNSW_BIT = 3,
	VHNSW_SPARSEVEC = 4
} VhnswValueType;

/* A value in the form that codes are made from. */
typedef struct VhnswValue
{
	int			dims;			/* bit: number of bits */
	const float *x;				/* vector, halfvec; perhaps palloc'd */
	DistanceSparse sparse;		/* sparsevec */
	const uint8 *bits;			/* bit: unused ones of the last byte are 0 */
} VhnswValue;

extern int	VhnswOwnBits(VhnswValueType type);
extern const char *VhnswValueTypeName(VhnswValueType type);
extern void VhnswValueGet(VhnswValueType type, Datum datum, VhnswValue *value);
extern void VhnswValueCheckColumn(VhnswValueType type, int dims,
								  const VhnswValue *value);
extern void VhnswValueCheckQuery(VhnswValueType type, int dims,
								 const VhnswValue *value);

#endif							/* VHNSW_VALUE_H */
