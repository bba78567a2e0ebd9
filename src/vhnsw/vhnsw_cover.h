/*-------------------------------------------------------------------------
 *
 * vhnsw_cover.h
 *	  Entries for clusters that lie apart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_COVER_H
#define VHNSW_COVER_H

#include "vhnsw/vhnsw_graph.h"

extern void VhnswCoverClusters(VhnswGraph *graph);

#endif							/* VHNSW_COVER_H */
