/*-------------------------------------------------------------------------
 *
 * vhnsw_search.c
 *	  Beam search over the pages of an index, in steps.
 *
 * Words as in README, section "Search": evaluated, expanded, settled.  The
 * search holds at most one share lock at a time and none between calls, so it
 * may rest as long as a cursor does.  What vacuum changes meanwhile is handled
 * as section "What a reader may see" describes.
 *
 * Scans and inserts share this file; an insert also wants to know what the
 * elements it met were like (vhnsw_keep.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_keep.h"
#include "vhnsw/vhnsw_lists.h"
#include "vhnsw/vhnsw_search.h"
#include "vhnsw/vhnsw_settings.h"

/* Candidates, nearest first */
#define ST_SORT sort_candidates
#define ST_ELEMENT_TYPE VhnswCandidate
#define ST_COMPARE(a, b) ((a)->key < (b)->key ? -1 : (a)->key > (b)->key)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DECLARE
#define ST_DEFINE
#include "lib/sort_template.h"

/* How many of the nearest entries a search begins with. */
#define FIRST_ENTRIES 8

/* The table of what was met begins with 1,024 places: 12 kB. */
#define SEEN_BITS 10

/*
 * How many estimates may be passed over before they go into the table: 256 kB,
 * those of more than 1,000 expansions; to begin with there is room for 2,048.
 */
#define MAX_PASSED_OVER 32768
#define FIRST_PASSED_OVER 2048

/*
 * Places of a pool beyond those that are to be settled.  As estimates become
 * better, candidates move in and out of the last places.
 */
#define POOL_SLACK(wanted) (8 + (wanted) / 4)

/* Room in a pool that is filled again, at least */
#define MIN_ROOM 64

/*
 * Filling it again looks at all that was seen, so the more that is, the more
 * room it gets, and the longer that lasts.  100,000 rows of 128 dimensions in
 * which all are nearly as far: 95 ms without this, 84 with 32, 84 with 16.
 */
#define SEEN_PER_ROOM 32

/* Farther candidates than so many may never be expanded. */
#define MAX_PREFETCHED 8

static int	compare_bounds(const pairingheap_node *a, const pairingheap_node *b,
						   void *arg);
static int	compare_elements(const void *a, const void *b);
static void estimate_entries(VhnswSearch *search, const VhnswCache *cache);
static bool add_entries(VhnswSearch *search);
static bool note_estimate(VhnswSearch *search, VhnswPoolKey key);
static void add_candidate(VhnswSearch *search, VhnswElement element,
						  float estimate);
static void add_neighbors(VhnswSearch *search, const VhnswElement *elements,
						  const float *estimates, int n);
static void take_in_passed_over(VhnswSearch *search);
static void refill_pool(VhnswSearch *search, int capacity);
static int64 copy_unsettled(const VhnswSearch *search, VhnswCandidate *copies);
static VhnswPoolKey separate_nearest(VhnswCandidate *all, int64 n, int64 k);
static void expand(VhnswSearch *search);
static void prefetch_next(const VhnswSearch *search);
static void prefetch_pages(VhnswSearch *search);
static VhnswFound *add_found(VhnswSearch *search, VhnswElement element,
							 VhnswSlot slot, float estimate,
							 double bound);
static void evaluate(VhnswSearch *search, VhnswElement *elements, int n);
static void settle_one(VhnswSearch *search, VhnswFound *found);
static void settle(VhnswSearch *search);
static void settle_found(VhnswSearch *search, int64 n);
static bool knows_more(const VhnswSearch *search);
static bool first_phase_is_over(const VhnswSearch *search, int64 nsettled);

/* Pairing heaps have the largest first: a lower bound is larger. */
static int
compare_bounds(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const VhnswFound *fa = pairingheap_const_container(VhnswFound, link, a);
	const VhnswFound *fb = pairingheap_const_container(VhnswFound, link, b);

	if (fa->bound != fb->bound)
		return fa->bound < fb->bound ? 1 : -1;
	return fa->element < fb->element ? 1 : -1;
}

