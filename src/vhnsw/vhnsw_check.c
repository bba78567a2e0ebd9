/*-------------------------------------------------------------------------
 *
 * vhnsw_check.c
 *	  Read a whole index and report every violated invariant.
 *
 * The invariants have their numbers from README.  vhnsw_check() holds no lock
 * beyond AccessShareLock, so that it works on a standby and beside writers.
 * What is wrong on one page is wrong.  What is wrong between two pages may
 * only have changed between two reads: it is read again, and reported if the
 * first page then still says the same (see confirm_link()) or if it stays the
 * same over several attempts (lists of TID cells).
 *
 * Severity "damage" is a violated invariant: REINDEX.  "incomplete" is what a
 * crash may leave, a vacuum mends and searches can live with.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vecdist_debug.h"
#include "vhnsw/vhnsw_check.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_walk.h"

VECDIST_FUNCTION_INFO_V1(vhnsw_check);

static void check_metapage(VhnswCheck *check);
static void check_pages(VhnswCheck *check);
static void check_page_header(VhnswCheck *check, BlockNumber blkno);
static int	expected_lower(const VhnswLayout *layout, VhnswPageKind kind);
static void check_slot(VhnswCheck *check, BlockNumber blkno, int slotno);
static bool code_is_sane(const VhnswLayout *layout, VhnswSlot slot);
static void check_links(VhnswCheck *check);
static void check_list(VhnswCheck *check, VhnswElement element,
					   VhnswSlot slot);
static bool confirm_link(VhnswCheck *check, VhnswElement element,
						 VhnswElement neighbor);
static void check_entries(VhnswCheck *check);
static bool entry_matches(VhnswCheck *check, VhnswEntry entry);
static void check_reachability(VhnswCheck *check);

/*
 * vhnsw_check(index regclass, heap boolean)
 *		One row for every violation; none if all is well.
 *
 * With 'heap' every row that the snapshot sees is looked up in the index, its
 * code and bounds are verified, and all sketches.
 */
Datum
vhnsw_check(PG_FUNCTION_ARGS)
{
	Relation	heap;
	Relation	index = VhnswOpenForInspection(PG_GETARG_OID(0), &heap);
	bool		with_heap = PG_GETARG_BOOL(1);
	VhnswCheck *check;
	Snapshot	snapshot = NULL;

	InitMaterializedSRF(fcinfo, 0);

	/* Before the index is read: what it sees is then in the index. */
	if (with_heap)
		snapshot = VhnswCheckSnapshot(index);

	check = palloc0_object(VhnswCheck);
	check->index = index;
	check->heap = heap;
	check->result = (ReturnSetInfo *) fcinfo->resultinfo;
	check->layout = VhnswGetCache(index)->layout;
	check->walk = VhnswWalkCreate(index, &check->layout,
								  GetAccessStrategy(BAS_BULKREAD));
	check->slot = palloc(check->layout.slot_size);
	check->used = VhnswWalkMakeBits(check->walk);
	VhnswCheckTidsBegin(check);

	check_metapage(check);
	check_pages(check);
	check_links(check);
	VhnswCheckTidLists(check);
	check_entries(check);
	check_reachability(check);
	VhnswCheckDuplicateTids(check);
	if (with_heap)
	{
		VhnswCheckEdges(check);
		VhnswCheckHeap(check, snapshot);
	}

	VhnswCloseAfterInspection(index, heap);
	return (Datum) 0;
}

/* Like VhnswCheckReport(), for damage at an element. */
static void
report_element(VhnswCheck *check, const char *invariant, VhnswElement element,
			   const char *message)
{
	VhnswCheckReport(check, VHNSW_DAMAGE, invariant,
					 VhnswElementBlock(&check->layout, element),
					 VhnswElementSlot(&check->layout, element),
					 "%s", message);
}

/* ----------------------------------------------------------------
 * One page at a time
 * ----------------------------------------------------------------
 */

/*
 * What the metapage says beyond what VhnswGetCache() insists on, which raises
 * an error for it.
 */
