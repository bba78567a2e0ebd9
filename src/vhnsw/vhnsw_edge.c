/*-------------------------------------------------------------------------
 *
 * vhnsw_edge.c
 *	  Sketches of neighbors, kept beside the links to them.
 *
 * An element p keeps of each neighbor o a code u of w = o - p in few
 * dimensions, so that one visit to p's slot estimates the distances of all its
 * neighbors from a query q.  With z the projection of a centred and rotated
 * vector,
 *
 *	|q - o|^2 = |q - p|^2 + |w|^2 - 2 <w, q - p>
 *	<w, q - p> ~ |w|^2 / <u, z_w> * <u, z_q - z_p>
 *
 * The scale |w|^2 / <u, z_w> has the full length of w in the numerator, so
 * that the estimate is right for q = o, where it matters.  What does not
 * depend on q is kept in two factors,
 *
 *	S = -2 |w|^2 / <u, z_w>		A = |w|^2 - S <u, z_p>
 *	|q - o|^2 ~ |q - p|^2 + A + S <u, z_q>
 *
 * Negative inner products are half of |q - o|^2 - |q|^2 - |o|^2, hence
 *
 *	S = -|w|^2 / <u, z_w>		A = -<w, p> - S <u, z_p>
 *	-<q, o> ~ -<q, p> + c A + S <u, z_q>	(with <w, p> as the codes say)
 *
 * where any c is right, because A is what the sketch is off by for p itself:
 * zero, but for its noise.  That of the whole grows with |q - c p|, which is
 * least if c p is the projection of q onto p.  (With c = 1 a query much shorter
 * than the elements would see nothing but the noise of A.)
 *
 * Estimates of one element from several parents are averaged with weights
 * inverse to their variance, which grows with S^2 |q - p|^2.
 *
 * Codes are -3, -1, 1, 3 with two bits for a dimension, and -1, 1 with one;
 * they are stored counting from 0.  Measurements behind all of this: README,
 * section "Edges".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "vhnsw/vhnsw_edge.h"
#include "vhnsw/vhnsw_nibbles.h"

/* The largest factor, below HALF_MAX by what rounding may add. */
#define LARGEST_FACTOR 60000.0f

/*
 * Where a 2-bit code changes from 1 to 3, in units of the root mean square.
 * Best for normal deviates, which the rotation makes of the components.
 */
#define OUTER_THRESHOLD 0.98f

/*
 * How far below what is probable estimates are, in standard deviations; README,
 * section "Edges", has the measurements.
 */
#define OPTIMISM 0.65

/*
 * The share of an edge's squared length that its sketch shows, at least.  A
 * learned projection keeps 0.3 and more of it, another its share of the
 * dimensions, and a code shows 0.64 of that; the second is a quarter of that
 * share.
 */
#define LEAST_SHOWN (1.0f / 32)
#define LeastShownBy(space) \
	Min(LEAST_SHOWN, 0.25f * (space)->dims / (space)->source_dims)

static Half *slot_a(const VhnswLayout *layout, const VhnswSlotData *slot);
static Half *slot_s(const VhnswLayout *layout, const VhnswSlotData *slot);
static uint8 *slot_piece(const VhnswLayout *layout, const VhnswSlotData *slot,
						 int place);
static void project(const VhnswEdgeSpace *space, const float *rotated, float *z);
static float mean_square(const VhnswEdgeSpace *space);
static double sketch_noise(const VhnswEdgeSpace *space);
static void set_edge_scale(const VhnswLayout *layout, VhnswSlot slot,
						   float scale);

void
VhnswEdgeSpaceInit(VhnswEdgeSpace *space, const VhnswLayout *layout,
				   const float *matrix)
{
	space->metric = layout->metric;
	space->source_dims = layout->dims;
	space->dims = layout->edge_dims;
	space->bits = layout->edge_bits;
	space->is_direct = layout->is_direct;
	space->matrix = matrix;
}

