/*-------------------------------------------------------------------------
 *
 * vhnsw_insert.c
 *	  Add one row to an index.
 *
 * An insert is several WAL records; readers see a valid graph after each:
 *
 *	1. the element with its own list; nothing names it yet
 *	2. the back-links, one for each record
 *	3. sometimes an entry
 *
 * All of it is decided before anything is written, from the codes and lists
 * that the search kept.  An interrupted insert costs recall, never
 * correctness.  See README, sections "Insertion" and "Lock order".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_edge.h"
#include "vhnsw/vhnsw_keep.h"
#include "vhnsw/vhnsw_lists.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_search.h"
#include "vhnsw/vhnsw_select.h"
#include "vhnsw/vhnsw_tids.h"

/*
 * While vacuum has not finished, tombstones may lie between an insert and the
 * live elements it looks for.  It gives up after so many steps for each
 * element asked for, and makes do with what it found.
 */
#define MAX_STEPS_PER_EF 16

/* The new element shall be listed by 'target', in place of 'victim'. */
typedef struct BackLink
{
	VhnswElement target;
	uint8		version;		/* of target's slot */
	VhnswElement victim;		/* VHNSW_NO_ELEMENT: append */
	int			link;			/* of the insert: the target */
	VhnswEdge  *sketch;			/* of the new element, or NULL */
} BackLink;

/* An insert in progress. */
typedef struct Insert
{
	Relation	index;
	bool		building;
	VhnswLayout layout;
	const VhnswCode *code;
	VhnswSearch *search;
	VhnswKeep  *keep;			/* what the search has met */

	/* the new element's list: chosen ones, fills, and those taken over */
	int			nlinks;
	int			nchosen;
	int			fills_end;		/* where those taken over begin */
	VhnswLink	links[VHNSW_MAX_DEGREE];
	VhnswEdge  *sketches[VHNSW_MAX_DEGREE]; /* or NULL */

	int			nback_links;
	BackLink	back_links[VHNSW_MAX_M];
} Insert;

static void insert_vector(Relation index, VhnswQuery *query, ItemPointer tid,
						  bool building);
static VhnswLink *nearest_found(Insert *insert, int limit, int *n);
static bool add_to_equal(Insert *insert, const VhnswLink *candidates, int n,
						 ItemPointer tid);
static void choose_back_links(Insert *insert);
static bool choose_victim(Insert *insert, const VhnswLink *target,
						  VhnswKept *seen, bool force, VhnswKept **victim);
static int	order_victims(Insert *insert, const VhnswLink *target,
						  VhnswKept *seen, VhnswLink *victims);
static bool can_give_up(Insert *insert, VhnswKept *victim);
static bool take_over(Insert *insert, VhnswKept *victim);
static bool keep_in_own_list(Insert *insert, VhnswElement element);
static void sketch_links(Insert *insert);
static VhnswElement write_element(Insert *insert, ItemPointer tid,
								  uint8 *version);
static bool write_back_link(Insert *insert, const BackLink *link,
							VhnswElement element);

/* Insert callback.  There is nothing to check, so the result is not used. */
bool
vhnswinsert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
			Relation heap, IndexUniqueCheck check_unique,
			bool index_unchanged, struct IndexInfo *info)
{
	VhnswInsertValue(index, values[0], isnull[0], tid, false);
	return false;
}

/*
 * VhnswInsertValue
 *		Add a row to the graph or to a list outside of it.
 *
 * Caller holds no content lock.  While building, nothing is logged and nobody
 * else uses the index.
 */
void
VhnswInsertValue(Relation index, Datum datum, bool isnull, ItemPointer tid,
				 bool building)
{
	MemoryContext context;
	MemoryContext old_context;
	const VhnswCache *cache;
	VhnswQuery	query;
	VhnswValue	value;

	if (isnull)
	{
		VhnswAddTidOutside(index, VHNSW_LIST_NULL, tid, building);
		return;
	}

	context = AllocSetContextCreate(CurrentMemoryContext, "vhnsw insert",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);

	/* Detoasting may read catalogs, and so drop the cache: it comes first. */
	VhnswValueGet(VhnswGetValueType(index), datum, &value);
	cache = VhnswGetCache(index);
	VhnswValueCheckColumn(cache->space.type, cache->layout.dims, &value);
	VhnswQueryInit(&query, &cache->space, &value);

	switch (query.vector_class)
	{
		case VHNSW_VECTOR_ZERO:
			VhnswAddTidOutside(index, VHNSW_LIST_ZERO, tid, building);
			break;
		case VHNSW_VECTOR_EXTREME:
			VhnswAddTidOutside(index, VHNSW_LIST_EXTREME, tid, building);
			break;
		case VHNSW_VECTOR_NORMAL:
			if (!building)
				LockPage(index, VHNSW_REPAIR_LOCK, ShareLock);
			insert_vector(index, &query, tid, building);
			if (!building)
				UnlockPage(index, VHNSW_REPAIR_LOCK, ShareLock);
			break;
	}

	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
}

