/*-------------------------------------------------------------------------
 *
 * dist_exchange.c
 *	  One exchange: a statement with what must go before it, and its results.
 *
 * What is sent is a list of commands, each with a letter in "steps":
 *
 *	R	RELEASE SAVEPOINT: savepoints whose local subtransaction committed
 *	B	START TRANSACTION
 *	S	SAVEPOINT, once for each level up to the local nesting depth
 *	D	DEALLOCATE ALL, when too many statements have been prepared
 *	P	prepare the statement
 *	M	the statement
 *
 * All travel together, so opening a transaction costs no turn: in the simple
 * protocol as one string, in the extended protocol as a libpq pipeline closed
 * by one Sync.  The simple protocol is used where it can be, because COPY is
 * impossible in a pipeline.
 *
 * The worker runs the commands in order and skips the rest after an error.
 * Bookkeeping (depth of savepoints, prepared statements) follows the results
 * as they are read, so it is right whatever happened; an exchange that was not
 * read to its end leaves the connection unusable.
 *
 * Nothing here waits or raises errors (but for lack of memory).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/memutils.h"

#include "distribution/dist_connection_private.h"

static void plan_steps(DistConn *conn, int flags);
static int	find_prepared(DistConn *conn, const char *sql);
static int	add_prepared(DistConn *conn, const char *sql);
static void step_text(DistConn *conn, int step, int *savepoint,
					  StringInfo buf);
static bool send_simple(DistConn *conn, const char *sql);
static bool send_pipeline(DistConn *conn, const char *sql,
						  const DistParams *params, int flags);
static bool send_main(DistConn *conn, const char *sql,
					  const DistParams *params, bool binary);
static void step_succeeded(DistConn *conn, char kind);
static bool result_is_good(const PGresult *result);
static bool prepared_is_void(const PGresult *result);
static bool worker_is_leaving(const PGresult *result);

/*
 * DistExchangeStart
 *		IDLE -> BUSY: send a statement.
 *
 * Everything is handed to libpq; what the socket does not take at once is
 * sent by DistExchangeFlush.  'sql' is copied.  The connection is CLOSED or
 * BROKEN afterwards if libpq refused.
 */
void
DistExchangeStart(DistConn *conn, const char *sql, const DistParams *params,
				  int flags)
{
	bool		simple = params == NULL &&
	(flags & (DIST_REQ_BINARY | DIST_REQ_PREPARED)) == 0;
	bool		sent;

	Assert(conn->state == DIST_CONN_IDLE);

	resetStringInfo(&conn->exchange_sql);
	appendStringInfoString(&conn->exchange_sql, sql);
	conn->sql = conn->exchange_sql.data;
	conn->exchange_level = GetCurrentTransactionNestLevel();
	conn->prepared_now = -1;
	conn->copy_in = conn->copy_out = false;
	conn->copy_unflushed = 0;
	conn->step = 0;
	conn->pipelined = !simple;
	if ((flags & DIST_REQ_PREPARED) != 0)
		conn->prepared_now = find_prepared(conn, sql);
	plan_steps(conn, flags);

	/* From here on the worker may have something to say. */
	conn->state = DIST_CONN_BUSY;
	conn->flushed = false;
	if ((flags & DIST_REQ_WRITE) != 0)
		conn->wrote = true;

	if (simple)
		sent = send_simple(conn, sql);
	else
		sent = send_pipeline(conn, sql, params, flags);
	if (sent)
		DistExchangeFlush(conn);
	else
		DistConnLost(conn, PQerrorMessage(conn->pg));
}

/*
 * Decide what goes before the statement.
 *
 * A connection with a remote transaction is brought to the local nesting
 * depth before every statement: an error must leave everything below the
 * local subtransaction usable.
 */
static void
plan_steps(DistConn *conn, int flags)
{
	int			level = GetCurrentTransactionNestLevel();
	bool		in_xact;

	resetStringInfo(&conn->steps);
	in_xact = conn->depth > 0 ||
		(flags & (DIST_REQ_XACT | DIST_REQ_WRITE)) != 0 ||
		(IsolationUsesXactSnapshot() && (flags & DIST_REQ_ONCE) == 0);
	if (in_xact && (flags & DIST_REQ_BARE) == 0)
	{
		if (conn->release)
			appendStringInfoChar(&conn->steps, 'R');
		if (conn->depth == 0)
			appendStringInfoChar(&conn->steps, 'B');
		for (int i = Max(conn->depth, 1); i < level; i++)
			appendStringInfoChar(&conn->steps, 'S');
	}
	if ((flags & DIST_REQ_PREPARED) != 0 && conn->prepared_now < 0)
	{
		if (conn->nprepared >= DIST_MAX_PREPARED)
			appendStringInfoChar(&conn->steps, 'D');
		appendStringInfoChar(&conn->steps, 'P');
	}
	appendStringInfoChar(&conn->steps, 'M');
}

