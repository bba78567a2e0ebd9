/*-------------------------------------------------------------------------
 *
 * vhnsw_scan.c
 *	  Index scans: rows by rising lower bound of their distance.
 *
 * A scan goes through these sources, each until it has no more rows:
 *
 *	extreme		vectors without a provable bound; reported with -infinity
 *	graph		the beam search, a step at a time
 *	sweep		all elements not reported yet, sorted by bound
 *	zero		vectors without direction (cosine): distance NaN
 *	null		NULLs
 *
 * The executor computes the true distances and sorts by them, so what must be
 * right here is that bounds are never above the truth, and that nothing is
 * reported late unless it can do no harm.  See README, section "Search".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relscan.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_demand.h"
#include "vhnsw/vhnsw_search.h"

VECDIST_FUNCTION_INFO_V1(vhnsw_session_stats);

typedef enum ScanSource
{
	SOURCE_EXTREME,
	SOURCE_GRAPH,
	SOURCE_SWEEP,
	SOURCE_ZERO,
	SOURCE_NULL,
	SOURCE_END
} ScanSource;

typedef struct VhnswScan
{
	MemoryContext context;		/* reset at every rescan */
	VhnswDemand *demand;		/* NULL if nothing is known of it */
	bool		started;
	bool		unordered;		/* no key, or a NULL query: any order */
	VhnswQuery	query;
	ScanSource	source;
	double		constant_bound; /* of every row, if there is no search */

	VhnswSearch *search;		/* NULL if the query has no direction or place */
	int64		ef;
	int64		nreported;		/* elements, of the graph */
	int64		eighth;			/* of the slots of the index; 0 = not known */
	bool		reading;
	VhnswListReader reader;		/* of a list outside */
	Tuplesortstate *sort;		/* of the sweep */
	TupleTableSlot *slot;		/* likewise */
	VhnswLayout layout;

	/* TIDs of the element being reported */
	VhnswTidArray tids;
	int			next_tid;
	double		bound;

	double		largest_bound;	/* ever reported */
	double		passed_bound;	/* largest when a row last passed to the user */
	uint64		passed;			/* VhnswDemandPassed() then */
} VhnswScan;

/* Counted since the session began. */
static struct
{
	int64		scans;
	int64		expanded;
	int64		evaluated;
	int64		sweeps;
	int64		late_rows;
}			session_stats;

static void end_search(VhnswScan *state);
static void start_scan(IndexScanDesc scan);
static bool next_row(IndexScanDesc scan, ItemPointer tid, double *bound,
					 bool *isnull);
static bool next_from_list(IndexScanDesc scan, VhnswOutsideList list,
						   ItemPointer tid);
static bool next_from_graph(IndexScanDesc scan, ItemPointer tid,
							double *bound);
static double required_settled(const VhnswScan *state, double number);
static bool sweep_is_due(IndexScanDesc scan);
static double expected_evaluations(VhnswScan *state);
static void take_tids(IndexScanDesc scan, VhnswFound *found);
static void begin_sweep(IndexScanDesc scan);
static int	collect_page(IndexScanDesc scan, BlockNumber blkno,
						 BufferAccessStrategy strategy, VhnswFound *found);
static void sweep_put(VhnswScan *state, double bound,
					  const ItemPointerData *tid);
static bool next_from_sweep(IndexScanDesc scan, ItemPointer tid,
							double *bound);
static void note_passed_rows(VhnswScan *state);
static bool is_late(VhnswScan *state, double bound);

/* Scan callback. */
IndexScanDesc
vhnswbeginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	VhnswScan  *state = palloc0_object(VhnswScan);

	state->context = AllocSetContextCreate(CurrentMemoryContext, "vhnsw scan",
										   ALLOCSET_DEFAULT_SIZES);
	scan->opaque = state;
	if (norderbys > 0)
	{
		scan->xs_orderbyvals = palloc0_array(Datum, norderbys);
		scan->xs_orderbynulls = palloc_array(bool, norderbys);
		memset(scan->xs_orderbynulls, true, norderbys * sizeof(bool));
	}
	return scan;
}

/* Scan callback: the next fetch begins a new search. */
void
vhnswrescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys,
			int norderbys)
{
	VhnswScan  *state = scan->opaque;
	MemoryContext context = state->context;

	if (orderbys && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys,
				scan->numberOfOrderBys * sizeof(ScanKeyData));

	end_search(state);
	memset(state, 0, sizeof(*state));
	state->context = context;
	state->demand = VhnswFindDemand(orderbys);
}

/* Scan callback. */
void
vhnswendscan(IndexScanDesc scan)
{
	VhnswScan  *state = scan->opaque;

	end_search(state);
	MemoryContextDelete(state->context);
}

