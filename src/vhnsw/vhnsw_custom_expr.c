/*-------------------------------------------------------------------------
 *
 * vhnsw_custom_expr.c
 *	  Expressions of the custom scan "Vhnsw Scan".
 *
 * Core has prepared expressions for tuples that are not stored; ours are rows
 * of the table, with system columns.  So they are made again, and read what is
 * known from a slot of its own instead of computing it again:
 *
 *	the query, once for each scan: of a LATERAL join it may lie out of line,
 *	and every operator would fetch it anew;
 *
 *	the distance of the row that is returned: the target list always has it,
 *	as ORDER BY does, and it may take a vector that lies out of line.
 *
 * Expressions reach that slot as an inner one, which a scan does not have.
 * See README, section "Vhnsw Scan".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_custom.h"

/* Columns of the slot */
#define KNOWN_DISTANCE 1
#define KNOWN_QUERY 2
#define KNOWN_COLUMNS 2

/* An expression that is known, and the column that has it */
typedef struct Known
{
	Node	   *expr;
	AttrNumber	column;
	bool		found;
} Known;

static void init_known(VhnswCustomState *state, EState *estate, Node *query);
static void init_projection(VhnswCustomState *state, Node *distance);
static Node *read_known(Node *node, Known *known);
static AttrNumber vector_column(ScanState *ss, Node *distance);

/*
 * VhnswCustomInitExprs
 *		Prepare the scan's slots and expressions.
 */
void
VhnswCustomInitExprs(VhnswCustomState *state, EState *estate)
{
	ScanState  *ss = &state->css.ss;
	CustomScan *plan = castNode(CustomScan, ss->ps.plan);
	Node	   *distance = list_nth(plan->custom_exprs, VHNSW_CUSTOM_DISTANCE);
	Node	   *query = list_nth(plan->custom_exprs, VHNSW_CUSTOM_QUERY);
	Known		known = {query, KNOWN_QUERY};

	ss->ps.subPlan = NIL;
	ExecInitScanTupleSlot(estate, ss,
						  RelationGetDescr(ss->ss_currentRelation),
						  table_slot_callbacks(ss->ss_currentRelation));
	init_known(state, estate, query);
	init_projection(state, distance);

	/* ExecScan() would check them again. */
	ss->ps.qual = NULL;
	state->quals = ExecInitQual(plan->scan.plan.qual, &ss->ps);
	state->query = ExecInitExpr((Expr *) query, &ss->ps);
	state->distance = ExecInitExpr((Expr *) read_known(distance, &known),
								   &ss->ps);
	state->vector_column = vector_column(ss, distance);
}

/* Make the slot, with nothing in it. */
static void
init_known(VhnswCustomState *state, EState *estate, Node *query)
{
	TupleDesc	desc = CreateTemplateTupleDesc(KNOWN_COLUMNS);

	TupleDescInitEntry(desc, KNOWN_DISTANCE, "distance", FLOAT8OID, -1, 0);
	TupleDescInitEntry(desc, KNOWN_QUERY, "query", exprType(query),
					   exprTypmod(query), 0);
	TupleDescInitEntryCollation(desc, KNOWN_QUERY, exprCollation(query));
	state->known = ExecInitExtraTupleSlot(estate, desc, &TTSOpsVirtual);
	ExecStoreAllNullTuple(state->known);
	state->css.ss.ps.ps_ExprContext->ecxt_innertuple = state->known;
}

/* Have the target list computed, with the distance known. */
static void
init_projection(VhnswCustomState *state, Node *distance)
{
	ScanState  *ss = &state->css.ss;
	Known		known = {distance, KNOWN_DISTANCE};
	Node	   *targets = read_known((Node *) ss->ps.plan->targetlist, &known);

	state->returns_distance = known.found;
	if (!known.found)
		ExecAssignScanProjectionInfo(ss);
	else
		ss->ps.ps_ProjInfo =
			ExecBuildProjectionInfo((List *) targets, ss->ps.ps_ExprContext,
									ss->ps.ps_ResultTupleSlot, &ss->ps,
									ss->ss_ScanTupleSlot->tts_tupleDescriptor);
}

/* A copy of an expression that reads what is known wherever it occurs. */
static Node *
read_known(Node *node, Known *known)
{
	if (node == NULL)
		return NULL;
	if (equal(node, known->expr))
	{
		known->found = true;
		return (Node *) makeVar(INNER_VAR, known->column, exprType(node),
								exprTypmod(node), exprCollation(node), 0);
	}
	return expression_tree_mutator(node, read_known, known);
}

/*
 * The only column that the distance is of, if it can be stored out of line;
 * else 0.
 */
