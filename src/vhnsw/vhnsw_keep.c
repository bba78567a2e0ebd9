/*-------------------------------------------------------------------------
 *
 * vhnsw_keep.c
 *	  What an insert remembers of the elements its search has met.
 *
 * An insert decides about links from codes and lists as they were when its
 * search saw them, and writes only what still fits.  Of elements that were
 * expanded everything is kept; of their neighbors the code is read when it is
 * wanted, because most never are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vhnsw/vhnsw_keep.h"
#include "vhnsw/vhnsw_lists.h"

typedef struct KeptEntry
{
	VhnswElement element;		/* hash key */
	char		status;			/* for simplehash */
	VhnswKept  *kept;
} KeptEntry;

#define SH_PREFIX kept
#define SH_ELEMENT_TYPE KeptEntry
#include "vhnsw/vhnsw_element_hash.h"

static VhnswKept *get_kept(VhnswKeep *keep, VhnswElement element);
static void keep_slot(VhnswKeep *keep, VhnswKept *kept,
					  const VhnswSlotData *slot);

VhnswKeep *
VhnswKeepCreate(Relation index, const VhnswLayout *layout,
				MemoryContext context)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	VhnswKeep  *keep = palloc0_object(VhnswKeep);

	keep->index = index;
	keep->layout = *layout;
	keep->context = context;
	keep->elements = kept_create(context, 4096, NULL);
	keep->slot = palloc(layout->slot_size);
	MemoryContextSwitchTo(old_context);
	return keep;
}

/* What is known of an element; makes an empty record if nothing is. */
static VhnswKept *
get_kept(VhnswKeep *keep, VhnswElement element)
{
	bool		found;
	KeptEntry  *entry = kept_insert(keep->elements, element, &found);

	if (!found)
	{
		entry->kept = MemoryContextAllocZero(keep->context, sizeof(VhnswKept));
		entry->kept->element = element;
	}
	return entry->kept;
}

/* Copy what a slot that is not free says, but for its list. */
static void
keep_slot(VhnswKeep *keep, VhnswKept *kept, const VhnswSlotData *slot)
{
	if (kept->code == NULL)
		kept->code = MemoryContextAlloc(keep->context,
										VhnswCodeSize(&keep->layout));
	VhnswSlotCopyCode(&keep->layout, unconstify(VhnswSlotData *, slot),
					  kept->code);
	kept->version = slot->version;
	kept->live = (slot->flags & VHNSW_SLOT_LIVE) != 0;
}

/*
 * VhnswKeepExpanded
 *		Note an element that the search expands, from its share-locked slot or
 *		a copy.
 */
void
VhnswKeepExpanded(VhnswKeep *keep, VhnswElement element,
				  const VhnswSlotData *slot)
{
	VhnswKept  *kept = get_kept(keep, element);
	int			n = VhnswSlotNeighborCount(&keep->layout, slot);

	keep_slot(keep, kept, slot);
	kept->nneighbors = n;
	kept->neighbors = MemoryContextAlloc(keep->context,
										 Max(n, 1) * sizeof(VhnswElement));
	memcpy(kept->neighbors, slot->neighbors, n * sizeof(VhnswElement));

	/* Vacuum frees a tombstone and its list: it is no way to anything. */
	for (int i = 0; i < n && kept->live; i++)
		get_kept(keep, slot->neighbors[i])->named++;
}

/* Note an element whose slot the search has read for its code. */
void
VhnswKeepEvaluated(VhnswKeep *keep, VhnswElement element,
				   const VhnswSlotData *slot)
{
	keep_slot(keep, get_kept(keep, element), slot);
}

/*
 * VhnswKeepGet
 *		What is known of an element, with its code.
 *
 * Returns NULL if its slot is free by now.  Caller holds no content lock.
 */
VhnswKept *
VhnswKeepGet(VhnswKeep *keep, VhnswElement element)
{
	VhnswKept  *kept = get_kept(keep, element);

	if (kept->code == NULL)
	{
		if (!VhnswReadSlot(keep->index, &keep->layout, element, keep->slot))
			return NULL;
		keep_slot(keep, kept, keep->slot);
	}
	return kept;
}
