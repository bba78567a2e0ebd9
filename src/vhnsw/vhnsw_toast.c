/*-------------------------------------------------------------------------
 *
 * vhnsw_toast.c
 *	  Values that are stored out of line, read one after the other.
 *
 * Core's way to detoast a value opens and locks the TOAST table and its
 * indexes, begins a scan, and ends, closes and unlocks it all again: half of the
 * time that a vector of 784 dimensions takes.  A scan that reads a vector for
 * every row keeps them open instead, and reads into one buffer.
 *
 * Only the common case is ours: a value in one piece after the other, not
 * compressed, in the TOAST table of the first value, kept by heap.  All else is
 * left to core: also pieces that are not what they should be, so that it is
 * core that raises its error.
 *
 * Between values no page is pinned.  Locks are kept to the end of the
 * transaction, like those of the executor on the table itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/toast_internals.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_page.h"
#include "vhnsw/vhnsw_toast.h"
#include "vhnsw/vhnsw_toast_place.h"

/* Columns of a TOAST table */
#define TOAST_VALUE_ID 1
#define TOAST_CHUNK_NUMBER 2
#define TOAST_CHUNK_DATA 3

static void open_table(VhnswToastReader *reader, Oid relid,
					   MemoryContext parent);
static bool read_in_place(VhnswToastReader *reader, Oid value_id, char *data,
						  Size size);
static bool copy_from_page(VhnswToastReader *reader, Oid value_id,
						   Snapshot snapshot, Buffer buffer, OffsetNumber first, char *data,
						   Size size, Size *done, int32 *number);
static bool read_chunks(VhnswToastReader *reader, Oid value_id, char *data,
						Size size);
static void note_page(VhnswToastReader *reader);
static bool copy_chunk(TupleTableSlot *slot, int32 number, char *data,
					   Size size);
static bool copy_data(Datum value, char *data, Size size);

/*
 * VhnswToastRead
 *		Read a value into the reader's buffer.
 *
 * Returns false, and leaves *read alone, if the value is not stored out of line or
 * should be detoasted by core.  *read is valid until the next call; the caller
 * may rely on its alignment, and may not change it.
 *
 * What the reader keeps is in a child of 'parent', which must live as long.
 * A snapshot must be active, as for detoasting.
 */
bool
VhnswToastRead(VhnswToastReader *reader, MemoryContext parent, Datum value,
			   Datum *read)
{
	struct varlena *attribute = (struct varlena *) DatumGetPointer(value);
	struct varatt_external pointer;
	MemoryContext old_context;
	Size		size;
	bool		whole;

	if (!VARATT_IS_EXTERNAL_ONDISK(attribute))
		return false;
	VARATT_EXTERNAL_GET_POINTER(pointer, attribute);
	if (VARATT_EXTERNAL_IS_COMPRESSED(pointer))
		return false;
	if (!OidIsValid(reader->relid))
		open_table(reader, pointer.va_toastrelid, parent);
	if (reader->table == NULL || pointer.va_toastrelid != reader->relid)
		return false;

	size = VARATT_EXTERNAL_GET_EXTSIZE(pointer);
	if (size == 0)
		return false;
	old_context = MemoryContextSwitchTo(reader->context);
	if (VARHDRSZ + size > reader->room)
	{
		if (reader->value)
			pfree(reader->value);
		reader->value = NULL;
		reader->room = 0;
		reader->value = palloc(VARHDRSZ + size);
		reader->room = VARHDRSZ + size;
	}
	whole = read_in_place(reader, pointer.va_valueid, VARDATA(reader->value),
						  size) ||
		read_chunks(reader, pointer.va_valueid, VARDATA(reader->value), size);
	MemoryContextSwitchTo(old_context);
	if (!whole)
		return false;

	SET_VARSIZE(reader->value, VARHDRSZ + size);
	*read = PointerGetDatum(reader->value);
	return true;
}

