/*-------------------------------------------------------------------------
 *
 * vhnsw_repair.c
 *	  Take tombstones out of the graph, at the end of a vacuum.
 *
 * Links to them are replaced, what only they led to is linked again, and their
 * places are freed.  See README, section "Vacuum", for the steps and why they
 * may stop anywhere.
 *
 * Work is found by reading the pages, not by what bulk deletion remembers: so
 * this also completes what an earlier vacuum left, and may run in another
 * process (parallel vacuum).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_lists.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_select.h"
#include "vhnsw/vhnsw_walk.h"

/* A link to a tombstone makes room for so many others, if there is room. */
#define REPLACEMENTS_PER_TOMBSTONE 3

/*
 * If most of the graph was deleted, the neighbors of tombstones are tombstones
 * too.  Then so many of them are looked at before a list is left short.
 */
#define MAX_TOMBSTONES_FOLLOWED 64

/* Attempts to change a list that others keep changing. */
#define MAX_ATTEMPTS 4

/* Fixed, so that vacuum does the same thing each time. */
#define SAMPLE_SEED UINT64CONST(0x76656E747279)

/* The code of an element, read before; NULL if it is not live. */
typedef struct CodeEntry
{
	VhnswElement element;		/* hash key */
	char		status;			/* for simplehash */
	const VhnswCode *code;
} CodeEntry;

#define SH_PREFIX code
#define SH_ELEMENT_TYPE CodeEntry
#include "vhnsw/vhnsw_element_hash.h"

/* Cleanup in progress. */
typedef struct Cleanup
{
	Relation	index;
	VhnswLayout layout;
	VhnswWalk  *walk;
	uint8	   *dead;			/* bits: tombstones noted before the barrier */
	uint64		ndead_bits;		/* no later place is noted */
	double		nlive;
	double		nfree;
	VhnswListChange *changes;	/* room for those of one page */
	VhnswSlot	slot;			/* room for the copies of two slots ... */
	VhnswSlot	other_slot;
	VhnswCode  *code;			/* ... and of two codes */
	VhnswCode  *other_code;
	struct code_hash *codes;	/* those of live elements read so far */
	MemoryContext code_context; /* owns them */
	VhnswLink  *links;			/* room for candidates for one list */
	const VhnswCode *list_codes[VHNSW_MAX_DEGREE];	/* of that list */
	VhnswElement *sample;		/* live elements, drawn at random */
	uint32		nsample;
	uint32		sample_size;
	pg_prng_state random;
} Cleanup;

static void note_tombstones(Cleanup *cleanup);
static void exclude_inserts(Relation index);
static void repair_lists(Cleanup *cleanup);
static bool repair_page(Cleanup *cleanup, BlockNumber blkno, bool first_time);
static bool names_tombstone(const Cleanup *cleanup, VhnswSlot slot);
static void plan_repair(Cleanup *cleanup, VhnswElement element,
						VhnswSlot slot, VhnswListChange *change);
static bool is_occluded(Cleanup *cleanup, const VhnswLink *link, int n);
static int	gather_candidates(Cleanup *cleanup, VhnswElement base,
							  const VhnswListChange *change);
static bool examine_candidate(Cleanup *cleanup, VhnswElement base,
							  const VhnswListChange *change,
							  VhnswElement candidate, VhnswLink *link);
static const VhnswCode *get_code(Cleanup *cleanup, VhnswElement element);
static void bound_codes(Cleanup *cleanup);
static void sample_live(Cleanup *cleanup, VhnswElement element);
static void replace_entries(Cleanup *cleanup);
static bool pick_near(Cleanup *cleanup, VhnswElement old,
					  const VhnswElement *entries, uint32 n,
					  VhnswElement *element);
static bool pick_sampled(Cleanup *cleanup, const VhnswElement *entries,
						 uint32 n, VhnswElement *element);
