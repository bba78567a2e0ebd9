/*-------------------------------------------------------------------------
 *
 * vhnsw_tids.h
 *	  TID lists: further heap TIDs of an element, and rows outside the graph.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_TIDS_H
#define VHNSW_TIDS_H

#include "postgres.h"

#include "access/genam.h"

#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_page.h"

/* A growing array of TIDs in the caller's memory context. */
typedef struct VhnswTidArray
{
	int			count;
	int			capacity;
	ItemPointerData *tids;
} VhnswTidArray;

/* What proves that a slot still holds the element that was read from it. */
typedef struct VhnswFingerprint
{
	float		scale;
	float		norm;
	float		residual;
} VhnswFingerprint;

/* Reads the cells of a list while vacuum may take some away. */
typedef struct VhnswCellWalk
{
	ItemPointerData next;		/* next cell, invalid at the end */
	uint32		sequence;		/* of the cell before, since the head */
	uint32		done;			/* cells down to this number were read */
	ItemPointerData obstacle;	/* cell that was not what we expected */
	uint32		obstacle_owner;
	uint32		obstacle_sequence;
} VhnswCellWalk;

/* Reads the TIDs of an element, some cells at a time. */
typedef struct VhnswElementReader
{
	Relation	index;
	const VhnswLayout *layout;
	VhnswElement element;
	uint8		version;
	VhnswFingerprint fingerprint;
	int			cells;			/* of the next batch; 0 = not begun */
	VhnswCellWalk walk;
} VhnswElementReader;

/* Reads a list outside the graph, a cell at a time. */
typedef struct VhnswListReader
{
	Relation	index;
	VhnswOutsideList list;
	bool		started;
	VhnswCellWalk walk;
	int			position;
	VhnswCellData cell;
} VhnswListReader;

extern void VhnswTidArrayAdd(VhnswTidArray *array, const ItemPointerData *tid);

extern bool VhnswAddTidToElement(Relation index, const VhnswLayout *layout,
								 VhnswElement element, uint8 version,
								 const VhnswCode *code, ItemPointer tid,
								 bool building);
extern void VhnswAddTidOutside(Relation index, VhnswOutsideList list,
							   ItemPointer tid, bool building);
extern void VhnswElementReaderInit(VhnswElementReader *reader,
								   Relation index, const VhnswLayout *layout,
								   VhnswElement element, uint8 version,
								   const VhnswFingerprint *fingerprint);
extern bool VhnswElementReaderNext(VhnswElementReader *reader,
								   VhnswTidArray *array);
extern void VhnswListReaderInit(VhnswListReader *reader, Relation index,
								VhnswOutsideList list);
extern bool VhnswListReaderNext(VhnswListReader *reader, ItemPointer tid);

extern void VhnswVacuumElementTids(Relation index, const VhnswLayout *layout,
								   VhnswElement element,
								   IndexBulkDeleteResult *stats,
								   IndexBulkDeleteCallback callback,
								   void *callback_state);
extern void VhnswVacuumOutside(Relation index, VhnswOutsideList list,
							   IndexBulkDeleteResult *stats,
							   IndexBulkDeleteCallback callback,
							   void *callback_state);

#endif							/* VHNSW_TIDS_H */
