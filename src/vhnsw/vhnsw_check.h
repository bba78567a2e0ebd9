/*-------------------------------------------------------------------------
 *
 * vhnsw_check.h
 *	  What the files behind vhnsw_check() and vhnsw_info() share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_CHECK_H
#define VHNSW_CHECK_H

#include "postgres.h"

#include "nodes/execnodes.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "vhnsw/vhnsw_page.h"
#include "vhnsw/vhnsw_walk.h"

#define VHNSW_DAMAGE "damage"
#define VHNSW_INCOMPLETE "incomplete"

/* A heap TID of the index, and the element or list that has it. */
typedef struct VhnswOwnedTid
{
	ItemPointerData tid;
	uint32		owner;
} VhnswOwnedTid;

/* A check in progress. */
typedef struct VhnswCheck
{
	Relation	index;
	Relation	heap;
	ReturnSetInfo *result;
	VhnswLayout layout;
	VhnswWalk  *walk;
	VhnswSlot	slot;			/* room for the copy of one slot */
	PGAlignedBlock page;		/* the page being looked at */
	bool		unreadable;		/* a page is not ours: passes would fail */

	/* found by the first pass */
	uint8	   *used;			/* bits: places that are not free */
	int64		nlive;
	int64		ntombstones;
	VhnswElement some_tombstone;

	/* cells, numbered over all blocks */
	uint64		ncells;
	uint8	   *cells;			/* bits: has an owner */
	uint8	   *listed;			/* bits: is on a list */
	uint8	   *has_free_cells; /* bits of blocks: so says the flag */

	/* all heap TIDs; in order once duplicates were looked for */
	uint64		ntids;
	uint64		tids_capacity;
	VhnswOwnedTid *tids;
} VhnswCheck;

/* vhnsw_info.c */
extern Relation VhnswOpenForInspection(Oid index_oid, Relation *heap);
extern void VhnswCloseAfterInspection(Relation index, Relation heap);
extern int64 VhnswCountUnreachable(VhnswWalk *walk);

/* vhnsw_check_report.c */
extern void VhnswCheckReport(VhnswCheck *check, const char *severity,
							 const char *invariant, BlockNumber blkno,
							 int item, const char *format,...)
			pg_attribute_printf(6, 7);

/* vhnsw_check_tids.c */
extern void VhnswCheckTidsBegin(VhnswCheck *check);
extern void VhnswCheckCells(VhnswCheck *check, BlockNumber blkno);
extern void VhnswCheckTidLists(VhnswCheck *check);
extern void VhnswCheckAddTid(VhnswCheck *check, const ItemPointerData *tid,
							 uint32 owner);
extern void VhnswCheckDuplicateTids(VhnswCheck *check);
extern uint32 VhnswCheckFindTid(VhnswCheck *check, const ItemPointerData *tid);

/* vhnsw_check_edges.c */
extern void VhnswCheckEdges(VhnswCheck *check);

/* vhnsw_check_heap.c */
extern Snapshot VhnswCheckSnapshot(Relation index);
extern void VhnswCheckHeap(VhnswCheck *check, Snapshot snapshot);

#endif							/* VHNSW_CHECK_H */
