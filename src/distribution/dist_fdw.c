/*-------------------------------------------------------------------------
 *
 * dist_fdw.c
 *	  The wrapper's handler and its planning of reads.
 *
 * A scan sends the quals that the worker may evaluate and asks for the
 * columns that are needed here.  What matters for the choice of plans is known
 * without asking the worker: row counts from ANALYZE, and indexes from the
 * partitioned table above the leaf, which has the same ones on every server.
 *
 * Three kinds of paths are offered for each leaf: a plain one, one in the order
 * that the query wants, and one for each set of other relations whose values,
 * sent as parameters, let the worker use an index.  Row security: see
 * may_push().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/amapi.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "distribution/dist_deparse.h"
#include "distribution/dist_fdw.h"
#include "vecdist_compat.h"

/*
 * Costs in the planner's unit, of which one is about ten microseconds here:
 * a round trip in a local network, a row read from a socket, and each byte of
 * it.
 */
#define TURN_COST			50.0
#define ROW_COST			0.05
#define BYTE_COST			0.0003

/* A partition never analyzed counts as this many rows. */
#define DEFAULT_ROWS		10000.0

/* Up to this much is fetched in one turn, without a cursor. */
#define FETCH_ALL_ROWS		1000.0
#define FETCH_ALL_BYTES		(256.0 * 1024.0)

/* What planning knows about a leaf; RelOptInfo.fdw_private. */
typedef struct RelPlan
{
	DistPartition *partition;
	List	   *remote_conds;	/* of RestrictInfo: the worker checks them */
	List	   *local_conds;	/* of RestrictInfo: checked here */
	Bitmapset  *attrs_used;		/* needed here, offset as in pull_varattnos */
	Bitmapset  *index_attrs;	/* leading columns of indexes that find and
								 * (btree) order values; no offset */
	QualCost	local_cost;		/* of the local quals, per row */
	const char *remark;			/* see DistSetScanRemark, or NULL */
} RelPlan;

/* Rows and costs of one path. */
typedef struct ScanEstimate
{
	double		rows;			/* after all quals */
	double		fetched;		/* rows that travel */
	Cost		worker_cost;	/* of finding them; part of total_cost */
	Cost		startup_cost;
	Cost		total_cost;
} ScanEstimate;

/* Argument of the callback that picks members of equivalence classes. */
typedef struct MemberSearch
{
	Expr	   *current;		/* the column being looked at, or NULL */
	List	   *done;			/* columns already looked at */
	RelPlan    *plan;
} MemberSearch;

VECDIST_FUNCTION_INFO_V1(vecdist_fdw_handler);

static void get_rel_size(PlannerInfo *root, RelOptInfo *baserel,
						 Oid foreigntableid);
static bool may_push(RestrictInfo *rinfo, RelOptInfo *baserel, Oid relid);
static void find_indexes(RelPlan *plan, Oid relid);
static void get_paths(PlannerInfo *root, RelOptInfo *baserel,
					  Oid foreigntableid);
static bool order_is_pushable(PlannerInfo *root, RelOptInfo *baserel);
static Expr *find_sort_expr(PathKey *pathkey, RelOptInfo *baserel);
static bool is_index_distance(Expr *expr);
static List *find_parameterizations(PlannerInfo *root, RelOptInfo *baserel);
static List *add_parameterization(List *outer_sets, RelOptInfo *baserel,
								  RestrictInfo *rinfo);
static bool member_callback(PlannerInfo *root, RelOptInfo *rel,
							EquivalenceClass *ec, EquivalenceMember *em,
							void *arg);
static bool uses_index(RestrictInfo *rinfo, RelOptInfo *baserel);
static void estimate_scan(PlannerInfo *root, RelOptInfo *baserel,
						  ParamPathInfo *param_info, ScanEstimate *result);
static void add_order_cost(PlannerInfo *root, RelOptInfo *baserel,
						   ScanEstimate *estimate);
