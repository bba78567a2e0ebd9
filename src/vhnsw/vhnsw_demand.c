/*-------------------------------------------------------------------------
 *
 * vhnsw_demand.c
 *	  Learn what the executor wants of an index scan.
 *
 * An access method is not told how many rows are wanted.  When an executor
 * starts we walk its state tree and remember for every index scan ordered by
 * an operator what stands above it.  An index scan is recognized later by its
 * array of ORDER BY keys, which amrescan receives, and a Vhnsw Scan by its
 * state; by then the executor has computed the values of LIMIT and OFFSET.
 * What we want to know:
 *
 *	rows	how many rows are wanted: LIMIT + OFFSET, or what a cursor fetches.
 *			It counts below nodes that return each row as it comes.
 *	all		whether all rows will be read: below a sort or an aggregate, or
 *			without any LIMIT or cursor.
 *	passed	a number that changes whenever a row has passed on to the user, so
 *			that the order of what was reported can be seen.
 *
 * Nothing here is needed for a right answer: a scan of which nothing is known
 * assumes the worst.
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

#include "vhnsw/vhnsw_custom.h"
#include "vhnsw/vhnsw_demand.h"

/* One executor, from its start to its end; lives in es_query_cxt. */
typedef struct Executor
{
	EState	   *estate;
	uint64		runs;			/* calls of ExecutorRun */
	uint64		count;			/* rows wanted by the current one, 0 = all */
	List	   *keys;			/* of its entries in 'demands' */
	MemoryContextCallback callback;
} Executor;

/* What stands above a plan state. */
typedef struct Above
{
	LimitState *limit;			/* whose rows are ours */
	bool		one_for_one;	/* none of ours is left out before the limit */
	bool		look_beyond;	/* one more row is read to see where ties end */
	LimitState *gate;			/* the nearest LIMIT, joins aside */
	bool		top;			/* no LIMIT: rows go to the user */
	bool		all;			/* everything is read before anything passes */
	bool		in_order;		/* rows pass in the order we report them */
} Above;

struct VhnswDemand
{
	void	   *key;			/* IndexScanState.iss_OrderByKeys, or the
								 * CustomScanState */
	Above		above;
	Executor   *executor;
	PlanState  *scan;
};

typedef struct WalkContext
{
	Executor   *executor;
	Above		above;
} WalkContext;

static ExecutorStart_hook_type previous_executor_start = NULL;
static ExecutorRun_hook_type previous_executor_run = NULL;
static HTAB *demands = NULL;
static List *executors = NIL;	/* of Executor, in TopMemoryContext */

static void demand_executor_start(QueryDesc *query, int eflags);
static void demand_executor_run(QueryDesc *query, ScanDirection direction,
								uint64 count, bool execute_once);
static void walk(PlanState *state, Above above, Executor *executor);
static void walk_subplans(List *subplans, Executor *executor);
static bool walk_others(PlanState *state, void *context);
static Above pass_on(PlanState *state, Above above);
static void remember(PlanState *scan, void *key, const Above *above,
					 Executor *executor);
static void forget_executor(void *arg);

void
VhnswDemandInit(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(void *);
	control.entrysize = sizeof(VhnswDemand);
	control.hcxt = TopMemoryContext;
	demands = hash_create("vhnsw demands", 32, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	previous_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = demand_executor_start;
	previous_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = demand_executor_run;
}

static void
demand_executor_start(QueryDesc *query, int eflags)
{
	Executor	executor = {0};
	Above		above = {.top = true,.in_order = true};

	if (previous_executor_start)
		previous_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);

	if (query->planstate == NULL || (eflags & EXEC_FLAG_EXPLAIN_ONLY))
		return;
	executor.estate = query->estate;
	walk(query->planstate, above, &executor);
	if (executor.keys != NIL)
	{
		MemoryContext context = query->estate->es_query_cxt;
		Executor   *kept = MemoryContextAlloc(context, sizeof(Executor));
		MemoryContext old_context;
		ListCell   *cell;

		*kept = executor;
		kept->callback.func = forget_executor;
		kept->callback.arg = kept;
		foreach(cell, kept->keys)
		{
			void	   *key = lfirst(cell);
			VhnswDemand *demand = hash_search(demands, &key, HASH_FIND, NULL);

			demand->executor = kept;
		}
		old_context = MemoryContextSwitchTo(TopMemoryContext);
		executors = lappend(executors, kept);
		MemoryContextSwitchTo(old_context);
		MemoryContextRegisterResetCallback(context, &kept->callback);
	}
}

