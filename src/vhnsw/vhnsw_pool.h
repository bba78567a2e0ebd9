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

/* Where a candidate stands or would stand among the first n. */
static inline int
VhnswPoolPositionBefore(const VhnswPool *pool, VhnswPoolKey key, int n)
{
	const VhnswCandidate *first = pool->items;

	while (n > 0)
	{
		int			half = (n + 1) / 2;

		first += first[half - 1].key < key ? half : 0;
		n -= half;
	}
	return first - pool->items;
}

static inline int
VhnswPoolPosition(const VhnswPool *pool, VhnswPoolKey key)
{
	return VhnswPoolPositionBefore(pool, key, pool->count);
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

/*
 * Put n candidates that are not expanded in their places; sorts 'keys', all of
 * them below the limit.  Returns false if the pool had no room for all.
 *
 * Together, because then what stands in the pool moves once and not n times.
 */
static inline bool
VhnswPoolPutMany(VhnswPool *pool, VhnswPoolKey *keys, int n)
{
	bool		fit = pool->count + n <= pool->capacity;
	int			end;

	for (int i = 1; i < n; i++)
	{
		VhnswPoolKey key = keys[i];
		int			j = i;

		for (; j > 0 && keys[j - 1] > key; j--)
			keys[j] = keys[j - 1];
		keys[j] = key;
	}

	/* The farthest of both leave. */
	while (pool->count + n > pool->capacity)
	{
		if (n > 0 && (pool->count == 0 ||
					  keys[n - 1] > pool->items[pool->count - 1].key))
			pool->limit = keys[--n];
		else
			pool->limit = pool->items[--pool->count].key;
	}
	pool->next = Min(pool->next, pool->count);

	end = pool->count;
	pool->count += n;
	for (int i = n - 1; i >= 0; i--)
	{
		int			position = VhnswPoolPositionBefore(pool, keys[i], end);

		memmove(&pool->items[position + i + 1], &pool->items[position],
				(end - position) * sizeof(VhnswCandidate));
		pool->items[position + i].key = keys[i];
		pool->items[position + i].found = NULL;
		end = position;
	}
	if (n > 0)
		pool->next = Min(pool->next, end);
	return fit;
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

/* Take a candidate out; false if it is not there. */
static inline bool
VhnswPoolRemove(VhnswPool *pool, VhnswPoolKey key)
{
	int			i = VhnswPoolPosition(pool, key);

	if (i == pool->count || pool->items[i].key != key)
		return false;
	VhnswPoolRemoveAt(pool, i);
	return true;
}

#endif							/* VHNSW_POOL_H */
