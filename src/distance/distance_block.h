/*-------------------------------------------------------------------------
 *
 * distance_block.h
 *	  How the codes of many vectors lie in memory to be compared with many.
 *
 * Codes have 7 bits and a sign, -63 to 63, in chunks of four dimensions.  Each
 * vector is packed twice:
 *
 *	row		its dimensions one after the other, plus 64, as unsigned bytes
 *	panel	16 vectors together: [vector 0: 4 bytes] ... [vector 15: 4 bytes]
 *			for each chunk, as signed bytes
 *
 * So one register holds a chunk of 16 (or 8) vectors, the byte products of two
 * chunks fit 16 bits, and nothing is added up across a register.  What pads
 * the dimensions to a multiple of eight must be zero in panels.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISTANCE_BLOCK_H
#define DISTANCE_BLOCK_H

#include <stdint.h>

#define DISTANCE_ROWS 4
#define DISTANCE_PANEL 16
#define DISTANCE_CODE_LIMIT 63
#define DISTANCE_ROW_OFFSET 64

/* Can kernels be compiled for, and found at run time, what not every ARM has? */
#if defined(__aarch64__) && defined(__linux__) && defined(__GNUC__) && \
	__GNUC__ >= 8 && !defined(__clang__)
#define DISTANCE_HAVE_DOTPROD 1

/* Where all is compiled for such CPUs, functions keep what else these have. */
#ifdef __ARM_FEATURE_DOTPROD
#define DISTANCE_DOTPROD
#else
#define DISTANCE_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#endif

/* Codes of 8 bits and a sign as rows, which DistanceBlockDots() takes too */
#define DISTANCE_BYTE_OFFSET 128

/* Bytes of a row; a panel takes DISTANCE_PANEL times as much. */
#define DistanceRowBytes(dims) (((dims) + 7) / 8 * 8)

/*
 * What turns sums of products into distances, for any DISTANCE_ROWS of many
 * rows or for the vectors of a panel:
 * distance = (addend + addend) - (factor * factor) * dot.
 */
typedef struct DistanceRows
{
	const uint8_t *codes;		/* one row after the other */
	const float *addends;		/* of each */
	const float *factors;
	const float *limits;
	uint32_t	numbers[DISTANCE_ROWS]; /* of those that are compared */
} DistanceRows;

typedef struct DistancePanel
{
	const int8_t *codes;
	const float *addends;
	const float *factors;
	const float *limits;
	const int32_t *sums;		/* of each vector's codes */
} DistancePanel;

/* Of a row's codes and of the 8-bit ones that they are made of */
typedef struct DistanceRowSums
{
	int32_t		sum;			/* of the row's codes */
	int32_t		square;			/* of their squares */
	int32_t		product;		/* of their products with the 8-bit ones */
} DistanceRowSums;

/* A row, by its place among those that are compared. */
static inline const uint8_t *
DistanceRowCodes(const DistanceRows *rows, int i, int row_bytes)
{
	return rows->codes + (uint64_t) rows->numbers[i] * (uint64_t) row_bytes;
}

/* The place of vector 'number' and dimension 'dim' in a panel. */
static inline int
DistancePanelByte(int number, int dim)
{
	return dim / 4 * (4 * DISTANCE_PANEL) + number * 4 + dim % 4;
}

extern float DistanceBlockFloats(const float *x, int dim, uint8_t *row,
								 int32_t *sum);
extern void DistanceBlockRound(float *x, int dim);
extern DistanceRowSums DistanceBlockRowScalar(const int8_t *code, int dim,
											  uint8_t *row);
extern void DistanceBlockPanelScalar(const uint8_t *rows, int row_bytes,
									 int8_t *panel);
extern void DistanceBlockDotsScalar(const uint8_t *rows, const int8_t *panel,
									int row_bytes, int32_t *dots);
extern uint64_t DistanceBlockNearScalar(const DistanceRows *rows,
										const DistancePanel *panel,
										int row_bytes, float *distances);
#if defined(__x86_64__) && defined(__GNUC__)
extern DistanceRowSums DistanceBlockRowAvx2(const int8_t *code, int dim,
											uint8_t *row);
extern void DistanceBlockPanelAvx2(const uint8_t *rows, int row_bytes,
								   int8_t *panel);
extern void DistanceBlockDotsAvx2(const uint8_t *rows, const int8_t *panel,
								  int row_bytes, int32_t *dots);
extern void DistanceBlockDotsAvx512(const uint8_t *rows, const int8_t *panel,
									int row_bytes, int32_t *dots);
extern uint64_t DistanceBlockNearAvx2(const DistanceRows *rows,
									  const DistancePanel *panel,
									  int row_bytes, float *distances);
extern uint64_t DistanceBlockNearAvx512(const DistanceRows *rows,
										const DistancePanel *panel,
										int row_bytes, float *distances);
#elif defined(__aarch64__)
extern void DistanceBlockDotsNeon(const uint8_t *rows, const int8_t *panel,
								  int row_bytes, int32_t *dots);
extern uint64_t DistanceBlockNearNeon(const DistanceRows *rows,
									  const DistancePanel *panel,
									  int row_bytes, float *distances);
#endif
#ifdef DISTANCE_HAVE_DOTPROD
extern void DistanceBlockDotsDotprod(const uint8_t *rows, const int8_t *panel,
									 int row_bytes, int32_t *dots);
extern uint64_t DistanceBlockNearDotprod(const DistanceRows *rows,
										 const DistancePanel *panel,
										 int row_bytes, float *distances);
#endif

#endif							/* DISTANCE_BLOCK_H */
