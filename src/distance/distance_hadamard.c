/*-------------------------------------------------------------------------
 *
 * distance_hadamard.c
 *	  The fast Hadamard transform.
 *
 * At each level, from 1 to n / 2, sums and differences take the place of values
 * that lie so far apart.  A value of the result is made by one addition at each
 * level and a multiplication at the end, in every version, so that all give the
 * same bits.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_hadamard.h"

#include <math.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/*
 * DistanceHadamardScalar
 *		Transform n = 2^k values, scaled to keep the length.
 */
void
DistanceHadamardScalar(float *x, int n)
{
	float		scale = (float) (1.0 / sqrt((double) n));

	for (int level = 1; level < n; level *= 2)
	{
		for (int start = 0; start < n; start += 2 * level)
		{
			for (int i = start; i < start + level; i++)
			{
				float		a = x[i];
				float		b = x[i + level];

				x[i] = a + b;
				x[i + level] = a - b;
			}
		}
	}
	for (int i = 0; i < n; i++)
		x[i] *= scale;
}

#if defined(__x86_64__) && defined(__GNUC__)

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE static inline __attribute__((target("avx2"), always_inline))

/* A level within a register: 'other' has the values to be added. */
AVX2_INLINE __m256
add_negating(__m256 x, __m256 other, __m256 signs)
{
	return _mm256_add_ps(other, _mm256_xor_ps(x, signs));
}

/* The levels 1, 2 and 4 */
AVX2_INLINE __m256
three_levels(__m256 x)
{
	const		__m256 signs1 = _mm256_setr_ps(0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f);
	const		__m256 signs2 = _mm256_setr_ps(0, 0, -0.0f, -0.0f, 0, 0, -0.0f, -0.0f);
	const		__m256 signs4 = _mm256_setr_ps(0, 0, 0, 0, -0.0f, -0.0f, -0.0f, -0.0f);

	x = add_negating(x, _mm256_permute_ps(x, 0xb1), signs1);
	x = add_negating(x, _mm256_permute_ps(x, 0x4e), signs2);
	return add_negating(x, _mm256_permute2f128_ps(x, x, 1), signs4);
}

/* This level and the next one, for eight values of each quarter */
AVX2_INLINE void
two_levels(float *x, int level)
{
	__m256		a = _mm256_loadu_ps(x);
	__m256		b = _mm256_loadu_ps(x + level);
	__m256		c = _mm256_loadu_ps(x + 2 * level);
	__m256		d = _mm256_loadu_ps(x + 3 * level);
	__m256		sum = _mm256_add_ps(a, b);
	__m256		difference = _mm256_sub_ps(a, b);
	__m256		other_sum = _mm256_add_ps(c, d);
	__m256		other_difference = _mm256_sub_ps(c, d);

	_mm256_storeu_ps(x, _mm256_add_ps(sum, other_sum));
	_mm256_storeu_ps(x + level, _mm256_add_ps(difference, other_difference));
	_mm256_storeu_ps(x + 2 * level, _mm256_sub_ps(sum, other_sum));
	_mm256_storeu_ps(x + 3 * level, _mm256_sub_ps(difference, other_difference));
}

AVX2 void
DistanceHadamardAvx2(float *x, int n)
{
	__m256		scale = _mm256_set1_ps((float) (1.0 / sqrt((double) n)));
	int			level;

	if (n < 8)
	{
		DistanceHadamardScalar(x, n);
		return;
	}
	for (int i = 0; i < n; i += 8)
		_mm256_storeu_ps(x + i, three_levels(_mm256_loadu_ps(x + i)));
	for (level = 8; 2 * level < n; level *= 4)
	{
		for (int start = 0; start < n; start += 4 * level)
		{
			for (int i = start; i < start + level; i += 8)
				two_levels(x + i, level);
		}
	}
	if (level < n)
	{
		for (int i = 0; i < level; i += 8)
		{
			__m256		a = _mm256_loadu_ps(x + i);
			__m256		b = _mm256_loadu_ps(x + i + level);

			_mm256_storeu_ps(x + i, _mm256_add_ps(a, b));
			_mm256_storeu_ps(x + i + level, _mm256_sub_ps(a, b));
		}
	}
	for (int i = 0; i < n; i += 8)
		_mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), scale));
}

#elif defined(__aarch64__)

#define NEON_INLINE static inline __attribute__((always_inline))

/* A level within a register: 'other' has the values to be added. */
NEON_INLINE float32x4_t
add_negating(float32x4_t x, float32x4_t other, uint32x4_t signs)
{
	return vaddq_f32(other,
					 vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x),
													 signs)));
}

/* This level and the next one, for four values of each quarter */
NEON_INLINE void
two_levels(float *x, int level)
{
	float32x4_t a = vld1q_f32(x);
	float32x4_t b = vld1q_f32(x + level);
	float32x4_t c = vld1q_f32(x + 2 * level);
	float32x4_t d = vld1q_f32(x + 3 * level);
	float32x4_t sum = vaddq_f32(a, b);
	float32x4_t difference = vsubq_f32(a, b);
	float32x4_t other_sum = vaddq_f32(c, d);
	float32x4_t other_difference = vsubq_f32(c, d);

	vst1q_f32(x, vaddq_f32(sum, other_sum));
	vst1q_f32(x + level, vaddq_f32(difference, other_difference));
	vst1q_f32(x + 2 * level, vsubq_f32(sum, other_sum));
	vst1q_f32(x + 3 * level, vsubq_f32(difference, other_difference));
}

void
DistanceHadamardNeon(float *x, int n)
{
	const		uint32x4_t signs1 = {0, 0x80000000, 0, 0x80000000};
	const		uint32x4_t signs2 = {0, 0, 0x80000000, 0x80000000};
	float		scale = (float) (1.0 / sqrt((double) n));
	int			level;

	if (n < 4)
	{
		DistanceHadamardScalar(x, n);
		return;
	}
	for (int i = 0; i < n; i += 4)
	{
		float32x4_t values = vld1q_f32(x + i);

		values = add_negating(values, vrev64q_f32(values), signs1);
		values = add_negating(values, vextq_f32(values, values, 2), signs2);
		vst1q_f32(x + i, values);
	}
	for (level = 4; 2 * level < n; level *= 4)
	{
		for (int start = 0; start < n; start += 4 * level)
		{
			for (int i = start; i < start + level; i += 4)
				two_levels(x + i, level);
		}
	}
	if (level < n)
	{
		for (int i = 0; i < level; i += 4)
		{
			float32x4_t a = vld1q_f32(x + i);
			float32x4_t b = vld1q_f32(x + i + level);

			vst1q_f32(x + i, vaddq_f32(a, b));
			vst1q_f32(x + i + level, vsubq_f32(a, b));
		}
	}
	for (int i = 0; i < n; i += 4)
		vst1q_f32(x + i, vmulq_n_f32(vld1q_f32(x + i), scale));
}

#endif