static void add_path_for(PlannerInfo *root, RelOptInfo *baserel,
						 Relids required_outer, List *pathkeys);
static ForeignScan *get_plan(PlannerInfo *root, RelOptInfo *baserel,
							 Oid foreigntableid, ForeignPath *best_path,
							 List *tlist, List *scan_clauses,
							 Plan *outer_plan);
static List *append_columns(StringInfo buf, Oid relid, Bitmapset *attrs);
static void append_order(StringInfo buf, List *pathkeys, RelOptInfo *baserel,
						 List **params);
static bool append_row_lock(StringInfo buf, PlannerInfo *root,
							RelOptInfo *baserel);
static int	scan_flags(PlannerInfo *root, ForeignPath *path);
static int	rows_to_fetch_at_once(ForeignPath *path, int flags);
static int	distance_from_parent(PlannerInfo *root, RelOptInfo *baserel);

/*
 * vecdist_fdw_handler
 *		The callbacks of the wrapper.
 */
Datum
vecdist_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = get_rel_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;

	routine->BeginForeignScan = DistBeginForeignScan;
	routine->IterateForeignScan = DistIterateForeignScan;
	routine->ReScanForeignScan = DistReScanForeignScan;
	routine->EndForeignScan = DistEndForeignScan;
	routine->ExplainForeignScan = DistExplainForeignScan;

	routine->PlanDirectModify = DistPlanDirectModify;
	routine->BeginDirectModify = DistBeginDirectModify;
	routine->IterateDirectModify = DistIterateDirectModify;
	routine->EndDirectModify = DistEndDirectModify;
	routine->ExplainDirectModify = DistExplainDirectModify;

	/* Never called, but core takes them as the sign that rows may change. */
	routine->ExecForeignUpdate = DistExecForeignUpdateOrDelete;
	routine->ExecForeignDelete = DistExecForeignUpdateOrDelete;

	routine->PlanForeignModify = DistPlanForeignModify;
	routine->BeginForeignModify = DistBeginForeignModify;
	routine->BeginForeignInsert = DistBeginForeignInsert;
	routine->ExecForeignInsert = DistExecForeignInsert;
	routine->EndForeignModify = DistEndForeignInsert;
	routine->EndForeignInsert = DistEndForeignInsert;

	routine->ExecForeignTruncate = DistExecForeignTruncate;
	routine->AnalyzeForeignTable = DistAnalyzeForeignTable;

	PG_RETURN_POINTER(routine);
}

/*
 * Divide the quals and estimate how many rows the leaf gives.
 */
static void
get_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid foreigntableid)
{
	RelPlan    *plan = palloc0(sizeof(RelPlan));
	ListCell   *lc;

	/* Core takes the clause from the parent and then forgets it. */
	if (planner_rt_fetch(baserel->relid, root)->tablesample != NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot sample partition \"%s\" of a worker",
					   get_rel_name(foreigntableid)),
				errdetail("TABLESAMPLE reads tables of this server only."),
				errhint("Take a share of the rows by a condition: WHERE random() < 0.01"));

	baserel->fdw_private = plan;
	plan->partition = DistGetPartition(foreigntableid);
	find_indexes(plan, foreigntableid);

	foreach(lc, baserel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (may_push(rinfo, baserel, foreigntableid))
			plan->remote_conds = lappend(plan->remote_conds, rinfo);
		else
			plan->local_conds = lappend(plan->local_conds, rinfo);
	}

	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid,
				   &plan->attrs_used);
	foreach(lc, plan->local_conds)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause,
					   baserel->relid, &plan->attrs_used);
	cost_qual_eval(&plan->local_cost, plan->local_conds, root);

	if (baserel->tuples < 0)
		baserel->tuples = DEFAULT_ROWS;
	set_baserel_size_estimates(root, baserel);
	if (baserel->pages == 0)
		baserel->pages = ceil(baserel->tuples *
							  (baserel->reltarget->width + SizeofHeapTupleHeader) /
							  BLCKSZ);
}

