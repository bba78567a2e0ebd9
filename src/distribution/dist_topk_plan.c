/*-------------------------------------------------------------------------
 *
 * dist_topk_plan.c
 *	  Offer the distributed top-K scan to the planner.
 *
 * For a query that orders one distributed table by a distance and wants the
 * first few rows, core's own plan reads each foreign partition through a
 * cursor and merges the streams: one turn after the other, and whole vectors
 * on the wire.  We offer a scan that asks all workers at once for the columns
 * needed and the distance.
 *
 * It is offered where the sorted relation is built (UPPERREL_ORDERED): a path
 * added to a partitioned table earlier is thrown away when the planner
 * distributes the target list over the partitions.  LIMIT and OFFSET stay with
 * core's Limit node above.
 *
 * K is exact only if every row we return reaches that Limit: FROM is the one
 * table, all conditions are evaluated by the workers, and nothing between the
 * scan and the Limit drops or adds rows.  Sub-selects, CTEs, LATERAL and the
 * arms of UNION are queries of their own here, so joins over them profit as
 * well.
 *
 * Where K is not known the scan is offered as a stream, which returns rows in
 * order for as long as somebody asks: under a join or UNION ALL where the
 * relation is built, under window functions and DISTINCT where these are planned
 * (see dist_topk_above.c).  Where that is not possible either, core's plan
 * remains.
 *
 * Keys behind the distance in ORDER BY decide between rows of equal distance.
 * The workers sort by them too, and the merge compares them.
 *
 * The distance needs no index to be right: any operator that returns float8
 * will do.  Whether a worker uses an index is its planner's decision.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "partitioning/partbounds.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/typcache.h"

#include "distribution/dist_centroid.h"
#include "distribution/dist_deparse.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_topk.h"

/* Cost of one turn to the workers, in the unit of the planner. */
#define TURN_COST		100.0

/*
 * And of searching one partition.  More than planning again costs, in core's
 * eyes, for a plan that spares one: a prepared statement with a condition on
 * the partition key keeps being planned for each value, and asks one partition.
 */
#define PARTITION_COST	25.0

/* A reason why the scan does not know K. */
#define SEVERAL_QUERIES	"the rows of several queries are ordered together"

/* Values that fit into a call of vecdist.search(), which has 8 other ones. */
#define MAX_PARAMS		(FUNC_MAX_ARGS - 8)

/* What examine_query finds out. */
typedef struct TopKQuery
{
	Oid			relid;			/* the table */
	Index		varno;			/* and its index in the range table */
	List	   *partitions;		/* OIDs of the live leaves */
	int			set;			/* of centroids that places rows, or 0 */
	Node	   *placed_by;		/* then the expression it is applied to */
	List	   *cells;			/* and of each leaf, the list of its centroids */
	List	   *probe;			/* DIST_TOPK_PROBE */
	const char *why_no_probe;	/* DIST_TOPK_NO_PROBE */
	bool		has_foreign;	/* some of them live on a worker */
	bool		hashed;			/* rows are placed by hash on all levels */
	Expr	   *distance;		/* the expression the query orders by */
	char	   *distance_text;	/* as the workers get it */
	char	   *tie_text;		/* further keys of ORDER BY, or NULL */
	List	   *tie_keys;		/* of Var: these keys */
	List	   *tie_sorts;		/* of SortGroupClause: their order */
	char	   *filter_text;	/* the conditions, or NULL */
	List	   *params;			/* of Expr: $1, $2, ... of both texts */
	List	   *columns;		/* of Var: what is needed besides distance */
	const char *why_stream;		/* why K is not known; NULL: it is */
	List	   *local_filter;	/* of RestrictInfo: conditions to be evaluated
								 * here; only in a stream */
} TopKQuery;

/* CustomPath.custom_private */
enum
{
	PATH_DISTANCE,				/* Expr */
	PATH_COLUMNS,				/* list of Var */
	PATH_PARAMS,				/* list of Expr */
	PATH_LOCAL_FILTER,			/* list of RestrictInfo */
	PATH_PRIVATE				/* custom_private of the plan */
};

typedef struct ColumnsContext
{
	Oid			relid;
	Expr	   *distance;
	List	   *columns;
	bool		impossible;		/* found what cannot be shipped */
} ColumnsContext;

static bool enable_topk = true;
static create_upper_paths_hook_type prev_upper_paths_hook = NULL;
static set_rel_pathlist_hook_type prev_rel_pathlist_hook = NULL;

static void add_topk_path(PlannerInfo *root, UpperRelationKind stage,
						  RelOptInfo *input_rel, RelOptInfo *output_rel,
						  void *extra);
static void add_stream_below(PlannerInfo *root, RelOptInfo *rel, Index rti,
							 RangeTblEntry *rte);
static void add_stream_above(PlannerInfo *root, UpperRelationKind stage,
							 RelOptInfo *input_rel, RelOptInfo *output_rel);
static bool contains_set(PathTarget *target);
static const char *examine_stream(RelOptInfo *rel, PathTarget *target,
								  TopKQuery *query);
static Cost cheapest_total(List *paths);
static void set_up_query(PlannerInfo *root, RelOptInfo *rel,
						 TopKQuery *query);
static CustomPath *make_path(RelOptInfo *rel, PathTarget *target,
							 TopKQuery *query);
