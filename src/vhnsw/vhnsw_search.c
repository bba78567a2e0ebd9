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

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vhnsw/vhnsw_keep.h"
#include "vhnsw/vhnsw_lists.h"
#include "vhnsw/vhnsw_search.h"

/* How many of the nearest entries a search begins with. */
#define FIRST_ENTRIES 8

/* An element that was met. */
typedef struct Seen
{
	VhnswElement element;		/* hash key */
	float		estimate;		/* of its distance, until it is expanded */
	char		status;			/* for simplehash */
	bool		expanded;
	bool		taken;			/* the caller has got it */
} Seen;

#define SH_PREFIX seen
#define SH_ELEMENT_TYPE Seen
#define SH_KEY_TYPE VhnswElement
#define SH_KEY element
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
/* Core's header has a harmless shadowing. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow=compatible-local"
#include "lib/simplehash.h"
#pragma GCC diagnostic pop

typedef struct VhnswSearchEntry
{
	float		estimate;
	VhnswElement element;
} VhnswSearchEntry;

static int	compare_bounds(const pairingheap_node *a, const pairingheap_node *b,
						   void *arg);
static int	compare_entries(const void *a, const void *b);
static int	compare_candidates(const void *a, const void *b);
static int	compare_elements(const void *a, const void *b);
static void sort_entries(VhnswSearch *search, const VhnswCache *cache);
static bool add_entries(VhnswSearch *search);
static void add_candidate(VhnswSearch *search, VhnswElement element,
						  float estimate);
static void refill_pool(VhnswSearch *search, int capacity);
static void expand(VhnswSearch *search);
static VhnswFound *add_found(VhnswSearch *search, VhnswElement element,
							 VhnswSlot slot);
static void evaluate(VhnswSearch *search, VhnswElement *elements, int n);
static void settle(VhnswSearch *search);

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

/* Nearest last. */
static int
compare_entries(const void *a, const void *b)
{
	const VhnswSearchEntry *ea = a;
	const VhnswSearchEntry *eb = b;

	if (ea->estimate != eb->estimate)
		return ea->estimate < eb->estimate ? 1 : -1;
	return ea->element < eb->element ? 1 : ea->element > eb->element ? -1 : 0;
}

static int
compare_candidates(const void *a, const void *b)
{
	const VhnswCandidate *ca = a;
	const VhnswCandidate *cb = b;

	return VhnswCandidateIsNearer(ca, cb->estimate, cb->element) ? -1 : 1;
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
	search->seen = seen_create(context, 2048, NULL);
	search->found_capacity = 64;
	search->found = palloc_array(VhnswFound *, search->found_capacity);
	search->settled = pairingheap_allocate(compare_bounds, NULL);
	sort_entries(search, cache);
	MemoryContextSwitchTo(old_context);
	return search;
}

/* Order the entries by their copied codes. */
static void
sort_entries(VhnswSearch *search, const VhnswCache *cache)
{
	uint32		n = cache->nentries;

	search->entries = palloc_array(VhnswSearchEntry, Max(n, 1));
	search->nentries = n;
	for (uint32 i = 0; i < n; i++)
	{
		VhnswEntry	entry = VhnswCacheGetEntry(cache, i);

		search->entries[i].element = entry->element;
		search->entries[i].estimate = VhnswEstimate(search->query,
													VhnswEntryView(entry));
	}
	qsort(search->entries, n, sizeof(VhnswSearchEntry), compare_entries);
}

/* Make the nearest entries that are left candidates; false if none are. */
static bool
add_entries(VhnswSearch *search)
{
	int			n = Min(search->nentries, FIRST_ENTRIES);

	for (int i = 0; i < n; i++)
	{
		VhnswSearchEntry *entry = &search->entries[--search->nentries];

		add_candidate(search, entry->element, entry->estimate);
	}
	return n > 0;
}

/* Note an element with its estimate, if it was not met before. */
static void
add_candidate(VhnswSearch *search, VhnswElement element, float estimate)
{
	bool		found;
	Seen	   *seen = seen_insert(search->seen, element, &found);

	if (found)
		return;
	seen->estimate = estimate;
	seen->expanded = seen->taken = false;
	if (!VhnswPoolPut(&search->pool, estimate, element, NULL))
		search->forgot = true;
}

/*
 * Fill the pool anew from all that is not settled, with room for 'capacity'
 * candidates.
 */
static void
refill_pool(VhnswSearch *search, int capacity)
{
	VhnswCandidate *all;
	Size		size;
	int64		n = 0;
	seen_iterator iterator;
	Seen	   *seen;

	size = add_size(search->seen->members, search->nfound);
	all = MemoryContextAllocHuge(search->context,
								 mul_size(Max(size, 1), sizeof(*all)));
	seen_start_iterate(search->seen, &iterator);
	while ((seen = seen_iterate(search->seen, &iterator)) != NULL)
	{
		if (seen->expanded)
			continue;
		all[n].estimate = seen->estimate;
		all[n].element = seen->element;
		all[n++].found = NULL;
	}
	for (int64 i = 0; i < search->nfound; i++)
	{
		VhnswFound *found = search->found[i];

		if (found->settled)
			continue;
		all[n].estimate = found->estimate;
		all[n].element = found->element;
		all[n++].found = found;
	}
	qsort(all, n, sizeof(VhnswCandidate), compare_candidates);

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
	memcpy(search->pool.items, all,
		   search->pool.count * sizeof(VhnswCandidate));
	search->pool.next = 0;
	VhnswPoolSkipExpanded(&search->pool);
	search->forgot = n > search->pool.count;
	pfree(all);
}

