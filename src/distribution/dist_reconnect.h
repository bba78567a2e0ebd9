/*-------------------------------------------------------------------------
 *
 * dist_reconnect.h
 *	  When to try again to connect to a worker that could not be reached.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_RECONNECT_H
#define DIST_RECONNECT_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Who connects where, and as whom; compared as bytes. */
typedef struct DistReconnectKey
{
	Oid			database;
	Oid			server;			/* the foreign server */
	uint32		target;			/* DistTarget */
	uint32		unused;			/* 0 */
	uint64		options;		/* hash of those that connections are made
								 * with */
} DistReconnectKey;

/* What the last failure means for those who come after it. */
typedef struct DistReconnectState
{
	uint64		failure;		/* its number, or 0: there was none */
	TimestampTz due;			/* when the next attempt may be made */
	char		reason[256];	/* why it failed */
} DistReconnectState;

extern void DistReconnectInit(void);

/*
 * DistReconnectMayTry
 *		May this session try to connect now?
 *
 * If so, it has to: others are refused until the next attempt is due.
 * Otherwise *state says why.
 */
extern bool DistReconnectMayTry(const DistReconnectKey *key,
								DistReconnectState *state);

/* Look only; false if nothing is known against trying. */
extern bool DistReconnectLook(const DistReconnectKey *key,
							  DistReconnectState *state);

/* How an attempt ended.  They neither wait nor raise errors. */
extern void DistReconnectFailed(const DistReconnectKey *key,
								const char *reason);
extern void DistReconnectSucceeded(const DistReconnectKey *key);

/*
 * Sleep until an attempt of any session has ended, or timeout_ms have passed;
 * may return early.  Between DistReconnectBeginWait and DistReconnectEndWait.
 */
extern void DistReconnectBeginWait(void);
extern void DistReconnectSleep(long timeout_ms);
extern void DistReconnectEndWait(void);

/* Setting vecdist.max_reconnect_delay (ms) */
extern int	DistMaxReconnectDelay;

#endif							/* DIST_RECONNECT_H */
