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
#include "vhnsw/vhnsw_value.h"

/* How the vectors of one index become codes. */
typedef struct VhnswSpace
{
	VhnswValueType type;
	VhnswMetric metric;
	int			dims;
	const float *mean;			/* dims values, or NULL for zero */
	const float *signs;			/* of the rotation: 4 * dims times +-1 */
} VhnswSpace;

/* A code in memory; VhnswCodeSize() bytes. */
typedef struct VhnswCode
{
	float		scale;
	float		norm;			/* of the centred, rotated vector */
	float		residual;		/* what the code leaves, rounded up */
	uint32		unused;			/* 0, so that codes compare by memcmp() */
	int8		code[FLEXIBLE_ARRAY_MEMBER];
} VhnswCode;

/* A code wherever it is: in a slot, on an entry page, in memory. */
typedef struct VhnswCodeView
{
	float		scale;
	float		norm;
	float		residual;
	const int8 *code;
} VhnswCodeView;

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
	float	   *rotated;		/* q', palloc'd */
	double		norm_squared;	/* of q' */
	double		norm;
	double		rotation_error; /* relative, of q' and of stored vectors */
} VhnswQuery;

#define VHNSW_ROTATION_ROUNDS 4

extern void VhnswRotationSigns(uint64 seed, int dims, float *signs);
extern VhnswVectorClass VhnswClassify(VhnswMetric metric, const float *x,
									  int dims);
extern void VhnswQueryInit(VhnswQuery *query, const VhnswSpace *space,
						   const VhnswValue *value);
extern void VhnswEncode(const VhnswLayout *layout, const VhnswQuery *query,
						VhnswCode *code);
extern double VhnswBound(const VhnswQuery *query, VhnswCodeView view,
						 float *estimate);
extern double VhnswOperatorDistance(VhnswMetric metric, const VhnswValue *a,
									const VhnswValue *b);

extern void VhnswSlotCopyCode(const VhnswLayout *layout, VhnswSlot slot,
							  VhnswCode *code);
extern void VhnswSlotSetCode(const VhnswLayout *layout, VhnswSlot slot,
							 const VhnswCode *code);
extern bool VhnswSlotHasCode(const VhnswLayout *layout, VhnswSlot slot,
							 const VhnswCode *code);

static inline Size
VhnswCodeSize(const VhnswLayout *layout)
{
	return offsetof(VhnswCode, code) + layout->code_bytes;
}

static inline VhnswCodeView
VhnswSlotView(const VhnswLayout *layout, const VhnswSlotData *slot)
{
	VhnswCodeView view = {slot->scale, slot->norm, slot->residual,
	(const int8 *) slot + layout->code_offset};

	return view;
}

static inline VhnswCodeView
VhnswEntryView(const VhnswEntryData *entry)
{
	VhnswCodeView view = {entry->scale, entry->norm, entry->residual,
	entry->code};

	return view;
}

/*
 * Estimated distance of a query from a code: the square for L2 and cosine, the
 * negative inner product else.
 */
static inline float
VhnswEstimate(const VhnswQuery *query, VhnswCodeView view)
{
	double		dot = DistanceDotFloatInt8(query->rotated, view.code,
										   query->dims);

	if (query->metric == VHNSW_INNER_PRODUCT)
		return (float) (-view.scale * dot);
	return (float) (query->norm_squared + (double) view.norm * view.norm -
					2.0 * view.scale * dot);
}

/* The same between two codes. */
static inline float
VhnswCodeDistance(const VhnswLayout *layout, const VhnswCode *a,
				  const VhnswCode *b)
{
	float		product = a->scale * b->scale *
	(float) DistanceDotInt8(a->code, b->code, layout->dims);

	if (layout->metric == VHNSW_INNER_PRODUCT)
		return -product;
	return a->norm * a->norm + b->norm * b->norm - 2.0f * product;
}

#endif							/* VHNSW_CODE_H */
