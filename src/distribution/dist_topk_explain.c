/*-------------------------------------------------------------------------
 *
 * dist_topk_explain.c
 *	  EXPLAIN of the distributed top-K scan.
 *
 * With ANALYZE it shows what every partition of the last search reported, and
 * the certificate of the merge.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "distribution/dist_topk.h"

static const char *certificate(const DistTopKState *state, int nuncertain,
							   int64 ndoubtful);
static void explain_stream(DistTopKState *state, ExplainState *es);
static void explain_order(DistTopKState *state, List *ancestors,
						  ExplainState *es);
static char *deparse_column(CustomScan *scan, int column, List *context,
							ExplainState *es);
static void explain_worker(DistTopKState *state, DistTopKWorker *worker,
						   bool analyze, ExplainState *es);
static void explain_worker_text(DistTopKState *state, DistTopKWorker *worker,
								bool analyze, ExplainState *es);
static void explain_partition(DistTopKPartition *partition, bool analyze,
							  ExplainState *es);
static void explain_partition_text(DistTopKPartition *partition, bool analyze,
								   ExplainState *es);
static const char *rows_asked(const DistTopKState *state,
							  const DistTopKWorker *worker);
static const DistSearchReport *first_report(DistTopKState *state,
											DistTopKWorker *worker);

/* ExplainCustomScan */
void
DistTopKExplain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	DistTopKState *state = (DistTopKState *) node;
	bool		analyze = es->analyze && state->searched && state->k > 0;

	if (state->stream != NULL)
	{
		ExplainPropertyText("Mode", "streaming", es);
		ExplainPropertyText("Top-K Not Possible", state->why_stream, es);
	}
	explain_order(state, ancestors, es);
	if (state->why_no_probe != NULL && DistProbes > 0)
		ExplainPropertyText("Probes Not Used", state->why_no_probe, es);
	if (es->verbose)
		ExplainPropertyText("Remote SQL", DistTopKQueryText(state), es);
	if (analyze && state->stream != NULL)
		explain_stream(state, es);
	else if (analyze)
	{
		if (state->k == DIST_ALL_ROWS)
			ExplainPropertyText("Rows Wanted", "all", es);
		else
			ExplainPropertyInteger("Rows Wanted", NULL, state->k, es);
		ExplainPropertyInteger("Searches", NULL, state->nsearches, es);

		ExplainPropertyText("Merge Certified",
							certificate(state, state->nuncertain,
										state->ndoubtful), es);
	}

	if (state->nremoved > 0)
		ExplainPropertyInteger("Partitions Removed", NULL, state->nremoved,
							   es);
	ExplainOpenGroup("Worker Groups", "Worker Groups", false, es);
	for (int i = 0; i < state->nworkers; i++)
		explain_worker(state, &state->worker[i], analyze, es);
	ExplainCloseGroup("Worker Groups", "Worker Groups", false, es);
}

/*
 * An answer of which more than this cannot be said is an error: all partitions
 * that were asked returned what they had to.  'nuncertain' partitions of the
 * last search were not asked and may have rows of the answer; there are some in
 * 'ndoubtful' of all searches.
 */
static const char *
certificate(const DistTopKState *state, int nuncertain, int64 ndoubtful)
{
	if (ndoubtful > 0 && state->nsearches > 1)
		return psprintf("no (in " INT64_FORMAT " of " INT64_FORMAT " searches partitions that were not asked may have nearer rows: vecdist.probes)",
						ndoubtful, state->nsearches);
	if (state->nasked == state->npartitions)
		return "yes";
	if (nuncertain == 0)
		return psprintf("yes (%d of %d partitions asked, the others are farther)",
						state->nasked, state->npartitions);
	return psprintf("no (%d of %d partitions asked, %d more may have nearer rows: vecdist.probes)",
					state->nasked, state->npartitions, nuncertain);
}

