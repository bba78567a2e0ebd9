/*-------------------------------------------------------------------------
 *
 * dist_connection_private.h
 *	  What the files of the connection manager share.
 *
 *	dist_connection		the public functions; raises errors
 *	dist_open			whether a connection may be opened, and waiting for that
 *	dist_connect		opening a connection: hosts, roles, password rule
 *	dist_exchange		one statement on one connection, from send to end
 *	dist_wait			waiting for several connections at once
 *	dist_transaction	end of (sub)transactions
 *
 * dist_connect and dist_exchange are state machines that never wait and never
 * raise errors (but for lack of memory), so that abort processing can use
 * them.  They say what happened in the connection's state and "failure".
 *
 * States of a connection, and who makes each transition:
 *
 *	CLOSED -> CONNECTING		DistConnectStart
 *	CONNECTING -> IDLE			DistConnectAdvance: a server of the right role
 *	CONNECTING -> CLOSED		DistConnectAdvance: no host is left;
 *								DistConnectAbandon: nobody waits any more
 *	IDLE -> BUSY				DistExchangeStart
 *	BUSY -> IDLE				DistExchangeAdvance: the last result was taken
 *	IDLE, BUSY -> BROKEN		DistConnLost, while a remote transaction is open
 *	IDLE, BUSY -> CLOSED		DistConnLost otherwise
 *	any -> CLOSED				DistConnClose
 *
 * A connection has a slot (dist_limit.h) before it is CONNECTING and keeps it
 * until DistConnClose: one that was lost can be opened again at once.
 *
 * BROKEN means that remote work of the local transaction is gone: every use
 * raises an error until the (sub)transaction that opened the remote
 * transaction has ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_CONNECTION_PRIVATE_H
#define DIST_CONNECTION_PRIVATE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"

#include "distribution/dist_connection.h"
#include "distribution/dist_limit.h"
#include "distribution/dist_options.h"
#include "distribution/dist_reconnect.h"
#include "vecdist_compat.h"

typedef enum DistConnState
{
	DIST_CONN_CLOSED,			/* no PGconn */
	DIST_CONN_CONNECTING,		/* PGconn is being established */
	DIST_CONN_IDLE,				/* ready for a statement */
	DIST_CONN_BUSY,				/* an exchange is under way */
	DIST_CONN_BROKEN			/* no PGconn; lost with its transaction */
} DistConnState;

/* One server of the group, as this backend knows it. */
typedef struct DistServerHost
{
	char	   *host;
	char	   *port;
	char	   *addresses;		/* for libpq's hostaddr: separated by commas;
								 * "" for a socket; NULL: not looked up */
	bool		failed;			/* did not answer last time: try others first */
} DistServerHost;

/* A statement prepared on a connection. */
typedef struct DistPrepared
{
	uint32		hash;			/* of the text */
	char	   *sql;
	int			id;				/* its name is "vecdist_<id>" */
	bool		ready;			/* the worker has confirmed it */
} DistPrepared;

#define DIST_MAX_PREPARED 256

/* What the end of a (sub)transaction has still to do with a connection. */
typedef enum DistEndingKind
{
	DIST_END_NONE,
	DIST_END_ABORT,				/* ROLLBACK, ROLLBACK PREPARED */
	DIST_END_SUBABORT,			/* ROLLBACK TO SAVEPOINT */
	DIST_END_COMMIT_PREPARED
} DistEndingKind;

/* Progress of it; see dist_transaction.c. */
typedef struct DistEnding
{
	DistEndingKind kind;
	int			level;			/* DIST_END_SUBABORT: of the subtransaction */
	int			nsent;			/* statements sent so far */
	bool		running;		/* the exchange under way is one of them */
	bool		reopened;
	bool		done;
	bool		failed;
	char		sql[300];		/* the last statement */
	char		message[256];	/* why it failed */
} DistEnding;

struct DistConn
{
	slist_node	link;			/* in DistConns */
	Oid			serverid;		/* these three identify it */
	Oid			userid;
	DistTarget	target;
	DistConnState state;
	PGconn	   *pg;				/* in CONNECTING, IDLE and BUSY */
	char		worker[NAMEDATALEN];	/* name of the foreign server */

	/* options; contents in option_context */
	MemoryContext option_context;
	DistConnOptions *options;	/* NULL: not read yet */
	DistServerHost *hosts;
	int			nhosts;
	uint32		server_hash;	/* of server and user mapping in their */
	uint32		mapping_hash;	/* syscaches */
	bool		recheck_options;	/* catalogs changed since they were read */

