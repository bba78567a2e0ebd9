/*-------------------------------------------------------------------------
 *
 * vhnsw_tids.c
 *	  TID lists: chains of cells that hold heap TIDs.
 *
 * A list belongs to an element (its TIDs beyond the first) or stands in the
 * metapage (NULLs, zero vectors, extreme vectors).  The lock on the page with
 * the list's head, the "owner page", serializes all changes of the list; the
 * metapage lock serializes taking and freeing cells.  See README, sections
 * "Pages", "Lock order" and "What a reader may see".
 *
 * Only vacuum takes cells out of a list, and it never moves a TID.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vecdist_debug.h"
#include "vhnsw/vhnsw_tids.h"

/* Cells that are read of an element at first, and at most, at a time. */
#define FIRST_CELLS 2
#define MOST_CELLS 1024

/* Whose list it is, and what of it is locked. */
typedef struct ListOwner
{
	Relation	index;
	const VhnswLayout *layout;	/* NULL for lists outside the graph */
	VhnswOutsideList list;		/* if outside */
	VhnswElement element;		/* else */
	uint8		version;		/* of the element's slot */
	const VhnswCode *code;		/* what the slot must hold, or NULL */
	Buffer		meta_buffer;	/* exclusively locked, or invalid */
	Buffer		element_buffer; /* likewise; invalid for lists outside */
} ListOwner;

typedef enum AddResult
{
	ADD_DONE,
	ADD_OWNER_GONE,				/* the slot holds another element, or none */
	ADD_NEEDS_META,				/* a new cell is needed: lock the metapage */
	ADD_NEEDS_PAGE				/* no TID page has a free cell */
} AddResult;

static bool owner_is_outside(const ListOwner *owner);
static uint32 owner_number(const ListOwner *owner);
static void lock_owner(ListOwner *owner, bool with_meta);
static void unlock_owner(ListOwner *owner);
static VhnswSlot owner_slot(const ListOwner *owner, Page page);
static ItemPointer owner_head(const ListOwner *owner, Page page);
static Page owner_page(const ListOwner *owner);
static void add_tid(ListOwner *owner, ItemPointer tid, bool building,
					bool *found);
static AddResult try_add_tid(ListOwner *owner, ItemPointer tid, bool building);
static bool add_to_head_cell(ListOwner *owner, ItemPointer tid, bool building,
							 uint32 *sequence);
static bool add_in_new_cell(ListOwner *owner, ItemPointer tid, bool building,
							uint32 sequence);
static void add_tid_page(Relation index, bool building);
static int	find_free_cell(Page page);
static void note_progress(VhnswCellWalk *walk, VhnswCell cell);
static void vacuum_list(ListOwner *owner, IndexBulkDeleteResult *stats,
						IndexBulkDeleteCallback callback, void *state);
static int	count_live_tids(VhnswCell cell, IndexBulkDeleteCallback callback,
							void *state);
static void remove_dead_tids(VhnswCell cell, IndexBulkDeleteCallback callback,
							 void *state);
static void read_cell(Relation index, ItemPointer at, VhnswCell cell);
static int	vacuum_cell(ListOwner *owner, ItemPointer at, ItemPointer next,
						uint64 *sequence, IndexBulkDeleteResult *stats,
						IndexBulkDeleteCallback callback, void *state);
static bool unlink_cell(ListOwner *owner, ItemPointer dead, ItemPointer kept,
						IndexBulkDeleteCallback callback, void *state);
static void unlink_in_images(ListOwner *owner, VhnswChange *change, Page page,
							 ItemPointer dead, Page predecessor_page,
							 ItemPointer predecessor);
static void find_predecessor(ListOwner *owner, ItemPointer at,
							 ItemPointer kept, ItemPointer predecessor);

void
VhnswTidArrayAdd(VhnswTidArray *array, const ItemPointerData *tid)
{
	if (array->count == array->capacity)
	{
		array->capacity = Max(16, 2 * array->capacity);
		if (array->tids == NULL)
			array->tids = palloc_array(ItemPointerData, array->capacity);
		else
			array->tids = repalloc_huge(array->tids,
										mul_size(array->capacity,
												 sizeof(ItemPointerData)));
	}
	array->tids[array->count++] = *tid;
}