static bool read_live(Cleanup *cleanup, VhnswElement element);
static void relink_unreached(Cleanup *cleanup);
static uint64 relink_page(Cleanup *cleanup, BlockNumber blkno);
static void relink(Cleanup *cleanup, VhnswElement element);
static VhnswElement choose_host(Cleanup *cleanup, VhnswElement element);
static void free_tombstones(Cleanup *cleanup);
static void free_on_page(Cleanup *cleanup, BlockNumber blkno);
static void finish_metapage(Cleanup *cleanup);

/*
 * vhnswvacuumcleanup
 *		Take tombstones out of the graph and free their places.
 *
 * Does nothing if there are none.  A crash, an error or a cancel leaves them
 * for the next vacuum.
 */
IndexBulkDeleteResult *
vhnswvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	Relation	index = info->index;
	const VhnswCache *cache;
	Cleanup		cleanup = {.index = index};

	if (info->analyze_only)
		return stats;
	cache = VhnswGetCache(index);
	if ((cache->meta.flags & VHNSW_META_TOMBSTONES) == 0)
	{
		if (stats)
			stats->num_pages = RelationGetNumberOfBlocks(index);
		return stats;
	}
	if (stats == NULL)
	{
		stats = palloc0_object(IndexBulkDeleteResult);
		stats->estimated_count = true;
		stats->num_index_tuples = info->num_heap_tuples;
	}

	cleanup.layout = cache->layout;
	cleanup.sample_size = cache->nentries;
	cleanup.changes = palloc_array(VhnswListChange, cleanup.layout.slots_per_page);
	cleanup.slot = palloc(cleanup.layout.slot_size);
	cleanup.other_slot = palloc(cleanup.layout.slot_size);
	cleanup.code = palloc(VhnswCodeSize(&cleanup.layout));
	cleanup.other_code = palloc(VhnswCodeSize(&cleanup.layout));
	cleanup.links = palloc_array(VhnswLink, MAX_TOMBSTONES_FOLLOWED *
								 cleanup.layout.degree);
	cleanup.code_context = AllocSetContextCreate(CurrentMemoryContext,
												 "vhnsw codes",
												 ALLOCSET_DEFAULT_SIZES);
	cleanup.codes = code_create(cleanup.code_context, 1024, NULL);
	cleanup.sample = palloc_array(VhnswElement, cleanup.sample_size + 1);
	pg_prng_seed(&cleanup.random, SAMPLE_SEED);

	/* The length is taken after the barrier, for the lists made before it. */
	cleanup.walk = VhnswWalkCreate(index, &cleanup.layout, info->strategy);
	note_tombstones(&cleanup);
	exclude_inserts(index);
	VD_DEBUG_POINT("vhnsw-vacuum-barrier");
	cleanup.walk = VhnswWalkCreate(index, &cleanup.layout, info->strategy);

	repair_lists(&cleanup);
	replace_entries(&cleanup);
	relink_unreached(&cleanup);
	VD_DEBUG_POINT("vhnsw-vacuum-free");
	free_tombstones(&cleanup);
	finish_metapage(&cleanup);
	IndexFreeSpaceMapVacuum(index);

	stats->num_pages = cleanup.walk->nblocks;
	stats->pages_deleted = 0;
	stats->pages_free = 0;
	return stats;
}

/*
 * Note which elements are tombstones now.  Only they will be freed: inserts
 * that are under way may list what becomes one later.
 */
static void
note_tombstones(Cleanup *cleanup)
{
	VhnswElement element = VHNSW_NO_ELEMENT;
	VhnswSlot	slot;

	cleanup->dead = VhnswWalkMakeBits(cleanup->walk);
	cleanup->ndead_bits = cleanup->walk->nplaces;
	while ((slot = VhnswWalkNext(cleanup->walk, &element)) != NULL)
	{
		if (slot->flags & VHNSW_SLOT_TOMBSTONE)
			VhnswSetBit(cleanup->dead, element);
	}
}

/* Wait until every insert that began before now has ended. */
static void
exclude_inserts(Relation index)
{
	LockPage(index, VHNSW_REPAIR_LOCK, ExclusiveLock);
	UnlockPage(index, VHNSW_REPAIR_LOCK, ExclusiveLock);
}

