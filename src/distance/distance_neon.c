/*-------------------------------------------------------------------------
 *
 * distance_neon.c
 *	  The distance kernels for aarch64, every CPU of which has NEON.
 *
 * The 32 lanes of the definition are eight vectors of 4 floats.  Tails are
 * copied to an array of zeros, because there are no masked loads.
 *
 * Tested under emulation: make check-neon.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_block.h"
#include "distance/distance_edge.h"
#include "distance/distance_hadamard.h"
#include "distance/distance_impl.h"

#ifdef DISTANCE_HAVE_NEON

#include <arm_neon.h>
#include <string.h>

#define NEON_INLINE static inline __attribute__((always_inline))

typedef struct Lanes
{
	float32x4_t v0;
	float32x4_t v1;
	float32x4_t v2;
	float32x4_t v3;
	float32x4_t v4;
	float32x4_t v5;
	float32x4_t v6;
	float32x4_t v7;
} Lanes;

NEON_INLINE Lanes
lanes_zero(void)
{
	Lanes		result;

	result.v0 = result.v1 = result.v2 = result.v3 = vdupq_n_f32(0);
	result.v4 = result.v5 = result.v6 = result.v7 = vdupq_n_f32(0);
	return result;
}

NEON_INLINE Lanes
lanes_load(const float *p)
{
	Lanes		result;

	result.v0 = vld1q_f32(p);
	result.v1 = vld1q_f32(p + 4);
	result.v2 = vld1q_f32(p + 8);
	result.v3 = vld1q_f32(p + 12);
	result.v4 = vld1q_f32(p + 16);
	result.v5 = vld1q_f32(p + 20);
	result.v6 = vld1q_f32(p + 24);
	result.v7 = vld1q_f32(p + 28);
	return result;
}

NEON_INLINE Lanes
lanes_load_tail(const float *p, int n, int before)
{
	float		tail[DISTANCE_LANES] = {0};

	memcpy(tail, p, sizeof(float) * n);
	return lanes_load(tail);
}

/* 8 halves as floats */
NEON_INLINE void
load_halves(const Half *p, float32x4_t * first, float32x4_t * second)
{
	float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));

	*first = vcvt_f32_f16(vget_low_f16(halves));
	*second = vcvt_high_f32_f16(halves);
}

NEON_INLINE Lanes
lanes_load_half(const Half *p)
{
	Lanes		result;

	load_halves(p, &result.v0, &result.v1);
	load_halves(p + 8, &result.v2, &result.v3);
	load_halves(p + 16, &result.v4, &result.v5);
	load_halves(p + 24, &result.v6, &result.v7);
	return result;
}

NEON_INLINE Lanes
lanes_load_half_tail(const Half *p, int n, int before)
{
	Half		tail[DISTANCE_LANES] = {0};

	memcpy(tail, p, sizeof(Half) * n);
	return lanes_load_half(tail);
}

/* 16 codes as floats */
NEON_INLINE void
load_codes(const int8_t *p, float32x4_t * first, float32x4_t * second,
		   float32x4_t * third, float32x4_t * fourth)
{
	int8x16_t	codes = vld1q_s8(p);
	int16x8_t	low = vmovl_s8(vget_low_s8(codes));
	int16x8_t	high = vmovl_high_s8(codes);

	*first = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
	*second = vcvtq_f32_s32(vmovl_high_s16(low));
	*third = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
	*fourth = vcvtq_f32_s32(vmovl_high_s16(high));
}

NEON_INLINE Lanes
lanes_load_int8(const int8_t *p)
{
	Lanes		result;

	load_codes(p, &result.v0, &result.v1, &result.v2, &result.v3);
	load_codes(p + 16, &result.v4, &result.v5, &result.v6, &result.v7);
	return result;
}

NEON_INLINE Lanes
lanes_load_int8_tail(const int8_t *p, int n, int before)
{
	int8_t		tail[DISTANCE_LANES] = {0};

	memcpy(tail, p, n);
	return lanes_load_int8(tail);
}

NEON_INLINE Lanes
lanes_add(Lanes x, Lanes y)
{
	Lanes		result;

	result.v0 = vaddq_f32(x.v0, y.v0);
	result.v1 = vaddq_f32(x.v1, y.v1);
	result.v2 = vaddq_f32(x.v2, y.v2);
	result.v3 = vaddq_f32(x.v3, y.v3);
	result.v4 = vaddq_f32(x.v4, y.v4);
	result.v5 = vaddq_f32(x.v5, y.v5);
	result.v6 = vaddq_f32(x.v6, y.v6);
	result.v7 = vaddq_f32(x.v7, y.v7);
	return result;
}

