/*-------------------------------------------------------------------------
 *
 * vhnsw_span.h
 *	  Links between clusters that lie apart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_SPAN_H
#define VHNSW_SPAN_H

#include "vhnsw/vhnsw_graph.h"

extern Size VhnswSpanBytes(const VhnswLayout *layout, uint64 count);
extern void VhnswSpanClusters(VhnswGraph *graph, uint8 *added);
extern bool VhnswSpanLink(VhnswGraph *graph, uint32 from, uint32 to,
						  uint8 *added);
extern void VhnswSpanJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_SPAN_H */
