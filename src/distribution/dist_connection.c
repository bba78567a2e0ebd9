/*-------------------------------------------------------------------------
 *
 * dist_connection.c
 *	  Connections to worker servers: the public functions.
 *
 * Connections live in a backend-local table and outlast transactions.  This
 * file drives the state machines of dist_connect and dist_exchange, after
 * dist_open has made sure that there is something to drive: it waits
 * for them, serves interrupts, and turns what happened into errors.  An error
 * leaves other exchanges under way; the abort of the (sub)transaction that
 * follows brings them to rest (dist_transaction).  So there is one place that
 * cleans up, whatever raised the error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_foreign_server.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "distribution/dist_config.h"
#include "distribution/dist_connection.h"
#include "distribution/dist_connection_private.h"
#include "distribution/dist_transaction.h"

/* A request may pass through this many servers. */
#define MAX_HOPS 2

/* Longest remote command shown in a context line, in bytes. */
#define MAX_SQL_IN_CONTEXT 500

/* COPY bytes that may be unsent before the caller has to wait. */
#define COPY_FLUSH_BYTES (64 * 1024)
#define COPY_WAIT_BYTES (1024 * 1024)

/* A PGresult that is freed with a memory context. */
typedef struct ResultOwner
{
	MemoryContextCallback callback;
	PGresult   *result;
} ResultOwner;

/* Progress of one request of DistExecute. */
typedef struct Task
{
	DistRequest *request;
	bool		sent;
	bool		may_repeat;		/* nothing is lost if it is sent once more */
	bool		done;
	TimestampTz deadline;		/* for the next sign of life, once sent */
} Task;

slist_head	DistConns = SLIST_STATIC_INIT(DistConns);
bool		DistConnTouched = false;

static void initialize(void);
static void options_changed(Datum arg, int cacheid, uint32 hashvalue);
static void close_all(int code, Datum arg);
static DistConn *find_connection(Oid serverid, Oid userid, DistTarget target);
static DistConn *make_connection(Oid serverid, Oid userid, DistTarget target);
static void wait_until_open(DistConn *conn);
static void advance_task(Task *task, int timeout_ms, int exec_flags);
static void task_silent(Task *task, int timeout_ms, int exec_flags);
static void task_failed(Task *task, PGresult *result, int exec_flags);
static DistAdvance take_result(DistConn *conn, PGresult **result);
static void free_result(void *arg);
static bool is_error(const PGresult *result);
static bool wait_for_one(DistConn *conn, TimestampTz deadline);
static void await_copy_in(DistConn *conn);
static void await_copy_room(DistConn *conn);
static void copy_failed(DistConn *conn) pg_attribute_noreturn();
static int	context_line(DistConn *conn, const char *sql);

/* ----------------------------------------------------------------
 * The table of connections
 * ----------------------------------------------------------------
 */

static void
initialize(void)
{
	static bool initialized = false;

	if (initialized)
		return;
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, options_changed, 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, options_changed, 0);
	CacheRegisterSyscacheCallback(AUTHOID, options_changed, 0);
	on_shmem_exit(close_all, 0);
	DistTransactionInit();
	initialized = true;
}

/*
 * Something that options come from has changed.
 *
 * If it is the server or the user mapping of a connection, which may have been
 * dropped, the connection is closed with the transaction.  Whatever it is,
 * options are read again and compared before the next use: a mapping may have
 * been added, a role may be superuser no longer.
 */
static void
options_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		conn->recheck_options = true;
		if (hashvalue == 0 ||
			(cacheid == FOREIGNSERVEROID && hashvalue == conn->server_hash) ||
			(cacheid == USERMAPPINGOID && hashvalue == conn->mapping_hash))
		{
			conn->retire = true;
			DistConnTouched = true;
		}
	}
}

/*
 * Say goodbye to the workers, after the transaction was aborted and while there
 * is shared memory.  Sockets do not block, so neither does this.
 */
static void
close_all(int code, Datum arg)
{
	slist_iter	iter;

	DistSlotEndWait();
	slist_foreach(iter, &DistConns)
	{
		DistConnClose(slist_container(DistConn, link, iter.cur));
	}
}

/* The connection, or NULL.  There are too few for anything but a list. */
static DistConn *
find_connection(Oid serverid, Oid userid, DistTarget target)
{
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (conn->serverid == serverid && conn->userid == userid &&
			conn->target == target)
			return conn;
	}
	return NULL;
}

