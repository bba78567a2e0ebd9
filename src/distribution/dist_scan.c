/*-------------------------------------------------------------------------
 *
 * dist_scan.c
 *	  Reading a foreign partition.
 *
 * A scan that expects few rows asks for them with one plain SELECT, limited to
 * a bit more than the planner expects: one turn, and no transaction on the
 * worker unless the isolation level wants one.  If the limit is reached,
 * nothing has been returned yet, and the scan starts over with a cursor.
 *
 * Other scans read a cursor, in batches that grow to BATCH_BYTES.  Between two
 * batches the connection is free for others.  A scan that locks rows begins
 * with batches of one row, so that LIMIT above it does not lock many others.
 *
 * A cursor dies on the worker when the subtransaction that opened it is rolled
 * back, while a cursor of the user's that reads through us may live on.  So
 * we follow subtransactions, and refuse to read on from a lost one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "distribution/dist_connection.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_values.h"
#include "vecdist_compat.h"

#define FIRST_BATCH_ROWS	100
#define MAX_BATCH_ROWS		10000
#define MAX_LOCKING_ROWS	100
#define BATCH_BYTES			(512 * 1024)

typedef enum CursorState
{
	CURSOR_CLOSED,
	CURSOR_OPEN,
	CURSOR_LOST					/* rolled back with its subtransaction */
} CursorState;

/* State of one scan, in the query's memory context. */
typedef struct RemoteScan
{
	DistPartition *partition;
	Oid			userid;			/* whose user mapping is used */
	char	   *sql;
	int			fetch_all;		/* see DIST_SCAN_FETCH_ALL */
	bool		locks_rows;
	DistParamState *params;
	DistRowReader *reader;

	bool		started;		/* the statement was sent */
	bool		complete;		/* 'result' is the last one */
	DistConn   *conn;			/* valid while the cursor is open */
	PGresult   *result;			/* current batch, in batch_context; or NULL */
	int			nrows;			/* its rows, */
	int			next_row;		/* and the next one to return */
	int			batch_rows;		/* rows to ask for next */
	MemoryContext batch_context;	/* reset for each batch */
	MemoryContext row_context;	/* reset for each row */

	CursorState cursor;
	SubTransactionId cursor_subid;	/* which subtransaction's end matters */
	char		cursor_name[NAMEDATALEN];
	dlist_node	link;			/* in open_cursors, while CURSOR_OPEN */
} RemoteScan;

/* Scans of this backend with an open cursor. */
static dlist_head open_cursors = DLIST_STATIC_INIT(open_cursors);

/* Number in the name of the next cursor. */
static uint32 next_cursor_number = 1;

static void start_scan(ForeignScanState *node);
static bool fetch_all(RemoteScan *scan, const DistParams *params);
static PGresult *run(RemoteScan *scan, const char *sql,
					 const DistParams *params, int flags);
static void open_cursor(RemoteScan *scan, const DistParams *params);
static void fetch_batch(RemoteScan *scan);
static void set_batch_size(RemoteScan *scan);
static void close_cursor(RemoteScan *scan);
static void check_cursor(RemoteScan *scan);
static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId mySubid,
							 SubTransactionId parentSubid, void *arg);

void
DistBeginForeignScan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	EState	   *estate = node->ss.ps.state;
	RemoteScan *scan;

	/* Whoever only wants to see the plan needs no connection. */
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	scan = palloc0(sizeof(RemoteScan));
	node->fdw_state = scan;
	scan->partition = DistGetPartition(RelationGetRelid(node->ss.ss_currentRelation));
	scan->userid = VecdistScanUser(plan, estate);
	scan->sql = strVal(list_nth(plan->fdw_private, DIST_SCAN_SQL));
	scan->fetch_all = intVal(list_nth(plan->fdw_private,
									  DIST_SCAN_FETCH_ALL));
	scan->locks_rows = boolVal(list_nth(plan->fdw_private,
										DIST_SCAN_LOCKS_ROWS));
	scan->params = DistMakeParams(plan->fdw_exprs, &node->ss.ps);
	scan->reader = DistMakeRowReader(RelationGetDescr(node->ss.ss_currentRelation),
									 list_nth(plan->fdw_private,
											  DIST_SCAN_ATTNUMS));
	scan->batch_context = AllocSetContextCreate(estate->es_query_cxt,
												"vecdist scan batch",
												ALLOCSET_SMALL_SIZES);
	scan->row_context = AllocSetContextCreate(estate->es_query_cxt,
											  "vecdist scan row",
											  ALLOCSET_DEFAULT_SIZES);
}

