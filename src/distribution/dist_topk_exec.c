/*-------------------------------------------------------------------------
 *
 * dist_topk_exec.c
 *	  Run the distributed top-K scan.
 *
 * The first row asked for starts the search: K and the parameters are
 * evaluated, all partitions are searched, their answers merged, and the merge
 * is proved complete, if need be after asking some workers for more, or the
 * statement fails.  Rows then come from memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "portability/instr_time.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "distribution/dist_topk.h"
#include "vecdist_debug.h"

static Node *create_topk_state(CustomScan *scan);
static void begin_topk(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec_topk(CustomScanState *node);
static void end_topk(CustomScanState *node);
static void rescan_topk(CustomScanState *node);

static char *text_of(String *node);
static void set_up_expressions(DistTopKState *state, CustomScan *scan);
static void set_up_ties(DistTopKState *state, List *private);
static List *members_at(List *list, const Bitmapset *places);
static void set_up_partitions(DistTopKState *state, List *relids);
static void set_up_probe(DistTopKState *state, List *probe, List *cells);
static DistTopKWorker *find_worker(DistTopKState *state,
								   const DistPartition *place);
static TupleTableSlot *next_row(ScanState *node);
static bool recheck_row(ScanState *node, TupleTableSlot *slot);
static void search(DistTopKState *state);
static int64 rows_wanted(DistTopKState *state);
static void ask_partitions(DistTopKState *state);
static void choose_partitions(DistTopKState *state, bool *ask);
static void merge_answers(DistTopKState *state);
static void certify(DistTopKState *state);
static int	compare_ties(const DistMergeRow *a, const DistMergeRow *b,
						 void *arg);

const CustomScanMethods DistTopKScanMethods = {
	.CustomName = "Distributed Top-K",
	.CreateCustomScanState = create_topk_state
};

static const CustomExecMethods exec_methods = {
	.CustomName = "Distributed Top-K",
	.BeginCustomScan = begin_topk,
	.ExecCustomScan = exec_topk,
	.EndCustomScan = end_topk,
	.ReScanCustomScan = rescan_topk,
	.ExplainCustomScan = DistTopKExplain
};

static Node *
create_topk_state(CustomScan *scan)
{
	DistTopKState *state = (DistTopKState *) newNode(sizeof(DistTopKState),
													 T_CustomScanState);

	state->css.methods = &exec_methods;
	return (Node *) state;
}

/* Also for EXPLAIN without ANALYZE: opens no connection. */
static void
begin_topk(CustomScanState *node, EState *estate, int eflags)
{
	DistTopKState *state = (DistTopKState *) node;
	CustomScan *scan = castNode(CustomScan, node->ss.ps.plan);
	List	   *private = scan->custom_private;
	Oid			userid = linitial_oid(list_nth(private, DIST_TOPK_USER));
	List	   *partitions = list_nth(private, DIST_TOPK_PARTITIONS);
	Bitmapset  *valid = DistTopKPrune(&node->ss.ps,
									  list_nth(private, DIST_TOPK_PRUNE),
									  list_length(partitions));
	char	   *answer;

	state->userid = OidIsValid(userid) ? userid : GetUserId();
	state->table = lsecond_oid(list_nth(private, DIST_TOPK_USER));
	state->distance = text_of(list_nth(private, DIST_TOPK_DISTANCE));
	state->ties = text_of(list_nth(private, DIST_TOPK_TIES));
	state->filter = text_of(list_nth(private, DIST_TOPK_FILTER));
	state->hashed = boolVal(list_nth(private, DIST_TOPK_HASHED));
	state->why_stream = text_of(list_nth(private, DIST_TOPK_STREAM));
	set_up_expressions(state, scan);
	set_up_ties(state, private);
	state->nremoved = list_length(partitions) - bms_num_members(valid);
	set_up_partitions(state, members_at(partitions, valid));
	set_up_probe(state, list_nth(private, DIST_TOPK_PROBE),
				 members_at(list_nth(private, DIST_TOPK_CELLS), valid));
	state->why_no_probe = text_of(list_nth(private, DIST_TOPK_NO_PROBE));
	answer = DistTopKSetUpColumns(state);
	state->search_context = AllocSetContextCreate(estate->es_query_cxt,
												  "distributed search",
												  ALLOCSET_DEFAULT_SIZES);
	if (state->why_stream != NULL)
		DistTopKStreamBegin(state, answer, eflags);
	else
		DistTopKPrepare(state, answer);
}