/* Note how many rows this run of a cursor, or of a statement, wants. */
static void
demand_executor_run(QueryDesc *query, ScanDirection direction, uint64 count,
					bool execute_once)
{
	ListCell   *cell;

	foreach(cell, executors)
	{
		Executor   *executor = lfirst(cell);

		if (executor->estate == query->estate)
		{
			executor->runs++;
			executor->count = count;
		}
	}

	if (previous_executor_run)
		previous_executor_run(query, direction, count, execute_once);
	else
		standard_ExecutorRun(query, direction, count, execute_once);
}

/* Names are registered, so that nobody else's scan has ours. */
static bool
is_vhnsw_scan(const PlanState *state)
{
	return IsA(state, CustomScanState) &&
		strcmp(castNode(CustomScan, state->plan)->methods->CustomName,
			   VHNSW_CUSTOM_NAME) == 0;
}

/*
 * Visit a plan state, given what stands above it, and what is below it.
 */
static void
walk(PlanState *state, Above above, Executor *executor)
{
	WalkContext context;

	if (state == NULL)
		return;
	check_stack_depth();

	if (IsA(state, IndexScanState))
	{
		IndexScanState *scan = castNode(IndexScanState, state);

		if (scan->iss_NumOrderByKeys > 0)
			remember(state, scan->iss_OrderByKeys, &above, executor);
	}
	else if (is_vhnsw_scan(state))
		remember(state, state, &above, executor);

	/* planstate_tree_walker() mixes subplans with the other children. */
	walk_subplans(state->initPlan, executor);
	walk_subplans(state->subPlan, executor);

	above = pass_on(state, above);
	switch (nodeTag(state))
	{
		case T_AppendState:
			for (int i = 0; i < castNode(AppendState, state)->as_nplans; i++)
				walk(castNode(AppendState, state)->appendplans[i], above,
					 executor);
			break;
		case T_MergeAppendState:
			for (int i = 0; i < castNode(MergeAppendState, state)->ms_nplans; i++)
				walk(castNode(MergeAppendState, state)->mergeplans[i], above,
					 executor);
			break;
		case T_SubqueryScanState:
			walk(castNode(SubqueryScanState, state)->subplan, above, executor);
			break;
		case T_CustomScanState:
		case T_BitmapAndState:
		case T_BitmapOrState:
			context.executor = executor;
			context.above = above;
			(void) planstate_tree_walker(state, walk_others, &context);
			break;
		default:
			walk(outerPlanState(state), above, executor);
			walk(innerPlanState(state), above, executor);
			break;
	}
}

/* Nothing is known of who reads a subplan, or how much of it. */
static void
walk_subplans(List *subplans, Executor *executor)
{
	Above		above = {0};
	ListCell   *cell;

	foreach(cell, subplans)
		walk(castNode(SubPlanState, lfirst(cell))->planstate, above, executor);
}

static bool
walk_others(PlanState *state, void *context)
{
	WalkContext *walk_context = context;

	walk(state, walk_context->above, walk_context->executor);
	return false;
}

/* What stands above the children of 'state'. */
static Above
pass_on(PlanState *state, Above above)
{
	switch (nodeTag(state))
	{
		case T_LimitState:
			above.limit = above.gate = castNode(LimitState, state);
			above.one_for_one = true;
			above.look_beyond = false;
			above.top = false;
			above.all = false;
			above.in_order = true;
			break;

			/* They return each row as it comes, or leave some out. */
		case T_AppendState:
		case T_MergeAppendState:
			break;
		case T_SubqueryScanState:
		case T_ResultState:
		case T_LockRowsState:
		case T_ProjectSetState:
			above.one_for_one = false;
			break;

			/* It returns rows once it has seen the next distance. */
		case T_IncrementalSortState:
			above.look_beyond = true;
			above.one_for_one = false;
			above.in_order = false;
			break;

			/* They return as many as it happens, in the order of the input. */
		case T_NestLoopState:
		case T_MergeJoinState:
		case T_HashJoinState:
			above.limit = NULL;
			break;

			/* They read everything first. */
		case T_SortState:
		case T_HashState:
		case T_ModifyTableState:
			above.limit = NULL;
			above.all = true;
			break;
		case T_AggState:
			above.limit = NULL;
			above.in_order = false;
			if (castNode(AggState, state)->aggstrategy == AGG_PLAIN ||
				castNode(AggState, state)->aggstrategy == AGG_HASHED)
				above.all = true;
			break;

			/* They keep rows back. */
		default:
			above.limit = NULL;
			above.in_order = false;
			break;
	}
	return above;
}