static bool
owner_is_outside(const ListOwner *owner)
{
	return owner->layout == NULL;
}

/* What cells of this list have as their owner. */
static uint32
owner_number(const ListOwner *owner)
{
	return owner_is_outside(owner) ?
		VhnswOutsideOwner(owner->list) : owner->element;
}

/*
 * Lock the owner page exclusively, and the metapage before it if asked or if
 * it is the owner page.
 */
static void
lock_owner(ListOwner *owner, bool with_meta)
{
	owner->meta_buffer = InvalidBuffer;
	owner->element_buffer = InvalidBuffer;
	if (with_meta || owner_is_outside(owner))
		owner->meta_buffer = VhnswGetPage(owner->index, VHNSW_META_BLKNO,
										  VHNSW_PAGE_META,
										  BUFFER_LOCK_EXCLUSIVE);
	if (!owner_is_outside(owner))
		owner->element_buffer =
			VhnswGetPage(owner->index,
						 VhnswElementBlock(owner->layout, owner->element),
						 VHNSW_PAGE_ELEMENT, BUFFER_LOCK_EXCLUSIVE);
}

static void
unlock_owner(ListOwner *owner)
{
	if (BufferIsValid(owner->element_buffer))
		VhnswReleasePage(owner->element_buffer);
	if (BufferIsValid(owner->meta_buffer))
		VhnswReleasePage(owner->meta_buffer);
	owner->element_buffer = owner->meta_buffer = InvalidBuffer;
}

static Page
owner_page(const ListOwner *owner)
{
	return BufferGetPage(owner_is_outside(owner) ?
						 owner->meta_buffer : owner->element_buffer);
}

static VhnswSlot
owner_slot(const ListOwner *owner, Page page)
{
	return VhnswPageGetSlot(owner->layout, page,
							VhnswElementSlot(owner->layout, owner->element));
}

/* Where the owner page, or an image of it, names the first cell. */
static ItemPointer
owner_head(const ListOwner *owner, Page page)
{
	if (owner_is_outside(owner))
		return &VhnswPageGetMeta(page)->outside[owner->list];
	return &owner_slot(owner, page)->tids;
}

/* Does the locked slot still hold the element that the caller means? */
static bool
owner_is_there(const ListOwner *owner)
{
	VhnswSlot	slot;

	if (owner_is_outside(owner))
		return true;
	slot = owner_slot(owner, owner_page(owner));
	if ((slot->flags & VHNSW_SLOT_LIVE) == 0 ||
		slot->version != owner->version)
		return false;
	return owner->code == NULL ||
		VhnswSlotHasCode(owner->layout, slot, owner->code);
}

/*
 * VhnswAddTidToElement
 *		Add a heap TID to an element with an equal code.
 *
 * Returns false, having done nothing, if the slot no longer holds a live
 * element of this version and code.  Caller holds no content lock.
 */
bool
VhnswAddTidToElement(Relation index, const VhnswLayout *layout,
					 VhnswElement element, uint8 version,
					 const VhnswCode *code, ItemPointer tid, bool building)
{
	ListOwner	owner = {.index = index,.layout = layout,
	.element = element,.version = version,.code = code};
	bool		found;

	add_tid(&owner, tid, building, &found);
	return found;
}

/* Add a heap TID to a list outside the graph.  Caller holds no content lock. */
void
VhnswAddTidOutside(Relation index, VhnswOutsideList list, ItemPointer tid,
				   bool building)
{
	ListOwner	owner = {.index = index,.list = list};
	bool		found;

	add_tid(&owner, tid, building, &found);
}

static void
add_tid(ListOwner *owner, ItemPointer tid, bool building, bool *found)
{
	bool		with_meta = false;

	for (;;)
	{
		AddResult	result;

		CHECK_FOR_INTERRUPTS();
		lock_owner(owner, with_meta);
		result = try_add_tid(owner, tid, building);
		unlock_owner(owner);

		switch (result)
		{
			case ADD_DONE:
				*found = true;
				return;
			case ADD_OWNER_GONE:
				*found = false;
				return;
			case ADD_NEEDS_META:
				with_meta = true;
				break;
			case ADD_NEEDS_PAGE:
				add_tid_page(owner->index, building);
				break;
		}
	}
}

