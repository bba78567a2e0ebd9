/*-------------------------------------------------------------------------
 *
 * distance_scalar.c
 *	  The distance kernels in plain C: the specification of all others.
 *
 * The loops over lanes have no dependency from one lane to the next, so a
 * compiler may vectorize them for the baseline CPU without changing a bit.
 * The build passes -ffp-contract=off: a fused multiply-add would change bits.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_block.h"
#include "distance/distance_edge.h"
#include "distance/distance_hadamard.h"
#include "distance/distance_impl.h"

#include <math.h>
#include <string.h>

#define Min(x, y) ((x) < (y) ? (x) : (y))

/*
 * Add up 32 lanes in double.  The order is part of the definition; it is the
 * one that vectors of 8 floats halved into vectors of 4 doubles give.
 */
static double
sum_lanes(const float *lane)
{
	double		sum[4];

	for (int j = 0; j < 4; j++)
	{
		double		low1 = (double) lane[j] + lane[j + 8];
		double		low2 = (double) lane[j + 16] + lane[j + 24];
		double		high1 = (double) lane[j + 4] + lane[j + 12];
		double		high2 = (double) lane[j + 20] + lane[j + 28];

		sum[j] = (low1 + low2) + (high1 + high2);
	}
	return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* The elements after the last full round of lanes, 'count' < 32 of them. */
#define FOR_TAIL(j, count) for (int j = 0; j < (count); j++)
#define FOR_LANES(j) for (int j = 0; j < DISTANCE_LANES; j++)

static inline float
square_of_difference(float a, float b)
{
	float		difference = a - b;

	return difference * difference;
}

static double
scalar_l2_squared(const float *a, const float *b, int dim)
{
	double		total = 0;

	while (dim > 0)
	{
		int			block = Min(dim, DISTANCE_BLOCK);
		float		lane[DISTANCE_LANES] = {0};
		int			i;

		for (i = 0; i + DISTANCE_LANES <= block; i += DISTANCE_LANES)
			FOR_LANES(j)
				lane[j] += square_of_difference(a[i + j], b[i + j]);
		FOR_TAIL(j, block - i)
			lane[j] += square_of_difference(a[i + j], b[i + j]);

		total += sum_lanes(lane);
		a += block;
		b += block;
		dim -= block;
	}
	return total;
}

static double
scalar_inner_product(const float *a, const float *b, int dim)
{
	double		total = 0;

	while (dim > 0)
	{
		int			block = Min(dim, DISTANCE_BLOCK);
		float		lane[DISTANCE_LANES] = {0};
		int			i;

		for (i = 0; i + DISTANCE_LANES <= block; i += DISTANCE_LANES)
			FOR_LANES(j)
				lane[j] += a[i + j] * b[i + j];
		FOR_TAIL(j, block - i)
			lane[j] += a[i + j] * b[i + j];

		total += sum_lanes(lane);
		a += block;
		b += block;
		dim -= block;
	}
	return total;
}

static double
scalar_l1(const float *a, const float *b, int dim)
{
	double		total = 0;

	while (dim > 0)
	{
		int			block = Min(dim, DISTANCE_BLOCK);
		float		lane[DISTANCE_LANES] = {0};
		int			i;

		for (i = 0; i + DISTANCE_LANES <= block; i += DISTANCE_LANES)
			FOR_LANES(j)
				lane[j] += fabsf(a[i + j] - b[i + j]);
		FOR_TAIL(j, block - i)
			lane[j] += fabsf(a[i + j] - b[i + j]);

		total += sum_lanes(lane);
		a += block;
		b += block;
		dim -= block;
	}
	return total;
}

/*
 * Three inner products.  Other instruction sets read a and b once for all
 * three, which gives the same bits.
 */
static void
scalar_cosine(const float *a, const float *b, int dim,
			  DistanceCosineSums *sums)
{
	sums->dot = scalar_inner_product(a, b, dim);
	sums->norm_a_squared = scalar_inner_product(a, a, dim);
	sums->norm_b_squared = scalar_inner_product(b, b, dim);
}

/*
 * Here a lane is a double, there are 8 of them, and blocks are not needed.
 * The square of a float is exact in double.
 */
static double
scalar_norm_squared(const float *a, int dim)
{
	double		lane[8] = {0};
	int			i;

	for (i = 0; i + 8 <= dim; i += 8)
		for (int j = 0; j < 8; j++)
			lane[j] += (double) a[i + j] * a[i + j];
	FOR_TAIL(j, dim - i)
		lane[j] += (double) a[i + j] * a[i + j];

	for (int j = 0; j < 4; j++)
		lane[j] += lane[j + 4];
	return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

static void
scalar_half_to_float(const Half *a, float *result, int dim)
{
	for (int i = 0; i < dim; i++)
		result[i] = HalfToFloat(a[i]);
}

static void
scalar_float_to_half(const float *a, Half *result, int dim)
{
	for (int i = 0; i < dim; i++)
		result[i] = HalfFromFloat(a[i]);
}

/*
 * Distances of half precision: block by block as floats.  Blocks are added up
 * in double whoever does it, so the bits are those of the float kernel.
 */
typedef double (*FloatKernel) (const float *a, const float *b, int dim);

static inline double
sum_of_half_blocks(FloatKernel kernel, const Half *a, const Half *b, int dim)
{
	float		block_a[DISTANCE_BLOCK];
	float		block_b[DISTANCE_BLOCK];
	double		total = 0;

	while (dim > 0)
	{
		int			block = Min(dim, DISTANCE_BLOCK);

		scalar_half_to_float(a, block_a, block);
		scalar_half_to_float(b, block_b, block);
		total += kernel(block_a, block_b, block);
		a += block;
		b += block;
		dim -= block;
	}
	return total;
}

static double
scalar_half_l2_squared(const Half *a, const Half *b, int dim)
{
	return sum_of_half_blocks(scalar_l2_squared, a, b, dim);
}

static double
scalar_half_inner_product(const Half *a, const Half *b, int dim)
{
	return sum_of_half_blocks(scalar_inner_product, a, b, dim);
}

static double
scalar_half_l1(const Half *a, const Half *b, int dim)
{
	return sum_of_half_blocks(scalar_l1, a, b, dim);
}

static void
scalar_half_cosine(const Half *a, const Half *b, int dim,
				   DistanceCosineSums *sums)
{
	sums->dot = scalar_half_inner_product(a, b, dim);
	sums->norm_a_squared = scalar_half_inner_product(a, a, dim);
	sums->norm_b_squared = scalar_half_inner_product(b, b, dim);
}

/* scalar_norm_squared() has no blocks, so neither does this. */
static double
scalar_half_norm_squared(const Half *a, int dim)
{
	double		lane[8] = {0};

	for (int i = 0; i < dim; i++)
	{
		double		element = HalfToFloat(a[i]);

		lane[i % 8] += element * element;
	}

	for (int j = 0; j < 4; j++)
		lane[j] += lane[j + 4];
	return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

static double
scalar_dot_float_int8(const float *a, const int8_t *b, int dim)
{
	double		total = 0;

	while (dim > 0)
	{
		int			block = Min(dim, DISTANCE_BLOCK);
		float		lane[DISTANCE_LANES] = {0};
		int			i;

		for (i = 0; i + DISTANCE_LANES <= block; i += DISTANCE_LANES)
			FOR_LANES(j)
				lane[j] += a[i + j] * (float) b[i + j];
		FOR_TAIL(j, block - i)
			lane[j] += a[i + j] * (float) b[i + j];

		total += sum_lanes(lane);
		a += block;
		b += block;
		dim -= block;
	}
	return total;
}

static double
scalar_l1_float_int8(const float *a, const int8_t *b, float scale, int dim)
{
	double		total = 0;

	while (dim > 0)
	{
		int			block = Min(dim, DISTANCE_BLOCK);
		float		lane[DISTANCE_LANES] = {0};
		int			i;

		for (i = 0; i + DISTANCE_LANES <= block; i += DISTANCE_LANES)
			FOR_LANES(j)
				lane[j] += fabsf(a[i + j] - scale * (float) b[i + j]);
		FOR_TAIL(j, block - i)
			lane[j] += fabsf(a[i + j] - scale * (float) b[i + j]);

		total += sum_lanes(lane);
		a += block;
		b += block;
		dim -= block;
	}
	return total;
}

static double
scalar_l1_int8(const int8_t *a, float scale_a, const int8_t *b, float scale_b,
			   int dim)
{
	double		total = 0;

	while (dim > 0)
	{
		int			block = Min(dim, DISTANCE_BLOCK);
		float		lane[DISTANCE_LANES] = {0};
		int			i;

		for (i = 0; i + DISTANCE_LANES <= block; i += DISTANCE_LANES)
			FOR_LANES(j)
				lane[j] += fabsf(scale_a * (float) a[i + j] -
								 scale_b * (float) b[i + j]);
		FOR_TAIL(j, block - i)
			lane[j] += fabsf(scale_a * (float) a[i + j] -
							 scale_b * (float) b[i + j]);

		total += sum_lanes(lane);
		a += block;
		b += block;
		dim -= block;
	}
	return total;
}

static void
scalar_unpack_nibbles(const uint8_t *packed, const int8_t *table,
					  int8_t *result, int dim)
{
	int			half = (dim + 1) / 2;

	for (int i = 0; i < half; i++)
		result[i] = table[packed[i] & 0xF];
	for (int i = half; i < dim; i++)
		result[i] = table[packed[i - half] >> 4];
}

/* Exact, so the order is free; lanes let a compiler vectorize it. */
static int32_t
scalar_dot_int8(const int8_t *a, const int8_t *b, int dim)
{
	int32_t		lane[DISTANCE_LANES] = {0};
	int32_t		total = 0;
	int			i;

	for (i = 0; i + DISTANCE_LANES <= dim; i += DISTANCE_LANES)
		FOR_LANES(j)
			lane[j] += (int32_t) a[i + j] * b[i + j];
	FOR_TAIL(j, dim - i)
		lane[j] += (int32_t) a[i + j] * b[i + j];

	FOR_LANES(j)
		total += lane[j];
	return total;
}

static void
scalar_dots_int8(const int8_t *a, const int8_t *const *b, int n, int dim,
				 int32_t *dots)
{
	for (int i = 0; i < n; i++)
		dots[i] = scalar_dot_int8(a, b[i], dim);
}

/* Number of bits set: in pairs, in nibbles, in bytes, then all bytes at once. */
static inline uint64_t
count_bits(uint64_t word)
{
	word -= (word >> 1) & 0x5555555555555555;
	word = (word & 0x3333333333333333) + ((word >> 2) & 0x3333333333333333);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return (word * 0x0101010101010101) >> 56;
}

/* Up to 8 bytes, and zeros. */
static inline uint64_t
load_word(const uint8_t *p, int num_bytes)
{
	uint64_t	word = 0;

	memcpy(&word, p, Min(num_bytes, 8));
	return word;
}

static uint64_t
scalar_hamming(const uint8_t *a, const uint8_t *b, int num_bytes)
{
	uint64_t	count = 0;

	for (; num_bytes > 0; a += 8, b += 8, num_bytes -= 8)
		count += count_bits(load_word(a, num_bytes) ^ load_word(b, num_bytes));
	return count;
}

static void
scalar_jaccard(const uint8_t *a, const uint8_t *b, int num_bytes,
			   DistanceBitCounts *counts)
{
	counts->common = 0;
	counts->total = 0;
	for (; num_bytes > 0; a += 8, b += 8, num_bytes -= 8)
	{
		uint64_t	word_a = load_word(a, num_bytes);
		uint64_t	word_b = load_word(b, num_bytes);

		counts->common += count_bits(word_a & word_b);
		counts->total += count_bits(word_a | word_b);
	}
}

const DistanceKernels distance_scalar_kernels = {
	.name = "scalar",
	.l2_squared = scalar_l2_squared,
	.inner_product = scalar_inner_product,
	.l1 = scalar_l1,
	.cosine = scalar_cosine,
	.norm_squared = scalar_norm_squared,
	.half_l2_squared = scalar_half_l2_squared,
	.half_inner_product = scalar_half_inner_product,
	.half_l1 = scalar_half_l1,
	.half_cosine = scalar_half_cosine,
	.half_norm_squared = scalar_half_norm_squared,
	.half_to_float = scalar_half_to_float,
	.float_to_half = scalar_float_to_half,
	.hadamard = DistanceHadamardScalar,
	.dot_float_int8 = scalar_dot_float_int8,
	.unpack_nibbles = scalar_unpack_nibbles,
	.dot_int8 = scalar_dot_int8,
	.dots_int8 = scalar_dots_int8,
	.l1_float_int8 = scalar_l1_float_int8,
	.l1_int8 = scalar_l1_int8,
	.edge_code = DistanceEdgeCodeScalar,
	.edge_dots = DistanceEdgeDotsScalar,
	.block_row = DistanceBlockRowScalar,
	.block_panel = DistanceBlockPanelScalar,
	.block_dots = DistanceBlockDotsScalar,
	.block_near = DistanceBlockNearScalar,
	.hamming = scalar_hamming,
	.jaccard = scalar_jaccard,
};