static int
compare_elements(const void *a, const void *b)
{
	VhnswElement ea = *(const VhnswElement *) a;
	VhnswElement eb = *(const VhnswElement *) b;

	return ea < eb ? -1 : ea > eb;
}

/*
 * VhnswSearchBegin
 *		Prepare a search.  No element page is read before the first step.
 *
 * 'query' must be of class NORMAL; it, 'index' and 'keep' (NULL for none) must
 * outlive the search.  'cache' is used in this call only.  The search lives in
 * 'context' and ends with it.
 */
VhnswSearch *
VhnswSearchBegin(Relation index, const VhnswCache *cache, VhnswQuery *query,
				 VhnswKeep *keep, MemoryContext context)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	VhnswSearch *search = palloc0_object(VhnswSearch);

	search->index = index;
	search->layout = cache->layout;
	search->query = query;
	search->keep = keep;
	search->context = context;
	VhnswSeenInit(&search->seen, SEEN_BITS, context);
	if (search->layout.edge_dims > 0)
	{
		search->passed_over_capacity = FIRST_PASSED_OVER;
		search->passed_over = palloc_array(VhnswPoolKey, FIRST_PASSED_OVER);
	}
	search->found_capacity = 64;
	search->found = palloc_array(VhnswFound *, search->found_capacity);
	search->settled = pairingheap_allocate(compare_bounds, NULL);
	estimate_entries(search, cache);
	if (search->layout.edge_dims > 0)
		VhnswEdgeQueryInit(&search->edge_query, &cache->edges,
						   query->rotated);
	MemoryContextSwitchTo(old_context);
	return search;
}

/* How far away the entries are, by their copied codes */
static void
estimate_entries(VhnswSearch *search, const VhnswCache *cache)
{
	uint32		n = cache->nentries;

	search->entries = palloc_array(VhnswCandidate, Max(n, 1));
	search->nentries = n;
	for (uint32 i = 0; i < n; i++)
	{
		VhnswEntry	entry = VhnswCacheGetEntry(cache, i);
		float		estimate = VhnswEstimate(search->query,
											 VhnswEntryView(entry));

		search->entries[i].key = VhnswMakePoolKey(estimate, entry->element);
		search->entries[i].found = NULL;
	}
}

/* Make the nearest entries that are left candidates; false if none are. */
static bool
add_entries(VhnswSearch *search)
{
	int			n = Min(search->nentries, FIRST_ENTRIES);

	separate_nearest(search->entries, search->nentries, n);
	for (int i = 0; i < n; i++)
	{
		VhnswPoolKey key = search->entries[i].key;

		add_candidate(search, VhnswPoolKeyElement(key),
					  VhnswPoolKeyEstimate(key));
	}
	search->entries += n;
	search->nentries -= n;
	return n > 0;
}

/*
 * Note an estimate in the table.  False if it tells nothing new: the element
 * is expanded, or was estimated to be no farther.
 */
static bool
note_estimate(VhnswSearch *search, VhnswPoolKey key)
{
	VhnswElement element = VhnswPoolKeyElement(key);
	float		estimate = VhnswPoolKeyEstimate(key);
	VhnswSeen  *seen = VhnswSeenProbe(&search->seen, element);

	if (unlikely(element == VHNSW_NO_ELEMENT))
		VhnswReportCorruption(search->index, VHNSW_META_BLKNO,
							  "A link or an entry names no element.");
	if (seen->element == VHNSW_NO_ELEMENT)
	{
		seen->element = element;
		search->seen.count++;
	}
	else
	{
		VhnswPoolKey old = VhnswMakePoolKey(seen->estimate, element);

		if (seen->expanded || old <= key)
			return false;

		/* A damaged list may name it twice: then it is not there yet. */
		if (old < search->pool.limit &&
			!VhnswPoolRemove(&search->pool, old))
			return false;
	}
	seen->estimate = estimate;
	return true;
}

