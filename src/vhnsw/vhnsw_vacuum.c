/*-------------------------------------------------------------------------
 *
 * vhnsw_vacuum.c
 *	  Remove dead heap TIDs.
 *
 * Bulk deletion asks about every TID and turns elements without TIDs into
 * tombstones, which are still part of the graph until vhnsw_repair.c takes them
 * out of it.  See README, section "Vacuum".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_tids.h"
#include "vhnsw/vhnsw_walk.h"

/* Bulk deletion in progress. */
typedef struct BulkDelete
{
	Relation	index;
	VhnswLayout layout;
	BufferAccessStrategy strategy;
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;
	bool		flag_set;		/* VHNSW_META_TOMBSTONES is */
	bool	   *dead;			/* of a page's slots: the slot's own TID is */
	VhnswElement *with_list;	/* a page's elements with TID lists */
} BulkDelete;

static bool delete_from_page(BulkDelete *bulk, BlockNumber blkno);
static int	examine_slots(BulkDelete *bulk, Page page, BlockNumber blkno,
						  int *ndead, bool *makes_tombstone);
static void remove_slot_tids(BulkDelete *bulk, Buffer buffer);

/*
 * vhnswbulkdelete
 *		Ask the callback about every TID of the index; remove the dead ones.
 *
 * Rows inserted meanwhile are not of interest, so the index's length at the
 * start is enough.
 */
IndexBulkDeleteResult *
vhnswbulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
				IndexBulkDeleteCallback callback, void *callback_state)
{
	Relation	index = info->index;
	const VhnswCache *cache = VhnswGetCache(index);
	BulkDelete	bulk = {.index = index,.layout = cache->layout};
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);

	if (stats == NULL)
		stats = palloc0_object(IndexBulkDeleteResult);
	stats->estimated_count = false;
	stats->num_index_tuples = 0;
	bulk.strategy = info->strategy;
	bulk.stats = stats;
	bulk.callback = callback;
	bulk.callback_state = callback_state;
	bulk.dead = palloc_array(bool, bulk.layout.slots_per_page);
	bulk.with_list = palloc_array(VhnswElement, bulk.layout.slots_per_page);

	for (BlockNumber blkno = 1; blkno < nblocks; blkno++)
	{
		while (!delete_from_page(&bulk, blkno))
		{
			VhnswSetMetaFlag(index, VHNSW_META_TOMBSTONES, true);
			bulk.flag_set = true;
		}
	}
	for (int list = 0; list < VHNSW_OUTSIDE_LISTS; list++)
		VhnswVacuumOutside(index, list, stats, callback, callback_state);

	pfree(bulk.dead);
	pfree(bulk.with_list);
	return stats;
}

/*
 * Remove the dead TIDs of a page's elements, those in their lists included.
 *
 * Returns false, having done nothing, if that would make the first tombstone
 * and the metapage does not say so yet (I10).
 */
static bool
delete_from_page(BulkDelete *bulk, BlockNumber blkno)
{
	Buffer		buffer;
	Page		page;
	int			nlists = 0;
	int			ndead = 0;
	bool		makes_tombstone = false;

	VacuumDelayPoint();
	buffer = VhnswGetPageWithStrategy(bulk->index, blkno,
									  BUFFER_LOCK_EXCLUSIVE, bulk->strategy);
	page = BufferGetPage(buffer);
	if (!PageIsNew(page) && !VhnswPageIsOurs(page))
		VhnswReportCorruption(bulk->index, blkno,
							  "The page is not one of a vhnsw index.");
	if (VhnswPageIsKind(page, VHNSW_PAGE_ELEMENT))
	{
		nlists = examine_slots(bulk, page, blkno, &ndead, &makes_tombstone);
		if (makes_tombstone && !bulk->flag_set)
		{
			VhnswReleasePage(buffer);
			return false;
		}
		if (ndead > 0)
			remove_slot_tids(bulk, buffer);
	}
	VhnswReleasePage(buffer);
	if (ndead > 0)
		VD_DEBUG_POINT("vhnsw-vacuum-tombstones");

	for (int i = 0; i < nlists; i++)
		VhnswVacuumElementTids(bulk->index, &bulk->layout,
							   bulk->with_list[i], bulk->stats,
							   bulk->callback, bulk->callback_state);
	return true;
}

/*
 * Ask about the TIDs in the slots of a locked page.
 *
 * Fills bulk->dead and counts it in *ndead, sets *makes_tombstone if an element
 * will have no TID left, and returns how many elements with lists it put into
 * bulk->with_list.
 */
static int
examine_slots(BulkDelete *bulk, Page page, BlockNumber blkno, int *ndead,
			  bool *makes_tombstone)
{
	int			nlists = 0;
	int			nlive = 0;

	for (int i = 0; i < bulk->layout.slots_per_page; i++)
	{
		VhnswSlot	slot = VhnswPageGetSlot(&bulk->layout, page, i);
		bool		has_list = ItemPointerIsValid(&slot->tids);

		bulk->dead[i] = false;
		if ((slot->flags & VHNSW_SLOT_LIVE) == 0)
			continue;
		if (has_list)
			bulk->with_list[nlists++] =
				VhnswMakeElement(&bulk->layout, blkno, i);
		if (!ItemPointerIsValid(&slot->heaptid))
			continue;
		if (bulk->callback(&slot->heaptid, bulk->callback_state))
		{
			bulk->dead[i] = true;
			(*ndead)++;
			if (!has_list)
				*makes_tombstone = true;
		}
		else
			nlive++;
	}

	/* With tombstones ahead of their flag we come here twice. */
	if (!*makes_tombstone || bulk->flag_set)
	{
		bulk->stats->tuples_removed += *ndead;
		bulk->stats->num_index_tuples += nlive;
	}
	return nlists;
}

/*
 * Remove the TIDs marked in bulk->dead.  One record, complete in itself: an
 * element that has no TID left becomes a tombstone.
 */
static void
remove_slot_tids(BulkDelete *bulk, Buffer buffer)
{
	VhnswChange change;
	Page		page;

	VhnswChangeBegin(&change, bulk->index, false);
	page = VhnswChangePage(&change, buffer);
	for (int i = 0; i < bulk->layout.slots_per_page; i++)
	{
		VhnswSlot	slot = VhnswPageGetSlot(&bulk->layout, page, i);

		if (!bulk->dead[i])
			continue;
		ItemPointerSetInvalid(&slot->heaptid);
		if (!ItemPointerIsValid(&slot->tids))
			slot->flags = VHNSW_SLOT_TOMBSTONE;
	}
	VhnswChangeEnd(&change);
}
