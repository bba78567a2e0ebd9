/*-------------------------------------------------------------------------
 *
 * vhnsw_walk.h
 *	  Passes over all pages of an index, and over all that can be reached.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_WALK_H
#define VHNSW_WALK_H

#include "postgres.h"

#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_lists.h"
#include "vhnsw/vhnsw_page.h"

/*
 * What a pass knows about the elements of an index: a few bits for each place
 * of a block below 'nblocks'.  Places beyond are those of later inserts.
 *
 * Everything lives in the memory context that was current when it was made.
 */
typedef struct VhnswWalk
{
	Relation	index;
	VhnswLayout layout;
	BlockNumber nblocks;
	uint64		nplaces;		/* nblocks * slots_per_page */
	bool		through_tombstones; /* may a path lead through them? */
	BufferAccessStrategy strategy;	/* for passes, or NULL */
	uint8	   *reached;		/* bits, all zero until VhnswWalkReach() */
	uint8	   *expanded;		/* bits: reached, and its list was followed */
	PGAlignedBlock page;		/* copy made by VhnswWalkReadPage() */
	bool		page_is_new;	/* the page read last was all zero */
} VhnswWalk;

extern VhnswWalk *VhnswWalkCreate(Relation index, const VhnswLayout *layout,
								  BufferAccessStrategy strategy);
extern uint8 *VhnswWalkMakeBits(const VhnswWalk *walk);
extern bool VhnswWalkReadPage(VhnswWalk *walk, BlockNumber blkno);
extern VhnswSlot VhnswWalkNext(VhnswWalk *walk, VhnswElement *element);
extern bool VhnswWalkReadSlot(const VhnswWalk *walk, VhnswElement element,
							  VhnswSlot copy);
extern void VhnswWalkStart(VhnswWalk *walk);
extern void VhnswWalkReach(VhnswWalk *walk);
extern bool VhnswPageIsOurs(Page page);

/* Is there such a place, not on the metapage and not beyond our bits? */
static inline bool
VhnswWalkCovers(const VhnswWalk *walk, VhnswElement element)
{
	return element >= (uint32) walk->layout.slots_per_page &&
		element < walk->nplaces;
}

static inline bool
VhnswGetBit(const uint8 *bits, VhnswElement element)
{
	return (bits[element / 8] >> (element % 8)) & 1;
}

static inline void
VhnswSetBit(uint8 *bits, VhnswElement element)
{
	bits[element / 8] |= 1 << (element % 8);
}

/* An entry ends like a code in memory. */
#define VhnswEntryGetCode(entry) ((VhnswCode *) &(entry)->scale)

#endif							/* VHNSW_WALK_H */
