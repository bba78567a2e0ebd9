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
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
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
static bool contains_nextval_walker(Node *node, void *context);

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

/*
 * DistHasRowTrigger
 *		Must each row that an operation changes be shown to a trigger of this
 *		relation: a row trigger, or one with a transition table?
 */
bool
DistHasRowTrigger(Relation rel, CmdType operation)
{
	TriggerDesc *triggers = rel->trigdesc;

	if (triggers == NULL)
		return false;
	switch (operation)
	{
		case CMD_INSERT:
			return triggers->trig_insert_before_row ||
				triggers->trig_insert_after_row ||
				triggers->trig_insert_new_table;
		case CMD_UPDATE:
			return triggers->trig_update_before_row ||
				triggers->trig_update_after_row ||
				triggers->trig_update_old_table ||
				triggers->trig_update_new_table;
		case CMD_DELETE:
			return triggers->trig_delete_before_row ||
				triggers->trig_delete_after_row ||
				triggers->trig_delete_old_table;
		default:
			return false;
	}
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
	if (contains_nextval_walker((Node *) query->targetList, NULL))
		return true;
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_VALUES &&
			contains_nextval_walker((Node *) rte->values_lists, NULL))
			return true;
	}
	return false;
}

/*
 * DistHasSequenceDefault
 *		Does a column get its default from a sequence?
 */
bool
DistHasSequenceDefault(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (attr->attisdropped)
			continue;
		if (attr->attidentity)
			return true;
		if (attr->atthasdef && !attr->attgenerated &&
			contains_nextval_walker(build_column_default(rel, i + 1), NULL))
			return true;
	}
	return false;
}

static bool
contains_nextval_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, NextValueExpr) ||
		(IsA(node, FuncExpr) &&
		 ((FuncExpr *) node)->funcid == F_NEXTVAL))
		return true;
	return expression_tree_walker(node, contains_nextval_walker, context);
}
