/*-------------------------------------------------------------------------
 *
 * dist_wait.c
 *	  Wait for several connections at once.
 *
 * A wait ends with the process latch and the postmaster's death, too, so it
 * serves interrupts.  The WaitEventSet of the last wait is kept: a search asks the same workers
 * again and again, and making a set costs a system call per socket.  A set
 * does not notice that a socket was closed and its number used anew, so
 * whoever closes a socket, or lets libpq do so, calls DistWaitForget.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "distribution/dist_connection_private.h"
#include "vecdist_compat.h"

typedef struct WaitItem
{
	pgsocket	sock;
	uint32		events;			/* WL_SOCKET_READABLE, WL_SOCKET_WRITEABLE */
	uint32		ready;			/* which of them came true */
} WaitItem;

/* Positions in the set: latch, postmaster, then the sockets. */
#define FIRST_SOCKET 2

static WaitEventSet *cached_set = NULL;
static WaitItem *cached_items = NULL;	/* in TopMemoryContext */
static int	cached_nitems = 0;
static int	cached_size = 0;
static WaitEvent *occurred = NULL;	/* as long as cached_items */

static void prepare_item(DistConn *conn, WaitItem *item, TimestampTz now,
						 TimestampTz *deadline);
static bool progress(DistConn *conn, uint32 ready, TimestampTz now);
static bool wait_for_sockets(WaitItem *items, int nitems, long timeout_ms);
static void build_set(const WaitItem *items, int nitems);
static bool set_matches(const WaitItem *items, int nitems);

/*
 * DistConnWait
 *		Wait until one of several connections has made progress.
 *
 * Each is CONNECTING or BUSY.  Those that can go on do so: bytes are sent and
 * taken in, connecting takes its next step or gives up on a host.  ready[i]
 * says which; it may be CLOSED or IDLE then.  Returns when "deadline" has
 * passed (DT_NOEND: none) or the latch was set, and serves interrupts.  False
 * if interrupts are held and the postmaster died: the caller must give up.
 */
bool
DistConnWait(DistConn **conns, int nconns, TimestampTz deadline, bool *ready)
{
	WaitItem   *items = palloc(nconns * sizeof(WaitItem));
	TimestampTz now = GetCurrentTimestamp();
	bool		closed = false;
	bool		alive = true;

	for (int i = 0; i < nconns; i++)
	{
		prepare_item(conns[i], &items[i], now, &deadline);
		closed |= items[i].sock < 0;
	}
	if (!closed)
	{
		alive = wait_for_sockets(items, nconns,
								 deadline == DT_NOEND ? -1 :
								 TimestampDifferenceMilliseconds(now, deadline));
		now = GetCurrentTimestamp();
	}
	for (int i = 0; i < nconns; i++)
		ready[i] = progress(conns[i],
							items[i].sock < 0 ? WL_SOCKET_MASK : items[i].ready,
							now);
	pfree(items);
	return alive;
}

/* Say what a connection waits for; *deadline becomes earlier if need be. */
static void
prepare_item(DistConn *conn, WaitItem *item, TimestampTz now,
			 TimestampTz *deadline)
{
	/* It is -1 when libpq has noticed the end of the connection. */
	item->sock = PQsocket(conn->pg);
	item->ready = 0;

	if (conn->state == DIST_CONN_CONNECTING)
	{
		if (conn->connect_start == 0)
		{
			conn->connect_start = now;
			conn->connect_deadline =
				TimestampTzPlusMilliseconds(now,
											Max(DistNodeTimeout / conn->nhosts, 1));
		}
		*deadline = Min(*deadline, conn->connect_deadline);
		item->events = conn->polling == PGRES_POLLING_READING ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
	}
	else
	{
		Assert(conn->state == DIST_CONN_BUSY);
		item->events = WL_SOCKET_READABLE |
			(conn->flushed ? 0 : WL_SOCKET_WRITEABLE);
	}
}

