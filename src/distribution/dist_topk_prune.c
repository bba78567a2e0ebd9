/*-------------------------------------------------------------------------
 *
 * dist_topk_prune.c
 *	  Exclude partitions of a top-K scan when it starts.
 *
 * A plan made once for all values of its parameters lists all partitions that
 * any of them may need.  As core's Append does, the scan has steps in its plan
 * that tell which of these the actual values can match, and forgets the others
 * before anything is looked up for them.
 *
 * Conditions on what only becomes known while the plan runs (values of a
 * sub-select, of the outer side of LATERAL) exclude nothing here; the workers
 * evaluate them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/execPartition.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "optimizer/cost.h"
#include "optimizer/restrictinfo.h"
#include "partitioning/partprune.h"

#include "distribution/dist_topk.h"

#if VECDIST_CAN_PRUNE_AT_START

static List *leaf_paths(RelOptInfo *rel, List *paths);

/*
 * DistTopKPruneSteps
 *		Make DIST_TOPK_PRUNE for a plan over the partitions of 'rel'.
 *
 * NIL if the planner has excluded all that can be excluded.
 */
List *
DistTopKPruneSteps(PlannerInfo *root, RelOptInfo *rel, int npartitions)
{
	List	   *conditions = extract_actual_clauses(rel->baserestrictinfo,
													false);
	List	   *paths;
	PartitionPruneInfo *info;

	if (!enable_partition_pruning || conditions == NIL)
		return NIL;
	paths = leaf_paths(rel, NIL);
	if (list_length(paths) != npartitions)
		elog(ERROR, "plan has %d partitions instead of %d",
			 npartitions, list_length(paths));
	info = make_partition_pruneinfo(root, rel, paths, conditions);
	if (info == NULL)
		return NIL;
	return list_make2(makeInteger(rel->relid), info);
}

/*
 * A path for every live leaf, in the order of DIST_TOPK_PARTITIONS.  Of paths,
 * core's function wants to know the relation only.
 */
static List *
leaf_paths(RelOptInfo *rel, List *paths)
{
	int			i = -1;

	check_stack_depth();

	if (IS_DUMMY_REL(rel))
		return paths;
	if (!IS_PARTITIONED_REL(rel))
	{
		Path	   *path = makeNode(Path);

		path->parent = rel;
		return lappend(paths, path);
	}
	while ((i = bms_next_member(rel->live_parts, i)) >= 0)
		paths = leaf_paths(rel->part_rels[i], paths);
	return paths;
}

/*
 * DistTopKPrune
 *		Which of the plan's partitions can have rows for these parameters?
 *
 * Numbers of members of DIST_TOPK_PARTITIONS.  If there are none, the first one
 * stays: its worker finds that the condition holds for no row, and nothing else
 * has to be prepared for a scan without partitions.
 */
Bitmapset *
DistTopKPrune(PlanState *node, List *steps, int npartitions)
{
	CustomScan *scan = castNode(CustomScan, node->plan);
	ExprContext *econtext = node->ps_ExprContext;
	PartitionPruneInfo *info;
	Bitmapset  *valid;
	int			offset;
	ListCell   *lh;

	if (steps == NIL)
		return bms_add_range(NULL, 0, npartitions - 1);

	/*
	 * The planner moves the range table indexes of an Append's steps to their
	 * final place, but not those of ours.  It does so for custom_relids.
	 */
	offset = bms_singleton_member(scan->custom_relids) -
		intVal(linitial(steps));
	info = copyObject(lsecond_node(PartitionPruneInfo, steps));
	foreach(lh, info->prune_infos)
	{
		ListCell   *lr;

		foreach(lr, lfirst_node(List, lh))
			lfirst_node(PartitionedRelPruneInfo, lr)->rtindex += offset;
	}

	/* It makes an expression context for itself; the scan has its own. */
	(void) ExecInitPartitionPruning(node, npartitions, info, &valid);
	node->ps_ExprContext = econtext;

	return bms_is_empty(valid) ? bms_make_singleton(0) : valid;
}

#else

List *
DistTopKPruneSteps(PlannerInfo *root, RelOptInfo *rel, int npartitions)
{
	return NIL;
}

Bitmapset *
DistTopKPrune(PlanState *node, List *steps, int npartitions)
{
	return bms_add_range(NULL, 0, npartitions - 1);
}

#endif
