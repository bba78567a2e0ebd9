/*-------------------------------------------------------------------------
 *
 * vhnsw_row.c
 *	  Rows of the table, fetched by TID.
 *
 * The rows that a search finds lie anywhere, so that each takes several waits
 * for memory, one after the other: the buffer table, the descriptor of the
 * buffer, the page, the row.  A backend remembers which buffer it last found a
 * page in, as it does for pages of an index (vhnsw_page.c), and asks the CPU
 * for the rows that it will fetch next.
 *
 * For tables of heap; others are fetched as core does it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "vhnsw/vhnsw_page.h"
#include "vhnsw/vhnsw_row.h"

/* More of a row than this the CPU fetches by itself, as it is read in order. */
#define PREFETCHED_BYTES 512

static bool is_heap(Relation table);
static Buffer hinted_buffer(const struct VhnswPageHints *hints,
							const ItemPointerData *tid);

static bool
is_heap(Relation table)
{
	return table->rd_tableam == GetHeapamTableAmRoutine();
}

/* The buffer with the page of a row, if we know it; not pinned. */
static Buffer
hinted_buffer(const struct VhnswPageHints *hints, const ItemPointerData *tid)
{
	Buffer		buffer;

	if (!ItemPointerIsValid(tid) ||
		ItemPointerGetOffsetNumber(tid) > MaxHeapTuplesPerPage)
		return InvalidBuffer;
	buffer = VhnswHintedBuffer(hints, ItemPointerGetBlockNumber(tid));
	return BufferIsLocal(buffer) ? InvalidBuffer : buffer;
}

/*
 * VhnswPrefetchRows
 *		Let the CPU fetch what fetching these rows will read, as far as we know
 *		where that is.
 *
 * Nothing is pinned: if a page has moved, or is changing, the wrong memory is
 * fetched.
 */
void
VhnswPrefetchRows(Relation table, const ItemPointerData *tids, int n)
{
	const struct VhnswPageHints *hints;

	if (n == 0 || !is_heap(table))
		return;
	hints = VhnswGetPageHints(table);
	for (int i = 0; i < n; i++)
	{
		Buffer		buffer = hinted_buffer(hints, &tids[i]);

		if (!BufferIsValid(buffer))
			continue;
		__builtin_prefetch(GetBufferDescriptor(buffer - 1));
		__builtin_prefetch(BufferGetBlock(buffer));
		__builtin_prefetch(PageGetItemId(BufferGetPage(buffer),
										 ItemPointerGetOffsetNumber(&tids[i])));
	}
	for (int i = 0; i < n; i++)
	{
		Buffer		buffer = hinted_buffer(hints, &tids[i]);
		ItemIdData	item;

		if (!BufferIsValid(buffer))
			continue;
		item = *PageGetItemId(BufferGetPage(buffer),
							  ItemPointerGetOffsetNumber(&tids[i]));
		if (item.lp_off + item.lp_len > BLCKSZ)
			continue;
		for (int j = 0; j < Min(item.lp_len, PREFETCHED_BYTES); j += 64)
			__builtin_prefetch((char *) BufferGetBlock(buffer) + item.lp_off + j);
	}
}

/*
 * VhnswFetchRow
 *		Fetch the row of a TID that an index names; false if none is visible.
 *
 * As table_index_fetch_tuple() for the first version of a row.  Core's function finds
 * the page in the buffer that 'fetch' has pinned, if it is the right one.
 */
bool
VhnswFetchRow(IndexFetchTableData *fetch, ItemPointer tid, Snapshot snapshot,
			  TupleTableSlot *slot)
{
	Relation	table = fetch->rel;
	IndexFetchHeapData *heap_fetch = (IndexFetchHeapData *) fetch;
	BlockNumber blkno = ItemPointerGetBlockNumber(tid);
	bool		call_again = false;
	bool		is_known = true;
	bool		found;

	if (is_heap(table) &&
		!(BufferIsValid(heap_fetch->xs_cbuf) &&
		  BufferGetBlockNumber(heap_fetch->xs_cbuf) == blkno))
	{
		Buffer		buffer = VhnswPinHinted(table, VhnswGetPageHints(table), blkno);

		is_known = BufferIsValid(buffer);
		if (is_known)
		{
			if (BufferIsValid(heap_fetch->xs_cbuf))
				ReleaseBuffer(heap_fetch->xs_cbuf);
			heap_fetch->xs_cbuf = buffer;
			heap_page_prune_opt(table, buffer);
		}
	}
	found = table_index_fetch_tuple(fetch, tid, snapshot, slot, &call_again, NULL);
	if (!is_known && BufferIsValid(heap_fetch->xs_cbuf))
		VhnswNoteHint(VhnswGetPageHints(table), blkno, heap_fetch->xs_cbuf);
	return found;
}