static void
check_metapage(VhnswCheck *check)
{
	VhnswMetaPageData meta = VhnswGetCache(check->index)->meta;

	if (meta.unused != 0 || meta.unused2 != 0 || meta.pending_head != 0 ||
		meta.pending_tail != 0 || meta.pending_count != 0 ||
		meta.filter_format != 0)
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, VHNSW_META_BLKNO, -1,
						 "a reserved field of the metapage is not zero");
	if (meta.flags & ~VHNSW_META_TOMBSTONES)
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, VHNSW_META_BLKNO, -1,
						 "the metapage has unexpected flags %08X", meta.flags);
	if (!isfinite(meta.elements) || meta.elements < 0 ||
		!isfinite(meta.tombstones) || meta.tombstones < 0 ||
		!isfinite(meta.free_slots) || meta.free_slots < 0)
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, VHNSW_META_BLKNO, -1,
						 "the planner's counts are not valid");
	if (!(meta.list_recall >= 0 && meta.list_recall <= 1))
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, VHNSW_META_BLKNO, -1,
						 "the recall of the build's lists is not valid");
	if (!(meta.searches_found >= 0 && meta.searches_found <= 1 &&
		  meta.weak_searches_found >= 0 && meta.weak_searches_found <= 1))
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, VHNSW_META_BLKNO, -1,
						 "the share of searches that find is not valid");
	if (meta.build_kind > VHNSW_BUILT_BY_SEARCH || meta.unused3 != 0 ||
		!isfinite(meta.build_inserted) || meta.build_inserted < 0 ||
		!isfinite(meta.build_seconds) || meta.build_seconds < 0)
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, VHNSW_META_BLKNO, -1,
						 "what is said about the build is not valid");
	if (!(meta.edge_energy >= 0 && meta.edge_energy <= 1) ||
		(meta.edge_dims == 0 && meta.pca_block != 0))
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, VHNSW_META_BLKNO, -1,
						 "what is said about sketches is not valid");
}

/* First pass: each page by itself. */
static void
check_pages(VhnswCheck *check)
{
	for (BlockNumber blkno = 0; blkno < check->walk->nblocks; blkno++)
	{
		Buffer		buffer;
		Page		page = check->page.data;

		CHECK_FOR_INTERRUPTS();
		VD_DEBUG_POINT("vhnsw-check-page");
		buffer = VhnswGetPageWithStrategy(check->index, blkno,
										  BUFFER_LOCK_SHARE,
										  check->walk->strategy);
		memcpy(page, BufferGetPage(buffer), BLCKSZ);
		VhnswReleasePage(buffer);

		/* A new page is what a crash may leave; vacuum offers it to inserts. */
		if (PageIsNew(page))
			continue;
		if (!VhnswPageIsOurs(page))
		{
			VhnswCheckReport(check, VHNSW_DAMAGE, "I1", blkno, -1,
							 "the page is not one of a vhnsw index");
			check->unreadable = true;
			continue;
		}
		check_page_header(check, blkno);
		if (VhnswPageIsKind(page, VHNSW_PAGE_ELEMENT))
		{
			for (int i = 0; i < check->layout.slots_per_page; i++)
				check_slot(check, blkno, i);
		}
		else if (VhnswPageIsKind(page, VHNSW_PAGE_TIDS))
			VhnswCheckCells(check, blkno);
	}

	/* The flag was set first, and is read last. */
	if (check->ntombstones > 0 &&
		(VhnswGetCache(check->index)->meta.flags & VHNSW_META_TOMBSTONES) == 0)
	{
		/* Vacuum may have freed them all since. */
		if (VhnswWalkReadSlot(check->walk, check->some_tombstone,
							  check->slot) &&
			(check->slot->flags & VHNSW_SLOT_TOMBSTONE))
			report_element(check, "I10", check->some_tombstone,
						   "there are tombstones, and the metapage does not say so");
	}
}