/* Index of a usable prepared statement with this text, or -1. */
static int
find_prepared(DistConn *conn, const char *sql)
{
	uint32		hash = string_hash(sql, strlen(sql) + 1);

	for (int i = 0; i < conn->nprepared; i++)
		if (conn->prepared[i].hash == hash && conn->prepared[i].ready &&
			strcmp(conn->prepared[i].sql, sql) == 0)
			return i;
	return -1;
}

/* Reserve an entry for a statement that is about to be prepared. */
static int
add_prepared(DistConn *conn, const char *sql)
{
	DistPrepared *entry;

	if (conn->prepared_context == NULL)
		conn->prepared_context =
			AllocSetContextCreate(TopMemoryContext,
								  "vecdist prepared statements",
								  ALLOCSET_SMALL_SIZES);
	if (conn->prepared == NULL)
		conn->prepared = MemoryContextAlloc(conn->prepared_context,
											DIST_MAX_PREPARED * sizeof(DistPrepared));

	Assert(conn->nprepared < DIST_MAX_PREPARED);
	entry = &conn->prepared[conn->nprepared];
	entry->sql = MemoryContextStrdup(conn->prepared_context, sql);
	entry->hash = string_hash(sql, strlen(sql) + 1);
	entry->id = conn->prepared_next_id++;
	entry->ready = false;
	return conn->nprepared++;
}

/*
 * Append the text of a leading command.  *savepoint is the number of the next
 * savepoint to be set.
 */
static void
step_text(DistConn *conn, int step, int *savepoint, StringInfo buf)
{
	switch (conn->steps.data[step])
	{
		case 'R':
			appendStringInfo(buf, "RELEASE SAVEPOINT vecdist_%d",
							 conn->depth + 1);
			break;
		case 'B':
			appendStringInfo(buf, "START TRANSACTION ISOLATION LEVEL %s%s%s",
							 XactIsoLevel == XACT_SERIALIZABLE ? "SERIALIZABLE" :
							 XactIsoLevel == XACT_REPEATABLE_READ ? "REPEATABLE READ" :
							 "READ COMMITTED",
							 XactReadOnly ? " READ ONLY" : "",
							 XactDeferrable ? " DEFERRABLE" : "");
			break;
		case 'S':
			appendStringInfo(buf, "SAVEPOINT vecdist_%d", (*savepoint)++);
			break;
		case 'D':
			appendStringInfoString(buf, "DEALLOCATE ALL");
			break;
		default:
			elog(ERROR, "unexpected step in an exchange");
	}
}

/* Send all as one string in the simple protocol. */
static bool
send_simple(DistConn *conn, const char *sql)
{
	StringInfo	buf = &conn->send_buffer;
	int			savepoint = Max(conn->depth, 1) + 1;

	/* Short statements, the usual case, need no copy. */
	if (conn->steps.len == 1)
		return PQsendQuery(conn->pg, sql) != 0;

	resetStringInfo(buf);
	for (int i = 0; i < conn->steps.len - 1; i++)
	{
		step_text(conn, i, &savepoint, buf);
		appendStringInfoString(buf, "; ");
	}
	appendStringInfoString(buf, sql);
	return PQsendQuery(conn->pg, buf->data) != 0;
}

/* Send all as one pipeline in the extended protocol. */
static bool
send_pipeline(DistConn *conn, const char *sql, const DistParams *params,
			  int flags)
{
	StringInfo	buf = &conn->send_buffer;
	int			savepoint = Max(conn->depth, 1) + 1;
	char		name[32];

	if (!PQenterPipelineMode(conn->pg))
		return false;
	for (int i = 0; i < conn->steps.len - 1; i++)
	{
		bool		ok;

		if (conn->steps.data[i] == 'P')
		{
			if (conn->nprepared >= DIST_MAX_PREPARED)
			{
				/* DEALLOCATE ALL went before. */
				MemoryContextReset(conn->prepared_context);
				conn->prepared = NULL;
				conn->nprepared = 0;
			}
			conn->prepared_now = add_prepared(conn, sql);
			snprintf(name, sizeof(name), "vecdist_%d",
					 conn->prepared[conn->prepared_now].id);
			ok = PQsendPrepare(conn->pg, name, sql, 0, NULL);
		}
		else
		{
			resetStringInfo(buf);
			step_text(conn, i, &savepoint, buf);
			ok = PQsendQueryParams(conn->pg, buf->data, 0, NULL, NULL, NULL,
								   NULL, 0);
		}
		if (!ok)
			return false;
	}
	return send_main(conn, sql, params, (flags & DIST_REQ_BINARY) != 0) &&
		PQpipelineSync(conn->pg);
}

/* Send the statement itself. */
static bool
send_main(DistConn *conn, const char *sql, const DistParams *params,
		  bool binary)
{
	static const DistParams none = {0};
	char		name[32];

	if (params == NULL)
		params = &none;
	if (conn->prepared_now < 0)
		return PQsendQueryParams(conn->pg, sql, params->n, NULL,
								 params->values, params->lengths,
								 params->formats, binary);

	snprintf(name, sizeof(name), "vecdist_%d",
			 conn->prepared[conn->prepared_now].id);
	return PQsendQueryPrepared(conn->pg, name, params->n, params->values,
							   params->lengths, params->formats, binary);
}

