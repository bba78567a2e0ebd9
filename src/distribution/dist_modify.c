/*-------------------------------------------------------------------------
 *
 * dist_modify.c
 *	  UPDATE, DELETE and TRUNCATE of foreign partitions, pushed whole.
 *
 * An UPDATE or DELETE of a distributed table becomes one statement for each
 * leaf that is not pruned, run by the leaf's worker.  If a part of it cannot
 * run there, the whole statement is refused while it is planned.
 *
 * Core runs the leaves of a plan one after the other.  The first one that is
 * asked for starts all of them, each worker's first leaf at the same time,
 * then each worker's second one, and so on; the others only report what was
 * done.  A leaf that core would have skipped at run time is run as well, but
 * then its partition constraint contradicts the condition, and it finds
 * nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/partition.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "optimizer/appendinfo.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "distribution/dist_connection.h"
#include "distribution/dist_deparse.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_values.h"
#include "vecdist_compat.h"

/* Members of fdw_private of a ForeignScan that updates or deletes. */
enum ModifyPrivate
{
	MODIFY_SQL,					/* String: the statement */
	MODIFY_GROUP,				/* Integer: equal for the leaves of one
								 * ModifyTable node */
	MODIFY_COUNTS				/* Boolean: do its rows count in the
								 * statement's result? */
};

/* The only member of fdwPrivLists where a direct plan was made. */
#define DIRECT_MODIFY_MARK	"vecdist direct modify"

/* State of one leaf, in the query's memory context. */
typedef struct ModifyState
{
	EState	   *estate;
	int			group;
	DistPartition *partition;
	Oid			userid;			/* whose user mapping is used */
	const char *sql;
	bool		counts;
	DistParamState *params;
	ExprContext *econtext;
	bool		done;			/* the statement was run */
	uint64		nrows;			/* rows it changed */
	dlist_node	link;			/* in running_modifies */
	MemoryContextCallback unlink;	/* takes it out */
} ModifyState;

/* All leaves of this backend's running statements. */
static dlist_head running_modifies = DLIST_STATIC_INIT(running_modifies);

static bool has_row_trigger(Oid relid, CmdType operation);
static ForeignScan *find_scan(Plan *plan, Index rti);
static void append_assignments(StringInfo sql, PlannerInfo *root,
							   Index resultRelation, Oid relid,
							   List **params);
static bool updates_partition_key(Oid relid, AttrNumber attnum);
static void refuse(CmdType operation, Oid relid, const char *why)
			pg_attribute_noreturn();
static void unlink_modify(void *arg);
static void run_group(ModifyState *first);
static bool uses_connection(DistRequest *requests, int n, DistConn *conn);

/*
 * DistPlanDirectModify
 *		Turn the scan of a leaf into the statement that changes it.
 *
 * Raises 0A000 if the worker cannot run all of it: nothing else would do the
 * work.
 */
bool
DistPlanDirectModify(PlannerInfo *root, ModifyTable *plan,
					 Index resultRelation, int subplan_index)
{
	Oid			relid = planner_rt_fetch(resultRelation, root)->relid;
	ForeignScan *scan = find_scan(outerPlan(plan), resultRelation);
	DistPartition *partition;
	List	   *params = NIL;
	StringInfoData sql;

	if (plan->operation != CMD_UPDATE && plan->operation != CMD_DELETE)
		return false;
	if (plan->returningLists != NIL)
		refuse(plan->operation, relid, "It has a RETURNING list.");
	if (scan == NULL)
		refuse(plan->operation, relid, "It needs rows of other tables.");
	if (scan->scan.plan.qual != NIL)
	{
		const char *why = NULL;

		(void) DistIsShippable(linitial(scan->scan.plan.qual),
							   resultRelation, relid, &why);
		refuse(plan->operation, relid,
			   psprintf("The worker cannot evaluate its condition: %s.",
						why ? why : "row security comes first"));
	}

	partition = DistGetPartition(relid);
	initStringInfo(&sql);
	appendStringInfoString(&sql, plan->operation == CMD_UPDATE ?
						   "UPDATE " : "DELETE FROM ");
	DistAppendRemoteName(&sql, partition);
	appendStringInfoString(&sql, " " DIST_ALIAS);
	if (plan->operation == CMD_UPDATE)
		append_assignments(&sql, root, resultRelation, relid, &params);
	DistAppendWhere(&sql, scan->fdw_recheck_quals, resultRelation, relid,
					&params);

	scan->operation = plan->operation;
	scan->resultRelation = resultRelation;
	scan->fdw_exprs = params;
	scan->fdw_private = list_make3(makeString(sql.data),
								   makeInteger(plan->epqParam),
								   makeBoolean(plan->canSetTag));
	return true;
}

