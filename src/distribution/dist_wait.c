/*-------------------------------------------------------------------------
 *
 * dist_wait.c
 *	  Wait for sockets, the process latch and the postmaster's death.
 *
 * The WaitEventSet of the last wait is kept: a search asks the same workers
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
#include "utils/wait_event.h"

#include "distribution/dist_connection_private.h"
#include "vecdist_compat.h"

/* Positions in the set: latch, postmaster, then the sockets. */
#define FIRST_SOCKET 2

static WaitEventSet *cached_set = NULL;
static DistWaitItem *cached_items = NULL;	/* in TopMemoryContext */
static int	cached_nitems = 0;
static int	cached_size = 0;
static WaitEvent *occurred = NULL;	/* as long as cached_items */

static void build_set(const DistWaitItem *items, int nitems);
static bool set_matches(const DistWaitItem *items, int nitems);

/*
 * DistWait
 *		Wait until a socket is ready, the latch is set, or time is up.
 *
 * Sets "ready" of each item.  timeout_ms < 0: no limit.  Serves interrupts
 * before and after waiting, unless they are held.  Returns false if the
 * postmaster died while interrupts were held: the caller must give up;
 * otherwise the process exits then.
 */
bool
DistWait(DistWaitItem *items, int nitems, long timeout_ms)
{
	int			noccurred;
	bool		latch_set = false;

	CHECK_FOR_INTERRUPTS();

	if (!set_matches(items, nitems))
		build_set(items, nitems);

	for (int i = 0; i < nitems; i++)
	{
		items[i].ready = 0;
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
set_matches(const DistWaitItem *items, int nitems)
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
build_set(const DistWaitItem *items, int nitems)
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
										  size * sizeof(DistWaitItem));
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
