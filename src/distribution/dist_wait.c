/*-------------------------------------------------------------------------
 *
 * dist_wait.c
 *	  Wait for several connections at once.
 *
 * A wait ends with the process latch and the postmaster's death, too, so it
 * serves interrupts.
 *
 * The WaitEventSet of the last wait is kept: a search asks the same workers
 * again and again, and making a set costs a system call per socket.  So are sets
 * of one socket each, for those who wait for the last of several.  A set
 * does not notice that a socket was closed and its number used anew, so
 * whoever closes a socket, or lets libpq do so, calls DistWaitForget.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <poll.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "distribution/dist_config.h"
#include "distribution/dist_connection_private.h"
#include "vecdist_compat.h"

typedef struct WaitItem
{
	pgsocket	sock;
	uint32		events;			/* WL_SOCKET_READABLE, WL_SOCKET_WRITEABLE */
	uint32		ready;			/* which of them came true */
} WaitItem;

/* A socket in the kept set. */
typedef struct KeptSocket
{
	pgsocket	sock;
	uint32		events;
	WaitItem   *item;			/* who waits for it now; NULL: nobody */
} KeptSocket;

/* Positions in the set: latch, postmaster, then the sockets. */
#define FIRST_SOCKET 2

static WaitEventSet *kept_set = NULL;
static KeptSocket *kept = NULL; /* in TopMemoryContext */
static int	nkept = 0;
static int	kept_size = 0;
static WaitEvent *occurred = NULL;	/* FIRST_SOCKET longer than "kept" */

/*
 * Sets of latch, postmaster and one socket, for DistConnWaitLast.  They cost a
 * file descriptor each.
 */
#define MAX_LONE 16

static struct
{
	pgsocket	sock;
	WaitEventSet *set;
}			lone[MAX_LONE];
static int	nlone = 0;

static void prepare_item(DistConn *conn, WaitItem *item, TimestampTz now,
						 TimestampTz *deadline);
static bool progress(DistConn *conn, uint32 ready, TimestampTz now);
static WaitEventSet *lone_set(pgsocket sock);
static void poll_sockets(WaitItem *items, int nitems);
static bool wait_for_sockets(WaitItem *items, int nitems, long timeout_ms);
static bool use_kept_set(WaitItem *items, int nitems);
static void build_set(WaitItem *items, int nitems);

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

/*
 * DistConnWaitLast
 *		Wait until the last of several connections has made progress, and see
 *		what the others have done meanwhile.
 *
 * To be woken by each of them takes as long as to read its answer.  Who waits
 * for all anyhow, and for little data, which the kernel keeps as long, sleeps
 * once, mostly.  Otherwise as DistConnWait.
 */
bool
DistConnWaitLast(DistConn **conns, int nconns, TimestampTz deadline,
				 bool *ready)
{
	WaitItem   *items = palloc(nconns * sizeof(WaitItem));
	TimestampTz now = GetCurrentTimestamp();
	WaitEventSet *set = NULL;
	bool		may_sleep = nconns > 1;
	WaitEvent	event;

	for (int i = 0; i < nconns && may_sleep; i++)
	{
		prepare_item(conns[i], &items[i], now, &deadline);
		may_sleep = items[i].sock >= 0 && items[i].events == WL_SOCKET_READABLE &&
			conns[i]->state == DIST_CONN_BUSY;
	}
	if (may_sleep)
		set = lone_set(items[nconns - 1].sock);
	if (set == NULL)
	{
		pfree(items);
		return DistConnWait(conns, nconns, deadline, ready);
	}

	CHECK_FOR_INTERRUPTS();
	if (WaitEventSetWait(set, deadline == DT_NOEND ? -1 :
						 TimestampDifferenceMilliseconds(now, deadline),
						 &event, 1, VECDIST_WAIT_EVENT) > 0 &&
		event.events == WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	poll_sockets(items, nconns);
	now = GetCurrentTimestamp();
	for (int i = 0; i < nconns; i++)
		ready[i] = progress(conns[i], items[i].ready, now);
	pfree(items);
	return true;
}

/* The set of a socket, made if need be; NULL if there are too many. */
static WaitEventSet *
lone_set(pgsocket sock)
{
	WaitEventSet *set;

	for (int i = 0; i < nlone; i++)
	{
		if (lone[i].sock == sock)
			return lone[i].set;
	}
	if (nlone == MAX_LONE)
		return NULL;
	set = VecdistCreateWaitEventSet(TopMemoryContext, FIRST_SOCKET + 1);
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, sock, NULL, NULL);
	lone[nlone].sock = sock;
	lone[nlone++].set = set;
	return set;
}