NEON_INLINE Lanes
lanes_sub(Lanes x, Lanes y)
{
	Lanes		result;

	result.v0 = vsubq_f32(x.v0, y.v0);
	result.v1 = vsubq_f32(x.v1, y.v1);
	result.v2 = vsubq_f32(x.v2, y.v2);
	result.v3 = vsubq_f32(x.v3, y.v3);
	result.v4 = vsubq_f32(x.v4, y.v4);
	result.v5 = vsubq_f32(x.v5, y.v5);
	result.v6 = vsubq_f32(x.v6, y.v6);
	result.v7 = vsubq_f32(x.v7, y.v7);
	return result;
}

NEON_INLINE Lanes
lanes_mul(Lanes x, Lanes y)
{
	Lanes		result;

	result.v0 = vmulq_f32(x.v0, y.v0);
	result.v1 = vmulq_f32(x.v1, y.v1);
	result.v2 = vmulq_f32(x.v2, y.v2);
	result.v3 = vmulq_f32(x.v3, y.v3);
	result.v4 = vmulq_f32(x.v4, y.v4);
	result.v5 = vmulq_f32(x.v5, y.v5);
	result.v6 = vmulq_f32(x.v6, y.v6);
	result.v7 = vmulq_f32(x.v7, y.v7);
	return result;
}

NEON_INLINE Lanes
lanes_abs(Lanes x)
{
	Lanes		result;

	result.v0 = vabsq_f32(x.v0);
	result.v1 = vabsq_f32(x.v1);
	result.v2 = vabsq_f32(x.v2);
	result.v3 = vabsq_f32(x.v3);
	result.v4 = vabsq_f32(x.v4);
	result.v5 = vabsq_f32(x.v5);
	result.v6 = vabsq_f32(x.v6);
	result.v7 = vabsq_f32(x.v7);
	return result;
}

NEON_INLINE Lanes
lanes_scale(Lanes x, float factor)
{
	Lanes		factors;

	factors.v0 = factors.v1 = factors.v2 = factors.v3 = vdupq_n_f32(factor);
	factors.v4 = factors.v5 = factors.v6 = factors.v7 = vdupq_n_f32(factor);
	return lanes_mul(x, factors);
}

NEON_INLINE float64x2_t
first_two(float32x4_t x)
{
	return vcvt_f64_f32(vget_low_f32(x));
}

NEON_INLINE float64x2_t
last_two(float32x4_t x)
{
	return vcvt_high_f64_f32(x);
}

/* (s0 + s2) + (s1 + s3) */
NEON_INLINE double
sum_of_four(float64x2_t s01, float64x2_t s23)
{
	float64x2_t pair = vaddq_f64(s01, s23);

	return vgetq_lane_f64(pair, 0) + vgetq_lane_f64(pair, 1);
}

NEON_INLINE double
lanes_sum(Lanes x)
{
	float64x2_t low01 = vaddq_f64(vaddq_f64(first_two(x.v0), first_two(x.v2)),
								  vaddq_f64(first_two(x.v4), first_two(x.v6)));
	float64x2_t low23 = vaddq_f64(vaddq_f64(last_two(x.v0), last_two(x.v2)),
								  vaddq_f64(last_two(x.v4), last_two(x.v6)));
	float64x2_t high01 = vaddq_f64(vaddq_f64(first_two(x.v1), first_two(x.v3)),
								   vaddq_f64(first_two(x.v5), first_two(x.v7)));
	float64x2_t high23 = vaddq_f64(vaddq_f64(last_two(x.v1), last_two(x.v3)),
								   vaddq_f64(last_two(x.v5), last_two(x.v7)));

	return sum_of_four(vaddq_f64(low01, high01), vaddq_f64(low23, high23));
}

#define LOOPS_TARGET
#define LOOPS_INLINE NEON_INLINE
#include "distance/distance_loops.h"

/* Eight sums of squares in double, as scalar_norm_squared() has them. */
typedef struct NormLanes
{
	float64x2_t s01;
	float64x2_t s23;
	float64x2_t s45;
	float64x2_t s67;
} NormLanes;

NEON_INLINE float64x2_t
add_square(float64x2_t sum, float64x2_t x)
{
	return vaddq_f64(sum, vmulq_f64(x, x));
}

NEON_INLINE NormLanes
norm_add(NormLanes sum, float32x4_t first, float32x4_t second)
{
	sum.s01 = add_square(sum.s01, first_two(first));
	sum.s23 = add_square(sum.s23, last_two(first));
	sum.s45 = add_square(sum.s45, first_two(second));
	sum.s67 = add_square(sum.s67, last_two(second));
	return sum;
}

