/*-------------------------------------------------------------------------
 *
 * dist_topk_above.c
 *	  Window functions and DISTINCT over rows in order of distance.
 *
 * Core plans these before ORDER BY, over the paths of the table, and by then
 * has thrown our ordered path away (see dist_topk_plan.c).  Its own plan sorts
 * all rows of all workers.  So the path that core would have made of ours is
 * made here: both nodes read no more rows than are asked of them, if those come
 * in the order the clause needs.
 *
 * Groups and aggregates are not like this: they need all rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"

#include "distribution/dist_topk.h"

static WindowClause *only_window(PlannerInfo *root,
								 WindowFuncLists **functions);
static List *pathkeys_for_distinct(PlannerInfo *root);
static Path *sort_further(PlannerInfo *root, RelOptInfo *rel, Path *path,
						  List *pathkeys);

/*
 * The order in which the clause planned at 'stage' wants the rows of the table,
 * or NIL: it is none of these, or more than one window is wanted.
 */
List *
DistTopKPathkeysAbove(PlannerInfo *root, UpperRelationKind stage)
{
	WindowFuncLists *functions;

	if (stage == UPPERREL_DISTINCT)
		return pathkeys_for_distinct(root);
	if (stage == UPPERREL_WINDOW && only_window(root, &functions) != NULL)
		return root->window_pathkeys;
	return NIL;
}

/*
 * May the clause itself end the scan?  A window whose condition cannot become
 * true again ("row_number() <= 10" of a query around it) does.
 */
bool
DistTopKEndsAbove(PlannerInfo *root, UpperRelationKind stage)
{
	WindowFuncLists *functions;
	WindowClause *window;

	if (stage != UPPERREL_WINDOW)
		return false;
	window = only_window(root, &functions);
	return window != NULL && window->partitionClause == NIL &&
		VecdistRunCondition(window) != NIL;
}

/*
 * Offer 'stream', ordered by the first of the pathkeys above, with the clause's
 * node on it as a path of 'output_rel'.
 */
void
DistTopKAddAbove(PlannerInfo *root, UpperRelationKind stage, Path *stream,
				 RelOptInfo *output_rel)
{
	Path	   *sorted = sort_further(root, output_rel, stream,
									  DistTopKPathkeysAbove(root, stage));
	WindowFuncLists *functions;
	WindowClause *window;
	Path	   *path;

	if (sorted == NULL)
		return;
	if (stage == UPPERREL_DISTINCT)
	{
		/* Core has guessed how many there are. */
		double		rows = output_rel->pathlist != NIL ?
		((Path *) linitial(output_rel->pathlist))->rows : stream->rows;

		add_path(output_rel, (Path *)
				 create_upper_unique_path(root, output_rel, sorted,
										  list_length(root->distinct_pathkeys),
										  rows));
		return;
	}
	window = only_window(root, &functions);
	path = VecdistCreateWindowAggPath(root, output_rel, sorted,
									  root->upper_targets[UPPERREL_WINDOW],
									  functions->windowFuncs[window->winref],
									  window);
	if (path != NULL)
		add_path(output_rel, path);
}

/* The window whose functions the query calls, if that is one. */
static WindowClause *
only_window(PlannerInfo *root, WindowFuncLists **functions)
{
	WindowClause *result = NULL;
	ListCell   *lc;

	*functions = find_window_functions((Node *) root->processed_tlist,
									   list_length(root->parse->windowClause));
	foreach(lc, root->parse->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if ((*functions)->windowFuncs[window->winref] == NIL)
			continue;
		if (result != NULL)
			return NULL;
		result = window;
	}
	return result;
}

/* As core does: the stricter of DISTINCT ON and ORDER BY. */
static List *
pathkeys_for_distinct(PlannerInfo *root)
{
	return root->parse->hasDistinctOn &&
		list_length(root->distinct_pathkeys) < list_length(root->sort_pathkeys) ?
		root->sort_pathkeys : root->distinct_pathkeys;
}

/* NULL: the session does not want that. */
static Path *
sort_further(PlannerInfo *root, RelOptInfo *rel, Path *path, List *pathkeys)
{
	if (list_length(pathkeys) == 1)
		return path;
	if (!enable_incremental_sort)
		return NULL;
	return (Path *) create_incremental_sort_path(root, rel, path, pathkeys, 1,
												 -1.0);
}