/*
 * DistExchangeFlush
 *		BUSY: send what the socket takes now.
 *
 * A failure to send is not looked at: reading will find the reason.
 */
void
DistExchangeFlush(DistConn *conn)
{
	Assert(conn->state == DIST_CONN_BUSY);
	conn->flushed = PQflush(conn->pg) != 1;
	if (conn->flushed)
		conn->copy_unflushed = 0;
}

/*
 * DistExchangeAdvance
 *		BUSY: look at what has arrived, up to the next result or as far as
 *		possible without waiting.
 *
 * Results of leading commands are swallowed unless they are errors, which
 * count as the statement's.  A result is the caller's to clear.
 */
DistAdvance
DistExchangeAdvance(DistConn *conn, PGresult **result)
{
	Assert(conn->state == DIST_CONN_BUSY);

	for (;;)
	{
		PGresult   *res;
		ExecStatusType status;
		char		kind;

		if (PQisBusy(conn->pg))
			return DIST_ADVANCE_WAIT;
		res = PQgetResult(conn->pg);

		if (res == NULL)
		{
			if (PQstatus(conn->pg) == CONNECTION_BAD)
			{
				DistConnLost(conn, PQerrorMessage(conn->pg));
				return DIST_ADVANCE_LOST;
			}
			if (!conn->pipelined)
			{
				conn->state = DIST_CONN_IDLE;
				return DIST_ADVANCE_DONE;
			}

			/* In a pipeline NULL ends the results of one command. */
			conn->step++;
			continue;
		}

		status = PQresultStatus(res);
		if (status == PGRES_FATAL_ERROR &&
			(worker_is_leaving(res) || PQstatus(conn->pg) == CONNECTION_BAD))
		{
			const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

			DistConnLost(conn, message ? message : PQresultErrorMessage(res));
			PQclear(res);
			return DIST_ADVANCE_LOST;
		}
		if (status == PGRES_PIPELINE_SYNC)
		{
			PQclear(res);
			conn->state = DIST_CONN_IDLE;
			if (!PQexitPipelineMode(conn->pg))
			{
				DistConnLost(conn, PQerrorMessage(conn->pg));
				return DIST_ADVANCE_LOST;
			}
			return DIST_ADVANCE_DONE;
		}
		if (status == PGRES_PIPELINE_ABORTED)
		{
			/* A command that was skipped after an error. */
			PQclear(res);
			continue;
		}

		kind = conn->step < conn->steps.len ?
			conn->steps.data[conn->step] : 'M';
		if (kind != 'M' && result_is_good(res))
		{
			step_succeeded(conn, kind);
			if (!conn->pipelined)
				conn->step++;
			PQclear(res);
			continue;
		}

		if (conn->prepared_now >= 0 && prepared_is_void(res))
			conn->prepared[conn->prepared_now].ready = false;
		conn->copy_in = status == PGRES_COPY_IN;
		conn->copy_out = status == PGRES_COPY_OUT;
		*result = res;
		return DIST_ADVANCE_RESULT;
	}
}

/* Note what a leading command has done. */
static void
step_succeeded(DistConn *conn, char kind)
{
	switch (kind)
	{
		case 'R':
			conn->release = false;
			break;
		case 'B':
			Assert(conn->depth == 0);
			conn->depth = 1;
			conn->begin_level = conn->exchange_level;
			break;
		case 'S':

			/*
			 * If the local subtransaction has committed meanwhile, its
			 * savepoint is one to be released.
			 */
			if (conn->depth < conn->exchange_level)
				conn->depth++;
			else
				conn->release = true;
			break;
		case 'P':
			conn->prepared[conn->prepared_now].ready = true;
			break;
		default:
			break;
	}
}

static bool
result_is_good(const PGresult *result)
{
	switch (PQresultStatus(result))
	{
		case PGRES_COMMAND_OK:
		case PGRES_TUPLES_OK:
		case PGRES_EMPTY_QUERY:
		case PGRES_COPY_IN:
		case PGRES_COPY_OUT:
		case PGRES_SINGLE_TUPLE:
			return true;
		default:
			return false;
	}
}

/*
 * Must a prepared statement be prepared anew after this error?  It may be
 * gone (26000), or return other types than it was prepared for (0A000).
 */
static bool
prepared_is_void(const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return state != NULL &&
		(strcmp(state, "26000") == 0 || strcmp(state, "0A000") == 0);
}

/* Is this the last message of a session that the worker ends? */
static bool
worker_is_leaving(const PGresult *result)
{
	const char *severity = PQresultErrorField(result,
											  PG_DIAG_SEVERITY_NONLOCALIZED);

	return severity != NULL &&
		(strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}
