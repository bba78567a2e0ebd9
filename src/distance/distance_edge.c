/*-------------------------------------------------------------------------
 *
 * distance_edge.c
 *	  Inner products of a query with the edge codes of many neighbors.
 *
 * The sums are of integers, and so the same in any order.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_edge.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

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
