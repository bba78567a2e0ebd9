/*-------------------------------------------------------------------------
 *
 * dist_init.h
 *	  Start of the distribution layer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_INIT_H
#define DIST_INIT_H

#include "postgres.h"

/* Define settings and hooks.  Called once, by _PG_init. */
extern void DistInit(void);

#endif							/* DIST_INIT_H */
