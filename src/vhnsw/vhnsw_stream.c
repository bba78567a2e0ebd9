/*-------------------------------------------------------------------------
 *
 * vhnsw_stream.c
 *	  The rows of an index, roughly by distance from a query.
 *
 * Both doors to an index, amgettuple and the custom scan, read it through a
 * stream.  It goes through these sources, each until it has no more rows:
 *
 *	extreme		vectors without a provable bound; reported with -infinity
 *	graph		the beam search, a step at a time
 *	sweep		all elements not reported yet, sorted by bound
 *	zero		vectors without direction (cosine): distance NaN
 *	null		NULLs
 *
 * Bounds are never above the truth.  They rise, except that the graph may find
 * a near element late; what that means is up to the reader.  See README,
 * section "Search".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_cost.h"
#include "vhnsw/vhnsw_row.h"
#include "vhnsw/vhnsw_settings.h"
#include "vhnsw/vhnsw_stream.h"

/* Candidates expanded before looking at memory and limits again */
#define MAX_STEPS 256

static bool next_from_list(VhnswStream *stream, VhnswOutsideList list,
						   ItemPointer tid);
static bool next_from_graph(VhnswStream *stream, VhnswStreamRow *row);
static int64 effort(const VhnswStream *stream);
static bool cut(VhnswStream *stream);
static bool limit_is_reached(const VhnswStream *stream);
static bool memory_is_full(const VhnswStream *stream);
static int64 steps_at_once(const VhnswStream *stream);
static bool sweep_is_due(const VhnswStream *stream);
static double expected_visits(const VhnswStream *stream);
static void take_tids(VhnswStream *stream, const VhnswFound *found);
static bool more_tids(VhnswStream *stream);
static void begin_sweep(VhnswStream *stream);
static int	collect_page(VhnswStream *stream, BlockNumber blkno,
						 BufferAccessStrategy strategy, VhnswFound *found);
static void sweep_put(VhnswStream *stream, const VhnswFound *found);
static void give_tid(VhnswStream *stream, VhnswStreamRow *row);
static bool next_from_sweep(VhnswStream *stream, VhnswStreamRow *row);

/*
 * VhnswStreamBegin
 *		Prepare to read an index.  No element is read before the first row.
 *
 * 'isnull' says that there is no query, so that every row is wanted, in any
 * order.  The stream has a memory context of its own below 'parent'.
 */
VhnswStream *
VhnswStreamBegin(Relation index, Datum query, bool isnull,
				 MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "vhnsw stream",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	VhnswStream *stream = palloc0_object(VhnswStream);
	const VhnswCache *cache = VhnswGetCache(index);

	stream->context = context;
	stream->index = index;
	stream->layout = cache->layout;
	stream->elements = (double) RelationGetNumberOfBlocks(index) *
		stream->layout.slots_per_page;
	stream->ef = VhnswEfSearch();
	stream->max_elements = PG_INT64_MAX;
	stream->max_visits = VhnswMaxScanTuples();
	if (stream->max_visits >= stream->elements)
		stream->max_visits = 0;
	stream->constant_bound = -get_float8_infinity();
	stream->source = VHNSW_STREAM_EXTREME;
	stream->unordered = isnull;

	if (!isnull)
	{
		VhnswValue	value;

		/* Detoasting may read catalogs, and so drop the cache. */
		VhnswValueGet(cache->space.type, query, &value);
		cache = VhnswGetCache(index);
		VhnswValueCheckQuery(cache->space.type, stream->layout.dims, &value);
		VhnswQueryInit(&stream->query, &cache->space, &value);
		if (stream->query.vector_class == VHNSW_VECTOR_NORMAL)
			stream->search = VhnswSearchBegin(index, cache, &stream->query,
											  NULL, context);
		else if (stream->query.vector_class == VHNSW_VECTOR_ZERO)
			stream->constant_bound = get_float8_nan();
	}
	MemoryContextSwitchTo(old_context);
	return stream;
}

/* Elements that the search has expanded or evaluated */
int64
VhnswStreamVisits(const VhnswStream *stream)
{
	if (stream->search == NULL)
		return 0;
	return stream->search->nexpanded + stream->search->nevaluated;
}

/* Add what the stream has done so far. */
void
VhnswStreamCount(const VhnswStream *stream, VhnswCounts *counts)
{
	if (stream->search)
	{
		counts->expanded += stream->search->nexpanded;
		counts->evaluated += stream->search->nevaluated;
		counts->scored += stream->search->nestimated;
	}
	counts->sweeps += stream->swept;
	counts->cut += stream->cut;
}