static DistConn *
make_connection(Oid serverid, Oid userid, DistTarget target)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	DistConn   *conn = palloc0(sizeof(DistConn));

	conn->serverid = serverid;
	conn->userid = userid;
	conn->target = target;
	conn->state = DIST_CONN_CLOSED;
	conn->host = -1;
	conn->prepared_now = -1;
	conn->slot = DIST_SLOT_NONE;
	initStringInfo(&conn->steps);
	initStringInfo(&conn->exchange_sql);
	initStringInfo(&conn->send_buffer);
	slist_push_head(&DistConns, &conn->link);
	MemoryContextSwitchTo(old);
	return conn;
}

DistConn *
DistConnGet(Oid serverid, Oid userid, DistTarget target)
{
	DistConn   *conn = NULL;

	/* The leader of a parallel query may: it alone has the transaction. */
	if (IsParallelWorker())
		elog(ERROR, "connections to workers cannot be used in parallel workers");
	if (DistHop >= MAX_HOPS)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("request would be forwarded a second time"),
				errdetail("A server asked this one for a partition that it does not hold either."),
				errhint("Compare the foreign tables of the partition on all servers."));
	initialize();

	if (target == DIST_TARGET_ANY)
	{
		conn = find_connection(serverid, userid, DIST_TARGET_PRIMARY);
		if (conn != NULL && conn->depth == 0)
			conn = NULL;
		if (IsolationUsesXactSnapshot())
			target = DIST_TARGET_PRIMARY;
	}
	if (conn == NULL)
		conn = find_connection(serverid, userid, target);
	if (conn == NULL)
		conn = make_connection(serverid, userid, target);

	/* One that is ready is looked at when it is used. */
	if (conn->state != DIST_CONN_IDLE)
		DistConnEnsureOpen(conn);
	return conn;
}

/* End the operation that somebody has left open on a connection, if any. */
void
DistConnFinishOperation(DistConn *conn)
{
	DistFinishCallback finish = conn->finish;

	/* Forgotten first, so that the callback may use the connection. */
	conn->finish = NULL;
	if (conn->state != DIST_CONN_BUSY)
		return;
	if (finish != NULL)
		finish(conn, conn->finish_arg);
	if (conn->state == DIST_CONN_BUSY)
		elog(ERROR, "connection to worker \"%s\" is in use", conn->worker);
	if (conn->state == DIST_CONN_BROKEN)
		DistConnRaiseFailure(conn, NULL);
}

void
DistConnRetire(DistConn *conn)
{
	conn->retire = true;
}

void
DistConnSetFinish(DistConn *conn, DistFinishCallback callback, void *arg)
{
	conn->finish = callback;
	conn->finish_arg = arg;
	conn->finish_level = GetCurrentTransactionNestLevel();
}

/* Wait for one connection; false if it made no progress. */
static bool
wait_for_one(DistConn *conn, TimestampTz deadline)
{
	bool		ready;

	(void) DistConnWait(&conn, 1, deadline, &ready);
	return ready;
}

/* Wait until a connection is IDLE, or raise why it cannot be opened. */
static void
wait_until_open(DistConn *conn)
{
	DistRequest request = {.conn = conn};

	DistConnOpenAll(&request, 1);
	while (conn->state == DIST_CONN_CONNECTING)
		(void) wait_for_one(conn, DT_NOEND);
	if (conn->state != DIST_CONN_IDLE)
		DistConnRaiseFailure(conn, NULL);
}

/* ----------------------------------------------------------------
 * Whole statements
 * ----------------------------------------------------------------
 */

void
DistExecute(DistRequest *requests, int nrequests, int timeout_ms,
			int exec_flags)
{
	DistExecuteMeanwhile(requests, nrequests, timeout_ms, exec_flags,
						 NULL, NULL);
}

