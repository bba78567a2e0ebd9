/*-------------------------------------------------------------------------
 *
 * vhnsw_island.h
 *	  Elements that are near to each other and far from all others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_ISLAND_H
#define VHNSW_ISLAND_H

#include "vhnsw/vhnsw_graph.h"

/* Each is a circle of elements. */
typedef struct VhnswIslands
{
	uint32	   *next;			/* of each element: the next of its island */
	uint32	   *firsts;			/* of each island, by rising number */
	uint32		count;			/* of islands */
} VhnswIslands;

extern VhnswIslands *VhnswFindIslands(const VhnswGraph *graph);
extern void VhnswFreeIslands(VhnswIslands *islands);

#endif							/* VHNSW_ISLAND_H */