/* Add a row to the graph; VHNSW_REPAIR_LOCK is held. */
static void
insert_vector(Relation index, VhnswQuery *query, ItemPointer tid,
			  bool building)
{
	const VhnswCache *cache = VhnswGetCache(index);
	Insert	   *insert = palloc0_object(Insert);
	VhnswCode  *code = palloc(VhnswCodeSize(&cache->layout));
	VhnswLink  *candidates;
	VhnswElement element;
	uint8		version;
	bool		listed = false;
	int			n;

	VhnswEncode(&cache->layout, query, code);
	insert->index = index;
	insert->building = building;
	insert->layout = cache->layout;
	insert->code = code;
	insert->keep = VhnswKeepCreate(index, &insert->layout,
								   CurrentMemoryContext);
	insert->search = VhnswSearchBegin(index, cache, query, insert->keep,
									  CurrentMemoryContext);
	VhnswSearchUntil(insert->search, insert->layout.ef_construction,
					 (int64) MAX_STEPS_PER_EF * insert->layout.ef_construction);
	candidates = nearest_found(insert, insert->layout.ef_construction, &n);

	if (add_to_equal(insert, candidates, n, tid))
		return;

	insert->nlinks = VhnswSelectLinks(&insert->layout, candidates, n,
									  insert->layout.m, insert->layout.degree,
									  insert->links);
	choose_back_links(insert);
	if (insert->layout.edge_dims > 0)
		sketch_links(insert);

	element = write_element(insert, tid, &version);
	VD_DEBUG_POINT("vhnsw-insert-element");
	for (int i = 0; i < insert->nback_links; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (write_back_link(insert, &insert->back_links[i], element))
			listed = true;
		VD_DEBUG_POINT("vhnsw-insert-backlink");
	}

	/* Others have changed every list; then without the finer points. */
	for (int i = 0; i < insert->nlinks && !listed; i++)
	{
		CHECK_FOR_INTERRUPTS();
		listed = VhnswGiveLink(index, &insert->layout, insert->links[i].id,
							   element, building);
	}
	VhnswAddEntry(index, &insert->layout, element, version, code, !listed,
				  building);
}

/* The nearest live elements that the search has found, nearest first. */
static VhnswLink *
nearest_found(Insert *insert, int limit, int *n)
{
	VhnswSearch *search = insert->search;
	VhnswLink  *links = palloc_array(VhnswLink, search->nfound + 1);

	/* What is not settled matters if the search was cut short. */
	for (int64 i = 0; i < search->nfound; i++)
	{
		const VhnswFound *found = search->found[i];

		links[i].distance = found->estimate;
		links[i].id = found->element;
		links[i].code = VhnswKeepGet(insert->keep, found->element)->code;
	}
	VhnswSortLinks(links, search->nfound);
	*n = (int) Min(search->nfound, limit);
	return links;
}

/* If an element has the same code, give it the TID. */
static bool
add_to_equal(Insert *insert, const VhnswLink *candidates, int n,
			 ItemPointer tid)
{
	for (int i = 0; i < n; i++)
	{
		VhnswKept  *seen;

		if (memcmp(candidates[i].code, insert->code,
				   VhnswCodeSize(&insert->layout)) != 0)
			continue;
		seen = VhnswKeepGet(insert->keep, candidates[i].id);
		if (VhnswAddTidToElement(insert->index, &insert->layout,
								 candidates[i].id, seen->version,
								 insert->code, tid, insert->building))
			return true;
	}
	return false;
}

/*
 * Decide which of the chosen neighbors list the new element in return, and
 * what they give up for it.  Changes the new element's own list: it takes over
 * what would otherwise lose its last link that we know of (I9).
 */
static void
choose_back_links(Insert *insert)
{
	insert->nchosen = Min(insert->nlinks, insert->layout.m);
	insert->fills_end = insert->nlinks;
	for (int pass = 0; pass < 2; pass++)
	{
		bool		force = pass == 1;

		for (int i = 0; i < insert->nchosen; i++)
		{
			const VhnswLink *target = &insert->links[i];
			VhnswKept  *seen = VhnswKeepGet(insert->keep, target->id);
			BackLink   *link = &insert->back_links[insert->nback_links];
			VhnswKept  *victim = NULL;

			if (seen->nneighbors >= insert->layout.degree &&
				!choose_victim(insert, target, seen, force, &victim))
				continue;
			link->target = target->id;
			link->link = i;
			link->version = seen->version;
			link->victim = victim ? victim->element : VHNSW_NO_ELEMENT;
			insert->nback_links++;
			if (force)
				return;
		}

		/* Somebody must name it; the second pass makes the nearest do so. */
		if (insert->nback_links > 0)
			return;
	}
}

