/*-------------------------------------------------------------------------
 *
 * vhnsw_lists.h
 *	  Change neighbor lists that others may change at the same time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_LISTS_H
#define VHNSW_LISTS_H

#include "postgres.h"

#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_page.h"

/* A neighbor list to be written, if it is still what it was. */
typedef struct VhnswListChange
{
	VhnswElement element;
	uint8		version;
	int			nold;
	int			nnew;
	VhnswElement old_list[VHNSW_MAX_DEGREE];
	VhnswElement new_list[VHNSW_MAX_DEGREE];
	struct VhnswEdge *sketches[VHNSW_MAX_DEGREE];	/* of new neighbors */
} VhnswListChange;

extern bool VhnswReadSlot(Relation index, const VhnswLayout *layout,
						  VhnswElement element, VhnswSlot copy);
extern bool VhnswListContains(const VhnswElement *list, int n,
							  VhnswElement element);
extern void VhnswListChangeInit(VhnswListChange *change, Relation index,
								const VhnswLayout *layout,
								VhnswElement element, VhnswSlot slot);
extern bool VhnswApplyListChanges(Relation index, const VhnswLayout *layout,
								  BlockNumber blkno, VhnswListChange *changes,
								  int nchanges, bool building);
extern bool VhnswGiveLink(Relation index, const VhnswLayout *layout,
						  VhnswElement host, VhnswElement element,
						  bool building);

/* The number of neighbors of a slot, no more than the format allows. */
static inline int
VhnswSlotNeighborCount(const VhnswLayout *layout, const VhnswSlotData *slot)
{
	return Min((int) slot->nneighbors, layout->degree);
}

#endif							/* VHNSW_LISTS_H */
