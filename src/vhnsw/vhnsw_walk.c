/*-------------------------------------------------------------------------
 *
 * vhnsw_walk.c
 *	  Passes over all pages of an index, and over all that can be reached.
 *
 * Vacuum and the check functions look at every element.  They copy a page at
 * a time, so that they never hold a content lock while they think.  Which
 * elements can be reached from the entries is found without a queue: passes
 * over the pages in order follow the lists of what was reached and not
 * expanded yet, until a pass finds nothing new.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_walk.h"

static bool has_work(const VhnswWalk *walk, BlockNumber blkno);
static bool expand_page(VhnswWalk *walk, BlockNumber blkno);

/*
 * VhnswWalkCreate
 *		Prepare passes over an index of its present length.
 */
VhnswWalk *
VhnswWalkCreate(Relation index, const VhnswLayout *layout,
				BufferAccessStrategy strategy)
{
	VhnswWalk  *walk = palloc0_object(VhnswWalk);

	walk->index = index;
	walk->layout = *layout;
	walk->nblocks = RelationGetNumberOfBlocks(index);
	walk->nplaces = (uint64) walk->nblocks * layout->slots_per_page;
	walk->strategy = strategy;
	return walk;
}

/* One zero bit for each place. */
uint8 *
VhnswWalkMakeBits(const VhnswWalk *walk)
{
	return MemoryContextAllocExtended(CurrentMemoryContext,
									  walk->nplaces / 8 + 1,
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/*
 * VhnswWalkReadPage
 *		Copy an element page to walk->page.
 *
 * Returns false if the block holds something else.  What is no page of ours is
 * an error: going past it would leave TIDs behind that the heap then gives to
 * other rows.  Caller holds no content lock; checks for interrupts, and may
 * sleep as vacuum's cost settings demand.
 */
bool
VhnswWalkReadPage(VhnswWalk *walk, BlockNumber blkno)
{
	Buffer		buffer;
	Page		page;
	bool		is_element_page;

	VacuumDelayPoint();
	buffer = VhnswGetPageWithStrategy(walk->index, blkno, BUFFER_LOCK_SHARE,
									  walk->strategy);
	page = BufferGetPage(buffer);
	is_element_page = VhnswPageIsKind(page, VHNSW_PAGE_ELEMENT);
	walk->page_is_new = PageIsNew(page);
	if (is_element_page)
		memcpy(walk->page.data, page, BLCKSZ);
	else if (!walk->page_is_new && !VhnswPageIsOurs(page))
		VhnswReportCorruption(walk->index, blkno,
							  "The page is not one of a vhnsw index.");
	VhnswReleasePage(buffer);
	return is_element_page;
}

/*
 * VhnswWalkNext
 *		The slot that comes after that of *element, free or not; sets *element
 *		to its own.
 *
 * The first is that after VHNSW_NO_ELEMENT; NULL comes after the last.  The
 * slot is part of walk->page: until the next call no other page may be read by
 * VhnswWalkReadPage(), which see for locks, interrupts and errors.
 */
VhnswSlot
VhnswWalkNext(VhnswWalk *walk, VhnswElement *element)
{
	int			slots = walk->layout.slots_per_page;
	uint64		next = (uint64) *element + 1;

	if (*element == VHNSW_NO_ELEMENT)
		next = slots;			/* of the block behind the metapage */
	for (; next < walk->nplaces; next += slots)
	{
		if (next % slots == 0 && !VhnswWalkReadPage(walk, next / slots))
			continue;
		*element = (VhnswElement) next;
		return VhnswPageGetSlot(&walk->layout, walk->page.data, next % slots);
	}
	return NULL;
}

/*
 * VhnswWalkReadSlot
 *		Copy one slot, of layout.slot_size bytes, as it is now.
 *
 * Returns false if the number names no place or the place is free.  Caller
 * holds no content lock.
 */
bool
VhnswWalkReadSlot(const VhnswWalk *walk, VhnswElement element, VhnswSlot copy)
{
	return VhnswWalkCovers(walk, element) &&
		VhnswReadSlot(walk->index, &walk->layout, element, copy);
}

/*
 * VhnswWalkStart
 *		Mark the entries as reached, and nothing else.
 */
void
VhnswWalkStart(VhnswWalk *walk)
{
	const VhnswCache *cache = VhnswGetCache(walk->index);

	if (walk->reached == NULL)
	{
		walk->reached = VhnswWalkMakeBits(walk);
		walk->expanded = VhnswWalkMakeBits(walk);
	}
	for (uint32 i = 0; i < cache->nentries; i++)
	{
		VhnswElement element = VhnswCacheGetEntry(cache, i)->element;

		if (VhnswWalkCovers(walk, element))
			VhnswSetBit(walk->reached, element);
	}
}

/*
 * VhnswWalkReach
 *		Mark everything that can be reached from what is marked.
 *
 * May be called again after more was marked.
 */
void
VhnswWalkReach(VhnswWalk *walk)
{
	bool		again;

	do
	{
		again = false;
		for (BlockNumber blkno = 1; blkno < walk->nblocks; blkno++)
		{
			if (has_work(walk, blkno) && expand_page(walk, blkno))
				again = true;
		}
	} while (again);
}

/* Is something on this page reached and not expanded? */
static bool
has_work(const VhnswWalk *walk, BlockNumber blkno)
{
	VhnswElement first = VhnswMakeElement(&walk->layout, blkno, 0);

	for (int i = 0; i < walk->layout.slots_per_page; i++)
	{
		if (VhnswGetBit(walk->reached, first + i) &&
			!VhnswGetBit(walk->expanded, first + i))
			return true;
	}
	return false;
}

/*
 * Follow the lists of what is reached on a page.  Returns true if that marked
 * something that this pass has gone past.
 */
static bool
expand_page(VhnswWalk *walk, BlockNumber blkno)
{
	VhnswElement first = VhnswMakeElement(&walk->layout, blkno, 0);
	VhnswElement next_page = first + walk->layout.slots_per_page;
	bool		readable = VhnswWalkReadPage(walk, blkno);
	bool		behind = false;

	for (int i = 0; i < walk->layout.slots_per_page; i++)
	{
		VhnswSlot	slot;

		if (!VhnswGetBit(walk->reached, first + i) ||
			VhnswGetBit(walk->expanded, first + i))
			continue;
		VhnswSetBit(walk->expanded, first + i);
		if (!readable)
			continue;

		slot = VhnswPageGetSlot(&walk->layout, walk->page.data, i);
		if (slot->flags == 0 ||
			((slot->flags & VHNSW_SLOT_TOMBSTONE) &&
			 !walk->through_tombstones))
			continue;
		for (int j = 0; j < VhnswSlotNeighborCount(&walk->layout, slot); j++)
		{
			VhnswElement neighbor = slot->neighbors[j];

			if (!VhnswWalkCovers(walk, neighbor) ||
				VhnswGetBit(walk->reached, neighbor))
				continue;
			VhnswSetBit(walk->reached, neighbor);
			if (neighbor < next_page)
				behind = true;
		}
	}
	return behind;
}

/* Is this an initialized page of any kind that we know? */
bool
VhnswPageIsOurs(Page page)
{
	for (int kind = VHNSW_PAGE_META; kind <= VHNSW_PAGE_PCA; kind++)
	{
		if (VhnswPageIsKind(page, kind))
			return true;
	}
	return false;
}