/* Give back what a search holds, and count it. */
static void
end_search(VhnswScan *state)
{
	if (state->search)
	{
		session_stats.expanded += state->search->nexpanded;
		session_stats.evaluated += state->search->nevaluated;
	}
	if (state->sort)
		tuplesort_end(state->sort);
	if (state->slot)
		ExecDropSingleTupleTableSlot(state->slot);
	MemoryContextReset(state->context);
}

/*
 * Scan callback: the next row, with a lower bound of its distance.
 *
 * Bounds do not fall, except below what no row has passed the LIMIT with.
 */
bool
vhnswgettuple(IndexScanDesc scan, ScanDirection direction)
{
	VhnswScan  *state = scan->opaque;
	IndexOrderByDistance distance;
	Oid			type = FLOAT8OID;

	Assert(ScanDirectionIsForward(direction));

	if (!state->started)
		start_scan(scan);
	note_passed_rows(state);
	if (!next_row(scan, &scan->xs_heaptid, &distance.value, &distance.isnull))
		return false;

	scan->xs_recheck = false;
	if (scan->numberOfOrderBys > 0)
		index_store_float8_orderby_distances(scan, &type, &distance, true);
	return true;
}

/* Prepare the query, which the executor has computed by now. */
static void
start_scan(IndexScanDesc scan)
{
	VhnswScan  *state = scan->opaque;
	MemoryContext old_context = MemoryContextSwitchTo(state->context);
	const VhnswCache *cache;

	if (!IsMVCCSnapshot(scan->xs_snapshot))
		elog(ERROR, "vhnsw indexes can only be scanned with MVCC snapshots");

	pgstat_count_index_scan(scan->indexRelation);
	session_stats.scans++;

	cache = VhnswGetCache(scan->indexRelation);
	state->layout = cache->layout;
	state->passed_bound = state->largest_bound = -get_float8_infinity();
	state->ef = Max(vhnsw_ef_search, VhnswDemandRows(state->demand));
	(void) VhnswDemandPassed(state->demand, &state->passed);
	state->constant_bound = -get_float8_infinity();
	state->source = SOURCE_EXTREME;

	if (scan->numberOfOrderBys == 0 ||
		(scan->orderByData[0].sk_flags & SK_ISNULL))
		state->unordered = true;
	else
	{
		VhnswValue	value;

		/* Detoasting may read catalogs, and so drop the cache. */
		VhnswValueGet(cache->space.type, scan->orderByData[0].sk_argument,
					  &value);
		cache = VhnswGetCache(scan->indexRelation);
		VhnswValueCheckQuery(cache->space.type, state->layout.dims, &value);
		VhnswQueryInit(&state->query, &cache->space, &value);
		if (state->query.vector_class == VHNSW_VECTOR_NORMAL)
			state->search = VhnswSearchBegin(scan->indexRelation, cache,
											 &state->query, NULL,
											 state->context);
		else if (state->query.vector_class == VHNSW_VECTOR_ZERO)
			state->constant_bound = get_float8_nan();
	}
	state->started = true;
	MemoryContextSwitchTo(old_context);
}

/* The next row from the current source, or the first of the next ones. */
static bool
next_row(IndexScanDesc scan, ItemPointer tid, double *bound, bool *isnull)
{
	VhnswScan  *state = scan->opaque;

	for (;;)
	{
		*isnull = state->unordered;
		*bound = state->constant_bound;
		switch (state->source)
		{
			case SOURCE_EXTREME:
				if (next_from_list(scan, VHNSW_LIST_EXTREME, tid))
					return true;
				state->source = SOURCE_GRAPH;
				break;

			case SOURCE_GRAPH:
				if (state->search && next_from_graph(scan, tid, bound))
					return true;
				if (state->source == SOURCE_GRAPH)
					state->source = SOURCE_SWEEP;
				break;

			case SOURCE_SWEEP:
				if (next_from_sweep(scan, tid, bound))
					return true;
				state->source = SOURCE_ZERO;
				break;

			case SOURCE_ZERO:
				*bound = get_float8_nan();
				if (next_from_list(scan, VHNSW_LIST_ZERO, tid))
					return true;
				state->source = SOURCE_NULL;
				break;

			case SOURCE_NULL:
				*isnull = true;
				if (next_from_list(scan, VHNSW_LIST_NULL, tid))
					return true;
				state->source = SOURCE_END;
				break;

			case SOURCE_END:
				return false;
		}
	}
}

static bool
next_from_list(IndexScanDesc scan, VhnswOutsideList list, ItemPointer tid)
{
	VhnswScan  *state = scan->opaque;

	if (!state->reading)
	{
		VhnswListReaderInit(&state->reader, scan->indexRelation, list);
		state->reading = true;
	}
	if (VhnswListReaderNext(&state->reader, tid))
		return true;
	state->reading = false;
	return false;
}

