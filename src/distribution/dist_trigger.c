/*-------------------------------------------------------------------------
 *
 * dist_trigger.c
 *	  Triggers and sequences of a table, which work on this server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "distribution/dist_fdw.h"

static bool uses_sequence_walker(Node *node, void *context);

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
	for (AttrNumber attnum = 1; attnum <= RelationGetNumberOfAttributes(rel);
		 attnum++)
	{
		if (DistIsFromSequence(rel, attnum))
			return true;
	}
	return false;
}

/*
 * DistIsFromSequence
 *		Does this column, by its own default or that of its domain?
 */
bool
DistIsFromSequence(Relation rel, AttrNumber attnum)
{
	Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

	return !attr->attisdropped && !attr->attgenerated &&
		DistUsesSequence(build_column_default(rel, attnum));
}

/*
 * DistUsesSequence
 *		Does evaluating this take a value from a sequence, ask for the last, or
 *		hand a sequence to some other function?
 */
bool
DistUsesSequence(Node *node)
{
	return uses_sequence_walker(node, NULL);
}

static bool
uses_sequence_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, NextValueExpr))
		return true;
	if (IsA(node, Const))
	{
		Const	   *constant = (Const *) node;

		return constant->consttype == REGCLASSOID && !constant->constisnull &&
			get_rel_relkind(DatumGetObjectId(constant->constvalue)) ==
			RELKIND_SEQUENCE;
	}
	if (IsA(node, FuncExpr))
	{
		switch (((FuncExpr *) node)->funcid)
		{
			case F_NEXTVAL:
			case F_CURRVAL:
			case F_LASTVAL:
				return true;
		}
	}
	return expression_tree_walker(node, uses_sequence_walker, context);
}
