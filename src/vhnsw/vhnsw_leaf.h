/*-------------------------------------------------------------------------
 *
 * vhnsw_leaf.h
 *	  Divide the elements of a build into overlapping leaves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_LEAF_H
#define VHNSW_LEAF_H

#include "postgres.h"

#include "vhnsw/vhnsw_graph.h"

/* Elements that a leaf has on average, and at most. */
#define VHNSW_LEAF_SIZE 1500
#define VHNSW_LEAF_LIMIT (2 * VHNSW_LEAF_SIZE)

/* Sets of elements, as they are taken out of a larger one. */
typedef struct VhnswPartition
{
	uint32		nparts;
	uint32	   *starts;			/* nparts + 1 places in members */
	uint32	   *members;
	uint64		nmembers;
	VhnswMemory memory;			/* members, then starts */
} VhnswPartition;

/* The parts that elements are in, nearest first: of each 'overlap'. */
typedef struct VhnswChoices
{
	int			overlap;
	uint32	   *parts;
	VhnswSpill *spilled;		/* in place of parts, if not NULL */
} VhnswChoices;

static inline const uint32 *
VhnswChoicesOf(const VhnswChoices *choices, uint32 i)
{
	return choices->spilled ? VhnswSpillGet(choices->spilled, i) :
		choices->parts + (Size) i * choices->overlap;
}

/* Told each leaf; may change the order of its members. */
typedef void (*VhnswLeafCallback) (uint32 *members, uint32 n, void *arg);

extern Size VhnswPartitionElementBytes(const VhnswLayout *layout,
									   int overlap, bool in_file);
extern VhnswPartition *VhnswMakePartition(VhnswCrew *crew,
										  const uint32 *members, uint32 n,
										  int overlap, uint64 seed,
										  uint32 *nearest);
extern void VhnswAttachPartition(VhnswCrew *crew, VhnswPartition *partition);
extern void VhnswFreePartition(VhnswCrew *crew, VhnswPartition *partition);
extern void VhnswCentroidsJob(VhnswCrew *crew, const void *arg);
extern void VhnswAssignJob(VhnswCrew *crew, const void *arg);
extern void VhnswVisitLeaves(VhnswGraph *graph, uint32 *members,
							 uint32 n, uint64 seed,
							 VhnswLeafCallback callback, void *arg);

#endif							/* VHNSW_LEAF_H */