static void add_stream_path(PlannerInfo *root, CustomPath *path,
							RelOptInfo *input_rel, RelOptInfo *output_rel);
static void cost_stream_path(CustomPath *path, RelOptInfo *rel,
							 Cost whole_cost);
static Expr *distance_of_pathkey(PlannerInfo *root, PathKey *pathkey,
								 RelOptInfo *rel);
static bool is_distance(Node *expr);
static const char *examine_query(PlannerInfo *root, RelOptInfo *rel,
								 TopKQuery *query);
static void remark_other_input(PlannerInfo *root);
static void remark_arms(PlannerInfo *root);
static void remark_set_operation(PlannerInfo *root);
static void remark_arm(PlannerInfo *arm, int column);
static const char *why_not_table(PlannerInfo *root);
static bool is_ordered_by_distance(PlannerInfo *root);
static bool remark_why_not(PlannerInfo *root, RelOptInfo *rel,
						   const char *why);
static bool is_base_table(PlannerInfo *root, RelOptInfo *rel);
static bool is_table(PlannerInfo *root, RelOptInfo *rel);
static AppendRelInfo *arm_of_union(PlannerInfo *root, RelOptInfo *rel);
static void collect_partitions(PlannerInfo *root, RelOptInfo *rel,
							   List *cells, TopKQuery *query);
static void find_placing_set(RelOptInfo *rel, TopKQuery *query);
static List *cells_of_partition(RelOptInfo *rel, int part);
static void examine_probe(OpExpr *distance, Node *operand, Node *vector,
						  TopKQuery *query);
static const char *examine_shape(PlannerInfo *root, TopKQuery *query);
static const char *examine_sort_key(PlannerInfo *root, TopKQuery *query);
static const char *examine_distance(OpExpr *key, TopKQuery *query);
static const char *deparse_distance(OpExpr *distance, ListCell *vector,
									TopKQuery *query);
static const char *examine_ties(PlannerInfo *root, TopKQuery *query);
static const char *examine_filter(RelOptInfo *rel, TopKQuery *query);
static const char *examine_columns(PathTarget *target, TopKQuery *query);
static bool collect_columns_walker(Node *node, void *context);
static void collect_all_columns(Var *row, ColumnsContext *context);
static bool is_vector(Node *operand);
static void cost_topk_path(CustomPath *path, PlannerInfo *root,
						   RelOptInfo *input_rel, RelOptInfo *output_rel,
						   int npartitions);
static List *plan_private(Oid userid, TopKQuery *query);
static String *text_node(const char *text);
static Plan *make_topk_plan(PlannerInfo *root, RelOptInfo *rel,
							CustomPath *best_path, List *tlist,
							List *clauses, List *custom_plans);

static const CustomPathMethods path_methods = {
	.CustomName = "Distributed Top-K",
	.PlanCustomPath = make_topk_plan
};

void
DistTopKInit(void)
{
	DefineCustomBoolVariable("vecdist.enable_topk",
							 "Enables the planner's use of the distributed top-K scan.",
							 NULL,
							 &enable_topk,
							 true,
							 PGC_USERSET, GUC_EXPLAIN,
							 NULL, NULL, NULL);

	RegisterCustomScanMethods(&DistTopKScanMethods);
	prev_upper_paths_hook = create_upper_paths_hook;
	create_upper_paths_hook = add_topk_path;
	prev_rel_pathlist_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = add_stream_below;
}

/* create_upper_paths_hook */
static void
add_topk_path(PlannerInfo *root, UpperRelationKind stage,
			  RelOptInfo *input_rel, RelOptInfo *output_rel, void *extra)
{
	TopKQuery	query = {0};
	CustomPath *path;
	const char *why;

	if (prev_upper_paths_hook)
		prev_upper_paths_hook(root, stage, input_rel, output_rel, extra);

	if (stage == UPPERREL_WINDOW || stage == UPPERREL_DISTINCT)
	{
		add_stream_above(root, stage, input_rel, output_rel);
		return;
	}
	if (stage != UPPERREL_ORDERED)
		return;
	if (!is_base_table(root, input_rel))
	{
		remark_other_input(root);
		return;
	}
	set_up_query(root, input_rel, &query);
	if (!query.has_foreign)
		return;
	why = enable_topk ? examine_query(root, input_rel, &query) :
		"vecdist.enable_topk is off";
	if ((why != NULL || query.why_stream != NULL) &&
		is_ordered_by_distance(root))
		remark_why_not(root, input_rel, why != NULL ? why : query.why_stream);
	if (why != NULL)
		return;

	/*
	 * As with core's own paths that need no sort here, the parent is the
	 * table: EXPLAIN finds its name, and core takes care of conditions
	 * without columns.
	 */
	path = make_path(input_rel, root->upper_targets[UPPERREL_ORDERED], &query);
	if (query.why_stream != NULL)
	{
		add_stream_path(root, path, input_rel, output_rel);
		return;
	}
	path->path.pathkeys = root->sort_pathkeys;
	cost_topk_path(path, root, input_rel, output_rel,
				   list_length(query.partitions));
	add_path(output_rel, &path->path);
}

/*
 * Window functions or DISTINCT over a table: as a stream, if they want the rows
 * in order of distance.
 */