/* Make an element a candidate, as far away as its own code says. */
static void
add_candidate(VhnswSearch *search, VhnswElement element, float estimate)
{
	VhnswPoolKey key = VhnswMakePoolKey(estimate, element);

	VhnswSeenReserve(&search->seen, 1);
	if (note_estimate(search, key) &&
		!VhnswPoolPut(&search->pool, key, NULL))
		search->forgot = true;
}

/*
 * Make neighbors of an expanded element candidates, by their sketches.
 *
 * Of several estimates of one element the lowest counts.  Most are beyond the
 * pool: these are kept aside, in the order they came, because finding each in
 * the table would cost more than all else here.
 */
static void
add_neighbors(VhnswSearch *search, const VhnswElement *elements,
			  const float *estimates, int n)
{
	VhnswPool  *pool = &search->pool;
	VhnswPoolKey near[VHNSW_MAX_DEGREE];
	VhnswPoolKey *far;
	int			nnear = 0;
	int			nfar = 0;
	int			nnew = 0;

	if (search->npassed_over + n > MAX_PASSED_OVER)
		take_in_passed_over(search);
	if (search->npassed_over + n > search->passed_over_capacity)
	{
		search->passed_over_capacity *= 2;
		search->passed_over =
			repalloc(search->passed_over,
					 search->passed_over_capacity * sizeof(VhnswPoolKey));
	}
	far = search->passed_over + search->npassed_over;
	for (int i = 0; i < n; i++)
	{
		VhnswPoolKey key = VhnswMakePoolKey(estimates[i], elements[i]);
		bool		is_near = key < pool->limit;

		near[nnear] = far[nfar] = key;
		nnear += is_near;
		nfar += !is_near;
	}
	search->npassed_over += nfar;

	VhnswSeenReserve(&search->seen, nnear);
	for (int i = 0; i < nnear; i++)
	{
		if (note_estimate(search, near[i]))
			near[nnew++] = near[i];
	}
	if (!VhnswPoolPutMany(pool, near, nnew))
		search->forgot = true;
	prefetch_next(search);
}

/*
 * Move the estimates that were passed over into the table, from where they
 * come back when the pool is filled anew.  None of them is nearer than what is
 * in the pool, so no place there changes.
 */
static void
take_in_passed_over(VhnswSearch *search)
{
	if (search->npassed_over > 0)
		search->forgot = true;
	for (int i = 0; i < search->npassed_over; i++)
	{
		VhnswSeenReserve(&search->seen, 1);
		note_estimate(search, search->passed_over[i]);
	}
	search->npassed_over = 0;
}

/*
 * Fill the pool anew from all that is not settled, with room for 'capacity'
 * candidates.  With much memory that may be millions.
 */
static void
refill_pool(VhnswSearch *search, int capacity)
{
	VhnswCandidate *all;
	Size		size;
	int64		n = 0;

	take_in_passed_over(search);
	size = add_size(search->seen.count, search->nfound);
	all = MemoryContextAllocHuge(search->context,
								 mul_size(Max(size, 1), sizeof(*all)));
	for (uint64 i = 0; size > 0 && i < VhnswSeenPlaces(&search->seen); i++)
	{
		const VhnswSeen *seen = &search->seen.places[i];

		if (i % VHNSW_SEEN_PER_CHECK == 0)
			CHECK_FOR_INTERRUPTS();
		if (seen->element == VHNSW_NO_ELEMENT || seen->expanded)
			continue;
		all[n].key = VhnswMakePoolKey(seen->estimate, seen->element);
		all[n++].found = NULL;
	}
	n += copy_unsettled(search, all + n);

	if (capacity > search->pool.capacity)
	{
		if (search->pool.items)
			pfree(search->pool.items);
		search->pool.items =
			MemoryContextAllocHuge(search->context,
								   mul_size(capacity,
											sizeof(VhnswCandidate)));
		search->pool.capacity = capacity;
	}
	search->pool.count = (int) Min(n, search->pool.capacity);
	search->pool.limit = separate_nearest(all, n, search->pool.count);
	sort_candidates(all, search->pool.count);
	memcpy(search->pool.items, all,
		   search->pool.count * sizeof(VhnswCandidate));
	search->pool.next = 0;
	VhnswPoolSkipExpanded(&search->pool);
	search->forgot = n > search->pool.count;
	pfree(all);
}