/* Where the factors and codes of a slot lie. */
static Half *
slot_a(const VhnswLayout *layout, const VhnswSlotData *slot)
{
	return (Half *) ((char *) unconstify(VhnswSlotData *, slot) +
					 offsetof(VhnswSlotData, neighbors) +
					 layout->degree * sizeof(VhnswElement));
}

static Half *
slot_s(const VhnswLayout *layout, const VhnswSlotData *slot)
{
	return slot_a(layout, slot) + layout->degree;
}

static uint8 *
slot_codes(const VhnswLayout *layout, const VhnswSlotData *slot)
{
	return (uint8 *) (slot_s(layout, slot) + layout->degree);
}

/* The first piece of a neighbor's code; others follow chunk by chunk. */
static uint8 *
slot_piece(const VhnswLayout *layout, const VhnswSlotData *slot, int place)
{
	return slot_codes(layout, slot) +
		DistanceEdgeByte(layout->edge_bits, layout->edge_chunks, place, 0);
}

/* The projection of a centred and rotated vector: space->dims values. */
static void
project(const VhnswEdgeSpace *space, const float *rotated, float *z)
{
	if (space->matrix)
	{
		for (int i = 0; i < space->dims; i++)
			z[i] = (float)
				DistanceInnerProduct(space->matrix +
									 (Size) i * space->source_dims,
									 rotated, space->source_dims);
	}
	else
	{
		int			n = Min(space->dims, space->source_dims);

		memcpy(z, rotated, n * sizeof(float));
		memset(z + n, 0, (space->dims - n) * sizeof(float));
	}
}

/*
 * VhnswEdgeProjectCode
 *		The projection of an element, as far as its code knows it: space->dims
 *		values.
 */
void
VhnswEdgeProjectCode(const VhnswEdgeSpace *space, const VhnswCode *code,
					 float *z)
{
	VhnswUnpacked room;
	const int8 *u = VhnswRotatedNumbers(code, space->is_direct,
										space->source_dims, &room);

	if (space->matrix)
	{
		for (int i = 0; i < space->dims; i++)
			z[i] = code->scale * (float)
				DistanceDotFloatInt8(space->matrix +
									 (Size) i * space->source_dims,
									 u, space->source_dims);
	}
	else
	{
		int			n = Min(space->dims, space->source_dims);

		for (int i = 0; i < n; i++)
			z[i] = code->scale * u[i];
		memset(z + n, 0, (space->dims - n) * sizeof(float));
	}
}

/*
 * VhnswEdgeEncode
 *		The sketch of the edge between two elements.
 *
 * 'distance' is VhnswCodeDistance() between them.  'edge' has room for
 * VhnswEdgeSize() bytes.
 */
void
VhnswEdgeEncode(const VhnswEdgeSpace *space, const VhnswEdgeEnd *from,
				const VhnswEdgeEnd *to, float distance, VhnswEdge *edge)
{
	float		length_squared;
	float		constant;
	float		shown;
	DistanceEdgeSums sums =
	DistanceEdgeCode(from->z, to->z, OUTER_THRESHOLD, space->bits,
					 space->dims / DistanceEdgeChunkDims(space->bits),
					 edge->piece);

	if (space->metric == VHNSW_INNER_PRODUCT)
	{
		/* distance is -<p, o>, so <w, p> = -distance - |p|^2 */
		length_squared = from->norm * from->norm + to->norm * to->norm +
			2 * distance;
		constant = distance + from->norm * from->norm;
	}
	else
		length_squared = constant = distance;

	/* <u, z_w>^2 / |u|^2 */
	shown = sums.code_difference * sums.code_difference /
		(mean_square(space) * Min(space->dims, space->source_dims));

	/*
	 * A code that says next to nothing is of no use: o looks like p.  So it
	 * is where elements are nearer to each other than codes can tell, and
	 * what codes leave of them is most of the length.
	 */
	edge->s = 0;
	if (length_squared > 0 && sums.code_difference > 0 &&
		shown >= LeastShownBy(space) * length_squared)
		edge->s = -2 * length_squared / sums.code_difference;
	if (space->metric == VHNSW_INNER_PRODUCT)
		edge->s /= 2;
	edge->a = constant - edge->s * sums.code_from;
}

