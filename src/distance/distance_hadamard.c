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

/*
 * What a set of instructions has of its own: a register of values, its width,
 * and the levels within it.
 */
#if defined(__x86_64__) && defined(__GNUC__)

#define WIDE_TRANSFORM DistanceHadamardAvx2
#define WIDTH 8
#define TARGET __attribute__((target("avx2")))
#define INLINE static inline __attribute__((target("avx2"), always_inline))

typedef __m256 Values;

INLINE Values
load(const float *x)
{
	return _mm256_loadu_ps(x);
}

INLINE void
store(float *x, Values values)
{
	_mm256_storeu_ps(x, values);
}

/* A level within a register: 'other' has the values to be added. */
INLINE Values
add_negating(Values x, Values other, Values signs)
{
	return other + _mm256_xor_ps(x, signs);
}

/* The levels 1, 2 and 4 */
INLINE Values
levels_within(Values x)
{
	const Values signs1 = _mm256_setr_ps(0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f);
	const Values signs2 = _mm256_setr_ps(0, 0, -0.0f, -0.0f, 0, 0, -0.0f, -0.0f);
	const Values signs4 = _mm256_setr_ps(0, 0, 0, 0, -0.0f, -0.0f, -0.0f, -0.0f);

	x = add_negating(x, _mm256_permute_ps(x, 0xb1), signs1);
	x = add_negating(x, _mm256_permute_ps(x, 0x4e), signs2);
	return add_negating(x, _mm256_permute2f128_ps(x, x, 1), signs4);
}

#elif defined(__aarch64__)

#define WIDE_TRANSFORM DistanceHadamardNeon
#define WIDTH 4
#define TARGET
#define INLINE static inline __attribute__((always_inline))

typedef float32x4_t Values;

INLINE Values
load(const float *x)
{
	return vld1q_f32(x);
}

INLINE void
store(float *x, Values values)
{
	vst1q_f32(x, values);
}

/* A level within a register: 'other' has the values to be added. */
INLINE Values
add_negating(Values x, Values other, uint32x4_t signs)
{
	return other +
		vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), signs));
}

/* The levels 1 and 2 */
INLINE Values
levels_within(Values x)
{
	const		uint32x4_t signs1 = {0, 0x80000000, 0, 0x80000000};
	const		uint32x4_t signs2 = {0, 0, 0x80000000, 0x80000000};

	x = add_negating(x, vrev64q_f32(x), signs1);
	return add_negating(x, vextq_f32(x, x, 2), signs2);
}

#endif

#ifdef WIDE_TRANSFORM

/* This level and the next one, for a register of values of each quarter */
INLINE void
two_levels(float *x, int level)
{
	Values		a = load(x);
	Values		b = load(x + level);
	Values		c = load(x + 2 * level);
	Values		d = load(x + 3 * level);
	Values		sum = a + b;
	Values		difference = a - b;
	Values		other_sum = c + d;
	Values		other_difference = c - d;

	store(x, sum + other_sum);
	store(x + level, difference + other_difference);
	store(x + 2 * level, sum - other_sum);
	store(x + 3 * level, difference - other_difference);
}

TARGET void
WIDE_TRANSFORM(float *x, int n)
{
	float		scale = (float) (1.0 / sqrt((double) n));
	int			level;

	if (n < WIDTH)
	{
		DistanceHadamardScalar(x, n);
		return;
	}
	for (int i = 0; i < n; i += WIDTH)
		store(x + i, levels_within(load(x + i)));
	for (level = WIDTH; 2 * level < n; level *= 4)
	{
		for (int start = 0; start < n; start += 4 * level)
		{
			for (int i = start; i < start + level; i += WIDTH)
				two_levels(x + i, level);
		}
	}
	if (level < n)
	{
		for (int i = 0; i < level; i += WIDTH)
		{
			Values		a = load(x + i);
			Values		b = load(x + i + level);

			store(x + i, a + b);
			store(x + i + level, a - b);
		}
	}
	for (int i = 0; i < n; i += WIDTH)
		store(x + i, load(x + i) * scale);
}

#endif							/* WIDE_TRANSFORM */
