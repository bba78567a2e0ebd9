/*-------------------------------------------------------------------------
 *
 * dist_config.h
 *	  Settings that connections and searches read, and how we were loaded.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_CONFIG_H
#define DIST_CONFIG_H

#include "postgres.h"

/* vecdist.node_timeout (ms) and vecdist.hop of this session */
extern int	DistNodeTimeout;
extern int	DistHop;

/* Values of vecdist.read_consistency. */
typedef enum DistReadConsistencyLevel
{
	DIST_READ_STRONG,			/* searches read primaries */
	DIST_READ_EVENTUAL			/* searches read any server of a group */
} DistReadConsistencyLevel;

extern int	DistReadConsistency;	/* a DistReadConsistencyLevel */

/* Define them.  Called once, when the library is loaded. */
extern void DistConfigInit(void);

/* Was the library loaded by shared_preload_libraries? */
extern bool DistPreloaded(void);

/* Raise 55000 unless it was.  For everything that makes tables distributed. */
extern void DistRequirePreload(void);

#endif							/* DIST_CONFIG_H */
