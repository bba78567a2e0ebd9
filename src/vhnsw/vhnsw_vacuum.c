/*-------------------------------------------------------------------------
 *
 * vhnsw_vacuum.c
 *	  Remove dead heap TIDs.
 *
 * See README, section "Vacuum".  Every TID is offered to the callback; an
 * element left without any becomes a tombstone, which stays part of the graph.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_tids.h"

typedef struct VacuumState
{
	IndexVacuumInfo *info;
	Relation	index;
	VhnswLayout layout;
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;
	VhnswElement *with_lists;	/* of one page */
} VacuumState;

static void remove_page_tids(VacuumState *state, BlockNumber blkno);

/* Vacuum callback: remove the TIDs that 'callback' says are dead. */
IndexBulkDeleteResult *
vhnswbulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
				IndexBulkDeleteCallback callback, void *callback_state)
{
	VacuumState state = {.info = info, .index = info->index,
		.callback = callback, .callback_state = callback_state};
	BlockNumber nblocks = RelationGetNumberOfBlocks(info->index);

	if (stats == NULL)
		stats = palloc0_object(IndexBulkDeleteResult);
	state.stats = stats;
	state.layout = VhnswGetCache(info->index)->layout;
	state.with_lists = palloc_array(VhnswElement,
									state.layout.slots_per_page);

	stats->num_index_tuples = 0;
	stats->num_pages = nblocks;
	for (int i = 0; i < VHNSW_OUTSIDE_LISTS; i++)
		VhnswVacuumOutside(info->index, i, stats, callback, callback_state);
	for (BlockNumber blkno = VHNSW_META_BLKNO + 1; blkno < nblocks; blkno++)
		remove_page_tids(&state, blkno);
	return stats;
}

/* Vacuum callback: nothing beyond the numbers. */
IndexBulkDeleteResult *
vhnswvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	return stats;
}

/* Step 1 for one page. */
static void
remove_page_tids(VacuumState *state, BlockNumber blkno)
{
	const VhnswLayout *layout = &state->layout;
	VhnswChange change;
	Buffer		buffer;
	Page		page;
	Page		image = NULL;
	int			nlists = 0;

	vacuum_delay_point();
	buffer = VhnswGetPageWithStrategy(state->index, blkno,
									  BUFFER_LOCK_EXCLUSIVE,
									  state->info->strategy);
	page = BufferGetPage(buffer);
	for (int i = 0;
		 VhnswPageIsKind(page, VHNSW_PAGE_ELEMENT) && i < layout->slots_per_page;
		 i++)
	{
		VhnswSlot	slot = VhnswPageGetSlot(layout, page, i);

		if ((slot->flags & VHNSW_SLOT_LIVE) == 0)
			continue;
		if (ItemPointerIsValid(&slot->tids))
			state->with_lists[nlists++] = VhnswMakeElement(layout, blkno, i);
		if (!ItemPointerIsValid(&slot->heaptid))
			continue;
		if (!state->callback(&slot->heaptid, state->callback_state))
		{
			state->stats->num_index_tuples++;
			continue;
		}

		state->stats->tuples_removed++;
		if (image == NULL)
		{
			VhnswChangeBegin(&change, state->index, false);
			image = VhnswChangePage(&change, buffer);
		}
		slot = VhnswPageGetSlot(layout, image, i);
		ItemPointerSetInvalid(&slot->heaptid);
		if (!ItemPointerIsValid(&slot->tids))
			slot->flags = VHNSW_SLOT_TOMBSTONE;
	}
	if (image)
		VhnswChangeEnd(&change);
	VhnswReleasePage(buffer);

	for (int i = 0; i < nlists; i++)
		VhnswVacuumElementTids(state->index, layout, state->with_lists[i],
							   state->stats, state->callback,
							   state->callback_state);
	if (image)
		VD_DEBUG_POINT("vhnsw-vacuum-tombstones");
}
