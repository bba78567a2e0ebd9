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
 * Scans and inserts share this file.  An insert also wants the codes and
 * lists of what was seen, so that it can choose links without reading pages
 * again (VHNSW_SEARCH_KEEP).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vhnsw/vhnsw_search.h"

/* How many of the nearest entries a search evaluates at once. */
#define FIRST_ENTRIES 8

typedef struct SeenEntry
{
	VhnswElement element;		/* hash key */
	char		status;			/* for simplehash */
	VhnswSeen  *seen;			/* NULL for a place that held no element */
} SeenEntry;

#define SH_PREFIX seen
#define SH_ELEMENT_TYPE SeenEntry
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

typedef struct EntryDistance
{
	double		estimate;
	VhnswElement element;
} EntryDistance;

static int	compare_seen(const pairingheap_node *a, const pairingheap_node *b,
						 void *arg);
static int	compare_estimates(const pairingheap_node *a,
							  const pairingheap_node *b, void *arg);
static int	compare_farthest(const pairingheap_node *a,
							 const pairingheap_node *b, void *arg);
static int	compare_bounds(const pairingheap_node *a,
						   const pairingheap_node *b, void *arg);
static int	compare_entries(const void *a, const void *b);
static int	compare_elements(const void *a, const void *b);
static void sort_entries(VhnswSearch *search, const VhnswCache *cache);
static bool next_entries(VhnswSearch *search);
static void evaluate(VhnswSearch *search, VhnswElement *elements, int n);
static void evaluate_slot(VhnswSearch *search, VhnswElement element,
						  VhnswSlot slot, SeenEntry *entry);
static void expand(VhnswSearch *search, VhnswSeen *seen);
static void add_found(VhnswSearch *search, VhnswSeen *seen, VhnswSlot slot);
static void keep_neighbors(VhnswSearch *search, VhnswSeen *seen,
						   const VhnswElement *neighbors, int n);
static void divide_found(VhnswSearch *search);
static void settle(VhnswSearch *search);

/* Pairing heaps have the largest first: nearer is larger. */
static int
compare_seen(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const VhnswSeen *sa = pairingheap_const_container(VhnswSeen, link, a);
	const VhnswSeen *sb = pairingheap_const_container(VhnswSeen, link, b);

	if (sa->estimate != sb->estimate)
		return sa->estimate < sb->estimate ? 1 : -1;

	/* Primary and standby must walk the same way. */
	return sa->element < sb->element ? 1 : -1;
}

static int
compare_estimates(const pairingheap_node *a, const pairingheap_node *b,
				  void *arg)
{
	const VhnswFound *fa = pairingheap_const_container(VhnswFound, link, a);
	const VhnswFound *fb = pairingheap_const_container(VhnswFound, link, b);

	if (fa->estimate != fb->estimate)
		return fa->estimate < fb->estimate ? 1 : -1;
	return fa->element < fb->element ? 1 : -1;
}

static int
compare_farthest(const pairingheap_node *a, const pairingheap_node *b,
				 void *arg)
{
	return -compare_estimates(a, b, arg);
}

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
compare_entries(const void *a, const void *b)
{
	const EntryDistance *ea = a;
	const EntryDistance *eb = b;

	if (ea->estimate != eb->estimate)
		return ea->estimate < eb->estimate ? -1 : 1;
	return ea->element < eb->element ? -1 : ea->element > eb->element;
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
 *		Prepare a search.  Nothing is read before the first step.
 *
 * 'query' must be of class NORMAL; it and 'index' must outlive the search.
 * 'cache' is used in this call only.  The search lives in 'context' and ends
 * with it.
 */
VhnswSearch *
VhnswSearchBegin(Relation index, const VhnswCache *cache, VhnswQuery *query,
				 int flags, MemoryContext context)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	VhnswSearch *search = palloc0_object(VhnswSearch);

	search->index = index;
	search->layout = cache->layout;
	search->query = query;
	search->flags = flags;
	search->context = context;
	search->seen = seen_create(context, 1024, NULL);
	search->frontier = pairingheap_allocate(compare_seen, NULL);
	search->far = pairingheap_allocate(compare_estimates, NULL);
	search->near = pairingheap_allocate(compare_farthest, NULL);
	search->settled = pairingheap_allocate(compare_bounds, NULL);
	sort_entries(search, cache);
	MemoryContextSwitchTo(old_context);
	return search;
}

/* Order the entries by their copied codes, nearest last. */
static void
sort_entries(VhnswSearch *search, const VhnswCache *cache)
{
	EntryDistance *distances = palloc_array(EntryDistance, cache->nentries);
	uint32		n = cache->nentries;

	for (uint32 i = 0; i < n; i++)
	{
		VhnswEntry	entry = VhnswCacheGetEntry(cache, i);
		double		dot = DistanceDotFloatInt8(search->query->rotated,
											   entry->code,
											   search->layout.dims);

		distances[i].element = entry->element;
		distances[i].estimate = VhnswEstimate(search->query, entry->scale,
											  entry->norm, dot);
	}
	qsort(distances, n, sizeof(EntryDistance), compare_entries);

	search->entries = palloc_array(VhnswElement, n);
	search->nentries = n;
	for (uint32 i = 0; i < n; i++)
		search->entries[n - 1 - i] = distances[i].element;
	pfree(distances);
}

