/*-------------------------------------------------------------------------
 *
 * dist_scan.c
 *	  Reading a foreign partition.
 *
 * A scan that expects few rows asks for them with one plain SELECT, limited to
 * a bit more than the planner expects: one turn, and no transaction on the
 * worker unless the isolation level wants one.  If the limit is reached,
 * nothing has been returned yet, and the scan starts over with a cursor.
 * Other scans read a cursor, in batches that grow to BATCH_BYTES.
 *
 * A request may be on its way while the executor does something else:
 *
 *	send_request	sends what the scan needs next
 *	receive			waits for the answer and puts it aside ("ahead")
 *	next_batch		takes it as the batch to read rows from
 *
 * If all rows are wanted, the next batch is asked for while this one is read.
 * If the leaves of a table will all be asked (again all rows are wanted, or
 * they are merged in an order), the first one that is read starts others, one
 * for each worker at a time, so that workers search and sort at the same time.
 * Whoever needs the connection meanwhile makes us receive first (callback).
 *
 * A scan that locks rows does none of this, and begins with batches of one
 * row, so that a LIMIT above it does not lock many others.
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

#define FIRST_BATCH_BYTES	(64 * 1024)
#define FIRST_BATCH_ROWS	100
#define MAX_BATCH_ROWS		10000
#define MAX_LOCKING_ROWS	100
#define BATCH_BYTES			(256 * 1024)

/* What was sent to the worker last. */
typedef enum RequestKind
{
	REQUEST_ALL,				/* the plain SELECT */
	REQUEST_OPEN,				/* open the cursor; and fetch, unless there
								 * are parameters */
	REQUEST_FETCH				/* the next batch */
} RequestKind;

typedef enum CursorState
{
	CURSOR_CLOSED,
	CURSOR_OPEN,				/* or being opened */
	CURSOR_LOST					/* rolled back with its subtransaction */
} CursorState;

/* Rows from one answer. */
typedef struct Batch
{
	PGresult   *result;			/* in 'context'; NULL: there is none */
	int			nrows;
	bool		is_last;		/* no rows come after these */
	MemoryContext context;
} Batch;

/* State of one scan, in the query's memory context. */
typedef struct RemoteScan
{
	EState	   *estate;
	DistPartition *partition;
	Oid			userid;			/* whose user mapping is used */
	char	   *sql;
	int			fetch_all;		/* see DIST_SCAN_FETCH_ALL */
	int			flags;			/* see DIST_SCAN_FLAGS */
	Index		group;			/* range table index of the table whose leaves
								 * are started together; 0: not with others */
	int			first_rows;		/* size of the first batch */
	ExprContext *econtext;
	DistParamState *params;
	DistRowReader *reader;

	bool		started;		/* something was sent since the last rescan */
	DistConn   *conn;			/* valid once started */
	bool		in_flight;		/* an answer has to be received */
	RequestKind request;		/* what was sent last */
	SubTransactionId flight_subid;	/* the subtransaction that sent it */
	int			batch_rows;		/* rows asked for, or to ask for next */

	CursorState cursor;
	SubTransactionId cursor_subid;	/* the subtransaction that opened it */
	char		cursor_name[NAMEDATALEN];

	Batch		current;		/* rows that are being returned */
	int			next_row;		/* in it */
	Batch		ahead;			/* the answer after it */
	MemoryContext row_context;	/* reset for each row */

	dlist_node	link;			/* in scans */
	MemoryContextCallback unlink;	/* takes it out */
} RemoteScan;

/* All scans of this backend's running statements, in the order of plans. */
static dlist_head scans = DLIST_STATIC_INIT(scans);

/* Number in the name of the next cursor. */
static uint32 next_cursor_number = 1;

static void unlink_scan(void *arg);
static Batch make_batch(EState *estate);
static void clear_batch(Batch *batch);
static void next_batch(RemoteScan *scan);
static void start_others(RemoteScan *scan);
static void fetch_for_others(RemoteScan *scan);
static void start_next_leaf(RemoteScan *scan);
static bool may_start(RemoteScan *scan, RemoteScan *other);
static bool has_companions(RemoteScan *scan);
static bool worker_is_busy(RemoteScan *scan);
static void send_request(RemoteScan *scan);
static void send_select(RemoteScan *scan, const DistParams *params);
static void send_open(RemoteScan *scan, const DistParams *params);
static void send_fetch(RemoteScan *scan);
static void launch(RemoteScan *scan, const char *sql,
				   const DistParams *params, int flags);