static void
check_page_header(VhnswCheck *check, BlockNumber blkno)
{
	Page		page = check->page.data;
	VhnswPageOpaque opaque = VhnswPageGetOpaque(page);

	if ((opaque->kind == VHNSW_PAGE_META) != (blkno == VHNSW_META_BLKNO))
		VhnswCheckReport(check, VHNSW_DAMAGE, "I1", blkno, -1,
						 "the page is of kind %d, which cannot stand here",
						 opaque->kind);
	if (((PageHeader) page)->pd_lower !=
		expected_lower(&check->layout, opaque->kind))
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, blkno, -1,
						 "pd_lower is %d, which is wrong for a page of kind %d",
						 ((PageHeader) page)->pd_lower, opaque->kind);
	if (opaque->unused1 != 0 || opaque->unused2 != 0 || opaque->unused3 != 0 ||
		(opaque->flags & ~VHNSW_PAGE_HAS_FREE_CELLS) != 0 ||
		(opaque->flags != 0 && opaque->kind != VHNSW_PAGE_TIDS))
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, blkno, -1,
						 "the special area has unexpected contents");
	if (opaque->next >= check->walk->nblocks &&
		opaque->next >= RelationGetNumberOfBlocks(check->index))
		VhnswCheckReport(check, VHNSW_DAMAGE, NULL, blkno, -1,
						 "the next page of the chain, %u, does not exist",
						 opaque->next);
}

/* Where the contents of a page end, see VhnswInitPage(). */
static int
expected_lower(const VhnswLayout *layout, VhnswPageKind kind)
{
	PGAlignedBlock page;

	VhnswInitPage(page.data, kind, layout);
	return ((PageHeader) page.data)->pd_lower;
}

/* A slot by itself. */
static void
check_slot(VhnswCheck *check, BlockNumber blkno, int slotno)
{
	VhnswSlot	slot = VhnswPageGetSlot(&check->layout, check->page.data,
										slotno);
	VhnswElement element = VhnswMakeElement(&check->layout, blkno, slotno);
	bool		has_tid = ItemPointerIsValid(&slot->heaptid);
	bool		has_list = ItemPointerIsValid(&slot->tids);

	if (slot->flags == 0)
		return;
	VhnswSetBit(check->used, element);
	if (slot->flags != VHNSW_SLOT_LIVE && slot->flags != VHNSW_SLOT_TOMBSTONE)
	{
		report_element(check, "I2", element,
					   "the slot is neither free, live nor a tombstone");
		return;
	}
	if (slot->nneighbors > check->layout.degree)
		report_element(check, "I3", element,
					   "the neighbor list is longer than the degree");
	if (!code_is_sane(&check->layout, slot))
		report_element(check, "I2", element,
					   "the code cannot be that of a vector");

	if (slot->flags == VHNSW_SLOT_TOMBSTONE)
	{
		check->ntombstones++;
		check->some_tombstone = element;
		if (has_tid || has_list)
			report_element(check, "I4", element,
						   "a tombstone has heap TIDs");
		return;
	}
	check->nlive++;
	if (!has_tid && !has_list)
		report_element(check, "I4", element,
					   "a live element has no heap TID");
	if (has_tid)
		VhnswCheckAddTid(check, &slot->heaptid, element);
}

/* Could VhnswEncode() have made this? */
static bool
code_is_sane(const VhnswLayout *layout, VhnswSlot slot)
{
	if (!isfinite(slot->scale) || slot->scale < 0 ||
		!isfinite(slot->norm) || slot->norm < 0 ||
		!isfinite(slot->residual) || slot->residual < 0)
		return false;
	return layout->coder->is_sane(layout, VhnswSlotView(layout, slot));
}

/* ----------------------------------------------------------------
 * Links between elements
 * ----------------------------------------------------------------
 */

/* Second pass: what the lists of live elements name. */
static void
check_links(VhnswCheck *check)
{
	VhnswElement element = VHNSW_NO_ELEMENT;
	VhnswSlot	slot;

	if (check->unreadable)
		return;
	while ((slot = VhnswWalkNext(check->walk, &element)) != NULL)
	{
		if (slot->flags & VHNSW_SLOT_LIVE)
			check_list(check, element, slot);
	}
}

static void
check_list(VhnswCheck *check, VhnswElement element, VhnswSlot slot)
{
	int			n = VhnswSlotNeighborCount(&check->layout, slot);

	VD_DEBUG_POINT("vhnsw-check-list");
	for (int i = 0; i < n; i++)
	{
		VhnswElement neighbor = slot->neighbors[i];

		if (neighbor == element)
			report_element(check, "I3", element,
						   "an element lists itself");
		for (int j = 0; j < i; j++)
		{
			if (slot->neighbors[j] == neighbor)
				report_element(check, "I3", element,
							   "an element lists a neighbor twice");
		}

		/* Places beyond the end we saw are those of later inserts. */
		if (neighbor >= check->walk->nplaces &&
			VhnswElementBlock(&check->layout, neighbor) <
			RelationGetNumberOfBlocks(check->index))
			continue;
		if ((!VhnswWalkCovers(check->walk, neighbor) ||
			 !VhnswGetBit(check->used, neighbor)) &&
			confirm_link(check, element, neighbor))
			report_element(check, "I3", element,
						   "a neighbor is no element");
	}
	for (int i = n; i < check->layout.degree; i++)
	{
		if (slot->neighbors[i] != VHNSW_NO_ELEMENT)
		{
			report_element(check, "I3", element,
						   "the neighbor list is not zero beyond its end");
			break;
		}
	}
}

