/*-------------------------------------------------------------------------
 *
 * distance_edge.c
 *	  Edge codes of differences, and inner products of a query with those of
 *	  many neighbors.
 *
 * Inner products are sums of integers, and so the same in any order.  Sums over
 * a difference have LANES lanes, added up by halves, so that all versions give
 * the same bits; -ffp-contract=off sees to it that multiplications and
 * additions stay apart.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_edge.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define LANES 16

static float
sum_lanes(float *lanes)
{
	for (int half = LANES / 2; half > 0; half /= 2)
	{
		for (int i = 0; i < half; i++)
			lanes[i] += lanes[i + half];
	}
	return lanes[0];
}

/*
 * DistanceEdgeCodeScalar
 *		Code the difference of two vectors, w = to - from.
 *
 * Codes u are -1 and 1 with one bit for a dimension, and -3, -1, 1 and 3 with
 * two: 3 where w is above 'threshold' times its root mean square.  They are
 * stored counting from 0, in num_chunks times DISTANCE_EDGE_PIECE bytes.
 */
DistanceEdgeSums
DistanceEdgeCodeScalar(const float *from, const float *to, float threshold, int bits, int num_chunks,
					   uint8_t *piece)
{
	int			dims = num_chunks * DistanceEdgeChunkDims(bits);
	float		limit = FLT_MAX;
	float		squares[LANES] = {0};
	float		products[LANES] = {0};
	float		from_products[LANES] = {0};
	DistanceEdgeSums sums;

	if (bits == 2)
	{
		for (int d = 0; d < dims; d++)
		{
			float		w = to[d] - from[d];

			squares[d % LANES] += w * w;
		}
		limit = threshold * sqrtf(sum_lanes(squares) / (float) dims);
	}
	memset(piece, 0, (size_t) num_chunks * DISTANCE_EDGE_PIECE);
	for (int d = 0; d < dims; d++)
	{
		float		w = to[d] - from[d];
		int			u = fabsf(w) > limit ? 3 : 1;

		if (w < 0)
			u = -u;
		products[d % LANES] += (float) u * w;
		from_products[d % LANES] += (float) u * from[d];
		piece[d / DistanceEdgeChunkDims(bits) * DISTANCE_EDGE_PIECE + d % 4] |=
			(u + (1 << bits) - 1) >> 1 << DistanceEdgeShift(bits, d);
	}
	sums.code_difference = sum_lanes(products);
	sums.code_from = sum_lanes(from_products);
	return sums;
}

/*
 * DistanceEdgeDotsScalar
 *		dots[i] = sum of query[d] * code of neighbor i in dimension d.
 *
 * Codes count from 0: to 1 or to 3.  The query has num_chunks chunks of
 * dimensions, dots num_groups * DISTANCE_EDGE_GROUP places.
 */
void
DistanceEdgeDotsScalar(const int8_t *query, const uint8_t *codes, int bits,
					   int num_chunks, int num_groups, int32_t *dots)
{
	int			dims = num_chunks * DistanceEdgeChunkDims(bits);
	int			mask = (1 << bits) - 1;

	for (int i = 0; i < num_groups * DISTANCE_EDGE_GROUP; i++)
	{
		int32_t		sum = 0;

		for (int d = 0; d < dims; d++)
			sum += query[d] *
				(codes[DistanceEdgeByte(bits, num_chunks, i, d)] >>
				 DistanceEdgeShift(bits, d) & mask);
		dots[i] = sum;
	}
}

#if defined(__x86_64__) && defined(__GNUC__)

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE static inline __attribute__((target("avx2"), always_inline))