static AttrNumber
vector_column(ScanState *ss, Node *distance)
{
	TupleDesc	desc = RelationGetDescr(ss->ss_currentRelation);
	Bitmapset  *columns = NULL;
	int			member;
	AttrNumber	column;

	pull_varattnos(distance, castNode(CustomScan, ss->ps.plan)->scan.scanrelid, &columns);
	if (!bms_get_singleton_member(columns, &member))
		return 0;
	column = member + FirstLowInvalidHeapAttributeNumber;
	if (column <= 0 || TupleDescAttr(desc, column - 1)->attlen != -1)
		return 0;
	return column;
}

/*
 * VhnswCustomKnowQuery
 *		Compute the query, in the memory of the scan.  Detoasts it.
 */
void
VhnswCustomKnowQuery(VhnswCustomState *state)
{
	TupleTableSlot *known = state->known;
	Form_pg_attribute type = TupleDescAttr(known->tts_tupleDescriptor,
										   KNOWN_QUERY - 1);
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	bool		isnull;
	Datum		query = ExecEvalExprSwitchContext(state->query, econtext, &isnull);

	if (!isnull)
	{
		MemoryContext old_context = MemoryContextSwitchTo(state->context);

		if (type->attlen == -1)
			query = PointerGetDatum(PG_DETOAST_DATUM_COPY(query));
		else
			query = datumCopy(query, type->attbyval, type->attlen);
		MemoryContextSwitchTo(old_context);
	}
	known->tts_values[KNOWN_QUERY - 1] = query;
	known->tts_isnull[KNOWN_QUERY - 1] = isnull;
	state->query_known = true;
}

/* The query, after VhnswCustomKnowQuery() */
Datum
VhnswCustomQuery(const VhnswCustomState *state, bool *isnull)
{
	Assert(state->query_known);
	*isnull = state->known->tts_isnull[KNOWN_QUERY - 1];
	return state->known->tts_values[KNOWN_QUERY - 1];
}

/* Forget it; its memory is about to go. */
void
VhnswCustomForgetQuery(VhnswCustomState *state)
{
	state->known->tts_isnull[KNOWN_QUERY - 1] = true;
	state->query_known = false;
}

/*
 * VhnswCustomDistance
 *		The distance of the row in a slot.
 *
 * Resets no memory; the query must be known.  A vector that is stored out of
 * line takes its place in the slot meanwhile.
 */
VhnswDistance
VhnswCustomDistance(VhnswCustomState *state, TupleTableSlot *slot)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	AttrNumber	column = state->vector_column;
	VhnswDistance distance = {0};
	Datum		stored = 0;
	Datum		value;
	bool		was_read = false;

	Assert(state->query_known);
	if (column > 0)
	{
		slot_getsomeattrs(slot, column);
		stored = slot->tts_values[column - 1];
		was_read = !slot->tts_isnull[column - 1] &&
			VhnswToastRead(&state->toast, econtext->ecxt_per_query_memory,
						   stored, &slot->tts_values[column - 1]);
	}
	econtext->ecxt_scantuple = slot;
	value = ExecEvalExprSwitchContext(state->distance, econtext,
									  &distance.isnull);
	if (was_read)
		slot->tts_values[column - 1] = stored;
	if (!distance.isnull)
		distance.value = DatumGetFloat8(value);
	return distance;
}

/*
 * VhnswCustomBoundIsUnlucky
 *		Is the distance of a row below a likely bound that its code does give?
 *
 * The only other reason for a bound above the distance is a code that is not of
 * this row.
 */
bool
VhnswCustomBoundIsUnlucky(VhnswCustomState *state, TupleTableSlot *slot,
						  VhnswDistance distance)
{
	EState	   *estate = state->css.ss.ps.state;
	ExprContext *econtext = GetPerTupleExprContext(estate);
	MemoryContext old_context;
	Datum		value;
	bool		isnull;
	bool		result;

	if (!state->stream->query.likely)
		return false;
	econtext->ecxt_scantuple = slot;
	old_context = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	FormIndexDatum(BuildIndexInfo(state->index), slot, estate, &value, &isnull);
	result = !isnull &&
		VhnswStreamBoundOf(state->stream, value) > distance.value;
	MemoryContextSwitchTo(old_context);
	return result;
}

/* This is the distance of the row that is about to be returned. */
void
VhnswCustomKnowDistance(VhnswCustomState *state, VhnswDistance distance)
{
	state->known->tts_values[KNOWN_DISTANCE - 1] =
		Float8GetDatum(distance.value);
	state->known->tts_isnull[KNOWN_DISTANCE - 1] = distance.isnull;
}