/*
 * Add a TID to the list of a locked owner: in the slot itself, in the list's
 * first cell, or in a new cell.  Each is one record, complete in itself.
 */
static AddResult
try_add_tid(ListOwner *owner, ItemPointer tid, bool building)
{
	uint32		sequence = 0;

	if (!owner_is_there(owner))
		return ADD_OWNER_GONE;

	if (!owner_is_outside(owner) &&
		!ItemPointerIsValid(&owner_slot(owner, owner_page(owner))->heaptid))
	{
		VhnswChange change;
		Page		page;

		VhnswChangeBegin(&change, owner->index, building);
		page = VhnswChangePage(&change, owner->element_buffer);
		owner_slot(owner, page)->heaptid = *tid;
		VhnswChangeEnd(&change);
		return ADD_DONE;
	}

	if (ItemPointerIsValid(owner_head(owner, owner_page(owner))) &&
		add_to_head_cell(owner, tid, building, &sequence))
		return ADD_DONE;

	if (!BufferIsValid(owner->meta_buffer))
		return ADD_NEEDS_META;
	return add_in_new_cell(owner, tid, building, sequence) ?
		ADD_DONE : ADD_NEEDS_PAGE;
}

/*
 * Add a TID to the first cell of a list, if it has room.  *sequence becomes
 * the cell's number.
 */
static bool
add_to_head_cell(ListOwner *owner, ItemPointer tid, bool building,
				 uint32 *sequence)
{
	ItemPointerData head = *owner_head(owner, owner_page(owner));
	Buffer		buffer = VhnswGetPage(owner->index,
									  ItemPointerGetBlockNumber(&head),
									  VHNSW_PAGE_TIDS, BUFFER_LOCK_EXCLUSIVE);
	VhnswCell	cell = VhnswPageGetCell(BufferGetPage(buffer),
										ItemPointerGetOffsetNumber(&head));
	bool		has_room = cell->ntids < VHNSW_TIDS_PER_CELL;

	if (cell->owner != owner_number(owner))
		VhnswReportCorruption(owner->index, ItemPointerGetBlockNumber(&head),
							  "A list leads to a TID cell of another owner.");

	*sequence = cell->sequence;
	if (has_room)
	{
		VhnswChange change;
		Page		page;

		VhnswChangeBegin(&change, owner->index, building);
		page = VhnswChangePage(&change, buffer);
		cell = VhnswPageGetCell(page, ItemPointerGetOffsetNumber(&head));
		cell->tids[cell->ntids++] = *tid;
		VhnswChangeEnd(&change);
	}
	VhnswReleasePage(buffer);
	return has_room;
}

/*
 * Put a TID into a new cell at the head of the list; the metapage is locked.
 * Returns false if no TID page has a free cell.
 *
 * One record: metapage, owner page, TID page.  A page that gives its last
 * free cell leaves the list of such pages.
 */
static bool
add_in_new_cell(ListOwner *owner, ItemPointer tid, bool building,
				uint32 sequence)
{
	VhnswMetaPage meta = VhnswPageGetMeta(BufferGetPage(owner->meta_buffer));
	BlockNumber blkno = meta->free_cells;
	VhnswChange change;
	Buffer		buffer;
	Page		head_page;
	Page		page;
	VhnswCell	cell;
	int			number;

	if (blkno == 0)
		return false;
	buffer = VhnswGetPage(owner->index, blkno, VHNSW_PAGE_TIDS,
						  BUFFER_LOCK_EXCLUSIVE);
	number = find_free_cell(BufferGetPage(buffer));
	if (number == 0)
		VhnswReportCorruption(owner->index, blkno,
							  "A TID page without a free cell is on the list of those with one.");

	VhnswChangeBegin(&change, owner->index, building);
	head_page = VhnswChangePage(&change, owner->meta_buffer);
	meta = VhnswPageGetMeta(head_page);
	if (!owner_is_outside(owner))
		head_page = VhnswChangePage(&change, owner->element_buffer);
	page = VhnswChangePage(&change, buffer);

	cell = VhnswPageGetCell(page, number);
	cell->next = *owner_head(owner, head_page);
	cell->ntids = 1;
	cell->version = owner->version;
	cell->owner = owner_number(owner);
	cell->sequence = sequence + 1;
	cell->tids[0] = *tid;
	ItemPointerSet(owner_head(owner, head_page), blkno, number);
	if (find_free_cell(page) == 0)
	{
		VhnswPageOpaque opaque = VhnswPageGetOpaque(page);

		meta->free_cells = opaque->next;
		opaque->next = 0;
		opaque->flags &= ~VHNSW_PAGE_HAS_FREE_CELLS;
	}
	VhnswChangeEnd(&change);
	VhnswReleasePage(buffer);
	return true;
}