/*
 * May the worker check this qual?
 *
 * On the worker all quals are equal: its planner may evaluate them in any
 * order, and one that leaks (an error message is enough) would then see rows
 * which a qual of row security should have hidden.  So only quals of the
 * lowest security level go there, and leakproof ones.
 */
static bool
may_push(RestrictInfo *rinfo, RelOptInfo *baserel, Oid relid)
{
	return !rinfo->pseudoconstant &&
		restriction_is_securely_promotable(rinfo, baserel) &&
		DistIsShippable(rinfo->clause, baserel->relid, relid, NULL);
}

/*
 * The columns of a leaf that lead an index on a partitioned table above it.
 * The worker's partition has all of these indexes.
 */
static void
find_indexes(RelPlan *plan, Oid relid)
{
	List	   *ancestors;
	ListCell   *lc;

	if (!get_rel_relispartition(relid))
		return;

	ancestors = get_partition_ancestors(relid);
	foreach(lc, ancestors)
	{
		Relation	parent = table_open(lfirst_oid(lc), AccessShareLock);
		ListCell   *lci;

		foreach(lci, RelationGetIndexList(parent))
		{
			Relation	index = index_open(lfirst_oid(lci), AccessShareLock);
			AttrNumber	attnum = index->rd_index->indkey.values[0];
			Oid			am = index->rd_rel->relam;

			if (attnum > 0 &&
				heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred,
							   NULL))
			{
				attnum = get_attnum(relid, get_attname(lfirst_oid(lc), attnum,
													   false));
				if (am == BTREE_AM_OID || am == HASH_AM_OID)
					plan->index_attrs = bms_add_member(plan->index_attrs,
													   attnum);
			}
			index_close(index, AccessShareLock);
		}
		table_close(parent, AccessShareLock);
	}
}

static void
get_paths(PlannerInfo *root, RelOptInfo *baserel, Oid foreigntableid)
{
	ListCell   *lc;

	add_path_for(root, baserel, baserel->lateral_relids, NIL);
	if (order_is_pushable(root, baserel))
		add_path_for(root, baserel, baserel->lateral_relids,
					 root->query_pathkeys);
	foreach(lc, find_parameterizations(root, baserel))
		add_path_for(root, baserel, (Relids) lfirst(lc), NIL);
}

/*
 * Can the worker return its rows in the order that the query wants?
 */
static bool
order_is_pushable(PlannerInfo *root, RelOptInfo *baserel)
{
	ListCell   *lc;

	foreach(lc, root->query_pathkeys)
		if (find_sort_expr(lfirst_node(PathKey, lc), baserel) == NULL)
		return false;
	return root->query_pathkeys != NIL;
}

/*
 * The expression over the relation's columns that a path key sorts by, or NULL
 * if there is none or the worker may sort it differently.
 *
 * The order has to be that of the type's default operators, so that ASC and
 * DESC name it.  Strings are ordered by the database's collation, which
 * add_worker() has compared, or by bytes.
 *
 * Nor does a worker sort by a distance that an index could compute: such an
 * index may be approximate, and asked through a cursor for it does not know
 * how many rows, drop a few that it finds too late for the order.  The top-K
 * scan asks for a number of rows; what core plans instead of it is exact.
 */
static Expr *
find_sort_expr(PathKey *pathkey, RelOptInfo *baserel)
{
	EquivalenceClass *ec = pathkey->pk_eclass;
	RelPlan    *plan = (RelPlan *) baserel->fdw_private;
	ListCell   *lc;

	if (ec->ec_has_volatile)
		return NULL;
	if (OidIsValid(ec->ec_collation) &&
		ec->ec_collation != DEFAULT_COLLATION_OID &&
		ec->ec_collation != C_COLLATION_OID &&
		ec->ec_collation != POSIX_COLLATION_OID)
		return NULL;

	VecdistForeachMember(lc, ec, baserel->relids)
	{
		EquivalenceMember *em = lfirst(lc);
		TypeCacheEntry *type;

		if (em->em_is_const || !bms_equal(em->em_relids, baserel->relids))
			continue;
		type = lookup_type_cache(em->em_datatype, TYPECACHE_BTREE_OPFAMILY);
		if (pathkey->pk_opfamily == type->btree_opf &&
			!is_index_distance(em->em_expr) &&
			DistIsShippable(em->em_expr, baserel->relid,
							plan->partition->relid, NULL))
			return em->em_expr;
	}
	return NULL;
}

