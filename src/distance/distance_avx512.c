/*-------------------------------------------------------------------------
 *
 * distance_avx512.c
 *	  The distance kernels for x86-64 CPUs with AVX-512.
 *
 * Ice Lake, Zen 4 and later: foundation, BW, DQ, VL, VNNI and VPOPCNTDQ.  CPUs
 * that have only some of them, and lower their clock for 512-bit instructions,
 * stay with AVX2.
 *
 * The 32 lanes of the definition are two vectors of 16 floats.  The rest is as
 * in distance_avx2.c, except that masks make all tails a single load, which
 * touches no memory outside.  AVX-512 implies fused multiply-add, which the
 * compiler must not make of our multiplications and additions:
 * -ffp-contract=off.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_block.h"
#include "distance/distance_edge.h"
#include "distance/distance_hadamard.h"
#include "distance/distance_impl.h"

#ifdef DISTANCE_HAVE_AVX512

#include <immintrin.h>

#define AVX512_FEATURES "f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vpopcntdq"
#define AVX512 __attribute__((target(AVX512_FEATURES)))
#define AVX512_INLINE static inline __attribute__((target(AVX512_FEATURES), always_inline))

typedef struct Lanes
{
	__m512		low;			/* lanes 0 to 15 */
	__m512		high;			/* lanes 16 to 31 */
} Lanes;

/* The first n of a register's elements; none or all if n is out of range. */
AVX512_INLINE uint32_t
first_of_32(int n)
{
	return n >= 32 ? UINT32_MAX : n <= 0 ? 0 : ((uint32_t) 1 << n) - 1;
}

AVX512_INLINE uint64_t
first_of_64(int n)
{
	return n >= 64 ? UINT64_MAX : n <= 0 ? 0 : ((uint64_t) 1 << n) - 1;
}

AVX512_INLINE Lanes
lanes_zero(void)
{
	Lanes		result;

	result.low = result.high = _mm512_setzero_ps();
	return result;
}

AVX512_INLINE Lanes
lanes_load(const float *p)
{
	Lanes		result;

	result.low = _mm512_loadu_ps(p);
	result.high = _mm512_loadu_ps(p + 16);
	return result;
}

AVX512_INLINE Lanes
lanes_load_tail(const float *p, int n, int before)
{
	uint32_t	mask = first_of_32(n);
	Lanes		result;

	result.low = _mm512_maskz_loadu_ps((__mmask16) mask, p);
	result.high = _mm512_maskz_loadu_ps((__mmask16) (mask >> 16), p + 16);
	return result;
}

AVX512_INLINE Lanes
lanes_load_half(const Half *p)
{
	Lanes		result;

	result.low = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
	result.high = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) (p + 16)));
	return result;
}

AVX512_INLINE Lanes
lanes_load_half_tail(const Half *p, int n, int before)
{
	__m512i		halves = _mm512_maskz_loadu_epi16(first_of_32(n), p);
	Lanes		result;

	result.low = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
	result.high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
	return result;
}

AVX512_INLINE __m512
codes_to_floats(__m128i codes)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
}

AVX512_INLINE Lanes
lanes_load_int8(const int8_t *p)
{
	Lanes		result;

	result.low = codes_to_floats(_mm_loadu_si128((const __m128i *) p));
	result.high = codes_to_floats(_mm_loadu_si128((const __m128i *) (p + 16)));
	return result;
}

AVX512_INLINE Lanes
lanes_load_int8_tail(const int8_t *p, int n, int before)
{
	__m256i		codes = _mm256_maskz_loadu_epi8(first_of_32(n), p);
	Lanes		result;

	result.low = codes_to_floats(_mm256_castsi256_si128(codes));
	result.high = codes_to_floats(_mm256_extracti128_si256(codes, 1));
	return result;
}

AVX512_INLINE Lanes
lanes_add(Lanes x, Lanes y)
{
	Lanes		result;

	result.low = _mm512_add_ps(x.low, y.low);
	result.high = _mm512_add_ps(x.high, y.high);
	return result;
}

AVX512_INLINE Lanes
lanes_sub(Lanes x, Lanes y)
{
	Lanes		result;

	result.low = _mm512_sub_ps(x.low, y.low);
	result.high = _mm512_sub_ps(x.high, y.high);
	return result;
}