/* Was this element a tombstone when we noted them? */
static bool
is_noted(const Cleanup *cleanup, VhnswElement element)
{
	return element < cleanup->ndead_bits &&
		VhnswGetBit(cleanup->dead, element);
}

/* ----------------------------------------------------------------
 * Replacing links to tombstones
 * ----------------------------------------------------------------
 */

/*
 * Replace the links to noted tombstones in the lists of live elements.  On the
 * way, count live elements, draw a sample of them, and tell the free space
 * map about places that are free already.
 */
static void
repair_lists(Cleanup *cleanup)
{
	for (BlockNumber blkno = 1; blkno < cleanup->walk->nblocks; blkno++)
	{
		bool		first_time = true;

		while (!repair_page(cleanup, blkno, first_time))
			first_time = false;
		bound_codes(cleanup);
	}
}

/*
 * Repair the lists on one page; one record.  Returns false if others changed
 * one of them meanwhile, so that the page must be looked at again.
 */
static bool
repair_page(Cleanup *cleanup, BlockNumber blkno, bool first_time)
{
	VhnswWalk  *walk = cleanup->walk;
	VhnswLayout *layout = &cleanup->layout;
	int			nchanges = 0;
	int			nfree = 0;
	bool		done = true;

	if (!VhnswWalkReadPage(walk, blkno))
	{
		if (walk->page_is_new)
			VhnswRecordFreeSlots(cleanup->index, blkno,
								 layout->slots_per_page);
		return true;
	}
	for (int i = 0; i < layout->slots_per_page; i++)
	{
		VhnswSlot	slot = VhnswPageGetSlot(layout, walk->page.data, i);
		VhnswElement element = VhnswMakeElement(layout, blkno, i);

		if (slot->flags == 0)
			nfree++;
		if ((slot->flags & VHNSW_SLOT_LIVE) == 0)
			continue;
		if (first_time)
			sample_live(cleanup, element);
		if (names_tombstone(cleanup, slot))
			plan_repair(cleanup, element, slot,
						&cleanup->changes[nchanges++]);
	}
	if (nchanges > 0)
	{
		done = VhnswApplyListChanges(cleanup->index, layout, blkno,
									 cleanup->changes, nchanges, false);
		VD_DEBUG_POINT("vhnsw-vacuum-repair");
	}
	if (first_time)
	{
		cleanup->nfree += nfree;
		VhnswRecordFreeSlots(cleanup->index, blkno, nfree);
	}
	return done;
}

static bool
names_tombstone(const Cleanup *cleanup, VhnswSlot slot)
{
	int			n = VhnswSlotNeighborCount(&cleanup->layout, slot);

	for (int i = 0; i < n; i++)
	{
		if (is_noted(cleanup, slot->neighbors[i]))
			return true;
	}
	return false;
}

/*
 * Decide what an element's list becomes: the neighbors that are alive, and in
 * the places of the others what the tombstones list.  Live neighbors never
 * leave, so nothing loses its last link here.
 *
 * As in a build, a candidate that is nearer to a neighbor than to the base
 * waits until the others had their turn.
 */
static void
plan_repair(Cleanup *cleanup, VhnswElement element, VhnswSlot slot,
			VhnswListChange *change)
{
	VhnswLayout *layout = &cleanup->layout;
	VhnswLink  *links = cleanup->links;
	int			nlinks;
	int			room;
	int			nwaiting = 0;

	VhnswListChangeInit(change, cleanup->index, layout, element, slot);
	change->nnew = 0;
	for (int i = 0; i < change->nold; i++)
	{
		if (!is_noted(cleanup, change->old_list[i]))
			change->new_list[change->nnew++] = change->old_list[i];
	}
	room = Min(layout->degree,
			   change->nnew + REPLACEMENTS_PER_TOMBSTONE *
			   (change->nold - change->nnew));

	VhnswSlotCopyCode(layout, slot, cleanup->code);
	nlinks = gather_candidates(cleanup, element, change);
	for (int i = 0; i < change->nnew; i++)
		cleanup->list_codes[i] = get_code(cleanup, change->new_list[i]);
	for (int i = 0; i < nlinks && change->nnew < room; i++)
	{
		if (is_occluded(cleanup, &links[i], change->nnew))
			links[nwaiting++] = links[i];
		else
		{
			cleanup->list_codes[change->nnew] = links[i].code;
			change->new_list[change->nnew++] = links[i].id;
		}
	}
	for (int i = 0; i < nwaiting && change->nnew < room; i++)
		change->new_list[change->nnew++] = links[i].id;
}

