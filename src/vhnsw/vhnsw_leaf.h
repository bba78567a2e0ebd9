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

#include "vhnsw/vhnsw_choices.h"
#include "vhnsw/vhnsw_graph.h"

/*
 * Sets of elements, as they are taken out of a larger one.  First in each come
 * its residents, the elements that are nearest to its centroid; an element is
 * resident in one part, and guest in some.
 */
typedef struct VhnswPartition
{
	uint32		nparts;
	uint32	   *starts;			/* nparts + 1 places in members */
	uint32	   *nresidents;		/* of each part */
	uint32	   *members;		/* of all parts or, if they are in a file,
								 * room for those of one */
	uint64		nmembers;
	uint32		largest;		/* how many the largest part has */
	VhnswMemory memory;			/* starts, then nresidents, then members */
	VhnswSpill *spilled;		/* in place of members, if not NULL */
	VhnswSpillShape shape;		/* of that */
} VhnswPartition;

/* Members of a leaf: residents first. */
typedef struct VhnswLeaf
{
	uint32	   *members;
	uint32		nresidents;
	uint32		n;
} VhnswLeaf;

typedef void (*VhnswLeafCallback) (const VhnswLeaf *leaf, void *arg);

extern Size VhnswPartitionElementBytes(const VhnswLayout *layout,
									   int overlap, bool in_file);
extern Size VhnswMemberBytes(const VhnswLayout *layout, int overlap,
							 bool in_file);
extern Size VhnswDivideBytes(const VhnswLayout *layout,
							 const VhnswPartition *partition);
extern double VhnswLeafSize(uint32 nresidents);
extern VhnswPartition *VhnswMakePartition(VhnswCrew *crew,
										  const VhnswLeaf *whole,
										  int overlap, uint64 seed,
										  uint32 *nearest);
extern void VhnswAttachPartition(VhnswCrew *crew, VhnswPartition *partition);
extern uint32 *VhnswPartitionRoom(const VhnswPartition *partition);
extern void VhnswOrderLeaf(const VhnswLeaf *leaf);
extern void VhnswRenumberPartition(VhnswPartition *partition,
								   const uint32 *numbers);
extern void VhnswFreePartition(VhnswCrew *crew, VhnswPartition *partition);
extern void VhnswCentroidsJob(VhnswCrew *crew, const void *arg);
extern void VhnswMeansJob(VhnswCrew *crew, const void *arg);
extern void VhnswAssignJob(VhnswCrew *crew, const void *arg);
extern VhnswLeaf VhnswPartitionLeaf(const VhnswPartition *partition,
									uint32 part);
extern void VhnswVisitLeaves(VhnswGraph *graph, const VhnswLeaf *part,
							 uint64 seed, VhnswLeafCallback callback,
							 void *arg);

#endif							/* VHNSW_LEAF_H */