/*
 * The next row of the beam search.  Returns false if the graph has no more, if
 * the sweep should go on, or if the scan has ended (state->source says so).
 */
static bool
next_from_graph(IndexScanDesc scan, ItemPointer tid, double *bound)
{
	VhnswScan  *state = scan->opaque;
	VhnswSearch *search = state->search;

	for (;;)
	{
		int64		required = required_settled(state, state->nreported + 1);
		VhnswFound *found;

		if (state->next_tid < state->tids.count)
		{
			*tid = state->tids.tids[state->next_tid++];
			*bound = state->bound;
			return true;
		}

		if (state->nreported >= state->ef &&
			vhnsw_iterative_scan == VHNSW_ITERATIVE_OFF)
		{
			state->source = SOURCE_END;
			return false;
		}

		/*
		 * If the search ends, the sweep reports what is settled and what the
		 * graph does not reach in one order.  On the way to a large LIMIT we
		 * look at the memory now and then.
		 */
		do
		{
			if (sweep_is_due(scan) ||
				!VhnswSearchUntil(search, required, 256))
				return false;
		} while (search->nsettled < required);

		found = VhnswSearchTake(search);
		Assert(found != NULL);
		state->nreported++;

		take_tids(scan, found);
		if (is_late(state, found->bound))
		{
			session_stats.late_rows += state->tids.count;
			state->tids.count = 0;
		}
	}
}

/*
 * How many elements must be settled before row 'number' is reported: ef for
 * the first ef, then a window that grows with what was taken.  Always as many
 * as 'number', or the graph would look exhausted.
 */
static double
required_settled(const VhnswScan *state, double number)
{
	return Max(state->ef, Min(3 * number - 2 * state->ef, 2 * number));
}

/*
 * Is reading the whole index cheaper than walking on, or the only way to stay
 * within work_mem?  A page-wise evaluation costs about an eighth of one in the
 * graph.
 */
static bool
sweep_is_due(IndexScanDesc scan)
{
	VhnswScan  *state = scan->opaque;

	if (state->nreported == 0 && state->search->nexpanded == 0)
	{
		state->eighth = 1 + (int64)
			RelationGetNumberOfBlocks(scan->indexRelation) *
			state->layout.slots_per_page / 8;
		if (expected_evaluations(state) >= state->eighth)
			return true;
	}
	if (state->nreported >= state->ef &&
		state->search->nevaluated >= state->eighth)
		return true;
	return state->search->nexpanded >= state->ef &&
		MemoryContextMemAllocated(state->context, false) >
		(Size) work_mem * 1024;
}

/*
 * How many elements the graph search will probably evaluate, if it is likely
 * to go on beyond ef; else ef, each of which has to be evaluated at least.
 */
static double
expected_evaluations(VhnswScan *state)
{
	double		wanted = VhnswDemandRows(state->demand);
	double		filtered = VhnswDemandFiltered(state->demand);
	double		elements = 8.0 * state->eighth;
	double		rows;

	if (VhnswDemandIsAll(state->demand))
		return elements;
	if (wanted < 0 || filtered < 0)
		return state->ef;

	rows = wanted * elements / Max(filtered, 1);
	if (rows <= state->ef)
		return state->ef;
	return required_settled(state, rows) * state->layout.degree / 2;
}

/* Remember the TIDs of an element and the bound to report them with. */
static void
take_tids(IndexScanDesc scan, VhnswFound *found)
{
	VhnswScan  *state = scan->opaque;

	state->next_tid = 0;
	state->tids.count = 0;
	state->bound = found->bound;
	if (found->has_list)
	{
		MemoryContext old_context = MemoryContextSwitchTo(state->context);

		if (!VhnswReadElementTids(scan->indexRelation, &state->layout,
								  found->element, found->version,
								  &found->fingerprint, &state->tids))
			state->tids.count = 0;
		MemoryContextSwitchTo(old_context);
	}
	else if (ItemPointerIsValid(&found->heaptid))
	{
		MemoryContext old_context = MemoryContextSwitchTo(state->context);

		VhnswTidArrayAdd(&state->tids, &found->heaptid);
		MemoryContextSwitchTo(old_context);
	}
}

/* Has the user got rows since we were here? */
static void
note_passed_rows(VhnswScan *state)
{
	uint64		passed;

	if (!VhnswDemandPassed(state->demand, &passed))
		state->passed_bound = state->largest_bound;
	else if (passed != state->passed)
	{
		state->passed = passed;
		state->passed_bound = state->largest_bound;
	}
}

/*
 * Could a row with this bound come out after a farther one?  If not, notes it
 * as reported.
 */
