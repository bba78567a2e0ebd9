/*-------------------------------------------------------------------------
 *
 * dist_transaction.c
 *	  Ends of remote transactions: savepoints, commit in one or two phases.
 *
 * Opening is part of the first statement (dist_exchange); this file reacts to
 * the ends of local (sub)transactions.  Steps and crash states are in README,
 * sections "Remote transactions" and "Commit".
 *
 * What runs before the local commit point may wait and raise errors.  What
 * runs after it, or in an abort, may do neither for long: callers say in
 * conn->ending what each connection needs, and run_endings() does it, with a
 * deadline, without errors, and closing what does not come to rest.  After the
 * commit point an error would be a PANIC, so nothing is allocated there that
 * is not protected by run_endings().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "distribution/dist_config.h"
#include "distribution/dist_connection.h"
#include "distribution/dist_connection_private.h"
#include "distribution/dist_record.h"
#include "distribution/dist_transaction.h"
#include "vecdist_debug.h"

/* How long an abort waits for workers before it closes connections. */
#define ABORT_TIMEOUT_MS 500
#define SUBABORT_TIMEOUT_MS 1000

/* What the second phase may take once somebody wants to cancel. */
#define CANCELED_COMMIT_TIMEOUT_MS 500

static void xact_callback(XactEvent event, void *arg);
static void end_remote(XactEvent event);
static void subxact_callback(SubXactEvent event, SubTransactionId mySubid,
							 SubTransactionId parentSubid, void *arg);
static void pre_commit(void);
static void check_committable(DistConn *conn);
static void end_all(List *conns, bool prepare);
static void commit_one_phase(DistConn *conn);
static void prepare_all(List *conns);
static void pre_prepare(void);
static void commit_prepared_all(void);
static void abort_all(void);
static void forget_transaction(void);
static void give_up_wanted(void);
static void subxact_committed(int level);
static void subxact_aborted(int level);
static void start_ending(DistConn *conn, DistEndingKind kind, int level);
static void run_endings(int timeout_ms);
static void drive_endings(int timeout_ms);
static void advance_ending(DistConn *conn);
static bool next_statement(DistConn *conn);
static void note_result(DistConn *conn, PGresult *result);
static void drop_copy(DistConn *conn);
static void warn_unfinished(DistConn *conn);

void
DistTransactionInit(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (DistConnTouched)
		end_remote(event);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		give_up_wanted();
}

static void
end_remote(XactEvent event)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			pre_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			pre_prepare();
			break;
		case XACT_EVENT_COMMIT:
			commit_prepared_all();
			forget_transaction();
			break;
		case XACT_EVENT_ABORT:
			abort_all();
			forget_transaction();
			break;
		case XACT_EVENT_PREPARE:
			forget_transaction();
			break;
		default:
			break;
	}
}

/* At the end of any transaction: let others have what they wait for. */
static void
give_up_wanted(void)
{
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (conn->state == DIST_CONN_IDLE && DistSlotIsWanted(conn->slot))
			DistConnClose(conn);
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	if (!DistConnTouched)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		subxact_committed(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		subxact_aborted(GetCurrentTransactionNestLevel());
}

/* ----------------------------------------------------------------
 * Before the commit point
 * ----------------------------------------------------------------
 */

/*
 * End the remote transactions, in one phase or up to the end of the first.
 *
 * A local transaction under SERIALIZABLE counts as a writer: its own commit
 * may still fail after this, and then nothing must have committed remotely.
 */
static void
pre_commit(void)
{
	List	   *readers = NIL;
	List	   *writers = NIL;
	bool		local;
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (conn->depth == 0)
		{
			/* An unfinished read that nobody will ask for any more. */
			if (conn->state == DIST_CONN_BUSY)
				DistConnClose(conn);
			continue;
		}
		check_committable(conn);
		if (conn->wrote)
			writers = lappend(writers, conn);
		else
			readers = lappend(readers, conn);
	}

	end_all(readers, false);
	if (writers == NIL)
		return;
	local = TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
		IsolationIsSerializable();
	if (list_length(writers) == 1 && !local)
		commit_one_phase(linitial(writers));
	else
		prepare_all(writers);
}