/* Copy all that are expanded and not settled; returns their number. */
static int64
copy_unsettled(const VhnswSearch *search, VhnswCandidate *copies)
{
	int64		n = 0;

	for (int64 i = 0; i < search->nfound; i++)
	{
		VhnswFound *found = search->found[i];

		if (found->settled)
			continue;
		copies[n].key = VhnswMakePoolKey(found->estimate, found->element);
		copies[n++].found = found;
	}
	return n;
}

/*
 * Move the nearest k of n candidates, in any order, to the front.  Returns the
 * key of the nearest of the others, the largest if there are none.
 *
 * Hoare's selection; the pivot is the middle of three.
 */
static VhnswPoolKey
separate_nearest(VhnswCandidate *all, int64 n, int64 k)
{
	VhnswPoolKey nearest = PG_UINT64_MAX;
	int64		low = 0;
	int64		high = n - 1;

	while (k < n && low < high)
	{
		VhnswPoolKey a = all[low].key;
		VhnswPoolKey b = all[low + (high - low) / 2].key;
		VhnswPoolKey c = all[high].key;
		VhnswPoolKey pivot = Max(Min(a, b), Min(Max(a, b), c));
		int64		i = low;
		int64		j = high;

		CHECK_FOR_INTERRUPTS();
		while (i <= j)
		{
			while (all[i].key < pivot)
				i++;
			while (all[j].key > pivot)
				j--;
			if (i <= j)
			{
				VhnswCandidate swap = all[i];

				all[i++] = all[j];
				all[j--] = swap;
			}
		}
		if (k <= j)
			high = j;
		else if (k >= i)
			low = i;
		else
			break;
	}
	for (int64 i = k; i < n; i++)
		nearest = Min(nearest, all[i].key);
	return nearest;
}

/*
 * Expand the nearest candidate: copy TID, bound and list under one lock, then
 * estimate the distances of the neighbors, from their sketches or else from
 * their own slots.
 *
 * Its estimate becomes what its own code says, so it may turn out to be
 * farther than others in the pool, or a tombstone, which leaves the pool.
 */
static void
expand(VhnswSearch *search)
{
	const VhnswLayout *layout = &search->layout;
	VhnswElement element =
	VhnswPoolKeyElement(search->pool.items[search->pool.next].key);
	VhnswElement neighbors[VHNSW_MAX_DEGREE];
	float		estimates[VHNSW_MAX_DEGREE];
	VhnswFound *found = NULL;
	Buffer		buffer;
	VhnswSlot	slot;
	int			n = 0;

	/* While this one is looked at, the CPU may fetch what probably follows. */
	VhnswPoolRemoveAt(&search->pool, search->pool.next);
	prefetch_next(search);
	VhnswSeenLookup(&search->seen, element)->expanded = true;
	search->nexpanded++;

	buffer = VhnswVisitPage(search->index, search->hints,
							VhnswElementBlock(layout, element));
	slot = VhnswPageGetSlot(layout, BufferGetPage(buffer),
							VhnswElementSlot(layout, element));

	/* Freed since its number was read: vacuum has replaced the link. */
	if (slot->flags != 0)
	{
		float		estimate;
		double		bound = VhnswBound(search->query,
									   VhnswSlotView(layout, slot),
									   &estimate);

		n = VhnswSlotNeighborCount(layout, slot);
		memcpy(neighbors, slot->neighbors, n * sizeof(VhnswElement));
		if (layout->edge_dims > 0)
			VhnswEdgeEstimates(layout, &search->edge_query, slot, n, estimate,
							   estimates);
		if (slot->flags & VHNSW_SLOT_LIVE)
			found = add_found(search, element, slot, estimate, bound);
		if (search->keep)
			VhnswKeepExpanded(search->keep, element, slot);
	}
	VhnswReleasePage(buffer);

	if (found &&
		!VhnswPoolPut(&search->pool,
					  VhnswMakePoolKey(found->estimate, element), found))
		search->forgot = true;
	if (layout->edge_dims > 0)
	{
		for (int i = 0; i < n; i++)
		{
			/* Also false for NaN. */
			if (unlikely(!(fabsf(estimates[i]) <= FLT_MAX)))
				VhnswReportCorruption(search->index,
									  VhnswElementBlock(layout, element),
									  "A sketch of a neighbor is out of range.");
		}
		add_neighbors(search, neighbors, estimates, n);
		search->nestimated += n;
	}
	else
		evaluate(search, neighbors, n);
	prefetch_pages(search);
}

