/*-------------------------------------------------------------------------
 *
 * vhnsw_custom_exec.c
 *	  Run the custom scan "Vhnsw Scan".
 *
 * Rows come from a source: the stream of the index, the rows that another
 * index matches, or the whole table.  Each is fetched, checked for visibility
 * and against the conditions, and only then is its exact distance computed.
 * What is accepted goes to the answer (vhnsw_answer.c), which gives it back in
 * order as far as that is proven.  See README, sections "Vhnsw Scan" and
 * "Filters".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "pgstat.h"
#include "storage/predicate.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_custom.h"
#include "vhnsw/vhnsw_demand.h"
#include "vhnsw/vhnsw_row.h"

/*
 * The choice of the source is looked at again whenever so many rows were
 * taken, and so many elements visited.
 */
#define LOOK_INTERVAL 16
#define VISITS_INTERVAL 64

static void begin_scan(CustomScanState *css, EState *estate, int eflags);
static void read_costs(VhnswCustomState *state, List *costs);
static TupleTableSlot *exec_scan(CustomScanState *css);
static TupleTableSlot *next_row(ScanState *ss);
static void note_emitted(VhnswCustomState *state, VhnswDistance distance,
						 const ItemPointerData *tid);
static bool is_past(const VhnswCustomState *state, VhnswDistance distance,
					const ItemPointerData *tid);
static bool recheck_row(ScanState *ss, TupleTableSlot *slot);
static void rescan(CustomScanState *css);
static void end_scan(CustomScanState *css);
static void end_search(VhnswCustomState *state);
static void count_strategy(VhnswCustomState *state);
static void end_stream(VhnswCustomState *state);
static void start_search(VhnswCustomState *state);
static void measure_index(VhnswCustomState *state);
static void begin_stream(VhnswCustomState *state);
static void reconsider(VhnswCustomState *state);
static void change_strategy(VhnswCustomState *state,
							VhnswFilterStrategy strategy);
static void fill_answer(VhnswCustomState *state);
static bool look_ahead(VhnswCustomState *state);
static void take_ahead(VhnswCustomState *state);
static void read_matches(VhnswCustomState *state);
static void read_table(VhnswCustomState *state);
static int64 sort_bound(const VhnswCustomState *state);
static void fetch_row(VhnswCustomState *state, const ItemPointerData *tid,
					  VhnswDistance bound);
static void consider_row(VhnswCustomState *state, TupleTableSlot *slot,
						 const ItemPointerData *tid, VhnswDistance bound);
static bool fetch_again(VhnswCustomState *state, ItemPointer tid, TupleTableSlot *slot);

/* What is known of the distance of a row that no search has found. */
static const VhnswDistance no_bound = {.value = -INFINITY};

static const CustomExecMethods exec_methods = {
	.CustomName = VHNSW_CUSTOM_NAME,
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = VhnswCustomExplain,
};

/* CreateCustomScanState */
Node *
VhnswCustomCreateState(CustomScan *plan)
{
	VhnswCustomState *state = palloc0_object(VhnswCustomState);

	NodeSetTag(state, T_CustomScanState);
	state->css.methods = &exec_methods;
	return (Node *) state;
}

/* BeginCustomScan */
static void
begin_scan(CustomScanState *css, EState *estate, int eflags)
{
	VhnswCustomState *state = (VhnswCustomState *) css;
	CustomScan *plan = castNode(CustomScan, css->ss.ps.plan);
	Oid			index_oid = linitial_oid(list_nth(plan->custom_private,
												  VHNSW_CUSTOM_INDEX));

	VhnswCustomInitExprs(state, estate);
	read_costs(state, list_nth(plan->custom_private, VHNSW_CUSTOM_COSTS));
	if (plan->custom_plans != NIL)
	{
		state->bitmap = ExecInitNode(linitial(plan->custom_plans), estate,
									 eflags);
		css->custom_ps = list_make1(state->bitmap);
	}
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	state->index = index_open(index_oid,
							  exec_rt_fetch(plan->scan.scanrelid,
											estate)->rellockmode);
	state->fetch = table_index_fetch_begin(css->ss.ss_currentRelation);
	state->context = AllocSetContextCreate(CurrentMemoryContext, VHNSW_CUSTOM_NAME,
										   ALLOCSET_SMALL_SIZES);
}