/* Evaluate the nearest entries that are left; false if there are none. */
static bool
next_entries(VhnswSearch *search)
{
	VhnswElement elements[FIRST_ENTRIES];
	int			n = 0;

	while (n < FIRST_ENTRIES && search->nentries > 0)
		elements[n++] = search->entries[--search->nentries];
	if (n == 0)
		return false;
	evaluate(search, elements, n);
	return true;
}

/*
 * Evaluate those of 'elements' that were not seen before.  Sorts the array,
 * so that elements on one page cost one visit.
 */
static void
evaluate(VhnswSearch *search, VhnswElement *elements, int n)
{
	const VhnswLayout *layout = &search->layout;
	Buffer		buffer = InvalidBuffer;
	BlockNumber locked_block = InvalidBlockNumber;

	qsort(elements, n, sizeof(VhnswElement), compare_elements);
	for (int i = 0; i < n; i++)
	{
		VhnswElement element = elements[i];
		BlockNumber blkno = VhnswElementBlock(layout, element);
		SeenEntry  *entry;
		bool		found;

		entry = seen_insert(search->seen, element, &found);
		if (found)
			continue;
		entry->seen = NULL;

		if (blkno != locked_block)
		{
			if (BufferIsValid(buffer))
				VhnswReleasePage(buffer);
			buffer = VhnswGetPage(search->index, blkno, VHNSW_PAGE_ELEMENT,
								  BUFFER_LOCK_SHARE);
			locked_block = blkno;
		}
		evaluate_slot(search, element,
					  VhnswPageGetSlot(layout, BufferGetPage(buffer),
									   VhnswElementSlot(layout, element)),
					  entry);
	}
	if (BufferIsValid(buffer))
		VhnswReleasePage(buffer);
}

/* Evaluate the element in a share-locked slot, and put it in the frontier. */
static void
evaluate_slot(VhnswSearch *search, VhnswElement element, VhnswSlot slot,
			  SeenEntry *entry)
{
	const VhnswLayout *layout = &search->layout;
	VhnswSeen  *seen;

	/* Freed since its number was read; vacuum has replaced the link. */
	if (slot->flags == 0)
		return;

	seen = MemoryContextAllocZero(search->context, sizeof(VhnswSeen));
	seen->element = element;
	seen->version = slot->version;
	seen->live = (slot->flags & VHNSW_SLOT_LIVE) != 0;
	seen->estimate =
		VhnswEstimate(search->query, slot->scale, slot->norm,
					  DistanceDotFloatInt8(search->query->rotated,
										   VhnswSlotGetCode(layout, slot),
										   layout->dims));
	if (search->flags & VHNSW_SEARCH_KEEP)
	{
		seen->code = MemoryContextAllocZero(search->context,
											VHNSW_CODE_SIZE(layout->dims));
		seen->code->scale = slot->scale;
		seen->code->norm = slot->norm;
		seen->code->residual = slot->residual;
		memcpy(seen->code->code, VhnswSlotGetCode(layout, slot),
			   layout->dims);
	}
	entry->seen = seen;
	pairingheap_add(search->frontier, &seen->link);
	search->nevaluated++;
}

/*
 * Expand an element: copy TID, bound and list under one lock, then evaluate
 * the neighbors.
 */
static void
expand(VhnswSearch *search, VhnswSeen *seen)
{
	const VhnswLayout *layout = &search->layout;
	VhnswElement neighbors[VHNSW_MAX_DEGREE];
	int			n = 0;
	Buffer		buffer;
	VhnswSlot	slot;

	seen->expanded = true;
	search->nexpanded++;

	buffer = VhnswGetPage(search->index,
						  VhnswElementBlock(layout, seen->element),
						  VHNSW_PAGE_ELEMENT, BUFFER_LOCK_SHARE);
	slot = VhnswPageGetSlot(layout, BufferGetPage(buffer),
							VhnswElementSlot(layout, seen->element));

	/* With another version it is another element, at another place. */
	if (slot->flags != 0 && slot->version == seen->version)
	{
		n = Min(slot->nneighbors, layout->degree);
		memcpy(neighbors, slot->neighbors, n * sizeof(VhnswElement));
		if (slot->flags & VHNSW_SLOT_LIVE)
			add_found(search, seen, slot);
		else
			seen->live = false;
	}
	else
		seen->live = false;
	VhnswReleasePage(buffer);

	if (search->flags & VHNSW_SEARCH_KEEP)
		keep_neighbors(search, seen, neighbors, n);
	evaluate(search, neighbors, n);

	/* Vacuum frees a tombstone and its list: it is no way to anything. */
	if ((search->flags & VHNSW_SEARCH_KEEP) && seen->live)
	{
		for (int i = 0; i < n; i++)
		{
			VhnswSeen  *neighbor = VhnswSearchLookup(search, neighbors[i]);

			if (neighbor)
				neighbor->named++;
		}
	}
}