/* Does this live element list that neighbor now? */
static bool
lists_neighbor(VhnswCheck *check, VhnswElement element,
			   VhnswElement neighbor)
{
	if (!VhnswWalkReadSlot(check->walk, element, check->slot) ||
		(check->slot->flags & VHNSW_SLOT_LIVE) == 0)
		return false;
	for (int i = 0; i < VhnswSlotNeighborCount(&check->layout, check->slot); i++)
	{
		if (check->slot->neighbors[i] == neighbor)
			return true;
	}
	return false;
}

/*
 * Does a live element really list a place without an element?  It does if the
 * place is free while the list names it before and after.
 */
static bool
confirm_link(VhnswCheck *check, VhnswElement element, VhnswElement neighbor)
{
	return lists_neighbor(check, element, neighbor) &&
		!VhnswWalkReadSlot(check->walk, neighbor, check->slot) &&
		lists_neighbor(check, element, neighbor);
}

/* ----------------------------------------------------------------
 * Entries and reachability
 * ----------------------------------------------------------------
 */

/* Entries must equal the elements they name. */
static void
check_entries(VhnswCheck *check)
{
	const VhnswCache *cache = VhnswGetCache(check->index);

	if (cache->nentries != cache->meta.entry_count)
		VhnswCheckReport(check, VHNSW_DAMAGE, "I7", VHNSW_META_BLKNO, -1,
						 "the metapage counts %u entries, and the chain has room for %u",
						 cache->meta.entry_count, cache->nentries);
	if (cache->meta.entry_count == 0 && check->nlive > 0)
		VhnswCheckReport(check, VHNSW_INCOMPLETE, "I7", VHNSW_META_BLKNO, -1,
						 "there are elements and no entries");

	for (uint32 i = 0; i < cache->nentries; i++)
	{
		uint32		generation = cache->meta.generation;
		VhnswElement element;

		if (entry_matches(check, VhnswCacheGetEntry(cache, i)))
			continue;

		/* If entries have changed meanwhile, look at the new ones. */
		element = VhnswCacheGetEntry(cache, i)->element;
		cache = VhnswGetCache(check->index);
		if (cache->meta.generation != generation)
		{
			i = -1;
			continue;
		}
		VhnswCheckReport(check, VHNSW_DAMAGE, "I7", VHNSW_META_BLKNO, -1,
						 "entry %u does not equal element %u", i, element);
	}
}

static bool
entry_matches(VhnswCheck *check, VhnswEntry entry)
{
	VhnswSlot	slot = check->slot;

	CHECK_FOR_INTERRUPTS();
	if (!VhnswWalkCovers(check->walk, entry->element) &&
		VhnswElementBlock(&check->layout, entry->element) <
		RelationGetNumberOfBlocks(check->index) &&
		VhnswElementBlock(&check->layout, entry->element) > 0)
		return true;			/* added since we began */
	return VhnswWalkReadSlot(check->walk, entry->element, slot) &&
		slot->version == entry->version &&
		VhnswSlotHasCode(&check->layout, slot, VhnswEntryGetCode(entry));
}

/* Count what only the sweep finds.  Not damage: see README, I9. */
static void
check_reachability(VhnswCheck *check)
{
	int64		unreachable;

	if (check->unreadable)
		return;
	unreachable = VhnswCountUnreachable(check->walk);
	if (unreachable > 0)
		VhnswCheckReport(check, VHNSW_INCOMPLETE, "I9", InvalidBlockNumber, -1,
						 INT64_FORMAT " of " INT64_FORMAT " elements cannot be reached through the graph",
						 unreachable, check->nlive);
}
