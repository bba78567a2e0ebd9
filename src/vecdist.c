/*-------------------------------------------------------------------------
 *
 * vecdist.c
 *	  Module entry point: sets up each subsystem in dependency order.
 *
 * This is the only file that sees both the index access method (vhnsw) and
 * distribution.  Each subsystem defines its own settings and hooks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "distribution/dist_init.h"
#include "types/vector.h"
#include "vecdist_compat.h"
#include "vecdist_debug.h"
#include "vhnsw/vhnsw.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	VecdistDebugInit();
	VectorInit();
	VhnswInit();
	DistInit();

	/* Last: what is still undefined below our prefix is a typing error. */
	MarkGUCPrefixReserved("vecdist");
}