static void
add_stream_above(PlannerInfo *root, UpperRelationKind stage,
				 RelOptInfo *input_rel, RelOptInfo *output_rel)
{
	List	   *pathkeys = DistTopKPathkeysAbove(root, stage);
	TopKQuery	query = {0};
	CustomPath *path;
	Cost		total;

	if (pathkeys == NIL || !enable_topk || root->rowMarks != NIL ||
		!is_base_table(root, input_rel) || IS_DUMMY_REL(input_rel) ||
		contains_set(input_rel->reltarget))
		return;
	query.why_stream = stage == UPPERREL_WINDOW ?
		"window functions see the rows first" :
		"DISTINCT may drop rows";
	query.distance = distance_of_pathkey(root,
										 linitial_node(PathKey, pathkeys),
										 input_rel);
	if (query.distance == NULL)
		return;
	set_up_query(root, input_rel, &query);
	if (!query.has_foreign ||
		examine_stream(input_rel, input_rel->reltarget, &query) != NULL)
		return;

	total = cheapest_total(output_rel->pathlist);
	if (DistTopKEndsAbove(root, stage))
		total *= DEFAULT_INEQ_SEL;
	path = make_path(input_rel, input_rel->reltarget, &query);
	path->path.pathkeys = list_make1(linitial(pathkeys));
	cost_stream_path(path, input_rel, total);
	DistTopKAddAbove(root, stage, &path->path, output_rel);
}

/* Does it have set-returning functions? */
static bool
contains_set(PathTarget *target)
{
	return expression_returns_set((Node *) target->exprs);
}

/*
 * Can the scan return, as a stream, the columns 'target' of a table by
 * query->distance?  NULL, or the reason why not.
 */
static const char *
examine_stream(RelOptInfo *rel, PathTarget *target, TopKQuery *query)
{
	const char *why = examine_distance((OpExpr *) query->distance, query);

	if (why == NULL)
		why = examine_filter(rel, query);
	if (why == NULL && list_length(query->params) > MAX_PARAMS)
		why = "the conditions have too many parameters";
	if (why == NULL)
		why = examine_columns(target, query);
	return why;
}

static Cost
cheapest_total(List *paths)
{
	Cost		total = 0;
	ListCell   *lc;

	foreach(lc, paths)
	{
		Path	   *path = lfirst(lc);

		if (lc == list_head(paths) || path->total_cost < total)
			total = path->total_cost;
	}
	return total;
}

/*
 * set_rel_pathlist_hook: a table in a join, or in an arm of UNION ALL, whose rows
 * are wanted in order of distance.  (A path for a table alone would be thrown
 * away.)
 */
static void
add_stream_below(PlannerInfo *root, RelOptInfo *rel, Index rti,
				 RangeTblEntry *rte)
{
	TopKQuery	query = {0};
	PathKey    *pathkey;
	CustomPath *path;
	Path		sort_path;

	if (prev_rel_pathlist_hook)
		prev_rel_pathlist_hook(root, rel, rti, rte);

	if (!enable_topk || root->query_pathkeys == NIL || IS_DUMMY_REL(rel) ||
		rel->lateral_relids != NULL || root->rowMarks != NIL ||
		rel->pathlist == NIL)
		return;
	if (arm_of_union(root, rel) != NULL)
		query.why_stream = SEVERAL_QUERIES;
	else if (is_base_table(root, rel) &&
			 bms_membership(root->all_baserels) == BMS_MULTIPLE)
		query.why_stream = "FROM has more than one table";
	else
		return;
	pathkey = linitial_node(PathKey, root->query_pathkeys);
	query.distance = distance_of_pathkey(root, pathkey, rel);
	if (query.distance == NULL)
		return;
	set_up_query(root, rel, &query);
	if (!query.has_foreign ||
		examine_stream(rel, rel->reltarget, &query) != NULL)
		return;

	cost_sort(&sort_path, root, list_make1(pathkey),
			  cheapest_total(rel->pathlist), rel->rows,
			  rel->reltarget->width, 0.0, work_mem, -1.0);
	path = make_path(rel, rel->reltarget, &query);
	path->path.pathkeys = list_make1(pathkey);
	cost_stream_path(path, rel, sort_path.total_cost);
	add_path(rel, &path->path);
}

static void
set_up_query(PlannerInfo *root, RelOptInfo *rel, TopKQuery *query)
{
	query->relid = planner_rt_fetch(rel->relid, root)->relid;
	query->varno = rel->relid;
	query->hashed = true;
	find_placing_set(rel, query);
	collect_partitions(root, rel, NIL, query);
}

/* The path, without order and cost. */
static CustomPath *
make_path(RelOptInfo *rel, PathTarget *target, TopKQuery *query)
{
	CustomPath *path = makeNode(CustomPath);

	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = target;
	path->methods = &path_methods;
	path->custom_private = list_make5(query->distance, query->columns,
									  query->params, query->local_filter,
									  plan_private(rel->userid, query));
	return path;
}

/*
 * Offer the stream for the ordered rows.  It knows the distance only: further
 * keys are core's work, which then sorts rows of equal distance.
 */
