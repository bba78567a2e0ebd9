/*-------------------------------------------------------------------------
 *
 * vhnsw_l1.c
 *	  Codes of vectors for the L1 distance (taxicab).
 *
 * Centered as for L2, but not rotated, which would change the distance: x' is
 * x less the mean, u is x' divided by the scale s, its largest magnitude / 127,
 * and rounded.  The residual is |x' - s u|_1, from which the triangle
 * inequality proves a bound.  Norms and products are not needed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_nibbles.h"

/* More than what sums of numbers below the normal ones can lose. */
#define TINY 1e-39

/* Codes of 4 bits are numbers in two's complement, of which -8 is not used. */
#define LARGEST_NIBBLE 7
#define UNUSED_NIBBLE 8

static const int8 nibble_levels[16] = {
	0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1
};

static VhnswVectorClass
l1_classify(VhnswMetric metric, const VhnswValue *value)
{
	return VhnswLargestOf(value->x, value->dims) > VHNSW_LARGEST_COMPONENT ?
		VHNSW_VECTOR_EXTREME : VHNSW_VECTOR_NORMAL;
}

static void
l1_prepare(VhnswQuery *query, const VhnswSpace *space, const VhnswValue *value)
{
	query->rotated = palloc_array(float, space->dims);
	query->norm = 0;
	for (int i = 0; i < space->dims; i++)
	{
		query->rotated[i] = (float)
			(value->x[i] - (space->mean ? (double) space->mean[i] : 0.0));
		query->norm += fabsf(query->rotated[i]);
	}
}

static float
largest_magnitude(const VhnswQuery *query)
{
	float		largest = 0;

	for (int i = 0; i < query->dims; i++)
		largest = Max(largest, fabsf(query->rotated[i]));
	return largest;
}

/* What the code u of this scale leaves; if the scale is 0, u is not read. */
static double
rest(const VhnswQuery *query, const int8 *u, float scale)
{
	const float *x = query->rotated;
	double		result = 0;

	for (int i = 0; i < query->dims; i++)
		result += fabs(scale > 0 ? x[i] - (double) scale * u[i] : x[i]);
	return result;
}

static void
set_norms(const VhnswQuery *query, double residual, VhnswCode *code)
{
	code->norm = (float) query->norm;

	/* Centering has rounded each component once. */
	code->residual = VhnswRoundUp((residual + 1.01 * VHNSW_UNIT * query->norm +
								   TINY) * (1 + 1e-12));
}

static void
l1_encode(const VhnswLayout *layout, const VhnswQuery *query, VhnswCode *code)
{
	float		largest = largest_magnitude(query);

	/* Shorter vectors have no digits to spare: the code is zero. */
	if (largest >= VHNSW_SMALLEST_NORM)
	{
		code->scale = largest / 127;
		for (int i = 0; i < query->dims; i++)
			code->code[i] = (int8) rint(query->rotated[i] / (double) code->scale);
	}
	set_norms(query, rest(query, code->code, code->scale), code);
}

/* x / step, rounded and cut off */
static inline int8
nibble(double x, double step)
{
	double		u = rint(x / step);

	return (int8) Max(-LARGEST_NIBBLE, Min(LARGEST_NIBBLE, u));
}

/* Of some steps, which cut off less or more, the best. */
static void
nibble_encode(const VhnswLayout *layout, const VhnswQuery *query,
			  VhnswCode *code)
{
	static const float shares[] = {1, 0.7f, 0.5f, 0.35f, 0.25f};
	float		largest = largest_magnitude(query);
	double		least = rest(query, NULL, 0);
	VhnswUnpacked room;

	for (int i = 0; i < lengthof(shares) && largest >= VHNSW_SMALLEST_NORM; i++)
	{
		float		scale = largest * shares[i] / LARGEST_NIBBLE;
		double		residual;

		for (int j = 0; j < query->dims; j++)
			room.u[j] = nibble(query->rotated[j], scale);
		residual = rest(query, room.u, scale);
		if (residual >= least)
			continue;
		least = residual;
		code->scale = scale;
		VhnswPackNibbles(room.u, query->dims, code->code);
	}
	set_norms(query, least, code);
}

