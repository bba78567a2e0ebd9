/*-------------------------------------------------------------------------
 *
 * dist_open.c
 *	  Make connections ready for a statement, or begin to open them.
 *
 * Options are read when the catalogs may have changed.  A connection that the
 * worker has closed is opened again.  To open one takes a slot (dist_limit),
 * and that nobody has tried in vain just now (dist_reconnect); what is missing
 * is waited for by DistConnOpenAll.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_foreign_server.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "distribution/dist_config.h"
#include "distribution/dist_connection_private.h"

static void start_connecting(DistConn *conn);
static void await_slot(DistConn *conn);
static void give_up_idle(DistConn *conn);
static void no_slot(DistConn *conn, int timeout_ms) pg_attribute_noreturn();
static void await_attempt(DistConn *conn);
static bool outcome_is_known(DistConn *conn, TimestampTz deadline);
static void take_over_failure(DistConn *conn);
static void check_options(DistConn *conn);
static void adopt_options(DistConn *conn, DistConnOptions *options,
						  MemoryContext context);
static uint64 hash_of_options(const DistConnOptions *options);

/*
 * Make a connection ready for a new statement, or at least CONNECTING.
 *
 * Afterwards it is IDLE, CONNECTING, or CLOSED: without a slot, because there
 * is none that could be had without waiting; "deferred", because the next
 * attempt is not due; otherwise because no host could even be started, which is
 * reported when it is used.
 */
void
DistConnEnsureOpen(DistConn *conn)
{
	/* Not only in DistConnGet: a procedure may commit between two uses. */
	DistConnTouched = true;
	if (conn->state == DIST_CONN_BROKEN)
		DistConnRaiseFailure(conn, NULL);

	DistConnFinishOperation(conn);

	if (conn->depth == 0 &&
		(conn->options == NULL || conn->recheck_options))
		check_options(conn);

	if (conn->state == DIST_CONN_IDLE && !DistConnIsAlive(conn))
	{
		DistConnLost(conn, "server closed the connection unexpectedly");
		if (conn->state == DIST_CONN_BROKEN)
			DistConnRaiseFailure(conn, NULL);
		conn->hosts[conn->host].failed = false;
	}
	if (conn->state == DIST_CONN_CLOSED)
	{
		if (conn->slot == DIST_SLOT_NONE)
			conn->slot = DistSlotTake(conn->serverid, false);
		if (conn->slot != DIST_SLOT_NONE && !conn->start_failed)
			start_connecting(conn);
		else
			conn->start_failed = false;
	}
	DistSlotSetIdle(conn->slot, false);
}

/*
 * Begin to connect, if an attempt is due.  If it failed already, that is what
 * the next call finds, and does not try again.
 */
static void
start_connecting(DistConn *conn)
{
	conn->deferred = !DistReconnectMayTry(&conn->reconnect, &conn->last_failure);
	if (conn->deferred)
		return;
	DistConnectStart(conn);
	conn->start_failed = conn->state == DIST_CONN_CLOSED;
}

/*
 * As DistConnEnsureOpen for several connections, and waits for slots, and until
 * attempts are due.
 *
 * Who waits for a slot of one worker while it keeps those of others must do
 * so in the same order as everybody else.  So what could be had at once may be
 * given up again, and is waited for when its turn comes.
 */
void
DistConnOpenAll(DistRequest *requests, int nrequests)
{
	static uint32 turn = 0;

	turn++;
	for (int i = 0; i < nrequests; i++)
		DistConnEnsureOpen(requests[i].conn);
	while (DistMaxConnections > 0)
	{
		DistConn   *next = NULL;

		for (int i = 0; i < nrequests; i++)
		{
			DistConn   *conn = requests[i].conn;

			if (conn->turn != turn &&
				(next == NULL || conn->serverid < next->serverid))
				next = conn;
		}
		if (next == NULL)
			break;
		next->turn = turn;
		if (next->state == DIST_CONN_CLOSED && next->slot == DIST_SLOT_NONE)
			await_slot(next);
	}
	for (int i = 0; i < nrequests; i++)
	{
		if (requests[i].conn->deferred)
			await_attempt(requests[i].conn);
		requests[i].conn->start_failed = false;
	}
}