AVX2_INLINE float
sum_lanes_avx2(__m256 low, __m256 high)
{
	__m256		eight = _mm256_add_ps(low, high);
	__m128		four = _mm_add_ps(_mm256_castps256_ps128(eight),
								  _mm256_extractf128_ps(eight, 1));
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* to - from, of eight dimensions */
AVX2_INLINE __m256
difference_of_8(const float *from, const float *to)
{
	return _mm256_sub_ps(_mm256_loadu_ps(to),
						 _mm256_loadu_ps(from));
}

/* Code eight dimensions; returns the fields, from 0, as integers. */
AVX2_INLINE __m256i
code_of_8(const float *from, __m256 w, __m256 limit, int bits,
		  __m256 * products, __m256 * from_products)
{
	const		__m256 sign = _mm256_set1_ps(-0.0f);
	__m256		is_negative = _mm256_cmp_ps(w, _mm256_setzero_ps(), _CMP_LT_OQ);
	__m256		is_outer = _mm256_cmp_ps(_mm256_andnot_ps(sign, w), limit,
										 _CMP_GT_OQ);
	__m256		u = _mm256_xor_ps(_mm256_blendv_ps(_mm256_set1_ps(1),
												   _mm256_set1_ps(3), is_outer),
								  _mm256_and_ps(is_negative, sign));
	__m256i		high = _mm256_andnot_si256(_mm256_castps_si256(is_negative),
										   _mm256_set1_epi32(1 << (bits - 1)));
	__m256i		low = _mm256_castps_si256(_mm256_xor_ps(is_negative, is_outer));

	*products = _mm256_add_ps(*products, _mm256_mul_ps(u, w));
	*from_products = _mm256_add_ps(*from_products,
								   _mm256_mul_ps(u, _mm256_loadu_ps(from)));
	if (bits == 1)
		return high;
	return _mm256_or_si256(high, _mm256_and_si256(low, _mm256_set1_epi32(1)));
}

/* The fields of a chunk, each in its place, of which bytes are to be made. */
AVX2_INLINE void
store_piece(__m256i fields, uint8_t *piece)
{
	__m128i		words = _mm_or_si128(_mm256_castsi256_si128(fields),
									 _mm256_extracti128_si256(fields, 1));
	int32_t		bytes = _mm_cvtsi128_si32(_mm_shuffle_epi8(words,
														   _mm_set1_epi32(0x0c080400)));

	memcpy(piece, &bytes, sizeof(bytes));
}

/* Constant bits and no threshold, or one: nothing is chosen in the loop. */
AVX2_INLINE DistanceEdgeSums
edge_code_avx2(const float *from, const float *to, float threshold, const int bits, int num_chunks, uint8_t *piece)
{
	const int	chunk_dims = DistanceEdgeChunkDims(bits);
	int			dims = num_chunks * chunk_dims;
	__m256		limit = _mm256_set1_ps(FLT_MAX);
	__m256		sum0 = _mm256_setzero_ps();
	__m256		sum1 = _mm256_setzero_ps();
	__m256		from_sum0 = _mm256_setzero_ps();
	__m256		from_sum1 = _mm256_setzero_ps();
	DistanceEdgeSums sums;

	if (bits == 2)
	{
		for (int d = 0; d < dims; d += 16)
		{
			__m256		w0 = difference_of_8(from + d, to + d);
			__m256		w1 = difference_of_8(from + d + 8, to + d + 8);

			sum0 = _mm256_add_ps(sum0, _mm256_mul_ps(w0, w0));
			sum1 = _mm256_add_ps(sum1, _mm256_mul_ps(w1, w1));
		}
		limit = _mm256_set1_ps(threshold *
							   sqrtf(sum_lanes_avx2(sum0, sum1) / (float) dims));
		sum0 = sum1 = _mm256_setzero_ps();
	}
	for (int chunk = 0; chunk < num_chunks; chunk++)
	{
		__m256i		shifts = _mm256_setr_epi32(0, 0, 0, 0, bits, bits, bits, bits);
		__m256i		fields = _mm256_setzero_si256();

		for (int i = 0; i < chunk_dims; i += 16)
		{
			const float *f = from + chunk * chunk_dims + i;
			const float *t = to + chunk * chunk_dims + i;

			fields = _mm256_or_si256(fields,
									 _mm256_sllv_epi32(code_of_8(f, difference_of_8(f, t),
																 limit, bits, &sum0, &from_sum0),
													   shifts));
			shifts = _mm256_add_epi32(shifts, _mm256_set1_epi32(2 * bits));
			fields = _mm256_or_si256(fields,
									 _mm256_sllv_epi32(code_of_8(f + 8, difference_of_8(f + 8, t + 8),
																 limit, bits, &sum1, &from_sum1),
													   shifts));
			shifts = _mm256_add_epi32(shifts, _mm256_set1_epi32(2 * bits));
		}
		store_piece(fields, piece + chunk * DISTANCE_EDGE_PIECE);
	}
	sums.code_difference = sum_lanes_avx2(sum0, sum1);
	sums.code_from = sum_lanes_avx2(from_sum0, from_sum1);
	return sums;
}

AVX2 DistanceEdgeSums
DistanceEdgeCodeAvx2(const float *from, const float *to, float threshold, int bits, int num_chunks, uint8_t *piece)
{
	return bits == 2 ?
		edge_code_avx2(from, to, threshold, 2, num_chunks, piece) :
		edge_code_avx2(from, to, threshold, 1, num_chunks, piece);
}

/*
 * Chunks after which sums of 16 bits are added to those of 32.  A product of
 * two bytes pairs is at most 2 * 3 * 128; 10 chunks of four make 30,720.
 */
#define CHUNKS_PER_FLUSH 10

/* Four dimensions of all eight neighbors. */
AVX2_INLINE __m256i
dot_of_4(const int8_t *query, __m256i fields)
{
	int32_t		word;

	memcpy(&word, query, sizeof(word));
	return _mm256_maddubs_epi16(fields, _mm256_set1_epi32(word));
}

AVX2_INLINE __m256i
chunk_of_2_bits(const int8_t *query, const uint8_t *codes)
{
	const		__m256i mask = _mm256_set1_epi8(3);
	__m256i		v = _mm256_loadu_si256((const __m256i *) codes);
	__m256i		sum0;
	__m256i		sum1;

	sum0 = dot_of_4(query, _mm256_and_si256(v, mask));
	sum1 = dot_of_4(query + 4,
					_mm256_and_si256(_mm256_srli_epi16(v, 2), mask));
	sum0 = _mm256_add_epi16(sum0,
							dot_of_4(query + 8,
									 _mm256_and_si256(_mm256_srli_epi16(v, 4),
													  mask)));
	sum1 = _mm256_add_epi16(sum1,
							dot_of_4(query + 12,
									 _mm256_and_si256(_mm256_srli_epi16(v, 6),
													  mask)));
	return _mm256_add_epi16(sum0, sum1);
}

AVX2_INLINE __m256i
chunk_of_1_bit(const int8_t *query, const uint8_t *codes)
{
	const		__m256i mask = _mm256_set1_epi8(1);
	__m256i		v = _mm256_loadu_si256((const __m256i *) codes);
	__m256i		sum = _mm256_setzero_si256();

	for (int k = 0; k < 8; k++)
	{
		sum = _mm256_add_epi16(sum,
							   dot_of_4(query + 4 * k,
										_mm256_and_si256(v, mask)));
		v = _mm256_srli_epi16(v, 1);
	}
	return sum;
}

/*
 * DistanceEdgeDotsAvx2
 *		The same, with AVX2: 32 neighbors of 64 x 2 bits in 30 ns, of 112 x 2
 *		bits in 43.  The products of four bytes that AVX-512 adds at once
 *		(VNNI) are no faster here.
 */
AVX2 void
DistanceEdgeDotsAvx2(const int8_t *query, const uint8_t *codes, int bits,
					 int num_chunks, int num_groups, int32_t *dots)
{
	const		__m256i ones = _mm256_set1_epi16(1);
	int			chunk_dims = DistanceEdgeChunkDims(bits);

	for (int group = 0; group < num_groups; group++)
	{
		__m256i		total = _mm256_setzero_si256();

		for (int done = 0; done < num_chunks; done += CHUNKS_PER_FLUSH)
		{
			int			n = num_chunks - done < CHUNKS_PER_FLUSH ?
			num_chunks - done : CHUNKS_PER_FLUSH;
			const int8_t *q = query + done * chunk_dims;
			__m256i		sum = _mm256_setzero_si256();

			for (int i = 0; i < n; i++)
			{
				sum = _mm256_add_epi16(sum, bits == 2 ?
									   chunk_of_2_bits(q, codes) :
									   chunk_of_1_bit(q, codes));
				q += chunk_dims;
				codes += DISTANCE_EDGE_CHUNK;
			}
			total = _mm256_add_epi32(total, _mm256_madd_epi16(sum, ones));
		}
		_mm256_storeu_si256((__m256i *) (dots + group * DISTANCE_EDGE_GROUP),
							total);
	}
}

#elif defined(__aarch64__)

/*
 * Chunks after which sums of 16 bits are added to those of 32.  A chunk adds at
 * most 4 * 3 * 128 or 8 * 128 to one; 20 chunks of the former make 30,720.
 */
#define CHUNKS_PER_FLUSH 20

/*
 * DistanceEdgeDotsNeon
 *		The same, with NEON.  Four neighbors stand in a register.
 */
void
DistanceEdgeDotsNeon(const int8_t *query, const uint8_t *codes, int bits,
					 int num_chunks, int num_groups, int32_t *dots)
{
	const		uint8x16_t mask = vdupq_n_u8((uint8_t) ((1 << bits) - 1));
	const		int8x16_t right = vdupq_n_s8((int8_t) -bits);

	for (int group = 0; group < num_groups; group++)
	{
		const int8_t *q = query;
		int32x4_t	totals[4];

		for (int j = 0; j < 4; j++)
			totals[j] = vdupq_n_s32(0);
		for (int done = 0; done < num_chunks; done += CHUNKS_PER_FLUSH)
		{
			int			n = num_chunks - done < CHUNKS_PER_FLUSH ?
			num_chunks - done : CHUNKS_PER_FLUSH;
			int16x8_t	sums[4];	/* of two neighbors each */

			for (int j = 0; j < 4; j++)
				sums[j] = vdupq_n_s16(0);
			for (int i = 0; i < n; i++)
			{
				uint8x16_t	v0 = vld1q_u8(codes);
				uint8x16_t	v1 = vld1q_u8(codes + 16);

				for (int k = 0; k < 8 / bits; k++)
				{
					int32_t		word;
					int8x8_t	w;
					int8x16_t	fields;

					memcpy(&word, q, sizeof(word));
					w = vreinterpret_s8_s32(vdup_n_s32(word));
					fields = vreinterpretq_s8_u8(vandq_u8(v0, mask));
					sums[0] = vmlal_s8(sums[0], vget_low_s8(fields), w);
					sums[1] = vmlal_s8(sums[1], vget_high_s8(fields), w);
					fields = vreinterpretq_s8_u8(vandq_u8(v1, mask));
					sums[2] = vmlal_s8(sums[2], vget_low_s8(fields), w);
					sums[3] = vmlal_s8(sums[3], vget_high_s8(fields), w);
					v0 = vshlq_u8(v0, right);
					v1 = vshlq_u8(v1, right);
					q += 4;
				}
				codes += DISTANCE_EDGE_CHUNK;
			}
			for (int j = 0; j < 4; j++)
				totals[j] = vpadalq_s16(totals[j], sums[j]);
		}
		vst1q_s32(dots, vpaddq_s32(totals[0], totals[1]));
		vst1q_s32(dots + 4, vpaddq_s32(totals[2], totals[3]));
		dots += DISTANCE_EDGE_GROUP;
	}
}

#endif