	/* connecting */
	int			host;			/* index of the server in use or tried; -1 */
	char		host_name[280]; /* scratch of DistConnHost */
	int		   *order;			/* hosts in the order to be tried */
	int			norder_next;	/* index in "order" of the next to try */
	PostgresPollingStatusType polling;	/* what libpq waits for */
	TimestampTz connect_start;	/* since when somebody waits for this host; 0:
								 * nobody has waited yet */
	TimestampTz connect_deadline;	/* until when; valid with connect_start */

	/* the exchange, while BUSY */
	bool		pipelined;		/* extended protocol in pipeline mode */
	StringInfoData steps;		/* kinds of the commands sent, a letter each */
	int			step;			/* index of the one whose results come now */
	bool		copy_in;		/* the worker takes COPY data */
	bool		copy_out;		/* the worker sends COPY data */
	bool		flushed;		/* libpq has nothing left to send */
	int			exchange_level; /* local nesting level that the statement
								 * belongs to by now */
	int			prepared_now;	/* index in "prepared" of the statement being
								 * prepared or executed; -1: none */
	size_t		copy_unflushed; /* COPY bytes handed over since the last time
								 * everything was sent */
	const char *sql;			/* in exchange_sql, for messages */
	StringInfoData exchange_sql;
	StringInfoData send_buffer; /* scratch of DistExchangeStart */

	/* statements prepared on this PGconn; texts in prepared_context */
	MemoryContext prepared_context;
	DistPrepared *prepared;
	int			nprepared;
	int			prepared_next_id;

	/* the remote transaction */
	int			depth;			/* 0: none; 1: BEGIN; n: savepoint n is open */
	bool		release;		/* savepoints above "depth" are to be released */
	bool		wrote;
	int			begin_level;	/* local nesting level it was opened in */
	char		gid[200];		/* not empty: PREPARE TRANSACTION was sent */
	bool		prepared_xact;	/* and has succeeded, on all participants */
	DistEnding	ending;

	/* how to finish the operation that is open */
	DistFinishCallback finish;
	void	   *finish_arg;
	int			finish_level;	/* local nesting level it was set in */

	int			slot;			/* counts it; dist_limit.h */
	uint32		turn;			/* of DistConnOpenAll that has made it ready */
	DistReconnectKey reconnect; /* what a failure to connect is found by */
	DistReconnectState last_failure;	/* as this session knows it */
	bool		deferred;		/* CLOSED, and the next attempt is not due */
	bool		start_failed;	/* CLOSED, because no host could be started */
	bool		retire;			/* close it when the transaction has ended */
	bool		used;			/* has carried a statement since it was opened */
	int			failure_code;	/* SQLSTATE of "failure" */
	char		failure[1024];	/* why it is not open */
};

/* dist_connection.c */
extern slist_head DistConns;	/* all connections of this backend; they are
								 * never freed */
extern bool DistConnTouched;	/* has the transaction used a connection? */
extern void DistConnFinishOperation(DistConn *conn);
extern void DistConnRaiseFailure(DistConn *conn, const char *sql)
			pg_attribute_noreturn();

/* dist_open.c */
extern void DistConnEnsureOpen(DistConn *conn);
extern void DistConnOpenAll(DistRequest *requests, int nrequests);
extern bool DistConnMayReopen(DistConn *conn);
extern const char *DistConnNextAttempt(DistConn *conn);

/* dist_connect.c */
extern void DistConnectStart(DistConn *conn);
extern void DistConnectAdvance(DistConn *conn);
extern void DistConnectTimeout(DistConn *conn);
extern void DistConnectAbandon(DistConn *conn);
extern void DistConnClose(DistConn *conn);
extern void DistConnLost(DistConn *conn, const char *reason);
extern bool DistConnIsAlive(DistConn *conn);

/* dist_exchange.c */
#define DIST_REQ_BARE		0x1000	/* leave the remote transaction alone:
									 * this statement ends it */

typedef enum DistAdvance
{
	DIST_ADVANCE_WAIT,			/* more has to arrive first */
	DIST_ADVANCE_RESULT,		/* took a result of the statement */
	DIST_ADVANCE_DONE,			/* the exchange is over, the connection idle */
	DIST_ADVANCE_LOST			/* the connection is CLOSED or BROKEN */
} DistAdvance;

extern void DistExchangeStart(DistConn *conn, const char *sql,
							  const DistParams *params, int flags);
extern DistAdvance DistExchangeAdvance(DistConn *conn, PGresult **result);
extern void DistExchangeFlush(DistConn *conn);

/* dist_wait.c */
extern bool DistConnWait(DistConn **conns, int nconns, TimestampTz deadline,
						 bool *ready);
extern bool DistConnWaitLast(DistConn **conns, int nconns,
							 TimestampTz deadline, bool *ready);
extern void DistWaitForget(void);

#endif							/* DIST_CONNECTION_PRIVATE_H */