/* Let the CPU fetch what will probably be expanded next. */
static void
prefetch_next(const VhnswSearch *search)
{
	const VhnswPool *pool = &search->pool;

	if (pool->next < pool->count)
		VhnswPrefetchSlot(&search->layout, search->hints,
						  VhnswPoolKeyElement(pool->items[pool->next].key));
}

/*
 * Begin to read the pages of what will probably be expanded soon, as many as
 * effective_io_concurrency says.
 */
static void
prefetch_pages(VhnswSearch *search)
{
#ifdef USE_PREFETCH
	const VhnswPool *pool = &search->pool;
	int			n = Min(effective_io_concurrency, MAX_PREFETCHED);

	for (int i = pool->next; i < pool->count && n > 0; i++)
	{
		if (pool->items[i].found)
			continue;
		VhnswPrefetchPage(search->index, &search->layout, search->hints,
						  VhnswPoolKeyElement(pool->items[i].key));
		n--;
	}
#endif
}

/* Note who a share-locked element is, and where its TIDs are. */
void
VhnswFoundSet(VhnswFound *found, VhnswElement element,
			  const VhnswSlotData *slot)
{
	found->element = element;
	found->version = slot->version;
	found->settled = false;
	found->has_list = ItemPointerIsValid(&slot->tids);
	found->heaptid = slot->heaptid;
	found->fingerprint.scale = slot->scale;
	found->fingerprint.norm = slot->norm;
	found->fingerprint.residual = slot->residual;
}

/* Make a share-locked live element a candidate for the answer. */
static VhnswFound *
add_found(VhnswSearch *search, VhnswElement element, VhnswSlot slot,
		  float estimate, double bound)
{
	VhnswFound *found = MemoryContextAlloc(search->context,
										   sizeof(VhnswFound));

	found->bound = bound;
	found->estimate = estimate;
	VhnswFoundSet(found, element, slot);

	if (search->nfound == search->found_capacity)
	{
		search->found_capacity *= 2;
		search->found = repalloc_huge(search->found,
									  mul_size(search->found_capacity,
											   sizeof(VhnswFound *)));
	}
	search->found[search->nfound++] = found;
	return found;
}

/*
 * Make candidates of those of 'elements' that were not met before.  Sorts the
 * array, so that elements on one page cost one visit.
 */
