/*-------------------------------------------------------------------------
 *
 * vhnsw_keep.h
 *	  What an insert remembers of the elements its search has met.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_KEEP_H
#define VHNSW_KEEP_H

#include "postgres.h"

#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_page.h"

/* An element that was expanded, or that one of those lists. */
typedef struct VhnswKept
{
	VhnswElement element;
	uint8		version;
	bool		live;
	uint8		nneighbors;		/* 0 if it was not expanded */
	uint16		named;			/* expanded live elements that list it */
	VhnswCode  *code;			/* NULL until somebody asks */
	VhnswElement *neighbors;
} VhnswKept;

typedef struct VhnswKeep
{
	Relation	index;
	VhnswLayout layout;
	MemoryContext context;		/* owns everything */
	struct kept_hash *elements;
	VhnswSlot	slot;			/* for reading */
} VhnswKeep;

extern VhnswKeep *VhnswKeepCreate(Relation index, const VhnswLayout *layout,
								  MemoryContext context);
extern void VhnswKeepExpanded(VhnswKeep *keep, VhnswElement element,
							  const VhnswSlotData *slot);
extern void VhnswKeepEvaluated(VhnswKeep *keep, VhnswElement element,
							   const VhnswSlotData *slot);
extern VhnswKept *VhnswKeepGet(VhnswKeep *keep, VhnswElement element);

#endif							/* VHNSW_KEEP_H */