AVX512_INLINE Lanes
lanes_mul(Lanes x, Lanes y)
{
	Lanes		result;

	result.low = _mm512_mul_ps(x.low, y.low);
	result.high = _mm512_mul_ps(x.high, y.high);
	return result;
}

AVX512_INLINE Lanes
lanes_abs(Lanes x)
{
	Lanes		result;

	result.low = _mm512_abs_ps(x.low);
	result.high = _mm512_abs_ps(x.high);
	return result;
}

AVX512_INLINE Lanes
lanes_scale(Lanes x, float factor)
{
	Lanes		factors;

	factors.low = factors.high = _mm512_set1_ps(factor);
	return lanes_mul(x, factors);
}

AVX512_INLINE __m512d
first_eight(__m512 x)
{
	return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}

AVX512_INLINE __m512d
last_eight(__m512 x)
{
	return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}

/* With t[j] = s[j] + s[j + 4]: (t0 + t2) + (t1 + t3) */
AVX512_INLINE double
sum_of_eight(__m512d s)
{
	__m256d		four = _mm256_add_pd(_mm512_castpd512_pd256(s),
									 _mm512_extractf64x4_pd(s, 1));
	__m128d		two = _mm_add_pd(_mm256_castpd256_pd128(four),
								 _mm256_extractf128_pd(four, 1));

	return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

AVX512_INLINE double
lanes_sum(Lanes x)
{
	return sum_of_eight(_mm512_add_pd(_mm512_add_pd(first_eight(x.low),
													last_eight(x.low)),
									  _mm512_add_pd(first_eight(x.high),
													last_eight(x.high))));
}

#define LOOPS_TARGET AVX512
#define LOOPS_INLINE AVX512_INLINE
#include "distance/distance_loops.h"

AVX512 static double
avx512_norm_squared(const float *a, int dim)
{
	__m512d		sum = _mm512_setzero_pd();

	for (int i = 0; i < dim; i += 8)
	{
		__m512d		x = _mm512_cvtps_pd(_mm256_maskz_loadu_ps((__mmask8) first_of_32(dim - i),
															  a + i));

		sum = _mm512_add_pd(sum, _mm512_mul_pd(x, x));
	}
	return sum_of_eight(sum);
}

AVX512_INLINE __m128i
load_some_halves(const Half *a, int n)
{
	return _mm_maskz_loadu_epi16((__mmask8) first_of_32(n), a);
}

AVX512 static double
avx512_half_norm_squared(const Half *a, int dim)
{
	__m512d		sum = _mm512_setzero_pd();

	for (int i = 0; i < dim; i += 8)
	{
		__m512d		x = _mm512_cvtps_pd(_mm256_cvtph_ps(load_some_halves(a + i, dim - i)));

		sum = _mm512_add_pd(sum, _mm512_mul_pd(x, x));
	}
	return sum_of_eight(sum);
}

AVX512 static void
avx512_half_to_float(const Half *a, float *result, int dim)
{
	for (int i = 0; i < dim; i += 16)
	{
		__mmask16	mask = (__mmask16) first_of_32(dim - i);

		_mm512_mask_storeu_ps(result + i, mask,
							  _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, a + i)));
	}
}

AVX512 static void
avx512_float_to_half(const float *a, Half *result, int dim)
{
	for (int i = 0; i < dim; i += 16)
	{
		__mmask16	mask = (__mmask16) first_of_32(dim - i);

		_mm256_mask_storeu_epi16(result + i, mask,
								 _mm512_cvtps_ph(_mm512_maskz_loadu_ps(mask, a + i),
												 _MM_FROUND_TO_NEAREST_INT));
	}
}

/*
 * The instruction multiplies unsigned with signed bytes, so a + 128 stands in
 * for a, and 128 times the sum of b is subtracted.  Sums may wrap around in
 * between; the result fits.
 */
