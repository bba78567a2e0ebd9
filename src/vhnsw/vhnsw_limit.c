/*-------------------------------------------------------------------------
 *
 * vhnsw_limit.c
 *	  Learn the LIMIT above an index scan.
 *
 * An access method is not told how many rows are wanted.  When an executor
 * starts we walk its state tree and remember, for every index scan ordered by
 * an operator, the LimitState above it.  The scan is recognized later by its
 * array of ORDER BY keys, which amrescan receives; at that time the executor
 * has computed the values of LIMIT and OFFSET.
 *
 * A Limit counts for what is below it until something that needs more rows
 * than it returns: a sort, an aggregate, a join.  If nothing is known the scan
 * works with growing batches.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/nodeFuncs.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_am.h"

typedef struct LimitEntry
{
	ScanKey		orderbys;		/* hash key: IndexScanState.iss_OrderByKeys */
	LimitState *limit;
} LimitEntry;

/* What one executor run has put into the table. */
typedef struct RunLimits
{
	List	   *keys;			/* of ScanKey */
	MemoryContextCallback callback;
} RunLimits;

typedef struct WalkContext
{
	EState	   *estate;
	LimitState *limit;			/* that counts here, or NULL */
	RunLimits  *run;			/* made with the first entry */
} WalkContext;

static ExecutorStart_hook_type previous_executor_start = NULL;
static HTAB *limits = NULL;

static void limit_executor_start(QueryDesc *query, int eflags);
static bool walk(PlanState *state, WalkContext *context);
static void remember(IndexScanState *scan, WalkContext *context);
static void forget_run(void *arg);

void
VhnswLimitInit(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(ScanKey);
	control.entrysize = sizeof(LimitEntry);
	control.hcxt = TopMemoryContext;
	limits = hash_create("vhnsw limits", 32, &control,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	previous_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = limit_executor_start;
}

static void
limit_executor_start(QueryDesc *query, int eflags)
{
	WalkContext context = {0};

	if (previous_executor_start)
		previous_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);

	if (query->planstate && (eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
	{
		context.estate = query->estate;
		(void) walk(query->planstate, &context);
	}
}

/*
 * Visit a plan state and what is below it.  context->limit is what its parent
 * passes down; it is as before on return.
 */
static bool
walk(PlanState *state, WalkContext *context)
{
	LimitState *inherited = context->limit;

	if (state == NULL)
		return false;
	check_stack_depth();

	switch (nodeTag(state))
	{
		case T_IndexScanState:
			if (context->limit && castNode(IndexScanState, state)->iss_NumOrderByKeys > 0)
				remember(castNode(IndexScanState, state), context);
			context->limit = NULL;
			break;
		case T_LimitState:
			context->limit = castNode(LimitState, state);
			break;
		case T_AppendState:
		case T_MergeAppendState:
		case T_SubqueryScanState:
		case T_ResultState:
		case T_LockRowsState:
		case T_ProjectSetState:
			break;
		default:
			context->limit = NULL;
			break;
	}

	/*
	 * Subplans and initplans hang below any of these, and their rows are not
	 * those that the Limit counts; planstate_tree_walker() visits them too.
	 * At worst a hint is given where none belongs.
	 */
	(void) planstate_tree_walker(state, walk, context);
	context->limit = inherited;
	return false;
}

static void
remember(IndexScanState *scan, WalkContext *context)
{
	MemoryContext run_context = context->estate->es_query_cxt;
	MemoryContext old_context = MemoryContextSwitchTo(run_context);
	LimitEntry *entry;

	if (context->run == NULL)
	{
		context->run = palloc0_object(RunLimits);
		context->run->callback.func = forget_run;
		context->run->callback.arg = context->run;
		MemoryContextRegisterResetCallback(run_context,
										   &context->run->callback);
	}
	context->run->keys = lappend(context->run->keys, scan->iss_OrderByKeys);
	entry = hash_search(limits, &scan->iss_OrderByKeys, HASH_ENTER, NULL);
	entry->limit = context->limit;
	MemoryContextSwitchTo(old_context);
}

/* The executor's memory goes away, and the keys and states with it. */
static void
forget_run(void *arg)
{
	RunLimits  *run = arg;
	ListCell   *cell;

	foreach(cell, run->keys)
	{
		ScanKey		key = lfirst(cell);

		hash_search(limits, &key, HASH_REMOVE, NULL);
	}
}

/* The Limit above the scan with these keys, or NULL if none is known. */
LimitState *
VhnswFindLimit(ScanKey orderbys)
{
	LimitEntry *entry;

	if (limits == NULL || orderbys == NULL)
		return NULL;
	entry = hash_search(limits, &orderbys, HASH_FIND, NULL);
	return entry ? entry->limit : NULL;
}

/*
 * VhnswLimitRows
 *		LIMIT + OFFSET, or -1 if unlimited or not computed yet.
 */
int64
VhnswLimitRows(LimitState *limit)
{
	int64		rows;

	if (limit == NULL || limit->lstate == LIMIT_INITIAL || limit->noCount)
		return -1;
	if (pg_add_s64_overflow(limit->count, limit->offset, &rows))
		return -1;
	return rows;
}