/*
 * Choose what a full list gives up for the new element: the farthest that a
 * nearer one occludes, else the farthest; never one that would lose its last
 * known link, unless the new element can take it over.
 *
 * Returns false if the new element itself is what should go, or nothing can
 * go.  With 'force' the new element stays.
 */
static bool
choose_victim(Insert *insert, const VhnswLink *target, VhnswKept *seen,
			  bool force, VhnswKept **victim)
{
	VhnswLink	victims[VHNSW_MAX_DEGREE + 1];
	int			n = order_victims(insert, target, seen, victims);

	for (int i = 0; i < n; i++)
	{
		if (victims[i].id == VHNSW_NO_ELEMENT)
		{
			if (!force)
				return false;
			continue;
		}
		*victim = VhnswKeepGet(insert->keep, victims[i].id);
		if (can_give_up(insert, *victim))
			return true;
	}
	return false;
}

/*
 * Order a full list and the new element by who should leave first: occluded
 * ones before others, and the farthest first.  The new element has the number
 * VHNSW_NO_ELEMENT.
 */
static int
order_victims(Insert *insert, const VhnswLink *target, VhnswKept *seen,
			  VhnswLink *victims)
{
	const VhnswLayout *layout = &insert->layout;
	VhnswLink	links[VHNSW_MAX_DEGREE + 1];
	VhnswLink	kept[VHNSW_MAX_DEGREE + 1];
	int			n = 0;
	int			nkept = 0;
	int			nvictims = 0;

	links[n].id = VHNSW_NO_ELEMENT;
	links[n].code = insert->code;
	links[n++].distance = target->distance;
	for (int i = 0; i < seen->nneighbors; i++)
	{
		VhnswKept  *neighbor = VhnswKeepGet(insert->keep,
											seen->neighbors[i]);

		/* A place that was freed after this list was read. */
		if (neighbor == NULL)
			continue;
		links[n].id = neighbor->element;
		links[n].code = neighbor->code;
		links[n].distance = VhnswCodeDistance(layout, seen->code,
											  neighbor->code);
		n++;
	}
	VhnswSortLinks(links, n);

	/* Occluded ones go to 'victims', in rising order; then reverse both. */
	for (int i = 0; i < n; i++)
	{
		bool		occluded = false;

		for (int j = 0; j < nkept && !occluded; j++)
			occluded = VhnswCodeDistance(layout, links[i].code,
										 kept[j].code) < links[i].distance;
		if (occluded)
			victims[nvictims++] = links[i];
		else
			kept[nkept++] = links[i];
	}
	for (int i = 0; i < nvictims / 2; i++)
	{
		VhnswLink	swap = victims[i];

		victims[i] = victims[nvictims - 1 - i];
		victims[nvictims - 1 - i] = swap;
	}
	for (int i = nkept - 1; i >= 0; i--)
		victims[nvictims++] = kept[i];
	return n;
}

/* May this one lose a link?  Takes it over if that is the condition. */
static bool
can_give_up(Insert *insert, VhnswKept *victim)
{
	if (victim->named < 2 && !keep_in_own_list(insert, victim->element) &&
		!take_over(insert, victim))
		return false;
	victim->named--;
	return true;
}

/*
 * Does the new element list this one?  Then it will go on doing so: a fill
 * moves to where take_over() does not put another in its place.
 */
static bool
keep_in_own_list(Insert *insert, VhnswElement element)
{
	for (int i = 0; i < insert->nlinks; i++)
	{
		if (insert->links[i].id != element)
			continue;
		if (i >= insert->nchosen && i < insert->fills_end)
		{
			VhnswLink	link = insert->links[i];

			insert->links[i] = insert->links[--insert->fills_end];
			insert->links[insert->fills_end] = link;
		}
		return true;
	}
	return false;
}

/*
 * Put an element into the new element's list, if need be in place of the
 * farthest fill.
 */
static bool
take_over(Insert *insert, VhnswKept *victim)
{
	VhnswLink  *link;

	if (!victim->live)
		return true;			/* vacuum drops it anyway */
	if (insert->nlinks < insert->layout.degree)
		link = &insert->links[insert->nlinks++];
	else if (insert->fills_end > insert->nchosen)
		link = &insert->links[--insert->fills_end];
	else
		return false;

	link->id = victim->element;
	link->code = victim->code;
	link->distance = 0;			/* of no use any more */
	return true;
}