/* Is this the distance of an operator that some index can order by? */
static bool
is_index_distance(Expr *expr)
{
	bool		result = false;
	CatCList   *members;

	if (!IsA(expr, OpExpr))
		return false;
	members = SearchSysCacheList1(AMOPOPID,
								  ObjectIdGetDatum(((OpExpr *) expr)->opno));
	for (int i = 0; i < members->n_members && !result; i++)
	{
		HeapTuple	tuple = &members->members[i]->tuple;

		result = ((Form_pg_amop) GETSTRUCT(tuple))->amoppurpose == AMOP_ORDER;
	}
	ReleaseSysCacheList(members);
	return result;
}

/*
 * Sets of other relations (Relids) whose values make a join clause an
 * indexable condition on the worker.
 */
static List *
find_parameterizations(PlannerInfo *root, RelOptInfo *baserel)
{
	RelPlan    *plan = (RelPlan *) baserel->fdw_private;
	MemberSearch search = {.plan = plan};
	List	   *result = NIL;
	ListCell   *lc;

	if (plan->index_attrs == NULL)
		return NIL;

	foreach(lc, baserel->joininfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (join_clause_is_movable_to(rinfo, baserel))
			result = add_parameterization(result, baserel, rinfo);
	}

	if (!baserel->has_eclass_joins)
		return result;

	/* Each call gives the clauses of one more member; see member_callback. */
	for (;;)
	{
		List	   *clauses;

		search.current = NULL;
		clauses = generate_implied_equalities_for_column(root, baserel,
														 member_callback,
														 &search,
														 baserel->lateral_referencers);
		if (search.current == NULL)
			break;
		foreach(lc, clauses)
			if (join_clause_is_movable_to(lfirst_node(RestrictInfo, lc),
										  baserel))
			result = add_parameterization(result, baserel,
										  lfirst_node(RestrictInfo, lc));
		search.done = lappend(search.done, search.current);
	}
	return result;
}

/* Add the relations that a join clause takes its values from, if useful. */
static List *
add_parameterization(List *outer_sets, RelOptInfo *baserel,
					 RestrictInfo *rinfo)
{
	RelPlan    *plan = (RelPlan *) baserel->fdw_private;
	Relids		outer;
	ListCell   *lc;

	if (!uses_index(rinfo, baserel) ||
		!may_push(rinfo, baserel, plan->partition->relid))
		return outer_sets;

	outer = bms_union(rinfo->clause_relids, baserel->lateral_relids);
	outer = bms_del_member(outer, baserel->relid);
	if (bms_is_empty(outer))
		return outer_sets;
	foreach(lc, outer_sets)
		if (bms_equal((Relids) lfirst(lc), outer))
		return outer_sets;
	return lappend(outer_sets, outer);
}

/*
 * Pick one member of an equivalence class: an indexed column of ours that was
 * not picked before, the same one for the whole call.
 */
static bool
member_callback(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
				EquivalenceMember *em, void *arg)
{
	MemberSearch *search = (MemberSearch *) arg;
	Expr	   *expr = em->em_expr;

	if (search->current != NULL)
		return equal(expr, search->current);
	if (list_member(search->done, expr))
		return false;
	search->current = expr;
	return true;
}

