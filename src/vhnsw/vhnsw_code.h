/*-------------------------------------------------------------------------
 *
 * vhnsw_code.h
 *	  Values as codes, distances between codes, and proven bounds.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_CODE_H
#define VHNSW_CODE_H

#include "postgres.h"

#include <float.h>
#include <math.h>

#include "distance/distance.h"
#include "vhnsw/vhnsw_page.h"
#include "vhnsw/vhnsw_value.h"

/* How the values of one index become codes. */
typedef struct VhnswSpace
{
	VhnswValueType type;
	VhnswMetric metric;
	int			dims;
	int			code_bytes;		/* as in VhnswLayout */
	const struct VhnswCoder *coder;
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

/*
 * A value prepared for comparing it with codes.  What is not said to be of all
 * spaces belongs to rotated vectors.
 */
typedef struct VhnswQuery
{
	VhnswMetric metric;			/* of all */
	const struct VhnswCoder *coder; /* of all */
	bool		is_direct;		/* of all */
	bool		likely;			/* of all; see VhnswQueryWantLikely() */
	int			dims;			/* of all */
	VhnswVectorClass vector_class;	/* of all; the rest is valid if NORMAL */
	float	   *rotated;		/* q', palloc'd; of L1, centred only */
	const uint8 *bits;			/* of bit strings: those of the value */
	struct VhnswSparseQuery *sparse;	/* of sparse vectors, palloc'd */
	double		norm_squared;	/* of q' */
	double		norm;			/* likewise; of L1, the sum of magnitudes */
	double		rotation_error; /* relative, of q' and of stored vectors */
} VhnswQuery;

/*
 * What makes a kind of codes.  The functions of this header call these; for
 * "direct" codes, those of 8 bits of rotated vectors, they do without estimate
 * and distance, which spares a jump where it counts.  Only of direct codes may
 * others read coordinates.
 */
typedef struct VhnswCoder
{
	bool		is_rotated;		/* of vhnsw_rotated.c: values are rotated */
	bool		is_direct;
	bool		has_mean;		/* but for the inner product */
	bool		has_likely_bounds;
	int			own_bits;		/* as the metapage says */

	/* Length of a code, which rises with the dimensions; NULL if it is free. */
	int			(*code_bytes) (int dims);
	VhnswVectorClass (*classify) (VhnswMetric metric, const VhnswValue *value);

	/* of a value of class NORMAL, with the common fields filled in */
	void		(*prepare) (VhnswQuery *query, const VhnswSpace *space,
							const VhnswValue *value);

	/* all but scale, norm, residual and code are zero already */
	void		(*encode) (const VhnswLayout *layout, const VhnswQuery *query,
						   VhnswCode *code);
	float		(*estimate) (const VhnswQuery *query, VhnswCodeView view);
	double		(*bound) (const VhnswQuery *query, VhnswCodeView view,
						  float *estimate);
	float		(*distance) (const VhnswLayout *layout, const VhnswCode *a,
							 const VhnswCode *b);

	/* what the SQL operator gives */
	double		(*operator) (VhnswMetric metric, const VhnswValue *a,
							 const VhnswValue *b);

	/* Could encode() have made this? */
	bool		(*is_sane) (const VhnswLayout *layout, VhnswCodeView view);
} VhnswCoder;

extern const VhnswCoder vhnsw_rotated_coder;
extern const VhnswCoder vhnsw_rotated_nibble_coder;
extern const VhnswCoder vhnsw_l1_coder;
extern const VhnswCoder vhnsw_l1_nibble_coder;
extern const VhnswCoder vhnsw_bits_coder;
extern const VhnswCoder vhnsw_sparse_coder;

#define VHNSW_ROTATION_ROUNDS 4

extern void VhnswRotationSigns(uint64 seed, int dims, float *signs);

/* The largest relative error of one rounding to float4. */
#define VHNSW_UNIT (1.0 / (1 << 24))

/* Components beyond this could overflow float4 when squared and added. */
#define VHNSW_LARGEST_COMPONENT 1e15f

/* Vectors shorter than this are stored as zero, with a residual. */
#define VHNSW_SMALLEST_NORM 1e-30

static inline float
VhnswRoundUp(double x)
{
	float		result = (float) x;

	return result >= x ? result : nextafterf(result, FLT_MAX);
}

extern float VhnswLargestOf(const float *x, int n);
extern int	VhnswSparseCodeBytes(int dims, int count);
extern int	VhnswByteForEach(int dims);
extern bool VhnswBytesAreSane(const VhnswLayout *layout, VhnswCodeView view);
extern int	VhnswMaxDims(const VhnswCoder *coder, int m);
extern void VhnswQueryInit(VhnswQuery *query, const VhnswSpace *space,
						   const VhnswValue *value);
extern void VhnswQueryWantLikely(VhnswQuery *query);
extern void VhnswEncode(const VhnswLayout *layout, const VhnswQuery *query,
						VhnswCode *code);

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

static inline VhnswCodeView
VhnswViewOfCode(const VhnswCode *code)
{
	VhnswCodeView view = {code->scale, code->norm, code->residual, code->code};

	return view;
}

/*
 * VhnswBound
 *		A value that the SQL operator cannot fall below, or if query->likely is
 *		set, hardly ever does.
 *
 * Also sets *estimate to what VhnswEstimate() returns.
 */
static inline double
VhnswBound(const VhnswQuery *query, VhnswCodeView view, float *estimate)
{
	return query->coder->bound(query, view, estimate);
}

/* Are estimates squares of distances? */
#define VhnswMetricIsSquared(metric) \
	((metric) == VHNSW_L2 || (metric) == VHNSW_COSINE)

/* Estimate of a rotated vector whose product with the code is 'dot'. */
static inline float
VhnswEstimateOfDot(const VhnswQuery *query, VhnswCodeView view, double dot)
{
	if (query->metric == VHNSW_INNER_PRODUCT)
		return (float) (-view.scale * dot);
	return (float) (query->norm_squared + (double) view.norm * view.norm -
					2.0 * view.scale * dot);
}

/*
 * Estimated distance of a query from a code: of rotated vectors the square for
 * L2 and cosine, the negative inner product else.
 */
static inline float
VhnswEstimate(const VhnswQuery *query, VhnswCodeView view)
{
	if (unlikely(!query->is_direct))
		return query->coder->estimate(query, view);

	return VhnswEstimateOfDot(query, view,
							  DistanceDotFloatInt8(query->rotated, view.code,
												   query->dims));
}

/* The same between two codes whose product is 'dot'. */
static inline float
VhnswDistanceOfDot(const VhnswLayout *layout, const VhnswCode *a,
				   const VhnswCode *b, int32 dot)
{
	float		product = a->scale * b->scale * (float) dot;

	if (layout->metric == VHNSW_INNER_PRODUCT)
		return -product;
	return a->norm * a->norm + b->norm * b->norm - 2.0f * product;
}

/* Estimated distance between two codes. */
static inline float
VhnswCodeDistance(const VhnswLayout *layout, const VhnswCode *a,
				  const VhnswCode *b)
{
	if (unlikely(!layout->is_direct))
		return layout->coder->distance(layout, a, b);

	return VhnswDistanceOfDot(layout, a, b,
							  DistanceDotInt8(a->code, b->code, layout->dims));
}

/*
 * The squared distance that equal vectors may seem to have by what their code
 * leaves of them and by rounding.  Of codes of rotated vectors.
 */
static inline float
VhnswCodeResolution(const VhnswCode *code)
{
	return 2 * code->residual * code->residual +
		4 * FLT_EPSILON * code->norm * code->norm;
}

/*
 * Under inner product: the squared distance of what has the same directions and
 * length 1, of a negative product and both lengths.  Products of codes may be
 * larger than those of lengths.  A zero vector is at a right angle to all
 * others.
 */
static inline float
VhnswDirectionDistance(float distance, float length_a, float length_b)
{
	float		lengths = length_a * length_b;

	if (lengths > 0)
		return Max(2 + 2 * distance / lengths, 0);
	return length_a > 0 || length_b > 0 ? 2 : 0;
}

/* VhnswCodeResolution(); under inner product of directions */
static inline float
VhnswDirectionResolution(const VhnswLayout *layout, const VhnswCode *code)
{
	float		norm_squared = code->norm * code->norm;
	float		squared = VhnswCodeResolution(code);

	if (layout->metric == VHNSW_INNER_PRODUCT)
		return norm_squared > 0 ? squared / norm_squared : 0;
	return squared;
}

/* Codes that are best compared with one in a call */
#define VHNSW_CODES_AT_ONCE 64

extern void VhnswCodeDistances(const VhnswLayout *layout,
							   const VhnswCode *code,
							   const VhnswCode *const *others, int n,
							   float *distances);

#endif							/* VHNSW_CODE_H */