/* What is certified of a stream is the order of what was emitted. */
static void
explain_stream(DistTopKState *state, ExplainState *es)
{
	DistTopKStreamCounts counts;
	const char *certified;

	DistTopKStreamStats(state, &counts);
	ExplainPropertyInteger("Searches", NULL, state->nsearches, es);
	ExplainPropertyInteger("Rounds", NULL, counts.nrounds, es);
	ExplainPropertyInteger("Rows Fetched", NULL, counts.nfetched, es);
	if (counts.nlate == 0)
		certified = certificate(state, counts.nuncertain,
								state->ndoubtful +
								(counts.nuncertain > 0 ? 1 : 0));
	else if (counts.nlate == 1)
		certified = "no: 1 row was found after a farther one had been returned";
	else
		certified = psprintf("no: " INT64_FORMAT " rows were found after farther ones had been returned",
							 counts.nlate);
	ExplainPropertyText("Merge Certified", certified, es);
}

static void
explain_order(DistTopKState *state, List *ancestors, ExplainState *es)
{
	CustomScan *scan = castNode(CustomScan, state->css.ss.ps.plan);
	List	   *context = set_deparse_context_plan(es->deparse_cxt,
												   &scan->scan.plan, ancestors);
	List	   *keys = list_make1(deparse_column(scan, state->ncolumns - 1,
												 context, es));

	for (int i = 0; i < state->nties; i++)
	{
		SortSupport sort = &state->tie[i].sort;
		char	   *key = deparse_column(scan, state->tie[i].column, context,
										 es);

		keys = lappend(keys,
					   psprintf("%s%s%s", key,
								sort->ssup_reverse ? " DESC" : "",
								sort->ssup_nulls_first == sort->ssup_reverse ? "" :
								sort->ssup_nulls_first ? " NULLS FIRST" :
								" NULLS LAST"));
	}
	ExplainPropertyList("Order By", keys, es);
	if (state->filter != NULL)
		ExplainPropertyText("Remote Filter", state->filter, es);
}

/* Text of a column of the scan tuple; the distance is the last. */
static char *
deparse_column(CustomScan *scan, int column, List *context, ExplainState *es)
{
	TargetEntry *tle = list_nth_node(TargetEntry, scan->custom_scan_tlist,
									 column);

	return deparse_expression((Node *) tle->expr, context,
							  list_length(es->rtable) > 1, false);
}

static void
explain_worker(DistTopKState *state, DistTopKWorker *worker, bool analyze,
			   ExplainState *es)
{
	const DistSearchReport *report = first_report(state, worker);

	analyze = analyze && report != NULL;
	if (es->format == EXPLAIN_FORMAT_TEXT)
	{
		explain_worker_text(state, worker, analyze, es);
		return;
	}

	ExplainOpenGroup("Worker Group", NULL, true, es);
	ExplainPropertyText("Name", worker->name ? worker->name : "local", es);
	if (analyze)
	{
		if (worker->host != NULL)
			ExplainPropertyText("Server", worker->host, es);
		ExplainPropertyText("Role", report->standby ? "standby" : "primary",
							es);
		ExplainPropertyText("LSN", psprintf("%X/%X",
											LSN_FORMAT_ARGS(report->lsn)), es);
		ExplainPropertyInteger("Round Trips", NULL, worker->nrequests, es);
		if (state->stream != NULL)
			ExplainPropertyInteger("Rows Asked Last", NULL, worker->first, es);
		else if (worker->first != DIST_ALL_ROWS)
			ExplainPropertyInteger("Rows Asked First", NULL, worker->first, es);
		if (state->stream == NULL)
			ExplainPropertyBool("Rest Asked", worker->rest, es);
	}
	ExplainOpenGroup("Partitions", "Partitions", false, es);
	for (int i = 0; i < worker->npartitions; i++)
		explain_partition(&state->partition[worker->partitions[i]], analyze,
						  es);
	ExplainCloseGroup("Partitions", "Partitions", false, es);
	ExplainCloseGroup("Worker Group", NULL, true, es);
}

