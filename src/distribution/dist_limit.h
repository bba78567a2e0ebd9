/*-------------------------------------------------------------------------
 *
 * dist_limit.h
 *	  How many connections to a worker all sessions of this server may have.
 *
 * A connection has a slot from before it is opened until it is closed.  See
 * README, section "Limit of connections".
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_LIMIT_H
#define DIST_LIMIT_H

#include "postgres.h"

/* Setting vecdist.max_connections_per_worker; 0: no limit. */
extern int	DistMaxConnections;

/* Number of a slot; these are none. */
#define DIST_SLOT_NONE		(-1)
#define DIST_SLOT_UNCOUNTED	(-2)	/* may be open without being counted */

/* Settings and shared memory.  Called by DistInit. */
extern void DistLimitInit(void);

/*
 * A slot for a connection to a worker, or DIST_SLOT_NONE.  With "force" the
 * limit does not matter.  Raises 55000 if there is a limit and no shared
 * memory to keep it.
 */
extern int	DistSlotTake(Oid serverid, bool force);

/* Give a slot back.  DIST_SLOT_NONE and DIST_SLOT_UNCOUNTED are nothing. */
extern void DistSlotReturn(int slot);

/*
 * Say that the connection is idle and no transaction uses it, so that its
 * session may be asked for the slot; or that it is not.
 */
extern void DistSlotSetIdle(int slot, bool idle);

/* Are there fewer slots than wanted for the worker that this slot is for? */
extern bool DistSlotIsWanted(int slot);

/*
 * Wait for a slot:
 *
 *		DistSlotBeginWait(serverid);
 *		PG_TRY: while ((slot = DistSlotTake(serverid, false)) == DIST_SLOT_NONE)
 *			DistSlotSleep(timeout_ms);
 *		PG_FINALLY: DistSlotEndWait();
 *
 * DistSlotSleep returns when a slot may have become free, and at times without
 * reason; it asks sessions with an idle connection for theirs, and serves
 * interrupts.  DistSlotEndWait does nothing if nobody waits, so it can be
 * called whenever a session ends.
 */
extern void DistSlotBeginWait(Oid serverid);
extern void DistSlotSleep(long timeout_ms);
extern void DistSlotEndWait(void);

#endif							/* DIST_LIMIT_H */
