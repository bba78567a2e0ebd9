/*-------------------------------------------------------------------------
 *
 * dist_recovery.c
 *	  Finish prepared transactions that a crash has left on workers.
 *
 * For each prepared transaction of ours on a worker the question is whether
 * its coordinating transaction committed here.  The answer is read in an
 * order in which no transaction can slip through:
 *
 *	P	what is prepared on the workers
 *	A	which of those still run here
 *	T	the commit records
 *	Q	what is prepared on the workers, again
 *
 * What is in P was prepared, so its transaction began before we looked at A.
 * If it does not run any more, its record, if it committed, is visible to the
 * snapshot that we take for T afterwards.  In T: commit it.  Neither in A nor
 * in T: it did not commit, roll it back.  Q spares us those that their own
 * session has finished meanwhile; and a record in T whose gid is not in Q is
 * not needed any more, because the prepared transaction was there before the
 * record.
 *
 * A transaction id that a crash made us forget may run a second time, for
 * another transaction, or lie in the future still.  The first only makes us
 * wait for the next call; the second is certainly over: a running one's id
 * was assigned in this life of the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/builtins.h"

#include "distribution/dist_config.h"
#include "distribution/dist_connection.h"
#include "distribution/dist_placement.h"
#include "distribution/dist_record.h"
#include "vecdist_compat.h"

/* A worker that recovery could reach, and what is prepared there. */
typedef struct ReachedWorker
{
	DistConn   *conn;
	List	   *before;			/* P: gids, char * */
	List	   *after;			/* Q */
	bool		failed;			/* lost on the way: leave it alone */
} ReachedWorker;

static List *connect_workers(void);
static void read_prepared(List *workers, bool again);
static bool run_on_all(List *workers, DistRequest *requests);
static void finish_worker(ReachedWorker *worker, List *running, List *records,
						  ReturnSetInfo *rsinfo);
static bool finish_one(ReachedWorker *worker, const char *gid, bool commit);
static void remove_records(List *workers, List *records,
						   ReturnSetInfo *rsinfo);
static List *running_gids(List *workers);
static bool is_running(FullTransactionId xid);
static bool contains(const List *gids, const char *gid);
static bool is_recorded(const List *records, const char *gid);
static void add_row(ReturnSetInfo *rsinfo, DistConn *conn, const char *gid,
					const char *action);

VECDIST_FUNCTION_INFO_V1(vecdist_recover_prepared_transactions);

/*
 * recover_prepared_transactions() returns (worker, gid, action)
 *
 * What was committed or rolled back stays so even if the caller's transaction
 * is rolled back.
 */
Datum
vecdist_recover_prepared_transactions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *workers;
	List	   *running;
	List	   *records;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (RecoveryInProgress())
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("recovery is in progress"),
				errhint("Call this function on the primary of the coordinator."));

	workers = connect_workers();
	read_prepared(workers, false);
	running = running_gids(workers);
	records = DistRecordList();
	read_prepared(workers, true);

	foreach(lc, workers)
		finish_worker(lfirst(lc), running, records, rsinfo);
	remove_records(workers, records, rsinfo);
	PG_RETURN_VOID();
}

/* Start connecting to all workers. */
static List *
connect_workers(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, DistWorkers())
	{
		ReachedWorker *worker = palloc0(sizeof(ReachedWorker));

		worker->conn = DistConnGet(lfirst_oid(lc), GetUserId(),
								   DIST_TARGET_PRIMARY);
		if (DistConnInXact(worker->conn))
			ereport(ERROR,
					errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
					errmsg("prepared transactions cannot be recovered in a transaction that has worked on worker \"%s\"",
						   DistConnWorker(worker->conn)),
					errhint("Call the function in a transaction of its own."));
		result = lappend(result, worker);
	}
	return result;
}

/* Read P or Q of all workers at once. */
static void
read_prepared(List *workers, bool again)
{
	int			n = list_length(workers);
	DistRequest *requests = palloc0(n * sizeof(DistRequest));
	const char *prefix = DistGidPrefix();
	DistParams	params = {0};

	params.n = 1;
	params.values = &prefix;
	for (int i = 0; i < n; i++)
	{
		requests[i].sql = "SELECT gid FROM pg_prepared_xacts "
			"WHERE database = current_database() AND starts_with(gid, $1)";
		requests[i].params = &params;
		requests[i].flags = DIST_REQ_ONCE;
	}
	if (!run_on_all(workers, requests))
		return;

	for (int i = 0; i < n; i++)
	{
		ReachedWorker *worker = list_nth(workers, i);
		PGresult   *result = requests[i].result;

		if (worker->failed)
			continue;
		for (int row = 0; row < PQntuples(result); row++)
		{
			char	   *gid = pstrdup(PQgetvalue(result, row, 0));

			if (again)
				worker->after = lappend(worker->after, gid);
			else
				worker->before = lappend(worker->before, gid);
		}
	}
}

/*
 * Run a request per worker, at the same time; workers that do not answer are
 * marked as failed, with a warning.  False if there was nobody to ask.
 */
