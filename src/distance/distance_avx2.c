/*-------------------------------------------------------------------------
 *
 * distance_avx2.c
 *	  The distance kernels for x86-64 CPUs with AVX2, F16C and FMA.
 *
 * The instruction set is named by attributes, not by compiler flags for this
 * file, so that the bitcode for PostgreSQL's JIT builds with the same rules.
 * Only distance.c may call in here, after asking the CPU.
 *
 * CPUs with AVX2 also have POPCNT, for the last words of bit strings.
 *
 * The 32 lanes of the definition are four vectors of 8 floats.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_block.h"
#include "distance/distance_edge.h"
#include "distance/distance_hadamard.h"
#include "distance/distance_impl.h"

#ifdef DISTANCE_HAVE_AVX2

#include <immintrin.h>
#include <string.h>

#define AVX2_FEATURES "avx2,f16c,fma,popcnt"
#define AVX2 __attribute__((target(AVX2_FEATURES)))
#define AVX2_INLINE static inline __attribute__((target(AVX2_FEATURES), always_inline))

typedef struct Lanes
{
	__m256		v0;
	__m256		v1;
	__m256		v2;
	__m256		v3;
} Lanes;

/* 32 loads, then 32 skips: a window that starts at 32 - n loads n elements. */
static const int32_t tail_mask[2 * DISTANCE_LANES] = {
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
};

/*
 * Shuffles that move the bytes of a vector down: the window that starts at
 * byte k moves them by k and fills up with zeros.
 */
static const int8_t shift_down[32] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
};

AVX2_INLINE Lanes
lanes_zero(void)
{
	Lanes		result;

	result.v0 = result.v1 = result.v2 = result.v3 = _mm256_setzero_ps();
	return result;
}

AVX2_INLINE Lanes
lanes_load(const float *p)
{
	Lanes		result;

	result.v0 = _mm256_loadu_ps(p);
	result.v1 = _mm256_loadu_ps(p + 8);
	result.v2 = _mm256_loadu_ps(p + 16);
	result.v3 = _mm256_loadu_ps(p + 24);
	return result;
}

AVX2_INLINE __m256i
mask_at(int position)
{
	return _mm256_loadu_si256((const __m256i *) (tail_mask + position));
}

/* The last n < 32 elements, and zeros; reads nothing around them. */
AVX2_INLINE Lanes
lanes_load_tail(const float *p, int n, int before)
{
	int			first = DISTANCE_LANES - n;
	Lanes		result;

	result.v0 = _mm256_maskload_ps(p, mask_at(first));
	result.v1 = _mm256_maskload_ps(p + 8, mask_at(first + 8));
	result.v2 = _mm256_maskload_ps(p + 16, mask_at(first + 16));
	result.v3 = _mm256_maskload_ps(p + 24, mask_at(first + 24));
	return result;
}

/* 8 codes as floats */
AVX2_INLINE __m256
load_codes(const int8_t *p)
{
	__m128i		codes = _mm_loadl_epi64((const __m128i *) p);

	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
}

/*
 * Up to 8 codes as floats, and zeros.  'before' codes precede them: if that
 * makes 8, one load that ends where they end gets them all.  Copying them one
 * by one would make the vector load wait for the stores.
 */
AVX2_INLINE __m256
load_some_codes(const int8_t *p, int n, int before)
{
	uint64_t	word = 0;

	if (n >= 8)
		return load_codes(p);
	if (n <= 0)
		return _mm256_setzero_ps();

	if (before + n >= 8)
	{
		memcpy(&word, p + n - 8, 8);
		word >>= 8 * (8 - n);
	}
	else
	{
		for (int i = 0; i < n; i++)
			word |= (uint64_t) (uint8_t) p[i] << (8 * i);
	}
	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long) word)));
}

AVX2_INLINE Lanes
lanes_load_int8(const int8_t *p)
{
	Lanes		result;

	result.v0 = load_codes(p);
	result.v1 = load_codes(p + 8);
	result.v2 = load_codes(p + 16);
	result.v3 = load_codes(p + 24);
	return result;
}

/* As lanes_load_tail; 'before' codes precede these. */
AVX2_INLINE Lanes
lanes_load_int8_tail(const int8_t *p, int n, int before)
{
	Lanes		result;

	result.v0 = load_some_codes(p, n, before);
	result.v1 = load_some_codes(p + 8, n - 8, before + 8);
	result.v2 = load_some_codes(p + 16, n - 16, before + 16);
	result.v3 = load_some_codes(p + 24, n - 24, before + 24);
	return result;
}