static void
read_costs(VhnswCustomState *state, List *costs)
{
	double	   *places[VHNSW_CUSTOM_NCOSTS] = {&state->costs.table,
		&state->costs.bitmap, &state->costs.matches, &state->costs.fetch,
	&state->costs.row, &state->costs.passing};

	for (int i = 0; i < VHNSW_CUSTOM_NCOSTS; i++)
		*places[i] = floatVal(list_nth(costs, i));
}

/* ExecCustomScan */
static TupleTableSlot *
exec_scan(CustomScanState *css)
{
	return ExecScan(&css->ss, next_row, recheck_row);
}

/*
 * The next row in order, in the scan's slot, or an empty slot.
 *
 * Accepted rows are kept as TIDs and fetched a second time here: the snapshot
 * is the same, so they are still there.
 */
static TupleTableSlot *
next_row(ScanState *ss)
{
	VhnswCustomState *state = (VhnswCustomState *) ss;
	TupleTableSlot *slot = ss->ss_ScanTupleSlot;
	VhnswDistance distance;
	ItemPointerData tid;

	Assert(ScanDirectionIsForward(ss->ps.state->es_direction));

	if (!state->started)
		start_search(state);
	for (;;)
	{
		fill_answer(state);
		if (!VhnswAnswerTake(&state->answer, &distance, &tid))
			return ExecClearTuple(slot);

		if (state->emitted > 0 &&
			VhnswCompareDistances(distance, state->last_emitted) < 0 &&
			VhnswIterativeScanMode() != VHNSW_ITERATIVE_RELAXED)
		{
			state->search_counts.late++;
			continue;
		}
		break;
	}

	if (!fetch_again(state, &tid, slot))
		elog(ERROR, "could not fetch a row again");
	note_emitted(state, distance, &slot->tts_tid);
	VhnswCustomKnowDistance(state, distance);
	pgstat_count_index_tuples(state->index, 1);
	return slot;
}

/* Note the farthest that was returned, and the rows as far. */
static void
note_emitted(VhnswCustomState *state, VhnswDistance distance,
			 const ItemPointerData *tid)
{
	int			order = state->emitted == 0 ? 1 :
	VhnswCompareDistances(distance, state->last_emitted);

	state->emitted++;
	if (order < 0)
		return;
	if (order > 0)
		state->nties = 0;
	state->last_emitted = distance;
	if (state->nties < VHNSW_CUSTOM_TIES)
		state->ties[state->nties] = *tid;
	state->nties++;
}

/* Must this row be left out, as one that was returned or is too near? */
static bool
is_past(const VhnswCustomState *state, VhnswDistance distance,
		const ItemPointerData *tid)
{
	int			order = VhnswCompareDistances(distance, state->last_emitted);

	for (int i = 0; order == 0 && i < state->nties; i++)
	{
		if (ItemPointerEquals(unconstify(ItemPointerData *, &state->ties[i]),
							  unconstify(ItemPointerData *, tid)))
			return true;
	}
	return order < 0;
}

/*
 * Does the new version of a row meet the conditions?  Its distance is another
 * one, too.
 */
static bool
recheck_row(ScanState *ss, TupleTableSlot *slot)
{
	VhnswCustomState *state = (VhnswCustomState *) ss;
	ExprContext *econtext = ss->ps.ps_ExprContext;

	econtext->ecxt_scantuple = slot;
	if (!ExecQual(state->quals, econtext))
		return false;
	if (state->returns_distance)
	{
		if (!state->query_known)
			VhnswCustomKnowQuery(state);
		VhnswCustomKnowDistance(state, VhnswCustomDistance(state, slot));
	}
	return true;
}

/* ReScanCustomScan: the next row begins a new search. */
static void
rescan(CustomScanState *css)
{
	VhnswCustomState *state = (VhnswCustomState *) css;

	end_search(state);
	if (state->bitmap)
	{
		if (css->ss.ps.chgParam != NULL)
			UpdateChangedParamSet(state->bitmap, css->ss.ps.chgParam);
		if (state->bitmap->chgParam == NULL)
			ExecReScan(state->bitmap);
	}
	ExecScanReScan(&css->ss);
}

