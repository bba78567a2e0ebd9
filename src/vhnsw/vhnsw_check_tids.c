/*-------------------------------------------------------------------------
 *
 * vhnsw_check_tids.c
 *	  The part of vhnsw_check() that looks at heap TIDs: their cells, the lists
 *	  of these, and whether one stands in two places.
 *
 * A list changes while it is read, so what is wrong with one counts if it is
 * so over several attempts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vecdist_debug.h"
#include "vhnsw/vhnsw_check.h"
#include "vhnsw/vhnsw_meta.h"

/* How often a list of TID cells is read before what is wrong counts. */
#define LIST_ATTEMPTS 5

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
static int	compare_owned_tids(const VhnswOwnedTid *a, const VhnswOwnedTid *b);

#define ST_SORT sort_owned_tids
#define ST_ELEMENT_TYPE VhnswOwnedTid
#define ST_COMPARE(a, b) compare_owned_tids(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* ----------------------------------------------------------------
 * Cells
 * ----------------------------------------------------------------
 */

/* Make room for what the first pass notes of cells; the walk exists. */
void
VhnswCheckTidsBegin(VhnswCheck *check)
{
	check->ncells = (uint64) check->walk->nblocks * (VHNSW_CELLS_PER_PAGE + 1);
	check->cells = palloc_extended(check->ncells / 8 + 1,
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	check->listed = palloc_extended(check->ncells / 8 + 1,
									MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	check->has_free_cells = palloc_extended(check->walk->nblocks / 8 + 1,
											MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
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
void
VhnswCheckCells(VhnswCheck *check, BlockNumber blkno)
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
 * TID lists
 * ----------------------------------------------------------------
 */

/* Every cell that has an owner is on its list, every free one can be found. */
void
VhnswCheckTidLists(VhnswCheck *check)
{
	check_tid_lists(check);
	check_orphan_cells(check);
	check_free_cells(check);
}

/* Follow every list of TID cells. */
static void
check_tid_lists(VhnswCheck *check)
{
	VhnswElement element = VHNSW_NO_ELEMENT;
	VhnswSlot	slot;

	for (int list = 0; list < VHNSW_OUTSIDE_LISTS; list++)
		check_tid_list(check, VhnswOutsideOwner(list));
	if (check->unreadable)
		return;
	while ((slot = VhnswWalkNext(check->walk, &element)) != NULL)
	{
		if ((slot->flags & VHNSW_SLOT_LIVE) && ItemPointerIsValid(&slot->tids))
			check_tid_list(check, element);
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
compare_owned_tids(const VhnswOwnedTid *a, const VhnswOwnedTid *b)
{
	int			order = ItemPointerCompare((ItemPointer) &a->tid,
										   (ItemPointer) &b->tid);

	/* Sorting looks for interrupts as often, about once for a comparison. */
	VD_DEBUG_POINT("vhnsw-check-tid");
	if (order != 0)
		return order;
	return a->owner < b->owner ? -1 : a->owner > b->owner;
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
void
VhnswCheckDuplicateTids(VhnswCheck *check)
{
	if (check->ntids == 0)
		return;
	sort_owned_tids(check->tids, check->ntids);
	for (uint64 i = 1; i < check->ntids; i++)
	{
		VhnswOwnedTid *a = &check->tids[i - 1];
		VhnswOwnedTid *b = &check->tids[i];
		int			times = a->owner == b->owner ? 2 : 1;

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
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

/*
 * What owns a heap TID, or 0; after VhnswCheckDuplicateTids() has sorted them.
 */
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