static void
add_stream_path(PlannerInfo *root, CustomPath *path, RelOptInfo *input_rel,
				RelOptInfo *output_rel)
{
	PathKey    *pathkey = linitial_node(PathKey, root->sort_pathkeys);
	Path	   *sorted = &path->path;

	if (!equal(distance_of_pathkey(root, pathkey, input_rel),
			   list_nth(path->custom_private, PATH_DISTANCE)))
		return;
	path->path.pathkeys = list_make1(pathkey);
	cost_stream_path(path, input_rel, cheapest_total(output_rel->pathlist));
	if (list_length(root->sort_pathkeys) > 1)
	{
		if (!enable_incremental_sort)
			return;
		sorted = (Path *)
			create_incremental_sort_path(root, output_rel, sorted,
										 root->sort_pathkeys, 1,
										 root->parse->hasTargetSRFs ? -1.0 :
										 root->limit_tuples);
	}
	add_path(output_rel, sorted);
}

/*
 * The first row costs a turn, all rows a little more than by core's plan, which
 * moves them in fewer turns.  So the stream is taken where most rows are not
 * wanted.
 */
static void
cost_stream_path(CustomPath *path, RelOptInfo *rel, Cost whole_cost)
{
	path->path.rows = rel->rows;
	path->path.startup_cost = TURN_COST;
	path->path.total_cost = TURN_COST + 1.1 * whole_cost;
}

/*
 * The distance between something of a table and a vector that a pathkey orders
 * by, nearest first and NULLs last; or NULL.
 */
static Expr *
distance_of_pathkey(PlannerInfo *root, PathKey *pathkey, RelOptInfo *rel)
{
	AppendRelInfo *arm = arm_of_union(root, rel);
	Relids		relids = arm != NULL ?
	bms_make_singleton(arm->parent_relid) : rel->relids;
	ListCell   *lc;

	if (pathkey->pk_strategy != BTLessStrategyNumber ||
		pathkey->pk_nulls_first ||
		get_opfamily_member(pathkey->pk_opfamily, FLOAT8OID, FLOAT8OID,
							BTLessStrategyNumber) != Float8LessOperator)
		return NULL;
	foreach(lc, pathkey->pk_eclass->ec_members)
	{
		EquivalenceMember *member = lfirst(lc);
		Node	   *expr = (Node *) member->em_expr;

		if (member->em_is_child || !bms_equal(member->em_relids, relids))
			continue;
		if (arm != NULL)
			expr = adjust_appendrel_attrs(root, expr, 1, &arm);
		if (is_distance(expr))
			return (Expr *) expr;
	}
	return NULL;
}

/* Is it an operator of two operands giving float8? */
static bool
is_distance(Node *expr)
{
	return IsA(expr, OpExpr) && list_length(((OpExpr *) expr)->args) == 2 &&
		exprType(expr) == FLOAT8OID;
}

/*
 * The rows to be ordered are not those of one table.  If they are ordered by
 * a distance, say at distributed tables why this is not our work.
 */
static void
remark_other_input(PlannerInfo *root)
{
	Relids		relids = root->all_baserels;
	int			i = -1;

	if (root->parse->setOperations != NULL)
		remark_set_operation(root);
	remark_arms(root);
	if (!is_ordered_by_distance(root))
		return;
	while ((i = bms_next_member(relids, i)) >= 0)
	{
		RelOptInfo *rel = find_base_rel(root, i);

		if (is_base_table(root, rel))
			remark_why_not(root, rel,
						   bms_membership(relids) == BMS_MULTIPLE ?
						   "FROM has more than one table" :
						   why_not_table(root));
	}
}

/*
 * The same for UNION ALL that has become part of one query: its arms are tables,
 * or queries of their own.
 */
static void
remark_arms(PlannerInfo *root)
{
	ListCell   *lc;

	if (root->sort_pathkeys == NIL)
		return;
	foreach(lc, root->append_rel_list)
	{
		AppendRelInfo *place = lfirst_node(AppendRelInfo, lc);
		RelOptInfo *rel = find_base_rel(root, place->child_relid);
		PathKey    *pathkey = linitial_node(PathKey, root->sort_pathkeys);
		ListCell   *lm;

		if (arm_of_union(root, rel) != NULL &&
			distance_of_pathkey(root, pathkey, rel) != NULL)
			remark_why_not(root, rel, SEVERAL_QUERIES);
		if (rel->subroot == NULL)
			continue;
		foreach(lm, pathkey->pk_eclass->ec_members)
		{
			Var		   *var = (Var *) lfirst_node(EquivalenceMember, lm)->em_expr;

			if (IsA(var, Var) && var->varno == place->parent_relid &&
				var->varattno > 0)
				remark_arm(rel->subroot, var->varattno);
		}
	}
}

/* And for UNION, INTERSECT and EXCEPT. */
static void
remark_set_operation(PlannerInfo *root)
{
	SortGroupClause *sort = linitial_node(SortGroupClause,
										  root->parse->sortClause);
	int			column = get_sortgroupclause_tle(sort, root->parse->targetList)->resno;

	for (int i = 1; i < root->simple_rel_array_size; i++)
	{
		RelOptInfo *rel = root->simple_rel_array[i];

		if (rel != NULL && rel->subroot != NULL)
			remark_arm(rel->subroot, column);
	}
}