AVX512 static int32_t
avx512_dot_int8(const int8_t *a, const int8_t *b, int dim)
{
	const		__m512i sign = _mm512_set1_epi8(-128);
	const		__m512i ones = _mm512_set1_epi8(1);
	__m512i		dot = _mm512_setzero_si512();
	__m512i		sum_b = _mm512_setzero_si512();
	__m512i		va;
	__m512i		vb;
	int			i;

	for (i = 0; i + 64 <= dim; i += 64)
	{
		va = _mm512_xor_si512(_mm512_loadu_si512(a + i), sign);
		vb = _mm512_loadu_si512(b + i);
		dot = _mm512_dpbusd_epi32(dot, va, vb);
		sum_b = _mm512_dpbusd_epi32(sum_b, ones, vb);
	}
	if (i < dim)
	{
		__mmask64	mask = first_of_64(dim - i);

		/* Beyond the tail b is zero, so a does not matter. */
		va = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, a + i), sign);
		vb = _mm512_maskz_loadu_epi8(mask, b + i);
		dot = _mm512_dpbusd_epi32(dot, va, vb);
		sum_b = _mm512_dpbusd_epi32(sum_b, ones, vb);
	}
	return _mm512_reduce_add_epi32(_mm512_sub_epi32(dot, _mm512_slli_epi32(sum_b, 7)));
}

/* The sums of the elements of four vectors */
AVX512_INLINE __m128i
sums_of_4(__m512i x0, __m512i x1, __m512i x2, __m512i x3)
{
	__m512i		low = _mm512_add_epi32(_mm512_unpacklo_epi32(x0, x1),
									   _mm512_unpackhi_epi32(x0, x1));
	__m512i		high = _mm512_add_epi32(_mm512_unpacklo_epi32(x2, x3),
										_mm512_unpackhi_epi32(x2, x3));
	__m512i		all = _mm512_add_epi32(_mm512_unpacklo_epi64(low, high),
									   _mm512_unpackhi_epi64(low, high));
	__m256i		half = _mm256_add_epi32(_mm512_castsi512_si256(all),
										_mm512_extracti64x4_epi64(all, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(half),
						 _mm256_extracti128_si256(half, 1));
}

/* sums[j] + products of 64 codes with those of others[j] */
AVX512_INLINE void
add_dots_of_4(__m512i * sums, __m512i va, const int8_t *const *others, int d,
			  __mmask64 mask)
{
	const		__m512i sign = _mm512_set1_epi8(-128);

#pragma GCC unroll 4
	for (int j = 0; j < 4; j++)
		sums[j] = _mm512_dpbusd_epi32(sums[j],
									  _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, others[j] + d),
													   sign), va);
}

/*
 * Here 128 is added to the others, so that one sum serves all.  Four are added
 * up across their registers together; where fewer are left, the last of them
 * stands for what is missing.
 */
AVX512 static void
avx512_dots_int8(const int8_t *a, const int8_t *const *b, int n, int dim,
				 int32_t *dots)
{
	const		__m512i ones = _mm512_set1_epi8(1);
	int			whole = dim - dim % 64;
	__mmask64	mask = first_of_64(dim % 64);
	__m512i		sum_a = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones,
											_mm512_maskz_loadu_epi8(mask, a + whole));
	__m128i		surplus;

	for (int d = 0; d < whole; d += 64)
		sum_a = _mm512_dpbusd_epi32(sum_a, ones, _mm512_loadu_si512(a + d));
	surplus = _mm_set1_epi32(_mm512_reduce_add_epi32(_mm512_slli_epi32(sum_a, 7)));

	for (int i = 0; i < n; i += 4)
	{
		int			last = n - 1 - i;
		const int8_t *others[4] = {b[i], b[i + (last < 1 ? last : 1)],
		b[i + (last < 2 ? last : 2)], b[i + (last < 3 ? last : 3)]};
		__m512i		sums[4];

#pragma GCC unroll 4
		for (int j = 0; j < 4; j++)
			sums[j] = _mm512_setzero_si512();
		for (int d = 0; d < whole; d += 64)
			add_dots_of_4(sums, _mm512_loadu_si512(a + d), others, d,
						  UINT64_MAX);

		/* Beyond the tail a is zero, so that the others do not matter. */
		if (whole < dim)
			add_dots_of_4(sums, _mm512_maskz_loadu_epi8(mask, a + whole),
						  others, whole, mask);
		_mm_mask_storeu_epi32(dots + i, (__mmask8) first_of_32(n - i),
							  _mm_sub_epi32(sums_of_4(sums[0], sums[1],
													  sums[2], sums[3]),
											surplus));
	}
}

