/*-------------------------------------------------------------------------
 *
 * vhnsw_graph_link.h
 *	  Link the elements of an index build in memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_GRAPH_LINK_H
#define VHNSW_GRAPH_LINK_H

#include "postgres.h"

#include "vhnsw/vhnsw_graph.h"

extern void VhnswGraphLink(VhnswGraph *graph, const char *index_name);

#endif							/* VHNSW_GRAPH_LINK_H */
