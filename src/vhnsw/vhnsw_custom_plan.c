/*-------------------------------------------------------------------------
 *
 * vhnsw_custom_plan.c
 *	  Offer the custom scan "Vhnsw Scan" to the planner.
 *
 * Wherever a relation is scanned whose rows are wanted by the distance that a
 * vhnsw index is for, the scan is offered with the distance as its sort order.
 * If the query orders by more, core sorts the rest incrementally.  The path
 * takes the place of core's index path on the same index: it can do all of
 * that and more.  See README, sections "Vhnsw Scan" and "Filters".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/stratnum.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"

#include "vhnsw/vhnsw.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_custom.h"

/* Reading a TID of a bitmap, and looking it up */
#define MATCH_COST (4 * cpu_operator_cost)

/*
 * What of the cost of reading the table counts.  A search is tried first, and
 * adds a quarter at most; but if the nearest rows pass, it saves nearly all.
 */
#define TABLE_SHARE 0.75

/* Rows that a search returns if nobody says how many are wanted */
#define SOME_ROWS 10

static set_rel_pathlist_hook_type previous_set_rel_pathlist = NULL;

static void add_vhnsw_paths(PlannerInfo *root, RelOptInfo *rel, Index rti,
							RangeTblEntry *rte);
static bool is_vhnsw(const IndexOptInfo *index);
static OpExpr *find_distance(PlannerInfo *root, IndexOptInfo *index,
							 Node **query);
static bool match_distance(IndexOptInfo *index, PathKey *key, Expr *expr,
						   Node **query);
static void add_vhnsw_path(PlannerInfo *root, IndexOptInfo *index,
						   OpExpr *distance, Node *query);
static Path *find_bitmap(PlannerInfo *root, RelOptInfo *rel);
static void cost_path(PlannerInfo *root, IndexOptInfo *index,
					  CustomPath *path, Path *bitmap,
					  VhnswCustomCosts *costs);
static bool limit_is_ours(PlannerInfo *root, RelOptInfo *rel);
static void cost_bitmap(RelOptInfo *rel, Path *bitmap, double rows,
						VhnswCustomCosts *costs);
static void remove_index_paths(RelOptInfo *rel, const CustomPath *path);
static List *make_costs(const VhnswCustomCosts *costs);
static Plan *plan_custom_path(PlannerInfo *root, RelOptInfo *rel,
							  CustomPath *path, List *tlist, List *clauses,
							  List *custom_plans);

static const CustomPathMethods path_methods = {
	.CustomName = VHNSW_CUSTOM_NAME,
	.PlanCustomPath = plan_custom_path,
};

static const CustomScanMethods scan_methods = {
	.CustomName = VHNSW_CUSTOM_NAME,
	.CreateCustomScanState = VhnswCustomCreateState,
};

/* Called once, when the library is loaded. */
void
VhnswCustomInit(void)
{
	RegisterCustomScanMethods(&scan_methods);
	previous_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = add_vhnsw_paths;
}

static void
add_vhnsw_paths(PlannerInfo *root, RelOptInfo *rel, Index rti,
				RangeTblEntry *rte)
{
	ListCell   *cell;

	if (previous_set_rel_pathlist)
		previous_set_rel_pathlist(root, rel, rti, rte);

	/* The parent of partitions is not scanned itself. */
	if (!vhnsw_enable_scan || !enable_indexscan ||
		root->query_pathkeys == NIL ||
		!IS_SIMPLE_REL(rel) || IS_DUMMY_REL(rel) ||
		rte->rtekind != RTE_RELATION || rte->inh || rte->tablesample ||
		(rte->relkind != RELKIND_RELATION && rte->relkind != RELKIND_MATVIEW))
		return;

	foreach(cell, rel->indexlist)
	{
		IndexOptInfo *index = lfirst_node(IndexOptInfo, cell);
		OpExpr	   *distance;
		Node	   *query;

		if (!is_vhnsw(index) || index->hypothetical ||
			(index->indpred != NIL && !index->predOK))
			continue;
		distance = find_distance(root, index, &query);
		if (distance)
			add_vhnsw_path(root, index, distance, query);
	}
}

static bool
is_vhnsw(const IndexOptInfo *index)
{
	return (void (*) ()) index->amcostestimate ==
		(void (*) ()) vhnswcostestimate;
}

/*
 * The expression that the query is ordered by first, if the index is for it.
 * Sets *query to its other operand.
 */