static bool
is_late(VhnswScan *state, double bound)
{
	if (bound < state->passed_bound &&
		vhnsw_iterative_scan != VHNSW_ITERATIVE_RELAXED)
		return true;
	state->largest_bound = Max(state->largest_bound, bound);
	return false;
}

/*
 * Read all element pages and sort by bound what was not reported.  Without a
 * search every row is taken, with the bound that all of them have.
 */
static void
begin_sweep(IndexScanDesc scan)
{
	VhnswScan  *state = scan->opaque;
	Relation	index = scan->indexRelation;
	MemoryContext old_context = MemoryContextSwitchTo(state->context);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	VhnswFound *found = palloc_array(VhnswFound,
									 state->layout.slots_per_page);
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	AttrNumber	columns[] = {1, 2};
	Oid			operators[] = {Float8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	session_stats.sweeps++;
	TupleDescInitEntry(desc, 1, "bound", FLOAT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "tid", INT8OID, -1, 0);
	state->sort = tuplesort_begin_heap(desc, 2, columns, operators, collations,
									   nulls_first, work_mem, NULL,
									   TUPLESORT_NONE);
	state->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);

	for (BlockNumber blkno = VHNSW_META_BLKNO + 1; blkno < nblocks; blkno++)
	{
		int			n;

		CHECK_FOR_INTERRUPTS();
		n = collect_page(scan, blkno, strategy, found);
		for (int i = 0; i < n; i++)
		{
			take_tids(scan, &found[i]);
			for (int j = 0; j < state->tids.count; j++)
				sweep_put(state, found[i].bound, &state->tids.tids[j]);
		}
	}
	state->tids.count = 0;
	tuplesort_performsort(state->sort);

	ExecDropSingleTupleTableSlot(state->slot);
	state->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	MemoryContextSwitchTo(old_context);
}

/* Copy the live elements of a page that were not reported, with bounds. */
static int
collect_page(IndexScanDesc scan, BlockNumber blkno,
			 BufferAccessStrategy strategy, VhnswFound *found)
{
	VhnswScan  *state = scan->opaque;
	const VhnswLayout *layout = &state->layout;
	Buffer		buffer = VhnswGetPageWithStrategy(scan->indexRelation, blkno,
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
		found[n].bound = state->constant_bound;
		if (state->search)
		{
			if (VhnswSearchHasTaken(state->search, element))
				continue;
			found[n].bound = VhnswBound(&state->query,
										VhnswSlotView(layout, slot),
										&found[n].estimate);
		}
		found[n].element = element;
		found[n].version = slot->version;
		found[n].has_list = ItemPointerIsValid(&slot->tids);
		found[n].heaptid = slot->heaptid;
		found[n].fingerprint.scale = slot->scale;
		found[n].fingerprint.norm = slot->norm;
		found[n].fingerprint.residual = slot->residual;
		n++;
	}
	VhnswReleasePage(buffer);
	return n;
}

static void
sweep_put(VhnswScan *state, double bound, const ItemPointerData *tid)
{
	TupleTableSlot *slot = state->slot;

	ExecClearTuple(slot);
	slot->tts_values[0] = Float8GetDatum(bound);
	slot->tts_values[1] =
		Int64GetDatum(((int64) ItemPointerGetBlockNumber(tid) << 16) |
					  ItemPointerGetOffsetNumber(tid));
	slot->tts_isnull[0] = slot->tts_isnull[1] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(state->sort, slot);
}

static bool
next_from_sweep(IndexScanDesc scan, ItemPointer tid, double *bound)
{
	VhnswScan  *state = scan->opaque;

	if (state->sort == NULL)
		begin_sweep(scan);

	while (tuplesort_gettupleslot(state->sort, true, false, state->slot, NULL))
	{
		bool		isnull;
		int64		packed;

		*bound = DatumGetFloat8(slot_getattr(state->slot, 1, &isnull));
		packed = DatumGetInt64(slot_getattr(state->slot, 2, &isnull));
		ItemPointerSet(tid, (BlockNumber) (packed >> 16),
					   (OffsetNumber) (packed & 0xFFFF));
		if (state->search == NULL || !is_late(state, *bound))
			return true;
		session_stats.late_rows++;
	}
	return false;
}

/*
 * vhnsw_session_stats() returns record
 *		What the scans of this session have done, for tests and tuning.
 */
Datum
vhnsw_session_stats(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(session_stats.scans);
	values[1] = Int64GetDatum(session_stats.expanded);
	values[2] = Int64GetDatum(session_stats.evaluated);
	values[3] = Int64GetDatum(session_stats.sweeps);
	values[4] = Int64GetDatum(session_stats.late_rows);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