/* Does the clause compare an indexed column with something else? */
static bool
uses_index(RestrictInfo *rinfo, RelOptInfo *baserel)
{
	RelPlan    *plan = (RelPlan *) baserel->fdw_private;
	Node	   *clause = (Node *) rinfo->clause;
	List	   *args;
	ListCell   *lc;

	if (IsA(clause, OpExpr))
		args = ((OpExpr *) clause)->args;
	else if (IsA(clause, ScalarArrayOpExpr))
		args = list_make1(linitial(((ScalarArrayOpExpr *) clause)->args));
	else
		return false;

	foreach(lc, args)
	{
		Node	   *arg = strip_implicit_coercions(lfirst(lc));

		if (IsA(arg, Var) && ((Var *) arg)->varno == baserel->relid &&
			bms_is_member(((Var *) arg)->varattno, plan->index_attrs))
			return true;
	}
	return false;
}

/*
 * Rows and costs of a path, with the join clauses of 'param_info' if given.
 */
static void
estimate_scan(PlannerInfo *root, RelOptInfo *baserel,
			  ParamPathInfo *param_info, ScanEstimate *result)
{
	RelPlan    *plan = (RelPlan *) baserel->fdw_private;
	List	   *remote = list_copy(plan->remote_conds);
	List	   *indexable = NIL;
	double		scanned = baserel->tuples;
	Cost		run_cost;
	QualCost	remote_cost;
	ListCell   *lc;

	if (param_info != NULL)
		foreach(lc, param_info->ppi_clauses)
			if (may_push(lfirst_node(RestrictInfo, lc), baserel,
						 plan->partition->relid))
			remote = lappend(remote, lfirst(lc));
	foreach(lc, remote)
		if (uses_index(lfirst_node(RestrictInfo, lc), baserel))
		indexable = lappend(indexable, lfirst(lc));

	result->rows = param_info ? param_info->ppi_rows : baserel->rows;
	result->fetched = clamp_row_est(baserel->tuples *
									clauselist_selectivity(root, remote, baserel->relid,
														   JOIN_INNER, NULL));

	/* On the worker: all pages, or those with the rows an index gives. */
	run_cost = seq_page_cost * baserel->pages;
	if (indexable != NIL)
	{
		double		found = clamp_row_est(baserel->tuples *
										  clauselist_selectivity(root, indexable, baserel->relid,
																 JOIN_INNER, NULL));
		Cost		index_cost = random_page_cost * (2.0 + Min(found, baserel->pages));

		if (index_cost < run_cost)
		{
			run_cost = index_cost;
			scanned = found;
		}
	}
	cost_qual_eval(&remote_cost, remote, root);
	run_cost += scanned * (cpu_tuple_cost + remote_cost.per_tuple);
	result->worker_cost = run_cost;

	/* On the way, and here. */
	run_cost += result->fetched *
		(ROW_COST + BYTE_COST * baserel->reltarget->width +
		 cpu_tuple_cost + plan->local_cost.per_tuple);
	result->startup_cost = TURN_COST + remote_cost.startup +
		plan->local_cost.startup + baserel->reltarget->cost.startup;
	result->total_cost = result->startup_cost + run_cost +
		baserel->reltarget->cost.per_tuple * result->rows;
}

/*
 * Add what it costs the worker to return the rows in the query's order.  With
 * an index on the first key they come at once, but by a longer way.
 */
static void
add_order_cost(PlannerInfo *root, RelOptInfo *baserel, ScanEstimate *estimate)
{
	RelPlan    *plan = (RelPlan *) baserel->fdw_private;
	Node	   *key = (Node *) find_sort_expr(linitial_node(PathKey, root->query_pathkeys),
											  baserel);
	bool		indexed = IsA(key, Var) &&
	bms_is_member(((Var *) key)->varattno, plan->index_attrs);

	if (indexed)
		estimate->total_cost += 0.5 * estimate->worker_cost;
	else
	{
		Cost		sort_cost = 2.0 * cpu_operator_cost * estimate->fetched *
		log2(Max(estimate->fetched, 2.0));

		estimate->startup_cost += estimate->worker_cost + sort_cost;
		estimate->total_cost += sort_cost;
	}
}

