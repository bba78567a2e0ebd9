/*-------------------------------------------------------------------------
 *
 * distance.h
 *	  Distance kernels over arrays of float4, half precision, int8 and bits.
 *
 * Nothing here knows PostgreSQL: no Datum, no allocation, no errors.  Callers
 * have checked lengths and decide what an infinite or NaN result means.
 *
 * Every instruction set gives the same bits.  What the scalar version in
 * distance_scalar.c does is the definition: element i belongs to lane i % 32;
 * a lane is one fp32 running sum, multiplied and added in two roundings;
 * after every DISTANCE_BLOCK elements the lanes are added up in double, in a
 * fixed order.  So a standby or a worker with another CPU reports the same
 * distances and walks the same way through a graph, and a kernel that differs
 * in one bit is wrong.  Fused multiply-add is therefore not used; what that
 * costs stands in docs/architecture/decisions.md.
 *
 * Half-precision elements are converted to fp32, which is exact; from there on
 * everything is as above.
 *
 * Accuracy: |result - exact| <= DISTANCE_RELATIVE_ERROR * sum of |terms|,
 * where the terms are squares, products or absolute differences, unless a
 * product leaves the range of normal float4.  A lane that overflows makes the
 * result infinite; terms below 1e-38 lose digits and vanish below 1e-45.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISTANCE_H
#define DISTANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "distance/distance_block.h"
#include "distance/distance_edge.h"
#include "distance/distance_half.h"

#define DISTANCE_LANES 32
#define DISTANCE_BLOCK 1024

/*
 * A term has at most three roundings to fp32, and takes part in at most 31
 * additions in its lane: 34 * 2^-24, plus a little for the sums in double.
 */
#define DISTANCE_RELATIVE_ERROR 2.1e-6

typedef struct DistanceCosineSums
{
	double		dot;
	double		norm_a_squared;
	double		norm_b_squared;
} DistanceCosineSums;

typedef struct DistanceBitCounts
{
	uint64_t	common;			/* bits set in both strings */
	uint64_t	total;			/* bits set in at least one */
} DistanceBitCounts;

/*
 * One implementation of all kernels.  Pointers need no alignment beyond their
 * element's; dim may be 0.
 */
typedef struct DistanceKernels
{
	const char *name;			/* as in the setting vecdist.simd */

	double		(*l2_squared) (const float *a, const float *b, int dim);
	double		(*inner_product) (const float *a, const float *b, int dim);
	double		(*l1) (const float *a, const float *b, int dim);
	void		(*cosine) (const float *a, const float *b, int dim,
						   DistanceCosineSums *sums);

	/* Sum of squares in double throughout: never overflows or underflows. */
	double		(*norm_squared) (const float *a, int dim);

	/* Each gives the bits of its namesake on the elements as floats. */
	double		(*half_l2_squared) (const Half *a, const Half *b, int dim);
	double		(*half_inner_product) (const Half *a, const Half *b, int dim);
	double		(*half_l1) (const Half *a, const Half *b, int dim);
	void		(*half_cosine) (const Half *a, const Half *b, int dim,
								DistanceCosineSums *sums);
	double		(*half_norm_squared) (const Half *a, int dim);

	/* HalfToFloat() and HalfFromFloat() of all elements */
	void		(*half_to_float) (const Half *a, float *result, int dim);
	void		(*float_to_half) (const float *a, Half *result, int dim);

	/* Hadamard transform of n = 2^k values: distance_hadamard.c */
	void		(*hadamard) (float *x, int n);

	/* Inner product of a float vector with 8-bit codes. */
	double		(*dot_float_int8) (const float *a, const int8_t *b, int dim);

	/*
	 * Indexes of 4 bits into a table of 16 numbers, packed: with h = (dim +
	 * 1) / 2, byte i has element i in its lower half and element h + i in its
	 * upper.
	 */
	void		(*unpack_nibbles) (const uint8_t *packed, const int8_t *table,
								   int8_t *result, int dim);

	/* Exact for dim <= 131,071. */
	int32_t		(*dot_int8) (const int8_t *a, const int8_t *b, int dim);

	/* The same of one with each of n others: dots[i] = a * b[i] */
	void		(*dots_int8) (const int8_t *a, const int8_t *const *b, int n,
							  int dim, int32_t *dots);

	/* The code of a difference, of 1 or 2 bits: distance_edge.c */
	DistanceEdgeSums (*edge_code) (const float *from, const float *to,
								   float threshold, int bits,
								   int num_chunks, uint8_t *piece);

	/* Query with codes of 1 or 2 bits of many neighbors: distance_edge.c */
	void		(*edge_dots) (const int8_t *query, const uint8_t *codes, int bits,
							  int num_chunks, int num_groups, int32_t *dots);

	/* 7-bit codes of 8-bit ones: distance_block.c; dim <= 131,071 */
	DistanceRowSums (*block_row) (const int8_t *code, int dim, uint8_t *row);

	/* The other form of sixteen such rows */
	void		(*block_panel) (const uint8_t *rows, int row_bytes,
								int8_t *panel);

	/* Rows of bytes with a panel: distance_block.c; row_bytes <= 65,535 */
	void		(*block_dots) (const uint8_t *rows, const int8_t *panel,
							   int row_bytes, int32_t *dots);

	/* Four vectors with sixteen, by 7-bit codes: distance_block.c */
	uint64_t	(*block_near) (const DistanceRows *rows,
							   const DistancePanel *panel, int row_bytes,
							   float *distances);

	/*
	 * Sums of |a - scale b| and |scale_a a - scale_b b|; scales are finite. A
	 * product is rounded before the difference, which DISTANCE_RELATIVE_ERROR
	 * does not cover: it adds up to 2^-24 of the product to each term.
	 */
	double		(*l1_float_int8) (const float *a, const int8_t *b, float scale,
								  int dim);
	double		(*l1_int8) (const int8_t *a, float scale_a, const int8_t *b,
							float scale_b, int dim);

	/*
	 * Bit strings, in whole bytes: the last byte's unused bits are zero.
	 * Counts are exact, so their order is free.
	 */
	uint64_t	(*hamming) (const uint8_t *a, const uint8_t *b, int num_bytes);
	void		(*jaccard) (const uint8_t *a, const uint8_t *b, int num_bytes,
							DistanceBitCounts *counts);
} DistanceKernels;