/*
 * DistPlanForeignModify
 *		Plan an INSERT into a leaf, or what core does not let the FDW push.
 *
 * Core does not ask DistPlanDirectModify if there are row triggers, checks of
 * new rows, or stored generated columns.  Generated columns are no obstacle:
 * the worker computes them.  So we make the direct plan here, and
 * DistUseDirectModify tells core so.
 */
List *
DistPlanForeignModify(PlannerInfo *root, ModifyTable *plan,
					  Index resultRelation, int subplan_index)
{
	Oid			relid = planner_rt_fetch(resultRelation, root)->relid;

	if (plan->operation == CMD_INSERT)
	{
		if (plan->returningLists != NIL)
			refuse(plan->operation, relid, "It has a RETURNING list.");
		if (plan->onConflictAction != ONCONFLICT_NONE)
			refuse(plan->operation, relid, "It has an ON CONFLICT clause.");
		return NIL;
	}

	if (plan->withCheckOptionLists != NIL)
		refuse(plan->operation, relid,
			   "New rows have to pass WITH CHECK OPTION or row security.");
	if (has_row_trigger(relid, plan->operation))
		refuse(plan->operation, relid, "The partition has row triggers.");
	if (!DistPlanDirectModify(root, plan, resultRelation, subplan_index))
		refuse(plan->operation, relid, "It would change rows one by one.");
	return list_make1(makeString(DIRECT_MODIFY_MARK));
}

static bool
has_row_trigger(Oid relid, CmdType operation)
{
	Relation	rel = table_open(relid, NoLock);
	bool		result = DistHasRowTrigger(rel, operation);

	table_close(rel, NoLock);
	return result;
}

/*
 * DistUseDirectModify
 *		Let a finished plan use the direct plans made by DistPlanForeignModify.
 */
void
DistUseDirectModify(PlannedStmt *stmt)
{
	ModifyTable *plan = (ModifyTable *) stmt->planTree;
	int			i = 0;
	ListCell   *lc;

	if (plan == NULL || !IsA(plan, ModifyTable))
		return;
	foreach(lc, plan->fdwPrivLists)
	{
		List	   *private = (List *) lfirst(lc);

		if (list_length(private) == 1 && IsA(linitial(private), String) &&
			strcmp(strVal(linitial(private)), DIRECT_MODIFY_MARK) == 0)
		{
			plan->fdwDirectModifyPlans =
				bms_add_member(plan->fdwDirectModifyPlans, i);
			lfirst(lc) = NIL;
		}
		i++;
	}
}

/*
 * The scan of a result relation, if its rows reach the ModifyTable as they
 * are: below nothing but Append and Result.
 */
static ForeignScan *
find_scan(Plan *plan, Index rti)
{
	ListCell   *lc;

	if (plan == NULL)
		return NULL;
	switch (nodeTag(plan))
	{
		case T_ForeignScan:
			return ((ForeignScan *) plan)->scan.scanrelid == rti ?
				(ForeignScan *) plan : NULL;
		case T_Result:
			return find_scan(outerPlan(plan), rti);
		case T_Append:
			foreach(lc, ((Append *) plan)->appendplans)
			{
				ForeignScan *found = find_scan(lfirst(lc), rti);

				if (found != NULL)
					return found;
			}
			return NULL;
		default:
			return NULL;
	}
}

