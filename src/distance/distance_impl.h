/*-------------------------------------------------------------------------
 *
 * distance_impl.h
 *	  Implementations that distance.c chooses from, and what they share;
 *	  private to src/distance and its unit test.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISTANCE_IMPL_H
#define DISTANCE_IMPL_H

#include "distance/distance.h"

extern const DistanceKernels distance_scalar_kernels;

#if defined(__x86_64__) && defined(__GNUC__)
#define DISTANCE_HAVE_AVX2 1
extern const DistanceKernels distance_avx2_kernels;
extern double DistanceHalfL2SquaredAvx2(const Half *a, const Half *b, int dim);
extern double DistanceHalfInnerProductAvx2(const Half *a, const Half *b, int dim);
extern double DistanceHalfL1Avx2(const Half *a, const Half *b, int dim);
extern void DistanceUnpackNibblesAvx2(const uint8_t *packed, const int8_t *table,
									  int8_t *result, int dim);

#define DISTANCE_HAVE_AVX512 1
extern const DistanceKernels distance_avx512_kernels;
extern const DistanceKernels distance_zen4_kernels;
#endif

#if defined(__aarch64__) && defined(__ARM_NEON) && defined(__GNUC__) && \
	!defined(__AARCH64EB__)
#define DISTANCE_HAVE_NEON 1
extern const DistanceKernels distance_neon_kernels;
#ifdef DISTANCE_HAVE_DOTPROD
extern const DistanceKernels distance_dotprod_kernels;
#endif
#endif

extern bool DistanceSelfTest(const DistanceKernels *kernels);
extern double DistanceCosineOf(const DistanceCosineSums *sums);

#endif							/* DISTANCE_IMPL_H */
