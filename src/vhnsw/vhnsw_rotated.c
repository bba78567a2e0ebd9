/*-------------------------------------------------------------------------
 *
 * vhnsw_rotated.c
 *	  Codes of vectors for L2, inner product and cosine: center, rotate and
 *	  quantize vectors; prove lower bounds of distances.
 *
 * See README, sections "Codes" and "Bounds".  Codes and bounds must come out
 * the same on every server, so arithmetic follows the rules of
 * distance/distance.h: no fused multiply-add, no reordering.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_nibbles.h"

#define UNIT VHNSW_UNIT

/* Loops over so many values are done by vector instructions. */
#define STRIDE 8

/* A sum with this has no digits behind the point. */
#define ROUNDER 6755399441055744.0	/* 1.5 * 2^52 */

/* Under cosine, squares of smaller vectors could lose digits in float4. */
#define SMALLEST_DIRECTION 1e-15f

/*
 * What codes of 4 bits stand for, and what the largest is in units of the root
 * mean square of coordinates: levels that leave least of normal deviates (Max,
 * "Quantizing for Minimum Distortion", IRE Transactions on Information Theory,
 * 1960), as 8-bit numbers.
 */
const int8	vhnsw_rotated_levels[16] = {
	6, 18, 30, 44, 58, 75, 96, 127, -6, -18, -30, -44, -58, -75, -96, -127
};

#define LARGEST_LEVEL 2.733
#define NEGATIVE_LEVEL 8

/* How many deviations of its error a likely bound is lower than an estimate. */
#define DEVIATIONS 5

/*
 * What is left of a vector by a code of 4 bits is a hundredth of its square, or
 * less, if rotation has made normal deviates of it.  If not, nothing is likely.
 */
#define UNUSUAL_LOSS 0.02

/* A smaller L2 distance may be zero in the operator's arithmetic. */
#define SMALLEST_DISTANCE 1e-17

static void apply_signs(float *restrict x, const float *restrict signs, int n);
static void mix_halves(float *x, int dims, int shift);
static void rotate(const VhnswSpace *space, float *x);
static VhnswVectorClass rotated_classify(VhnswMetric metric,
										 const VhnswValue *value);
static void rotated_prepare(VhnswQuery *query, const VhnswSpace *space,
							const VhnswValue *value);
static void rotated_encode(const VhnswLayout *layout, const VhnswQuery *query,
						   VhnswCode *code);
static void fit_scale(const VhnswQuery *query, const int8 *u, VhnswCode *code);
static double rotated_bound(const VhnswQuery *query, VhnswCodeView view,
							float *estimate);
static double bound_of_dot(const VhnswQuery *query, VhnswCodeView view,
						   double dot);
static double lower_bound(const VhnswQuery *query, double scale, double norm,
						  double residual, double dot);
static double likely_bound(const VhnswQuery *query, VhnswCodeView view,
						   double dot);
static double bound_of_product(const VhnswQuery *query, double norm,
							   double residual, double product);

/*
 * VhnswRotationSigns
 *		The signs of the rotation, from the seed of the metapage.
 *
 * Part of the on-disk format: splitmix64, one bit for each sign.
 */