static void
evaluate(VhnswSearch *search, VhnswElement *elements, int n)
{
	const VhnswLayout *layout = &search->layout;
	Buffer		buffer = InvalidBuffer;
	BlockNumber visited = InvalidBlockNumber;

	qsort(elements, n, sizeof(VhnswElement), compare_elements);
	for (int i = 0; i < n; i++)
	{
		BlockNumber blkno = VhnswElementBlock(layout, elements[i]);
		VhnswSlot	slot;

		if (VhnswSeenLookup(&search->seen, elements[i]))
			continue;
		if (blkno != visited)
		{
			if (BufferIsValid(buffer))
				VhnswReleasePage(buffer);
			buffer = VhnswVisitPage(search->index, search->hints,
									blkno);
			visited = blkno;
		}
		slot = VhnswPageGetSlot(layout, BufferGetPage(buffer),
								VhnswElementSlot(layout, elements[i]));
		if (slot->flags == 0)
			continue;
		if (search->keep)
			VhnswKeepEvaluated(search->keep, elements[i], slot);
		search->nevaluated++;
		add_candidate(search, elements[i],
					  VhnswEstimate(search->query,
									VhnswSlotView(layout, slot)));
	}
	if (BufferIsValid(buffer))
		VhnswReleasePage(buffer);
}

static void
settle_one(VhnswSearch *search, VhnswFound *found)
{
	found->settled = true;
	pairingheap_add(search->settled, &found->link);
	search->nsettled++;
}

/* Settle all before the first candidate that is not expanded. */
static void
settle(VhnswSearch *search)
{
	VhnswPool  *pool = &search->pool;
	int64		n = search->wanted > 0 ? search->wanted + 2 : VHNSW_NEAREST;

	n = Min(Min(n, VHNSW_NEAREST), pool->next);
	for (int i = 0; i < n; i++)
		search->nearest[i] = pool->items[i].found->heaptid;
	search->nnearest = (int) n;
	for (int i = 0; i < pool->next; i++)
		settle_one(search, pool->items[i].found);
	pool->count -= pool->next;
	memmove(pool->items, pool->items + pool->next,
			pool->count * sizeof(VhnswCandidate));
	pool->next = 0;
}

/*
 * Settle n more, when the first phase has ended with too few: the nearest of
 * what was expanded.  What remains in the pool is in the table, too.
 */
static void
settle_found(VhnswSearch *search, int64 n)
{
	VhnswCandidate *all;
	int64		nall;

	all = MemoryContextAllocHuge(search->context,
								 mul_size(Max(search->nfound, 1),
										  sizeof(*all)));
	nall = copy_unsettled(search, all);
	n = Min(n, nall);
	separate_nearest(all, nall, n);
	for (int64 i = 0; i < n; i++)
		settle_one(search, all[i].found);
	pfree(all);

	search->pool.count = search->pool.next = 0;
	search->forgot = true;
	search->content = false;
}

/* Is there something outside the pool to fill it with? */
static bool
knows_more(const VhnswSearch *search)
{
	return search->forgot || search->npassed_over > 0;
}

/*
 * The first phase is over when nothing in the pool is left to be expanded and
 * enough was.  It may be that less than that is in the pool: what turned out
 * to be farther than a candidate for which there was no room has left it.
 *
 * With vhnsw.gamma it is also over when the nearest that are wanted are known,
 * and all that is not expanded is farther by a factor of 1 + gamma.
 * Al-Jazzazi et al., "Distance Adaptive Beam Search for Provably Accurate
 * Graph-Based Nearest Neighbor Search" (arXiv 2505.15636), give that rule.
 */
static bool
first_phase_is_over(const VhnswSearch *search, int64 nsettled)
{
	const VhnswPool *pool = &search->pool;
	float		kth;
	float		nearest;
	double		limit;

	if (search->nsettled > 0)
		return false;
	if (pool->next == pool->count)
		return search->nfound >= nsettled;
	if (search->effort > 0 && pool->next >= search->effort)
		return search->nfound >= nsettled;
	if (vhnsw_gamma <= 0 || search->wanted == 0 ||
		pool->next < search->wanted)
		return false;

	kth = VhnswPoolKeyEstimate(pool->items[search->wanted - 1].key);
	nearest = VhnswPoolKeyEstimate(pool->items[pool->next].key);
	if (VhnswMetricIsSquared(search->layout.metric))
		limit = kth * (1 + vhnsw_gamma) * (1 + vhnsw_gamma);
	else
		limit = kth + vhnsw_gamma * fabs(kth);
	return nearest > limit;
}

