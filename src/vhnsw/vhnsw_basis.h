/*-------------------------------------------------------------------------
 *
 * vhnsw_basis.h
 *	  The dimensions in which the elements of a build vary most.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_BASIS_H
#define VHNSW_BASIS_H

#include "postgres.h"

#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_edge.h"
#include "vhnsw/vhnsw_graph.h"

/* A projection that keeps so much of the squares can do for what it loses. */
#define VHNSW_GOOD_ENERGY 0.65

/* Projects several elements at once. */
typedef struct VhnswProjector
{
	const VhnswGraph *graph;
	const VhnswEdgeSpace *space;
	VhnswBlock *basis;			/* NULL if there is none */
	uint8	   *rows;			/* codes of DISTANCE_ROWS elements */
	float	   *z;				/* their projections */
} VhnswProjector;

extern Size VhnswCovarianceBytes(const VhnswLayout *layout);
extern VhnswMemory VhnswLearnCovariance(const VhnswGraph *graph);
extern void VhnswSampleJob(VhnswCrew *crew, const void *arg);
extern VhnswMemory VhnswTrainBasis(const VhnswGraph *graph,
								   const VhnswMemory *covariance,
								   int ncomponents);
extern VhnswProjector *VhnswBeginProjector(const VhnswGraph *graph,
										   const VhnswEdgeSpace *space);
extern void VhnswProject(VhnswProjector *projector, const uint32 *ids, int n);
extern float *VhnswProjectInOrder(VhnswProjector *projector, uint32 id,
								  uint32 first, uint32 end);

#endif							/* VHNSW_BASIS_H */
