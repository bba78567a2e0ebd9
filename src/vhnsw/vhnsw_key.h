/*-------------------------------------------------------------------------
 *
 * vhnsw_key.h
 *	  Elements by distance, in numbers that sort so.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_KEY_H
#define VHNSW_KEY_H

#include "postgres.h"

/*
 * A distance and an element in one number.  Keys sort by distance, then by
 * element.
 */
typedef uint64 VhnswKey;

static inline VhnswKey
VhnswMakeKey(float distance, uint32 id)
{
	uint32		bits;

	memcpy(&bits, &distance, sizeof(bits));
	bits = bits & 0x80000000 ? ~bits : bits | 0x80000000;
	return (uint64) bits << 32 | id;
}

static inline float
VhnswKeyDistance(VhnswKey key)
{
	uint32		bits = (uint32) (key >> 32);
	float		distance;

	bits = bits & 0x80000000 ? bits & 0x7fffffff : ~bits;
	memcpy(&distance, &bits, sizeof(distance));
	return distance;
}

#define VhnswKeyId(key) ((uint32) (key))

static inline VhnswKey
VhnswLargestKey(const VhnswKey *keys, int n)
{
	VhnswKey	largest = 0;

	for (int i = 0; i < n; i++)
		largest = Max(largest, keys[i]);
	return largest;
}

extern void VhnswSelectKeys(VhnswKey *keys, int n, int k);
extern int	VhnswSortKeys(VhnswKey *keys, int n);
extern void VhnswSortIds(uint32 *ids, uint32 n);

#endif							/* VHNSW_KEY_H */