/*
 * Expand the nearest candidate: copy TID, bound and list under one lock, then
 * evaluate the neighbors.
 *
 * Its estimate becomes what its own code says, so it may turn out to be
 * farther than others in the pool, or a tombstone, which leaves the pool.
 */
static void
expand(VhnswSearch *search)
{
	const VhnswLayout *layout = &search->layout;
	VhnswElement element = search->pool.items[search->pool.next].element;
	VhnswElement neighbors[VHNSW_MAX_DEGREE];
	VhnswFound *found = NULL;
	Buffer		buffer;
	VhnswSlot	slot;
	int			n = 0;

	VhnswPoolRemoveAt(&search->pool, search->pool.next);
	seen_lookup(search->seen, element)->expanded = true;
	search->nexpanded++;

	buffer = VhnswVisitPage(search->index, VhnswElementBlock(layout, element));
	slot = VhnswPageGetSlot(layout, BufferGetPage(buffer),
							VhnswElementSlot(layout, element));

	/* Freed since its number was read: vacuum has replaced the link. */
	if (slot->flags != 0)
	{
		n = VhnswSlotNeighborCount(layout, slot);
		memcpy(neighbors, slot->neighbors, n * sizeof(VhnswElement));
		if (slot->flags & VHNSW_SLOT_LIVE)
			found = add_found(search, element, slot);
		if (search->keep)
			VhnswKeepExpanded(search->keep, element, slot);
	}
	VhnswReleasePage(buffer);

	if (found &&
		!VhnswPoolPut(&search->pool, found->estimate, element, found))
		search->forgot = true;
	evaluate(search, neighbors, n);
}

/* Make a share-locked live element a candidate for the answer. */
static VhnswFound *
add_found(VhnswSearch *search, VhnswElement element, VhnswSlot slot)
{
	VhnswFound *found = MemoryContextAlloc(search->context,
										   sizeof(VhnswFound));

	found->bound = VhnswBound(search->query,
							  VhnswSlotView(&search->layout, slot),
							  &found->estimate);
	found->element = element;
	found->version = slot->version;
	found->settled = false;
	found->has_list = ItemPointerIsValid(&slot->tids);
	found->heaptid = slot->heaptid;
	found->fingerprint.scale = slot->scale;
	found->fingerprint.norm = slot->norm;
	found->fingerprint.residual = slot->residual;

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

		if (seen_lookup(search->seen, elements[i]))
			continue;
		if (blkno != visited)
		{
			if (BufferIsValid(buffer))
				VhnswReleasePage(buffer);
			buffer = VhnswVisitPage(search->index, blkno);
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

/* Settle all before the first candidate that is not expanded. */
static void
settle(VhnswSearch *search)
{
	VhnswPool  *pool = &search->pool;

	for (int i = 0; i < pool->next; i++)
	{
		pool->items[i].found->settled = true;
		pairingheap_add(search->settled, &pool->items[i].found->link);
	}
	search->nsettled += pool->next;
	pool->count -= pool->next;
	memmove(pool->items, pool->items + pool->next,
			pool->count * sizeof(VhnswCandidate));
	pool->next = 0;
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
 * Returns false if the search ended before: everything reachable is settled.
 * No locks on entry and exit.
 */
bool
VhnswSearchUntil(VhnswSearch *search, int64 nsettled, int64 max_steps)
{
	VhnswPool  *pool = &search->pool;
	int64		wanted = nsettled - search->nsettled;

	if (wanted <= 0)
		return true;

	/*
	 * The pool has room for what is wanted, and as the search goes on for
	 * half of what was settled, so that filling it costs little for each.
	 */
	wanted = Max(wanted, search->nsettled / 2);
	if (wanted > pool->capacity || (search->forgot && pool->count < wanted))
		refill_pool(search, (int) Min(wanted, INT_MAX / 2));

	for (int64 steps = 0; search->nsettled < nsettled; steps++)
	{
		CHECK_FOR_INTERRUPTS();
		if (search->nsettled + pool->next >= nsettled)
			settle(search);
		else if (steps == max_steps)
			break;
		else if (pool->next < pool->count)
			expand(search);
		else if (search->forgot)
			refill_pool(search, pool->capacity);
		else if (!add_entries(search))
		{
			settle(search);
			return search->nsettled >= nsettled;
		}
	}
	return true;
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
	seen_lookup(search->seen, found->element)->taken = true;
	return found;
}

/* Has VhnswSearchTake() returned this element? */
bool
VhnswSearchHasTaken(VhnswSearch *search, VhnswElement element)
{
	Seen	   *seen = seen_lookup(search->seen, element);

	return seen && seen->taken;
}