/* EndCustomScan */
static void
end_scan(CustomScanState *css)
{
	VhnswCustomState *state = (VhnswCustomState *) css;

	end_search(state);
	VhnswToastEnd(&state->toast);
	if (state->fetch)
		table_index_fetch_end(state->fetch);
	if (state->index)
		index_close(state->index, NoLock);
	if (state->bitmap)
		ExecEndNode(state->bitmap);
}

/* Give back what a search holds, and count it. */
static void
end_search(VhnswCustomState *state)
{
	VhnswCustomForgetQuery(state);
	if (!state->started)
	{
		if (state->context)
			MemoryContextReset(state->context);
		return;
	}
	end_stream(state);
	count_strategy(state);
	VhnswCountsAdd(&state->counts, &state->search_counts);
	VhnswStatsCount(state->index, &state->search_counts);
	VhnswAnswerEnd(&state->answer);
	table_index_fetch_reset(state->fetch);
	MemoryContextReset(state->context);
	state->matches = NULL;
	state->started = false;
}

/* Count which way the search ended in. */
static void
count_strategy(VhnswCustomState *state)
{
	VhnswCounts *counts = &state->search_counts;

	counts->by_bitmap = state->strategy == VHNSW_FILTER_BITMAP;
	counts->by_matches = state->strategy == VHNSW_FILTER_MATCHES;
	counts->by_exact = state->strategy == VHNSW_FILTER_EXACT;
}

static void
end_stream(VhnswCustomState *state)
{
	VhnswStream *stream = state->stream;

	if (stream == NULL)
		return;
	VhnswStreamCount(stream, &state->search_counts);
	state->stream = NULL;
	state->has_ahead = false;
	VhnswStreamEnd(stream);
}

/* ----------------------------------------------------------------
 * Where the rows come from
 * ----------------------------------------------------------------
 */

/* Compute the query and choose a source. */
static void
start_search(VhnswCustomState *state)
{
	ScanState  *ss = &state->css.ss;
	Snapshot	snapshot = ss->ps.state->es_snapshot;

	if (!IsMVCCSnapshot(snapshot))
		elog(ERROR, "vhnsw indexes can only be scanned with MVCC snapshots");
	PredicateLockRelation(state->index, snapshot);
	pgstat_count_index_scan(state->index);
	memset(&state->search_counts, 0, sizeof(state->search_counts));
	state->search_counts.searches = 1;

	state->demand = VhnswFindDemand(state);
	state->exhausted = false;
	state->has_ahead = false;
	state->accepted = state->taken = state->emitted = 0;
	state->next_look = LOOK_INTERVAL;
	VhnswAnswerInit(&state->answer, state->context);
	state->started = true;

	VhnswCustomKnowQuery(state);
	measure_index(state);
	state->ef = VhnswEfFor(&state->size.layout,
						   VhnswDemandRows(state->demand));
	state->settled_first = 0;
	change_strategy(state, VhnswCustomChoose(state));
}

static void
measure_index(VhnswCustomState *state)
{
	VhnswIndexSize *size = &state->size;

	size->layout = VhnswGetCache(state->index)->layout;
	size->pages = RelationGetNumberOfBlocks(state->index);
	size->elements = Max(size->pages * size->layout.slots_per_page, 1);
}

/*
 * Prepare a search.  It takes the time of reading some rows, so only those ways
 * do so that need it.
 */
static void
begin_stream(VhnswCustomState *state)
{
	bool		isnull;
	Datum		query = VhnswCustomQuery(state, &isnull);
	VhnswStream *stream = VhnswStreamBegin(state->index, query, isnull,
										   state->context);

	/* The nearest rows are sorted here, whatever bounds say. */
	if (stream->search)
		VhnswQueryWantLikely(&stream->query);
	state->stream = stream;
	stream->table = state->css.ss.ss_currentRelation;

	stream->ef = state->ef;
	if (VhnswIterativeScanMode() == VHNSW_ITERATIVE_OFF)
		stream->max_elements = stream->ef;
	stream->expected_rows = VhnswCustomExpectedRows(state);
	stream->filtered = state->quals != NULL;
	if (!stream->filtered)
		stream->rows_wanted = Max(VhnswDemandRows(state->demand), 0);
	if (VhnswCustomMayChange(state))
		stream->pause_at = VISITS_INTERVAL;
	state->settled_first = VhnswStreamEf(stream);
	stream->stop_at_sweep = vhnsw_filter_strategy == VHNSW_FILTER_AUTO &&
		!stream->unordered;
}

