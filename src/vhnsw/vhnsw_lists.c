/*-------------------------------------------------------------------------
 *
 * vhnsw_lists.c
 *	  Change neighbor lists that others may change at the same time.
 *
 * What a list becomes is decided from copies, without locks, because it takes
 * the codes of other elements.  It is written only if the list still is what
 * the decision was made from; else the caller decides again.  So nobody ever
 * writes back a link that someone else has removed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/float.h"
#include "utils/rel.h"

#include "vhnsw/vhnsw_edge.h"
#include "vhnsw/vhnsw_lists.h"
#include "vhnsw/vhnsw_meta.h"

static void sketch_new_neighbors(Relation index, const VhnswLayout *layout,
								 VhnswListChange *change);
static void drop_sketches(VhnswListChange *change);
static void write_list(const VhnswLayout *layout, VhnswSlot slot,
					   const VhnswListChange *change, VhnswSlot before,
					   VhnswEdge *edge);
static int	choose_victim(Relation index, const VhnswLayout *layout,
						  VhnswSlot slot, bool *is_live);
static bool take_link(Relation index, const VhnswLayout *layout,
					  VhnswElement element, VhnswElement neighbor,
					  bool building);

/*
 * VhnswReadSlot
 *		Copy one slot, of layout->slot_size bytes, as it is now.
 *
 * Returns false if the place is free, or none for an element.  Caller holds no
 * content lock.
 */
