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

extern void VhnswSpanClusters(VhnswGraph *graph);

#endif							/* VHNSW_SPAN_H */