/* Wait until a connection can be opened, and begin to do so. */
static void
await_slot(DistConn *conn)
{
	int			timeout_ms = DistNodeTimeout;
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   timeout_ms);

	DistSlotBeginWait(conn->serverid);
	PG_TRY();
	{
		for (;;)
		{
			TimestampTz now = GetCurrentTimestamp();

			give_up_idle(conn);
			conn->slot = DistSlotTake(conn->serverid, false);
			if (conn->slot != DIST_SLOT_NONE)
				break;
			if (now >= deadline)
				no_slot(conn, timeout_ms);
			DistSlotSleep(TimestampDifferenceMilliseconds(now, deadline));
		}
	}
	PG_FINALLY();
	{
		DistSlotEndWait();
	}
	PG_END_TRY();
	start_connecting(conn);
}

/*
 * Close connections of this session that nothing depends on, if they are to
 * the worker that 'conn' waits for or others wait for them.  Those that
 * DistConnOpenAll has made ready before 'conn' stay.
 */
static void
give_up_idle(DistConn *conn)
{
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *other = slist_container(DistConn, link, iter.cur);

		if ((other->state == DIST_CONN_IDLE ||
			 other->state == DIST_CONN_CONNECTING) &&
			other->depth == 0 && other->turn != conn->turn &&
			(other->serverid == conn->serverid ||
			 DistSlotIsWanted(other->slot)))
			DistConnClose(other);
	}
}

static void
no_slot(DistConn *conn, int timeout_ms)
{
	ereport(ERROR,
			errcode(ERRCODE_TOO_MANY_CONNECTIONS),
			errmsg("too many connections to worker \"%s\"", conn->worker),
			errdetail("The %d connections that vecdist.max_connections_per_worker allows were in use for %d ms.",
					  DistMaxConnections, timeout_ms),
			errhint("Let fewer transactions use workers at the same time, or raise vecdist.max_connections_per_worker.  vecdist.node_timeout is how long to wait."));
}

/*
 * Wait until this session may try to connect, and begin; or until another one
 * has tried in vain, which is then this one's failure as well.
 */
static void
await_attempt(DistConn *conn)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   DistNodeTimeout);

	conn->deferred = false;
	DistReconnectBeginWait();
	PG_TRY();
	{
		while (!outcome_is_known(conn, deadline))
			DistReconnectSleep(TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
															   conn->last_failure.due) + 1);
	}
	PG_FINALLY();
	{
		DistReconnectEndWait();
	}
	PG_END_TRY();
}

/* May the wait end?  If so, the connection is CONNECTING or has failed. */
static bool
outcome_is_known(DistConn *conn, TimestampTz deadline)
{
	uint64		seen = conn->last_failure.failure;

	if (DistReconnectMayTry(&conn->reconnect, &conn->last_failure))
	{
		DistConnectStart(conn);
		return true;
	}
	if (conn->last_failure.failure == seen &&
		conn->last_failure.due <= deadline)
		return false;
	take_over_failure(conn);
	return true;
}

/* Another session's failure is ours. */
static void
take_over_failure(DistConn *conn)
{
	conn->failure_code = ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
	strlcpy(conn->failure, conn->last_failure.reason, sizeof(conn->failure));
}

/*
 * May a connection that was lost in the middle of a statement be opened again?
 * If not, because somebody could not connect just now, that is its failure.
 */
bool
DistConnMayReopen(DistConn *conn)
{
	if (DistReconnectMayTry(&conn->reconnect, &conn->last_failure))
		return true;
	take_over_failure(conn);
	return false;
}