/* Is a candidate nearer to one of the list's n neighbors than to the base? */
static bool
is_occluded(Cleanup *cleanup, const VhnswLink *link, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (cleanup->list_codes[i] &&
			VhnswCodeDistance(&cleanup->layout, cleanup->list_codes[i],
							  link->code) < link->distance)
			return true;
	}
	return false;
}

/*
 * Collect live elements from the lists of the base's tombstones, and of
 * tombstones behind those while the list would stay shorter than m.
 *
 * cleanup->code is the base's code.  Returns how many candidates are in
 * cleanup->links, the nearest first.
 */
static int
gather_candidates(Cleanup *cleanup, VhnswElement base,
				  const VhnswListChange *change)
{
	VhnswLayout *layout = &cleanup->layout;
	VhnswElement queue[MAX_TOMBSTONES_FOLLOWED];
	VhnswLink  *links = cleanup->links;
	int			queued = 0;
	int			nlinks = 0;
	int			nunique = 0;

	for (int i = 0; i < change->nold && queued < lengthof(queue); i++)
	{
		if (is_noted(cleanup, change->old_list[i]))
			queue[queued++] = change->old_list[i];
	}
	for (int next = 0; next < queued; next++)
	{
		if (!VhnswWalkReadSlot(cleanup->walk, queue[next], cleanup->slot))
			continue;
		for (int i = 0; i < VhnswSlotNeighborCount(layout, cleanup->slot); i++)
		{
			VhnswElement candidate = cleanup->slot->neighbors[i];

			if (!is_noted(cleanup, candidate))
				nlinks += examine_candidate(cleanup, base, change, candidate,
											&links[nlinks]);
			else if (change->nnew + nlinks < layout->m &&
					 queued < lengthof(queue) &&
					 !VhnswListContains(queue, queued, candidate))
				queue[queued++] = candidate;
		}
	}

	/* The same candidate from several tombstones now stands side by side. */
	VhnswSortLinks(links, nlinks);
	for (int i = 0; i < nlinks; i++)
	{
		if (nunique == 0 || links[nunique - 1].id != links[i].id)
			links[nunique++] = links[i];
	}
	return nunique;
}

/* Fill in *link, if the candidate is a live element and not listed already. */
static bool
examine_candidate(Cleanup *cleanup, VhnswElement base,
				  const VhnswListChange *change, VhnswElement candidate,
				  VhnswLink *link)
{
	VhnswLayout *layout = &cleanup->layout;

	if (candidate == base ||
		VhnswListContains(change->new_list, change->nnew, candidate))
		return false;
	link->code = get_code(cleanup, candidate);
	if (link->code == NULL)
		return false;
	link->id = candidate;
	link->distance = VhnswCodeDistance(layout, cleanup->code, link->code);
	return true;
}

/*
 * The code of a live element that is not noted, or NULL if there is none of
 * that number.
 *
 * Such an element is not freed while we are at it, so its code stays right.
 * The result is valid until the codes are forgotten, between two pages.
 */
static const VhnswCode *
get_code(Cleanup *cleanup, VhnswElement element)
{
	VhnswLayout *layout = &cleanup->layout;
	CodeEntry  *entry;
	VhnswCode  *code;
	bool		found;

	entry = code_insert(cleanup->codes, element, &found);
	if (found)
		return entry->code;

	entry->code = NULL;
	if (VhnswWalkReadSlot(cleanup->walk, element, cleanup->other_slot) &&
		(cleanup->other_slot->flags & VHNSW_SLOT_LIVE))
	{
		code = MemoryContextAlloc(cleanup->code_context,
								  VhnswCodeSize(layout));
		VhnswSlotCopyCode(layout, cleanup->other_slot, code);
		entry->code = code;
	}
	return entry->code;
}