void
DistExecuteMeanwhile(DistRequest *requests, int nrequests, int timeout_ms,
					 int exec_flags, void (*meanwhile) (void *arg), void *arg)
{
	Task	   *tasks = palloc0(nrequests * sizeof(Task));
	DistConn  **waiting = palloc(nrequests * sizeof(DistConn *));
	Task	  **waiting_tasks = palloc(nrequests * sizeof(Task *));
	bool	   *ready = palloc(nrequests * sizeof(bool));

	for (int i = 0; i < nrequests; i++)
	{
		requests[i].result = NULL;
		requests[i].error = NULL;
		for (int j = 0; j < i; j++)
			Assert(requests[j].conn != requests[i].conn);
		tasks[i].request = &requests[i];
	}
	DistConnOpenAll(requests, nrequests);

	for (;;)
	{
		int			nwaiting = 0;
		bool		all_sent = true;
		TimestampTz deadline = DT_NOEND;

		for (int i = 0; i < nrequests; i++)
		{
			if (!tasks[i].done)
				advance_task(&tasks[i], timeout_ms, exec_flags);
			if (tasks[i].done)
				continue;
			if (tasks[i].sent)
				deadline = Min(deadline, tasks[i].deadline);
			else
				all_sent = false;
			waiting_tasks[nwaiting] = &tasks[i];
			waiting[nwaiting++] = requests[i].conn;
		}
		if (all_sent && meanwhile != NULL)
		{
			meanwhile(arg);
			meanwhile = NULL;
		}
		if (nwaiting == 0)
			break;

		if (all_sent && (exec_flags & DIST_EXEC_SHORT) != 0)
			(void) DistConnWaitLast(waiting, nwaiting, deadline, ready);
		else
			(void) DistConnWait(waiting, nwaiting, deadline, ready);
		for (int i = 0; i < nwaiting; i++)
		{
			if (!waiting_tasks[i]->sent || timeout_ms < 0)
				continue;
			if (ready[i])
				waiting_tasks[i]->deadline =
					TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
			else if (GetCurrentTimestamp() >= waiting_tasks[i]->deadline)
				task_silent(waiting_tasks[i], timeout_ms, exec_flags);
		}
	}

	pfree(ready);
	pfree(waiting_tasks);
	pfree(waiting);
	pfree(tasks);
}

PGresult *
DistExec(DistConn *conn, const char *sql, const DistParams *params, int flags)
{
	DistRequest request = {0};

	request.conn = conn;
	request.sql = sql;
	request.params = params;
	request.flags = flags;
	DistExecute(&request, 1, -1, 0);
	return request.result;
}

/* Take a request as far as it goes without waiting. */
static void
advance_task(Task *task, int timeout_ms, int exec_flags)
{
	DistRequest *request = task->request;
	DistConn   *conn = request->conn;
	PGresult   *result;

	for (;;)
	{
		switch (conn->state)
		{
			case DIST_CONN_CONNECTING:
				return;

			case DIST_CONN_IDLE:
				Assert(!task->sent);
				task->sent = true;
				task->may_repeat = conn->used && conn->depth == 0 &&
					(request->flags & DIST_REQ_ONCE) == 0;
				conn->used = true;
				task->deadline = timeout_ms < 0 ? DT_NOEND :
					TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
				DistExchangeStart(conn, request->sql, request->params,
								  request->flags);
				break;

			case DIST_CONN_BUSY:
				switch (take_result(conn, &result))
				{
					case DIST_ADVANCE_WAIT:
						return;
					case DIST_ADVANCE_RESULT:
						if (is_error(request->result))
							break;	/* the first error counts */
						request->result = result;
						if (PQresultStatus(result) == PGRES_COPY_IN ||
							PQresultStatus(result) == PGRES_COPY_OUT)
							ereport(ERROR,
									errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
									errmsg("COPY to or from the client is not possible on a worker"));
						break;
					case DIST_ADVANCE_DONE:
						task->done = true;
						if (is_error(request->result))
							task_failed(task, request->result, exec_flags);
						return;
					case DIST_ADVANCE_LOST:
						break;
				}
				break;

			case DIST_CONN_CLOSED:
				if (task->sent && task->may_repeat && DistConnMayReopen(conn))
				{
					task->sent = false;
					request->result = NULL;
					conn->hosts[conn->host].failed = false;
					DistConnectStart(conn);
					break;
				}
				/* FALLTHROUGH */
			case DIST_CONN_BROKEN:
				task->done = true;
				task_failed(task, NULL, exec_flags);
				return;
		}
	}
}

/* The worker has been silent for too long. */
static void
task_silent(Task *task, int timeout_ms, int exec_flags)
{
	DistConn   *conn = task->request->conn;
	char		reason[80];

	if (conn->state != DIST_CONN_BUSY)
		return;
	snprintf(reason, sizeof(reason), "no answer within %d ms", timeout_ms);
	DistConnLost(conn, reason);
	task->done = true;
	task_failed(task, NULL, exec_flags);
}

/*
 * Raise or store why a request failed: the error in 'result', or with NULL
 * that of the connection.
 */