/* The number of a free cell, or 0. */
static int
find_free_cell(Page page)
{
	for (int i = 1; i <= VHNSW_CELLS_PER_PAGE; i++)
	{
		if (VhnswPageGetCell(page, i)->owner == 0)
			return i;
	}
	return 0;
}

/*
 * Add an empty TID page to the index and to the list of those with free
 * cells, unless somebody else did.  Caller holds no content lock.
 */
static void
add_tid_page(Relation index, bool building)
{
	Buffer		buffer = VhnswExtend(index, MAIN_FORKNUM);
	Buffer		meta_buffer;
	VhnswMetaPage meta;

	/* The metapage comes first in the lock order. */
	VhnswUnlockPage(buffer);
	meta_buffer = VhnswGetPage(index, VHNSW_META_BLKNO, VHNSW_PAGE_META,
							   BUFFER_LOCK_EXCLUSIVE);
	VhnswLockPage(buffer, BUFFER_LOCK_EXCLUSIVE);
	meta = VhnswPageGetMeta(BufferGetPage(meta_buffer));
	if (meta->free_cells == 0 && PageIsNew(BufferGetPage(buffer)))
	{
		VhnswChange change;
		VhnswPageOpaque opaque;

		VhnswChangeBegin(&change, index, building);
		meta = VhnswPageGetMeta(VhnswChangePage(&change, meta_buffer));
		opaque = VhnswPageGetOpaque(VhnswChangeNewPage(&change, buffer,
													   VHNSW_PAGE_TIDS, NULL));
		opaque->flags |= VHNSW_PAGE_HAS_FREE_CELLS;
		opaque->next = meta->free_cells;
		meta->free_cells = BufferGetBlockNumber(buffer);
		VhnswChangeEnd(&change);
	}
	VhnswReleasePage(buffer);
	VhnswReleasePage(meta_buffer);
	VD_DEBUG_POINT("vhnsw-tid-page");
}

/*
 * Copy the slot's TIDs, if it still holds the element read before.  Returns
 * false if not.
 */
static bool
read_slot_tids(Relation index, const VhnswLayout *layout,
			   VhnswElement element, uint8 version,
			   const VhnswFingerprint *fingerprint,
			   ItemPointer heaptid, ItemPointer head)
{
	Buffer		buffer = VhnswGetPage(index,
									  VhnswElementBlock(layout, element),
									  VHNSW_PAGE_ELEMENT, BUFFER_LOCK_SHARE);
	VhnswSlot	slot = VhnswPageGetSlot(layout, BufferGetPage(buffer),
										VhnswElementSlot(layout, element));
	bool		same;

	same = (slot->flags & VHNSW_SLOT_LIVE) != 0 &&
		slot->version == version &&
		slot->scale == fingerprint->scale &&
		slot->norm == fingerprint->norm &&
		slot->residual == fingerprint->residual;
	*heaptid = slot->heaptid;
	*head = slot->tids;
	VhnswReleasePage(buffer);
	return same;
}