/* Give back what the stream holds. */
void
VhnswStreamEnd(VhnswStream *stream)
{
	if (stream->sort)
		tuplesort_end(stream->sort);
	if (stream->slot)
		ExecDropSingleTupleTableSlot(stream->slot);
	MemoryContextDelete(stream->context);
}

/*
 * VhnswStreamNext
 *		The next row from the current source, or the first of the next ones.
 *
 * Returns false if there are no more, or if it pauses.
 */
bool
VhnswStreamNext(VhnswStream *stream, VhnswStreamRow *row)
{
	stream->paused = false;
	for (;;)
	{
		row->bound.isnull = stream->unordered;
		row->bound.value = stream->constant_bound;
		row->number = 0;
		switch (stream->source)
		{
			case VHNSW_STREAM_EXTREME:
				if (next_from_list(stream, VHNSW_LIST_EXTREME, &row->tid))
					return true;
				stream->source = VHNSW_STREAM_GRAPH;
				break;

			case VHNSW_STREAM_GRAPH:
				if (stream->search && next_from_graph(stream, row))
					return true;
				if (stream->paused)
					return false;
				if (stream->source == VHNSW_STREAM_GRAPH)
					stream->source = VHNSW_STREAM_SWEEP;
				break;

			case VHNSW_STREAM_SWEEP:
				stream->sweep_due = stream->stop_at_sweep && !stream->swept;
				if (stream->sweep_due)
					return false;
				if (next_from_sweep(stream, row))
					return true;
				if (stream->source == VHNSW_STREAM_SWEEP)
					stream->source = VHNSW_STREAM_ZERO;
				break;

			case VHNSW_STREAM_ZERO:
				row->bound.value = get_float8_nan();
				if (next_from_list(stream, VHNSW_LIST_ZERO, &row->tid))
					return true;
				stream->source = VHNSW_STREAM_NULL;
				break;

			case VHNSW_STREAM_NULL:
				row->bound.isnull = true;
				if (next_from_list(stream, VHNSW_LIST_NULL, &row->tid))
					return true;
				stream->source = VHNSW_STREAM_END;
				break;

			case VHNSW_STREAM_END:
				return false;
		}
	}
}

static bool
next_from_list(VhnswStream *stream, VhnswOutsideList list, ItemPointer tid)
{
	if (!stream->reading)
	{
		VhnswListReaderInit(&stream->reader, stream->index, list);
		stream->reading = true;
	}
	if (VhnswListReaderNext(&stream->reader, tid))
		return true;
	stream->reading = false;
	return false;
}

/*
 * The next row of the beam search.  Returns false if the graph has no more, if
 * the sweep should go on, if the stream has ended (its source says so), or if
 * it pauses.
 */
static bool
next_from_graph(VhnswStream *stream, VhnswStreamRow *row)
{
	VhnswSearch *search = stream->search;

	search->wanted = stream->rows_wanted;
	if (search->nexpanded == 0)
		search->effort = effort(stream);
	for (;;)
	{
		int64		required = VhnswSettledBefore(stream->nreported + 1,
												  stream->ef, stream->filtered);
		VhnswFound *found;

		if (stream->next_tid < stream->tids.count || more_tids(stream))
		{
			give_tid(stream, row);
			return true;
		}

		if (stream->nreported >= stream->max_elements)
			return cut(stream);

		/*
		 * If the search ends, the sweep reports what is settled and what the
		 * graph does not reach in one order.  On the way to a large LIMIT we
		 * look at the memory now and then.
		 */
		while (search->nsettled < required &&
			   !(search->content && VhnswSearchHasSettled(search)))
		{
			stream->cut = limit_is_reached(stream);
			if (stream->cut)
				break;
			if (stream->pause_at > 0 &&
				VhnswStreamVisits(stream) >= stream->pause_at)
			{
				stream->paused = true;
				return false;
			}
			if (sweep_is_due(stream) ||
				!VhnswSearchUntil(search, required, steps_at_once(stream)))
				return false;
			if (stream->table)
				VhnswPrefetchRows(stream->table, search->nearest,
								  search->nnearest);
			search->nnearest = 0;
		}

		found = VhnswSearchTake(search);
		if (found == NULL)
		{
			Assert(stream->cut);
			return cut(stream);
		}
		stream->nreported++;
		take_tids(stream, found);
	}
}

/* How many settled elements may end the search before ef; 0 = none. */
static int64
effort(const VhnswStream *stream)
{
	return stream->rows_wanted > 0 ? VhnswEffortFor(stream->rows_wanted) : 0;
}

/* How many elements the search settles before its first row. */
int64
VhnswStreamEf(const VhnswStream *stream)
{
	int64		fewer = effort(stream);

	return fewer > 0 ? fewer : stream->ef;
}

