/*-------------------------------------------------------------------------
 *
 * dist_maintenance.c
 *	  VACUUM, ANALYZE and REINDEX of rows that live on workers.
 *
 * These change no definition, so they work on every server, and for every
 * partition that is a foreign table of ours, listed or not; only REINDEX,
 * which names the parent, needs a listed table.
 *
 * VACUUM and REINDEX of partitioned tables commit as they go: workers run them
 * outside of any transaction, and what some have done stays done when another
 * fails.  ANALYZE is part of the current transaction as it is here.  It runs
 * on the workers first, because the sample we then take from them is laid out
 * by their statistics.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "distribution/dist_connection.h"
#include "distribution/dist_maintenance.h"
#include "distribution/dist_placement.h"
#include "distribution/dist_tabledef.h"

/* The partitions of one worker. */
typedef struct WorkerTargets
{
	Oid			serverid;
	StringInfoData names;		/* "schema.name (columns), ..." */
} WorkerTargets;

static bool find_targets(VacuumRelation *relation, List **workers,
						 List **local);
static void add_target(List **workers, DistPartition *leaf, List *columns);
static void run_on_targets(VacuumStmt *stmt, List *workers);
static void append_options(StringInfo sql, List *options);
static bool has_option(List *options, const char *name);
static VacuumStmt *local_vacuum(VacuumStmt *stmt, List *relations);
static VacuumStmt *local_analyze(VacuumStmt *stmt, List *relations);

List *
DistVacuumOnWorkers(VacuumStmt *stmt, bool is_top_level, bool *ours)
{
	List	   *workers = NIL;	/* of WorkerTargets */
	List	   *local = NIL;	/* of VacuumRelation, to vacuum here */
	List	   *distributed = NIL;	/* the same, to analyze here */
	List	   *rest = NIL;
	ListCell   *lc;

	foreach(lc, stmt->rels)
	{
		VacuumRelation *relation = lfirst_node(VacuumRelation, lc);

		if (find_targets(relation, &workers, &local))
			distributed = lappend(distributed, relation);
		else
			local = lappend(local, relation);
	}
	*ours = workers != NIL;
	if (!*ours)
		return NIL;
	if (stmt->is_vacuumcmd)
		PreventInTransactionBlock(is_top_level, "VACUUM");
	run_on_targets(stmt, workers);

	if (!stmt->is_vacuumcmd)
		return list_make1(stmt);
	if (local != NIL)
		rest = lappend(rest, local_vacuum(stmt, local));
	if (has_option(stmt->options, "analyze"))
		rest = lappend(rest, local_analyze(stmt, distributed));
	return rest;
}

void
DistReindexOnWorkers(ReindexStmt *stmt, Oid relid)
{
	List	   *servers = DistWorkers();
	int			n = list_length(servers);
	DistRequest *requests = palloc0(sizeof(DistRequest) * Max(n, 1));
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "REINDEX ");
	append_options(&sql, stmt->params);
	appendStringInfo(&sql, "%s %s",
					 stmt->kind == REINDEX_OBJECT_INDEX ? "INDEX" : "TABLE",
					 DistRelationName(relid));
	for (int i = 0; i < n; i++)
	{
		requests[i].conn = DistConnGet(list_nth_oid(servers, i), GetUserId(),
									   DIST_TARGET_PRIMARY);
		requests[i].sql = sql.data;
		requests[i].flags = DIST_REQ_ONCE;
	}
	DistExecute(requests, n, -1, 0);
}

/*
 * Add the partitions that a target of VACUUM or ANALYZE means to *workers, or
 * to *local if they live here.  Returns false, and adds nothing, if none lives
 * on a worker.
 */