static bool
run_on_all(List *workers, DistRequest *requests)
{
	int			n = 0;
	DistRequest *asked = palloc0((list_length(workers) + 1) * sizeof(DistRequest));
	int		   *origin = palloc((list_length(workers) + 1) * sizeof(int));

	for (int i = 0; i < list_length(workers); i++)
	{
		ReachedWorker *worker = list_nth(workers, i);

		if (worker->failed)
			continue;
		asked[n] = requests[i];
		asked[n].conn = worker->conn;
		origin[n++] = i;
	}
	if (n == 0)
		return false;

	DistExecute(asked, n, DistNodeTimeout, DIST_EXEC_KEEP_GOING);
	for (int i = 0; i < n; i++)
	{
		ReachedWorker *worker = list_nth(workers, origin[i]);

		requests[origin[i]] = asked[i];
		if (asked[i].error == NULL)
			continue;
		worker->failed = true;
		ereport(WARNING,
				errcode(asked[i].error->sqlerrcode),
				errmsg("worker \"%s\" is skipped: %s",
					   DistConnWorker(worker->conn), asked[i].error->message),
				asked[i].error->detail ?
				errdetail_internal("%s", asked[i].error->detail) : 0);
	}
	return true;
}

/* A: which of the transactions in P run here. */
static List *
running_gids(List *workers)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, workers)
	{
		ReachedWorker *worker = lfirst(lc);
		ListCell   *lc2;

		foreach(lc2, worker->before)
		{
			char	   *gid = lfirst(lc2);
			FullTransactionId xid;

			/* Whatever begins like ours and is not is left alone. */
			if (!DistParseGid(gid, &xid) || is_running(xid))
				result = lappend(result, gid);
		}
	}
	return result;
}

static bool
is_running(FullTransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();

	if (!FullTransactionIdPrecedes(xid, next))
		return false;

	/* Too old for 32 bits to tell, so certainly over. */
	if (U64FromFullTransactionId(next) - U64FromFullTransactionId(xid) >
		MaxTransactionId / 2)
		return false;
	return TransactionIdIsInProgress(XidFromFullTransactionId(xid));
}

/* End the prepared transactions of one worker that are in P and Q. */
static void
finish_worker(ReachedWorker *worker, List *running, List *records,
			  ReturnSetInfo *rsinfo)
{
	ListCell   *lc;

	foreach(lc, worker->before)
	{
		char	   *gid = lfirst(lc);
		bool		commit = is_recorded(records, gid);

		if (worker->failed)
			return;
		if (!contains(worker->after, gid) ||
			(!commit && contains(running, gid)))
			continue;
		if (!finish_one(worker, gid, commit))
			continue;
		if (commit)
			DistRecordDelete(gid);
		add_row(rsinfo, worker->conn, gid, commit ? "committed" : "rolled back");
	}
}

/*
 * COMMIT or ROLLBACK PREPARED.  Returns whether it was done here: somebody
 * else may just have done it, or be doing so.
 */
static bool
finish_one(ReachedWorker *worker, const char *gid, bool commit)
{
	DistRequest request = {0};

	request.conn = worker->conn;
	request.sql = psprintf("%s PREPARED '%s'", commit ? "COMMIT" : "ROLLBACK",
						   gid);
	request.flags = DIST_REQ_ONCE;
	DistExecute(&request, 1, DistNodeTimeout, DIST_EXEC_KEEP_GOING);
	if (request.error == NULL)
		return true;

	switch (request.error->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return false;
		case ERRCODE_CONNECTION_FAILURE:
		case ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION:
			worker->failed = true;
			break;
		default:
			break;
	}
	ereport(WARNING,
			errcode(request.error->sqlerrcode),
			errmsg("could not %s prepared transaction \"%s\" on worker \"%s\": %s",
				   commit ? "commit" : "roll back", gid,
				   DistConnWorker(worker->conn), request.error->message));
	return false;
}

/* Remove records whose prepared transaction is gone. */
static void
remove_records(List *workers, List *records, ReturnSetInfo *rsinfo)
{
	ListCell   *lc;

	foreach(lc, records)
	{
		DistRecord *record = lfirst(lc);
		ListCell   *lc2;

		foreach(lc2, workers)
		{
			ReachedWorker *worker = lfirst(lc2);

			if (DistConnServer(worker->conn) != record->serverid ||
				worker->failed || contains(worker->after, record->gid))
				continue;
			DistRecordDelete(record->gid);
			add_row(rsinfo, worker->conn, record->gid, "record removed");
		}
	}
}

static bool
contains(const List *gids, const char *gid)
{
	ListCell   *lc;

	foreach(lc, gids)
	{
		if (strcmp(lfirst(lc), gid) == 0)
			return true;
	}
	return false;
}

static bool
is_recorded(const List *records, const char *gid)
{
	ListCell   *lc;

	foreach(lc, records)
	{
		DistRecord *record = lfirst(lc);

		if (strcmp(record->gid, gid) == 0)
			return true;
	}
	return false;
}

static void
add_row(ReturnSetInfo *rsinfo, DistConn *conn, const char *gid,
		const char *action)
{
	Datum		values[3];
	bool		nulls[3] = {false};
	NameData	worker;

	namestrcpy(&worker, DistConnWorker(conn));
	values[0] = NameGetDatum(&worker);
	values[1] = CStringGetTextDatum(gid);
	values[2] = CStringGetTextDatum(action);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
