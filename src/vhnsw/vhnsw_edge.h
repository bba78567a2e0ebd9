/*-------------------------------------------------------------------------
 *
 * vhnsw_edge.h
 *	  Sketches of neighbors, kept beside the links to them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_EDGE_H
#define VHNSW_EDGE_H

#include "postgres.h"

#include "distance/distance_edge.h"
#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_page.h"

/* Up to so many dimensions, sketches have all of them. */
#define VHNSW_FULL_SKETCH_DIMS 64

/* How the elements of one index become sketches. */
typedef struct VhnswEdgeSpace
{
	VhnswMetric metric;
	int			source_dims;	/* of codes and rotated vectors */
	int			dims;			/* of sketches; 0 = none */
	int			bits;			/* for each dimension: 1 or 2 */
	bool		is_direct;		/* of codes, as in VhnswLayout */
	const float *matrix;		/* dims rows of source_dims, or NULL for the
								 * first dimensions as they are */
} VhnswEdgeSpace;

/* One end of an edge: what sketches are computed from. */
typedef struct VhnswEdgeEnd
{
	float		norm;			/* of its code */
	const float *z;				/* projection; space->dims values */
} VhnswEdgeEnd;

/* A sketch, before it is put into a slot. */
typedef struct VhnswEdge
{
	float		a;
	float		s;
	uint8		piece[FLEXIBLE_ARRAY_MEMBER];	/* DISTANCE_EDGE_PIECE bytes
												 * for each chunk */
} VhnswEdge;

#define VhnswEdgeSize(layout) \
	MAXALIGN(offsetof(VhnswEdge, piece) + \
			 (layout)->edge_chunks * DISTANCE_EDGE_PIECE)

/* A query prepared for sketches. */
typedef struct VhnswEdgeQuery
{
	int			chunks;
	int			bits;
	float		unit;			/* of the values below */
	int32		bias;			/* (2^bits - 1) * sum of the values */
	int8	   *values;			/* chunks of dimensions */
	float		optimism;		/* subtracted from estimates: of |S| |q - p| */
	float		norm_squared;	/* |q|^2 */
} VhnswEdgeQuery;

extern void VhnswEdgeSpaceInit(VhnswEdgeSpace *space,
							   const VhnswLayout *layout,
							   const float *matrix);
extern void VhnswEdgeProjectCode(const VhnswEdgeSpace *space,
								 const VhnswCode *code, float *z);
extern void VhnswEdgeEncode(const VhnswEdgeSpace *space,
							const VhnswEdgeEnd *from, const VhnswEdgeEnd *to,
							float distance, VhnswEdge *edge);
extern void VhnswEdgePut(const VhnswLayout *layout, VhnswSlot slot, int place,
						 const VhnswEdge *edge);
extern void VhnswEdgeGet(const VhnswLayout *layout, const VhnswSlotData *slot,
						 int place, VhnswEdge *edge);
extern void VhnswEdgeClear(const VhnswLayout *layout, VhnswSlot slot,
						   int place);
extern void VhnswEdgeQueryInit(VhnswEdgeQuery *query,
							   const VhnswEdgeSpace *space,
							   const float *rotated);
extern void VhnswEdgeEstimates(const VhnswLayout *layout,
							   const VhnswEdgeQuery *query,
							   const VhnswSlotData *slot, int n,
							   float distance, float *estimates);

#endif							/* VHNSW_EDGE_H */
