/*-------------------------------------------------------------------------
 *
 * dist_trigger.c
 *	  Triggers and sequences of a table, which work on this server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "distribution/dist_fdw.h"

static bool contains_nextval_walker(Node *node, void *context);

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
			DistDrawsFromSequence(build_column_default(rel, i + 1)))
			return true;
	}
	return false;
}

/*
 * DistDrawsFromSequence
 *		Does evaluating this take a value from a sequence?
 */
bool
DistDrawsFromSequence(Node *node)
{
	return contains_nextval_walker(node, NULL);
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