/* An arm that was planned as a query of its own, ordered by this column of it. */
static void
remark_arm(PlannerInfo *arm, int column)
{
	int			i = -1;

	if (arm->parse->sortClause != NIL ||
		list_length(arm->processed_tlist) < column ||
		!is_distance((Node *) list_nth_node(TargetEntry, arm->processed_tlist,
											column - 1)->expr))
		return;
	while ((i = bms_next_member(arm->all_baserels, i)) >= 0)
		if (is_base_table(arm, find_base_rel(arm, i)))
			remark_why_not(arm, find_base_rel(arm, i), SEVERAL_QUERIES);
}

/* What is between the table and ORDER BY? */
static const char *
why_not_table(PlannerInfo *root)
{
	Query	   *parse = root->parse;

	if (parse->hasAggs || parse->groupClause != NIL ||
		parse->groupingSets != NIL)
		return "groups and aggregates need all rows";
	if (!enable_topk)
		return "vecdist.enable_topk is off";
	if (root->rowMarks != NIL)
		return "rows are to be locked";
	if (parse->hasWindowFuncs &&
		DistTopKPathkeysAbove(root, UPPERREL_WINDOW) == NIL)
		return "window functions need all rows, or several orders";
	if (parse->hasWindowFuncs)
		return "window functions need most rows, or in another order";
	return "DISTINCT needs most rows, or in another order";
}

/* Is a key of ORDER BY, or what it aggregates, a distance, or a row of one? */
static bool
is_ordered_by_distance(PlannerInfo *root)
{
	ListCell   *lc;

	foreach(lc, root->parse->sortClause)
	{
		Node	   *key = get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc),
												   root->processed_tlist);

		if (IsA(key, Aggref) && list_length(((Aggref *) key)->args) == 1)
			key = (Node *) linitial_node(TargetEntry,
										 ((Aggref *) key)->args)->expr;
		if (IsA(key, RowExpr) && ((RowExpr *) key)->args != NIL)
			key = linitial(((RowExpr *) key)->args);
		if (is_distance(key))
			return true;
	}
	return false;
}

/*
 * Tell the reason to the first leaf that lives on a worker, if there is one.
 * EXPLAIN shows it there.
 */
static bool
remark_why_not(PlannerInfo *root, RelOptInfo *rel, const char *why)
{
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	int			i = -1;

	if (IS_DUMMY_REL(rel))
		return false;
	if (rte->relkind == RELKIND_FOREIGN_TABLE)
	{
		if (!DistIsForeignPartition(rte->relid))
			return false;
		DistSetScanRemark(rel, why);
		return true;
	}
	while ((i = bms_next_member(rel->live_parts, i)) >= 0)
	{
		if (remark_why_not(root, rel->part_rels[i], why))
			return true;
	}
	return false;
}

/* A table in FROM, partitioned or a foreign partition, and nothing else? */
static bool
is_base_table(PlannerInfo *root, RelOptInfo *rel)
{
	return rel->reloptkind == RELOPT_BASEREL && is_table(root, rel);
}

static bool
is_table(PlannerInfo *root, RelOptInfo *rel)
{
	RangeTblEntry *rte;

	if (rel->rtekind != RTE_RELATION)
		return false;
	rte = planner_rt_fetch(rel->relid, root);
	return rte->tablesample == NULL &&
		(rte->relkind == RELKIND_FOREIGN_TABLE ||
		 (rte->relkind == RELKIND_PARTITIONED_TABLE && rte->inh));
}

/* The table's place in UNION ALL, if it is an arm of one; or NULL. */
static AppendRelInfo *
arm_of_union(PlannerInfo *root, RelOptInfo *rel)
{
	AppendRelInfo *place;

	if (rel->reloptkind != RELOPT_OTHER_MEMBER_REL || !is_table(root, rel))
		return NULL;
	place = root->append_rel_array[rel->relid];
	return place != NULL && !OidIsValid(place->parent_reloid) ? place : NULL;
}

/* Are rows placed by nearest_centroid(something, set), and nothing else? */
static void
find_placing_set(RelOptInfo *rel, TopKQuery *query)
{
	if (rel->part_scheme != NULL && rel->part_scheme->partnatts == 1 &&
		rel->part_scheme->strategy == PARTITION_STRATEGY_LIST &&
		list_length(rel->partexprs[0]) == 1)
		(void) DistIsNearestCentroid(linitial(rel->partexprs[0]),
									 &query->placed_by, &query->set);
}

/*
 * The centroids whose rows a partition of the table holds; NIL for a default
 * partition.  Rows without a vector, which also belong somewhere, have no
 * distance.
 */
static List *
cells_of_partition(RelOptInfo *rel, int part)
{
	List	   *cells = NIL;

	for (int i = 0; i < rel->boundinfo->ndatums; i++)
		if (rel->boundinfo->indexes[i] == part)
			cells = lappend_int(cells,
								DatumGetInt32(rel->boundinfo->datums[i][0]));
	return cells;
}

/*
 * Collect the leaves that the planner did not exclude, in the order of their
 * bounds.  'cells' are the centroids of 'rel', if it is below the table.
 */