/* What is in use; the scalar version before DistanceInit(). */
extern const DistanceKernels *distance_kernels;

extern void DistanceInit(void);
extern const DistanceKernels *DistanceFind(const char *name);
extern double DistanceCosine(const float *a, const float *b, int dim);
extern double DistanceJaccard(const uint8_t *a, const uint8_t *b, int num_bytes);
extern double DistanceHalfCosine(const Half *a, const Half *b, int dim);

static inline double
DistanceL2Squared(const float *a, const float *b, int dim)
{
	return distance_kernels->l2_squared(a, b, dim);
}

static inline double
DistanceInnerProduct(const float *a, const float *b, int dim)
{
	return distance_kernels->inner_product(a, b, dim);
}

static inline double
DistanceL1(const float *a, const float *b, int dim)
{
	return distance_kernels->l1(a, b, dim);
}

static inline double
DistanceNormSquared(const float *a, int dim)
{
	return distance_kernels->norm_squared(a, dim);
}

static inline double
DistanceHalfL2Squared(const Half *a, const Half *b, int dim)
{
	return distance_kernels->half_l2_squared(a, b, dim);
}

static inline double
DistanceHalfInnerProduct(const Half *a, const Half *b, int dim)
{
	return distance_kernels->half_inner_product(a, b, dim);
}

static inline double
DistanceHalfL1(const Half *a, const Half *b, int dim)
{
	return distance_kernels->half_l1(a, b, dim);
}

static inline double
DistanceHalfNormSquared(const Half *a, int dim)
{
	return distance_kernels->half_norm_squared(a, dim);
}

static inline void
DistanceHalfToFloat(const Half *a, float *result, int dim)
{
	distance_kernels->half_to_float(a, result, dim);
}

static inline void
DistanceFloatToHalf(const float *a, Half *result, int dim)
{
	distance_kernels->float_to_half(a, result, dim);
}

static inline void
DistanceHadamard(float *x, int n)
{
	distance_kernels->hadamard(x, n);
}

static inline double
DistanceDotFloatInt8(const float *a, const int8_t *b, int dim)
{
	return distance_kernels->dot_float_int8(a, b, dim);
}

static inline void
DistanceUnpackNibbles(const uint8_t *packed, const int8_t *table,
					  int8_t *result, int dim)
{
	distance_kernels->unpack_nibbles(packed, table, result, dim);
}

static inline int32_t
DistanceDotInt8(const int8_t *a, const int8_t *b, int dim)
{
	return distance_kernels->dot_int8(a, b, dim);
}

static inline void
DistanceDotsInt8(const int8_t *a, const int8_t *const *b, int n, int dim,
				 int32_t *dots)
{
	distance_kernels->dots_int8(a, b, n, dim, dots);
}

static inline double
DistanceL1FloatInt8(const float *a, const int8_t *b, float scale, int dim)
{
	return distance_kernels->l1_float_int8(a, b, scale, dim);
}

static inline double
DistanceL1Int8(const int8_t *a, float scale_a, const int8_t *b, float scale_b,
			   int dim)
{
	return distance_kernels->l1_int8(a, scale_a, b, scale_b, dim);
}

static inline DistanceEdgeSums
DistanceEdgeCode(const float *from, const float *to, float threshold, int bits, int num_chunks, uint8_t *piece)
{
	return distance_kernels->edge_code(from, to, threshold, bits,
									   num_chunks, piece);
}

static inline void
DistanceEdgeDots(const int8_t *query, const uint8_t *codes, int bits,
				 int num_chunks, int num_groups, int32_t *dots)
{
	distance_kernels->edge_dots(query, codes, bits, num_chunks, num_groups,
								dots);
}

static inline DistanceRowSums
DistanceBlockRow(const int8_t *code, int dim, uint8_t *row)
{
	return distance_kernels->block_row(code, dim, row);
}

static inline void
DistanceBlockPanel(const uint8_t *rows, int row_bytes, int8_t *panel)
{
	distance_kernels->block_panel(rows, row_bytes, panel);
}

static inline void
DistanceBlockDots(const uint8_t *rows, const int8_t *panel, int row_bytes,
				  int32_t *dots)
{
	distance_kernels->block_dots(rows, panel, row_bytes, dots);
}

static inline uint64_t
DistanceBlockNear(const DistanceRows *rows, const DistancePanel *panel,
				  int row_bytes, float *distances)
{
	return distance_kernels->block_near(rows, panel, row_bytes, distances);
}

/* Number of bits that differ. */
static inline double
DistanceHamming(const uint8_t *a, const uint8_t *b, int num_bytes)
{
	return (double) distance_kernels->hamming(a, b, num_bytes);
}

#endif							/* DISTANCE_H */
