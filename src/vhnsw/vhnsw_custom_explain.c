/*-------------------------------------------------------------------------
 *
 * vhnsw_custom_explain.c
 *	  EXPLAIN of the custom scan "Vhnsw Scan".
 *
 * Counts are sums over all searches of the scan, not averages; strategy and ef
 * are those of the last.  Core adds how many rows the conditions removed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "vhnsw/vhnsw_custom.h"

static const char *strategy_name(VhnswFilterStrategy strategy);

/* ExplainCustomScan */
void
VhnswCustomExplain(CustomScanState *css, List *ancestors, ExplainState *es)
{
	VhnswCustomState *state = (VhnswCustomState *) css;
	CustomScan *plan = castNode(CustomScan, css->ss.ps.plan);
	Oid			index = linitial_oid(list_nth(plan->custom_private,
											  VHNSW_CUSTOM_INDEX));
	List	   *context = set_deparse_context_plan(es->deparse_cxt,
												   &plan->scan.plan,
												   ancestors);
	bool		prefix = list_length(es->rtable) > 1 || es->verbose;
	VhnswCounts counts = state->counts;

	ExplainPropertyText("Index", get_rel_name(index), es);
	ExplainPropertyText("Order By",
						deparse_expression(list_nth(plan->custom_exprs,
													VHNSW_CUSTOM_DISTANCE),
										   context, prefix, false), es);
	if (state->started)
		VhnswCountsAdd(&counts, &state->search_counts);
	if (state->stream)
		VhnswStreamCount(state->stream, &counts);
	if (!es->analyze || counts.searches == 0)
		return;

	ExplainPropertyText("Strategy", strategy_name(state->last_strategy), es);
	ExplainPropertyInteger("Searches", NULL, counts.searches, es);
	if (state->settled_first > 0)
		ExplainPropertyInteger("Ef", NULL, state->settled_first, es);
	ExplainPropertyInteger("Elements Visited", NULL,
						   counts.expanded + counts.evaluated, es);
	ExplainPropertyInteger("Edges Scored", NULL, counts.scored, es);
	if (counts.sweeps > 0)
		ExplainPropertyInteger("Index Sweeps", NULL, counts.sweeps, es);
	ExplainPropertyInteger("Heap Fetches", NULL, counts.fetches, es);
	ExplainPropertyInteger("Rows Invisible", NULL, counts.invisible, es);
	if (state->bitmap)
		ExplainPropertyInteger("Rows Skipped", NULL, counts.skipped, es);
	ExplainPropertyInteger("Rows Late", NULL, counts.late, es);
	if (counts.cut > 0)
		ExplainPropertyInteger("Searches Cut", NULL, counts.cut, es);
}

static const char *
strategy_name(VhnswFilterStrategy strategy)
{
	switch (strategy)
	{
		case VHNSW_FILTER_AUTO:
			break;
		case VHNSW_FILTER_SEARCH:
			return "search";
		case VHNSW_FILTER_BITMAP:
			return "bitmap";
		case VHNSW_FILTER_MATCHES:
			return "matches";
		case VHNSW_FILTER_EXACT:
			return "exact";
	}
	return NULL;
}