static void
collect_partitions(PlannerInfo *root, RelOptInfo *rel, List *cells,
				   TopKQuery *query)
{
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	int			i = -1;

	check_stack_depth();

	if (IS_DUMMY_REL(rel))
		return;
	if (rte->relkind != RELKIND_PARTITIONED_TABLE)
	{
		query->partitions = lappend_oid(query->partitions, rte->relid);
		query->cells = lappend(query->cells, cells);
		if (DistIsForeignPartition(rte->relid))
			query->has_foreign = true;
		return;
	}
	if (rel->boundinfo->strategy != PARTITION_STRATEGY_HASH)
		query->hashed = false;
	while ((i = bms_next_member(rel->live_parts, i)) >= 0)
		collect_partitions(root, rel->part_rels[i],
						   query->set != 0 && rel->relid == query->varno ?
						   cells_of_partition(rel, i) : cells,
						   query);
}

/*
 * Can the scan answer this query?  Fills in *query and returns NULL, or
 * returns the reason why not.  If it can as a stream only, query->why_stream
 * says why.
 */
static const char *
examine_query(PlannerInfo *root, RelOptInfo *rel, TopKQuery *query)
{
	const char *why = examine_shape(root, query);
	const char *ties;

	if (why == NULL)
		why = examine_sort_key(root, query);
	if (why == NULL && query->why_stream == NULL)
	{
		ties = examine_ties(root, query);
		if (ties != NULL)
			query->why_stream = ties;
	}
	if (why == NULL)
		why = examine_filter(rel, query);
	if (why == NULL && list_length(query->params) > MAX_PARAMS)
		why = "the conditions have too many parameters";
	if (why == NULL)
		why = examine_columns(root->upper_targets[UPPERREL_ORDERED], query);
	if (query->why_stream != NULL)
	{
		query->tie_text = NULL;
		query->tie_keys = NIL;
		query->tie_sorts = NIL;
	}
	return why;
}

/* The clauses around the scan. */
static const char *
examine_shape(PlannerInfo *root, TopKQuery *query)
{
	Query	   *parse = root->parse;

	if (parse->limitCount == NULL ||
		(IsA(parse->limitCount, Const) &&
		 ((Const *) parse->limitCount)->constisnull))
		query->why_stream = "there is no LIMIT";
	else if (parse->limitOption == LIMIT_OPTION_WITH_TIES)
		query->why_stream = "WITH TIES may need more rows than LIMIT says";
	else if (parse->hasTargetSRFs)
		query->why_stream = "a set-returning function makes any number of rows of one";
	if (root->rowMarks != NIL)
		return "rows are to be locked";
	if (contains_set(root->upper_targets[UPPERREL_ORDERED]))
		return "ORDER BY has a set-returning function";
	return NULL;
}

/*
 * The first key of ORDER BY: an operator that returns float8 from something of
 * the row and something that is the same for all rows, nearest first.
 */
static const char *
examine_sort_key(PlannerInfo *root, TopKQuery *query)
{
	SortGroupClause *sort = linitial_node(SortGroupClause,
										  root->parse->sortClause);
	Node	   *key = get_sortgroupclause_expr(sort, root->processed_tlist);

	if (sort->sortop != Float8LessOperator || sort->nulls_first)
		return "ORDER BY is not by ascending distance";
	if (!IsA(key, OpExpr) || list_length(((OpExpr *) key)->args) != 2)
		return "ORDER BY is not by a distance operator";
	return examine_distance((OpExpr *) key, query);
}

static const char *
examine_distance(OpExpr *key, TopKQuery *query)
{
	OpExpr	   *distance = copyObject(key);

	query->distance = (Expr *) key;
	if (is_vector(lsecond(distance->args)))
		return deparse_distance(distance, list_second_cell(distance->args),
								query);
	if (is_vector(linitial(distance->args)))
		return deparse_distance(distance, list_head(distance->args), query);
	return "no side of the distance operator is the same for all rows";
}

/*
 * Make the text of the distance, of which 'vector' is the operand that is the
 * same for all rows.
 *
 * The workers get that one as a parameter even if it is a constant: in the
 * text it would take several times its size.  So a Param stands in for it
 * while the text is made.
 */
static const char *
deparse_distance(OpExpr *distance, ListCell *vector, TopKQuery *query)
{
	Node	   *value = lfirst(vector);
	Param	   *param = makeNode(Param);
	const char *why;
	ListCell   *lc;

	param->paramkind = PARAM_EXTERN;
	param->paramid = 0;			/* the query's own count from 1 */
	param->paramtype = exprType(value);
	param->paramtypmod = exprTypmod(value);
	param->paramcollid = exprCollation(value);
	param->location = -1;
	lfirst(vector) = param;

	if (!DistIsShippable((Expr *) distance, query->varno, query->relid, &why))
		return why;
	query->distance_text = DistDeparseExpr((Expr *) distance, query->varno,
										   query->relid, DIST_SEARCH_ALIAS,
										   &query->params, 1, false);
	foreach(lc, query->params)
	{
		if (equal(lfirst(lc), param))
			lfirst(lc) = value;
	}
	examine_probe(distance, vector == list_head(distance->args) ?
				  lsecond(distance->args) : linitial(distance->args),
				  value, query);
	return NULL;
}

/*
 * Are rows ordered by the distance of that which places them?  Then a search
 * may ask the nearest partitions only.  'operand' is the side of the distance
 * that belongs to the row.
 */