static char *
text_of(String *node)
{
	return node != NULL ? strVal(node) : NULL;
}

static void
set_up_expressions(DistTopKState *state, CustomScan *scan)
{
	PlanState  *parent = &state->css.ss.ps;
	List	   *exprs = scan->custom_exprs;

	state->limit = ExecInitExpr(list_nth(exprs, DIST_TOPK_LIMIT), parent);
	state->offset = ExecInitExpr(list_nth(exprs, DIST_TOPK_OFFSET), parent);

	state->nparams = list_length(exprs) - DIST_TOPK_FIRST_PARAM;
	state->param = palloc0(sizeof(DistTopKParam) * Max(state->nparams, 1));
	for (int i = 0; i < state->nparams; i++)
	{
		DistTopKParam *param = &state->param[i];
		Expr	   *expr = list_nth(exprs, DIST_TOPK_FIRST_PARAM + i);

		param->expr = ExecInitExpr(expr, parent);
		param->type = exprType((Node *) expr);
		DistInitValueWriter(&param->writer, param->type, true);
	}
}

static void
set_up_ties(DistTopKState *state, List *private)
{
	ListCell   *lc;
	ListCell   *lo;
	ListCell   *ln;

	state->tie = palloc0(sizeof(DistTopKTie) *
						 Max(list_length(list_nth(private, DIST_TOPK_TIE_COLUMNS)), 1));
	forthree(lc, (List *) list_nth(private, DIST_TOPK_TIE_COLUMNS),
			 lo, (List *) list_nth(private, DIST_TOPK_TIE_OPERATORS),
			 ln, (List *) list_nth(private, DIST_TOPK_TIE_NULLS_FIRST))
	{
		DistTopKTie *tie = &state->tie[state->nties++];

		tie->column = lfirst_int(lc);
		tie->sort.ssup_cxt = CurrentMemoryContext;
		tie->sort.ssup_nulls_first = lfirst_int(ln);
		PrepareSortSupportFromOrderingOp(lfirst_oid(lo), &tie->sort);
	}
	state->tie_context = AllocSetContextCreate(CurrentMemoryContext,
											   "distributed search ties",
											   ALLOCSET_SMALL_SIZES);
}

/* A list of those members of another that are at these places. */
static List *
members_at(List *list, const Bitmapset *places)
{
	List	   *result = list_copy(list);

	for (int i = list_length(list) - 1; i >= 0; i--)
		if (!bms_is_member(i, places))
			result = list_delete_nth_cell(result, i);
	return result;
}

/* Look up where the partitions live, and group them by worker. */
static void
set_up_partitions(DistTopKState *state, List *relids)
{
	int			n = list_length(relids);
	ListCell   *lc;

	state->partition = palloc0(sizeof(DistTopKPartition) * n);
	state->worker = palloc0(sizeof(DistTopKWorker) * n);
	if (VD_MISTAKE("dist-lose-partition"))
		relids = list_truncate(list_copy(relids), n - 1);
	foreach(lc, relids)
	{
		DistPartition *place = DistGetPartition(lfirst_oid(lc));
		DistTopKWorker *worker = find_worker(state, place);

		if (worker->partitions == NULL)
		{
			worker->partitions = palloc(sizeof(int) * n);
			worker->asked = palloc(sizeof(int) * n);
		}
		worker->partitions[worker->npartitions++] = state->npartitions;
		state->partition[state->npartitions++].place = place;
	}
}

