/*-------------------------------------------------------------------------
 *
 * vector_list.h
 *	  What vector and halfvec have in common: both are lists of up to
 *	  VECTOR_MAX_DIM numbers with the same text form, limits and errors.
 *
 * Functions take the list as float4, whatever its type stores.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTOR_LIST_H
#define VECTOR_LIST_H

#include "lib/stringinfo.h"
#include "utils/array.h"

/* A type as its error messages speak of it. */
typedef struct VectorListType
{
	const char *name;
	const char *range;			/* a sentence: what is too large */
} VectorListType;

extern const VectorListType vector_list_type;

/* These raise the errors of the SQL level and return if all is well. */
extern void VectorListCheckDim(const VectorListType *type, int dim);
extern void VectorListCheckSameDim(const VectorListType *type, int dim_a, int dim_b);
extern void VectorListNotFinite(const VectorListType *type, bool is_nan, int element) pg_attribute_noreturn();

extern void VectorListOutOfRange(bool overflow, int element) pg_attribute_noreturn();
extern int	VectorListClampRange(const VectorListType *type, int dim, int32 start,
								 int32 count, int *first);

/* Text form */
extern int	VectorListParse(const VectorListType *type, const char *literal, float *x);
extern char *VectorListPrint(const float *x, int dim);

/* Binary form, type modifier */
extern int	VectorListReceiveHeader(const VectorListType *type, StringInfo buf, int32 typmod);
extern int32 VectorListTypmodIn(const VectorListType *type, ArrayType *array);

/* Arrays */
extern int	VectorListCheckArray(const VectorListType *type, ArrayType *array, int32 typmod);
extern void VectorListReadArray(ArrayType *array, float *x);
extern ArrayType *VectorListCreateArray(int dim);

#endif							/* VECTOR_LIST_H */