/* Would another way have come further?  Then it is taken from here on. */
static void
reconsider(VhnswCustomState *state)
{
	VhnswFilterStrategy strategy;

	state->next_look = state->taken + LOOK_INTERVAL;
	state->stream->pause_at = 0;
	if (!VhnswCustomMayChange(state))
		return;
	state->stream->pause_at =
		VhnswStreamVisits(state->stream) + VISITS_INTERVAL;
	strategy = VhnswCustomChooseAgain(state);
	if (strategy != state->strategy)
		change_strategy(state, strategy);
}

/* Go on with another source.  Those that read everything begin anew. */
static void
change_strategy(VhnswCustomState *state, VhnswFilterStrategy strategy)
{
	state->strategy = state->last_strategy = strategy;
	if (strategy == VHNSW_FILTER_BITMAP)
		VhnswCustomMakeMatches(state);
	if (strategy == VHNSW_FILTER_SEARCH || strategy == VHNSW_FILTER_BITMAP)
	{
		if (state->stream == NULL)
			begin_stream(state);
		return;
	}

	Assert(VhnswCustomCanBeginAnew(state));
	end_stream(state);
	VhnswAnswerEnd(&state->answer);
	VhnswAnswerInit(&state->answer, state->context);
	VhnswAnswerBeginSort(&state->answer, sort_bound(state));
	state->accepted = 0;
	state->passed = 0;
	if (strategy == VHNSW_FILTER_MATCHES)
		read_matches(state);
	else
		read_table(state);
	if (state->emitted > 0)
		state->search_counts.late = Max(state->passed - state->emitted, 0);
	state->exhausted = true;
	VhnswAnswerProveAll(&state->answer);
}

/* How many rows will be taken at most; 0 if that is not known. */
static int64
sort_bound(const VhnswCustomState *state)
{
	bool		exactly;
	int64		rows = VhnswDemandRemaining(state->demand, &exactly);

	return exactly && rows > 0 ? rows : 0;
}

/* ----------------------------------------------------------------
 * From the source to the answer
 * ----------------------------------------------------------------
 */

/*
 * Read on until the next rows in order are proven: as many as are wanted, so
 * that what is found a little late still gets its place.
 *
 * Beyond its memory the answer does with fewer, and if there is none, sorts
 * all that the source has.
 *
 * Rows of one element are equally near as far as the index knows.  Of a million
 * of them, no more are looked at than ef, and those that are wanted.
 */
static void
fill_answer(VhnswCustomState *state)
{
	VhnswAnswer *answer = &state->answer;
	bool		exactly;
	int64		wanted = VhnswDemandRemaining(state->demand, &exactly);

	wanted = Max(wanted, 1);
	while (!state->exhausted && answer->nproven < wanted)
	{
		if (!look_ahead(state))
		{
			state->exhausted = true;
			VhnswAnswerProveAll(answer);
			break;
		}
		if (answer->sort == NULL)
		{
			VhnswAnswerProve(answer, state->ahead.bound);
			if (answer->nproven >= wanted)
				break;
			if (VhnswAnswerMemory(answer) > VhnswScanMemory())
			{
				if (answer->nproven > 0)
					break;
				VhnswAnswerBeginSort(answer, 0);
			}
		}
		if (exactly && state->ahead.number > Max(state->ef, wanted) &&
			state->accepted - state->emitted >= wanted)
		{
			VhnswStreamSkip(state->stream);
			state->has_ahead = false;
			continue;
		}
		take_ahead(state);
	}
}

/*
 * Have the next row of the stream at hand.  If it would read the whole index,
 * reading the table instead may cost less, as its rows need not be fetched one
 * by one.
 */
static bool
look_ahead(VhnswCustomState *state)
{
	VhnswStream *stream = state->stream;

	while (!state->has_ahead)
	{
		state->has_ahead = VhnswStreamNext(stream, &state->ahead);
		if (state->has_ahead || !stream->paused)
			break;
		reconsider(state);
		if (state->stream != stream)
			return false;
	}
	if (state->has_ahead || !stream->sweep_due)
		return state->has_ahead;

	if (VhnswCustomCanBeginAnew(state) && VhnswCustomSweepIsDearer(state))
	{
		change_strategy(state, state->matches ?
						VHNSW_FILTER_MATCHES : VHNSW_FILTER_EXACT);
		return false;
	}
	stream->stop_at_sweep = false;
	state->has_ahead = VhnswStreamNext(stream, &state->ahead);
	return state->has_ahead;
}