static void
explain_worker_text(DistTopKState *state, DistTopKWorker *worker,
					bool analyze, ExplainState *es)
{
	const DistSearchReport *report = first_report(state, worker);

	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfo(es->str, "Worker Group: %s",
					 worker->name ? worker->name : "local");
	if (analyze)
	{
		appendStringInfo(es->str, " (%s%s%s, LSN %X/%X, %s, round trips "
						 INT64_FORMAT ")",
						 worker->host ? worker->host : "",
						 worker->host ? " " : "",
						 report->standby ? "standby" : "primary",
						 LSN_FORMAT_ARGS(report->lsn),
						 rows_asked(state, worker), worker->nrequests);
	}
	appendStringInfoChar(es->str, '\n');

	es->indent++;
	for (int i = 0; i < worker->npartitions; i++)
		explain_partition_text(&state->partition[worker->partitions[i]],
							   analyze, es);
	es->indent--;
}

static void
explain_partition(DistTopKPartition *partition, bool analyze, ExplainState *es)
{
	const DistSearchReport *report = &partition->report;

	analyze = analyze && partition->asked;
	ExplainOpenGroup("Partition", NULL, true, es);
	ExplainPropertyText("Name", get_rel_name(partition->place->relid), es);
	if (analyze)
	{
		ExplainPropertyInteger("Rows", NULL, report->nrows, es);
		ExplainPropertyBool("Exhausted", report->exhausted, es);
		if (report->bounded && !report->bound.isnull)
			ExplainPropertyFloat("Bound", NULL, report->bound.distance, 6, es);
		ExplainPropertyText("Plan", report->index ? "index" : "exact", es);
		if (report->index != NULL)
		{
			ExplainPropertyText("Index", report->index, es);
			ExplainPropertyInteger("Ef", NULL, report->ef, es);
		}
	}
	ExplainCloseGroup("Partition", NULL, true, es);
}

static void
explain_partition_text(DistTopKPartition *partition, bool analyze,
					   ExplainState *es)
{
	const DistSearchReport *report = &partition->report;

	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfo(es->str, "Partition: %s",
					 quote_identifier(get_rel_name(partition->place->relid)));
	if (analyze && !partition->asked)
		appendStringInfoString(es->str, " (not asked)");
	else if (analyze)
	{
		appendStringInfo(es->str, " (rows " INT64_FORMAT ", ",
						 report->nrows);
		if (report->bounded && !report->bound.isnull)
			appendStringInfo(es->str, "bound %g, ", report->bound.distance);
		else
			appendStringInfoString(es->str, report->exhausted ?
								   "exhausted, " : "not exhausted, ");
		if (report->index != NULL)
			appendStringInfo(es->str, "index %s, ef %d)",
							 quote_identifier(report->index), report->ef);
		else
			appendStringInfoString(es->str, "exact)");
	}
	appendStringInfoChar(es->str, '\n');
}

/* How many rows the worker was asked for, first and at last. */
static const char *
rows_asked(const DistTopKState *state, const DistTopKWorker *worker)
{
	if (state->stream != NULL)
		return psprintf("last asked " INT64_FORMAT, worker->first);
	if (worker->first == DIST_ALL_ROWS)
		return "asked all";
	return psprintf("asked " INT64_FORMAT "%s", worker->first,
					worker->rest ? " and the rest" : "");
}

/*
 * Role and position are those of the server, the same for its partitions; NULL
 * if none was asked.
 */
static const DistSearchReport *
first_report(DistTopKState *state, DistTopKWorker *worker)
{
	for (int i = 0; i < worker->npartitions; i++)
	{
		DistTopKPartition *partition = &state->partition[worker->partitions[i]];

		if (partition->asked)
			return &partition->report;
	}
	return NULL;
}