bool
VhnswReadSlot(Relation index, const VhnswLayout *layout, VhnswElement element,
			  VhnswSlot copy)
{
	BlockNumber blkno = VhnswElementBlock(layout, element);
	Buffer		buffer;
	Page		page;
	bool		found = false;

	if (blkno == VHNSW_META_BLKNO)
		return false;
	buffer = VhnswGetAnyPage(index, blkno, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	if (VhnswPageIsKind(page, VHNSW_PAGE_ELEMENT))
	{
		memcpy(copy,
			   VhnswPageGetSlot(layout, page,
								VhnswElementSlot(layout, element)),
			   layout->slot_size);
		found = copy->flags != 0;
	}
	VhnswReleasePage(buffer);
	return found;
}

bool
VhnswListContains(const VhnswElement *list, int n, VhnswElement element)
{
	for (int i = 0; i < n; i++)
	{
		if (list[i] == element)
			return true;
	}
	return false;
}

/*
 * VhnswListChangeInit
 *		Begin to change the list of an element whose slot was copied.
 *
 * Both lists are what the copy says.
 */
void
VhnswListChangeInit(VhnswListChange *change, Relation index,
					const VhnswLayout *layout, VhnswElement element,
					VhnswSlot slot)
{
	if (slot->nneighbors > layout->degree)
		VhnswReportCorruption(index, VhnswElementBlock(layout, element),
							  "A neighbor list is longer than the degree.");
	change->element = element;
	change->version = slot->version;
	change->nold = change->nnew = slot->nneighbors;
	memcpy(change->old_list, slot->neighbors,
		   change->nold * sizeof(VhnswElement));
	memcpy(change->new_list, slot->neighbors,
		   change->nold * sizeof(VhnswElement));
	memset(change->sketches, 0, sizeof(change->sketches));
}

/* Is the list on a locked page still what the change was made from? */
static bool
is_unchanged(const VhnswLayout *layout, Page page,
			 const VhnswListChange *change)
{
	VhnswSlot	slot = VhnswPageGetSlot(layout, page,
										VhnswElementSlot(layout,
														 change->element));

	return (slot->flags & VHNSW_SLOT_LIVE) != 0 &&
		slot->version == change->version &&
		slot->nneighbors == change->nold &&
		memcmp(slot->neighbors, change->old_list,
			   change->nold * sizeof(VhnswElement)) == 0;
}

/*
 * VhnswApplyListChanges
 *		Write the changed lists of one page; one record.
 *
 * A list that is no longer what the change was made from is left as it is,
 * and the result is then false.  Caller holds no content lock.
 */
bool
VhnswApplyListChanges(Relation index, const VhnswLayout *layout,
					  BlockNumber blkno, VhnswListChange *changes,
					  int nchanges, bool building)
{
	VhnswSlot	before = palloc(layout->slot_size);
	VhnswEdge  *edge = palloc(VhnswEdgeSize(layout));
	Buffer		buffer;
	Page		page;
	VhnswChange record;
	int			nvalid = 0;

	if (layout->edge_dims > 0)
	{
		for (int i = 0; i < nchanges; i++)
			sketch_new_neighbors(index, layout, &changes[i]);
	}

	buffer = VhnswGetPage(index, blkno, VHNSW_PAGE_ELEMENT,
						  BUFFER_LOCK_EXCLUSIVE);
	page = BufferGetPage(buffer);
	for (int i = 0; i < nchanges; i++)
	{
		if (is_unchanged(layout, page, &changes[i]))
			nvalid++;
		else
			changes[i].element = VHNSW_NO_ELEMENT;
	}
	if (nvalid > 0)
	{
		VhnswChangeBegin(&record, index, building);
		page = VhnswChangePage(&record, buffer);
		for (int i = 0; i < nchanges; i++)
		{
			const VhnswListChange *change = &changes[i];

			if (change->element == VHNSW_NO_ELEMENT)
				continue;
			write_list(layout,
					   VhnswPageGetSlot(layout, page,
										VhnswElementSlot(layout,
														 change->element)),
					   change, before, edge);
		}
		VhnswChangeEnd(&record);
	}
	VhnswReleasePage(buffer);
	for (int i = 0; i < nchanges; i++)
		drop_sketches(&changes[i]);
	pfree(before);
	pfree(edge);
	return nvalid == nchanges;
}

/* Vacuum changes many lists in one memory context. */
static void
drop_sketches(VhnswListChange *change)
{
	for (int i = 0; i < change->nnew; i++)
	{
		if (change->sketches[i])
			pfree(change->sketches[i]);
		change->sketches[i] = NULL;
	}
}

/*
 * Make the sketches of neighbors that the old list does not have.  One whose
 * place is free by now gets none; nothing live will list it for long.
 */
static void
sketch_new_neighbors(Relation index, const VhnswLayout *layout,
					 VhnswListChange *change)
{
	const VhnswEdgeSpace *space = &VhnswGetCache(index)->edges;
	VhnswSlot	slot = palloc(layout->slot_size);
	VhnswCode  *from_code = palloc(VhnswCodeSize(layout));
	VhnswCode  *to_code = palloc(VhnswCodeSize(layout));
	float	   *from_z = palloc_array(float, space->dims);
	float	   *to_z = palloc_array(float, space->dims);
	VhnswEdgeEnd from = {0, from_z};
	VhnswEdgeEnd to = {0, to_z};
	bool		started = false;

	for (int i = 0; i < change->nnew; i++)
	{
		if (VhnswListContains(change->old_list, change->nold,
							  change->new_list[i]))
			continue;
		if (!started)
		{
			if (!VhnswReadSlot(index, layout, change->element, slot))
				break;
			VhnswSlotCopyCode(layout, slot, from_code);
			VhnswEdgeProjectCode(space, from_code, from_z);
			from.norm = from_code->norm;
			started = true;
		}
		if (!VhnswReadSlot(index, layout, change->new_list[i], slot))
			continue;
		VhnswSlotCopyCode(layout, slot, to_code);
		VhnswEdgeProjectCode(space, to_code, to_z);
		to.norm = to_code->norm;
		change->sketches[i] = palloc(VhnswEdgeSize(layout));
		VhnswEdgeEncode(space, &from, &to,
						VhnswCodeDistance(layout, from_code, to_code),
						change->sketches[i]);
	}
	pfree(slot);
	pfree(from_code);
	pfree(to_code);
	pfree(from_z);
	pfree(to_z);
}

/*
 * Write a changed list into its slot, with the sketches: of neighbors that it
 * had already, they move along.  'before' and 'edge' are room to work in.
 */
static void
write_list(const VhnswLayout *layout, VhnswSlot slot,
		   const VhnswListChange *change, VhnswSlot before, VhnswEdge *edge)
{
	if (layout->edge_dims > 0)
	{
		memcpy(before, slot, layout->slot_size);
		for (int i = 0; i < layout->degree; i++)
		{
			int			old = 0;

			if (i < change->nnew && i < change->nold &&
				change->new_list[i] == change->old_list[i])
				continue;
			if (i >= change->nnew)
			{
				if (i < change->nold)
					VhnswEdgeClear(layout, slot, i);
				continue;
			}
			while (old < change->nold &&
				   change->old_list[old] != change->new_list[i])
				old++;
			if (old < change->nold)
			{
				VhnswEdgeGet(layout, before, old, edge);
				VhnswEdgePut(layout, slot, i, edge);
			}
			else if (change->sketches[i])
				VhnswEdgePut(layout, slot, i, change->sketches[i]);
			else
				VhnswEdgeClear(layout, slot, i);
		}
	}

	slot->nneighbors = change->nnew;
	memset(slot->neighbors, 0, layout->degree * sizeof(VhnswElement));
	memcpy(slot->neighbors, change->new_list,
		   change->nnew * sizeof(VhnswElement));
}

/*
 * VhnswGiveLink
 *		Let 'host' list 'element', which nobody else is known to list.
 *
 * In a free place, or else in place of a tombstone or of the host's farthest
 * neighbor, which 'element' lists from then on: so it is reached through
 * 'element'.  Two records at most; after the first, there is one link too many.
 *
 * Caller holds no content lock, and nothing that either lists may be freed
 * meanwhile.  Returns false if the host is no live element or others changed
 * one of the lists.
 */
bool
VhnswGiveLink(Relation index, const VhnswLayout *layout, VhnswElement host,
			  VhnswElement element, bool building)
{
	VhnswSlot	slot = palloc(layout->slot_size);
	VhnswListChange change;
	bool		done = false;

	if (VhnswReadSlot(index, layout, host, slot) &&
		(slot->flags & VHNSW_SLOT_LIVE))
	{
		VhnswListChangeInit(&change, index, layout, host, slot);
		if (VhnswListContains(change.old_list, change.nold, element))
			done = true;
		else if (change.nold < layout->degree)
		{
			change.new_list[change.nnew++] = element;
			done = VhnswApplyListChanges(index, layout,
										 VhnswElementBlock(layout, host),
										 &change, 1, building);
		}
		else
		{
			bool		is_live;
			int			victim = choose_victim(index, layout, slot, &is_live);

			change.new_list[victim] = element;
			done = (!is_live ||
					take_link(index, layout, element,
							  change.old_list[victim], building)) &&
				VhnswApplyListChanges(index, layout,
									  VhnswElementBlock(layout, host),
									  &change, 1, building);
		}
	}
	pfree(slot);
	return done;
}

/*
 * What does a full list give up?  The first tombstone, which vacuum is about to
 * remove and which must not be listed anew; else the neighbor that is farthest
 * from the list's owner.  Sets *is_live accordingly.
 */
static int
choose_victim(Relation index, const VhnswLayout *layout, VhnswSlot slot,
			  bool *is_live)
{
	VhnswSlot	neighbor = palloc(layout->slot_size);
	VhnswCode  *code = palloc(VhnswCodeSize(layout));
	VhnswCode  *neighbor_code = palloc(VhnswCodeSize(layout));
	int			farthest = 0;
	float		longest = -get_float4_infinity();

	*is_live = true;
	VhnswSlotCopyCode(layout, slot, code);
	for (int i = 0; i < VhnswSlotNeighborCount(layout, slot); i++)
	{
		float		distance;

		if (!VhnswReadSlot(index, layout, slot->neighbors[i], neighbor) ||
			(neighbor->flags & VHNSW_SLOT_LIVE) == 0)
		{
			*is_live = false;
			farthest = i;
			break;
		}
		VhnswSlotCopyCode(layout, neighbor, neighbor_code);
		distance = VhnswCodeDistance(layout, code, neighbor_code);
		if (distance > longest)
		{
			longest = distance;
			farthest = i;
		}
	}
	pfree(neighbor);
	pfree(code);
	pfree(neighbor_code);
	return farthest;
}

/*
 * Let an element that nobody lists list 'neighbor', in a free place or in place
 * of its last neighbor: nothing can be reached through it, so nothing is lost.
 *
 * Returns false if others changed its list meanwhile.
 */
static bool
take_link(Relation index, const VhnswLayout *layout, VhnswElement element,
		  VhnswElement neighbor, bool building)
{
	VhnswSlot	slot = palloc(layout->slot_size);
	VhnswListChange change;
	bool		done = false;

	if (VhnswReadSlot(index, layout, element, slot))
	{
		VhnswListChangeInit(&change, index, layout, element, slot);
		if (VhnswListContains(change.old_list, change.nold, neighbor))
			done = true;
		else
		{
			if (change.nold < layout->degree)
				change.nnew++;
			change.new_list[change.nnew - 1] = neighbor;
			done = VhnswApplyListChanges(index, layout,
										 VhnswElementBlock(layout, element),
										 &change, 1, building);
		}
	}
	pfree(slot);
	return done;
}