/* Set "ready" of those that can be read now. */
static void
poll_sockets(WaitItem *items, int nitems)
{
	struct pollfd *fds = palloc0(sizeof(struct pollfd) * nitems);

	for (int i = 0; i < nitems; i++)
	{
		fds[i].fd = items[i].sock;
		fds[i].events = POLLIN;
	}
	if (poll(fds, nitems, 0) > 0)
	{
		for (int i = 0; i < nitems; i++)
			items[i].ready = fds[i].revents != 0 ? WL_SOCKET_READABLE : 0;
	}
	pfree(fds);
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
	bool		stale = false;

	CHECK_FOR_INTERRUPTS();

	if (!use_kept_set(items, nitems))
		build_set(items, nitems);

	noccurred = WaitEventSetWait(kept_set, timeout_ms, occurred,
								 FIRST_SOCKET + nkept, VECDIST_WAIT_EVENT);
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
		{
			WaitItem   *item = kept[occurred[i].pos - FIRST_SOCKET].item;

			if (item != NULL)
				item->ready = occurred[i].events;
			else
				stale = true;
		}
	}

	/* Something on a socket nobody waits for would wake us again and again. */
	if (stale)
		DistWaitForget();
	if (latch_set)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/* Forget the kept sets, because a socket in them may have been closed. */
void
DistWaitForget(void)
{
	WaitEventSet *set = kept_set;

	kept_set = NULL;
	nkept = 0;
	if (set != NULL)
		FreeWaitEventSet(set);
	while (nlone > 0)
		FreeWaitEventSet(lone[--nlone].set);
}

/*
 * Direct the kept set at these sockets; false if one is not in it.  More may
 * be in it: as workers answer one after the other, fewer are waited for.
 */
static bool
use_kept_set(WaitItem *items, int nitems)
{
	if (kept_set == NULL)
		return false;

	for (int k = 0; k < nkept; k++)
		kept[k].item = NULL;
	for (int i = 0; i < nitems; i++)
	{
		int			k = 0;

		while (k < nkept && kept[k].sock != items[i].sock)
			k++;
		if (k == nkept)
			return false;
		kept[k].item = &items[i];
		if (kept[k].events != items[i].events)
		{
			ModifyWaitEvent(kept_set, FIRST_SOCKET + k, items[i].events, NULL);
			kept[k].events = items[i].events;
		}
	}
	return true;
}

/* Make a set for these sockets the kept one. */
static void
build_set(WaitItem *items, int nitems)
{
	DistWaitForget();

	if (nitems > kept_size)
	{
		int			size = Max(nitems, 8);

		if (kept != NULL)
			pfree(kept);
		if (occurred != NULL)
			pfree(occurred);
		kept = NULL;
		occurred = NULL;
		kept_size = 0;
		kept = MemoryContextAlloc(TopMemoryContext, size * sizeof(KeptSocket));
		occurred = MemoryContextAlloc(TopMemoryContext,
									  (FIRST_SOCKET + size) * sizeof(WaitEvent));
		kept_size = size;
	}

	/* An error on the way leaves a set with fewer sockets, which is right. */
	kept_set = VecdistCreateWaitEventSet(TopMemoryContext,
										 FIRST_SOCKET + nitems);
	AddWaitEventToSet(kept_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(kept_set, WL_POSTMASTER_DEATH, PGINVALID_SOCKET, NULL,
					  NULL);
	for (int i = 0; i < nitems; i++)
	{
		AddWaitEventToSet(kept_set, items[i].events, items[i].sock, NULL, NULL);
		kept[i].sock = items[i].sock;
		kept[i].events = items[i].events;
		kept[i].item = &items[i];
		nkept++;
	}
}