/* End the stream although there may be more; always false. */
static bool
cut(VhnswStream *stream)
{
	stream->cut = true;
	stream->source = VHNSW_STREAM_END;
	return false;
}

/*
 * Has the search come to a limit of what it may visit?  What it has settled is
 * still reported.  A limit is less than the index, so no sweep takes over,
 * also not where the memory ends.
 */
static bool
limit_is_reached(const VhnswStream *stream)
{
	return stream->max_visits > 0 &&
		stream->search->nsettled >= stream->ef &&
		(VhnswStreamVisits(stream) >= stream->max_visits || memory_is_full(stream));
}

static bool
memory_is_full(const VhnswStream *stream)
{
	return MemoryContextMemAllocated(stream->context, false) >
		VhnswScanMemory();
}

/* How far to search before looking at limits again */
static int64
steps_at_once(const VhnswStream *stream)
{
	int64		visits = VhnswStreamVisits(stream);
	int64		steps = MAX_STEPS;

	if (stream->max_visits > visits)
		steps = Min(steps, stream->max_visits - visits);
	if (stream->pause_at > visits)
		steps = Min(steps, stream->pause_at - visits);
	return steps;
}

/*
 * Is reading the whole index cheaper than walking on, or the only way to stay
 * within the memory?  A page-wise evaluation costs about an eighth of one in
 * the graph.
 */
static bool
sweep_is_due(const VhnswStream *stream)
{
	double		eighth = 1 + stream->elements / 8;

	if (stream->max_visits > 0)
		return false;
	if (stream->nreported == 0 && stream->search->nexpanded == 0 &&
		expected_visits(stream) >= eighth)
		return true;
	if (stream->nreported >= stream->ef &&
		VhnswStreamVisits(stream) >= eighth)
		return true;
	return stream->search->nexpanded >= stream->ef && memory_is_full(stream);
}

/*
 * How many slots the graph search will probably read, if it is likely to go on
 * beyond ef; else ef, each of which has to be read at least.  Without sketches
 * the slots of neighbors come to those of elements that are expanded.
 */
static double
expected_visits(const VhnswStream *stream)
{
	double		expansions;

	if (stream->expected_rows <= stream->ef)
		return stream->ef;
	expansions = VhnswSettledBefore(stream->expected_rows, stream->ef,
									stream->filtered);
	if (stream->layout.edge_dims > 0)
		return expansions;
	return expansions * stream->layout.degree / 2;
}

/* Remember TIDs of an element and the bound to report them with. */
static void
take_tids(VhnswStream *stream, const VhnswFound *found)
{
	stream->next_tid = 0;
	stream->tids_given = 0;
	stream->tids.count = 0;
	stream->bound = found->bound;
	stream->reading_element = found->has_list;
	if (found->has_list)
		VhnswElementReaderInit(&stream->element_reader, stream->index,
							   &stream->layout, found->element,
							   found->version, &found->fingerprint);
	else if (ItemPointerIsValid(&found->heaptid))
	{
		MemoryContext old_context = MemoryContextSwitchTo(stream->context);

		VhnswTidArrayAdd(&stream->tids, &found->heaptid);
		MemoryContextSwitchTo(old_context);
	}
}

/* Read more TIDs of the element; false if it has no more. */
static bool
more_tids(VhnswStream *stream)
{
	MemoryContext old_context;

	if (!stream->reading_element)
		return false;
	old_context = MemoryContextSwitchTo(stream->context);
	stream->next_tid = 0;
	stream->reading_element = VhnswElementReaderNext(&stream->element_reader,
													 &stream->tids);
	MemoryContextSwitchTo(old_context);
	return stream->reading_element;
}

/*
 * Read all element pages and sort by bound what was not reported.  Without a
 * search every row is taken, with the bound that all of them have.
 */
static void
begin_sweep(VhnswStream *stream)
{
	Relation	index = stream->index;
	MemoryContext old_context = MemoryContextSwitchTo(stream->context);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	VhnswFound *found = palloc_array(VhnswFound,
									 stream->layout.slots_per_page);
	TupleDesc	desc = CreateTemplateTupleDesc(3);
	AttrNumber	columns[] = {1, 2};
	Oid			operators[] = {Float8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	stream->swept = true;
	TupleDescInitEntry(desc, 1, "bound", FLOAT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "element", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 3, "found", BYTEAOID, -1, 0);
	stream->sort = tuplesort_begin_heap(desc, 2, columns, operators,
										collations, nulls_first, work_mem,
										NULL, TUPLESORT_NONE);
	stream->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);

	for (BlockNumber blkno = VHNSW_META_BLKNO + 1; blkno < nblocks; blkno++)
	{
		int			n;

		CHECK_FOR_INTERRUPTS();
		VD_DEBUG_POINT("vhnsw-sweep-page");
		n = collect_page(stream, blkno, strategy, found);
		for (int i = 0; i < n; i++)
			sweep_put(stream, &found[i]);
	}
	tuplesort_performsort(stream->sort);

	ExecDropSingleTupleTableSlot(stream->slot);
	stream->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	MemoryContextSwitchTo(old_context);
}

