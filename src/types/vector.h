/*-------------------------------------------------------------------------
 *
 * vector.h
 *	  The type vector: layout and what other subsystems need of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTOR_H
#define VECTOR_H

#include "fmgr.h"

#define VECTOR_MAX_DIM 16000

/*
 * On disk and in memory, equal to pgvector's.  At least one dimension; every
 * element is finite.
 */
typedef struct Vector
{
	int32		vl_len_;		/* varlena header */
	int16		dim;
	int16		unused;			/* 0 */
	float		x[FLEXIBLE_ARRAY_MEMBER];
} Vector;

#define VECTOR_SIZE(dim) (offsetof(Vector, x) + sizeof(float) * (dim))

/* Detoasts; the result is aligned and may be a copy. */
#define DatumGetVector(datum) ((Vector *) PG_DETOAST_DATUM(datum))
#define PG_GETARG_VECTOR_P(n) DatumGetVector(PG_GETARG_DATUM(n))
#define PG_RETURN_VECTOR_P(vector) PG_RETURN_POINTER(vector)

extern void VectorInit(void);

/* All elements are zero; dim is in range. */
extern Vector *VectorCreate(int dim);

/* These raise the errors of the SQL level and return if all is well. */
extern void VectorCheckDim(int dim);
extern void VectorCheckTypmod(int32 typmod, int dim);
extern void VectorCheckSameDim(const Vector *a, const Vector *b);
extern void VectorCheckFinite(const float *x, int dim);

#endif							/* VECTOR_H */
