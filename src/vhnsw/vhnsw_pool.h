/*-------------------------------------------------------------------------
 *
 * vhnsw_pool.h
 *	  The nearest candidates of a search, sorted.
 *
 * A sorted array, because a search looks at no more than some hundred
 * candidates at a time: moving a few cache lines costs less than the pointers
 * of a heap, and positions follow from the estimate by binary search.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_POOL_H
#define VHNSW_POOL_H

#include "postgres.h"

#include "vhnsw/vhnsw_page.h"

struct VhnswFound;

/*
 * What candidates are sorted by: the estimate, ties by number, so that primary
 * and standby walk the same way.  As one integer, because a binary search that
 * compares in one instruction has no branches to guess wrong.
 */
typedef uint64 VhnswPoolKey;

typedef struct VhnswCandidate
{
	VhnswPoolKey key;
	struct VhnswFound *found;	/* NULL until it is expanded */
} VhnswCandidate;

typedef struct VhnswPool
{
	int			capacity;
	int			count;
	int			next;			/* the first that is not expanded */
	VhnswPoolKey limit;			/* what is as far as this is not here, even if
								 * there is a place */
	VhnswCandidate *items;		/* nearest first */
} VhnswPool;

/* The bits of a float, as integers that are ordered alike; not for NaN. */
static inline VhnswPoolKey
VhnswMakePoolKey(float estimate, VhnswElement element)
{
	uint32		bits;

	estimate += 0.0f;			/* -0 is 0 */
	memcpy(&bits, &estimate, sizeof(bits));
	bits ^= (bits >> 31) ? 0xFFFFFFFF : 0x80000000;
	return (VhnswPoolKey) bits << 32 | element;
}

#define VhnswPoolKeyElement(key) ((VhnswElement) (key))

static inline float
VhnswPoolKeyEstimate(VhnswPoolKey key)
{
	uint32		bits = (uint32) (key >> 32);
	float		estimate;

	bits ^= (bits >> 31) ? 0x80000000 : 0xFFFFFFFF;
	memcpy(&estimate, &bits, sizeof(estimate));
	return estimate;
}

/* Where a candidate stands or would stand. */
static inline int
VhnswPoolPosition(const VhnswPool *pool, VhnswPoolKey key)
{
	const VhnswCandidate *first = pool->items;
	int			n = pool->count;

	while (n > 0)
	{
		int			half = (n + 1) / 2;

		first += first[half - 1].key < key ? half : 0;
		n -= half;
	}
	return first - pool->items;
}

static inline void
VhnswPoolSkipExpanded(VhnswPool *pool)
{
	while (pool->next < pool->count && pool->items[pool->next].found)
		pool->next++;
}

/*
 * Put a candidate in its place.  Of a full pool the farthest leaves, which may
 * be the new one; returns false if one left.  From then on nothing that is
 * farther is taken, so that the pool has the nearest of all that was offered.
 */
static inline bool
VhnswPoolPut(VhnswPool *pool, VhnswPoolKey key, struct VhnswFound *found)
{
	bool		fits = pool->count < pool->capacity;
	int			i;

	if (key >= pool->limit)
		return false;
	if (!fits)
	{
		VhnswPoolKey last = pool->items[pool->count - 1].key;

		pool->limit = Max(key, last);
		if (key >= last)
			return false;
		pool->count--;
	}
	i = VhnswPoolPosition(pool, key);
	memmove(&pool->items[i + 1], &pool->items[i],
			(pool->count - i) * sizeof(VhnswCandidate));
	pool->count++;
	pool->items[i].key = key;
	pool->items[i].found = found;

	if (found == NULL)
		pool->next = Min(pool->next, i);
	else if (i <= pool->next)
		pool->next++;
	pool->next = Min(pool->next, pool->count);
	return fits;
}

/* Take the candidate at a position out. */
static inline void
VhnswPoolRemoveAt(VhnswPool *pool, int i)
{
	pool->count--;
	memmove(&pool->items[i], &pool->items[i + 1],
			(pool->count - i) * sizeof(VhnswCandidate));
	if (i < pool->next)
		pool->next--;
	VhnswPoolSkipExpanded(pool);
}

/* Take a candidate out, if it is there. */
static inline void
VhnswPoolRemove(VhnswPool *pool, VhnswPoolKey key)
{
	int			i = VhnswPoolPosition(pool, key);

	if (i < pool->count && pool->items[i].key == key)
		VhnswPoolRemoveAt(pool, i);
}

#endif							/* VHNSW_POOL_H */
