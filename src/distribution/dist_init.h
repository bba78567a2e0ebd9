/*-------------------------------------------------------------------------
 *
 * dist_init.h
 *	  Settings of the distribution layer, and what it needs to run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_INIT_H
#define DIST_INIT_H

#include "postgres.h"

/* Values of vecdist.read_consistency. */
typedef enum DistReadConsistencyLevel
{
	DIST_READ_STRONG,			/* searches read primaries */
	DIST_READ_EVENTUAL			/* searches read any server of a group */
} DistReadConsistencyLevel;

extern int	DistReadConsistency;	/* a DistReadConsistencyLevel */

/* Define settings and hooks.  Called once, by _PG_init. */
extern void DistInit(void);

/* Was the library loaded by shared_preload_libraries? */
extern bool DistPreloaded(void);

/* Raise 55000 unless it was.  For everything that makes tables distributed. */
extern void DistRequirePreload(void);

#endif							/* DIST_INIT_H */