/* 8 halves as floats */
AVX2_INLINE __m256
load_halves(const Half *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p));
}

/*
 * Up to 8 halves as floats, and zeros; 'before' halves precede them.  Here as
 * well a load that ends where they end gets them all if that makes 8.
 */
AVX2_INLINE __m256
load_some_halves(const Half *p, int n, int before)
{
	__m128i		halves;

	if (n >= 8)
		return load_halves(p);
	if (n <= 0)
		return _mm256_setzero_ps();

	if (before + n >= 8)
		halves = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *) (p + n - 8)),
								  _mm_loadu_si128((const __m128i *) (shift_down + 16 - 2 * n)));
	else
	{
		uint64_t	low = 0;
		uint64_t	high = 0;

		for (int i = 0; i < n && i < 4; i++)
			low |= (uint64_t) p[i] << (16 * i);
		for (int i = 4; i < n; i++)
			high |= (uint64_t) p[i] << (16 * (i - 4));
		halves = _mm_set_epi64x((long long) high, (long long) low);
	}
	return _mm256_cvtph_ps(halves);
}

AVX2_INLINE Lanes
lanes_load_half(const Half *p)
{
	Lanes		result;

	result.v0 = load_halves(p);
	result.v1 = load_halves(p + 8);
	result.v2 = load_halves(p + 16);
	result.v3 = load_halves(p + 24);
	return result;
}

/* As lanes_load_tail; 'before' halves precede these. */
AVX2_INLINE Lanes
lanes_load_half_tail(const Half *p, int n, int before)
{
	Lanes		result;

	result.v0 = load_some_halves(p, n, before);
	result.v1 = load_some_halves(p + 8, n - 8, before + 8);
	result.v2 = load_some_halves(p + 16, n - 16, before + 16);
	result.v3 = load_some_halves(p + 24, n - 24, before + 24);
	return result;
}

/*
 * As a * 1 - b, which is rounded once and so the same, but done by the units
 * for multiplication.  On AMD CPUs those for addition convert the halves, and
 * are the limit of their kernels.
 */
AVX2_INLINE Lanes
lanes_sub(Lanes a, Lanes b)
{
	__m256		one = _mm256_set1_ps(1.0f);
	Lanes		result;

	result.v0 = _mm256_fmsub_ps(a.v0, one, b.v0);
	result.v1 = _mm256_fmsub_ps(a.v1, one, b.v1);
	result.v2 = _mm256_fmsub_ps(a.v2, one, b.v2);
	result.v3 = _mm256_fmsub_ps(a.v3, one, b.v3);
	return result;
}

AVX2_INLINE Lanes
lanes_abs(Lanes a)
{
	__m256		sign = _mm256_set1_ps(-0.0f);
	Lanes		result;

	result.v0 = _mm256_andnot_ps(sign, a.v0);
	result.v1 = _mm256_andnot_ps(sign, a.v1);
	result.v2 = _mm256_andnot_ps(sign, a.v2);
	result.v3 = _mm256_andnot_ps(sign, a.v3);
	return result;
}

AVX2_INLINE Lanes
lanes_add(Lanes a, Lanes b)
{
	Lanes		result;

	result.v0 = _mm256_add_ps(a.v0, b.v0);
	result.v1 = _mm256_add_ps(a.v1, b.v1);
	result.v2 = _mm256_add_ps(a.v2, b.v2);
	result.v3 = _mm256_add_ps(a.v3, b.v3);
	return result;
}

AVX2_INLINE Lanes
lanes_mul(Lanes a, Lanes b)
{
	Lanes		result;

	result.v0 = _mm256_mul_ps(a.v0, b.v0);
	result.v1 = _mm256_mul_ps(a.v1, b.v1);
	result.v2 = _mm256_mul_ps(a.v2, b.v2);
	result.v3 = _mm256_mul_ps(a.v3, b.v3);
	return result;
}

AVX2_INLINE Lanes
lanes_scale(Lanes x, float scale)
{
	Lanes		factor;

	factor.v0 = factor.v1 = factor.v2 = factor.v3 = _mm256_set1_ps(scale);
	return lanes_mul(x, factor);
}

AVX2_INLINE __m256d
low_half(__m256 v)
{
	return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}

AVX2_INLINE __m256d
high_half(__m256 v)
{
	return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}

