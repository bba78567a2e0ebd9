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
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_check.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_tids.h"
#include "vhnsw/vhnsw_walk.h"

VECDIST_FUNCTION_INFO_V1(vhnsw_check);

#define REPORT_COLUMNS 5

/* How often a list of TID cells is read before what is wrong counts. */
#define LIST_ATTEMPTS 5

static void check_metapage(VhnswCheck *check);
static void check_pages(VhnswCheck *check);
static void check_page_header(VhnswCheck *check, BlockNumber blkno);
static int	expected_lower(const VhnswLayout *layout, VhnswPageKind kind);
static void check_slot(VhnswCheck *check, BlockNumber blkno, int slotno);
static bool code_is_sane(const VhnswLayout *layout, VhnswSlot slot);
static void check_cells(VhnswCheck *check, BlockNumber blkno);
static void check_links(VhnswCheck *check);
static void check_list(VhnswCheck *check, VhnswElement element,
					   VhnswSlot slot);
static bool confirm_link(VhnswCheck *check, VhnswElement element,
						 VhnswElement neighbor);
static void check_tid_lists(VhnswCheck *check);
static void check_tid_list(VhnswCheck *check, uint32 owner);
static const char *walk_tid_list(VhnswCheck *check, uint32 owner,
								 BlockNumber *blkno, int *item);
static bool read_list_head(VhnswCheck *check, uint32 owner, uint8 *version,
						   ItemPointer head);
static void check_orphan_cells(VhnswCheck *check);
static void check_free_cells(VhnswCheck *check);
static const char *walk_free_cells(VhnswCheck *check, uint8 *on_list,
								   BlockNumber *blkno);