/* Copy a cell, after checking what a damaged one must not lead to. */
static void
read_cell(Relation index, ItemPointer at, VhnswCell cell)
{
	BlockNumber blkno = ItemPointerGetBlockNumber(at);
	OffsetNumber number = ItemPointerGetOffsetNumber(at);
	Buffer		buffer;

	if (number > VHNSW_CELLS_PER_PAGE)
		VhnswReportCorruption(index, blkno,
							  "A TID list leads to a cell that no page has.");
	buffer = VhnswGetPage(index, blkno, VHNSW_PAGE_TIDS, BUFFER_LOCK_SHARE);
	*cell = *VhnswPageGetCell(BufferGetPage(buffer), number);
	VhnswReleasePage(buffer);
	if (cell->ntids > VHNSW_TIDS_PER_CELL)
		VhnswReportCorruption(index, blkno,
							  "A TID cell counts more TIDs than it can hold.");
	for (int i = 0; i < cell->ntids; i++)
	{
		if (!ItemPointerIsValid(&cell->tids[i]))
			VhnswReportCorruption(index, blkno,
								  "A TID cell has a TID that is not valid.");
	}
}

/* Begin, or begin again, at the head of a list. */
static void
walk_from(VhnswCellWalk *walk, ItemPointer head)
{
	walk->next = *head;
	walk->sequence = PG_UINT32_MAX;
}

/*
 * Read the next cell of a list.  Returns false if it is not what we expect
 * because vacuum took it away since we read its place: the caller begins again
 * at the head.  Cells read before come again then; the caller skips those
 * whose sequence number is not below walk->done.
 *
 * The same obstacle twice without progress is damage, not a race.
 */
static bool
walk_cell(Relation index, VhnswCellWalk *walk, uint32 owner, uint8 version,
		  VhnswCell cell)
{
	CHECK_FOR_INTERRUPTS();
	read_cell(index, &walk->next, cell);
	if (cell->owner != owner || cell->version != version ||
		cell->sequence >= walk->sequence)
	{
		if (ItemPointerEquals(&walk->obstacle, &walk->next) &&
			walk->obstacle_owner == cell->owner &&
			walk->obstacle_sequence == cell->sequence)
			VhnswReportCorruption(index,
								  ItemPointerGetBlockNumber(&walk->next),
								  "A TID list leads to a cell that is not its own.");
		walk->obstacle = walk->next;
		walk->obstacle_owner = cell->owner;
		walk->obstacle_sequence = cell->sequence;
		return false;
	}
	walk->sequence = cell->sequence;
	walk->next = cell->next;
	return true;
}

/* A cell was read that had not been read before. */
static void
note_progress(VhnswCellWalk *walk, VhnswCell cell)
{
	walk->done = cell->sequence;
	ItemPointerSetInvalid(&walk->obstacle);
}

/*
 * VhnswElementReaderInit
 *		Prepare to read the TIDs of an element that was found with this version
 *		and fingerprint.  'layout' must outlive the reader.
 */
void
VhnswElementReaderInit(VhnswElementReader *reader, Relation index,
					   const VhnswLayout *layout, VhnswElement element,
					   uint8 version, const VhnswFingerprint *fingerprint)
{
	memset(reader, 0, sizeof(*reader));
	reader->index = index;
	reader->layout = layout;
	reader->element = element;
	reader->version = version;
	reader->fingerprint = *fingerprint;
	reader->walk.done = PG_UINT32_MAX;
}

/*
 * VhnswElementReaderNext
 *		Append the next TIDs of an element to 'array'.
 *
 * Few at first, because a query may want few of a million equal rows, then
 * twice as many each time.  Returns false when there are no more, or the slot
 * no longer holds the element, so that none of its TIDs is of use to anybody;
 * the array is then empty.  Holds one share lock at a time, none on entry and
 * exit.
 */