/* Append " SET ..." for the columns that an UPDATE changes. */
static void
append_assignments(StringInfo sql, PlannerInfo *root, Index resultRelation,
				   Oid relid, List **params)
{
	const char *separator = " SET ";
	List	   *tlist;
	List	   *colnos;
	ListCell   *lct;
	ListCell   *lcn;

	get_translated_update_targetlist(root, resultRelation, &tlist, &colnos);
	forboth(lct, tlist, lcn, colnos)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lct);
		AttrNumber	attnum = lfirst_int(lcn);
		char	   *name = get_attname(relid, attnum, false);
		const char *why;

		if (updates_partition_key(relid, attnum))
			refuse(CMD_UPDATE, relid,
				   psprintf("Column \"%s\" belongs to the partition key.",
							name));
		if (!DistIsShippable(tle->expr, resultRelation, relid, &why))
			refuse(CMD_UPDATE, relid,
				   psprintf("The worker cannot evaluate the new value of column \"%s\": %s.",
							name, why));
		appendStringInfo(sql, "%s%s = %s", separator, quote_identifier(name),
						 DistDeparseExpr(tle->expr, resultRelation, relid,
										 DIST_ALIAS, params, 1, true));
		separator = ", ";
	}
}

/* Does a partitioned table above the leaf route rows by this column? */
static bool
updates_partition_key(Oid relid, AttrNumber attnum)
{
	char	   *name = get_attname(relid, attnum, false);
	bool		result = false;
	ListCell   *lc;

	if (!get_rel_relispartition(relid))
		return false;
	foreach(lc, get_partition_ancestors(relid))
	{
		Relation	parent = table_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	parent_attnum = get_attnum(lfirst_oid(lc), name);
		Bitmapset  *attrs = bms_make_singleton(parent_attnum -
											   FirstLowInvalidHeapAttributeNumber);

		result |= has_partition_attrs(parent, attrs, NULL);
		table_close(parent, AccessShareLock);
	}
	return result;
}

static void
refuse(CmdType operation, Oid relid, const char *why)
{
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("cannot run this %s on partition \"%s\" of a worker",
				   operation == CMD_INSERT ? "INSERT" :
				   operation == CMD_UPDATE ? "UPDATE" : "DELETE",
				   get_rel_name(relid)),
			errdetail_internal("%s", why),
			operation == CMD_INSERT ?
			errhint("Use a plain INSERT or COPY.") :
			errhint("Use conditions and values that built-in immutable functions compute from the row's own columns, constants, parameters and uncorrelated subqueries."));
}

void
DistBeginDirectModify(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	EState	   *estate = node->ss.ps.state;
	ModifyState *modify;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	modify = palloc0(sizeof(ModifyState));
	node->fdw_state = modify;
	modify->estate = estate;
	modify->group = intVal(list_nth(plan->fdw_private, MODIFY_GROUP));
	modify->partition = DistGetPartition(RelationGetRelid(node->ss.ss_currentRelation));
	modify->userid = VecdistScanUser(plan, estate);
	modify->sql = strVal(list_nth(plan->fdw_private, MODIFY_SQL));
	modify->counts = boolVal(list_nth(plan->fdw_private, MODIFY_COUNTS));
	modify->params = DistMakeParams(plan->fdw_exprs, &node->ss.ps);
	modify->econtext = node->ss.ps.ps_ExprContext;

	dlist_push_tail(&running_modifies, &modify->link);
	modify->unlink.func = unlink_modify;
	modify->unlink.arg = modify;
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &modify->unlink);
}

/* Called as the query's memory goes away, after success and after errors. */
static void
unlink_modify(void *arg)
{
	dlist_delete(&((ModifyState *) arg)->link);
}

TupleTableSlot *
DistIterateDirectModify(ForeignScanState *node)
{
	ModifyState *modify = (ModifyState *) node->fdw_state;

	if (!modify->done)
	{
		DistFlushInserts();
		run_group(modify);
	}

	if (modify->counts)
		modify->estate->es_processed += modify->nrows;
	if (node->ss.ps.instrument)
		node->ss.ps.instrument->tuplecount += modify->nrows;
	modify->nrows = 0;
	return ExecClearTuple(node->ss.ss_ScanTupleSlot);
}