/* (s0 + s2) + (s1 + s3) */
AVX2_INLINE double
sum_of_four(__m256d sum)
{
	__m128d		pair = _mm_add_pd(_mm256_castpd256_pd128(sum),
								  _mm256_extractf128_pd(sum, 1));

	return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

/* sum_lanes() of distance_scalar.c */
AVX2_INLINE double
lanes_sum(Lanes a)
{
	__m256d		low = _mm256_add_pd(_mm256_add_pd(low_half(a.v0), low_half(a.v1)),
									_mm256_add_pd(low_half(a.v2), low_half(a.v3)));
	__m256d		high = _mm256_add_pd(_mm256_add_pd(high_half(a.v0), high_half(a.v1)),
									 _mm256_add_pd(high_half(a.v2), high_half(a.v3)));

	return sum_of_four(_mm256_add_pd(low, high));
}

#define LOOPS_TARGET AVX2
#define LOOPS_INLINE AVX2_INLINE
#include "distance/distance_loops.h"

AVX2 static double
avx2_norm_squared(const float *a, int dim)
{
	__m256d		sum0 = _mm256_setzero_pd();
	__m256d		sum1 = _mm256_setzero_pd();
	__m256		v;
	int			i;

	for (i = 0; i < dim; i += 8)
	{
		if (i + 8 <= dim)
			v = _mm256_loadu_ps(a + i);
		else
			v = _mm256_maskload_ps(a + i, mask_at(DISTANCE_LANES - (dim - i)));

		sum0 = _mm256_add_pd(sum0, _mm256_mul_pd(low_half(v), low_half(v)));
		sum1 = _mm256_add_pd(sum1, _mm256_mul_pd(high_half(v), high_half(v)));
	}
	return sum_of_four(_mm256_add_pd(sum0, sum1));
}

AVX2 static double
avx2_half_norm_squared(const Half *a, int dim)
{
	__m256d		sum0 = _mm256_setzero_pd();
	__m256d		sum1 = _mm256_setzero_pd();

	for (int i = 0; i < dim; i += 8)
	{
		__m256		v = load_some_halves(a + i, dim - i, i);

		sum0 = _mm256_add_pd(sum0, _mm256_mul_pd(low_half(v), low_half(v)));
		sum1 = _mm256_add_pd(sum1, _mm256_mul_pd(high_half(v), high_half(v)));
	}
	return sum_of_four(_mm256_add_pd(sum0, sum1));
}

AVX2 static void
avx2_half_to_float(const Half *a, float *result, int dim)
{
	int			i;

	for (i = 0; i + 8 <= dim; i += 8)
		_mm256_storeu_ps(result + i, load_halves(a + i));
	if (i < dim)
		_mm256_maskstore_ps(result + i, mask_at(DISTANCE_LANES - (dim - i)),
							load_some_halves(a + i, dim - i, i));
}

AVX2 static void
avx2_float_to_half(const float *a, Half *result, int dim)
{
	int			i;

	for (i = 0; i + 8 <= dim; i += 8)
		_mm_storeu_si128((__m128i *) (result + i),
						 _mm256_cvtps_ph(_mm256_loadu_ps(a + i),
										 _MM_FROUND_TO_NEAREST_INT));
	for (; i < dim; i++)
		result[i] = HalfFromFloat(a[i]);
}

AVX2 void
DistanceUnpackNibblesAvx2(const uint8_t *packed, const int8_t *table,
						  int8_t *result, int dim)
{
	__m256i		low_half = _mm256_set1_epi8(0xF);
	__m256i		numbers = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *) table));
	int			half = (dim + 1) / 2;
	int			i;

	for (i = 0; i + 32 <= dim - half; i += 32)
	{
		__m256i		both = _mm256_loadu_si256((const __m256i *) (packed + i));
		__m256i		low = _mm256_and_si256(both, low_half);
		__m256i		high = _mm256_and_si256(_mm256_srli_epi16(both, 4),
											low_half);

		_mm256_storeu_si256((__m256i *) (result + i),
							_mm256_shuffle_epi8(numbers, low));
		_mm256_storeu_si256((__m256i *) (result + half + i),
							_mm256_shuffle_epi8(numbers, high));
	}
	for (; i < half; i++)
	{
		result[i] = table[packed[i] & 0xF];
		if (half + i < dim)
			result[half + i] = table[packed[i] >> 4];
	}
}

/* Products of 16 codes each, added up in pairs: 8 sums. */
AVX2_INLINE __m256i
dot_of_16(const int8_t *a, const int8_t *b)
{
	__m256i		va = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) a));
	__m256i		vb = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) b));

	return _mm256_madd_epi16(va, vb);
}

