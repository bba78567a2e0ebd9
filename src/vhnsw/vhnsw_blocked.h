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

extern bool VhnswMayHaveBlocks(const VhnswLayout *layout);
extern Size VhnswBlockedElementBytes(const VhnswLayout *layout);
extern Size VhnswBlockedResidentBytes(const VhnswLayout *layout);
extern Size VhnswBlockedJoinBytes(const VhnswLayout *layout);
extern bool VhnswBlockedLink(VhnswGraph *graph, const char *index_name);
extern void VhnswJoinJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_BLOCKED_H */