static void
examine_probe(OpExpr *distance, Node *operand, Node *vector, TopKQuery *query)
{
	DistProbeOrder order;
	bool		exact;
	int			param = 0;

	if (query->set == 0)
		return;
	query->why_no_probe = DistProbeMatch(distance, operand, query->placed_by,
										 &order, &exact);
	if (query->why_no_probe != NULL)
		return;
	while (!equal(list_nth(query->params, param), vector))
		param++;
	query->probe = list_make5_int(query->set, order, param, exact,
								  DistProbeIsHalf(exprType(vector)));
}

/*
 * Further keys of ORDER BY, which decide between rows of equal distance:
 * columns of built-in types without collation, so that their order is the
 * same on every server.
 */
static const char *
examine_ties(PlannerInfo *root, TopKQuery *query)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	for_each_from(lc, root->parse->sortClause, 1)
	{
		SortGroupClause *sort = lfirst_node(SortGroupClause, lc);
		Var		   *key = (Var *) get_sortgroupclause_expr(sort,
														   root->processed_tlist);
		TypeCacheEntry *type;

		if (!IsA(key, Var) || key->varattno <= 0 ||
			key->vartype >= FirstGenbkiObjectId || OidIsValid(key->varcollid))
			return "ORDER BY has a second key that is not a column of a suitable type";
		type = lookup_type_cache(key->vartype,
								 TYPECACHE_LT_OPR | TYPECACHE_GT_OPR);
		if (sort->sortop != type->lt_opr && sort->sortop != type->gt_opr)
			return "ORDER BY has a second key with an unusual order";

		appendStringInfo(&text, "%s%s.%s %s NULLS %s",
						 text.len > 0 ? ", " : "", DIST_SEARCH_ALIAS,
						 quote_identifier(get_attname(query->relid,
													  key->varattno, false)),
						 sort->sortop == type->lt_opr ? "ASC" : "DESC",
						 sort->nulls_first ? "FIRST" : "LAST");
		query->tie_keys = lappend(query->tie_keys, key);
		query->tie_sorts = lappend(query->tie_sorts, sort);
	}
	if (text.len > 0)
		query->tie_text = text.data;

	return NULL;
}

/* Is this operand of the distance the same for all rows of the table? */
static bool
is_vector(Node *operand)
{
	return !contain_var_clause(operand) &&
		!contain_volatile_functions(operand) &&
		!contain_subplans(operand);
}

/*
 * The conditions, row security included.  Those of the querying user must not
 * see rows that row security hides; the worker gets its conditions as one WHERE
 * and may evaluate them in any order.  What it must not or cannot evaluate is
 * left to us, and then the scan has to be a stream.
 */
static const char *
examine_filter(RelOptInfo *rel, TopKQuery *query)
{
	List	   *filter = NIL;
	const char *why;
	ListCell   *lc;

	foreach(lc, rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (rinfo->pseudoconstant)
			continue;			/* core tests it above us */
		if (!restriction_is_securely_promotable(rinfo, rel))
			why = "a condition could reveal rows that row security hides";
		else if (DistIsShippable(rinfo->clause, query->varno, query->relid,
								 &why))
		{
			filter = lappend(filter, rinfo->clause);
			continue;
		}
		query->local_filter = lappend(query->local_filter, rinfo);
		if (query->why_stream == NULL)
			query->why_stream = why;
	}

	if (filter != NIL)
		query->filter_text = DistDeparseExpr(make_ands_explicit(filter),
											 query->varno, query->relid,
											 DIST_SEARCH_ALIAS, &query->params, 1,
											 false);
	return NULL;
}

/*
 * What the select list needs from the table.  The distance itself comes from
 * the workers, so a column that only serves it stays there.
 */
static const char *
examine_columns(PathTarget *target, TopKQuery *query)
{
	ColumnsContext context = {.relid = query->relid,.distance = query->distance};
	ListCell   *lc;

	(void) collect_columns_walker((Node *) target->exprs, &context);
	foreach(lc, query->local_filter)
		(void) collect_columns_walker((Node *) lfirst_node(RestrictInfo, lc)->clause,
									  &context);
	if (context.impossible)
		return "the select list needs system columns, or values made below an outer join";
	query->columns = context.columns;
	Assert(list_difference(query->tie_keys, query->columns) == NIL);
	return NULL;
}

/*
 * Collect the Vars outside of the distance.  Top-down, as setrefs.c looks for
 * expressions that a node below has computed.
 */
static bool
collect_columns_walker(Node *node, void *arg)
{
	ColumnsContext *context = arg;

	if (node == NULL || equal(node, context->distance))
		return false;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == 0)
	{
		AttrNumber	attno = ((Var *) node)->varattno;

		if (attno < 0 && attno != TableOidAttributeNumber)
			context->impossible = true;
		context->columns = list_append_unique(context->columns, node);
		if (attno == InvalidAttrNumber)
			collect_all_columns((Var *) node, context);
		return false;
	}
	if (IsA(node, PlaceHolderVar))
		context->impossible = true;
	return expression_tree_walker(node, collect_columns_walker, arg);
}