AVX2 static int32_t
avx2_dot_int8(const int8_t *a, const int8_t *b, int dim)
{
	__m256i		sum0 = _mm256_setzero_si256();
	__m256i		sum1 = _mm256_setzero_si256();
	__m128i		sum;
	int32_t		total;
	int			i;

	for (i = 0; i + 32 <= dim; i += 32)
	{
		sum0 = _mm256_add_epi32(sum0, dot_of_16(a + i, b + i));
		sum1 = _mm256_add_epi32(sum1, dot_of_16(a + i + 16, b + i + 16));
	}
	if (i + 16 <= dim)
	{
		sum0 = _mm256_add_epi32(sum0, dot_of_16(a + i, b + i));
		i += 16;
	}

	sum0 = _mm256_add_epi32(sum0, sum1);
	sum = _mm_add_epi32(_mm256_castsi256_si128(sum0),
						_mm256_extracti128_si256(sum0, 1));
	sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(1, 0, 3, 2)));
	sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(2, 3, 0, 1)));
	total = _mm_cvtsi128_si32(sum);

	for (; i < dim; i++)
		total += (int32_t) a[i] * b[i];
	return total;
}

/* Codes that are widened once for four others; see dot_of_16(). */
AVX2_INLINE __m256i
add_dot_of_16(__m256i sum, __m256i va, const int8_t *b)
{
	__m256i		vb = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) b));

	return _mm256_add_epi32(sum, _mm256_madd_epi16(va, vb));
}

AVX2 static void
avx2_dots_int8(const int8_t *a, const int8_t *const *b, int n, int dim,
			   int32_t *dots)
{
	int			i;

	for (i = 0; i + 4 <= n; i += 4)
	{
		__m256i		sums[4];
		__m256i		pairs;
		__m128i		four;
		int			d;

#pragma GCC unroll 4
		for (int j = 0; j < 4; j++)
			sums[j] = _mm256_setzero_si256();
		for (d = 0; d + 16 <= dim; d += 16)
		{
			__m256i		va = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) (a + d)));

#pragma GCC unroll 4
			for (int j = 0; j < 4; j++)
				sums[j] = add_dot_of_16(sums[j], va, b[i + j] + d);
		}
		pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]),
								  _mm256_hadd_epi32(sums[2], sums[3]));
		four = _mm_add_epi32(_mm256_castsi256_si128(pairs),
							 _mm256_extracti128_si256(pairs, 1));
		_mm_storeu_si128((__m128i *) (dots + i), four);
		for (int j = 0; j < 4; j++)
		{
			for (int k = d; k < dim; k++)
				dots[i + j] += (int32_t) a[k] * b[i + j][k];
		}
	}
	for (; i < n; i++)
		dots[i] = avx2_dot_int8(a, b[i], dim);
}

/* Number of bits set in each byte: two nibbles looked up in a table. */
AVX2_INLINE __m256i
count_bits_of_bytes(__m256i v)
{
	const		__m256i low_nibble = _mm256_set1_epi8(0x0f);
	const		__m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3,
												 1, 2, 2, 3, 2, 3, 3, 4,
												 0, 1, 1, 2, 1, 2, 2, 3,
												 1, 2, 2, 3, 2, 3, 3, 4);
	__m256i		low = _mm256_and_si256(v, low_nibble);
	__m256i		high = _mm256_and_si256(_mm256_srli_epi16(v, 4), low_nibble);

	return _mm256_add_epi8(_mm256_shuffle_epi8(table, low),
						   _mm256_shuffle_epi8(table, high));
}

/* sum + the 32 bytes of counts, which are added up to four 64-bit numbers */
AVX2_INLINE __m256i
add_bytes(__m256i sum, __m256i counts)
{
	return _mm256_add_epi64(sum, _mm256_sad_epu8(counts, _mm256_setzero_si256()));
}

AVX2_INLINE uint64_t
sum_of_four_int64(__m256i sum)
{
	__m128i		pair = _mm_add_epi64(_mm256_castsi256_si128(sum),
									 _mm256_extracti128_si256(sum, 1));

	return (uint64_t) _mm_cvtsi128_si64(pair) +
		(uint64_t) _mm_extract_epi64(pair, 1);
}

AVX2_INLINE __m256i
load_bytes(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i *) p);
}

/*
 * Up to 8 bytes, and zeros.  Between 4 and 7 bytes are two loads of 4 that
 * overlap, in their place: copying byte by byte costs more than all the rest.
 */
