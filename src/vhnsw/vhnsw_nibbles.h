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
#define VHNSW_LARGEST_NIBBLE 7

/* Room for a code as bytes; packed, it fits a page. */
typedef struct VhnswUnpacked
{
	int8		u[2 * BLCKSZ];
} VhnswUnpacked;

extern int	VhnswNibbleForEach(int dims);
extern void VhnswPackNibbles(const int8 *u, int dims, int8 *packed);
extern bool VhnswNibblesAreSane(const VhnswLayout *layout, VhnswCodeView view);

/* x / step, rounded and cut off */
static inline int8
VhnswNibble(double x, double step)
{
	double		u = rint(x / step);

	return (int8) Max(-VHNSW_LARGEST_NIBBLE, Min(VHNSW_LARGEST_NIBBLE, u));
}

/* A packed code as bytes, in 'room'. */
static inline const int8 *
VhnswUnpackNibbles(const int8 *packed, int dims, VhnswUnpacked *room)
{
	DistanceUnpackInt4((const uint8 *) packed, room->u, dims);
	return room->u;
}

#endif							/* VHNSW_NIBBLES_H */