static OpExpr *
find_distance(PlannerInfo *root, IndexOptInfo *index, Node **query)
{
	PathKey    *key = linitial_node(PathKey, root->query_pathkeys);
	ListCell   *cell;

	if (key->pk_strategy != BTLessStrategyNumber || key->pk_nulls_first ||
		key->pk_eclass->ec_has_volatile)
		return NULL;

	VecdistForeachMember(cell, key->pk_eclass, index->rel->relids)
	{
		EquivalenceMember *member = lfirst_node(EquivalenceMember, cell);

		if (bms_equal(member->em_relids, index->rel->relids) &&
			match_distance(index, key, member->em_expr, query))
			return (OpExpr *) member->em_expr;
	}
	return NULL;
}

/* Is this "indexed column <operator> something", or the reverse? */
static bool
match_distance(IndexOptInfo *index, PathKey *key, Expr *expr, Node **query)
{
	OpExpr	   *clause = (OpExpr *) expr;
	Oid			operator;
	Node	   *left;
	Node	   *right;

	if (!is_opclause(clause) || list_length(clause->args) != 2)
		return false;
	operator = clause->opno;
	left = linitial(clause->args);
	right = lsecond(clause->args);

	if (!match_index_to_operand(left, 0, index))
	{
		Node	   *swap = left;

		left = right;
		right = swap;
		operator = get_commutator(operator);
		if (!OidIsValid(operator) || !match_index_to_operand(left, 0, index))
			return false;
	}
	*query = right;
	return get_op_opfamily_sortfamily(operator, index->opfamily[0]) ==
		key->pk_opfamily &&
		!bms_overlap(pull_varnos(NULL, right), index->rel->relids) &&
		!contain_volatile_functions(right);
}

static void
add_vhnsw_path(PlannerInfo *root, IndexOptInfo *index, OpExpr *distance,
			   Node *query)
{
	RelOptInfo *rel = index->rel;
	CustomPath *path = makeNode(CustomPath);
	VhnswCustomCosts costs;
	Path	   *bitmap = NULL;

	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.param_info = get_baserel_parampathinfo(root, rel,
													  rel->lateral_relids);
	path->path.pathkeys = list_make1(linitial(root->query_pathkeys));
	path->path.rows = path->path.param_info ?
		path->path.param_info->ppi_rows : rel->rows;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = &path_methods;

	if (rel->baserestrictinfo != NIL && path->path.param_info == NULL)
		bitmap = find_bitmap(root, rel);
	cost_path(root, index, path, bitmap, &costs);
	if (bitmap)
		path->custom_paths = list_make1(bitmap);
	path->custom_private = list_make4(list_make1_oid(index->indexoid),
									  make_costs(&costs), distance, query);

	remove_index_paths(rel, path);
	add_path(rel, &path->path);
}

/*
 * A way to find the rows that may pass the conditions in other indexes, if the
 * planner has kept one; NULL if not.
 */
static Path *
find_bitmap(PlannerInfo *root, RelOptInfo *rel)
{
	Path	   *best = NULL;
	ListCell   *cell;

	foreach(cell, rel->pathlist)
	{
		Path	   *path = lfirst(cell);
		Path	   *qual = NULL;

		if (path->param_info != NULL || path->parallel_aware)
			continue;
		if (IsA(path, BitmapHeapPath))
			qual = castNode(BitmapHeapPath, path)->bitmapqual;
		else if (IsA(path, IndexPath) &&
				 castNode(IndexPath, path)->indexinfo->amhasgetbitmap &&
				 castNode(IndexPath, path)->indexclauses != NIL)
			qual = path;
		if (qual == NULL)
			continue;

		/* A path of our own: add_path() may free those in the list. */
		path = (Path *) create_bitmap_heap_path(root, rel, qual, NULL, 1.0, 0);
		if (best == NULL || path->total_cost < best->total_cost)
			best = path;
	}
	return best;
}

/*
 * Cost of the path: startup is the first batch of rows, with the cheapest way
 * to find them; the rest is the way to the last row.
 */
