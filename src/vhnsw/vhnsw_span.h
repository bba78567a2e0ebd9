/*-------------------------------------------------------------------------
 *
 * vhnsw_span.h
 *	  Links between clusters that lie apart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_SPAN_H
#define VHNSW_SPAN_H

#include "vhnsw/vhnsw_add.h"

extern Size VhnswSpanBytes(const VhnswLayout *layout, uint64 count,
						   int processes);
extern void VhnswSpanClusters(VhnswAdded *added);
extern uint32 VhnswSpanIslands(VhnswAdded *added);
extern void VhnswSpanJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_SPAN_H */