static void
set_up_probe(DistTopKState *state, List *probe, List *cells)
{
	if (probe == NIL)
		return;
	state->probe = palloc0(sizeof(DistProbe));
	state->probe->set = linitial_int(probe);
	state->probe->order = (DistProbeOrder) lsecond_int(probe);
	state->probe_param = lthird_int(probe);
	state->probe->exact = lfourth_int(probe) != 0;
	state->probe->is_half = list_nth_int(probe, 4) != 0;
	state->probe->npartitions = state->npartitions;
	state->probe->cells = palloc(sizeof(List *) * state->npartitions);
	for (int i = 0; i < state->npartitions; i++)
		state->probe->cells[i] = list_nth(cells, i);
}

/* The entry of the partition's worker, made if it is the first there. */
static DistTopKWorker *
find_worker(DistTopKState *state, const DistPartition *place)
{
	DistTopKWorker *worker;

	for (int i = 0; i < state->nworkers; i++)
	{
		if (state->worker[i].serverid == place->serverid)
			return &state->worker[i];
	}
	worker = &state->worker[state->nworkers++];
	worker->serverid = place->serverid;
	worker->name = place->worker;
	return worker;
}

static TupleTableSlot *
exec_topk(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

static TupleTableSlot *
next_row(ScanState *node)
{
	DistTopKState *state = (DistTopKState *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	const DistMergeRow *row;
	MemoryContext oldcontext;

	if (state->stream != NULL)
	{
		(void) DistTopKStreamNext(state, slot);
		return slot;
	}
	if (!state->searched)
		search(state);
	ExecClearTuple(slot);
	if (state->next >= state->merge.nrows)
		return slot;

	row = &state->merge.rows[state->next++];
	oldcontext =
		MemoryContextSwitchTo(node->ps.ps_ExprContext->ecxt_per_tuple_memory);
	for (int i = 0; i < state->ncolumns; i++)
		slot->tts_values[i] = DistTopKGetColumn(state, row, i,
												&slot->tts_isnull[i]);
	MemoryContextSwitchTo(oldcontext);
	return ExecStoreVirtualTuple(slot);
}

/* The scan is not offered where rows are locked, so there is no recheck. */
static bool
recheck_row(ScanState *node, TupleTableSlot *slot)
{
	elog(ERROR, "distributed top-K scan cannot recheck a row");
	return false;
}

static void
search(DistTopKState *state)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(state->search_context);

	state->k = rows_wanted(state);
	if (state->k > 0)
	{
		instr_time	start;

		INSTR_TIME_SET_CURRENT(start);
		memset(&state->counts, 0, sizeof(state->counts));
		PG_TRY();
		{
			DistTopKEvaluateParams(state);
			ask_partitions(state);
			if (!VD_MISTAKE("dist-trust-share"))
			{
				if (DistTopKFetchRest(state))
					merge_answers(state);
				certify(state);
			}
			state->counts.rows_returned = state->merge.nrows;
		}
		PG_CATCH();
		{
			state->counts.failed = 1;
			DistTopKCount(state, 1, start);
			PG_RE_THROW();
		}
		PG_END_TRY();
		DistTopKCount(state, 1, start);
		state->nsearches++;
	}
	state->searched = true;
	MemoryContextSwitchTo(oldcontext);
}

/* LIMIT + OFFSET.  The Limit node above complains about negative ones. */
static int64
rows_wanted(DistTopKState *state)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	Datum		limit;
	Datum		offset;
	bool		isnull;
	int64		result;

	limit = ExecEvalExprSwitchContext(state->limit, econtext, &isnull);
	if (isnull)
		return DIST_ALL_ROWS;
	offset = ExecEvalExprSwitchContext(state->offset, econtext, &isnull);
	if (isnull || VD_MISTAKE("dist-forget-offset"))
		offset = Int64GetDatum(0);
	if (pg_add_s64_overflow(DatumGetInt64(limit), DatumGetInt64(offset),
							&result))
		return DIST_ALL_ROWS;
	return result;
}

/* Search the partitions that are to be asked, and merge their answers. */
static void
ask_partitions(DistTopKState *state)
{
	bool	   *ask = palloc(sizeof(bool) * state->npartitions);

	choose_partitions(state, ask);
	DistTopKFetch(state, ask);
	merge_answers(state);

	/* Fewer rows than there may be: ask the other partitions, too. */
	if (state->nasked < state->npartitions && state->merge.nrows < state->k)
	{
		memset(ask, true, sizeof(bool) * state->npartitions);
		DistTopKFetch(state, ask);
		merge_answers(state);
	}
}