bool
VhnswElementReaderNext(VhnswElementReader *reader, VhnswTidArray *array)
{
	VhnswCellWalk *walk = &reader->walk;
	ItemPointerData heaptid;
	ItemPointerData head;
	VhnswCellData cell;
	int			ncells = 0;

	array->count = 0;
	if (reader->cells == 0)
	{
		if (!read_slot_tids(reader->index, reader->layout, reader->element,
							reader->version, &reader->fingerprint,
							&heaptid, &head))
			return false;
		if (ItemPointerIsValid(&heaptid))
			VhnswTidArrayAdd(array, &heaptid);
		walk_from(walk, &head);
		reader->cells = FIRST_CELLS;
	}
	else
		reader->cells = Min(2 * reader->cells, MOST_CELLS);

	while (ItemPointerIsValid(&walk->next) && ncells < reader->cells)
	{
		if (!walk_cell(reader->index, walk, reader->element, reader->version,
					   &cell))
		{
			if (!read_slot_tids(reader->index, reader->layout,
								reader->element, reader->version,
								&reader->fingerprint, &heaptid, &head))
			{
				array->count = 0;
				return false;
			}
			walk_from(walk, &head);
			continue;
		}
		if (cell.sequence >= walk->done)
			continue;
		for (int i = 0; i < cell.ntids; i++)
			VhnswTidArrayAdd(array, &cell.tids[i]);
		note_progress(walk, &cell);
		ncells++;
	}

	/* Only now is it sure that these cells were the element's. */
	if (!read_slot_tids(reader->index, reader->layout, reader->element,
						reader->version, &reader->fingerprint, &heaptid,
						&head))
		array->count = 0;
	return array->count > 0;
}

void
VhnswListReaderInit(VhnswListReader *reader, Relation index,
					VhnswOutsideList list)
{
	memset(reader, 0, sizeof(*reader));
	reader->index = index;
	reader->list = list;
	reader->walk.done = PG_UINT32_MAX;
}

/* Let the reader begin at the head of its list. */
static void
rewind_reader(VhnswListReader *reader)
{
	Buffer		buffer = VhnswGetPage(reader->index, VHNSW_META_BLKNO,
									  VHNSW_PAGE_META, BUFFER_LOCK_SHARE);
	ItemPointerData head =
	VhnswPageGetMeta(BufferGetPage(buffer))->outside[reader->list];

	VhnswReleasePage(buffer);
	walk_from(&reader->walk, &head);
	reader->started = true;
}

/*
 * VhnswListReaderNext
 *		The next TID of a list outside the graph; false at its end.
 *
 * Holds one share lock at a time, none on entry and exit.
 */
bool
VhnswListReaderNext(VhnswListReader *reader, ItemPointer tid)
{
	if (!reader->started)
		rewind_reader(reader);

	while (reader->position >= reader->cell.ntids)
	{
		reader->position = reader->cell.ntids = 0;
		if (!ItemPointerIsValid(&reader->walk.next))
			return false;
		if (!walk_cell(reader->index, &reader->walk,
					   VhnswOutsideOwner(reader->list), 0, &reader->cell))
		{
			reader->cell.ntids = 0;
			rewind_reader(reader);
		}
		else if (reader->cell.sequence >= reader->walk.done)
			reader->cell.ntids = 0;
		else
			note_progress(&reader->walk, &reader->cell);
	}

	*tid = reader->cell.tids[reader->position++];
	return true;
}

/*
 * VhnswVacuumElementTids
 *		Remove dead TIDs from an element's list, and the cells they empty.
 *
 * If nothing is left the element becomes a tombstone.  Caller holds no
 * content lock.
 */
void
VhnswVacuumElementTids(Relation index, const VhnswLayout *layout,
					   VhnswElement element, IndexBulkDeleteResult *stats,
					   IndexBulkDeleteCallback callback, void *callback_state)
{
	ListOwner	owner = {.index = index,.layout = layout,
	.element = element};

	vacuum_list(&owner, stats, callback, callback_state);
}

/* The same for a list outside the graph. */
void
VhnswVacuumOutside(Relation index, VhnswOutsideList list,
				   IndexBulkDeleteResult *stats,
				   IndexBulkDeleteCallback callback, void *callback_state)
{
	ListOwner	owner = {.index = index,.list = list};

	vacuum_list(&owner, stats, callback, callback_state);
}