/*
 * Run the statements of all leaves that belong to the same ModifyTable node
 * as 'first'.  Returns when all are done.
 */
static void
run_group(ModifyState *first)
{
	for (;;)
	{
		DistRequest *requests = NULL;
		ModifyState **owners = NULL;
		int			n = 0;
		int			size = 0;
		dlist_iter	iter;

		dlist_foreach(iter, &running_modifies)
		{
			ModifyState *modify = dlist_container(ModifyState, link, iter.cur);
			DistConn   *conn;

			if (modify->done || modify->estate != first->estate ||
				modify->group != first->group)
				continue;
			conn = DistConnGet(modify->partition->serverid, modify->userid,
							   DIST_TARGET_PRIMARY);
			if (uses_connection(requests, n, conn))
				continue;		/* in a later round */

			if (n == size)
			{
				size = Max(8, size * 2);
				requests = requests == NULL ?
					palloc(size * sizeof(DistRequest)) :
					repalloc(requests, size * sizeof(DistRequest));
				owners = owners == NULL ?
					palloc(size * sizeof(ModifyState *)) :
					repalloc(owners, size * sizeof(ModifyState *));
			}
			memset(&requests[n], 0, sizeof(DistRequest));
			requests[n].conn = conn;
			requests[n].sql = modify->sql;
			requests[n].params = DistEvalParams(modify->params,
												modify->econtext);
			requests[n].flags = DIST_REQ_WRITE;
			if (requests[n].params != NULL)
				requests[n].flags |= DIST_REQ_PREPARED;
			owners[n++] = modify;
		}
		if (n == 0)
			break;

		DistExecute(requests, n, -1, 0);
		for (int i = 0; i < n; i++)
		{
			owners[i]->nrows = strtou64(PQcmdTuples(requests[i].result),
										NULL, 10);
			owners[i]->done = true;
		}
	}
}

static bool
uses_connection(DistRequest *requests, int n, DistConn *conn)
{
	for (int i = 0; i < n; i++)
		if (requests[i].conn == conn)
			return true;
	return false;
}

void
DistEndDirectModify(ForeignScanState *node)
{
	/* The query's memory context has everything. */
}

void
DistExplainDirectModify(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	Oid			relid = RelationGetRelid(node->ss.ss_currentRelation);

	ExplainPropertyText("Worker", DistGetPartition(relid)->worker, es);
	if (es->verbose)
		ExplainPropertyText("Remote SQL",
							strVal(list_nth(plan->fdw_private, MODIFY_SQL)),
							es);
}

/*
 * DistExecForeignUpdateOrDelete
 *		Would change one row.  Planning has refused what leads here.
 */
TupleTableSlot *
DistExecForeignUpdateOrDelete(EState *estate, ResultRelInfo *rinfo,
							  TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	elog(ERROR, "foreign partition \"%s\" cannot be changed row by row",
		 RelationGetRelationName(rinfo->ri_RelationDesc));
}

/*
 * DistExecForeignTruncate
 *		Truncate foreign partitions, all of the same worker.
 *
 * Core calls this once for each worker when a distributed table, or one of its
 * leaves, is truncated.
 */
void
DistExecForeignTruncate(List *rels, DropBehavior behavior, bool restart_seqs)
{
	const char *separator = "TRUNCATE ";
	Oid			serverid = InvalidOid;
	StringInfoData sql;
	ListCell   *lc;

	DistFlushInserts();
	initStringInfo(&sql);
	foreach(lc, rels)
	{
		DistPartition *partition = DistGetPartition(RelationGetRelid((Relation) lfirst(lc)));

		serverid = partition->serverid;
		appendStringInfoString(&sql, separator);
		DistAppendRemoteName(&sql, partition);
		separator = ", ";
	}
	appendStringInfoString(&sql, restart_seqs ?
						   " RESTART IDENTITY" : " CONTINUE IDENTITY");
	appendStringInfoString(&sql, behavior == DROP_CASCADE ?
						   " CASCADE" : " RESTRICT");
	(void) DistExec(DistConnGet(serverid, GetUserId(), DIST_TARGET_PRIMARY),
					sql.data, NULL, DIST_REQ_WRITE);
}