static void check_entries(VhnswCheck *check);
static bool entry_matches(VhnswCheck *check, VhnswEntry entry);
static void check_reachability(VhnswCheck *check);
static void check_duplicate_tids(VhnswCheck *check);

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
	check->ncells = (uint64) check->walk->nblocks * (VHNSW_CELLS_PER_PAGE + 1);
	check->cells = palloc_extended(check->ncells / 8 + 1,
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	check->listed = palloc_extended(check->ncells / 8 + 1,
									MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	check->has_free_cells = palloc_extended(check->walk->nblocks / 8 + 1,
											MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	check_metapage(check);
	check_pages(check);
	check_links(check);
	check_tid_lists(check);
	check_orphan_cells(check);
	check_free_cells(check);
	check_entries(check);
	check_reachability(check);
	check_duplicate_tids(check);
	if (with_heap)
	{
		VhnswCheckEdges(check);
		VhnswCheckHeap(check, snapshot);
	}

	VhnswCloseAfterInspection(index, heap);
	return (Datum) 0;
}

/*
 * VhnswCheckReport
 *		Add a row to the result.
 *
 * 'severity' is VHNSW_DAMAGE or VHNSW_INCOMPLETE, 'item' a slot or cell, or -1
 * if the finding is about the whole block, which may be InvalidBlockNumber.
 */
void
VhnswCheckReport(VhnswCheck *check, const char *severity,
				 const char *invariant, BlockNumber blkno, int item,
				 const char *format,...)
{
	Datum		values[REPORT_COLUMNS];
	bool		nulls[REPORT_COLUMNS] = {false};
	va_list		args;
	char		message[256];

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);

	values[0] = CStringGetTextDatum(severity);
	nulls[1] = invariant == NULL;
	values[1] = invariant ? CStringGetTextDatum(invariant) : (Datum) 0;
	nulls[2] = blkno == InvalidBlockNumber;
	values[2] = Int64GetDatum(blkno);
	nulls[3] = item < 0;
	values[3] = Int32GetDatum(item);
	values[4] = CStringGetTextDatum(message);
	tuplestore_putvalues(check->result->setResult, check->result->setDesc,
						 values, nulls);
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
			check_cells(check, blkno);
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

/* The number of a cell among all places for one. */
static uint64
cell_number(BlockNumber blkno, int item)
{
	return (uint64) blkno * (VHNSW_CELLS_PER_PAGE + 1) + item;
}

static bool
get_cell_bit(const uint8 *bits, uint64 cell)
{
	return (bits[cell / 8] >> (cell % 8)) & 1;
}

static void
set_cell_bit(uint8 *bits, uint64 cell)
{
	bits[cell / 8] |= 1 << (cell % 8);
}

static bool
owner_is_outside(uint32 owner)
{
	return owner > VhnswOutsideOwner(VHNSW_OUTSIDE_LISTS);
}

/* The cells of a TID page by themselves. */
static void
check_cells(VhnswCheck *check, BlockNumber blkno)
{
	Page		page = check->page.data;
	bool		flagged = (VhnswPageGetOpaque(page)->flags &
						   VHNSW_PAGE_HAS_FREE_CELLS) != 0;
	bool		has_free = false;

	for (int i = 1; i <= VHNSW_CELLS_PER_PAGE; i++)
	{
		VhnswCell	cell = VhnswPageGetCell(page, i);

		if (cell->owner == 0)
		{
			has_free = true;
			if (cell->ntids != 0)
				VhnswCheckReport(check, VHNSW_DAMAGE, "I5", blkno, i,
								 "a free cell has heap TIDs");
			continue;
		}
		set_cell_bit(check->cells, cell_number(blkno, i));
		if (cell->ntids < 1 || cell->ntids > VHNSW_TIDS_PER_CELL)
			VhnswCheckReport(check, VHNSW_DAMAGE, "I5", blkno, i,
							 "the cell has %d heap TIDs", cell->ntids);
		for (int j = 0; j < Min(cell->ntids, VHNSW_TIDS_PER_CELL); j++)
		{
			if (ItemPointerIsValid(&cell->tids[j]))
				VhnswCheckAddTid(check, &cell->tids[j], cell->owner);
			else
				VhnswCheckReport(check, VHNSW_DAMAGE, "I5", blkno, i,
								 "heap TID %d of the cell is not valid", j);
		}
	}
	if (flagged)
		set_cell_bit(check->has_free_cells, blkno);
	if (flagged != has_free)
		VhnswCheckReport(check, VHNSW_DAMAGE, "I5", blkno, -1,
						 has_free ? "the page has free cells, and its flag is not set" :
						 "the page has no free cell, and its flag is set");
}

/* ----------------------------------------------------------------
 * Links between elements
 * ----------------------------------------------------------------
 */

/* Second pass: what the lists of live elements name. */
static void
check_links(VhnswCheck *check)
{
	VhnswWalk  *walk = check->walk;

	if (check->unreadable)
		return;
	for (BlockNumber blkno = 1; blkno < walk->nblocks; blkno++)
	{
		if (!VhnswWalkReadPage(walk, blkno))
			continue;
		for (int i = 0; i < walk->layout.slots_per_page; i++)
		{
			VhnswSlot	slot = VhnswPageGetSlot(&walk->layout,
												walk->page.data, i);

			if (slot->flags & VHNSW_SLOT_LIVE)
				check_list(check, VhnswMakeElement(&walk->layout, blkno, i),
						   slot);
		}
	}
}

static void
check_list(VhnswCheck *check, VhnswElement element, VhnswSlot slot)
{
	int			n = VhnswSlotNeighborCount(&check->layout, slot);

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
 * TID lists
 * ----------------------------------------------------------------
 */

/* Follow every list of TID cells. */
static void
check_tid_lists(VhnswCheck *check)
{
	VhnswWalk  *walk = check->walk;

	for (int list = 0; list < VHNSW_OUTSIDE_LISTS; list++)
		check_tid_list(check, VhnswOutsideOwner(list));
	if (check->unreadable)
		return;
	for (BlockNumber blkno = 1; blkno < walk->nblocks; blkno++)
	{
		if (!VhnswWalkReadPage(walk, blkno))
			continue;
		for (int i = 0; i < walk->layout.slots_per_page; i++)
		{
			VhnswSlot	slot = VhnswPageGetSlot(&walk->layout,
												walk->page.data, i);

			if ((slot->flags & VHNSW_SLOT_LIVE) &&
				ItemPointerIsValid(&slot->tids))
				check_tid_list(check, VhnswMakeElement(&walk->layout, blkno, i));
		}
	}
}

/* Follow one list, several times if need be; then report what is wrong. */
static void
check_tid_list(VhnswCheck *check, uint32 owner)
{
	const char *problem = NULL;
	BlockNumber blkno = InvalidBlockNumber;
	int			item = -1;

	for (int attempt = 0; attempt < LIST_ATTEMPTS; attempt++)
	{
		CHECK_FOR_INTERRUPTS();
		problem = walk_tid_list(check, owner, &blkno, &item);
		if (problem == NULL)
			return;
	}
	VhnswCheckReport(check, VHNSW_DAMAGE, "I5", blkno, item, "%s", problem);
}

/*
 * Follow the list of an owner, and mark its cells as listed.  Returns what is
 * wrong, and where, or NULL; also if the owner has gone.
 */
static const char *
walk_tid_list(VhnswCheck *check, uint32 owner, BlockNumber *blkno, int *item)
{
	ItemPointerData next;
	uint64		last_sequence = PG_UINT64_MAX;
	uint8		version;

	if (!read_list_head(check, owner, &version, &next))
		return NULL;
	while (ItemPointerIsValid(&next))
	{
		Buffer		buffer;
		VhnswCellData cell;
		bool		is_tid_page;

		CHECK_FOR_INTERRUPTS();
		*blkno = ItemPointerGetBlockNumber(&next);
		*item = ItemPointerGetOffsetNumber(&next);
		if (*item > VHNSW_CELLS_PER_PAGE)
			return "a TID list leads to a cell that no page has";
		if (*blkno >= RelationGetNumberOfBlocks(check->index))
			return "a TID list leads to a page that does not exist";
		buffer = VhnswGetAnyPage(check->index, *blkno, BUFFER_LOCK_SHARE);
		is_tid_page = VhnswPageIsKind(BufferGetPage(buffer), VHNSW_PAGE_TIDS);
		if (is_tid_page)
			cell = *VhnswPageGetCell(BufferGetPage(buffer), *item);
		VhnswReleasePage(buffer);

		if (!is_tid_page)
			return "a TID list leads to a page of another kind";
		if (cell.owner != owner || cell.version != version)
			return "a TID list leads to a cell of another owner";
		if (cell.sequence >= last_sequence)
			return "sequence numbers do not fall along a TID list";
		last_sequence = cell.sequence;
		if (*blkno < check->walk->nblocks)
			set_cell_bit(check->listed, cell_number(*blkno, *item));
		next = cell.next;
	}
	return NULL;
}

/* Where the list of an owner begins; false if there is no such owner. */
static bool
read_list_head(VhnswCheck *check, uint32 owner, uint8 *version,
			   ItemPointer head)
{
	if (owner_is_outside(owner))
	{
		const VhnswCache *cache = VhnswGetCache(check->index);

		*version = 0;
		*head = cache->meta.outside[VhnswOutsideOwner(0) - owner];
		return true;
	}
	if (!VhnswWalkReadSlot(check->walk, owner, check->slot) ||
		(check->slot->flags & VHNSW_SLOT_LIVE) == 0)
		return false;
	*version = check->slot->version;
	*head = check->slot->tids;
	return true;
}

/* Cells that have an owner must be on its list. */
static void
check_orphan_cells(VhnswCheck *check)
{
	for (uint64 number = 0; number < check->ncells; number++)
	{
		BlockNumber blkno = number / (VHNSW_CELLS_PER_PAGE + 1);
		int			item = number % (VHNSW_CELLS_PER_PAGE + 1);
		Buffer		buffer;
		uint32		owner = 0;
		BlockNumber problem_blkno;
		int			problem_item;

		if (get_cell_bit(check->cells, number) ==
			get_cell_bit(check->listed, number))
			continue;

		/* Its list has changed since, or it is lost.  Look again. */
		CHECK_FOR_INTERRUPTS();
		buffer = VhnswGetAnyPage(check->index, blkno, BUFFER_LOCK_SHARE);
		if (VhnswPageIsKind(BufferGetPage(buffer), VHNSW_PAGE_TIDS))
			owner = VhnswPageGetCell(BufferGetPage(buffer), item)->owner;
		VhnswReleasePage(buffer);
		if (owner == 0 || get_cell_bit(check->listed, number) ||
			(!owner_is_outside(owner) &&
			 !VhnswWalkCovers(check->walk, owner)))
			continue;
		if (walk_tid_list(check, owner, &problem_blkno,
						  &problem_item) != NULL ||
			get_cell_bit(check->listed, number))
			continue;
		buffer = VhnswGetAnyPage(check->index, blkno, BUFFER_LOCK_SHARE);
		if (VhnswPageIsKind(BufferGetPage(buffer), VHNSW_PAGE_TIDS) &&
			VhnswPageGetCell(BufferGetPage(buffer), item)->owner == owner)
			VhnswCheckReport(check, VHNSW_DAMAGE, "I5", blkno, item,
							 "the cell is not on the TID list of its owner %u",
							 owner);
		VhnswReleasePage(buffer);
	}
}

/* Follow the list of TID pages with free cells, several times if need be. */
static void
check_free_cells(VhnswCheck *check)
{
	const char *problem = NULL;
	BlockNumber blkno = VHNSW_META_BLKNO;
	uint8	   *on_list = palloc_extended(check->walk->nblocks / 8 + 1,
										  MCXT_ALLOC_HUGE);

	for (int attempt = 0; attempt < LIST_ATTEMPTS; attempt++)
	{
		memset(on_list, 0, check->walk->nblocks / 8 + 1);
		problem = walk_free_cells(check, on_list, &blkno);
		if (problem == NULL)
			break;
	}
	if (problem)
		VhnswCheckReport(check, VHNSW_DAMAGE, "I5", blkno, -1, "%s", problem);
	else
	{
		for (blkno = 1; blkno < check->walk->nblocks; blkno++)
		{
			BlockNumber problem_blkno;
			Buffer		buffer;
			bool		flagged;

			if (!get_cell_bit(check->has_free_cells, blkno) ||
				get_cell_bit(on_list, blkno))
				continue;

			/* It may have been filled since. */
			buffer = VhnswGetAnyPage(check->index, blkno, BUFFER_LOCK_SHARE);
			flagged = VhnswPageIsKind(BufferGetPage(buffer), VHNSW_PAGE_TIDS) &&
				(VhnswPageGetOpaque(BufferGetPage(buffer))->flags &
				 VHNSW_PAGE_HAS_FREE_CELLS) != 0;
			VhnswReleasePage(buffer);
			if (flagged &&
				walk_free_cells(check, on_list, &problem_blkno) == NULL &&
				!get_cell_bit(on_list, blkno))
				VhnswCheckReport(check, VHNSW_DAMAGE, "I5", blkno, -1,
								 "the page is not on the list of TID pages with free cells");
		}
	}
	pfree(on_list);
}

/*
 * Mark the pages on the list of TID pages with free cells.  Returns what is
 * wrong, and where, or NULL.
 */
static const char *
walk_free_cells(VhnswCheck *check, uint8 *on_list, BlockNumber *blkno)
{
	BlockNumber current = VhnswGetCache(check->index)->meta.free_cells;
	BlockNumber steps = 0;

	while (current != 0)
	{
		BlockNumber nblocks = RelationGetNumberOfBlocks(check->index);
		Buffer		buffer;
		Page		page;
		BlockNumber next = 0;
		const char *problem = NULL;

		CHECK_FOR_INTERRUPTS();
		if (current >= nblocks || ++steps > nblocks)
		{
			*blkno = current;
			return "the list of TID pages with free cells does not end";
		}
		buffer = VhnswGetAnyPage(check->index, current, BUFFER_LOCK_SHARE);
		page = BufferGetPage(buffer);
		if (!VhnswPageIsKind(page, VHNSW_PAGE_TIDS))
			problem = "the list of TID pages with free cells leads to a page of another kind";
		else if ((VhnswPageGetOpaque(page)->flags & VHNSW_PAGE_HAS_FREE_CELLS) == 0)
			problem = "a page on the list of TID pages with free cells has none";
		else
			next = VhnswPageGetOpaque(page)->next;
		VhnswReleasePage(buffer);
		if (problem)
		{
			*blkno = current;
			return problem;
		}
		if (current < check->walk->nblocks)
			set_cell_bit(on_list, current);
		current = next;
	}
	return NULL;
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

/* ----------------------------------------------------------------
 * Heap TIDs
 * ----------------------------------------------------------------
 */

/* Remember that the index has this TID, and whose it is. */
void
VhnswCheckAddTid(VhnswCheck *check, const ItemPointerData *tid, uint32 owner)
{
	if (check->ntids == check->tids_capacity)
	{
		check->tids_capacity = Max(1024, 2 * check->tids_capacity);
		if (check->tids == NULL)
			check->tids = palloc_array(VhnswOwnedTid, check->tids_capacity);
		else
			check->tids = repalloc_huge(check->tids,
										check->tids_capacity *
										sizeof(VhnswOwnedTid));
	}
	check->tids[check->ntids].tid = *tid;
	check->tids[check->ntids].owner = owner;
	check->ntids++;
}

static int
compare_owned_tids(const void *a, const void *b)
{
	const VhnswOwnedTid *ta = a;
	const VhnswOwnedTid *tb = b;
	int			order = ItemPointerCompare((ItemPointer) &ta->tid,
										   (ItemPointer) &tb->tid);

	if (order != 0)
		return order;
	return ta->owner < tb->owner ? -1 : ta->owner > tb->owner;
}

/* How often does this owner have that TID now? */
static int
count_tid(VhnswCheck *check, uint32 owner, ItemPointer tid)
{
	ItemPointerData next;
	uint8		version;
	int			count = 0;

	if (!read_list_head(check, owner, &version, &next))
		return 0;
	if (!owner_is_outside(owner) &&
		ItemPointerEquals(&check->slot->heaptid, tid))
		count++;
	for (uint64 steps = 0; ItemPointerIsValid(&next) && steps < check->ncells;
		 steps++)
	{
		BlockNumber blkno = ItemPointerGetBlockNumber(&next);
		int			item = ItemPointerGetOffsetNumber(&next);
		Buffer		buffer;
		VhnswCellData cell = {.owner = 0};

		CHECK_FOR_INTERRUPTS();
		if (blkno >= RelationGetNumberOfBlocks(check->index) ||
			item > VHNSW_CELLS_PER_PAGE)
			break;
		buffer = VhnswGetAnyPage(check->index, blkno, BUFFER_LOCK_SHARE);
		if (VhnswPageIsKind(BufferGetPage(buffer), VHNSW_PAGE_TIDS))
			cell = *VhnswPageGetCell(BufferGetPage(buffer), item);
		VhnswReleasePage(buffer);
		if (cell.owner != owner)
			break;
		for (int i = 0; i < Min(cell.ntids, VHNSW_TIDS_PER_CELL); i++)
		{
			if (ItemPointerEquals(&cell.tids[i], tid))
				count++;
		}
		next = cell.next;
	}
	return count;
}

/* Sort what VhnswCheckAddTid() collected; no TID may appear twice. */
static void
check_duplicate_tids(VhnswCheck *check)
{
	if (check->ntids == 0)
		return;
	qsort(check->tids, check->ntids, sizeof(VhnswOwnedTid),
		  compare_owned_tids);
	for (uint64 i = 1; i < check->ntids; i++)
	{
		VhnswOwnedTid *a = &check->tids[i - 1];
		VhnswOwnedTid *b = &check->tids[i];
		int			times = a->owner == b->owner ? 2 : 1;

		if (!ItemPointerEquals(&a->tid, &b->tid))
			continue;

		/* Vacuum and a new row in the old place explain it, unless it stays. */
		if (count_tid(check, a->owner, &a->tid) >= times &&
			count_tid(check, b->owner, &b->tid) >= times &&
			count_tid(check, a->owner, &a->tid) >= times)
			VhnswCheckReport(check, VHNSW_DAMAGE, "I6", InvalidBlockNumber, -1,
							 "heap TID (%u,%u) stands in the index twice, at %u and %u",
							 ItemPointerGetBlockNumber(&a->tid),
							 ItemPointerGetOffsetNumber(&a->tid),
							 a->owner, b->owner);
	}
}

/* What owns a heap TID, or 0; after check_duplicate_tids() has sorted them. */
uint32
VhnswCheckFindTid(VhnswCheck *check, const ItemPointerData *tid)
{
	uint64		low = 0;
	uint64		high = check->ntids;

	while (low < high)
	{
		uint64		middle = low + (high - low) / 2;
		int			order = ItemPointerCompare(&check->tids[middle].tid,
											   (ItemPointer) tid);

		if (order == 0)
			return check->tids[middle].owner;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}