static void
vacuum_list(ListOwner *owner, IndexBulkDeleteResult *stats,
			IndexBulkDeleteCallback callback, void *state)
{
	ItemPointerData next;
	ItemPointerData kept;
	uint64		sequence = PG_UINT64_MAX;

	lock_owner(owner, false);
	next = *owner_head(owner, owner_page(owner));
	unlock_owner(owner);
	ItemPointerSetInvalid(&kept);

	/*
	 * Nobody but us takes cells out, so a cell's successor stays where it is
	 * while we hold no lock.  New cells appear before the head we started at.
	 */
	while (ItemPointerIsValid(&next))
	{
		ItemPointerData current = next;
		int			live;

		VacuumDelayPoint();
		live = vacuum_cell(owner, &current, &next, &sequence, stats, callback,
						   state);
		if (live > 0 ||
			!unlink_cell(owner, &current, &kept, callback, state))
			kept = current;
		VD_DEBUG_POINT("vhnsw-tid-cell");
	}
}

/*
 * Remove dead TIDs from a cell, unless all are dead.  Returns the number of
 * live ones, and the next cell.  *sequence is that of the cell before, and
 * becomes that of this one.
 */
static int
vacuum_cell(ListOwner *owner, ItemPointer at, ItemPointer next,
			uint64 *sequence, IndexBulkDeleteResult *stats,
			IndexBulkDeleteCallback callback, void *state)
{
	OffsetNumber number = ItemPointerGetOffsetNumber(at);
	Buffer		buffer = VhnswGetPage(owner->index,
									  ItemPointerGetBlockNumber(at),
									  VHNSW_PAGE_TIDS, BUFFER_LOCK_EXCLUSIVE);
	VhnswCell	cell = VhnswPageGetCell(BufferGetPage(buffer), number);
	int			before = cell->ntids;
	int			live;

	if (number > VHNSW_CELLS_PER_PAGE || before > VHNSW_TIDS_PER_CELL ||
		cell->owner != owner_number(owner) || cell->sequence >= *sequence)
		VhnswReportCorruption(owner->index, ItemPointerGetBlockNumber(at),
							  "A TID list leads to a cell that is not its own.");
	*next = cell->next;
	*sequence = cell->sequence;
	live = count_live_tids(cell, callback, state);
	if (live < before && live > 0)
	{
		VhnswChange change;
		Page		page;

		VhnswChangeBegin(&change, owner->index, false);
		page = VhnswChangePage(&change, buffer);
		remove_dead_tids(VhnswPageGetCell(page, number), callback, state);
		VhnswChangeEnd(&change);
	}
	VhnswReleasePage(buffer);

	stats->tuples_removed += before - live;
	stats->num_index_tuples += live;
	return live;
}

static int
count_live_tids(VhnswCell cell, IndexBulkDeleteCallback callback, void *state)
{
	int			live = 0;

	for (int i = 0; i < cell->ntids; i++)
	{
		if (!callback(&cell->tids[i], state))
			live++;
	}
	return live;
}

static void
remove_dead_tids(VhnswCell cell, IndexBulkDeleteCallback callback, void *state)
{
	int			live = 0;

	for (int i = 0; i < cell->ntids; i++)
	{
		if (!callback(&cell->tids[i], state))
			cell->tids[live++] = cell->tids[i];
	}
	for (int i = live; i < cell->ntids; i++)
		ItemPointerSetInvalid(&cell->tids[i]);
	cell->ntids = live;
}

/*
 * The cell that leads to 'at', or an invalid pointer if it is the head.  'kept'
 * is the cell before it when this vacuum passed, if there was one: then it
 * still is.  Else 'at' was the head, and only new cells can stand before it.
 */
static void
find_predecessor(ListOwner *owner, ItemPointer at, ItemPointer kept,
				 ItemPointer predecessor)
{
	ItemPointerData current = *owner_head(owner, owner_page(owner));
	uint64		sequence = PG_UINT64_MAX;
	VhnswCellData cell;

	*predecessor = *kept;
	if (ItemPointerIsValid(kept))
		return;
	while (!ItemPointerEquals(&current, at))
	{
		if (ItemPointerIsValid(&current))
			read_cell(owner->index, &current, &cell);
		if (!ItemPointerIsValid(&current) || cell.sequence >= sequence)
			VhnswReportCorruption(owner->index, ItemPointerGetBlockNumber(at),
								  "A TID cell is not in the list of its owner.");
		sequence = cell.sequence;
		*predecessor = current;
		current = cell.next;
	}
}