TupleTableSlot *
DistIterateForeignScan(ForeignScanState *node)
{
	RemoteScan *scan = (RemoteScan *) node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	MemoryContext oldcontext;

	ExecClearTuple(slot);
	if (!scan->started)
		start_scan(node);
	while (scan->next_row >= scan->nrows)
	{
		if (scan->complete)
			return slot;
		fetch_batch(scan);
	}

	MemoryContextReset(scan->row_context);
	oldcontext = MemoryContextSwitchTo(scan->row_context);
	DistReadRow(scan->reader, scan->result, scan->next_row++,
				slot->tts_values, slot->tts_isnull, &slot->tts_tid);
	MemoryContextSwitchTo(oldcontext);
	return ExecStoreVirtualTuple(slot);
}

void
DistReScanForeignScan(ForeignScanState *node)
{
	RemoteScan *scan = (RemoteScan *) node->fdw_state;

	if (!scan->started)
		return;

	/* All rows are at hand and still the right ones: read them again. */
	if (node->ss.ps.chgParam == NULL && scan->complete &&
		scan->cursor == CURSOR_CLOSED)
	{
		scan->next_row = 0;
		return;
	}
	close_cursor(scan);
	scan->started = false;
	scan->nrows = scan->next_row = 0;
}

void
DistEndForeignScan(ForeignScanState *node)
{
	RemoteScan *scan = (RemoteScan *) node->fdw_state;

	if (scan == NULL)
		return;
	close_cursor(scan);
	MemoryContextReset(scan->batch_context);
	scan->result = NULL;
}

void
DistExplainForeignScan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	Oid			relid = RelationGetRelid(node->ss.ss_currentRelation);

	ExplainPropertyText("Worker", DistGetPartition(relid)->worker, es);
	if (es->verbose)
		ExplainPropertyText("Remote SQL",
							strVal(list_nth(plan->fdw_private, DIST_SCAN_SQL)),
							es);
}

/*
 * Send the statement with the current parameters.
 */
static void
start_scan(ForeignScanState *node)
{
	RemoteScan *scan = (RemoteScan *) node->fdw_state;
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	const DistParams *params = DistEvalParams(scan->params, econtext);

	DistFlushInserts();
	scan->started = true;
	scan->complete = false;
	scan->nrows = scan->next_row = 0;
	scan->conn = DistConnGet(scan->partition->serverid, scan->userid,
							 DIST_TARGET_PRIMARY);
	if (scan->fetch_all > 0 && fetch_all(scan, params))
		return;
	open_cursor(scan, params);
}

/*
 * Try to get all rows with one statement.  Returns false if there are too
 * many of them; then the scan uses cursors from now on.
 */
static bool
fetch_all(RemoteScan *scan, const DistParams *params)
{
	int			flags = DIST_REQ_PREPARED;
	char	   *sql = psprintf("%s LIMIT %d", scan->sql, scan->fetch_all + 1);

	if (IsolationUsesXactSnapshot())
		flags |= DIST_REQ_XACT;
	if (DistRowReaderIsBinary(scan->reader))
		flags |= DIST_REQ_BINARY;
	scan->result = run(scan, sql, params, flags);
	pfree(sql);

	scan->nrows = PQntuples(scan->result);
	scan->complete = scan->nrows <= scan->fetch_all;
	if (scan->complete)
		return true;

	scan->fetch_all = 0;
	scan->nrows = 0;
	return false;
}

/* Run one statement.  Its result takes the place of the batch before. */
static PGresult *
run(RemoteScan *scan, const char *sql, const DistParams *params, int flags)
{
	MemoryContext oldcontext;
	PGresult   *result;

	scan->result = NULL;
	scan->nrows = scan->next_row = 0;
	MemoryContextReset(scan->batch_context);
	oldcontext = MemoryContextSwitchTo(scan->batch_context);
	result = DistExec(scan->conn, sql, params, flags);
	MemoryContextSwitchTo(oldcontext);
	return result;
}

