/*-------------------------------------------------------------------------
 *
 * sparsevec.h
 *	  The type sparsevec: layout and what other subsystems need of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SPARSEVEC_H
#define SPARSEVEC_H

#include "fmgr.h"

#include "distance/distance_sparse.h"
#include "types/vector_list.h"

#define SPARSEVEC_MAX_DIM 1000000000
#define SPARSEVEC_MAX_NNZ 16000

/*
 * On disk and in memory, equal to pgvector's: only elements that are not zero
 * are stored.  At least one dimension; every element is finite.
 */
typedef struct Sparsevec
{
	int32		vl_len_;		/* varlena header */
	int32		dim;
	int32		nnz;			/* number of stored elements, may be 0 */
	int32		unused;			/* 0 */

	/* counted from 0, ascending, each once; then nnz floats, their elements */
	int32		indices[FLEXIBLE_ARRAY_MEMBER];
} Sparsevec;

#define SPARSEVEC_SIZE(nnz) \
	(offsetof(Sparsevec, indices) + (sizeof(int32) + sizeof(float)) * (nnz))
#define SPARSEVEC_X(sparsevec) ((float *) ((sparsevec)->indices + (sparsevec)->nnz))

/* Detoasts; the result is aligned and may be a copy. */
#define DatumGetSparsevec(datum) ((Sparsevec *) PG_DETOAST_DATUM(datum))
#define PG_GETARG_SPARSEVEC_P(n) DatumGetSparsevec(PG_GETARG_DATUM(n))
#define PG_RETURN_SPARSEVEC_P(sparsevec) PG_RETURN_POINTER(sparsevec)

extern const VectorListType sparsevec_list_type;

/* As the kernels take it; valid as long as 'sparsevec'. */
static inline DistanceSparse
SparsevecElements(const Sparsevec *sparsevec)
{
	DistanceSparse result;

	result.n = sparsevec->nnz;
	result.index = sparsevec->indices;
	result.x = SPARSEVEC_X(sparsevec);
	return result;
}

/* Indices and elements are zero; dim and nnz are in range. */
extern Sparsevec *SparsevecCreate(int dim, int nnz);

/* Of a list of 'dim' numbers; raises the errors of the SQL level. */
extern Sparsevec *SparsevecFromFloats(const float *x, int dim);

/* All 'dim' elements into x. */
extern void SparsevecToFloats(const Sparsevec *sparsevec, float *x);

/* These raise the errors of the SQL level and return if all is well. */
extern void SparsevecCheckSameDim(const Sparsevec *a, const Sparsevec *b);
extern void SparsevecCheckElements(const Sparsevec *sparsevec);

#endif							/* SPARSEVEC_H */