static void receive_callback(DistConn *conn, void *arg);
static void receive(RemoteScan *scan);
static void accept_answer(RemoteScan *scan, PGresult *result);
static void set_batch_size(RemoteScan *scan);
static void stop(RemoteScan *scan);
static void check_cursor(RemoteScan *scan);
static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId mySubid,
							 SubTransactionId parentSubid, void *arg);

void
DistBeginForeignScan(ForeignScanState *node, int eflags)
{
	static bool registered = false;
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	EState	   *estate = node->ss.ps.state;
	int			width = Max(plan->scan.plan.plan_width, 1);
	RemoteScan *scan;

	/* Whoever only wants to see the plan needs no connection. */
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	if (!registered)
	{
		RegisterXactCallback(xact_callback, NULL);
		RegisterSubXactCallback(subxact_callback, NULL);
		registered = true;
	}

	scan = palloc0(sizeof(RemoteScan));
	node->fdw_state = scan;
	scan->estate = estate;
	scan->partition = DistGetPartition(RelationGetRelid(node->ss.ss_currentRelation));
	scan->userid = VecdistScanUser(plan, estate);
	scan->sql = strVal(list_nth(plan->fdw_private, DIST_SCAN_SQL));
	scan->fetch_all = intVal(list_nth(plan->fdw_private,
									  DIST_SCAN_FETCH_ALL));
	scan->flags = intVal(list_nth(plan->fdw_private, DIST_SCAN_FLAGS));
	scan->first_rows = Max(FIRST_BATCH_BYTES / width, 10);
	if ((scan->flags & DIST_SCAN_LOCKS_ROWS) != 0)
		scan->first_rows = 1;
	else if ((scan->flags & DIST_SCAN_ALL_ROWS) == 0)
		scan->first_rows = Min(scan->first_rows, FIRST_BATCH_ROWS);
	scan->econtext = node->ss.ps.ps_ExprContext;
	scan->params = DistMakeParams(plan->fdw_exprs, &node->ss.ps);
	scan->reader = DistMakeRowReader(RelationGetDescr(node->ss.ss_currentRelation),
									 list_nth(plan->fdw_private,
											  DIST_SCAN_ATTNUMS));
	scan->current = make_batch(estate);
	scan->ahead = make_batch(estate);
	scan->row_context = AllocSetContextCreate(estate->es_query_cxt,
											  "vecdist scan row",
											  ALLOCSET_DEFAULT_SIZES);

	/* With values that change during execution it is not ours to start. */
	if ((scan->flags & DIST_SCAN_TOGETHER) != 0 &&
		bms_is_empty(plan->scan.plan.extParam))
		scan->group = plan->scan.scanrelid -
			intVal(list_nth(plan->fdw_private, DIST_SCAN_PARENT));

	dlist_push_tail(&scans, &scan->link);
	scan->unlink.func = unlink_scan;
	scan->unlink.arg = scan;
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &scan->unlink);
}

/* Called as the query's memory goes away, after success and after errors. */
static void
unlink_scan(void *arg)
{
	dlist_delete(&((RemoteScan *) arg)->link);
}

static Batch
make_batch(EState *estate)
{
	Batch		batch = {0};

	batch.context = AllocSetContextCreate(estate->es_query_cxt,
										  "vecdist scan batch",
										  ALLOCSET_SMALL_SIZES);
	return batch;
}

static void
clear_batch(Batch *batch)
{
	MemoryContextReset(batch->context);
	batch->result = NULL;
	batch->nrows = 0;
	batch->is_last = false;
}

TupleTableSlot *
DistIterateForeignScan(ForeignScanState *node)
{
	RemoteScan *scan = (RemoteScan *) node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	MemoryContext oldcontext;

	ExecClearTuple(slot);
	while (scan->next_row >= scan->current.nrows)
	{
		if (scan->current.is_last)
			return slot;
		next_batch(scan);
	}

	MemoryContextReset(scan->row_context);
	oldcontext = MemoryContextSwitchTo(scan->row_context);
	DistReadRow(scan->reader, scan->current.result, scan->next_row++,
				slot->tts_values, slot->tts_isnull, &slot->tts_tid);
	MemoryContextSwitchTo(oldcontext);
	return ExecStoreVirtualTuple(slot);
}