static void
open_cursor(RemoteScan *scan, const DistParams *params)
{
	static bool registered = false;
	char	   *sql;

	Assert(scan->cursor == CURSOR_CLOSED);
	if (!registered)
	{
		RegisterXactCallback(xact_callback, NULL);
		RegisterSubXactCallback(subxact_callback, NULL);
		registered = true;
	}

	snprintf(scan->cursor_name, NAMEDATALEN, "vecdist_%u",
			 next_cursor_number++);
	sql = psprintf("DECLARE %s NO SCROLL CURSOR FOR %s",
				   scan->cursor_name, scan->sql);
	(void) run(scan, sql, params, DIST_REQ_XACT);
	pfree(sql);

	scan->cursor = CURSOR_OPEN;
	scan->cursor_subid = GetCurrentSubTransactionId();
	dlist_push_tail(&open_cursors, &scan->link);
	scan->batch_rows = scan->locks_rows ? 1 : FIRST_BATCH_ROWS;
}

static void
fetch_batch(RemoteScan *scan)
{
	char		sql[NAMEDATALEN + 64];
	int			flags = DIST_REQ_XACT;

	check_cursor(scan);
	if (DistRowReaderIsBinary(scan->reader))
		flags |= DIST_REQ_BINARY;
	snprintf(sql, sizeof(sql), "FETCH %d FROM %s", scan->batch_rows,
			 scan->cursor_name);
	scan->result = run(scan, sql, NULL, flags);
	scan->nrows = PQntuples(scan->result);
	scan->complete = scan->nrows < scan->batch_rows;
	if (!scan->complete)
		set_batch_size(scan);
}

/* Learn from the batch just read how many rows to ask for next. */
static void
set_batch_size(RemoteScan *scan)
{
	double		row_bytes;
	double		rows;

	if (scan->locks_rows)
	{
		scan->batch_rows = Min(scan->batch_rows * 2, MAX_LOCKING_ROWS);
		return;
	}
	row_bytes = (double) PQresultMemorySize(scan->result) / scan->nrows;
	rows = Min(BATCH_BYTES / row_bytes, MAX_BATCH_ROWS);
	rows = Min(rows, scan->batch_rows * 8.0);
	scan->batch_rows = (int) Max(rows, 1.0);
}

static void
close_cursor(RemoteScan *scan)
{
	char		sql[NAMEDATALEN + 64];

	if (scan->cursor == CURSOR_OPEN)
	{
		dlist_delete(&scan->link);
		scan->cursor = CURSOR_CLOSED;
		snprintf(sql, sizeof(sql), "CLOSE %s", scan->cursor_name);
		(void) run(scan, sql, NULL, DIST_REQ_XACT);
	}
	scan->cursor = CURSOR_CLOSED;
}

static void
check_cursor(RemoteScan *scan)
{
	if (scan->cursor == CURSOR_LOST)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_CURSOR_STATE),
				errmsg("cannot read on from partition \"%s\" on worker \"%s\"",
					   scan->partition->remote_name, scan->partition->worker),
				errdetail("The savepoint after which reading began was rolled back, and the worker's cursor with it."),
				errhint("Fetch the first row of the cursor before the savepoint."));
}

/* At the end of a transaction no cursor is left on any worker. */
static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			dlist_init(&open_cursors);
			break;
		default:
			break;
	}
}

/*
 * Cursors that a subtransaction opened are its parent's when it commits, and
 * lost when it aborts.  The memory of those that belong to failed queries goes
 * away soon, so they leave the list.
 */
static void
subxact_callback(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	dlist_mutable_iter iter;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;

	dlist_foreach_modify(iter, &open_cursors)
	{
		RemoteScan *scan = dlist_container(RemoteScan, link, iter.cur);

		if (scan->cursor_subid != mySubid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			scan->cursor_subid = parentSubid;
		else
		{
			dlist_delete(&scan->link);
			scan->cursor = CURSOR_LOST;
		}
	}
}
