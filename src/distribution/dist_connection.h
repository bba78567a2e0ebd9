/*-------------------------------------------------------------------------
 *
 * dist_connection.h
 *	  Connections to worker servers: open, send, wait, cancel.
 *
 * Usual use, fan-out to several workers in one parallel turn:
 *
 *		for each worker:  req[i].conn = DistConnGet(serverid, userid, target);
 *						  req[i].sql = ...; req[i].params = ...;
 *		DistExecute(req, n, timeout_ms, 0);
 *		... use req[i].result, freed with the memory context ...
 *
 * Nothing here blocks: every wait serves interrupts.  See README, sections
 * "Connections" and "Remote transactions".
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_CONNECTION_H
#define DIST_CONNECTION_H

#include "postgres.h"

#include "libpq-fe.h"

#include "vecdist_compat.h"

typedef struct DistConn DistConn;

/* Which server of a worker group may answer. */
typedef enum DistTarget
{
	DIST_TARGET_PRIMARY,		/* the primary: writes, strong reads */
	DIST_TARGET_ANY				/* any server: reads that may be old */
} DistTarget;

/* What the statement needs. */
#define DIST_REQ_XACT		0x01	/* open a remote transaction if there is
									 * none */
#define DIST_REQ_WRITE		0x02	/* the statement may write; implies XACT */
#define DIST_REQ_BINARY		0x04	/* want the result in binary */
#define DIST_REQ_PREPARED	0x08	/* prepare it once per connection, found
									 * again by its text */
#define DIST_REQ_ONCE		0x10	/* has effects outside a transaction: runs
									 * outside one, is never repeated */

/*
 * A statement without parameters, DIST_REQ_BINARY and DIST_REQ_PREPARED goes
 * by the simple protocol; only such a one may be a COPY or a list of several
 * statements.  All others go by the extended protocol.
 */

/* Parameters of one statement, in libpq's terms; types are inferred. */
typedef struct DistParams
{
	int			n;
	const char *const *values;	/* NULL entries are SQL NULLs */
	const int  *lengths;
	const int  *formats;		/* 1 = binary */
} DistParams;

/* One statement for one connection; see DistExecute. */
typedef struct DistRequest
{
	DistConn   *conn;
	const char *sql;
	const DistParams *params;	/* or NULL */
	int			flags;			/* DIST_REQ_* */

	/* results */
	PGresult   *result;			/* freed by reset or deletion of the memory
								 * context that was current in DistExecute; of
								 * several results the last */
	ErrorData  *error;			/* with DIST_EXEC_KEEP_GOING: why there is no
								 * result, in the same context; else NULL */
} DistRequest;

/*
 * DistConnGet
 *		The connection of this backend to a worker, opened if need be.
 *
 * Returns at once: connecting goes on in the background and is waited for by
 * the first operation.  'userid' is the local role whose user mapping is
 * used.  DIST_TARGET_ANY returns the primary's connection if that has a
 * remote transaction open, or if the local transaction reads one snapshot
 * throughout; otherwise it prefers the server that answered last, and after
 * a failure the next one of the group.  If another operation is unfinished on
 * the connection, its finish callback is called; DistExecute, DistExec and
 * DistConnStart do so too.
 *
 * The pointer stays valid until the end of the transaction.
 */
extern DistConn *DistConnGet(Oid serverid, Oid userid, DistTarget target);

/*
 * DistExecute
 *		Run one statement on each connection, all at the same time.
 *
 * Connections are pairwise different.  Returns when all have answered.  The
 * first remote error, lost connection or timeout raises an error (08001 could
 * not connect, 08006 lost or timed out, else the worker's own SQLSTATE,
 * message, detail, hint and a context line naming the worker); the abort that
 * follows brings the other connections to rest or closes them.  timeout_ms is
 * the longest silence of a worker; < 0: wait as long as it takes.  Connecting
 * is always bounded by vecdist.node_timeout.  A lost connection that had no
 * remote transaction and was opened before this statement is opened again
 * once and the statement repeated, unless it is a DIST_REQ_ONCE.
 *
 * A statement that fails inside a remote transaction leaves that transaction
 * unusable until a (sub)transaction abort, with DIST_EXEC_KEEP_GOING too.
 *
 * With DIST_EXEC_KEEP_GOING an error of one request is stored in it instead,
 * and the others are waited for; interrupts still raise.
 *
 * DIST_EXEC_SHORT goes with it, for answers that sockets can hold: one that is
 * there before the last one need not be read at once.
 */
#define DIST_EXEC_KEEP_GOING 0x01
#define DIST_EXEC_SHORT		0x02
extern void DistExecute(DistRequest *requests, int nrequests, int timeout_ms,
						int exec_flags);

/*
 * As DistExecute, and calls meanwhile(arg) once when all statements have been
 * sent, so that the caller works while the workers do.  It must not use
 * connections.
 */
extern void DistExecuteMeanwhile(DistRequest *requests, int nrequests,
								 int timeout_ms, int exec_flags,
								 void (*meanwhile) (void *arg), void *arg);

/* One statement on one connection; result as in DistExecute. */
extern PGresult *DistExec(DistConn *conn, const char *sql,
						  const DistParams *params, int flags);

/*
 * Streams.  A caller that leaves an operation open (COPY IN, rows still to
 * come) uses these and registers how to finish it.
 *
 * DistConnStart sends a statement and returns when it is flushed or, with
 * large data, when libpq's buffer holds the rest; DistConnResult waits for
 * the next PGresult (NULL when the statement is over; remote errors are
 * raised).  DistConnPutCopyData hands over bytes of a COPY and waits only
 * while more than a fixed number of bytes are unsent, so many connections
 * can be fed at once.  DistConnPutCopyEnd ends the stream; its result is
 * fetched by DistConnResult.
 */
typedef void (*DistFinishCallback) (DistConn *conn, void *arg);

extern void DistConnStart(DistConn *conn, const char *sql,
						  const DistParams *params, int flags);
extern PGresult *DistConnResult(DistConn *conn, int timeout_ms);
extern void DistConnPutCopyData(DistConn *conn, const char *data, int len);
extern void DistConnPutCopyEnd(DistConn *conn);

/*
 * Register how to finish the operation that is open on a connection, or
 * NULL when it is over.  The callback must leave the connection without an
 * open operation; it may raise errors.  Abort forgets it.
 */
extern void DistConnSetFinish(DistConn *conn, DistFinishCallback callback,
							  void *arg);

/*
 * Close the connection when the transaction has ended, because a statement of
 * somebody else's may have changed settings or role of the session.
 */
extern void DistConnRetire(DistConn *conn);

/* Raise the error that a PGresult holds.  'sql' may be NULL. */
extern void DistConnReportError(DistConn *conn, PGresult *result,
								const char *sql) pg_attribute_noreturn();

/* Facts about a connection, for EXPLAIN and messages. */
extern const char *DistConnWorker(DistConn *conn);	/* name of the server */
extern const char *DistConnHost(DistConn *conn);	/* "host:port" in use */
extern bool DistConnIsStandby(DistConn *conn);
extern bool DistConnInXact(DistConn *conn);
extern Oid	DistConnServer(DistConn *conn);
extern Oid	DistConnUser(DistConn *conn);

#endif							/* DIST_CONNECTION_H */