/* Forget all codes if they have become too many. */
static void
bound_codes(Cleanup *cleanup)
{
	int			limit = maintenance_work_mem;

	if (AmAutoVacuumWorkerProcess() && autovacuum_work_mem != -1)
		limit = autovacuum_work_mem;
	if (MemoryContextMemAllocated(cleanup->code_context, true) >
		(Size) limit * 1024)
	{
		MemoryContextReset(cleanup->code_context);
		cleanup->codes = code_create(cleanup->code_context, 1024, NULL);
	}
}

/* ----------------------------------------------------------------
 * Entries
 * ----------------------------------------------------------------
 */

/* Count a live element, and draw it for the sample (algorithm R). */
static void
sample_live(Cleanup *cleanup, VhnswElement element)
{
	cleanup->nlive++;
	if (cleanup->nsample < cleanup->sample_size)
		cleanup->sample[cleanup->nsample++] = element;
	else if (cleanup->sample_size > 0)
	{
		uint64		i = pg_prng_uint64_range(&cleanup->random, 0,
											 (uint64) cleanup->nlive - 1);

		if (i < cleanup->sample_size)
			cleanup->sample[i] = element;
	}
}

/*
 * Let entries that name noted tombstones name live elements.  From the last to
 * the first, because removing one moves the last into its place.
 *
 * What takes the place of an entry is near it: it may have been the only way
 * into a cluster.
 */
static void
replace_entries(Cleanup *cleanup)
{
	const VhnswCache *cache = VhnswGetCache(cleanup->index);
	uint32		n = cache->nentries;
	VhnswElement *entries = palloc_array(VhnswElement, n + 1);

	for (uint32 i = 0; i < n; i++)
		entries[i] = VhnswCacheGetEntry(cache, i)->element;

	for (uint32 i = n; i-- > 0;)
	{
		VhnswElement element;

		VacuumDelayPoint();
		if (!is_noted(cleanup, entries[i]))
			continue;
		if (!pick_near(cleanup, entries[i], entries, n, &element) &&
			!pick_sampled(cleanup, entries, n, &element))
		{
			VhnswRemoveEntry(cleanup->index, &cleanup->layout, i, entries[i]);
			continue;
		}
		VhnswSlotCopyCode(&cleanup->layout, cleanup->slot, cleanup->code);
		VhnswReplaceEntry(cleanup->index, &cleanup->layout, i, entries[i],
						  element, cleanup->slot->version, cleanup->code);
		entries[i] = element;
	}
	pfree(entries);
}

/*
 * Find the live element nearest to an entry that is a tombstone, of what this
 * and tombstones near it list, but none of the n entries.  Its slot is copied
 * to cleanup->slot; false if there is none.
 *
 * Under inner product the nearest is what points most nearly where it did.
 */
static bool
pick_near(Cleanup *cleanup, VhnswElement old, const VhnswElement *entries,
		  uint32 n, VhnswElement *element)
{
	bool		by_direction = cleanup->layout.metric == VHNSW_INNER_PRODUCT;
	VhnswListChange change = {.nold = 1,.old_list = {old}};
	float		nearest = 0;
	int			nlinks;

	*element = VHNSW_NO_ELEMENT;
	if (!VhnswWalkReadSlot(cleanup->walk, old, cleanup->slot))
		return false;
	VhnswSlotCopyCode(&cleanup->layout, cleanup->slot, cleanup->code);
	nlinks = gather_candidates(cleanup, old, &change);
	for (int i = 0; i < nlinks; i++)
	{
		const VhnswLink *link = &cleanup->links[i];
		float		distance = link->distance;

		if (by_direction && link->code->norm > 0)
			distance /= link->code->norm;
		if ((*element == VHNSW_NO_ELEMENT || distance < nearest) &&
			!VhnswListContains(entries, n, link->id))
		{
			*element = link->id;
			nearest = distance;
		}
	}
	bound_codes(cleanup);
	return *element != VHNSW_NO_ELEMENT && read_live(cleanup, *element);
}