void
DistReScanForeignScan(ForeignScanState *node)
{
	RemoteScan *scan = (RemoteScan *) node->fdw_state;

	scan->next_row = 0;

	/* All rows are at hand and still the right ones: read them again. */
	if (node->ss.ps.chgParam == NULL && scan->current.is_last &&
		scan->cursor == CURSOR_CLOSED)
		return;
	stop(scan);
}

void
DistEndForeignScan(ForeignScanState *node)
{
	if (node->fdw_state != NULL)
		stop((RemoteScan *) node->fdw_state);
}

void
DistExplainForeignScan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	Oid			relid = RelationGetRelid(node->ss.ss_currentRelation);

	String	   *remark = list_nth(plan->fdw_private, DIST_SCAN_REMARK);

	ExplainPropertyText("Worker", DistGetPartition(relid)->worker, es);
	if (remark != NULL)
		ExplainPropertyText("Top-K Scan Not Used", strVal(remark), es);
	if (es->verbose)
		ExplainPropertyText("Remote SQL",
							strVal(list_nth(plan->fdw_private, DIST_SCAN_SQL)),
							es);
}

/*
 * Make the next answer the current batch, and see to it that the workers have
 * something to do while it is read.
 */
static void
next_batch(RemoteScan *scan)
{
	Batch		read = scan->current;

	if (!scan->started)
	{
		DistFlushInserts();
		send_request(scan);
		start_others(scan);
	}
	while (scan->ahead.result == NULL)
	{
		if (!scan->in_flight)
		{
			send_request(scan);
			fetch_for_others(scan);
		}
		if (scan->in_flight)
			receive(scan);
	}

	scan->current = scan->ahead;
	scan->next_row = 0;
	scan->ahead = read;
	clear_batch(&scan->ahead);

	if (worker_is_busy(scan))
		return;
	if (!scan->current.is_last && (scan->flags & DIST_SCAN_ALL_ROWS) != 0)
		send_request(scan);
	else
		start_next_leaf(scan);
}

/* Start one leaf on each of the other workers. */
static void
start_others(RemoteScan *scan)
{
	dlist_iter	iter;

	if (scan->group == 0)
		return;
	dlist_foreach(iter, &scans)
	{
		RemoteScan *other = dlist_container(RemoteScan, link, iter.cur);

		if (may_start(scan, other))
			send_request(other);
	}
}

/*
 * Let others that were started together with this scan fetch from the cursors
 * they have opened.  The answers to DECLARE are there, or about to be.
 */
static void
fetch_for_others(RemoteScan *scan)
{
	dlist_iter	iter;

	if (scan->group == 0)
		return;
	dlist_foreach(iter, &scans)
	{
		RemoteScan *other = dlist_container(RemoteScan, link, iter.cur);

		if (other != scan && other->estate == scan->estate &&
			other->group == scan->group &&
			other->in_flight && other->request == REQUEST_OPEN)
		{
			receive(other);
			send_request(other);
		}
	}
}

/* Start the next leaf on the same worker, which has nothing to do. */
static void
start_next_leaf(RemoteScan *scan)
{
	dlist_iter	iter;

	if (scan->group == 0)
		return;
	dlist_foreach(iter, &scans)
	{
		RemoteScan *other = dlist_container(RemoteScan, link, iter.cur);

		if (other->partition->serverid == scan->partition->serverid &&
			may_start(scan, other))
		{
			send_request(other);
			return;
		}
	}
}

/* Is 'other' a leaf of the same table that may be started now? */
static bool
may_start(RemoteScan *scan, RemoteScan *other)
{
	return other->estate == scan->estate && other->group == scan->group &&
		!other->started && !worker_is_busy(other);
}

/* Are there other leaves to be read at the same time? */
static bool
has_companions(RemoteScan *scan)
{
	dlist_iter	iter;

	if (scan->group == 0)
		return false;
	dlist_foreach(iter, &scans)
	{
		RemoteScan *other = dlist_container(RemoteScan, link, iter.cur);

		if (other != scan && other->estate == scan->estate &&
			other->group == scan->group)
			return true;
	}
	return false;
}