NEON_INLINE NormLanes
norm_zero(void)
{
	NormLanes	result;

	result.s01 = result.s23 = result.s45 = result.s67 = vdupq_n_f64(0);
	return result;
}

NEON_INLINE double
norm_sum(NormLanes sum)
{
	return sum_of_four(vaddq_f64(sum.s01, sum.s45), vaddq_f64(sum.s23, sum.s67));
}

static double
neon_norm_squared(const float *a, int dim)
{
	NormLanes	sum = norm_zero();
	float		tail[8] = {0};
	int			i;

	for (i = 0; i + 8 <= dim; i += 8)
		sum = norm_add(sum, vld1q_f32(a + i), vld1q_f32(a + i + 4));
	if (i < dim)
	{
		memcpy(tail, a + i, sizeof(float) * (dim - i));
		sum = norm_add(sum, vld1q_f32(tail), vld1q_f32(tail + 4));
	}
	return norm_sum(sum);
}

static double
neon_half_norm_squared(const Half *a, int dim)
{
	NormLanes	sum = norm_zero();
	Half		tail[8] = {0};
	float32x4_t first;
	float32x4_t second;
	int			i;

	for (i = 0; i + 8 <= dim; i += 8)
	{
		load_halves(a + i, &first, &second);
		sum = norm_add(sum, first, second);
	}
	if (i < dim)
	{
		memcpy(tail, a + i, sizeof(Half) * (dim - i));
		load_halves(tail, &first, &second);
		sum = norm_add(sum, first, second);
	}
	return norm_sum(sum);
}

static void
neon_half_to_float(const Half *a, float *result, int dim)
{
	int			i;

	for (i = 0; i + 4 <= dim; i += 4)
		vst1q_f32(result + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(a + i))));
	for (; i < dim; i++)
		result[i] = HalfToFloat(a[i]);
}

static void
neon_float_to_half(const float *a, Half *result, int dim)
{
	int			i;

	for (i = 0; i + 4 <= dim; i += 4)
		vst1_u16(result + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(a + i))));
	for (; i < dim; i++)
		result[i] = HalfFromFloat(a[i]);
}

static void
neon_unpack_nibbles(const uint8_t *packed, const int8_t *table,
					int8_t *result, int dim)
{
	int8x16_t	numbers = vld1q_s8(table);
	int			half = (dim + 1) / 2;
	int			i;

	for (i = 0; i + 16 <= dim - half; i += 16)
	{
		uint8x16_t	both = vld1q_u8(packed + i);

		vst1q_s8(result + i, vqtbl1q_s8(numbers, vandq_u8(both, vdupq_n_u8(0xF))));
		vst1q_s8(result + half + i, vqtbl1q_s8(numbers, vshrq_n_u8(both, 4)));
	}
	for (; i < half; i++)
	{
		result[i] = table[packed[i] & 0xF];
		if (half + i < dim)
			result[half + i] = table[packed[i] >> 4];
	}
}

/* Products of two codes fit 16 bits, pairs of them are added to 32. */
static int32_t
neon_dot_int8(const int8_t *a, const int8_t *b, int dim)
{
	int32x4_t	sum0 = vdupq_n_s32(0);
	int32x4_t	sum1 = vdupq_n_s32(0);
	int32_t		total;
	int			i;

	for (i = 0; i + 16 <= dim; i += 16)
	{
		int8x16_t	va = vld1q_s8(a + i);
		int8x16_t	vb = vld1q_s8(b + i);

		sum0 = vpadalq_s16(sum0, vmull_s8(vget_low_s8(va), vget_low_s8(vb)));
		sum1 = vpadalq_s16(sum1, vmull_high_s8(va, vb));
	}
	total = vaddvq_s32(vaddq_s32(sum0, sum1));
	for (; i < dim; i++)
		total += (int32_t) a[i] * b[i];
	return total;
}

static void
neon_dots_int8(const int8_t *a, const int8_t *const *b, int n, int dim,
			   int32_t *dots)
{
	for (int i = 0; i < n; i++)
		dots[i] = neon_dot_int8(a, b[i], dim);
}

#ifdef DISTANCE_HAVE_DOTPROD

