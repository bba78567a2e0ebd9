/*-------------------------------------------------------------------------
 *
 * vector_list.h
 *	  What vector and halfvec have in common: both are lists of up to
 *	  VECTOR_MAX_DIM numbers with the same text form, limits and errors.
 *
 * Functions take the list as float4, whatever its type stores.  Checks, type
 * modifiers and arrays serve sparsevec as well.
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
	int			max_dim;
	const char *range;			/* a sentence: what is too large */
	const char *form;			/* how to write one, for hints */
} VectorListType;

extern const VectorListType vector_list_type;

/* These raise the errors of the SQL level and return if all is well. */
extern void VectorListCheckDim(const VectorListType *type, int dim);
extern void VectorListCheckSameDim(const VectorListType *type, int dim_a, int dim_b);
extern void VectorListNotFinite(const VectorListType *type, bool is_nan, int element) pg_attribute_noreturn();

extern void VectorListOutOfRange(bool overflow, int element) pg_attribute_noreturn();
extern int	VectorListClampRange(const VectorListType *type, int dim, int32 start,
								 int32 count, int *first);

/* Text form.  White space is what isspace() says in the C locale. */
static inline bool
VectorListIsSpace(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline const char *
VectorListSkipSpaces(const char *p)
{
	while (VectorListIsSpace(*p))
		p++;
	return p;
}

extern int	VectorListParse(const VectorListType *type, const char *literal, float *x);
extern const char *VectorListReadNumber(const VectorListType *type, const char *p,
										const char *literal, float *x);
extern void VectorListNumberOutOfRange(const VectorListType *type, const char *p,
									   int length) pg_attribute_noreturn();
extern void VectorListSyntaxError(const VectorListType *type, const char *literal,
								  const char *detail) pg_attribute_noreturn();
extern char *VectorListPrint(const float *x, int dim);

/* Binary form, type modifier */
extern int	VectorListReceiveHeader(const VectorListType *type, StringInfo buf, int32 typmod);
extern int32 VectorListTypmodIn(const VectorListType *type, ArrayType *array);

/* Arrays */
extern int	VectorListCheckArray(const VectorListType *type, ArrayType *array, int32 typmod);
extern void VectorListReadArray(ArrayType *array, float *x);
extern ArrayType *VectorListCreateArray(int dim);

#endif							/* VECTOR_LIST_H */