static void
remember(PlanState *scan, void *key, const Above *above, Executor *executor)
{
	MemoryContext old_context;
	VhnswDemand *demand = hash_search(demands, &key, HASH_ENTER, NULL);

	demand->above = *above;
	demand->scan = scan;
	demand->executor = NULL;

	old_context = MemoryContextSwitchTo(executor->estate->es_query_cxt);
	executor->keys = lappend(executor->keys, key);
	MemoryContextSwitchTo(old_context);
}

/* The executor's memory goes away, and the keys and states with it. */
static void
forget_executor(void *arg)
{
	Executor   *executor = arg;
	ListCell   *cell;

	foreach(cell, executor->keys)
	{
		void	   *key = lfirst(cell);

		hash_search(demands, &key, HASH_REMOVE, NULL);
	}
	executors = list_delete_ptr(executors, executor);
}

/*
 * VhnswFindDemand
 *		What is known of the index scan with these keys, or of this custom
 *		scan; or NULL.
 *
 * Valid as long as the executor that owns the scan.
 */
VhnswDemand *
VhnswFindDemand(void *key)
{
	VhnswDemand *demand;

	if (demands == NULL || key == NULL)
		return NULL;
	demand = hash_search(demands, &key, HASH_FIND, NULL);
	return demand && demand->executor ? demand : NULL;
}

/*
 * VhnswDemandRows
 *		How many rows are wanted, or -1 if that is not known.
 */
int64
VhnswDemandRows(const VhnswDemand *demand)
{
	const LimitState *limit;
	int64		rows;

	if (demand == NULL)
		return -1;
	limit = demand->above.limit;
	if (limit == NULL)
	{
		uint64		count = demand->executor->count;

		return demand->above.top && count > 0 && count < PG_INT32_MAX ?
			(int64) count : -1;
	}
	if (limit->lstate == LIMIT_INITIAL || limit->noCount ||
		pg_add_s64_overflow(limit->count, limit->offset, &rows))
		return -1;
	return rows + demand->above.look_beyond;
}

/*
 * VhnswDemandRemaining
 *		How many more rows are wanted now, or -1 if that is not known.
 *
 * More may be wanted later, if rows are left out above; not so if *exactly.
 */
int64
VhnswDemandRemaining(const VhnswDemand *demand, bool *exactly)
{
	int64		rows = VhnswDemandRows(demand);

	*exactly = false;
	if (rows < 0)
		return -1;
	if (demand->above.limit == NULL)
		return rows - (int64) demand->executor->estate->es_processed;
	*exactly = demand->above.one_for_one &&
		demand->above.limit->limitOption == LIMIT_OPTION_COUNT;
	return rows - demand->above.limit->position;
}

/* Will all rows be read? */
bool
VhnswDemandIsAll(const VhnswDemand *demand)
{
	if (demand == NULL)
		return false;
	if (demand->above.all)
		return true;
	if (demand->above.limit && demand->above.limit->noCount &&
		demand->above.limit->lstate != LIMIT_INITIAL)
		return true;
	return demand->above.top && demand->executor->count == 0;
}

/*
 * VhnswDemandFiltered
 *		How many rows of the whole index the planner expects to pass the
 *		conditions on the scan; -1 if there are none.
 */
double
VhnswDemandFiltered(const VhnswDemand *demand)
{
	if (demand == NULL || demand->scan->plan->qual == NIL)
		return -1;
	return demand->scan->plan->plan_rows;
}

/*
 * VhnswDemandPassed
 *		A number that changes whenever rows pass on to where their order
 *		shows.  Returns false if that cannot be observed.
 */
bool
VhnswDemandPassed(const VhnswDemand *demand, uint64 *passed)
{
	if (demand == NULL || !demand->above.in_order)
		return false;
	if (demand->above.gate)
		*passed = (uint64) demand->above.gate->position;
	else if (demand->above.top)
		*passed = (demand->executor->runs << 40) +
			demand->executor->estate->es_processed;
	else
		return false;
	return true;
}
