/*-------------------------------------------------------------------------
 *
 * dist_check_query.c
 *	  Refuse, before planning, writes that distributed tables cannot do.
 *
 * The wrapper refuses what it sees while planning the leaves.  Some forms never
 * get there, because core rejects them with another message, routes rows at run
 * time, or would run a part of them.  All are refused here with 0A000, for
 * every statement that modifies a table with a leaf on a worker, or such a leaf.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "distribution/dist_fdw.h"
#include "distribution/dist_placement.h"

static planner_hook_type prev_planner_hook = NULL;

static PlannedStmt *check_and_plan(Query *parse, const char *query_string,
								   int cursorOptions,
								   ParamListInfo boundParams);
static void check_query(Query *query, bool in_cte);
static const char *find_obstacle(Query *query, Oid relid, bool in_cte,
								 const char **detail, const char **hint);
static bool sets_partition_key(Query *query, Relation rel);
static bool draws_from_sequence(Query *query, Relation rel);

void
DistCheckQueryInit(void)
{
	prev_planner_hook = planner_hook;
	planner_hook = check_and_plan;
}

static PlannedStmt *
check_and_plan(Query *parse, const char *query_string, int cursorOptions,
			   ParamListInfo boundParams)
{
	PlannedStmt *result;

	check_query(parse, false);
	if (prev_planner_hook)
		result = prev_planner_hook(parse, query_string, cursorOptions,
								   boundParams);
	else
		result = standard_planner(parse, query_string, cursorOptions,
								  boundParams);
	DistUseDirectModify(result);
	return result;
}

/*
 * Check a query that modifies something, and those in its WITH list; nowhere
 * else may a query modify.
 */
static void
check_query(Query *query, bool in_cte)
{
	ListCell   *lc;

	if (query->hasModifyingCTE)
		foreach(lc, query->cteList)
			check_query(castNode(Query, lfirst_node(CommonTableExpr, lc)->ctequery),
						true);

	if (query->resultRelation != 0 && query->commandType != CMD_SELECT)
	{
		Oid			relid = rt_fetch(query->resultRelation,
									 query->rtable)->relid;
		const char *detail = NULL;
		const char *hint = NULL;
		const char *obstacle;

		/* Cheap tests first: most statements have no obstacle. */
		if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE &&
			get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
			return;
		obstacle = find_obstacle(query, relid, in_cte, &detail, &hint);
		if (obstacle != NULL &&
			(DistIsDistributed(relid) || DistIsForeignPartition(relid)))
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("%s is not supported on distributed table \"%s\"",
						   obstacle, get_rel_name(relid)),
					detail != NULL ? errdetail("%s", detail) : 0,
					errhint("%s", hint));
	}
}

/*
 * What a distributed table could not do of this query, or NULL.  The planner
 * holds a lock on 'relid'.
 */
static const char *
find_obstacle(Query *query, Oid relid, bool in_cte, const char **detail,
			  const char **hint)
{
	const char *result = NULL;
	Relation	rel;

	if (query->commandType == CMD_MERGE)
	{
		*hint = "Use INSERT, UPDATE and DELETE statements.";
		return "MERGE";
	}
	if (query->onConflict != NULL)
	{
		*hint = "Delete the old rows first, or run the statement on the worker of the partition.";
		return "INSERT ... ON CONFLICT";
	}
	if (query->returningList != NIL)
	{
		*hint = "Read the rows with a SELECT of their own.";
		return "RETURNING";
	}
	if (in_cte)
	{
		*hint = "Use a statement of its own, in the same transaction.";
		return "a data-modifying statement in WITH";
	}
	if (query->withCheckOptions != NIL)
	{
		*hint = "Write to the table itself, as a role that is not subject to row security.";
		return "checking new rows by WITH CHECK OPTION or row security";
	}

	rel = table_open(relid, NoLock);
	if (DistHasRowTrigger(rel, query->commandType))
	{
		*hint = "Create row triggers on the partitions of the workers.";
		result = "a trigger on rows";
	}
	else if (query->commandType == CMD_UPDATE &&
			 sets_partition_key(query, rel))
	{
		char	   *name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
													  get_rel_name(relid));

		*detail = "A row with another key may belong to a partition on another worker.";
		*hint = psprintf("Delete the rows and insert them again, in one transaction: BEGIN; "
						 "CREATE TEMP TABLE moved ON COMMIT DROP AS SELECT ... FROM %s WHERE ... FOR UPDATE; "
						 "DELETE FROM %s WHERE ...; INSERT INTO %s SELECT * FROM moved; COMMIT;",
						 name, name, name);
		result = "an update of the partition key";
	}
	else if (query->commandType == CMD_INSERT &&
			 draws_from_sequence(query, rel))
	{
		*hint = "Give the column a value, for example gen_random_uuid().";
		result = "a default from a sequence";
	}
	table_close(rel, NoLock);
	return result;
}

static bool
sets_partition_key(Query *query, Relation rel)
{
	Bitmapset  *attrs = NULL;
	ListCell   *lc;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return false;			/* DistPlanDirectModify looks */
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			attrs = bms_add_member(attrs, tle->resno -
								   FirstLowInvalidHeapAttributeNumber);
	}
	return has_partition_attrs(rel, attrs, NULL);
}

/*
 * Does an INSERT take a value from the sequence behind a column?  Sequences of
 * two coordinators give the same values.
 *
 * The rewriter has put defaults into the target list, or into the VALUES lists
 * it refers to.
 */
static bool
draws_from_sequence(Query *query, Relation rel)
{
	ListCell   *lc;

	if (!DistHasSequenceDefault(rel))
		return false;
	if (DistUsesSequence((Node *) query->targetList))
		return true;
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_VALUES &&
			DistUsesSequence((Node *) rte->values_lists))
			return true;
	}
	return false;
}
