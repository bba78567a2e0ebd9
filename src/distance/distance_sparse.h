/*-------------------------------------------------------------------------
 *
 * distance_sparse.h
 *	  Distances between sparse vectors: lists of the elements that are not 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISTANCE_SPARSE_H
#define DISTANCE_SPARSE_H

#include <stdint.h>

/* A vector whose element index[i] is x[i]; all others are zero. */
typedef struct DistanceSparse
{
	int			n;
	const int32_t *index;		/* ascending, each once */
	const float *x;
} DistanceSparse;

extern double DistanceSparseL2Squared(const DistanceSparse *a, const DistanceSparse *b);
extern double DistanceSparseInnerProduct(const DistanceSparse *a, const DistanceSparse *b);
extern double DistanceSparseCosine(const DistanceSparse *a, const DistanceSparse *b);
extern double DistanceSparseL1(const DistanceSparse *a, const DistanceSparse *b);

#endif							/* DISTANCE_SPARSE_H */