/* Make the sketches of all links in both directions. */
static void
sketch_links(Insert *insert)
{
	const VhnswLayout *layout = &insert->layout;
	const VhnswEdgeSpace *space = &VhnswGetCache(insert->index)->edges;
	float	   *z = palloc_array(float, space->dims);
	float	   *other_z = palloc_array(float, space->dims * insert->nlinks);
	VhnswEdgeEnd self = {insert->code->norm, z};

	VhnswEdgeProjectCode(space, insert->code, z);
	for (int i = 0; i < insert->nlinks; i++)
	{
		const VhnswCode *code = insert->links[i].code;
		VhnswEdgeEnd other = {code->norm, other_z + i * space->dims};

		VhnswEdgeProjectCode(space, code, other_z + i * space->dims);
		insert->sketches[i] = palloc(VhnswEdgeSize(layout));
		VhnswEdgeEncode(space, &self, &other,
						VhnswCodeDistance(layout, insert->code, code),
						insert->sketches[i]);
	}
	for (int i = 0; i < insert->nback_links; i++)
	{
		BackLink   *link = &insert->back_links[i];
		const VhnswCode *code = insert->links[link->link].code;
		VhnswEdgeEnd target = {code->norm, other_z + link->link * space->dims};

		link->sketch = palloc(VhnswEdgeSize(layout));
		VhnswEdgeEncode(space, &target, &self,
						VhnswCodeDistance(layout, code, insert->code),
						link->sketch);
	}
}

/*
 * Write the new element with its list into a free slot.  One record; a crash
 * after it leaves an element that nobody names.
 */
static VhnswElement
write_element(Insert *insert, ItemPointer tid, uint8 *version)
{
	const VhnswLayout *layout = &insert->layout;
	VhnswChange change;
	VhnswElement element;
	VhnswSlot	slot;
	Buffer		buffer;
	Page		page;
	int			slotno;

	buffer = VhnswGetFreeSlot(insert->index, layout, &slotno);
	element = VhnswMakeElement(layout, BufferGetBlockNumber(buffer), slotno);

	VhnswChangeBegin(&change, insert->index, insert->building);
	if (PageIsNew(BufferGetPage(buffer)))
		page = VhnswChangeNewPage(&change, buffer, VHNSW_PAGE_ELEMENT, layout);
	else
		page = VhnswChangePage(&change, buffer);

	slot = VhnswPageGetSlot(layout, page, slotno);
	*version = slot->version;
	slot->flags = VHNSW_SLOT_LIVE;
	slot->nneighbors = insert->nlinks;
	slot->heaptid = *tid;
	ItemPointerSetInvalid(&slot->tids);
	slot->edge_scale = 0;
	memset(slot->neighbors, 0,
		   layout->code_offset - offsetof(VhnswSlotData, neighbors));
	for (int i = 0; i < insert->nlinks; i++)
	{
		slot->neighbors[i] = insert->links[i].id;
		if (insert->sketches[i])
			VhnswEdgePut(layout, slot, i, insert->sketches[i]);
	}
	VhnswSlotSetCode(layout, slot, insert->code);
	VhnswChangeEnd(&change);

	VhnswReleasePage(buffer);
	return element;
}

/*
 * Let the target name the new element.  If others have changed its list so
 * that the decision no longer fits, it is left out, and the result is false.
 * Vacuum may have made it name the new element already.  One record.
 */
static bool
write_back_link(Insert *insert, const BackLink *link, VhnswElement element)
{
	const VhnswLayout *layout = &insert->layout;
	int			slotno = VhnswElementSlot(layout, link->target);
	Buffer		buffer = VhnswGetPage(insert->index,
									  VhnswElementBlock(layout, link->target),
									  VHNSW_PAGE_ELEMENT,
									  BUFFER_LOCK_EXCLUSIVE);
	VhnswSlot	slot = VhnswPageGetSlot(layout, BufferGetPage(buffer), slotno);
	int			place = -1;

	if ((slot->flags & VHNSW_SLOT_LIVE) && slot->version == link->version)
	{
		if (VhnswListContains(slot->neighbors,
							  VhnswSlotNeighborCount(layout, slot), element))
		{
			VhnswReleasePage(buffer);
			return true;
		}
		for (int i = 0; i < slot->nneighbors && place < 0; i++)
		{
			if (link->victim != VHNSW_NO_ELEMENT &&
				slot->neighbors[i] == link->victim)
				place = i;
		}
		if (place < 0 && slot->nneighbors < layout->degree)
			place = slot->nneighbors;
	}
	if (place >= 0)
	{
		VhnswChange change;
		Page		page;

		VhnswChangeBegin(&change, insert->index, insert->building);
		page = VhnswChangePage(&change, buffer);
		slot = VhnswPageGetSlot(layout, page, slotno);
		slot->neighbors[place] = element;
		if (link->sketch)
			VhnswEdgePut(layout, slot, place, link->sketch);
		slot->nneighbors = Max(slot->nneighbors, place + 1);
		VhnswChangeEnd(&change);
	}
	VhnswReleasePage(buffer);
	return place >= 0;
}
