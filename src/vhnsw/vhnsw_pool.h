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

typedef struct VhnswCandidate
{
	float		estimate;		/* of the distance from the query */
	VhnswElement element;
	struct VhnswFound *found;	/* NULL until it is expanded */
} VhnswCandidate;

typedef struct VhnswPool
{
	int			capacity;
	int			count;
	int			next;			/* the first that is not expanded */
	VhnswCandidate *items;		/* nearest first; ties by number, so that
								 * primary and standby walk the same way */
} VhnswPool;

static inline bool
VhnswCandidateIsNearer(const VhnswCandidate *a, float estimate,
					   VhnswElement element)
{
	return a->estimate < estimate ||
		(a->estimate == estimate && a->element < element);
}

/* Where a candidate stands or would stand. */
static inline int
VhnswPoolPosition(const VhnswPool *pool, float estimate, VhnswElement element)
{
	int			low = 0;
	int			high = pool->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (VhnswCandidateIsNearer(&pool->items[middle], estimate, element))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Is there a place for it, free or in exchange for a farther one? */
static inline bool
VhnswPoolTakes(const VhnswPool *pool, float estimate, VhnswElement element)
{
	return pool->count < pool->capacity ||
		!VhnswCandidateIsNearer(&pool->items[pool->count - 1], estimate,
								element);
}

static inline void
VhnswPoolSkipExpanded(VhnswPool *pool)
{
	while (pool->next < pool->count && pool->items[pool->next].found)
		pool->next++;
}

/*
 * Put a candidate in its place.  Of a full pool the farthest leaves, which may
 * be the new one; returns false if one left.
 */
static inline bool
VhnswPoolPut(VhnswPool *pool, float estimate, VhnswElement element,
			 struct VhnswFound *found)
{
	bool		fits = pool->count < pool->capacity;
	int			i;

	if (!VhnswPoolTakes(pool, estimate, element))
		return false;
	i = VhnswPoolPosition(pool, estimate, element);
	if (!fits)
		pool->count--;
	memmove(&pool->items[i + 1], &pool->items[i],
			(pool->count - i) * sizeof(VhnswCandidate));
	pool->count++;
	pool->items[i].estimate = estimate;
	pool->items[i].element = element;
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
VhnswPoolRemove(VhnswPool *pool, float estimate, VhnswElement element)
{
	int			i = VhnswPoolPosition(pool, estimate, element);

	if (i < pool->count && pool->items[i].element == element)
		VhnswPoolRemoveAt(pool, i);
}

#endif							/* VHNSW_POOL_H */