/* Raise an error if the remote transaction on a connection cannot commit. */
static void
check_committable(DistConn *conn)
{
	DistConnFinishOperation(conn);
	if (conn->state == DIST_CONN_BROKEN)
		DistConnRaiseFailure(conn, NULL);
	if (PQtransactionStatus(conn->pg) != PQTRANS_INTRANS)
		ereport(ERROR,
				errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
				errmsg("transaction on worker \"%s\" cannot be committed",
					   conn->worker),
				errdetail("A statement failed in it."));
}

/*
 * Send COMMIT or PREPARE TRANSACTION to several connections at once, and make
 * sure that this is what the workers did: both quietly become a rollback in a
 * transaction that has failed.
 *
 * The wait is bounded by node_timeout, because statement_timeout does not run
 * during COMMIT and a frozen worker would hold the session for good.
 */
static void
end_all(List *conns, bool prepare)
{
	int			n = list_length(conns);
	DistRequest *requests = palloc0(n * sizeof(DistRequest));

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		DistConn   *conn = list_nth(conns, i);

		requests[i].conn = conn;
		requests[i].flags = DIST_REQ_BARE;
		requests[i].sql = prepare ?
			psprintf("PREPARE TRANSACTION '%s'", conn->gid) : "COMMIT";
	}
	DistExecute(requests, n, DistNodeTimeout, 0);

	for (int i = 0; i < n; i++)
	{
		DistConn   *conn = requests[i].conn;

		conn->depth = 0;
		conn->release = false;
		if (strcmp(PQcmdStatus(requests[i].result),
				   prepare ? "PREPARE TRANSACTION" : "COMMIT") != 0)
			ereport(ERROR,
					errcode(ERRCODE_TRANSACTION_ROLLBACK),
					errmsg("transaction on worker \"%s\" was rolled back",
						   conn->worker));
	}
}

/*
 * Commit the only participant.  From when COMMIT is sent until its answer
 * arrives nobody knows the outcome; an error then must say so.
 */
static void
commit_one_phase(DistConn *conn)
{
	PG_TRY();
	{
		end_all(list_make1(conn), false);
	}
	PG_CATCH();
	{
		if (conn->state != DIST_CONN_IDLE)
			ereport(WARNING,
					errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
					errmsg("outcome of the transaction on worker \"%s\" is unknown",
						   conn->worker),
					errdetail("COMMIT was sent and not answered."));
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* The first phase: PREPARE TRANSACTION everywhere, then the commit records. */
static void
prepare_all(List *conns)
{
	FullTransactionId xid = GetTopFullTransactionId();
	uint64		nonce;
	int			n = 0;
	ListCell   *lc;

	if (!pg_strong_random(&nonce, sizeof(nonce)))
		elog(ERROR, "could not generate random values");
	foreach(lc, conns)
	{
		DistConn   *conn = lfirst(lc);

		DistMakeGid(conn->gid, xid, nonce, n++);
	}

	VD_DEBUG_POINT("dist-before-prepare");
	end_all(conns, true);
	VD_DEBUG_POINT("dist-after-prepare");

	foreach(lc, conns)
	{
		DistConn   *conn = lfirst(lc);

		conn->prepared_xact = true;
		DistRecordInsert(conn->gid, conn->serverid);
	}

	/*
	 * COMMIT PREPARED must not overtake the local commit record, whatever
	 * synchronous_commit says.
	 */
	ForceSyncCommit();
	VD_DEBUG_POINT("dist-after-record");
}

/*
 * PREPARE TRANSACTION by the user, or by a server that this one works for.
 * What was only read is over with it.  The commit of what was written would
 * not be ours.
 */
static void
pre_prepare(void)
{
	List	   *readers = NIL;
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (conn->depth == 0)
			continue;
		if (conn->wrote)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("cannot PREPARE a transaction that has written to worker \"%s\"",
						   conn->worker),
					errhint("Use COMMIT: it commits on several servers in two phases."));
		check_committable(conn);
		readers = lappend(readers, conn);
	}
	end_all(readers, false);
}