AVX2_INLINE uint64_t
load_word(const uint8_t *p, int n)
{
	uint64_t	word = 0;

	if (n >= 8)
		memcpy(&word, p, 8);
	else if (n >= 4)
	{
		uint32_t	first;
		uint32_t	last;

		memcpy(&first, p, 4);
		memcpy(&last, p + n - 4, 4);
		word = first | (uint64_t) last << (8 * (n - 4));
	}
	else
	{
		for (int i = 0; i < n; i++)
			word |= (uint64_t) p[i] << (8 * i);
	}
	return word;
}

AVX2 static uint64_t
avx2_hamming(const uint8_t *a, const uint8_t *b, int num_bytes)
{
	__m256i		sum = _mm256_setzero_si256();
	uint64_t	total;
	int			i;

	for (i = 0; i + 64 <= num_bytes; i += 64)
	{
		__m256i		v0 = _mm256_xor_si256(load_bytes(a + i), load_bytes(b + i));
		__m256i		v1 = _mm256_xor_si256(load_bytes(a + i + 32),
										  load_bytes(b + i + 32));

		sum = add_bytes(sum, _mm256_add_epi8(count_bits_of_bytes(v0),
											 count_bits_of_bytes(v1)));
	}
	total = sum_of_four_int64(sum);
	for (; i < num_bytes; i += 8)
		total += _mm_popcnt_u64(load_word(a + i, num_bytes - i) ^
								load_word(b + i, num_bytes - i));
	return total;
}

AVX2 static void
avx2_jaccard(const uint8_t *a, const uint8_t *b, int num_bytes,
			 DistanceBitCounts *counts)
{
	__m256i		sum_common = _mm256_setzero_si256();
	__m256i		sum_total = _mm256_setzero_si256();
	uint64_t	common;
	uint64_t	total;
	int			i;

	for (i = 0; i + 32 <= num_bytes; i += 32)
	{
		__m256i		va = load_bytes(a + i);
		__m256i		vb = load_bytes(b + i);

		sum_common = add_bytes(sum_common,
							   count_bits_of_bytes(_mm256_and_si256(va, vb)));
		sum_total = add_bytes(sum_total,
							  count_bits_of_bytes(_mm256_or_si256(va, vb)));
	}
	common = sum_of_four_int64(sum_common);
	total = sum_of_four_int64(sum_total);
	for (; i < num_bytes; i += 8)
	{
		uint64_t	word_a = load_word(a + i, num_bytes - i);
		uint64_t	word_b = load_word(b + i, num_bytes - i);

		common += _mm_popcnt_u64(word_a & word_b);
		total += _mm_popcnt_u64(word_a | word_b);
	}
	counts->common = common;
	counts->total = total;
}

/* For the kernels of distance_avx512.c on Zen 4 */
AVX2 double
DistanceHalfL2SquaredAvx2(const Half *a, const Half *b, int dim)
{
	return lanes_half_l2_squared(a, b, dim);
}

AVX2 double
DistanceHalfInnerProductAvx2(const Half *a, const Half *b, int dim)
{
	return lanes_half_inner_product(a, b, dim);
}

AVX2 double
DistanceHalfL1Avx2(const Half *a, const Half *b, int dim)
{
	return lanes_half_l1(a, b, dim);
}

const DistanceKernels distance_avx2_kernels = {
	.name = "avx2",
	.l2_squared = lanes_l2_squared,
	.inner_product = lanes_inner_product,
	.l1 = lanes_l1,
	.cosine = lanes_cosine,
	.norm_squared = avx2_norm_squared,
	.half_l2_squared = DistanceHalfL2SquaredAvx2,
	.half_inner_product = DistanceHalfInnerProductAvx2,
	.half_l1 = DistanceHalfL1Avx2,
	.half_cosine = lanes_half_cosine,
	.half_norm_squared = avx2_half_norm_squared,
	.half_to_float = avx2_half_to_float,
	.float_to_half = avx2_float_to_half,
	.hadamard = DistanceHadamardAvx2,
	.dot_float_int8 = lanes_dot_float_int8,
	.unpack_nibbles = DistanceUnpackNibblesAvx2,
	.dot_int8 = avx2_dot_int8,
	.dots_int8 = avx2_dots_int8,
	.l1_float_int8 = lanes_l1_float_int8,
	.l1_int8 = lanes_l1_int8,
	.edge_code = DistanceEdgeCodeAvx2,
	.edge_dots = DistanceEdgeDotsAvx2,
	.block_row = DistanceBlockRowAvx2,
	.block_panel = DistanceBlockPanelAvx2,
	.block_dots = DistanceBlockDotsAvx2,
	.block_near = DistanceBlockNearAvx2,
	.hamming = avx2_hamming,
	.jaccard = avx2_jaccard,
};

#endif							/* DISTANCE_HAVE_AVX2 */