static void
task_failed(Task *task, PGresult *result, int exec_flags)
{
	DistRequest *request = task->request;
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		if (result != NULL)
			DistConnReportError(request->conn, result, request->sql);
		else
			DistConnRaiseFailure(request->conn, request->sql);
	}
	PG_CATCH();
	{
		if ((exec_flags & DIST_EXEC_KEEP_GOING) == 0)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		request->error = CopyErrorData();
		request->result = NULL;
		FlushErrorState();
	}
	PG_END_TRY();
}

/*
 * DistExchangeAdvance, with the result owned by the current memory context.
 */
static DistAdvance
take_result(DistConn *conn, PGresult **result)
{
	ResultOwner *owner = palloc(sizeof(ResultOwner));
	DistAdvance advance;

	owner->callback.func = free_result;
	owner->callback.arg = owner;
	advance = DistExchangeAdvance(conn, &owner->result);
	if (advance != DIST_ADVANCE_RESULT)
	{
		pfree(owner);
		return advance;
	}
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &owner->callback);
	*result = owner->result;
	return advance;
}

static void
free_result(void *arg)
{
	PQclear(((ResultOwner *) arg)->result);
}

static bool
is_error(const PGresult *result)
{
	if (result == NULL)
		return false;
	switch (PQresultStatus(result))
	{
		case PGRES_FATAL_ERROR:
		case PGRES_BAD_RESPONSE:
		case PGRES_NONFATAL_ERROR:
			return true;
		default:
			return false;
	}
}

/* ----------------------------------------------------------------
 * Streams
 * ----------------------------------------------------------------
 */

void
DistConnStart(DistConn *conn, const char *sql, const DistParams *params,
			  int flags)
{
	wait_until_open(conn);
	conn->used = true;
	DistExchangeStart(conn, sql, params, flags);
	if (conn->state != DIST_CONN_BUSY)
		DistConnRaiseFailure(conn, sql);
}

PGresult *
DistConnResult(DistConn *conn, int timeout_ms)
{
	TimestampTz deadline = DT_NOEND;
	PGresult   *result;

	if (conn->state == DIST_CONN_IDLE)
		return NULL;
	if (timeout_ms >= 0)
		deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	while (conn->state == DIST_CONN_BUSY)
	{
		switch (take_result(conn, &result))
		{
			case DIST_ADVANCE_RESULT:
				if (is_error(result))
					DistConnReportError(conn, result, conn->sql);
				return result;
			case DIST_ADVANCE_DONE:
				return NULL;
			case DIST_ADVANCE_LOST:
				break;
			case DIST_ADVANCE_WAIT:
				if (!wait_for_one(conn, deadline) &&
					GetCurrentTimestamp() >= deadline)
					DistConnLost(conn, "no answer in time");
				else if (timeout_ms >= 0)
					deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														   timeout_ms);
				break;
		}
	}
	DistConnRaiseFailure(conn, conn->sql);
}

void
DistConnPutCopyData(DistConn *conn, const char *data, int len)
{
	if (!conn->copy_in)
		await_copy_in(conn);
	if (PQputCopyData(conn->pg, data, len) <= 0)
		copy_failed(conn);

	conn->flushed = false;
	conn->copy_unflushed += len;
	if (conn->copy_unflushed >= COPY_FLUSH_BYTES)
	{
		/* Lets libpq see an error that the worker has sent. */
		(void) PQconsumeInput(conn->pg);
		DistExchangeFlush(conn);
	}
	if (conn->copy_unflushed >= COPY_WAIT_BYTES)
		await_copy_room(conn);
}

void
DistConnPutCopyEnd(DistConn *conn)
{
	if (!conn->copy_in)
		await_copy_in(conn);
	if (PQputCopyEnd(conn->pg, NULL) <= 0)
		copy_failed(conn);
	conn->copy_in = false;
	DistExchangeFlush(conn);
}

/* Wait until the worker takes the data of the COPY that was started. */
static void
await_copy_in(DistConn *conn)
{
	PGresult   *result = DistConnResult(conn, -1);

	if (result == NULL || PQresultStatus(result) != PGRES_COPY_IN)
		elog(ERROR, "statement on worker \"%s\" is not a COPY FROM STDIN",
			 conn->worker);
}

/*
 * Wait until everything handed over for this COPY is sent.  Other streams go
 * on meanwhile, or they would run dry while one worker is slow.
 */