/* Open a TOAST table, its indexes, and a scan of the one that is valid. */
static void
open_table(VhnswToastReader *reader, Oid relid, MemoryContext parent)
{
	MemoryContext old_context;
	Relation	table = table_open(relid, AccessShareLock);
	int			valid;

	reader->relid = relid;
	if (table->rd_tableam != GetHeapamTableAmRoutine())
	{
		table_close(table, NoLock);
		return;
	}
	reader->context = AllocSetContextCreate(parent, "vhnsw toast reader",
											ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(reader->context);
	valid = toast_open_indexes(table, AccessShareLock, &reader->indexes,
							   &reader->nindexes);
	reader->slot = table_slot_create(table, NULL);
	reader->scan = index_beginscan(table, reader->indexes[valid],
								   VecdistToastSnapshot(&reader->snapshot),
								   1, 0);
	reader->table = table;
	MemoryContextSwitchTo(old_context);
}

/*
 * Read all chunks of a value from where we found them before, one behind the
 * other, without asking the index.  Returns false if they are not there, all of
 * them visible, or if their pages are not where they were; the index knows then.
 */
static bool
read_in_place(VhnswToastReader *reader, Oid value_id, char *data, Size size)
{
	struct VhnswPageHints *hints;
	Snapshot	snapshot;
	ItemPointerData tid;
	Size		done = 0;
	int32		number = 0;
	BlockNumber blkno;
	OffsetNumber first;

	if (!VhnswToastPlaceGet(reader->relid, value_id, &tid))
		return false;
	snapshot = VecdistToastSnapshot(&reader->snapshot);
	hints = VhnswGetPageHints(reader->table);
	blkno = ItemPointerGetBlockNumber(&tid);
	first = ItemPointerGetOffsetNumber(&tid);
	while (done < size)
	{
		Buffer		buffer = VhnswLockHinted(reader->table, hints, blkno);
		bool		sane;

		if (!BufferIsValid(buffer))
			return false;
		sane = copy_from_page(reader, value_id, snapshot, buffer, first, data, size,
							  &done, &number);
		VhnswReleasePage(buffer);
		if (!sane)
			return false;
		blkno++;
		first = FirstOffsetNumber;
	}
	return true;
}

/*
 * Copy the next chunks of a value, at least one, from a share-locked page, as
 * far as they stand there.  Returns false if one is not as it should.
 */
static bool
copy_from_page(VhnswToastReader *reader, Oid value_id, Snapshot snapshot,
			   Buffer buffer, OffsetNumber first, char *data, Size size, Size *done,
			   int32 *number)
{
	Page		page = BufferGetPage(buffer);
	TupleDesc	desc = RelationGetDescr(reader->table);

	if (first > PageGetMaxOffsetNumber(page))
		return false;
	for (OffsetNumber i = first;
		 i <= PageGetMaxOffsetNumber(page) && *done < size; i++)
	{
		Size		chunk_size = Min(size - *done, TOAST_MAX_CHUNK_SIZE);
		ItemId		item = PageGetItemId(page, i);
		HeapTupleData tuple;
		Datum		values[TOAST_CHUNK_DATA];
		bool		isnull[TOAST_CHUNK_DATA];

		if (!ItemIdIsNormal(item))
			return false;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = reader->relid;
		ItemPointerSet(&tuple.t_self, BufferGetBlockNumber(buffer), i);
		heap_deform_tuple(&tuple, desc, values, isnull);
		if (isnull[TOAST_VALUE_ID - 1] || isnull[TOAST_CHUNK_NUMBER - 1] ||
			isnull[TOAST_CHUNK_DATA - 1] ||
			DatumGetObjectId(values[TOAST_VALUE_ID - 1]) != value_id ||
			DatumGetInt32(values[TOAST_CHUNK_NUMBER - 1]) != *number ||
			!HeapTupleSatisfiesVisibility(&tuple, snapshot, buffer) ||
			!copy_data(values[TOAST_CHUNK_DATA - 1], data + *done, chunk_size))
			return false;
		*done += chunk_size;
		(*number)++;
	}
	return true;
}

/* Read all chunks of a value.  Returns false if they are not as they should. */
static bool
read_chunks(VhnswToastReader *reader, Oid value_id, char *data, Size size)
{
	IndexScanDesc scan = reader->scan;
	ScanKeyData key;
	Size		done = 0;
	int32		number = 0;
	bool		sane = true;

	ScanKeyInit(&key, TOAST_VALUE_ID, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(value_id));
	scan->xs_snapshot = VecdistToastSnapshot(&reader->snapshot);
	index_rescan(scan, &key, 1, NULL, 0);

	/* To the end, where the scan gives back its pins. */
	while (index_getnext_slot(scan, ForwardScanDirection, reader->slot))
	{
		Size		chunk_size = Min(size - done, TOAST_MAX_CHUNK_SIZE);

		if (number == 0)
			VhnswToastPlaceNote(reader->relid, value_id, &reader->slot->tts_tid);
		note_page(reader);
		sane = sane && chunk_size > 0 &&
			copy_chunk(reader->slot, number++, data + done, chunk_size);
		done += chunk_size;
	}
	ExecClearTuple(reader->slot);
	return sane && done == size;
}

/* Remember where the page of the chunk in the slot is. */
static void
note_page(VhnswToastReader *reader)
{
	const BufferHeapTupleTableSlot *slot =
	(const BufferHeapTupleTableSlot *) reader->slot;

	if (TTS_IS_BUFFERTUPLE(reader->slot) && BufferIsValid(slot->buffer))
		VhnswNoteHint(VhnswGetPageHints(reader->table),
					  ItemPointerGetBlockNumber(&reader->slot->tts_tid),
					  slot->buffer);
}

/* Copy a chunk, if it has this number and size. */
static bool
copy_chunk(TupleTableSlot *slot, int32 number, char *data, Size size)
{
	slot_getsomeattrs(slot, TOAST_CHUNK_DATA);
	return !slot->tts_isnull[TOAST_CHUNK_NUMBER - 1] &&
		!slot->tts_isnull[TOAST_CHUNK_DATA - 1] &&
		DatumGetInt32(slot->tts_values[TOAST_CHUNK_NUMBER - 1]) == number &&
		copy_data(slot->tts_values[TOAST_CHUNK_DATA - 1], data, size);
}

/* Copy the data of a chunk, if it has this size. */
static bool
copy_data(Datum value, char *data, Size size)
{
	struct varlena *chunk = (struct varlena *) DatumGetPointer(value);

	if ((VARATT_IS_EXTENDED(chunk) && !VARATT_IS_SHORT(chunk)) ||
		VARSIZE_ANY_EXHDR(chunk) != size)
		return false;
	memcpy(data, VARDATA_ANY(chunk), size);
	return true;
}

/* Close everything. */
void
VhnswToastEnd(VhnswToastReader *reader)
{
	if (reader->table)
	{
		index_endscan(reader->scan);
		ExecDropSingleTupleTableSlot(reader->slot);
		toast_close_indexes(reader->indexes, reader->nindexes, NoLock);
		table_close(reader->table, NoLock);
		MemoryContextDelete(reader->context);
	}
	memset(reader, 0, sizeof(*reader));
}