/* ----------------------------------------------------------------
 * After the commit point, and abort
 * ----------------------------------------------------------------
 */

/*
 * The second phase.  Interrupts are held and an error would be a PANIC; what
 * does not answer is left to recovery.
 */
static void
commit_prepared_all(void)
{
	bool		any = false;
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (!conn->prepared_xact)
			continue;
		start_ending(conn, DIST_END_COMMIT_PREPARED, 0);
		any = true;
	}
	if (!any)
		return;

	VD_DEBUG_POINT("dist-after-local-commit");
	run_endings(DistNodeTimeout);

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (!conn->prepared_xact)
			continue;
		if (conn->ending.failed)
			warn_unfinished(conn);
		else
			DistRecordDone(conn->gid);
	}
}

static void
abort_all(void)
{
	bool		any = false;
	bool		prepared = false;
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (conn->state != DIST_CONN_BUSY && conn->depth == 0 &&
			conn->gid[0] == '\0')
			continue;
		start_ending(conn, DIST_END_ABORT, 0);
		any = true;
		prepared |= conn->gid[0] != '\0';
	}
	if (!any)
		return;

	if (prepared)
		VD_DEBUG_POINT("dist-before-rollback-prepared");
	run_endings(ABORT_TIMEOUT_MS);

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (conn->gid[0] != '\0' && conn->ending.failed)
			warn_unfinished(conn);
	}
}

/* Tell that a prepared transaction is left to recovery. */
static void
warn_unfinished(DistConn *conn)
{
	bool		commit = conn->ending.kind == DIST_END_COMMIT_PREPARED;

	ereport(WARNING,
			errcode(ERRCODE_CONNECTION_FAILURE),
			errmsg("could not %s prepared transaction \"%s\" on worker \"%s\"",
				   commit ? "commit" : "roll back", conn->gid, conn->worker),
			errdetail_internal("%s", conn->ending.message),
			errhint("The transaction is %s.  Run vecdist.recover_prepared_transactions() when the worker answers again.",
					commit ? "committed" : "rolled back"));
}

/* The local transaction is over: leave connections CLOSED or clean. */
static void
forget_transaction(void)
{
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		conn->finish = NULL;
		if (conn->state == DIST_CONN_CONNECTING)
			DistConnectAbandon(conn);
		conn->gid[0] = '\0';
		conn->prepared_xact = false;
		conn->ending.kind = DIST_END_NONE;
		if (conn->retire ||
			conn->state == DIST_CONN_BROKEN || conn->state == DIST_CONN_BUSY ||
			(conn->state == DIST_CONN_IDLE &&
			 PQtransactionStatus(conn->pg) != PQTRANS_IDLE) ||
			(conn->state == DIST_CONN_CLOSED && conn->slot != DIST_SLOT_NONE))
			DistConnClose(conn);
		else if (conn->state == DIST_CONN_IDLE)
			DistSlotSetIdle(conn->slot, true);
		conn->retire = false;
		conn->depth = 0;
		conn->release = false;
		conn->wrote = false;
	}
	DistConnTouched = false;
}

/* ----------------------------------------------------------------
 * Subtransactions
 * ----------------------------------------------------------------
 */

/*
 * What belonged to the subtransaction now belongs to its parent.  RELEASE
 * waits for the next statement that needs a savepoint of that name: it costs
 * no turn then, and none at all before COMMIT.
 */
static void
subxact_committed(int level)
{
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (conn->depth >= level)
		{
			conn->depth = level - 1;
			conn->release = true;
		}
		conn->begin_level = Min(conn->begin_level, level - 1);
		conn->exchange_level = Min(conn->exchange_level, level - 1);
		conn->finish_level = Min(conn->finish_level, level - 1);
	}
}

/*
 * Undo on the workers what the subtransaction did.  Operations of outer
 * levels are left alone.  A connection that cannot be brought back is lost,
 * and with it the local transaction, unless the remote transaction began in
 * the subtransaction: then nothing but what is undone anyway is lost.
 */