/* For an error's detail: when the next attempt is due, or "". */
const char *
DistConnNextAttempt(DistConn *conn)
{
	DistReconnectState state;
	TimestampTz now = GetCurrentTimestamp();

	if (!DistReconnectLook(&conn->reconnect, &state) || state.due <= now)
		return "";
	return psprintf("\nThe next attempt is due in %ld ms.",
					TimestampDifferenceMilliseconds(now, state.due));
}

/*
 * Read the options, if they were not or may have changed, and close the
 * connection if it was made with others.  No remote transaction is open.
 */
static void
check_options(DistConn *conn)
{
	MemoryContext context;
	MemoryContext old;
	DistConnOptions *options;

	Assert(conn->depth == 0 && conn->state != DIST_CONN_BUSY);

	/* Cleared first: a change while we read sets it again. */
	conn->recheck_options = false;
	context = AllocSetContextCreate(CurrentMemoryContext,
									"vecdist connection options",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	PG_TRY();
	{
		strlcpy(conn->worker, GetForeignServer(conn->serverid)->servername,
				NAMEDATALEN);
		options = DistGetConnOptions(conn->serverid, conn->userid);
	}
	PG_CATCH();
	{
		/* Nobody may go on with what the catalogs do not allow any more. */
		conn->recheck_options = true;
		DistConnClose(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(old);
	if (conn->options != NULL &&
		conn->options->mapping == options->mapping &&
		strcmp(conn->options->fingerprint, options->fingerprint) == 0)
		MemoryContextDelete(context);
	else
	{
		DistConnClose(conn);
		adopt_options(conn, options, context);
	}
}

/* Make options, and the context they are in, those of a CLOSED connection. */
static void
adopt_options(DistConn *conn, DistConnOptions *options, MemoryContext context)
{
	int			i = 0;
	ListCell   *lc;

	conn->options = NULL;
	if (conn->option_context != NULL)
		MemoryContextDelete(conn->option_context);
	MemoryContextSetParent(context, TopMemoryContext);
	conn->option_context = context;

	conn->nhosts = list_length(options->hosts);
	conn->hosts = MemoryContextAllocZero(context,
										 conn->nhosts * sizeof(DistServerHost));
	conn->order = MemoryContextAllocZero(context, conn->nhosts * sizeof(int));
	foreach(lc, options->hosts)
	{
		DistHost   *host = lfirst(lc);

		conn->hosts[i].host = host->host;
		conn->hosts[i++].port = host->port;
	}
	conn->host = -1;
	conn->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID,
											  ObjectIdGetDatum(conn->serverid));
	conn->mapping_hash = GetSysCacheHashValue1(USERMAPPINGOID,
											   ObjectIdGetDatum(options->mapping));
	conn->options = options;
	memset(&conn->reconnect, 0, sizeof(conn->reconnect));
	conn->reconnect.database = MyDatabaseId;
	conn->reconnect.server = conn->serverid;
	conn->reconnect.target = conn->target;
	conn->reconnect.options = hash_of_options(options);
}

/* The same in all sessions that connect to the same hosts in the same way. */
static uint64
hash_of_options(const DistConnOptions *options)
{
	StringInfoData buf;
	ListCell   *lc;
	ListCell   *lv;
	uint64		hash;

	initStringInfo(&buf);
	foreach(lc, options->hosts)
	{
		DistHost   *host = lfirst(lc);

		appendStringInfo(&buf, "%s:%s\n", host->host, host->port);
	}
	forboth(lc, options->keywords, lv, options->values)
	{
		/* has the session's process id */
		if (strcmp(lfirst(lc), "fallback_application_name") != 0)
			appendStringInfo(&buf, "%s=%s\n", (char *) lfirst(lc),
							 (char *) lfirst(lv));
	}
	hash = hash_bytes_extended((unsigned char *) buf.data, buf.len, 0);
	pfree(buf.data);
	return hash;
}
