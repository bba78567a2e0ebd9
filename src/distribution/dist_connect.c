/*-------------------------------------------------------------------------
 *
 * dist_connect.c
 *	  Open a connection: try the servers of a worker group one by one.
 *
 * A host is tried with libpq's asynchronous connect.  The first that accepts
 * us in the wanted role is kept.  Its role comes with the greeting
 * (in_hot_standby), so looking for the primary costs no turn.
 *
 * Functions here neither wait nor raise errors; see the private header for
 * the states.  Resolving a host name is the exception: the system's resolver
 * cannot be interrupted.  Addresses are resolved once and kept until
 * connecting to them fails; clusters that fear their name service write
 * addresses into "hosts".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "distribution/dist_config.h"
#include "distribution/dist_connection_private.h"

/* A host that takes longer than this to accept us is not the first choice. */
#define SLOW_HOST_MS 250

static void try_next_host(DistConn *conn);
static bool start_host(DistConn *conn, DistServerHost *host);
static PGconn *start_libpq(DistConn *conn, DistServerHost *host);
static bool resolve(DistConn *conn, DistServerHost *host);
static void finish_host(DistConn *conn);
static void order_hosts(DistConn *conn);
static void note_failure(DistConn *conn, const char *message);
static void host_failed(DistConn *conn, const char *message);
static void close_keeping_slot(DistConn *conn);
static void close_socket(DistConn *conn);
static void receive_notice(void *arg, const PGresult *result);

/*
 * DistConnectStart
 *		CLOSED -> CONNECTING: begin with the most promising host.
 *
 * The options have been read.  If every host fails at once the connection is
 * CLOSED again, with "failure" set.
 */
void
DistConnectStart(DistConn *conn)
{
	Assert(conn->state == DIST_CONN_CLOSED);
	Assert(conn->options != NULL && conn->depth == 0);
	Assert(conn->slot != DIST_SLOT_NONE);

	conn->failure[0] = '\0';
	conn->failure_code = ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
	order_hosts(conn);
	conn->norder_next = 0;
	try_next_host(conn);
}

/*
 * DistConnectAdvance
 *		CONNECTING: go on, now that the socket is as libpq wanted it.
 */
void
DistConnectAdvance(DistConn *conn)
{
	Assert(conn->state == DIST_CONN_CONNECTING);

	/* libpq may close its socket and open another. */
	DistWaitForget();
	conn->polling = PQconnectPoll(conn->pg);
	if (conn->polling == PGRES_POLLING_FAILED)
		host_failed(conn, PQerrorMessage(conn->pg));
	else if (conn->polling == PGRES_POLLING_OK)
		finish_host(conn);
}

/* CONNECTING: the host has used up its share of node_timeout. */
void
DistConnectTimeout(DistConn *conn)
{
	Assert(conn->state == DIST_CONN_CONNECTING);
	host_failed(conn, "no answer within its share of vecdist.node_timeout");
}

/*
 * DistConnectAbandon
 *		CONNECTING -> CLOSED, if somebody has waited and given up.
 *
 * The next statement begins afresh, with its own node_timeout; with another
 * host if this one was slow, or a statement_timeout shorter than the host's
 * share would never get past it.
 */
void
DistConnectAbandon(DistConn *conn)
{
	Assert(conn->state == DIST_CONN_CONNECTING);
	if (conn->connect_start == 0)
		return;
	if (TimestampDifferenceExceeds(conn->connect_start, GetCurrentTimestamp(),
								   SLOW_HOST_MS))
		conn->hosts[conn->host].failed = true;
	DistConnClose(conn);
}

/*
 * Put the host that worked last, or for reads any host, first, and those that
 * failed the last time at the end.
 */
static void
order_hosts(DistConn *conn)
{
	int			first = conn->host;
	int			n = 0;

	/* Backends that do not care which server answers spread over all. */
	if (first < 0)
		first = conn->target == DIST_TARGET_ANY ?
			MyProcPid % conn->nhosts : 0;

	for (int failed = 0; failed <= 1; failed++)
		for (int i = 0; i < conn->nhosts; i++)
		{
			int			host = (first + i) % conn->nhosts;

			if (conn->hosts[host].failed == (bool) failed)
				conn->order[n++] = host;
		}
}

/* Start the next host that can be started, or end in CLOSED. */
static void
try_next_host(DistConn *conn)
{
	conn->state = DIST_CONN_CLOSED;
	while (conn->norder_next < conn->nhosts)
	{
		conn->host = conn->order[conn->norder_next++];
		if (start_host(conn, &conn->hosts[conn->host]))
		{
			conn->state = DIST_CONN_CONNECTING;
			conn->connect_start = 0;
			return;
		}
		conn->hosts[conn->host].failed = true;
	}
	conn->host = -1;
	DistReconnectFailed(&conn->reconnect, conn->failure);
}