/* Which partitions the search asks at first: all, or the nearest ones. */
static void
choose_partitions(DistTopKState *state, bool *ask)
{
	int			n = DistTopKProbes(state);

	for (int i = 0; i < state->npartitions; i++)
	{
		state->partition[i].asked = false;
		state->partition[i].nrows = 0;
	}
	state->nasked = 0;
	if (n > 0 && state->k != DIST_ALL_ROWS)
		DistProbeChoose(state->probe, n, ask);
	else
		memset(ask, true, sizeof(bool) * state->npartitions);
}

static void
merge_answers(DistTopKState *state)
{
	DistMergeInput *inputs;

	inputs = palloc0(sizeof(DistMergeInput) * state->npartitions);
	for (int i = 0; i < state->npartitions; i++)
	{
		const DistTopKPartition *partition = &state->partition[i];
		const DistSearchReport *report = &partition->report;

		inputs[i].name = get_rel_name(partition->place->relid);
		inputs[i].skipped = !partition->asked;
		if (inputs[i].skipped)
			continue;
		inputs[i].echoed = DistTopKIsEchoed(state, partition);
		inputs[i].exhausted = report->exhausted;
		inputs[i].bounded = report->bounded;
		inputs[i].bound = report->bound;
		inputs[i].nkeys = partition->nrows;
		inputs[i].keys = partition->keys;
	}

	state->merge.ninputs = state->npartitions;
	state->merge.inputs = inputs;
	state->merge.k = state->k;
	state->merge.compare_ties = state->nties > 0 ? compare_ties : NULL;
	state->merge.arg = state;
	DistMergeTopK(&state->merge);
}

/*
 * An answer that cannot be certified is not given, except for partitions that
 * were not asked because the user said so.  Those are counted, unless all
 * their rows are provably farther than the last of the answer.
 */
static void
certify(DistTopKState *state)
{
	const DistMerge *merge = &state->merge;
	char	   *gap = DistMergeCertify(merge);
	DistMergeKey last = {.isnull = true};

	if (gap != NULL)
		DistTopKNotCertified(state, gap);

	if (merge->nrows > 0)
	{
		const DistMergeRow *row = &merge->rows[merge->nrows - 1];

		last = merge->inputs[row->input].keys[row->pos];
	}
	state->nuncertain = DistTopKCountUncertain(state, &last);
	state->counts.not_certified = state->nuncertain > 0;
	if (state->nuncertain > 0)
		state->ndoubtful++;
}

/* DistMergeCompareTies: by the keys of ORDER BY behind the distance */
static int
compare_ties(const DistMergeRow *a, const DistMergeRow *b, void *arg)
{
	DistTopKState *state = arg;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->tie_context);
	int			cmp = 0;

	for (int i = 0; i < state->nties && cmp == 0; i++)
	{
		DistTopKTie *tie = &state->tie[i];
		bool		a_isnull;
		bool		b_isnull;
		Datum		a_value = DistTopKGetColumn(state, a, tie->column,
												&a_isnull);
		Datum		b_value = DistTopKGetColumn(state, b, tie->column,
												&b_isnull);

		cmp = ApplySortComparator(a_value, a_isnull, b_value, b_isnull,
								  &tie->sort);
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(state->tie_context);
	return cmp;
}

static void
rescan_topk(CustomScanState *node)
{
	DistTopKState *state = (DistTopKState *) node;

	state->next = 0;
	if (state->stream != NULL)
		DistTopKStreamRescan(state, node->ss.ps.chgParam != NULL);
	else if (node->ss.ps.chgParam != NULL)
	{
		MemoryContextReset(state->search_context);
		state->searched = false;
		state->merge.nrows = 0;
	}
	ExecScanReScan(&node->ss);
}

static void
end_topk(CustomScanState *node)
{
	DistTopKState *state = (DistTopKState *) node;

	if (state->stream != NULL)
		DistTopKStreamEnd(state);
	MemoryContextDelete(state->search_context);
}