/* The same by instructions that not every CPU has */
DISTANCE_DOTPROD static int32_t
dotprod_dot_int8(const int8_t *a, const int8_t *b, int dim)
{
	int32x4_t	sum0 = vdupq_n_s32(0);
	int32x4_t	sum1 = vdupq_n_s32(0);
	int32_t		total;
	int			i;

	for (i = 0; i + 32 <= dim; i += 32)
	{
		sum0 = vdotq_s32(sum0, vld1q_s8(a + i), vld1q_s8(b + i));
		sum1 = vdotq_s32(sum1, vld1q_s8(a + i + 16), vld1q_s8(b + i + 16));
	}
	total = vaddvq_s32(vaddq_s32(sum0, sum1));
	for (; i < dim; i++)
		total += (int32_t) a[i] * b[i];
	return total;
}

DISTANCE_DOTPROD static void
dotprod_dots_int8(const int8_t *a, const int8_t *const *b, int n, int dim,
				  int32_t *dots)
{
	for (int i = 0; i < n; i++)
		dots[i] = dotprod_dot_int8(a, b[i], dim);
}

#endif

/* sum + the number of bits set in x, as two 64-bit numbers */
NEON_INLINE uint64x2_t
add_bit_count(uint64x2_t sum, uint8x16_t x)
{
	return vpadalq_u32(sum, vpaddlq_u16(vpaddlq_u8(vcntq_u8(x))));
}

/* Up to 16 bytes, and zeros */
NEON_INLINE uint8x16_t
load_bytes(const uint8_t *p, int n)
{
	uint8_t		tail[16] = {0};

	if (n >= 16)
		return vld1q_u8(p);
	memcpy(tail, p, n);
	return vld1q_u8(tail);
}

static uint64_t
neon_hamming(const uint8_t *a, const uint8_t *b, int num_bytes)
{
	uint64x2_t	sum = vdupq_n_u64(0);

	for (int i = 0; i < num_bytes; i += 16)
		sum = add_bit_count(sum, veorq_u8(load_bytes(a + i, num_bytes - i),
										  load_bytes(b + i, num_bytes - i)));
	return vaddvq_u64(sum);
}

static void
neon_jaccard(const uint8_t *a, const uint8_t *b, int num_bytes,
			 DistanceBitCounts *counts)
{
	uint64x2_t	common = vdupq_n_u64(0);
	uint64x2_t	total = vdupq_n_u64(0);

	for (int i = 0; i < num_bytes; i += 16)
	{
		uint8x16_t	va = load_bytes(a + i, num_bytes - i);
		uint8x16_t	vb = load_bytes(b + i, num_bytes - i);

		common = add_bit_count(common, vandq_u8(va, vb));
		total = add_bit_count(total, vorrq_u8(va, vb));
	}
	counts->common = vaddvq_u64(common);
	counts->total = vaddvq_u64(total);
}

#define KERNELS(one_dot, many_dots, dots_of_block, near_of_block) \
{ \
	.name = "neon", \
	.l2_squared = lanes_l2_squared, \
	.inner_product = lanes_inner_product, \
	.l1 = lanes_l1, \
	.cosine = lanes_cosine, \
	.norm_squared = neon_norm_squared, \
	.half_l2_squared = lanes_half_l2_squared, \
	.half_inner_product = lanes_half_inner_product, \
	.half_l1 = lanes_half_l1, \
	.half_cosine = lanes_half_cosine, \
	.half_norm_squared = neon_half_norm_squared, \
	.half_to_float = neon_half_to_float, \
	.float_to_half = neon_float_to_half, \
	.hadamard = DistanceHadamardNeon, \
	.dot_float_int8 = lanes_dot_float_int8, \
	.unpack_nibbles = neon_unpack_nibbles, \
	.dot_int8 = one_dot, \
	.dots_int8 = many_dots, \
	.l1_float_int8 = lanes_l1_float_int8, \
	.l1_int8 = lanes_l1_int8, \
	.edge_code = DistanceEdgeCodeScalar, \
	.edge_dots = DistanceEdgeDotsNeon, \
	.block_row = DistanceBlockRowScalar, \
	.block_panel = DistanceBlockPanelScalar, \
	.block_dots = dots_of_block, \
	.block_near = near_of_block, \
	.hamming = neon_hamming, \
	.jaccard = neon_jaccard, \
}

const DistanceKernels distance_neon_kernels =
KERNELS(neon_dot_int8, neon_dots_int8, DistanceBlockDotsNeon, DistanceBlockNearNeon);

#ifdef DISTANCE_HAVE_DOTPROD
/* For CPUs that add four products of bytes at once */
const DistanceKernels distance_dotprod_kernels =
KERNELS(dotprod_dot_int8, dotprod_dots_int8, DistanceBlockDotsDotprod,
		DistanceBlockNearDotprod);
#endif

#endif							/* DISTANCE_HAVE_NEON */
