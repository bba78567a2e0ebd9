/*-------------------------------------------------------------------------
 *
 * distance_half.h
 *	  Half-precision numbers (IEEE 754 binary16) and their conversion.
 *
 * In plain C, for every CPU; kernels that use instructions give the same
 * bits, NaN included.  Arrays are converted by DistanceHalfToFloat() and
 * DistanceFloatToHalf().
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISTANCE_HALF_H
#define DISTANCE_HALF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* sign, 5 bits of exponent with bias 15, 10 bits of mantissa */
typedef uint16_t Half;

#define HALF_MAX 65504.0f

static inline bool
HalfIsFinite(Half half)
{
	return (half & 0x7c00) != 0x7c00;
}

static inline bool
HalfIsNan(Half half)
{
	return (half & 0x7fff) > 0x7c00;
}

static inline bool
HalfIsZero(Half half)
{
	return (half & 0x7fff) == 0;
}

/* Exact.  A signaling NaN becomes a quiet one. */
static inline float
HalfToFloat(Half half)
{
	uint32_t	sign = (uint32_t) (half & 0x8000) << 16;
	uint32_t	magnitude = half & 0x7fff;
	uint32_t	bits;
	float		result;

	if (magnitude >= 0x7c00)
	{
		bits = 0x7f800000 | (magnitude & 0x3ff) << 13;
		if (magnitude > 0x7c00)
			bits |= 0x400000;
	}
	else if (magnitude >= 0x0400)
		bits = (magnitude << 13) + ((uint32_t) (127 - 15) << 23);
	else
	{
		/* subnormal in half precision only */
		result = (float) magnitude * (1.0f / 16777216.0f);
		memcpy(&bits, &result, sizeof(bits));
	}

	bits |= sign;
	memcpy(&result, &bits, sizeof(result));
	return result;
}

/* Rounds to nearest, ties to even; infinite from 65520 on. */
static inline Half
HalfFromFloat(float value)
{
	const uint32_t half_bits = 0x3f000000;	/* 0.5f */
	const float one_half = 0.5f;
	uint32_t	bits;
	uint32_t	magnitude;
	uint32_t	result;
	float		sum;

	memcpy(&bits, &value, sizeof(bits));
	magnitude = bits & 0x7fffffff;

	if (magnitude > 0x7f800000)
		result = 0x7e00 | (magnitude >> 13 & 0x3ff);
	else if (magnitude >= 0x477ff000)
		result = 0x7c00;
	else if (magnitude >= 0x38800000)
	{
		/* A carry out of the mantissa raises the exponent, as it must. */
		magnitude -= (uint32_t) (127 - 15) << 23;
		result = (magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13;
	}
	else
	{
		/* The last bit of floats around 0.5 is that of subnormal halves. */
		memcpy(&sum, &magnitude, sizeof(sum));
		sum += one_half;
		memcpy(&result, &sum, sizeof(result));
		result -= half_bits;
	}
	return (Half) (bits >> 16 & 0x8000) | (Half) result;
}

#endif							/* DISTANCE_HALF_H */
