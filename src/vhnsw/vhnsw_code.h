/*-------------------------------------------------------------------------
 *
 * vhnsw_code.h
 *	  Vectors as 8-bit codes, distances between codes, and proven bounds.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_CODE_H
#define VHNSW_CODE_H

#include "postgres.h"

#include "distance/distance.h"
#include "vhnsw/vhnsw_page.h"

/* How the vectors of one index become codes. */
typedef struct VhnswSpace
{
	VhnswMetric metric;
	int			dims;
	const float *mean;			/* dims values, or NULL for zero */
	const float *signs;			/* of the rotation: 4 * dims times +-1 */
} VhnswSpace;

/* A code in memory; VHNSW_CODE_SIZE() bytes. */
typedef struct VhnswCode
{
	float		scale;
	float		norm;			/* of the centred, rotated vector */
	float		residual;		/* what the code leaves, rounded up */
	uint32		unused;			/* 0, so that codes compare by memcmp() */
	int8		code[FLEXIBLE_ARRAY_MEMBER];
} VhnswCode;

#define VHNSW_CODE_SIZE(dims) \
	(offsetof(VhnswCode, code) + TYPEALIGN(8, dims))

/* What kind of vector it is decides where it lives in the index. */
typedef enum VhnswVectorClass
{
	VHNSW_VECTOR_NORMAL,		/* in the graph */
	VHNSW_VECTOR_ZERO,			/* cosine only: no direction */
	VHNSW_VECTOR_EXTREME		/* no bound can be proven */
} VhnswVectorClass;

/* A vector prepared for comparing it with codes. */
typedef struct VhnswQuery
{
	VhnswMetric metric;
	int			dims;
	VhnswVectorClass vector_class;	/* the rest is valid if NORMAL */
	float	   *rotated;		/* q' */
	double		norm_squared;	/* of q' */
	double		norm;
	double		rotation_error; /* relative, of q' and of stored vectors */
} VhnswQuery;

#define VHNSW_ROTATION_ROUNDS 4

extern void VhnswRotationSigns(uint64 seed, int dims, float *signs);
extern VhnswVectorClass VhnswClassify(VhnswMetric metric, const float *x,
									  int dims);
extern void VhnswQueryInit(VhnswQuery *query, const VhnswSpace *space,
						   const float *x);
extern void VhnswEncode(const VhnswQuery *query, VhnswCode *code);
extern double VhnswLowerBound(const VhnswQuery *query, double scale,
							  double norm, double residual, double dot);

/*
 * Estimated distance of a query from a code, given their inner product: the
 * square for L2 and cosine, the negative inner product else.
 */
static inline double
VhnswEstimate(const VhnswQuery *query, float scale, float norm, double dot)
{
	if (query->metric == VHNSW_INNER_PRODUCT)
		return -scale * dot;
	return query->norm_squared + (double) norm * norm - 2.0 * scale * dot;
}

/* The same between two codes. */
static inline float
VhnswCodeDistance(VhnswMetric metric, int dims,
				  const VhnswCode *a, const VhnswCode *b)
{
	float		product = a->scale * b->scale *
	(float) DistanceDotInt8(a->code, b->code, dims);

	if (metric == VHNSW_INNER_PRODUCT)
		return -product;
	return a->norm * a->norm + b->norm * b->norm - 2.0f * product;
}

#endif							/* VHNSW_CODE_H */