/*
 * Take a live element out of the sample that is none of the n entries; its
 * slot is copied to cleanup->slot.  False if the sample is used up.
 */
static bool
pick_sampled(Cleanup *cleanup, const VhnswElement *entries, uint32 n,
			 VhnswElement *element)
{
	while (cleanup->nsample > 0)
	{
		*element = cleanup->sample[--cleanup->nsample];
		if (!VhnswListContains(entries, n, *element) &&
			read_live(cleanup, *element))
			return true;
	}
	return false;
}

/* Copy a slot to cleanup->slot; false if it is not that of a live element. */
static bool
read_live(Cleanup *cleanup, VhnswElement element)
{
	return VhnswWalkReadSlot(cleanup->walk, element, cleanup->slot) &&
		(cleanup->slot->flags & VHNSW_SLOT_LIVE);
}

/* ----------------------------------------------------------------
 * Relinking what cannot be reached
 * ----------------------------------------------------------------
 */

/*
 * Give a link to every live element that cannot be reached from the entries
 * without passing through tombstones.
 *
 * What is behind an unreached element is found by walking on from it, so one
 * link per lost group is usually enough.
 */
static void
relink_unreached(Cleanup *cleanup)
{
	VhnswWalk  *walk = cleanup->walk;

	VhnswWalkStart(walk);
	VhnswWalkReach(walk);
	for (BlockNumber blkno = 1; blkno < walk->nblocks; blkno++)
	{
		if (relink_page(cleanup, blkno) > 0)
			VhnswWalkReach(walk);
	}
}

/* The same for the elements of one page; returns how many it relinked. */
static uint64
relink_page(Cleanup *cleanup, BlockNumber blkno)
{
	VhnswWalk  *walk = cleanup->walk;
	VhnswElement first = VhnswMakeElement(&walk->layout, blkno, 0);
	VhnswElement *unreached;
	int			n = 0;
	bool		complete = true;

	for (int i = 0; i < walk->layout.slots_per_page && complete; i++)
		complete = VhnswGetBit(walk->reached, first + i);
	if (complete || !VhnswWalkReadPage(walk, blkno))
		return 0;

	unreached = palloc_array(VhnswElement, walk->layout.slots_per_page);
	for (int i = 0; i < walk->layout.slots_per_page; i++)
	{
		VhnswSlot	slot = VhnswPageGetSlot(&walk->layout, walk->page.data,
											i);

		if (!VhnswGetBit(walk->reached, first + i) &&
			(slot->flags & VHNSW_SLOT_LIVE))
			unreached[n++] = first + i;
	}
	for (int i = 0; i < n; i++)
	{
		relink(cleanup, unreached[i]);
		VhnswSetBit(walk->reached, unreached[i]);
	}
	pfree(unreached);
	return n;
}

/*
 * Make a reached element list an unreached one.  If others keep changing the
 * lists concerned, it is left to the next vacuum.
 */
static void
relink(Cleanup *cleanup, VhnswElement element)
{
	for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++)
	{
		VhnswElement host = choose_host(cleanup, element);

		if (host == VHNSW_NO_ELEMENT ||
			VhnswGiveLink(cleanup->index, &cleanup->layout, host, element,
						  false))
			return;
	}
}

/*
 * The nearest reached live element that 'element' lists, or else the nearest
 * entry.
 */