/*
 * VhnswEdgePut
 *		Put a sketch into a place of a slot.
 *
 * Factors are relative to the slot's edge scale, which is made larger if this
 * one does not fit.
 */
void
VhnswEdgePut(const VhnswLayout *layout, VhnswSlot slot, int place,
			 const VhnswEdge *edge)
{
	float		scale = slot->edge_scale;
	float		needed = Max(sqrtf(fabsf(edge->a) / LARGEST_FACTOR),
							 fabsf(edge->s) / LARGEST_FACTOR);
	float		factors[2];
	Half		halves[2];
	uint8	   *piece = slot_piece(layout, slot, place);

	if (scale == 0)
		scale = sqrtf(fabsf(edge->a));
	scale = Max(scale, Max(needed, FLT_MIN));
	if (scale != slot->edge_scale)
		set_edge_scale(layout, slot, scale);

	factors[0] = edge->a / scale / scale;
	factors[1] = edge->s / scale;
	DistanceFloatToHalf(factors, halves, 2);
	slot_a(layout, slot)[place] = halves[0];
	slot_s(layout, slot)[place] = halves[1];
	for (int i = 0; i < layout->edge_chunks; i++)
		memcpy(piece + i * DISTANCE_EDGE_CHUNK,
			   edge->piece + i * DISTANCE_EDGE_PIECE, DISTANCE_EDGE_PIECE);
}

/* Express the factors of a slot in another scale. */
static void
set_edge_scale(const VhnswLayout *layout, VhnswSlot slot, float scale)
{
	float		ratio = slot->edge_scale / scale;
	float		a[VHNSW_MAX_DEGREE];
	float		s[VHNSW_MAX_DEGREE];

	DistanceHalfToFloat(slot_a(layout, slot), a, layout->degree);
	DistanceHalfToFloat(slot_s(layout, slot), s, layout->degree);
	for (int i = 0; i < layout->degree; i++)
	{
		a[i] *= ratio * ratio;
		s[i] *= ratio;
	}
	DistanceFloatToHalf(a, slot_a(layout, slot), layout->degree);
	DistanceFloatToHalf(s, slot_s(layout, slot), layout->degree);
	slot->edge_scale = scale;
}

/* Read a sketch back. */
void
VhnswEdgeGet(const VhnswLayout *layout, const VhnswSlotData *slot, int place,
			 VhnswEdge *edge)
{
	const uint8 *piece = slot_piece(layout, slot, place);

	edge->a = HalfToFloat(slot_a(layout, slot)[place]) *
		slot->edge_scale * slot->edge_scale;
	edge->s = HalfToFloat(slot_s(layout, slot)[place]) * slot->edge_scale;
	for (int i = 0; i < layout->edge_chunks; i++)
		memcpy(edge->piece + i * DISTANCE_EDGE_PIECE,
			   piece + i * DISTANCE_EDGE_CHUNK, DISTANCE_EDGE_PIECE);
}

/* Make the sketch of a place all zero. */
void
VhnswEdgeClear(const VhnswLayout *layout, VhnswSlot slot, int place)
{
	uint8	   *piece = slot_piece(layout, slot, place);

	slot_a(layout, slot)[place] = 0;
	slot_s(layout, slot)[place] = 0;
	for (int i = 0; i < layout->edge_chunks; i++)
		memset(piece + i * DISTANCE_EDGE_CHUNK, 0, DISTANCE_EDGE_PIECE);
}

/*
 * VhnswEdgeQueryInit
 *		Project and quantize a centred and rotated query.
 *
 * Eight bits are enough: with twelve the same number of expansions is needed,
 * with four 5 to 12 % more.  The query lives in the current memory context.
 */
