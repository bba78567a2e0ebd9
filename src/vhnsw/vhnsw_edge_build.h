/*-------------------------------------------------------------------------
 *
 * vhnsw_edge_build.h
 *	  Choose and make the sketches of an index build.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_EDGE_BUILD_H
#define VHNSW_EDGE_BUILD_H

#include "postgres.h"

#include "vhnsw/vhnsw_edge.h"
#include "vhnsw/vhnsw_graph.h"

/* What an index build knows about its sketches. */
typedef struct VhnswSketches
{
	VhnswLayout layout;
	VhnswEdgeSpace space;		/* its matrix lives as long as this */
	float		energy;			/* share of edges' squares kept; 0 = unknown */
	bool		trained;
	VhnswMemory matrix;			/* of the space, if trained */
	VhnswMemory memory;			/* of the projections, if trained */
	Half	   *projections;	/* space.dims for each element, or NULL */
	VhnswSpill *spilled;		/* in place of them, if not NULL */
	VhnswSpillShape shape;		/* of that */
	VhnswEdge  *edge;			/* room for one */
	float	   *from;			/* likewise, for its ends */
	float	   *to;
	char	   *copy;			/* likewise, for a code, if these are in a
								 * file */
} VhnswSketches;

extern Size VhnswLearningBytes(const VhnswLayout *layout);
extern bool VhnswHasSketches(const VhnswLayout *layout);
extern int	VhnswFirstSketchDims(const VhnswLayout *layout);
extern void VhnswUntrainedSketches(VhnswLayout *layout);
extern VhnswSketches *VhnswMakeSketches(VhnswGraph *graph,
										const char *index_name);
extern void VhnswAttachSketches(VhnswCrew *crew, VhnswSketches *sketches);
extern void VhnswEnergyJob(VhnswCrew *crew, const void *arg);
extern void VhnswProjectJob(VhnswCrew *crew, const void *arg);
extern void VhnswSketchNeighbors(VhnswSketches *sketches,
								 const VhnswGraph *graph, uint32 id,
								 VhnswSlot slot);

#endif							/* VHNSW_EDGE_BUILD_H */
