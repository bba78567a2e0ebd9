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

/* More than what sums of numbers below the normal ones can lose. */
#define TINY 1e-39

static VhnswVectorClass
l1_classify(VhnswMetric metric, const VhnswValue *value)
{
	return VhnswLargestComponent(value) > VHNSW_LARGEST_COMPONENT ?
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

static void
l1_encode(const VhnswLayout *layout, const VhnswQuery *query, VhnswCode *code)
{
	const float *x = query->rotated;
	float		largest = 0;
	double		residual = 0;

	for (int i = 0; i < query->dims; i++)
		largest = Max(largest, fabsf(x[i]));

	/* Shorter vectors have no digits to spare: the code is zero. */
	if (largest >= VHNSW_SMALLEST_NORM)
		code->scale = largest / 127;
	for (int i = 0; i < query->dims; i++)
	{
		if (code->scale > 0)
			code->code[i] = (int8) rint(x[i] / (double) code->scale);
		residual += fabs(x[i] - (double) code->scale * code->code[i]);
	}
	code->norm = (float) query->norm;

	/* Centering has rounded each component once. */
	code->residual = VhnswRoundUp((residual + 1.01 * VHNSW_UNIT * query->norm +
								   TINY) * (1 + 1e-12));
}

static float
l1_estimate(const VhnswQuery *query, VhnswCodeView view)
{
	return (float) DistanceL1FloatInt8(query->rotated, view.code, view.scale,
									   query->dims);
}

/*
 *	|q - x| = |q' - x'| >= |q' - s u| - |x' - s u|
 *
 * The kernel rounds each product, at most VHNSW_UNIT of |s u| in all, and then
 * errs as all kernels do; centering q has rounded each of its components; the
 * operator errs as all kernels do.
 */
static double
l1_bound(const VhnswQuery *query, VhnswCodeView view, float *estimate)
{
	double		known = DistanceL1FloatInt8(query->rotated, view.code,
											view.scale, query->dims);
	double		roundings = 1.01 * VHNSW_UNIT *
	(query->norm + (double) view.norm + view.residual);
	double		bound = known * (1 - DISTANCE_RELATIVE_ERROR) - roundings -
	view.residual - TINY;

	*estimate = (float) known;
	return bound > 0 ? bound * (1 - DISTANCE_RELATIVE_ERROR) : 0;
}

static float
l1_distance(const VhnswLayout *layout, const VhnswCode *a, const VhnswCode *b)
{
	return (float) DistanceL1Int8(a->code, a->scale, b->code, b->scale,
								  layout->dims);
}

static double
l1_operator(VhnswMetric metric, const VhnswValue *a, const VhnswValue *b)
{
	return DistanceL1(a->x, b->x, a->dims);
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
