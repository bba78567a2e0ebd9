/*-------------------------------------------------------------------------
 *
 * vhnsw_scan.c
 *	  Index scans: rows by rising lower bound of their distance.
 *
 * The executor computes the true distances and sorts by them.  What is decided
 * here is when a row that the stream finds late may still be reported: only if
 * no row has passed on to the user that might be farther.  See README, section
 * "Search".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relscan.h"
#include "catalog/pg_type.h"
#include "pgstat.h"
#include "utils/float.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_cost.h"
#include "vhnsw/vhnsw_demand.h"
#include "vhnsw/vhnsw_settings.h"
#include "vhnsw/vhnsw_stats.h"
#include "vhnsw/vhnsw_stream.h"

typedef struct VhnswScan
{
	MemoryContext context;		/* of the scan; parent of the stream's */
	VhnswDemand *demand;		/* NULL if nothing is known of it */
	VhnswStream *stream;		/* NULL before the first row */
	double		largest_bound;	/* ever reported */
	double		passed_bound;	/* largest when a row last passed to the user */
	uint64		passed;			/* VhnswDemandPassed() then */
	VhnswCounts counts;			/* of the current search */
} VhnswScan;

static void end_stream(VhnswScan *state);
static void start_scan(IndexScanDesc scan);
static double expected_rows(const VhnswScan *state);
static void note_passed_rows(VhnswScan *state);
static bool is_late(VhnswScan *state, const VhnswStreamRow *row);

/* Scan callback. */
IndexScanDesc
vhnswbeginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	VhnswScan  *state = palloc0_object(VhnswScan);

	state->context = CurrentMemoryContext;
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

	if (orderbys && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys,
				scan->numberOfOrderBys * sizeof(ScanKeyData));

	end_stream(state);
	state->demand = VhnswFindDemand(orderbys);
}

/* Scan callback. */
void
vhnswendscan(IndexScanDesc scan)
{
	end_stream(scan->opaque);
}

/* Give back what a search holds, and count it. */
static void
end_stream(VhnswScan *state)
{
	VhnswStream *stream = state->stream;

	if (stream == NULL)
		return;
	VhnswStreamCount(stream, &state->counts);
	VhnswStatsCount(stream->index, &state->counts);
	state->stream = NULL;
	VhnswStreamEnd(stream);
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
	VhnswStreamRow row;

	Assert(ScanDirectionIsForward(direction));

	if (state->stream == NULL)
		start_scan(scan);
	note_passed_rows(state);
	do
	{
		if (!VhnswStreamNext(state->stream, &row))
			return false;
	} while (is_late(state, &row));

	state->counts.fetches++;
	scan->xs_heaptid = row.tid;
	scan->xs_recheck = false;
	if (scan->numberOfOrderBys > 0)
	{
		IndexOrderByDistance distance = {.value = row.bound.value,
		.isnull = row.bound.isnull};
		Oid			type = FLOAT8OID;

		index_store_float8_orderby_distances(scan, &type, &distance, true);
	}
	return true;
}

/* Prepare the query, which the executor has computed by now. */
static void
start_scan(IndexScanDesc scan)
{
	VhnswScan  *state = scan->opaque;
	bool		isnull = scan->numberOfOrderBys == 0 ||
	(scan->orderByData[0].sk_flags & SK_ISNULL);
	VhnswStream *stream;

	if (!IsMVCCSnapshot(scan->xs_snapshot))
		elog(ERROR, "vhnsw indexes can only be scanned with MVCC snapshots");

	pgstat_count_index_scan(scan->indexRelation);
	memset(&state->counts, 0, sizeof(state->counts));
	state->counts.searches = 1;

	stream = VhnswStreamBegin(scan->indexRelation,
							  isnull ? (Datum) 0 : scan->orderByData[0].sk_argument,
							  isnull, state->context);
	state->stream = stream;
	stream->ef = VhnswEfFor(&stream->layout, VhnswDemandRows(state->demand));
	stream->expected_rows = expected_rows(state);
	if (VhnswDemandFiltered(state->demand) < 0 && stream->expected_rows == 0)
		stream->rows_wanted = Max(VhnswDemandRows(state->demand), 0);
	if (VhnswIterativeScanMode() == VHNSW_ITERATIVE_OFF)
		stream->max_elements = stream->ef;

	state->passed_bound = state->largest_bound = -get_float8_infinity();
	state->passed = 0;
	(void) VhnswDemandPassed(state->demand, &state->passed);
}

/* How many rows the executor will probably read; 0 if nothing is known. */
static double
expected_rows(const VhnswScan *state)
{
	double		wanted = VhnswDemandRows(state->demand);
	double		filtered = VhnswDemandFiltered(state->demand);

	if (VhnswDemandIsAll(state->demand))
		return state->stream->elements;
	if (wanted < 0 || filtered < 0)
		return 0;
	return wanted * state->stream->elements / Max(filtered, 1);
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
 * Could this row come out after a farther one?  If not, notes it as reported.
 * NULLs, which come last, have no bound.
 */
static bool
is_late(VhnswScan *state, const VhnswStreamRow *row)
{
	if (row->bound.isnull)
		return false;
	if (row->bound.value < state->passed_bound &&
		VhnswIterativeScanMode() != VHNSW_ITERATIVE_RELAXED)
	{
		state->counts.late++;
		return true;
	}
	state->largest_bound = Max(state->largest_bound, row->bound.value);
	return false;
}