static void
add_path_for(PlannerInfo *root, RelOptInfo *baserel, Relids required_outer,
			 List *pathkeys)
{
	ParamPathInfo *param_info = NULL;
	ScanEstimate estimate;
	ForeignPath *path;

	if (!bms_is_empty(required_outer))
		param_info = get_baserel_parampathinfo(root, baserel, required_outer);
	estimate_scan(root, baserel, param_info, &estimate);
	if (pathkeys != NIL)
		add_order_cost(root, baserel, &estimate);
	path = VecdistCreateForeignScanPath(root, baserel, estimate.rows,
										estimate.startup_cost,
										estimate.total_cost,
										pathkeys, required_outer);
	path->fdw_private = list_make1(makeFloat(psprintf("%.0f",
													  estimate.fetched)));
	add_path(baserel, (Path *) path);
}

/*
 * Write the statement.
 */
static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *baserel, Oid foreigntableid,
		 ForeignPath *best_path, List *tlist, List *scan_clauses,
		 Plan *outer_plan)
{
	RelPlan    *plan = (RelPlan *) baserel->fdw_private;
	Bitmapset  *attrs = bms_copy(plan->attrs_used);
	List	   *remote = NIL;
	List	   *local = NIL;
	List	   *params = NIL;
	List	   *attnums;
	int			flags;
	StringInfoData sql;
	ListCell   *lc;

	foreach(lc, scan_clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (rinfo->pseudoconstant)
			continue;
		if (list_member_ptr(plan->remote_conds, rinfo) ||
			(!list_member_ptr(plan->local_conds, rinfo) &&
			 may_push(rinfo, baserel, foreigntableid)))
			remote = lappend(remote, rinfo->clause);
		else
		{
			local = lappend(local, rinfo->clause);
			pull_varattnos((Node *) rinfo->clause, baserel->relid, &attrs);
		}
	}

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	attnums = append_columns(&sql, foreigntableid, attrs);
	appendStringInfoString(&sql, " FROM ");
	DistAppendRemoteName(&sql, plan->partition);
	appendStringInfoString(&sql, " " DIST_ALIAS);
	DistAppendWhere(&sql, remote, baserel->relid, foreigntableid, &params);
	append_order(&sql, best_path->path.pathkeys, baserel, &params);
	flags = append_row_lock(&sql, root, baserel) ? DIST_SCAN_LOCKS_ROWS :
		scan_flags(root, best_path);

	return make_foreignscan(tlist, local, baserel->relid, params,
							lappend(list_make5(makeString(sql.data), attnums,
											   makeInteger(rows_to_fetch_at_once(best_path, flags)),
											   makeInteger(flags),
											   makeInteger(distance_from_parent(root, baserel))),
									plan->remark == NULL ? NULL :
									makeString(pstrdup(plan->remark))),
							NIL, remote, outer_plan);
}

void
DistSetScanRemark(RelOptInfo *leaf, const char *why)
{
	((RelPlan *) leaf->fdw_private)->remark = why;
}

/*
 * Append the columns of a SELECT list and return their numbers.  Of the system
 * columns only the item pointer comes from the worker.
 */
static List *
append_columns(StringInfo buf, Oid relid, Bitmapset *attrs)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	const int	offset = -FirstLowInvalidHeapAttributeNumber;
	bool		whole_row = bms_is_member(offset, attrs);
	List	   *attnums = NIL;
	const char *separator = "";

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (attr->attisdropped ||
			!(whole_row || bms_is_member(attr->attnum + offset, attrs)))
			continue;
		appendStringInfo(buf, "%s" DIST_ALIAS ".%s", separator,
						 quote_identifier(NameStr(attr->attname)));
		separator = ", ";
		attnums = lappend_int(attnums, attr->attnum);
	}
	if (bms_is_member(SelfItemPointerAttributeNumber + offset, attrs))
	{
		appendStringInfo(buf, "%s" DIST_ALIAS ".ctid", separator);
		attnums = lappend_int(attnums, SelfItemPointerAttributeNumber);
	}
	if (attnums == NIL)
		appendStringInfoString(buf, "NULL");
	table_close(rel, NoLock);
	return attnums;
}