/* Is an answer for one of our scans on its way from this worker? */
static bool
worker_is_busy(RemoteScan *scan)
{
	dlist_iter	iter;

	dlist_foreach(iter, &scans)
	{
		RemoteScan *other = dlist_container(RemoteScan, link, iter.cur);

		if (other->in_flight &&
			other->partition->serverid == scan->partition->serverid &&
			other->userid == scan->userid)
			return true;
	}
	return false;
}

/*
 * Send what the scan needs next.  Afterwards it is in flight, or its answer is
 * there already.
 */
static void
send_request(RemoteScan *scan)
{
	const DistParams *params;

	Assert(!scan->in_flight && scan->ahead.result == NULL);
	if (scan->started && scan->cursor != CURSOR_CLOSED)
	{
		send_fetch(scan);
		return;
	}

	params = DistEvalParams(scan->params, scan->econtext);
	if (!scan->started)
		scan->conn = DistConnGet(scan->partition->serverid, scan->userid,
								 DIST_TARGET_PRIMARY);
	scan->started = true;
	if (scan->fetch_all > 0)
		send_select(scan, params);
	else
		send_open(scan, params);
}

/* Ask for all rows at once, and one more to see that there are not too many. */
static void
send_select(RemoteScan *scan, const DistParams *params)
{
	char	   *sql = psprintf("%s LIMIT %d", scan->sql, scan->fetch_all + 1);
	int			flags = 0;

	if (IsolationUsesXactSnapshot())
		flags |= DIST_REQ_XACT;
	if (DistRowReaderIsBinary(scan->reader))
		flags |= DIST_REQ_BINARY;

	/* A text with literals in it is not likely to come again. */
	if (params != NULL)
		flags |= DIST_REQ_PREPARED;

	scan->request = REQUEST_ALL;
	if (has_companions(scan))
		launch(scan, sql, params, flags);
	else
	{
		/* Nothing else to do: DistExec() can try again if need be. */
		MemoryContext oldcontext = MemoryContextSwitchTo(scan->ahead.context);
		PGresult   *result = DistExec(scan->conn, sql, params, flags);

		MemoryContextSwitchTo(oldcontext);
		accept_answer(scan, result);
	}
	pfree(sql);
}

/*
 * Open the cursor.  A binary cursor gives binary rows in the simple protocol
 * too, which takes the first FETCH along in the same turn.
 */
static void
send_open(RemoteScan *scan, const DistParams *params)
{
	StringInfoData sql;

	snprintf(scan->cursor_name, NAMEDATALEN, "vecdist_%u",
			 next_cursor_number++);
	scan->cursor = CURSOR_OPEN;
	scan->cursor_subid = GetCurrentSubTransactionId();
	scan->batch_rows = scan->first_rows;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DECLARE %s %sNO SCROLL CURSOR FOR %s",
					 scan->cursor_name,
					 DistRowReaderIsBinary(scan->reader) ? "BINARY " : "",
					 scan->sql);
	if (params == NULL)
		appendStringInfo(&sql, "; FETCH %d FROM %s", scan->batch_rows,
						 scan->cursor_name);
	scan->request = params == NULL ? REQUEST_FETCH : REQUEST_OPEN;
	launch(scan, sql.data, params, DIST_REQ_XACT);
	pfree(sql.data);
}

static void
send_fetch(RemoteScan *scan)
{
	char		sql[NAMEDATALEN + 64];

	check_cursor(scan);
	snprintf(sql, sizeof(sql), "FETCH %d FROM %s", scan->batch_rows,
			 scan->cursor_name);
	scan->request = REQUEST_FETCH;
	launch(scan, sql, NULL, DIST_REQ_XACT);
}

/* Send a statement, whose answer is received later. */
static void
launch(RemoteScan *scan, const char *sql, const DistParams *params, int flags)
{
	DistConnStart(scan->conn, sql, params, flags);
	DistConnSetFinish(scan->conn, receive_callback, scan);
	scan->in_flight = true;
	scan->flight_subid = GetCurrentSubTransactionId();
}

/* Somebody needs the connection. */
static void
receive_callback(DistConn *conn, void *arg)
{
	receive((RemoteScan *) arg);
}

