/*-------------------------------------------------------------------------
 *
 * vhnsw_add.h
 *	  Links that are added to the lists of a blocked build.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_ADD_H
#define VHNSW_ADD_H

#include "vhnsw/vhnsw_graph.h"

typedef struct VhnswAdded
{
	VhnswGraph *graph;
	uint8	   *links;			/* added to the list of each element */
	uint8	   *incoming;		/* lists that name it; once 255 or more, 255
								 * for good */
} VhnswAdded;

extern VhnswAdded *VhnswAddBegin(VhnswGraph *graph);
extern bool VhnswAddLink(VhnswAdded *added, uint32 from, uint32 to);
extern void VhnswAddRare(VhnswAdded *added);
extern void VhnswAddEnd(VhnswAdded *added);

#endif							/* VHNSW_ADD_H */