static void
subxact_aborted(int level)
{
	bool		any = false;
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (conn->finish_level >= level)
			conn->finish = NULL;
		if ((conn->state == DIST_CONN_BUSY && conn->exchange_level >= level) ||
			(conn->state == DIST_CONN_IDLE && conn->depth >= level))
		{
			start_ending(conn, DIST_END_SUBABORT, level);
			any = true;
		}
	}
	if (any)
		run_endings(SUBABORT_TIMEOUT_MS);

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		conn->ending.kind = DIST_END_NONE;
		if (conn->state == DIST_CONN_BROKEN && conn->begin_level >= level)
			DistConnClose(conn);
		else if (conn->state == DIST_CONN_CONNECTING)
			DistConnectAbandon(conn);
	}
}

/* ----------------------------------------------------------------
 * Endings
 * ----------------------------------------------------------------
 */

static void
start_ending(DistConn *conn, DistEndingKind kind, int level)
{
	memset(&conn->ending, 0, sizeof(conn->ending));
	conn->ending.kind = kind;
	conn->ending.level = level;
}

/*
 * Bring the connections with an ending to rest, and do what it needs.
 *
 * Interrupts are held.  Returns when all is done or time is up; what has not
 * come to rest by then is lost.  Raises no errors.
 */
static void
run_endings(int timeout_ms)
{
	MemoryContext context = CurrentMemoryContext;
	uint32		holdoff;
	slist_iter	iter;

	HOLD_INTERRUPTS();
	holdoff = InterruptHoldoffCount;
	PG_TRY();
	{
		drive_endings(timeout_ms);
	}
	PG_CATCH();
	{
		/*
		 * Out of memory or of descriptors.  What is not done is taken as not
		 * answered.  Raising an error has let go of held interrupts.
		 */
		InterruptHoldoffCount = holdoff;
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	RESUME_INTERRUPTS();

	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);

		if (conn->ending.kind == DIST_END_NONE || conn->ending.done)
			continue;
		conn->ending.done = true;
		conn->ending.failed = true;
		strlcpy(conn->ending.message, "The worker did not answer in time.",
				sizeof(conn->ending.message));
		if (conn->state == DIST_CONN_BUSY)
			DistConnLost(conn, "no answer while a transaction was ended");
	}
}

static void
drive_endings(int timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();
	int			nconns = 0;
	DistConn  **waiting;
	bool	   *ready;
	slist_iter	iter;

	slist_foreach(iter, &DistConns)
		nconns++;
	waiting = palloc(nconns * sizeof(DistConn *));
	ready = palloc(nconns * sizeof(bool));

	for (;;)
	{
		TimestampTz deadline;
		int			n = 0;

		slist_foreach(iter, &DistConns)
		{
			DistConn   *conn = slist_container(DistConn, link, iter.cur);

			if (conn->ending.kind == DIST_END_NONE || conn->ending.done)
				continue;
			advance_ending(conn);
			if (!conn->ending.done)
				waiting[n++] = conn;
			else if (conn->ending.kind == DIST_END_COMMIT_PREPARED)
				VD_DEBUG_POINT("dist-between-commits");
		}
		if (n == 0)
			break;

		/* Nobody who wants to leave waits for all of node_timeout. */
		if (QueryCancelPending || ProcDiePending)
			timeout_ms = Min(timeout_ms, CANCELED_COMMIT_TIMEOUT_MS);
		deadline = TimestampTzPlusMilliseconds(start, timeout_ms);
		if (GetCurrentTimestamp() >= deadline ||
			!DistConnWait(waiting, n, deadline, ready))
			break;
	}
	pfree(waiting);
	pfree(ready);
}