static void
keep_neighbors(VhnswSearch *search, VhnswSeen *seen,
			   const VhnswElement *neighbors, int n)
{
	seen->nneighbors = n;
	seen->neighbors = MemoryContextAlloc(search->context,
										 Max(n, 1) * sizeof(VhnswElement));
	memcpy(seen->neighbors, neighbors, n * sizeof(VhnswElement));
}

/* Make a share-locked live element a candidate for the answer. */
static void
add_found(VhnswSearch *search, VhnswSeen *seen, VhnswSlot slot)
{
	const VhnswLayout *layout = &search->layout;
	VhnswFound *found = MemoryContextAlloc(search->context,
										   sizeof(VhnswFound));
	double		dot = DistanceDotFloatInt8(search->query->rotated,
										   VhnswSlotGetCode(layout, slot),
										   layout->dims);

	found->estimate = seen->estimate;
	found->bound = VhnswLowerBound(search->query, slot->scale, slot->norm,
								   slot->residual, dot);
	found->element = seen->element;
	found->version = slot->version;
	found->has_list = ItemPointerIsValid(&slot->tids);
	found->heaptid = slot->heaptid;
	found->fingerprint.scale = slot->scale;
	found->fingerprint.norm = slot->norm;
	found->fingerprint.residual = slot->residual;
	found->seen = seen;
	pairingheap_add(search->far, &found->link);
}

/*
 * Put into search->near what is not farther than the nearest of the frontier,
 * and nothing else: a step may have found elements nearer than some that were
 * there, as always when the walk comes out of a local minimum.
 */
static void
divide_found(VhnswSearch *search)
{
	double		nearest = get_float8_infinity();
	VhnswFound *found;

	if (!pairingheap_is_empty(search->frontier))
		nearest = pairingheap_container(VhnswSeen, link,
										pairingheap_first(search->frontier))->estimate;

	while (!pairingheap_is_empty(search->near))
	{
		found = pairingheap_container(VhnswFound, link,
									  pairingheap_first(search->near));
		if (found->estimate <= nearest)
			break;
		pairingheap_remove_first(search->near);
		pairingheap_add(search->far, &found->link);
		search->nnear--;
	}

	while (!pairingheap_is_empty(search->far))
	{
		found = pairingheap_container(VhnswFound, link,
									  pairingheap_first(search->far));
		if (found->estimate > nearest)
			break;
		pairingheap_remove_first(search->far);
		pairingheap_add(search->near, &found->link);
		search->nnear++;
	}
}

/* Settle what is near. */
static void
settle(VhnswSearch *search)
{
	while (!pairingheap_is_empty(search->near))
		pairingheap_add(search->settled, pairingheap_remove_first(search->near));
	search->nsettled += search->nnear;
	search->nnear = 0;
}

/*
 * VhnswSearchStep
 *		Expand the nearest element of the frontier.
 *
 * Returns false if the frontier is empty and no entry is left: all that can
 * be reached has been expanded.  No locks on entry and exit.
 */
bool
VhnswSearchStep(VhnswSearch *search)
{
	VhnswSeen  *seen;

	CHECK_FOR_INTERRUPTS();
	while (pairingheap_is_empty(search->frontier))
	{
		if (!next_entries(search))
			return false;
	}
	seen = pairingheap_container(VhnswSeen, link,
								 pairingheap_remove_first(search->frontier));
	expand(search, seen);
	return true;
}

/*
 * VhnswSearchUntil
 *		Step until 'nsettled' elements have been settled, but not more than
 *		'max_steps' times.
 *
 * Elements are settled together, when enough of them are nearer than all of
 * the frontier, or at the end of the search.  Before, what is near may still
 * turn out to be far from the nearest.
 *
 * Returns false if the search ended before: everything reachable is settled.
 */
bool
VhnswSearchUntil(VhnswSearch *search, int64 nsettled, int64 max_steps)
{
	for (int64 steps = 0; search->nsettled < nsettled; steps++)
	{
		divide_found(search);
		if (search->nsettled + search->nnear >= nsettled)
			settle(search);
		else if (steps == max_steps)
			break;
		else if (!VhnswSearchStep(search))
		{
			divide_found(search);
			settle(search);
			return search->nsettled >= nsettled;
		}
	}
	return true;
}

/* What is known of an element, or NULL if it was not evaluated. */
VhnswSeen *
VhnswSearchLookup(VhnswSearch *search, VhnswElement element)
{
	SeenEntry  *entry = seen_lookup(search->seen, element);

	return entry ? entry->seen : NULL;
}