/*
 * VhnswSearchUntil
 *		Expand candidates until 'nsettled' elements have been settled, but not
 *		more than 'max_steps' of them.
 *
 * Elements are settled together, when enough of them are nearer than all that
 * is not expanded, or at the end of the search.  Before, what is near may
 * still turn out to be far from the nearest.
 *
 * The first phase may end with fewer settled (search->content).  The caller
 * may make do with these; the next call settles what lacks.
 *
 * Returns false if the search ended before: everything reachable is settled.
 * No locks on entry and exit.
 */
bool
VhnswSearchUntil(VhnswSearch *search, int64 nsettled, int64 max_steps)
{
	VhnswPool  *pool = &search->pool;
	int64		wanted = nsettled - search->nsettled;

	if (wanted > 0 && search->content)
	{
		settle_found(search, wanted);
		wanted = nsettled - search->nsettled;
	}
	if (wanted <= 0)
		return true;
	if (search->nsettled == 0 && search->effort > 0)
		wanted = Min(wanted, search->effort);

	/*
	 * The pool has room for what is wanted.  When it must be filled again it
	 * gets room for a share of what was settled, so that filling it costs
	 * little for each; more room would make every insertion dearer.
	 */
	search->hints = VhnswGetPageHints(search->index);
	if (wanted + POOL_SLACK(wanted) > pool->capacity ||
		(search->nsettled > 0 && pool->count < wanted && knows_more(search)))
	{
		wanted = Max(wanted, search->nsettled > 0 ?
					 MIN_ROOM + search->nsettled / 4 : 0);
		refill_pool(search, (int) Min(wanted + POOL_SLACK(wanted),
									  INT_MAX / 2));
	}

	for (int64 steps = 0; search->nsettled < nsettled; steps++)
	{
		CHECK_FOR_INTERRUPTS();
		if (search->nsettled + pool->next >= nsettled)
			settle(search);
		else if (first_phase_is_over(search, nsettled))
		{
			settle(search);
			search->content = true;
			return true;
		}
		else if (steps == max_steps)
			break;
		else if (pool->next < pool->count)
		{
			VD_DEBUG_POINT("vhnsw-search-step");
			expand(search);
		}
		else if (knows_more(search))
		{
			/* With less than that, what is expanded already might fill it. */
			wanted = nsettled - search->nsettled;
			wanted = Max(wanted + POOL_SLACK(wanted),
						 (int64) (search->seen.count / SEEN_PER_ROOM));
			refill_pool(search, Max(pool->capacity,
									(int) Min(wanted, INT_MAX / 2)));
		}
		else if (!add_entries(search))
		{
			settle(search);
			return search->nsettled >= nsettled;
		}
	}
	return true;
}

/* Is there something to take? */
bool
VhnswSearchHasSettled(const VhnswSearch *search)
{
	return !pairingheap_is_empty(search->settled);
}

/*
 * VhnswSearchTake
 *		The settled element with the lowest bound, or NULL if none is left.
 */
VhnswFound *
VhnswSearchTake(VhnswSearch *search)
{
	VhnswFound *found;

	if (pairingheap_is_empty(search->settled))
		return NULL;
	found = pairingheap_container(VhnswFound, link,
								  pairingheap_remove_first(search->settled));
	VhnswSeenLookup(&search->seen, found->element)->taken = true;
	return found;
}

/* Has VhnswSearchTake() returned this element? */
bool
VhnswSearchHasTaken(VhnswSearch *search, VhnswElement element)
{
	const VhnswSeen *seen = VhnswSeenLookup(&search->seen, element);

	return seen && seen->taken;
}