static double
l1_known(const VhnswQuery *query, VhnswCodeView view)
{
	return DistanceL1FloatInt8(query->rotated, view.code, view.scale,
							   query->dims);
}

static double
nibble_known(const VhnswQuery *query, VhnswCodeView view)
{
	VhnswUnpacked room;

	return DistanceL1FloatInt8(query->rotated,
							   VhnswUnpackNibbles(view.code, nibble_levels,
												  query->dims, &room),
							   view.scale, query->dims);
}

static float
l1_estimate(const VhnswQuery *query, VhnswCodeView view)
{
	return (float) l1_known(query, view);
}

static float
nibble_estimate(const VhnswQuery *query, VhnswCodeView view)
{
	return (float) nibble_known(query, view);
}

/*
 *	|q - x| = |q' - x'| >= |q' - s u| - |x' - s u|
 *
 * 'known' is what the kernel gives for |q' - s u|.
 *
 * The kernel rounds each product, at most VHNSW_UNIT of |s u| in all, and then
 * errs as all kernels do; centering q has rounded each of its components; the
 * operator errs as all kernels do.
 */
static double
lower_bound(const VhnswQuery *query, VhnswCodeView view, double known)
{
	double		roundings = 1.01 * VHNSW_UNIT *
	(query->norm + (double) view.norm + view.residual);
	double		bound = known * (1 - DISTANCE_RELATIVE_ERROR) - roundings -
	view.residual - TINY;

	return bound > 0 ? bound * (1 - DISTANCE_RELATIVE_ERROR) : 0;
}

static double
l1_bound(const VhnswQuery *query, VhnswCodeView view, float *estimate)
{
	double		known = l1_known(query, view);

	*estimate = (float) known;
	return lower_bound(query, view, known);
}

static double
nibble_bound(const VhnswQuery *query, VhnswCodeView view, float *estimate)
{
	double		known = nibble_known(query, view);

	*estimate = (float) known;
	return lower_bound(query, view, known);
}

static float
l1_distance(const VhnswLayout *layout, const VhnswCode *a, const VhnswCode *b)
{
	return (float) DistanceL1Int8(a->code, a->scale, b->code, b->scale,
								  layout->dims);
}

static float
nibble_distance(const VhnswLayout *layout, const VhnswCode *a,
				const VhnswCode *b)
{
	VhnswUnpacked room_a;
	VhnswUnpacked room_b;
	int			dims = layout->dims;

	return (float) DistanceL1Int8(VhnswUnpackNibbles(a->code, nibble_levels,
													 dims, &room_a),
								  a->scale,
								  VhnswUnpackNibbles(b->code, nibble_levels,
													 dims, &room_b),
								  b->scale, dims);
}

static double
l1_operator(VhnswMetric metric, const VhnswValue *a, const VhnswValue *b)
{
	return DistanceL1(a->x, b->x, a->dims);
}

static bool
nibbles_are_sane(const VhnswLayout *layout, VhnswCodeView view)
{
	int			used = VhnswNibbleForEach(layout->dims);

	for (int i = 0; i < used; i++)
	{
		if ((view.code[i] & 0x0F) == UNUSED_NIBBLE ||
			(view.code[i] & 0xF0) == UNUSED_NIBBLE << 4)
			return false;
	}
	return VhnswNibblesAreSane(layout, view);
}

const VhnswCoder vhnsw_l1_coder = {
	.has_mean = true,
	.own_bits = 8,
	.code_bytes = VhnswByteForEach,
	.classify = l1_classify,
	.prepare = l1_prepare,
	.encode = l1_encode,
	.estimate = l1_estimate,
	.bound = l1_bound,
	.distance = l1_distance,
	.operator = l1_operator,
	.is_sane = VhnswBytesAreSane,
};

const VhnswCoder vhnsw_l1_nibble_coder = {
	.has_mean = true,
	.own_bits = VHNSW_NIBBLE_BITS,
	.code_bytes = VhnswNibbleForEach,
	.classify = l1_classify,
	.prepare = l1_prepare,
	.encode = nibble_encode,
	.estimate = nibble_estimate,
	.bound = nibble_bound,
	.distance = nibble_distance,
	.operator = l1_operator,
	.is_sane = nibbles_are_sane,
};
