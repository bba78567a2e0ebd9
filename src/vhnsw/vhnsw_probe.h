/*-------------------------------------------------------------------------
 *
 * vhnsw_probe.h
 *	  Find what searches do not find, after a blocked build.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_PROBE_H
#define VHNSW_PROBE_H

#include "vhnsw/vhnsw_add.h"

extern void VhnswProbeGraph(VhnswAdded *added);
extern void VhnswMeasureSearches(VhnswGraph *graph, const char *index_name);
extern void VhnswProbeJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_PROBE_H */