/* Append ORDER BY with the keys of a path. */
static void
append_order(StringInfo buf, List *pathkeys, RelOptInfo *baserel,
			 List **params)
{
	RelPlan    *plan = (RelPlan *) baserel->fdw_private;
	const char *separator = " ORDER BY ";
	ListCell   *lc;

	foreach(lc, pathkeys)
	{
		PathKey    *pathkey = lfirst_node(PathKey, lc);
		Expr	   *expr = find_sort_expr(pathkey, baserel);

		/* Never a bare constant: the worker would take it for a position. */
		appendStringInfo(buf, "%s(%s) %s NULLS %s", separator,
						 DistDeparseExpr(expr, baserel->relid,
										 plan->partition->relid, DIST_ALIAS,
										 params, 1, true),
						 pathkey->pk_strategy == BTLessStrategyNumber ?
						 "ASC" : "DESC",
						 pathkey->pk_nulls_first ? "FIRST" : "LAST");
		separator = ", ";
	}
}

/*
 * Append FOR UPDATE and its kind if the query asks for it on this relation.
 */
static bool
append_row_lock(StringInfo buf, PlannerInfo *root, RelOptInfo *baserel)
{
	PlanRowMark *mark = get_plan_rowmark(root->rowMarks, baserel->relid);

	if (mark == NULL)
		return false;
	switch (mark->strength)
	{
		case LCS_NONE:
			return false;
		case LCS_FORKEYSHARE:
			appendStringInfoString(buf, " FOR KEY SHARE");
			break;
		case LCS_FORSHARE:
			appendStringInfoString(buf, " FOR SHARE");
			break;
		case LCS_FORNOKEYUPDATE:
			appendStringInfoString(buf, " FOR NO KEY UPDATE");
			break;
		case LCS_FORUPDATE:
			appendStringInfoString(buf, " FOR UPDATE");
			break;
	}
	if (mark->waitPolicy == LockWaitSkip)
		appendStringInfoString(buf, " SKIP LOCKED");
	else if (mark->waitPolicy == LockWaitError)
		appendStringInfoString(buf, " NOWAIT");
	return true;
}

/* Flags of a scan that locks no rows; see dist_fdw.h. */
static int
scan_flags(PlannerInfo *root, ForeignPath *path)
{
	int			flags = 0;

	if (root->tuple_fraction <= 0.0)
		flags |= DIST_SCAN_ALL_ROWS | DIST_SCAN_TOGETHER;
	if (path->path.pathkeys != NIL)
		flags |= DIST_SCAN_TOGETHER;
	return flags;
}

/*
 * How many rows to ask for in a single turn: twice what we expect, so that an
 * estimate somewhat too low does not cost a second try.  0 if the answer is
 * too large for that.
 */
static int
rows_to_fetch_at_once(ForeignPath *path, int flags)
{
	double		rows = floatVal(linitial(path->fdw_private));
	int			width = Max(path->path.pathtarget->width, 1);
	double		limit = Min(FETCH_ALL_ROWS, FETCH_ALL_BYTES / width);

	if ((flags & DIST_SCAN_LOCKS_ROWS) != 0 || rows * 2.0 > limit)
		return 0;
	return (int) Max(limit, 1.0);
}

/* How far after its partitioned table a leaf stands in the range table. */
static int
distance_from_parent(PlannerInfo *root, RelOptInfo *baserel)
{
	Index		rti = baserel->relid;

	while (root->append_rel_array != NULL &&
		   root->append_rel_array[rti] != NULL)
		rti = root->append_rel_array[rti]->parent_relid;
	return (int) baserel->relid - (int) rti;
}