/* sum + the number of bits set in x, as eight 64-bit numbers */
AVX512_INLINE __m512i
add_bit_count(__m512i sum, __m512i x)
{
	return _mm512_add_epi64(sum, _mm512_popcnt_epi64(x));
}

AVX512 static uint64_t
avx512_hamming(const uint8_t *a, const uint8_t *b, int num_bytes)
{
	__m512i		sum = _mm512_setzero_si512();
	int			i;

	for (i = 0; i + 64 <= num_bytes; i += 64)
		sum = add_bit_count(sum, _mm512_xor_si512(_mm512_loadu_si512(a + i),
												  _mm512_loadu_si512(b + i)));
	if (i < num_bytes)
	{
		__mmask64	mask = first_of_64(num_bytes - i);

		sum = add_bit_count(sum, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, a + i),
												  _mm512_maskz_loadu_epi8(mask, b + i)));
	}
	return (uint64_t) _mm512_reduce_add_epi64(sum);
}

AVX512 static void
avx512_jaccard(const uint8_t *a, const uint8_t *b, int num_bytes,
			   DistanceBitCounts *counts)
{
	__m512i		common = _mm512_setzero_si512();
	__m512i		total = _mm512_setzero_si512();
	__m512i		va;
	__m512i		vb;
	int			i;

	for (i = 0; i + 64 <= num_bytes; i += 64)
	{
		va = _mm512_loadu_si512(a + i);
		vb = _mm512_loadu_si512(b + i);
		common = add_bit_count(common, _mm512_and_si512(va, vb));
		total = add_bit_count(total, _mm512_or_si512(va, vb));
	}
	if (i < num_bytes)
	{
		__mmask64	mask = first_of_64(num_bytes - i);

		va = _mm512_maskz_loadu_epi8(mask, a + i);
		vb = _mm512_maskz_loadu_epi8(mask, b + i);
		common = add_bit_count(common, _mm512_and_si512(va, vb));
		total = add_bit_count(total, _mm512_or_si512(va, vb));
	}
	counts->common = (uint64_t) _mm512_reduce_add_epi64(common);
	counts->total = (uint64_t) _mm512_reduce_add_epi64(total);
}

#define KERNELS(half_l2, half_ip, half_taxicab) \
{ \
	.name = "avx512", \
	.l2_squared = lanes_l2_squared, \
	.inner_product = lanes_inner_product, \
	.l1 = lanes_l1, \
	.cosine = lanes_cosine, \
	.norm_squared = avx512_norm_squared, \
	.half_l2_squared = half_l2, \
	.half_inner_product = half_ip, \
	.half_l1 = half_taxicab, \
	.half_cosine = lanes_half_cosine, \
	.half_norm_squared = avx512_half_norm_squared, \
	.half_to_float = avx512_half_to_float, \
	.float_to_half = avx512_float_to_half, \
	.hadamard = DistanceHadamardAvx2, \
	.dot_float_int8 = lanes_dot_float_int8, \
	.unpack_nibbles = DistanceUnpackNibblesAvx2, \
	.dot_int8 = avx512_dot_int8, \
	.dots_int8 = avx512_dots_int8, \
	.l1_float_int8 = lanes_l1_float_int8, \
	.l1_int8 = lanes_l1_int8, \
	.edge_code = DistanceEdgeCodeAvx2, \
	.edge_dots = DistanceEdgeDotsAvx2, \
	.block_row = DistanceBlockRowAvx2, \
	.block_panel = DistanceBlockPanelAvx2, \
	.block_dots = DistanceBlockDotsAvx512, \
	.block_near = DistanceBlockNearAvx512, \
	.hamming = avx512_hamming, \
	.jaccard = avx512_jaccard, \
}

const DistanceKernels distance_avx512_kernels =
KERNELS(lanes_half_l2_squared, lanes_half_inner_product, lanes_half_l1);

/*
 * Zen 4 does 512-bit instructions in two turns.  So it gains nothing from them
 * here, and the additions wait longer for the units that convert halves.
 */
const DistanceKernels distance_zen4_kernels =
KERNELS(DistanceHalfL2SquaredAvx2, DistanceHalfInnerProductAvx2, DistanceHalfL1Avx2);

#endif							/* DISTANCE_HAVE_AVX512 */
