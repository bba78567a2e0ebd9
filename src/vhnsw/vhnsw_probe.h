/*-------------------------------------------------------------------------
 *
 * vhnsw_probe.h
 *	  Find what searches do not find, after a blocked build.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_PROBE_H
#define VHNSW_PROBE_H

#include "vhnsw/vhnsw_graph.h"

extern void VhnswProbeGraph(VhnswGraph *graph, uint8 *added);
extern void VhnswProbeJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_PROBE_H */