/* A whole row is made here, of all its columns. */
static void
collect_all_columns(Var *row, ColumnsContext *context)
{
	Relation	relation = table_open(context->relid, NoLock);
	TupleDesc	desc = RelationGetDescr(relation);

	if (row->vartype != desc->tdtypeid)
		context->impossible = true;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped)
			context->columns =
				list_append_unique(context->columns,
								   makeVar(row->varno, i + 1, attr->atttypid,
										   attr->atttypmod, attr->attcollation,
										   0));
	}
	table_close(relation, NoLock);
}

/*
 * Whatever core's plans cost, they ask the workers for at least the same rows
 * in more turns and then throw more of them away, so the scan is made the
 * cheapest at the number of rows the query wants.  Estimates of remote work
 * could not say that as surely: they would compare guesses about indexes that
 * are not here.
 */
static void
cost_topk_path(CustomPath *path, PlannerInfo *root, RelOptInfo *input_rel,
			   RelOptInfo *output_rel, int npartitions)
{
	double		rows = root->limit_tuples > 0 ? root->limit_tuples :
	input_rel->rows * 0.1;		/* as preprocess_limit() guesses */
	Cost		total;
	ListCell   *lc;

	rows = clamp_row_est(Min(rows, input_rel->rows));
	total = TURN_COST +
		(PARTITION_COST + cpu_tuple_cost * rows) * npartitions;
	foreach(lc, output_rel->pathlist)
	{
		Path	   *other = lfirst(lc);
		double		fraction = other->rows > 0 ?
		Min(1.0, rows / other->rows) : 1.0;
		Cost		cost = other->startup_cost +
		(other->total_cost - other->startup_cost) * fraction;

		/* 0.9: add_path() takes nearly equal costs for equal. */
		total = Min(total, 0.9 * cost);
	}

	path->path.rows = rows;
	path->path.startup_cost = Min(TURN_COST, total);
	path->path.total_cost = total;
}

/* What the executor needs besides expressions; see dist_topk.h. */
static List *
plan_private(Oid userid, TopKQuery *query)
{
	List	   *columns = NIL;
	List	   *operators = NIL;
	List	   *nulls_first = NIL;
	ListCell   *lk;
	ListCell   *ls;

	forboth(lk, query->tie_keys, ls, query->tie_sorts)
	{
		SortGroupClause *sort = lfirst_node(SortGroupClause, ls);
		int			column = 0;

		while (!equal(list_nth(query->columns, column), lfirst(lk)))
			column++;
		columns = lappend_int(columns, column);
		operators = lappend_oid(operators, sort->sortop);
		nulls_first = lappend_int(nulls_first, sort->nulls_first);
	}
	return list_concat(list_make5(list_make2_oid(userid, query->relid),
								  query->partitions,
								  text_node(query->distance_text),
								  text_node(query->tie_text),
								  text_node(query->filter_text)),
					   list_concat(list_make5(makeBoolean(query->hashed),
											  text_node(query->why_stream),
											  columns, operators,
											  nulls_first),
								   list_make3(query->probe,
											  query->probe != NIL ?
											  query->cells : NIL,
											  text_node(query->why_no_probe))));
}

static String *
text_node(const char *text)
{
	return text !=NULL ? makeString(pstrdup(text)) : NULL;
}

/* PlanCustomPath */
static Plan *
make_topk_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *best_path,
			   List *tlist, List *clauses, List *custom_plans)
{
	List	   *private = best_path->custom_private;
	CustomScan *scan = makeNode(CustomScan);
	Node	   *limit = root->parse->limitCount;
	Node	   *offset = root->parse->limitOffset;
	List	   *partitions;
	ListCell   *lc;

	scan->scan.plan.targetlist = tlist;
	scan->scan.scanrelid = 0;	/* our tuples are not the table's */
	scan->flags = best_path->flags;
	scan->methods = &DistTopKScanMethods;
	scan->custom_private = copyObject(list_nth(private, PATH_PRIVATE));
	partitions = list_nth(scan->custom_private, DIST_TOPK_PARTITIONS);
	scan->custom_private = lappend(scan->custom_private,
								   DistTopKPruneSteps(root, rel,
													  list_length(partitions)));

	foreach(lc, clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (list_member_ptr(list_nth(private, PATH_LOCAL_FILTER), rinfo))
			scan->scan.plan.qual = lappend(scan->scan.plan.qual,
										   rinfo->clause);
	}

	/* The scan tuple: the columns needed, then the distance. */
	foreach(lc, (List *) list_nth(private, PATH_COLUMNS))
		scan->custom_scan_tlist =
		lappend(scan->custom_scan_tlist,
				makeTargetEntry(copyObject(lfirst(lc)),
								foreach_current_index(lc) + 1,
								NULL, false));
	scan->custom_scan_tlist =
		lappend(scan->custom_scan_tlist,
				makeTargetEntry(copyObject(list_nth(private, PATH_DISTANCE)),
								list_length(scan->custom_scan_tlist) + 1,
								NULL, false));

	if (limit == NULL)
		limit = (Node *) makeNullConst(INT8OID, -1, InvalidOid);	/* a stream */
	if (offset == NULL)
		offset = (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
									Int64GetDatum(0), false, FLOAT8PASSBYVAL);
	scan->custom_exprs = list_concat(list_make2(copyObject(limit),
												copyObject(offset)),
									 copyObject(list_nth(private, PATH_PARAMS)));
	return &scan->scan.plan;
}