/* Copy the live elements of a page that were not reported, with bounds. */
static int
collect_page(VhnswStream *stream, BlockNumber blkno,
			 BufferAccessStrategy strategy, VhnswFound *found)
{
	const VhnswLayout *layout = &stream->layout;
	Buffer		buffer = VhnswGetPageWithStrategy(stream->index, blkno,
												  BUFFER_LOCK_SHARE, strategy);
	Page		page = BufferGetPage(buffer);
	int			n = 0;

	for (int i = 0;
		 VhnswPageIsKind(page, VHNSW_PAGE_ELEMENT) && i < layout->slots_per_page;
		 i++)
	{
		VhnswSlot	slot = VhnswPageGetSlot(layout, page, i);
		VhnswElement element = VhnswMakeElement(layout, blkno, i);

		if ((slot->flags & VHNSW_SLOT_LIVE) == 0)
			continue;
		found[n].bound = stream->constant_bound;
		if (stream->search)
		{
			if (VhnswSearchHasTaken(stream->search, element))
				continue;
			found[n].bound = VhnswBound(&stream->query,
										VhnswSlotView(layout, slot),
										&found[n].estimate);
		}
		VhnswFoundSet(&found[n++], element, slot);
	}
	VhnswReleasePage(buffer);
	return n;
}

static void
sweep_put(VhnswStream *stream, const VhnswFound *found)
{
	TupleTableSlot *slot = stream->slot;
	union
	{
		bytea		header;
		char		data[VARHDRSZ + sizeof(VhnswFound)];
	}			packed;

	SET_VARSIZE(&packed.header, sizeof(packed.data));
	memcpy(VARDATA(&packed.header), found, sizeof(VhnswFound));
	ExecClearTuple(slot);
	slot->tts_values[0] = Float8GetDatum(found->bound);
	slot->tts_values[1] = Int64GetDatum((int64) found->element);
	slot->tts_values[2] = PointerGetDatum(&packed);
	memset(slot->tts_isnull, false, 3 * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(stream->sort, slot);
}

/* The next TID of the element at hand, or of the next one in order. */
static bool
next_from_sweep(VhnswStream *stream, VhnswStreamRow *row)
{
	if (stream->sort == NULL)
		begin_sweep(stream);

	while (stream->next_tid >= stream->tids.count && !more_tids(stream))
	{
		VhnswFound	found;
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (stream->nreported >= stream->max_elements)
			return cut(stream);
		if (!tuplesort_gettupleslot(stream->sort, true, false, stream->slot,
									NULL))
			return false;
		stream->nreported++;
		memcpy(&found,
			   VARDATA_ANY(DatumGetPointer(slot_getattr(stream->slot, 3,
														&isnull))),
			   sizeof(VhnswFound));
		take_tids(stream, &found);
	}
	give_tid(stream, row);
	return true;
}

/* Hand out the next TID that is at hand. */
static void
give_tid(VhnswStream *stream, VhnswStreamRow *row)
{
	row->tid = stream->tids.tids[stream->next_tid++];
	row->bound.value = stream->bound;
	row->number = ++stream->tids_given;
}

/*
 * VhnswStreamBoundOf
 *		The bound of a row with this value, if it stands where it belongs.
 *
 * Only with a search.
 */
double
VhnswStreamBoundOf(const VhnswStream *stream, Datum value)
{
	VhnswValueType type = VhnswGetValueType(stream->index);
	const VhnswSpace *space;
	VhnswCode  *code;
	VhnswValue	vector;
	VhnswQuery	query;
	float		estimate;

	/* Detoasting may read catalogs, and so drop the cache. */
	VhnswValueGet(type, value, &vector);
	space = &VhnswGetCache(stream->index)->space;
	VhnswQueryInit(&query, space, &vector);
	if (query.vector_class != VHNSW_VECTOR_NORMAL)
		return -get_float8_infinity();

	code = palloc(VhnswCodeSize(&stream->layout));
	VhnswEncode(&stream->layout, &query, code);
	return VhnswBound(&stream->query, VhnswViewOfCode(code), &estimate);
}

/*
 * VhnswStreamSkip
 *		Leave out the other rows of the element that the last one is of.
 *
 * Only after a row of the graph or the sweep.
 */
void
VhnswStreamSkip(VhnswStream *stream)
{
	stream->next_tid = stream->tids.count = 0;
	stream->reading_element = false;
}