static void
cost_path(PlannerInfo *root, IndexOptInfo *index, CustomPath *path,
		  Path *bitmap, VhnswCustomCosts *costs)
{
	RelOptInfo *rel = index->rel;
	QualCost	quals = rel->baserestrictcost;
	VhnswIndexSize size;
	double		rows = Max(path->path.rows, 1);
	double		passing;
	bool		filtered = rel->baserestrictinfo != NIL;
	double		wanted = root->limit_tuples > 0 ? root->limit_tuples : SOME_ROWS;
	double		ef;
	double		taken;
	Cost		search;
	Cost		startup;
	Cost		all;

	VhnswGetIndexSize(index->indexoid, index->pages, index->tuples, &size);
	ef = VhnswEfFor(&size.layout, root->limit_tuples);
	passing = Min(rows / size.elements, 1);
	wanted = Min(wanted, rows);
	taken = wanted / passing;

	costs->passing = passing;
	costs->fetch = VhnswFetchCost(&size, rel->pages) + quals.per_tuple;
	costs->row = VhnswRowCost(&size);
	costs->table = VhnswTableCost(rel->pages, rel->tuples) +
		rel->tuples * quals.per_tuple;
	costs->bitmap = costs->matches = 0;
	if (bitmap)
		cost_bitmap(rel, bitmap, rows, costs);

	search = VhnswSearchCost(&size, taken, ef, filtered);
	startup = search + taken * costs->fetch;
	if (bitmap)
		startup = Min(startup, costs->bitmap +
					  Min(search + wanted / rows * costs->matches * costs->fetch,
						  costs->matches * costs->fetch));

	/* As core sees it, whose scan of the table may be parallel. */
	if (filtered)
	{
		Cost		table = rel->pages * seq_page_cost + rel->tuples *
		(cpu_tuple_cost + quals.per_tuple) + rows * costs->row;

		if (limit_is_ours(root, rel))
			table *= TABLE_SHARE;
		startup = Min(startup, table);
	}
	startup += quals.startup;

	all = VhnswSweepCost(&size) + size.elements * costs->fetch;
	path->path.startup_cost = startup;
	path->path.total_cost = startup + rows *
		(cpu_tuple_cost + path->path.pathtarget->cost.per_tuple);
	if (!limit_is_ours(root, rel))
		path->path.total_cost += all;
}

/*
 * Of making the bitmap, and how many rows are in it: more than pass, if there
 * are conditions that it knows nothing of.
 */
static void
cost_bitmap(RelOptInfo *rel, Path *bitmap, double rows,
			VhnswCustomCosts *costs)
{
	Selectivity selectivity;

	cost_bitmap_tree_node(castNode(BitmapHeapPath, bitmap)->bitmapqual,
						  &costs->bitmap, &selectivity);
	costs->matches = Max(selectivity * rel->tuples, rows);
	costs->bitmap += costs->matches * MATCH_COST;
}

/* Does the LIMIT of the query count rows of this relation? */
static bool
limit_is_ours(PlannerInfo *root, RelOptInfo *rel)
{
	return root->limit_tuples > 0 &&
		bms_membership(root->all_baserels) == BMS_SINGLETON;
}

/* Core's paths on vhnsw indexes that this one can do without. */
static void
remove_index_paths(RelOptInfo *rel, const CustomPath *path)
{
	ListCell   *cell;

	foreach(cell, rel->pathlist)
	{
		Path	   *other = lfirst(cell);

		if (IsA(other, IndexPath) &&
			is_vhnsw(castNode(IndexPath, other)->indexinfo) &&
			pathkeys_contained_in(other->pathkeys, path->path.pathkeys))
			rel->pathlist = foreach_delete_current(rel->pathlist, cell);
	}
}

static List *
make_costs(const VhnswCustomCosts *costs)
{
	const double values[VHNSW_CUSTOM_NCOSTS] = {costs->table, costs->bitmap,
	costs->matches, costs->fetch, costs->row, costs->passing};
	List	   *list = NIL;

	for (int i = 0; i < VHNSW_CUSTOM_NCOSTS; i++)
		list = lappend(list, makeFloat(psprintf("%.17g", values[i])));
	return list;
}

/*
 * PlanCustomPath
 *
 * The conditions come in the order that security barriers ask for.  Those that
 * the predicate of a partial index implies are checked too: the rows may come
 * from the table or from another index.
 */
static Plan *
plan_custom_path(PlannerInfo *root, RelOptInfo *rel, CustomPath *path,
				 List *tlist, List *clauses, List *custom_plans)
{
	CustomScan *scan = makeNode(CustomScan);
	List	   *index = linitial(path->custom_private);

	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->scan.scanrelid = rel->relid;
	scan->flags = path->flags;
	scan->custom_private = list_make2(index, lsecond(path->custom_private));
	scan->custom_exprs = list_make2(lthird(path->custom_private),
									lfourth(path->custom_private));
	scan->methods = &scan_methods;

	/* Core plans a scan of the table; what makes its bitmap is ours. */
	if (custom_plans != NIL)
		scan->custom_plans =
			list_make1(outerPlan(linitial_node(BitmapHeapScan, custom_plans)));
	return &scan->scan.plan;
}