/* Begin connecting to one host; false, and why is noted, if that failed. */
static bool
start_host(DistConn *conn, DistServerHost *host)
{
	if (!resolve(conn, host))
		return false;

	if (!AcquireExternalFD())
	{
		note_failure(conn, "too many open files on the local server");
		return false;
	}
	conn->pg = start_libpq(conn, host);
	if (conn->pg == NULL)
	{
		ReleaseExternalFD();
		note_failure(conn, "out of memory");
		return false;
	}
	if (PQstatus(conn->pg) == CONNECTION_BAD)
	{
		note_failure(conn, PQerrorMessage(conn->pg));
		close_socket(conn);
		return false;
	}
	conn->polling = PGRES_POLLING_WRITING;
	return true;
}

/*
 * PQconnectStartParams with the options of the connection.  A host with
 * several addresses is several hosts to libpq, which tries them in turn.
 */
static PGconn *
start_libpq(DistConn *conn, DistServerHost *host)
{
	int			n = list_length(conn->options->keywords);
	const char **keywords = palloc((n + 4) * sizeof(char *));
	const char **values = palloc((n + 4) * sizeof(char *));
	StringInfoData names;
	PGconn	   *pg;

	for (int i = 0; i < n; i++)
	{
		keywords[i] = list_nth(conn->options->keywords, i);
		values[i] = list_nth(conn->options->values, i);
	}
	initStringInfo(&names);
	appendStringInfoString(&names, host->host);
	for (const char *p = host->addresses; *p != '\0'; p++)
		if (*p == ',')
			appendStringInfo(&names, ",%s", host->host);
	keywords[n] = "host";
	values[n++] = names.data;
	keywords[n] = "port";
	values[n++] = host->port;
	if (host->addresses[0] != '\0')
	{
		keywords[n] = "hostaddr";
		values[n++] = host->addresses;
	}
	keywords[n] = NULL;
	values[n] = NULL;

	DistWaitForget();
	pg = PQconnectStartParams(keywords, values, false);
	pfree(names.data);
	pfree(keywords);
	pfree(values);
	return pg;
}

/* Look up the addresses of a host; false, and why is noted, if that failed. */
static bool
resolve(DistConn *conn, DistServerHost *host)
{
	struct addrinfo hints = {0};
	struct addrinfo *found = NULL;
	MemoryContext old;
	StringInfoData addresses;
	int			rc;

	if (host->addresses != NULL)
		return true;

	old = MemoryContextSwitchTo(conn->option_context);
	initStringInfo(&addresses);
	MemoryContextSwitchTo(old);
	if (host->host[0] == '/' || host->host[0] == '@')
	{
		host->addresses = addresses.data;
		return true;
	}

	hints.ai_socktype = SOCK_STREAM;
	rc = getaddrinfo(host->host, NULL, &hints, &found);
	if (rc != 0)
	{
		pfree(addresses.data);
		note_failure(conn, gai_strerror(rc));
		return false;
	}
	for (struct addrinfo *a = found; a != NULL; a = a->ai_next)
	{
		char		address[NI_MAXHOST];

		if (getnameinfo(a->ai_addr, a->ai_addrlen, address, sizeof(address),
						NULL, 0, NI_NUMERICHOST) == 0)
			appendStringInfo(&addresses, "%s%s", addresses.len ? "," : "",
							 address);
	}
	freeaddrinfo(found);
	host->addresses = addresses.data;
	return true;
}

/* A host has accepted us: keep it if it has the wanted role. */
static void
finish_host(DistConn *conn)
{
	const char *standby = PQparameterStatus(conn->pg, "in_hot_standby");
	const char *hop = PQparameterStatus(conn->pg, "vecdist.hop");

	/*
	 * The worker must have asked for the password of the mapping; otherwise
	 * this role would act under the identity of the account our server runs
	 * under.  Other hosts are not tried: the configuration is at fault.
	 */
	if (conn->options->password_required && !PQconnectionUsedPassword(conn->pg))
	{
		close_socket(conn);
		conn->state = DIST_CONN_CLOSED;
		conn->failure_code = ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED;
		strlcpy(conn->failure,
				"Non-superusers cannot connect if the worker does not request a password.",
				sizeof(conn->failure));
		return;
	}

	/*
	 * A connection pool hands out sessions that were started by others, with
	 * other settings, and changes them behind our back.  Without the library
	 * preloaded there is no hop; add_worker will complain.
	 */
	if (hop != NULL && atoi(hop) != DistHop + 1)
	{
		host_failed(conn, "settings of the session did not arrive: servers must be connected directly, not through a connection pool");
		return;
	}
	if (conn->target == DIST_TARGET_PRIMARY &&
		standby != NULL && strcmp(standby, "on") == 0)
	{
		host_failed(conn, "the server is a standby");
		return;
	}
	if (PQsetnonblocking(conn->pg, 1) != 0)
	{
		host_failed(conn, PQerrorMessage(conn->pg));
		return;
	}
	PQsetNoticeReceiver(conn->pg, receive_notice, conn);

	conn->hosts[conn->host].failed = false;
	conn->used = false;
	conn->flushed = true;
	conn->failure[0] = '\0';
	conn->state = DIST_CONN_IDLE;
	DistReconnectSucceeded(&conn->reconnect);
}