static bool
find_targets(VacuumRelation *relation, List **workers, List **local)
{
	Oid			relid = OidIsValid(relation->oid) ? relation->oid :
	RangeVarGetRelid(relation->relation, NoLock, true);
	ListCell   *lc;

	if (!OidIsValid(relid))
		return false;
	if (DistIsForeignPartition(relid))
	{
		add_target(workers, DistGetPartition(relid), relation->va_cols);
		return true;
	}
	if (!DistIsDistributed(relid))
		return false;

	LockRelationOid(relid, AccessShareLock);
	foreach(lc, DistPartitions(relid, AccessShareLock))
	{
		DistPartition *leaf = lfirst(lc);

		if (OidIsValid(leaf->serverid))
			add_target(workers, leaf, relation->va_cols);
		else
			*local = lappend(*local,
							 makeVacuumRelation(makeRangeVar(leaf->remote_schema,
															 leaf->remote_name, -1),
												leaf->relid,
												relation->va_cols));
	}
	return true;
}

static void
add_target(List **workers, DistPartition *leaf, List *columns)
{
	WorkerTargets *target = NULL;
	ListCell   *lc;

	foreach(lc, *workers)
		if (((WorkerTargets *) lfirst(lc))->serverid == leaf->serverid)
		target = lfirst(lc);
	if (target == NULL)
	{
		target = palloc(sizeof(WorkerTargets));
		target->serverid = leaf->serverid;
		initStringInfo(&target->names);
		*workers = lappend(*workers, target);
	}
	appendStringInfo(&target->names, "%s%s", target->names.len > 0 ? ", " : "",
					 quote_qualified_identifier(leaf->remote_schema,
												leaf->remote_name));
	foreach(lc, columns)
		appendStringInfo(&target->names, "%s%s%s",
						 foreach_current_index(lc) == 0 ? " (" : ", ",
						 quote_identifier(strVal(lfirst(lc))),
						 lnext(columns, lc) == NULL ? ")" : "");
}

static void
run_on_targets(VacuumStmt *stmt, List *workers)
{
	int			n = list_length(workers);
	DistRequest *requests = palloc0(sizeof(DistRequest) * n);

	for (int i = 0; i < n; i++)
	{
		WorkerTargets *target = list_nth(workers, i);
		StringInfoData sql;

		initStringInfo(&sql);
		appendStringInfoString(&sql, stmt->is_vacuumcmd ? "VACUUM " : "ANALYZE ");
		append_options(&sql, stmt->options);
		appendStringInfoString(&sql, target->names.data);
		requests[i].conn = DistConnGet(target->serverid, GetUserId(),
									   DIST_TARGET_PRIMARY);
		requests[i].sql = sql.data;
		requests[i].flags = stmt->is_vacuumcmd ? DIST_REQ_ONCE : DIST_REQ_WRITE;
	}
	DistExecute(requests, n, -1, 0);
}

/* "(name, name value) ", or nothing */
static void
append_options(StringInfo sql, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		appendStringInfo(sql, "%s%s",
						 foreach_current_index(lc) == 0 ? "(" : ", ",
						 quote_identifier(option->defname));
		if (option->arg == NULL)
			continue;
		appendStringInfo(sql, " %s",
						 IsA(option->arg, Integer) || IsA(option->arg, Float) ?
						 defGetString(option) :
						 quote_identifier(defGetString(option)));
	}
	if (options != NIL)
		appendStringInfoString(sql, ") ");
}

static bool
has_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0)
			return defGetBoolean(option);
	}
	return false;
}

static VacuumStmt *
local_vacuum(VacuumStmt *stmt, List *relations)
{
	VacuumStmt *result = copyObject(stmt);

	result->rels = relations;
	return result;
}

/* The ANALYZE of VACUUM (ANALYZE), with the options that both have. */
static VacuumStmt *
local_analyze(VacuumStmt *stmt, List *relations)
{
	static const char *const shared[] =
	{"verbose", "skip_locked", "buffer_usage_limit"};
	VacuumStmt *result = makeNode(VacuumStmt);
	ListCell   *lc;

	result->rels = relations;
	foreach(lc, stmt->options)
		for (int i = 0; i < lengthof(shared); i++)
		if (strcmp(lfirst_node(DefElem, lc)->defname, shared[i]) == 0)
			result->options = lappend(result->options, lfirst(lc));
	return result;
}