void
VhnswRotationSigns(uint64 seed, int dims, float *signs)
{
	uint64		bits = 0;

	for (int i = 0; i < VHNSW_ROTATION_ROUNDS * dims; i++)
	{
		if (i % 64 == 0)
		{
			seed += UINT64CONST(0x9E3779B97F4A7C15);
			bits = seed;
			bits = (bits ^ (bits >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
			bits = (bits ^ (bits >> 27)) * UINT64CONST(0x94D049BB133111EB);
			bits ^= bits >> 31;
		}
		signs[i] = (bits >> (i % 64)) & 1 ? 1.0f : -1.0f;
	}
}

/* Turn values over whose sign is -1. */
static void
apply_signs(float *restrict x, const float *restrict signs, int n)
{
	int			i;

	for (i = 0; i + STRIDE <= n; i += STRIDE)
	{
		for (int j = i; j < i + STRIDE; j++)
			x[j] *= signs[j];
	}
	for (; i < n; i++)
		x[i] *= signs[i];
}

/*
 * Rotate coordinate i against i + dims/2 by 45 degrees.  With an odd number
 * of dimensions one is left out: the last, or with 'shift' the first.
 */
static void
mix_halves(float *x, int dims, int shift)
{
	const float root_half = 0.70710678f;
	int			half = dims / 2;
	float	   *restrict low = x + shift;
	float	   *restrict high = x + shift + half;

	int			i;

	for (i = 0; i + STRIDE <= half; i += STRIDE)
	{
		for (int j = i; j < i + STRIDE; j++)
		{
			float		a = low[j];
			float		b = high[j];

			low[j] = (a + b) * root_half;
			high[j] = (a - b) * root_half;
		}
	}
	for (; i < half; i++)
	{
		float		a = low[i];
		float		b = high[i];

		low[i] = (a + b) * root_half;
		high[i] = (a - b) * root_half;
	}
}

/* Apply the index's rotation to x. */
static void
rotate(const VhnswSpace *space, float *x)
{
	int			dims = space->dims;
	int			n = 1;

	while (2 * n <= dims)
		n *= 2;

	for (int round = 0; round < VHNSW_ROTATION_ROUNDS; round++)
	{
		const float *signs = space->signs + round * dims;
		bool		odd_round = round % 2 == 1;

		apply_signs(x, signs, dims);
		DistanceHadamard(odd_round ? x + dims - n : x, n);
		if (n < dims)
			mix_halves(x, dims, odd_round ? dims % 2 : 0);
	}
}

static VhnswVectorClass
rotated_classify(VhnswMetric metric, const VhnswValue *value)
{
	float		largest = VhnswLargestOf(value->x, value->dims);

	if (largest > VHNSW_LARGEST_COMPONENT)
		return VHNSW_VECTOR_EXTREME;
	if (metric == VHNSW_COSINE)
	{
		if (largest == 0)
			return VHNSW_VECTOR_ZERO;
		if (largest < SMALLEST_DIRECTION)
			return VHNSW_VECTOR_EXTREME;
	}
	return VHNSW_VECTOR_NORMAL;
}

/* Subtract the mean, if it is not zero, from a vector divided by its length. */
static void
center(float *restrict centered, const float *restrict x, double length,
	   const float *restrict mean, int dims)
{
	int			i = 0;

	/* Doubles, rounded to floats, are what floats would give. */
	if (mean && length == 1)
	{
		for (; i + STRIDE <= dims; i += STRIDE)
		{
			for (int j = i; j < i + STRIDE; j++)
				centered[j] = x[j] - mean[j];
		}
	}
	else if (mean)
	{
		for (; i + STRIDE <= dims; i += STRIDE)
		{
			for (int j = i; j < i + STRIDE; j++)
				centered[j] = (float) (x[j] / length - mean[j]);
		}
	}
	for (; i < dims; i++)
		centered[i] = (float) (x[i] / length - (mean ? mean[i] : 0.0));
}

/* Normalize (cosine), center and rotate. */
static void
rotated_prepare(VhnswQuery *query, const VhnswSpace *space,
				const VhnswValue *value)
{
	const float *x = value->x;
	int			dims = space->dims;
	int			levels = 0;
	double		length = 1;

	query->rotated = palloc_array(float, dims);
	if (space->metric == VHNSW_COSINE)
		length = sqrt(DistanceNormSquared(x, dims));
	center(query->rotated, x, length, space->mean, dims);
	rotate(space, query->rotated);

	query->norm_squared = DistanceNormSquared(query->rotated, dims);
	query->norm = sqrt(query->norm_squared);

	/*
	 * Each level of the transform adds one rounding, measured against the
	 * length of the vector; the scaling takes two, the mixing three, the
	 * centring one.
	 */
	for (int n = dims; n > 1; n /= 2)
		levels++;
	query->rotation_error =
		(VHNSW_ROTATION_ROUNDS * (levels + 5) + 1) * UNIT;
}

static void
rotated_encode(const VhnswLayout *layout, const VhnswQuery *query,
			   VhnswCode *code)
{
	const float *x = query->rotated;
	int8	   *u = code->code;

	if (query->norm >= VHNSW_SMALLEST_NORM)
	{
		double		step = 127.0 / VhnswLargestOf(x, query->dims);
		int			i;

		for (i = 0; i + STRIDE <= query->dims; i += STRIDE)
		{
			for (int j = i; j < i + STRIDE; j++)
				u[j] = (int8) (x[j] * step + ROUNDER - ROUNDER);
		}
		for (; i < query->dims; i++)
			u[i] = (int8) (x[i] * step + ROUNDER - ROUNDER);
	}
	fit_scale(query, code->code, code);
}

/* The level that is nearest to a number. */
static inline int8
nearest_level(float x)
{
	float		magnitude = fabsf(x);
	int			level = (magnitude > 12) + (magnitude > 24) + (magnitude > 37) +
	(magnitude > 51) + (magnitude > 66.5f) + (magnitude > 85.5f) +
	(magnitude > 111.5f);

	return (int8) (x < 0 ? level + NEGATIVE_LEVEL : level);
}

/* Of some units for the levels the one that leaves least. */
static void
nibble_encode(const VhnswLayout *layout, const VhnswQuery *query,
			  VhnswCode *code)
{
	static const double shares[] = {1, 0.85, 0.92, 1.08, 1.16};
	int			dims = query->dims;
	double		best = 0;
	VhnswUnpacked nibbles;
	VhnswUnpacked room;

	for (int i = 0; i < lengthof(shares) && query->norm >= VHNSW_SMALLEST_NORM; i++)
	{
		float		unit = (float) (127 * sqrt((double) dims) /
									(LARGEST_LEVEL * shares[i] * query->norm));
		double		product;
		double		kept;

		for (int j = 0; j < dims; j++)
		{
			nibbles.u[j] = nearest_level(query->rotated[j] * unit);
			room.u[j] = vhnsw_rotated_levels[nibbles.u[j]];
		}
		product = DistanceDotFloatInt8(query->rotated, room.u, dims) /
			query->norm;
		kept = product * product / DistanceDotInt8(room.u, room.u, dims);
		if (kept <= best)
			continue;
		best = kept;
		VhnswPackNibbles(nibbles.u, dims, code->code);
	}
	fit_scale(query, VhnswRotatedNumbers(code, false, dims, &room), code);
}

/*
 * Set scale, norm and residual of the code u.  A vector too short for arithmetic
 * has the code zero, and u is not read.
 */
static void
fit_scale(const VhnswQuery *query, const int8 *u, VhnswCode *code)
{
	const float *x = query->rotated;
	double		residual_squared = 0;
	int64		code_squared = 0;
	double		product = 0;

	if (query->norm < VHNSW_SMALLEST_NORM)
	{
		code->residual = VhnswRoundUp(VHNSW_SMALLEST_NORM);
		return;
	}
	for (int i = 0; i < query->dims; i++)
	{
		code_squared += u[i] * u[i];
		product += (double) x[i] * u[i];
	}

	/* Least squares, so that what remains is orthogonal to the code. */
	code->scale = (float) (product / (double) code_squared);
	for (int i = 0; i < query->dims; i++)
	{
		double		rest = x[i] - (double) code->scale * u[i];

		residual_squared += rest * rest;
	}
	code->norm = (float) query->norm;
	code->residual = VhnswRoundUp(sqrt(residual_squared) * (1 + 1e-12));
}

static double
rotated_bound(const VhnswQuery *query, VhnswCodeView view, float *estimate)
{
	double		dot = DistanceDotFloatInt8(query->rotated, view.code,
										   query->dims);

	*estimate = VhnswEstimateOfDot(query, view, dot);
	return bound_of_dot(query, view, dot);
}

static double
nibble_dot(const VhnswQuery *query, VhnswCodeView view)
{
	VhnswUnpacked room;

	return DistanceDotFloatInt8(query->rotated,
								VhnswUnpackNibbles(view.code,
												   vhnsw_rotated_levels,
												   query->dims, &room),
								query->dims);
}

/*
 * The scale for estimates.  What is left of a vector beside its code is not at
 * a right angle to the vector, so the products of near vectors with s u are too
 * small, by that part of them which the code has lost.  This is the s with which
 * it is.
 */
static inline float
unbiased_scale(float scale, float norm, float residual)
{
	float		norm_squared = norm * norm;
	float		known_squared = norm_squared - residual * residual;

	return known_squared > 0 ? scale * (norm_squared / known_squared) : scale;
}

static float
estimate_of_dot(const VhnswQuery *query, VhnswCodeView view, double dot)
{
	view.scale = unbiased_scale(view.scale, view.norm, view.residual);
	return VhnswEstimateOfDot(query, view, dot);
}

static float
nibble_estimate(const VhnswQuery *query, VhnswCodeView view)
{
	return estimate_of_dot(query, view, nibble_dot(query, view));
}

static double
nibble_bound(const VhnswQuery *query, VhnswCodeView view, float *estimate)
{
	double		dot = nibble_dot(query, view);

	*estimate = estimate_of_dot(query, view, dot);
	return bound_of_dot(query, view, dot);
}

static float
nibble_distance(const VhnswLayout *layout, const VhnswCode *a,
				const VhnswCode *b)
{
	VhnswUnpacked room_a;
	VhnswUnpacked room_b;
	int			dims = layout->dims;
	int32		dot = DistanceDotInt8(VhnswRotatedNumbers(a, false, dims, &room_a),
									  VhnswRotatedNumbers(b, false, dims, &room_b),
									  dims);
	float		product = unbiased_scale(a->scale, a->norm, a->residual) *
	unbiased_scale(b->scale, b->norm, b->residual) * (float) dot;

	/* Of vectors nearer than codes can tell it may come out below zero. */
	if (layout->metric == VHNSW_INNER_PRODUCT)
		return -product;
	return Max(a->norm * a->norm + b->norm * b->norm - 2.0f * product, 0);
}

/* Of few dimensions nothing is likelier than what is proven. */
static double
bound_of_dot(const VhnswQuery *query, VhnswCodeView view, double dot)
{
	if (query->likely && query->dims > DEVIATIONS * DEVIATIONS)
		return likely_bound(query, view, dot);
	return lower_bound(query, view.scale, view.norm, view.residual, dot);
}

/*
 * 'dot' is DistanceDotFloatInt8(query->rotated, code as bytes).  With x' the centred
 * and rotated vector, u its code, s the scale and e = x' - s u:
 *
 *	<q',x'> = s<q',u> + <q',e>
 *
 * The first term is known up to the error of the dot product.  e is orthogonal
 * to u but for the rounding of s, so only the part of q' orthogonal to u counts
 * in the second, by Cauchy and Schwarz.
 *
 * Nothing overflows: extreme vectors have no codes.
 */
static double
lower_bound(const VhnswQuery *query, double scale, double norm,
			double residual, double dot)
{
	const double stored = 4 * UNIT; /* norm and residual as float4 */
	double		norm_squared = norm * norm;
	double		known_squared;	/* |s u|^2, rounded up */
	double		known;
	double		length;			/* |q'| in margins */
	double		dot_error;
	double		along;			/* |s<q',u>|, rounded down */
	double		across_squared; /* of q' orthogonal to u, rounded up */
	double		product;		/* <q',x'>, rounded up */

	known_squared = norm_squared * (1 + stored) -
		residual * residual * (1 - stored);
	known_squared = Max(known_squared, 0) * (1 + stored);
	known = sqrt(known_squared);

	/*
	 * Relative errors hold for normal numbers.  Below, they are some 1e-45
	 * for each component, which this covers.
	 */
	length = query->norm + VHNSW_SMALLEST_NORM;
	dot_error = DISTANCE_RELATIVE_ERROR * length * known;
	along = Max(fabs(scale * dot) - dot_error, 0);
	across_squared = query->norm_squared * (1 + stored);
	if (known_squared > 0)
		across_squared -= along * along / known_squared;

	product = scale * dot + dot_error +
		stored * length * known +
		residual * sqrt(Max(across_squared, 0));

	return bound_of_product(query, norm, residual, product);
}

/*
 * A bound that holds but for one pair in some millions.  With s so that e =
 * x' - s u is at a right angle to x' (unbiased_scale()),
 *
 *	<q',x'> = s<q',u> + <q',e>
 *
 * and only the part of q' orthogonal to x' counts in the second term.  Beside
 * the rotation its direction is as good as random, so that the product with e
 * has a standard deviation of both lengths / sqrt(dims).  |e| is |x'| times the
 * residual / |s u|.  (If q' points away from x', what is known of <q',x'> may be
 * too large in magnitude, and q' itself is taken for that part.)
 */
static double
likely_bound(const VhnswQuery *query, VhnswCodeView view, double dot)
{
	double		norm_squared = (double) view.norm * view.norm;
	double		residual_squared = (double) view.residual * view.residual;
	double		known_squared = norm_squared - residual_squared;
	double		deviations = VD_MISTAKE("vhnsw-unlucky-bound") ?
	-DEVIATIONS : DEVIATIONS;
	double		product;
	double		across_squared; /* times |x'|^2 */

	if (residual_squared >= UNUSUAL_LOSS * norm_squared)
		return lower_bound(query, view.scale, view.norm, view.residual, dot);
	product = view.scale * (norm_squared / known_squared) * dot;
	across_squared = query->norm_squared * norm_squared;
	if (product > 0)
		across_squared = Max(across_squared - product * product, 0);
	product += deviations * sqrt(residual_squared / known_squared *
								 across_squared / query->dims) +
		2 * DISTANCE_RELATIVE_ERROR * query->norm * view.norm;
	return bound_of_product(query, view.norm, view.residual, product);
}

/* The lower bound that follows from an upper one of <q',x'>. */
static double
bound_of_product(const VhnswQuery *query, double norm, double residual,
				 double product)
{
	const double stored = 4 * UNIT; /* as in lower_bound() */
	double		length = query->norm + VHNSW_SMALLEST_NORM;
	double		norm_squared = norm * norm;

	if (query->metric == VHNSW_INNER_PRODUCT)
	{
		double		lengths = length * (norm + residual);

		/* 1e-35: products that vanish in float4 */
		return -(product + 1e-35 +
				 lengths * (2.1 * query->rotation_error +
							1.1 * DISTANCE_RELATIVE_ERROR));
	}
	else
	{
		double		square = query->norm_squared +
		norm_squared * (1 - stored) - 2 * product;
		double		distance;

		if (square <= 0)
			return 0;
		distance = sqrt(square) -
			1.1 * query->rotation_error * (query->norm + norm + residual);
		if (distance <= 0)
			return 0;

		if (query->metric == VHNSW_COSINE)
		{
			/* 1 - cos; the operator divides a sum by the root of two. */
			double		bound = distance * distance / 2 -
			3 * DISTANCE_RELATIVE_ERROR;

			return Max(bound, 0);
		}

		distance *= 1 - DISTANCE_RELATIVE_ERROR;
		return distance < SMALLEST_DISTANCE ? 0 : distance;
	}
}

static double
rotated_operator(VhnswMetric metric, const VhnswValue *a, const VhnswValue *b)
{
	switch (metric)
	{
		case VHNSW_L2:
			return sqrt(DistanceL2Squared(a->x, b->x, a->dims));
		case VHNSW_INNER_PRODUCT:
			return -DistanceInnerProduct(a->x, b->x, a->dims);
		case VHNSW_COSINE:
			return DistanceCosine(a->x, b->x, a->dims);
		default:
			pg_unreachable();
	}
}

const VhnswCoder vhnsw_rotated_coder = {
	.is_rotated = true,
	.is_direct = true,
	.has_mean = true,
	.has_likely_bounds = true,
	.own_bits = 8,
	.code_bytes = VhnswByteForEach,
	.classify = rotated_classify,
	.prepare = rotated_prepare,
	.encode = rotated_encode,
	.bound = rotated_bound,
	.operator = rotated_operator,
	.is_sane = VhnswBytesAreSane,
};

const VhnswCoder vhnsw_rotated_nibble_coder = {
	.is_rotated = true,
	.has_mean = true,
	.has_likely_bounds = true,
	.own_bits = VHNSW_NIBBLE_BITS,
	.code_bytes = VhnswNibbleForEach,
	.classify = rotated_classify,
	.prepare = rotated_prepare,
	.encode = nibble_encode,
	.estimate = nibble_estimate,
	.bound = nibble_bound,
	.distance = nibble_distance,
	.operator = rotated_operator,
	.is_sane = VhnswNibblesAreSane,
};
