/*-------------------------------------------------------------------------
 *
 * distance_edge.h
 *	  How the edge codes of a group of neighbors lie in memory.
 *
 * Codes of 1 or 2 bits for each dimension, of eight neighbors together, so
 * that one vector register holds a piece of all eight and nothing is added up
 * across a register.  A chunk is 32 bytes: four of each neighbor, which hold 16
 * dimensions of 2 bits or 32 of 1 bit.  Of the four bytes, byte t has dimension
 * 4k + t of the chunk in its bit field k, so that shifting and masking
 * leaves four neighboring dimensions in four bytes.
 *
 *	group = chunk 0: [neighbor 0: 4 bytes] ... [neighbor 7: 4 bytes]
 *			chunk 1: ...
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISTANCE_EDGE_H
#define DISTANCE_EDGE_H

#include <stdint.h>

#define DISTANCE_EDGE_GROUP 8
#define DISTANCE_EDGE_PIECE 4	/* bytes of one neighbor in a chunk */
#define DISTANCE_EDGE_CHUNK (DISTANCE_EDGE_GROUP * DISTANCE_EDGE_PIECE)

/* Dimensions of a chunk, for 1 or 2 bits each. */
#define DistanceEdgeChunkDims(bits) (8 / (bits) * DISTANCE_EDGE_PIECE)

/* Where dimension 'dim' of neighbor 'number' lies: byte and shift. */
static inline uint32_t
DistanceEdgeByte(int bits, int num_chunks, int number, int dim)
{
	int			chunk = dim / DistanceEdgeChunkDims(bits);

	return ((number / DISTANCE_EDGE_GROUP) * num_chunks + chunk) *
		DISTANCE_EDGE_CHUNK +
		(number % DISTANCE_EDGE_GROUP) * DISTANCE_EDGE_PIECE + dim % 4;
}

static inline int
DistanceEdgeShift(int bits, int dim)
{
	return dim % DistanceEdgeChunkDims(bits) / 4 * bits;
}

/* What the code u of w = to - from is worth. */
typedef struct DistanceEdgeSums
{
	float		code_difference;	/* <u, w> */
	float		code_from;		/* <u, from> */
} DistanceEdgeSums;

extern DistanceEdgeSums DistanceEdgeCodeScalar(const float *from,
											   const float *to, float threshold, int bits,
											   int num_chunks, uint8_t *piece);
extern void DistanceEdgeDotsScalar(const int8_t *query, const uint8_t *codes,
								   int bits, int num_chunks, int num_groups,
								   int32_t *dots);
#if defined(__x86_64__) && defined(__GNUC__)
extern DistanceEdgeSums DistanceEdgeCodeAvx2(const float *from,
											 const float *to, float threshold, int bits,
											 int num_chunks, uint8_t *piece);
extern void DistanceEdgeDotsAvx2(const int8_t *query, const uint8_t *codes,
								 int bits, int num_chunks, int num_groups,
								 int32_t *dots);
#elif defined(__aarch64__)
extern void DistanceEdgeDotsNeon(const int8_t *query, const uint8_t *codes,
								 int bits, int num_chunks, int num_groups,
								 int32_t *dots);
#endif

#endif							/* DISTANCE_EDGE_H */