/* Fetch the next row of the stream, if it may pass. */
static void
take_ahead(VhnswCustomState *state)
{
	CHECK_FOR_INTERRUPTS();
	state->has_ahead = false;
	if (state->strategy == VHNSW_FILTER_BITMAP &&
		!VhnswTidSetHas(state->matches, &state->ahead.tid))
		state->search_counts.skipped++;
	else
		fetch_row(state, &state->ahead.tid, state->ahead.bound);
	if (++state->taken >= state->next_look)
		reconsider(state);
}

/* Fetch all rows that the other indexes match. */
static void
read_matches(VhnswCustomState *state)
{
	VhnswTidSetReader reader = {0};
	ItemPointerData tid;

	VhnswCustomMakeMatches(state);
	reader.set = state->matches;
	while (VhnswTidSetNext(&reader, &tid))
	{
		CHECK_FOR_INTERRUPTS();
		fetch_row(state, &tid, no_bound);
	}
}

/* Read the table. */
static void
read_table(VhnswCustomState *state)
{
	ScanState  *ss = &state->css.ss;
	TupleTableSlot *slot = ss->ss_ScanTupleSlot;
	TableScanDesc scan = table_beginscan_strat(ss->ss_currentRelation,
											   ss->ps.state->es_snapshot,
											   0, NULL, true, false);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		consider_row(state, slot, &slot->tts_tid, no_bound);
	}
	ExecClearTuple(slot);
	table_endscan(scan);
}

/* Put the row of a TID into the answer, if it is visible and passes. */
static void
fetch_row(VhnswCustomState *state, const ItemPointerData *tid,
		  VhnswDistance bound)
{
	ScanState  *ss = &state->css.ss;
	TupleTableSlot *slot = ss->ss_ScanTupleSlot;
	ItemPointerData found = *tid;

	state->search_counts.fetches++;
	if (!VhnswFetchRow(state->fetch, &found, ss->ps.state->es_snapshot, slot))
	{
		state->search_counts.invisible++;
		return;
	}
	pgstat_count_heap_fetch(state->index);
	consider_row(state, slot, tid, bound);
}

/* Fetch an accepted row again, by the TID that is in the answer. */
static bool
fetch_again(VhnswCustomState *state, ItemPointer tid, TupleTableSlot *slot)
{
	Snapshot	snapshot = state->css.ss.ps.state->es_snapshot;

	if (state->strategy == VHNSW_FILTER_EXACT)
		return table_tuple_fetch_row_version(state->css.ss.ss_currentRelation,
											 tid, snapshot, slot);
	return VhnswFetchRow(state->fetch, tid, snapshot, slot);
}

/*
 * Put a visible row into the answer, if it passes.  'tid' is where indexes say
 * that it is, or if the table was read, where it is.
 */
static void
consider_row(VhnswCustomState *state, TupleTableSlot *slot,
			 const ItemPointerData *tid, VhnswDistance bound)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	VhnswDistance distance;

	VD_DEBUG_POINT("vhnsw-scan-row");
	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	if (!ExecQual(state->quals, econtext))
	{
		state->search_counts.filtered++;
		InstrCountFiltered1(state, 1);
		return;
	}
	distance = VhnswCustomDistance(state, slot);
	if (state->stream == NULL && state->emitted > 0 &&
		is_past(state, distance, &slot->tts_tid))
	{
		state->passed++;
		return;
	}

	/* The bound follows from what is stored, unless that is damaged. */
	if (VhnswCompareDistances(distance, bound) < 0 &&
		!VhnswCustomBoundIsUnlucky(state, slot, distance))
		ereport(ERROR,
				errcode(ERRCODE_INDEX_CORRUPTED),
				errmsg("index \"%s\" has a code that is not of its row",
					   RelationGetRelationName(state->index)),
				errdetail("The distance of row (%u,%u) is below the bound that follows from the code.",
						  ItemPointerGetBlockNumber(&slot->tts_tid),
						  ItemPointerGetOffsetNumber(&slot->tts_tid)),
				errhint("REINDEX the index."));
	VhnswAnswerPut(&state->answer, distance, tid);
	state->accepted++;
}