/* Let a connection go on after the wait; false if it had no reason to. */
static bool
progress(DistConn *conn, uint32 ready, TimestampTz now)
{
	if (conn->state == DIST_CONN_CONNECTING)
	{
		if (ready != 0)
			DistConnectAdvance(conn);
		else if (now >= conn->connect_deadline)
			DistConnectTimeout(conn);
		else
			return false;
		return true;
	}

	if (ready == 0)
		return false;
	if (ready & WL_SOCKET_READABLE)
	{
		/* A failure to read shows when the results are asked for. */
		(void) PQconsumeInput(conn->pg);
		if (PQsocket(conn->pg) < 0)
			DistWaitForget();
	}
	if (!conn->flushed)
		DistExchangeFlush(conn);
	return true;
}

/*
 * Wait until a socket is ready, the latch is set, or time is up.
 *
 * Sets "ready" of each item.  timeout_ms < 0: no limit.  Serves interrupts
 * before and after waiting, unless they are held.  When the postmaster dies
 * the process exits, or returns false if interrupts are held.
 */
static bool
wait_for_sockets(WaitItem *items, int nitems, long timeout_ms)
{
	int			noccurred;
	bool		latch_set = false;

	CHECK_FOR_INTERRUPTS();

	if (!set_matches(items, nitems))
		build_set(items, nitems);

	for (int i = 0; i < nitems; i++)
	{
		if (cached_items[i].events != items[i].events)
		{
			ModifyWaitEvent(cached_set, FIRST_SOCKET + i, items[i].events, NULL);
			cached_items[i].events = items[i].events;
		}
	}

	noccurred = WaitEventSetWait(cached_set, timeout_ms, occurred,
								 FIRST_SOCKET + nitems, VECDIST_WAIT_EVENT);
	for (int i = 0; i < noccurred; i++)
	{
		if (occurred[i].events & WL_LATCH_SET)
			latch_set = true;
		else if (occurred[i].events & WL_POSTMASTER_DEATH)
		{
			if (InterruptHoldoffCount > 0)
				return false;
			proc_exit(1);
		}
		else
			items[occurred[i].pos - FIRST_SOCKET].ready = occurred[i].events;
	}

	if (latch_set)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/* Forget the kept set, because a socket in it may have been closed. */
void
DistWaitForget(void)
{
	WaitEventSet *set = cached_set;

	cached_set = NULL;
	cached_nitems = 0;
	if (set != NULL)
		FreeWaitEventSet(set);
}

static bool
set_matches(const WaitItem *items, int nitems)
{
	if (cached_set == NULL || nitems != cached_nitems)
		return false;
	for (int i = 0; i < nitems; i++)
		if (items[i].sock != cached_items[i].sock)
			return false;
	return true;
}

/* Make a set for these sockets the kept one. */
static void
build_set(const WaitItem *items, int nitems)
{
	WaitEventSet *set;

	DistWaitForget();

	if (nitems > cached_size)
	{
		int			size = Max(nitems, 8);

		if (cached_items != NULL)
		{
			pfree(cached_items);
			pfree(occurred);
			cached_items = NULL;
			occurred = NULL;
			cached_size = 0;
		}
		cached_items = MemoryContextAlloc(TopMemoryContext,
										  size * sizeof(WaitItem));
		occurred = MemoryContextAlloc(TopMemoryContext,
									  (FIRST_SOCKET + size) * sizeof(WaitEvent));
		cached_size = size;
	}

	set = VecdistCreateWaitEventSet(TopMemoryContext, FIRST_SOCKET + nitems);

	/* From here on an error leaves a set that matches nothing. */
	cached_set = set;
	cached_nitems = -1;
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_POSTMASTER_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < nitems; i++)
	{
		AddWaitEventToSet(set, items[i].events, items[i].sock, NULL, NULL);
		cached_items[i] = items[i];
	}
	cached_nitems = nitems;
}