/* The host in use cannot be used; try the next one. */
static void
host_failed(DistConn *conn, const char *message)
{
	DistServerHost *host = &conn->hosts[conn->host];

	note_failure(conn, message);
	close_socket(conn);
	host->failed = true;
	pfree(host->addresses);
	host->addresses = NULL;		/* look them up again next time */
	try_next_host(conn);
}

/* Append "host:port: first line of message" to the reasons of failure. */
static void
note_failure(DistConn *conn, const char *message)
{
	size_t		used = strlen(conn->failure);

	snprintf(conn->failure + used, sizeof(conn->failure) - used,
			 "%s%s: %.*s", used ? "\n" : "", DistConnHost(conn),
			 (int) strcspn(message, "\n"), message);
}

/*
 * DistConnClose
 *		any -> CLOSED.  The remote transaction, if any, is rolled back by the
 *		worker when it notices.
 */
void
DistConnClose(DistConn *conn)
{
	int			slot = conn->slot;

	close_keeping_slot(conn);
	conn->deferred = conn->start_failed = false;
	conn->slot = DIST_SLOT_NONE;
	DistSlotReturn(slot);
}

static void
close_keeping_slot(DistConn *conn)
{
	close_socket(conn);
	conn->state = DIST_CONN_CLOSED;
	conn->depth = 0;
	conn->release = false;
	conn->wrote = false;
	conn->finish = NULL;
}

/*
 * DistConnLost
 *		IDLE, BUSY -> BROKEN or CLOSED: the worker does not answer any more.
 *
 * The server is put last for the next attempt.  A remote transaction that
 * was only about to be opened is no loss.
 */
void
DistConnLost(DistConn *conn, const char *reason)
{
	char		message[sizeof(conn->failure)];
	int			depth = conn->depth;
	bool		wrote = conn->wrote;

	/* 'reason' may live in the PGconn or in "failure". */
	strlcpy(message, reason, sizeof(message));
	conn->failure[0] = '\0';
	note_failure(conn, message);
	conn->failure_code = ERRCODE_CONNECTION_FAILURE;
	if (conn->host >= 0)
		conn->hosts[conn->host].failed = true;

	close_keeping_slot(conn);
	if (depth > 0)
	{
		conn->depth = depth;
		conn->wrote = wrote;
		conn->state = DIST_CONN_BROKEN;
	}
}

/* Free the PGconn, if any.  Never blocks: the socket is non-blocking. */
static void
close_socket(DistConn *conn)
{
	if (conn->pg == NULL)
		return;
	DistWaitForget();
	PQfinish(conn->pg);
	conn->pg = NULL;
	ReleaseExternalFD();
	conn->nprepared = 0;
	conn->prepared_now = -1;
	conn->prepared_next_id = 0;
	if (conn->prepared_context != NULL)
		MemoryContextReset(conn->prepared_context);
	conn->prepared = NULL;
}

/*
 * DistConnIsAlive
 *		Has the worker left an idle connection open?
 *
 * On an idle connection nothing should arrive but notices and changed
 * settings; those are taken in here.
 */
bool
DistConnIsAlive(DistConn *conn)
{
	struct pollfd pfd = {0};

	Assert(conn->state == DIST_CONN_IDLE);
	pfd.fd = PQsocket(conn->pg);
	pfd.events = POLLIN;
	while (poll(&pfd, 1, 0) > 0)
	{
		if (PQconsumeInput(conn->pg) == 0 ||
			PQstatus(conn->pg) != CONNECTION_OK)
			return false;
	}
	return true;
}

/*
 * Pass a worker's warnings on to our client; other notices only show under
 * debugging, since every worker says the same.
 */
static void
receive_notice(void *arg, const PGresult *result)
{
	DistConn   *conn = arg;
	const char *severity = PQresultErrorField(result,
											  PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	bool		warning = severity != NULL && strcmp(severity, "WARNING") == 0;

	if (message == NULL)
		return;

	/* ereport() serves interrupts; we are in the middle of libpq. */
	HOLD_INTERRUPTS();
	ereport(warning ? WARNING : DEBUG1,
			errmsg_internal("worker \"%s\": %s", conn->worker, message));
	RESUME_INTERRUPTS();
}
