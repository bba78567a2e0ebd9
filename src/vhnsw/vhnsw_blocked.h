/*-------------------------------------------------------------------------
 *
 * vhnsw_blocked.h
 *	  Link the elements of an index build leaf by leaf.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_BLOCKED_H
#define VHNSW_BLOCKED_H

#include "postgres.h"

#include "vhnsw/vhnsw_graph.h"

extern Size VhnswBlockedElementBytes(const VhnswLayout *layout);
extern bool VhnswBlockedLink(VhnswGraph *graph, const char *index_name);

#endif							/* VHNSW_BLOCKED_H */
