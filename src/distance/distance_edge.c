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

#ifdef __x86_64__
#include <immintrin.h>
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
 *		The same, with AVX2.
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

#endif
