/*-------------------------------------------------------------------------
 *
 * vhnsw_write.h
 *	  Write the graph of an index build to pages.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_WRITE_H
#define VHNSW_WRITE_H

#include "postgres.h"

#include "vhnsw/vhnsw_edge_build.h"
#include "vhnsw/vhnsw_graph.h"
#include "vhnsw/vhnsw_outside.h"
#include "vhnsw/vhnsw_tids.h"

extern void VhnswWriteGraph(Relation index, VhnswGraph *graph,
							VhnswSketches *sketches, uint64 seed,
							const float *mean,
							VhnswOutside *outside, bool log,
							BlockNumber *first, BlockNumber *end);
extern void VhnswWriteJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_WRITE_H */