/* Take one ending as far as it goes without waiting. */
static void
advance_ending(DistConn *conn)
{
	DistEnding *ending = &conn->ending;
	PGresult   *result;

	for (;;)
	{
		switch (conn->state)
		{
			case DIST_CONN_CONNECTING:
				return;

			case DIST_CONN_IDLE:
				if (!next_statement(conn))
				{
					ending->done = true;
					return;
				}
				ending->nsent++;
				ending->running = true;
				DistExchangeStart(conn, ending->sql, NULL, DIST_REQ_BARE);
				break;

			case DIST_CONN_BUSY:
				switch (DistExchangeAdvance(conn, &result))
				{
					case DIST_ADVANCE_WAIT:
						return;
					case DIST_ADVANCE_RESULT:
						note_result(conn, result);
						PQclear(result);
						drop_copy(conn);
						break;
					case DIST_ADVANCE_DONE:
					case DIST_ADVANCE_LOST:
						break;
				}
				break;

			case DIST_CONN_CLOSED:
			case DIST_CONN_BROKEN:

				/* Without a connection only a prepared transaction lives on. */
				if (conn->gid[0] == '\0' || ending->reopened)
				{
					ending->done = true;
					ending->failed = true;
					strlcpy(ending->message, conn->failure,
							sizeof(ending->message));
					return;
				}
				ending->reopened = true;
				ending->nsent = 0;
				DistConnClose(conn);
				conn->slot = DistSlotTake(conn->serverid, true);
				DistConnectStart(conn);
				break;
		}
	}
}

/*
 * End a COPY that was under way, if so.  One to us cannot be stopped but by
 * closing the connection.
 */
static void
drop_copy(DistConn *conn)
{
	if (conn->copy_out)
		DistConnLost(conn, "a COPY was under way");
	else if (conn->copy_in)
	{
		/* If the worker has ended the COPY already, its error follows. */
		conn->copy_in = false;
		if (PQputCopyEnd(conn->pg, "transaction is rolled back") == 0)
			DistConnLost(conn, "a COPY could not be ended");
		else
			DistExchangeFlush(conn);
	}
}

/*
 * Put what an IDLE connection needs next into its ending's "sql"; false if
 * nothing.
 */
static bool
next_statement(DistConn *conn)
{
	DistEnding *ending = &conn->ending;
	bool		in_xact = PQtransactionStatus(conn->pg) != PQTRANS_IDLE;

	/* A statement that failed will not do better the next time. */
	if (ending->failed)
	{
		if (ending->kind == DIST_END_SUBABORT)
			DistConnLost(conn, ending->message);
		return false;
	}

	switch (ending->kind)
	{
		case DIST_END_ABORT:
			if (in_xact)
			{
				strcpy(ending->sql, "ROLLBACK");
				return true;
			}
			conn->depth = 0;
			if (conn->gid[0] == '\0' ||
				strncmp(ending->sql, "ROLLBACK PREPARED", 17) == 0)
				return false;
			snprintf(ending->sql, sizeof(ending->sql),
					 "ROLLBACK PREPARED '%s'", conn->gid);
			return true;

		case DIST_END_SUBABORT:
			if (ending->nsent > 0)
			{
				conn->depth = ending->level - 1;
				conn->release = false;
				return false;
			}
			if (conn->depth < ending->level)
				return false;
			snprintf(ending->sql, sizeof(ending->sql),
					 "ROLLBACK TO SAVEPOINT vecdist_%d; RELEASE SAVEPOINT vecdist_%d",
					 ending->level, ending->level);
			return true;

		case DIST_END_COMMIT_PREPARED:
			if (ending->nsent > 0)
				return false;
			snprintf(ending->sql, sizeof(ending->sql),
					 "COMMIT PREPARED '%s'", conn->gid);
			return true;

		case DIST_END_NONE:
			break;
	}
	return false;
}

/*
 * Look at a result of our own statement.
 *
 * That a prepared transaction does not exist is as good as ending it: it
 * never was prepared, or recovery was faster.  Not so when we ask over a new
 * connection whether the old one's PREPARE must be undone: the worker may be
 * about to carry it out.
 */
static void
note_result(DistConn *conn, PGresult *result)
{
	DistEnding *ending = &conn->ending;
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (!ending->running || PQresultStatus(result) != PGRES_FATAL_ERROR)
		return;
	if (state != NULL && strcmp(state, "42704") == 0 &&
		!(ending->kind == DIST_END_ABORT && ending->reopened))
		return;
	ending->failed = true;
	strlcpy(ending->message, message ? message : PQresultErrorMessage(result),
			sizeof(ending->message));
}