/*
 * Take a cell whose TIDs are all dead out of its list and free it.  If a TID
 * was added meanwhile, only the dead ones go; then returns false.
 *
 * One record of at most four pages: metapage, element page, page of the cell,
 * page of its predecessor.  Complete in itself: an element that loses its last
 * TID becomes a tombstone here.
 */
static bool
unlink_cell(ListOwner *owner, ItemPointer dead, ItemPointer kept,
			IndexBulkDeleteCallback callback, void *state)
{
	OffsetNumber number = ItemPointerGetOffsetNumber(dead);
	ItemPointerData predecessor;
	Buffer		predecessor_buffer = InvalidBuffer;
	Buffer		buffer = InvalidBuffer;
	VhnswChange change;
	Page		page;
	bool		unlink;

	lock_owner(owner, true);
	find_predecessor(owner, dead, kept, &predecessor);
	if (ItemPointerIsValid(&predecessor))
	{
		predecessor_buffer =
			VhnswGetPage(owner->index,
						 ItemPointerGetBlockNumber(&predecessor),
						 VHNSW_PAGE_TIDS, BUFFER_LOCK_EXCLUSIVE);
		if (ItemPointerGetBlockNumber(&predecessor) ==
			ItemPointerGetBlockNumber(dead))
			buffer = predecessor_buffer;
	}
	if (!BufferIsValid(buffer))
		buffer = VhnswGetPage(owner->index, ItemPointerGetBlockNumber(dead),
							  VHNSW_PAGE_TIDS, BUFFER_LOCK_EXCLUSIVE);
	unlink = count_live_tids(VhnswPageGetCell(BufferGetPage(buffer), number),
							 callback, state) == 0;

	VhnswChangeBegin(&change, owner->index, false);
	page = VhnswChangePage(&change, buffer);
	if (unlink)
		unlink_in_images(owner, &change, page, dead,
						 predecessor_buffer == buffer ? page :
						 BufferIsValid(predecessor_buffer) ?
						 VhnswChangePage(&change, predecessor_buffer) : NULL,
						 &predecessor);
	else
		remove_dead_tids(VhnswPageGetCell(page, number), callback, state);
	VhnswChangeEnd(&change);

	if (BufferIsValid(predecessor_buffer) && predecessor_buffer != buffer)
		VhnswReleasePage(predecessor_buffer);
	VhnswReleasePage(buffer);
	unlock_owner(owner);
	return unlink;
}

/* The edits of unlink_cell(); adds the metapage and the element page. */
static void
unlink_in_images(ListOwner *owner, VhnswChange *change, Page page,
				 ItemPointer dead, Page predecessor_page,
				 ItemPointer predecessor)
{
	VhnswCell	cell = VhnswPageGetCell(page, ItemPointerGetOffsetNumber(dead));
	VhnswPageOpaque opaque = VhnswPageGetOpaque(page);
	Page		head_page = VhnswChangePage(change, owner->meta_buffer);
	VhnswMetaPage meta = VhnswPageGetMeta(head_page);

	if (!owner_is_outside(owner))
		head_page = VhnswChangePage(change, owner->element_buffer);

	if (predecessor_page)
		VhnswPageGetCell(predecessor_page,
						 ItemPointerGetOffsetNumber(predecessor))->next = cell->next;
	else
		*owner_head(owner, head_page) = cell->next;
	memset(cell, 0, sizeof(*cell));

	if ((opaque->flags & VHNSW_PAGE_HAS_FREE_CELLS) == 0)
	{
		opaque->flags |= VHNSW_PAGE_HAS_FREE_CELLS;
		opaque->next = meta->free_cells;
		meta->free_cells = ItemPointerGetBlockNumber(dead);
	}

	if (!owner_is_outside(owner))
	{
		VhnswSlot	slot = owner_slot(owner, head_page);

		if (!ItemPointerIsValid(&slot->heaptid) &&
			!ItemPointerIsValid(&slot->tids))
		{
			slot->flags = VHNSW_SLOT_TOMBSTONE;
			meta->flags |= VHNSW_META_TOMBSTONES;
		}
	}
}