static VhnswElement
choose_host(Cleanup *cleanup, VhnswElement element)
{
	VhnswLayout *layout = &cleanup->layout;
	VhnswElement host = VHNSW_NO_ELEMENT;
	float		nearest = 0;
	const VhnswCache *cache;

	if (!VhnswWalkReadSlot(cleanup->walk, element, cleanup->slot))
		return VHNSW_NO_ELEMENT;
	VhnswSlotCopyCode(layout, cleanup->slot, cleanup->code);
	for (int i = 0; i < VhnswSlotNeighborCount(layout, cleanup->slot); i++)
	{
		VhnswElement neighbor = cleanup->slot->neighbors[i];
		float		distance;

		if (!VhnswWalkCovers(cleanup->walk, neighbor) ||
			!VhnswGetBit(cleanup->walk->reached, neighbor) ||
			!VhnswWalkReadSlot(cleanup->walk, neighbor,
							   cleanup->other_slot) ||
			(cleanup->other_slot->flags & VHNSW_SLOT_LIVE) == 0)
			continue;
		VhnswSlotCopyCode(layout, cleanup->other_slot, cleanup->other_code);
		distance = VhnswCodeDistance(layout, cleanup->code, cleanup->other_code);
		if (host == VHNSW_NO_ELEMENT || distance < nearest)
		{
			host = neighbor;
			nearest = distance;
		}
	}
	if (host != VHNSW_NO_ELEMENT)
		return host;

	cache = VhnswGetCache(cleanup->index);
	for (uint32 i = 0; i < cache->nentries; i++)
	{
		VhnswEntry	entry = VhnswCacheGetEntry(cache, i);
		float		distance =
		VhnswCodeDistance(layout, cleanup->code,
						  VhnswEntryGetCode(entry));

		if (entry->element != element &&
			(host == VHNSW_NO_ELEMENT || distance < nearest))
		{
			host = entry->element;
			nearest = distance;
		}
	}
	return host;
}

/* ----------------------------------------------------------------
 * Freeing places
 * ----------------------------------------------------------------
 */

/* Free the noted tombstones: no live element lists them any more. */
static void
free_tombstones(Cleanup *cleanup)
{
	VhnswWalk  *walk = cleanup->walk;

	for (BlockNumber blkno = 1; blkno < walk->nblocks; blkno++)
	{
		VhnswElement first = VhnswMakeElement(&walk->layout, blkno, 0);

		for (int i = 0; i < walk->layout.slots_per_page; i++)
		{
			if (is_noted(cleanup, first + i))
			{
				free_on_page(cleanup, blkno);
				break;
			}
		}
	}
}

/*
 * Free the noted tombstones of a page; one record.  Readers that hold their
 * numbers notice the new version.
 */
static void
free_on_page(Cleanup *cleanup, BlockNumber blkno)
{
	VhnswLayout *layout = &cleanup->layout;
	Buffer		buffer;
	Page		page;
	VhnswChange change;
	int			nfree = 0;

	VacuumDelayPoint();
	buffer = VhnswGetPage(cleanup->index, blkno, VHNSW_PAGE_ELEMENT,
						  BUFFER_LOCK_EXCLUSIVE);
	VhnswChangeBegin(&change, cleanup->index, false);
	page = VhnswChangePage(&change, buffer);
	for (int i = 0; i < layout->slots_per_page; i++)
	{
		VhnswSlot	slot = VhnswPageGetSlot(layout, page, i);

		if (is_noted(cleanup, VhnswMakeElement(layout, blkno, i)) &&
			(slot->flags & VHNSW_SLOT_TOMBSTONE))
		{
			slot->flags = 0;
			slot->version++;
			slot->nneighbors = 0;
			cleanup->nfree++;
		}
		if (slot->flags == 0)
			nfree++;
	}
	VhnswChangeEnd(&change);
	VhnswReleasePage(buffer);
	VhnswRecordFreeSlots(cleanup->index, blkno, nfree);
	VD_DEBUG_POINT("vhnsw-vacuum-free");
}

/*
 * All tombstones are gone: clear the flag, and write down the counts for the
 * planner.
 */
static void
finish_metapage(Cleanup *cleanup)
{
	Buffer		buffer = VhnswGetPage(cleanup->index, VHNSW_META_BLKNO,
									  VHNSW_PAGE_META, BUFFER_LOCK_EXCLUSIVE);
	VhnswMetaPage meta;
	VhnswChange change;

	VhnswChangeBegin(&change, cleanup->index, false);
	meta = VhnswPageGetMeta(VhnswChangePage(&change, buffer));
	meta->flags &= ~VHNSW_META_TOMBSTONES;
	meta->elements = cleanup->nlive;
	meta->tombstones = 0;
	meta->free_slots = cleanup->nfree;
	VhnswChangeEnd(&change);
	VhnswReleasePage(buffer);
}
