/*-------------------------------------------------------------------------
 *
 * vhnsw_linker.h
 *	  Link the elements of an index build by searching for each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_LINKER_H
#define VHNSW_LINKER_H

#include "postgres.h"

#include "vhnsw/vhnsw_graph.h"

extern Size VhnswLinkerElementBytes(const VhnswLayout *layout);
extern void VhnswLinkBySearch(VhnswGraph *graph);
extern void VhnswSearchJob(VhnswCrew *crew, const void *arg);
extern void VhnswLinkBackJob(VhnswCrew *crew, const void *arg);
extern void VhnswPruneJob(VhnswCrew *crew, const void *arg);
extern void VhnswTopUpJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_LINKER_H */