static void
await_copy_room(DistConn *conn)
{
	int			nconns = 0;
	DistConn  **waiting;
	bool	   *ready;
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
		nconns++;
	waiting = palloc(nconns * sizeof(DistConn *));
	ready = palloc(nconns * sizeof(bool));

	while (!conn->flushed)
	{
		int			n = 0;

		if (PQsocket(conn->pg) < 0)
			copy_failed(conn);
		slist_foreach(iter, &DistConns)
		{
			DistConn   *other = slist_container(DistConn, link, iter.cur);

			if (other->state == DIST_CONN_BUSY && other->copy_in &&
				!other->flushed && PQsocket(other->pg) >= 0)
				waiting[n++] = other;
		}
		(void) DistConnWait(waiting, n, DT_NOEND, ready);
	}
	pfree(ready);
	pfree(waiting);
}

/* libpq refused to send COPY data: raise the worker's reason. */
static void
copy_failed(DistConn *conn)
{
	(void) DistConnResult(conn, -1);
	elog(ERROR, "COPY on worker \"%s\" ended early", conn->worker);
}

/* ----------------------------------------------------------------
 * Errors
 * ----------------------------------------------------------------
 */

/* Raise why a connection is CLOSED or BROKEN. */
void
DistConnRaiseFailure(DistConn *conn, const char *sql)
{
	if (conn->failure_code == ERRCODE_CONNECTION_FAILURE)
		ereport(ERROR,
				errcode(ERRCODE_CONNECTION_FAILURE),
				errmsg("connection to worker \"%s\" was lost", conn->worker),
				errdetail_internal("%s", conn->failure),
				conn->state == DIST_CONN_BROKEN ?
				errhint("Roll the transaction back: what it did on the worker is gone.") : 0,
				context_line(conn, sql));
	if (conn->failure_code == ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED)
		ereport(ERROR,
				errcode(conn->failure_code),
				errmsg("password is required"),
				errdetail_internal("%s", conn->failure),
				errhint("Worker \"%s\" must authenticate this role by password, or a superuser must set password_required to false.",
						conn->worker));
	ereport(ERROR,
			errcode(conn->failure_code),
			errmsg("could not connect to worker \"%s\"", conn->worker),
			errdetail_internal("%s%s", conn->failure, DistConnNextAttempt(conn)),
			errhint("Check that a server of the group is running%s, and the options of foreign server \"%s\".",
					conn->target == DIST_TARGET_PRIMARY ? " as primary" : "",
					conn->worker));
}

void
DistConnReportError(DistConn *conn, PGresult *result, const char *sql)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);
	int			code = ERRCODE_CONNECTION_FAILURE;

	if (state != NULL && strlen(state) == 5)
		code = MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
	if (message == NULL)
		message = pchomp(PQresultErrorMessage(result));

	ereport(ERROR,
			errcode(code),
			errmsg_internal("%s", message),
			detail ? errdetail_internal("%s", detail) : 0,
			hint ? errhint("%s", hint) : 0,
			context ? errcontext("%s", context) : 0,
			context_line(conn, sql));
}

/* Add to the error under construction what was sent where. */
static int
context_line(DistConn *conn, const char *sql)
{
	if (sql == NULL)
		return 0;
	return errcontext("remote command on worker \"%s\" (%s): %.*s%s",
					  conn->worker, DistConnHost(conn), MAX_SQL_IN_CONTEXT, sql,
					  strlen(sql) > MAX_SQL_IN_CONTEXT ? "..." : "");
}

/* ----------------------------------------------------------------
 * Facts
 * ----------------------------------------------------------------
 */

const char *
DistConnWorker(DistConn *conn)
{
	return conn->worker;
}

const char *
DistConnHost(DistConn *conn)
{
	if (conn->host < 0)
		return "no server";
	snprintf(conn->host_name, sizeof(conn->host_name), "%s:%s",
			 conn->hosts[conn->host].host, conn->hosts[conn->host].port);
	return conn->host_name;
}

bool
DistConnIsStandby(DistConn *conn)
{
	const char *standby = conn->pg ?
	PQparameterStatus(conn->pg, "in_hot_standby") : NULL;

	return standby != NULL && strcmp(standby, "on") == 0;
}

bool
DistConnInXact(DistConn *conn)
{
	return conn->depth > 0;
}

Oid
DistConnServer(DistConn *conn)
{
	return conn->serverid;
}

Oid
DistConnUser(DistConn *conn)
{
	return conn->userid;
}