/* Wait for the answer. */
static void
receive(RemoteScan *scan)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(scan->ahead.context);
	PGresult   *last = NULL;
	PGresult   *result;

	/* An error ends the flight as well. */
	scan->in_flight = false;
	DistConnSetFinish(scan->conn, NULL, NULL);
	while ((result = DistConnResult(scan->conn, -1)) != NULL)
		last = result;
	MemoryContextSwitchTo(oldcontext);
	accept_answer(scan, last);
}

/* Put the rows of an answer aside, if it has any. */
static void
accept_answer(RemoteScan *scan, PGresult *result)
{
	Batch	   *ahead = &scan->ahead;

	ahead->result = result;
	ahead->nrows = PQntuples(result);
	switch (scan->request)
	{
		case REQUEST_ALL:
			ahead->is_last = true;
			if (ahead->nrows > scan->fetch_all)
			{
				/* Too many: use cursors from now on. */
				scan->fetch_all = 0;
				clear_batch(ahead);
			}
			break;
		case REQUEST_OPEN:
			clear_batch(ahead);
			break;
		case REQUEST_FETCH:
			ahead->is_last = ahead->nrows < scan->batch_rows;
			if (!ahead->is_last)
				set_batch_size(scan);
			break;
	}
}

/* Learn from the answer how many rows to ask for next. */
static void
set_batch_size(RemoteScan *scan)
{
	double		row_bytes;
	double		rows;

	if ((scan->flags & DIST_SCAN_LOCKS_ROWS) != 0)
	{
		scan->batch_rows = Min(scan->batch_rows * 2, MAX_LOCKING_ROWS);
		return;
	}
	row_bytes = (double) PQresultMemorySize(scan->ahead.result) /
		scan->ahead.nrows;
	rows = Min(BATCH_BYTES / row_bytes, MAX_BATCH_ROWS);
	rows = Min(rows, scan->batch_rows * 8.0);
	scan->batch_rows = (int) Max(rows, 1.0);
}

/* Forget all rows and close the cursor: the scan is as before its start. */
static void
stop(RemoteScan *scan)
{
	if (scan->in_flight)
		receive(scan);
	clear_batch(&scan->current);
	clear_batch(&scan->ahead);
	if (scan->cursor == CURSOR_OPEN)
	{
		char		sql[NAMEDATALEN + 64];
		MemoryContext oldcontext = MemoryContextSwitchTo(scan->ahead.context);

		scan->cursor = CURSOR_CLOSED;
		snprintf(sql, sizeof(sql), "CLOSE %s", scan->cursor_name);
		(void) DistExec(scan->conn, sql, NULL, DIST_REQ_XACT);
		MemoryContextSwitchTo(oldcontext);
		clear_batch(&scan->ahead);
	}
	scan->cursor = CURSOR_CLOSED;
	scan->started = false;
	scan->next_row = 0;
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
	dlist_iter	iter;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	dlist_foreach(iter, &scans)
	{
		RemoteScan *scan = dlist_container(RemoteScan, link, iter.cur);

		scan->in_flight = false;
		scan->cursor = CURSOR_CLOSED;
	}
}

/*
 * What a subtransaction opened and sent is its parent's when it commits, and
 * lost when it aborts: the abort has taken answers from the connection.
 */
static void
subxact_callback(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	dlist_iter	iter;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;

	dlist_foreach(iter, &scans)
	{
		RemoteScan *scan = dlist_container(RemoteScan, link, iter.cur);
		bool		opened_it = scan->cursor == CURSOR_OPEN &&
		scan->cursor_subid == mySubid;
		bool		sent_it = scan->in_flight && scan->flight_subid == mySubid;

		if (event == SUBXACT_EVENT_COMMIT_SUB)
		{
			if (opened_it)
				scan->cursor_subid = parentSubid;
			if (sent_it)
				scan->flight_subid = parentSubid;
			continue;
		}
		if (opened_it)
			scan->cursor = CURSOR_LOST;
		if (sent_it)
		{
			scan->in_flight = false;
			if (scan->request == REQUEST_ALL)
				scan->started = false;
			else
				scan->cursor = CURSOR_LOST; /* where it stands is unknown */
		}
	}
}