void
VhnswEdgeQueryInit(VhnswEdgeQuery *query, const VhnswEdgeSpace *space,
				   const float *rotated)
{
	float	   *z = palloc_array(float, space->dims);
	float		largest = 0;
	int32		sum = 0;

	project(space, rotated, z);
	for (int i = 0; i < space->dims; i++)
		largest = Max(largest, fabsf(z[i]));

	query->bits = space->bits;
	query->chunks = space->dims / DistanceEdgeChunkDims(space->bits);
	query->unit = largest > FLT_MIN ? largest / 127 : 1;
	query->values = palloc_array(int8, space->dims);
	for (int i = 0; i < space->dims; i++)
	{
		int			value = (int) rintf(z[i] / query->unit);

		query->values[i] = (int8) value;
		sum += value;
	}
	query->bias = ((1 << space->bits) - 1) * sum;
	query->optimism = OPTIMISM * sketch_noise(space);
	query->norm_squared = (float) DistanceInnerProduct(rotated, rotated,
													   space->source_dims);
	pfree(z);
}

/* The mean of the squares that a code stands for */
static float
mean_square(const VhnswEdgeSpace *space)
{
	return space->bits == 2 ? 3.6f : 1;
}

/*
 * How far off an estimate is for a query in a random direction: the standard
 * deviation, in units of |S| |q - p|.
 *
 * What S u misses is r = S u + 2 w, at a right angle to w.  So |r|^2 = S^2
 * |u|^2 (1 - c^2), c being the cosine of the angle between u and w, and the
 * inner product of r with a random direction is |r| over the root of all
 * dimensions.  |u|^2 and c^2 are those of normal deviates, with four fifths of
 * |w|^2 in the dimensions of sketches.
 */
static double
sketch_noise(const VhnswEdgeSpace *space)
{
	double		c_squared = 0.8 * (space->bits == 2 ? 0.88 : 0.64);
	double		dims = Min(space->dims, space->source_dims);

	return sqrt(mean_square(space) * (1 - c_squared) * dims / space->source_dims);
}

/*
 * VhnswEdgeEstimates
 *		Optimistic distances of the query from the first n neighbors of a slot.
 *
 * 'distance' is that of the slot's own element.  'estimates' has room for
 * VHNSW_MAX_DEGREE values.
 */
void
VhnswEdgeEstimates(const VhnswLayout *layout, const VhnswEdgeQuery *query,
				   const VhnswSlotData *slot, int n, float distance,
				   float *estimates)
{
	int			groups = (n + DISTANCE_EDGE_GROUP - 1) / DISTANCE_EDGE_GROUP;
	int32		dots[VHNSW_MAX_DEGREE];
	float		a[VHNSW_MAX_DEGREE];
	float		s[VHNSW_MAX_DEGREE];
	float		scale = slot->edge_scale;
	float		scale_squared = scale * scale;
	float		optimism;
	float		share = 1;		/* of A that is used: c */
	float		gap = distance; /* |q - c p|^2 */

	if (layout->metric == VHNSW_INNER_PRODUCT)
	{
		share = -distance / slot->norm / slot->norm;
		if (!isfinite(share))
			share = 0;
		gap = query->norm_squared + share * distance;
	}
	optimism = query->optimism * sqrtf(Max(gap, FLT_MIN));

	DistanceEdgeDots(query->values, slot_codes(layout, slot), query->bits,
					 query->chunks, groups, dots);
	DistanceHalfToFloat(slot_a(layout, slot), a, n);
	DistanceHalfToFloat(slot_s(layout, slot), s, n);
	for (int i = 0; i < n; i++)
	{
		float		factor = s[i] * scale;

		/* A code c counts from 0; it stands for 2c - (2^bits - 1). */
		estimates[i] = distance + share * a[i] * scale_squared +
			factor * query->unit * (float) (2 * dots[i] - query->bias) -
			fabsf(factor) * optimism;
	}
}
