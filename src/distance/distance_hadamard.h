/*-------------------------------------------------------------------------
 *
 * distance_hadamard.h
 *	  Implementations of the fast Hadamard transform; private to src/distance
 *	  and its unit test.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISTANCE_HADAMARD_H
#define DISTANCE_HADAMARD_H

extern void DistanceHadamardScalar(float *x, int n);
#if defined(__x86_64__) && defined(__GNUC__)
extern void DistanceHadamardAvx2(float *x, int n);
#elif defined(__aarch64__)
extern void DistanceHadamardNeon(float *x, int n);
#endif

#endif							/* DISTANCE_HADAMARD_H */
