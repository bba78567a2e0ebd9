/*-------------------------------------------------------------------------
 *
 * vhnsw_nibbles.h
 *	  Codes of 4 bits for a dimension, packed and as bytes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_NIBBLES_H
#define VHNSW_NIBBLES_H

#include "postgres.h"

#include "vhnsw/vhnsw_code.h"

#define VHNSW_NIBBLE_BITS 4

/* Room for a code as bytes; packed, it fits a page. */
typedef struct VhnswUnpacked
{
	int8		u[2 * BLCKSZ];
} VhnswUnpacked;

extern int	VhnswNibbleForEach(int dims);
extern void VhnswPackNibbles(const int8 *nibbles, int dims, int8 *packed);
extern bool VhnswNibblesAreSane(const VhnswLayout *layout, VhnswCodeView view);

/* What the 16 nibbles of rotated vectors stand for: vhnsw_rotated.c */
extern const int8 vhnsw_rotated_levels[16];

/* A packed code as bytes, in 'room'. */
static inline const int8 *
VhnswUnpackNibbles(const int8 *packed, const int8 *levels, int dims,
				   VhnswUnpacked *room)
{
	DistanceUnpackNibbles((const uint8 *) packed, levels, room->u, dims);
	return room->u;
}

/* One dimension of a packed code: the second half are in high bits. */
static inline int8
VhnswUnpackNibble(const int8 *packed, const int8 *levels, int dims, int i)
{
	int			half = (dims + 1) / 2;

	return levels[i < half ? (uint8) packed[i] & 0xF :
				  (uint8) packed[i - half] >> VHNSW_NIBBLE_BITS];
}

/* The coordinates of a rotated vector's code, in 'room' if they are packed. */
static inline const int8 *
VhnswRotatedNumbers(const VhnswCode *code, bool is_direct, int dims,
					VhnswUnpacked *room)
{
	if (is_direct)
		return code->code;
	return VhnswUnpackNibbles(code->code, vhnsw_rotated_levels, dims, room);
}

#endif							/* VHNSW_NIBBLES_H */
