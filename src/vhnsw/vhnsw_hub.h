/*-------------------------------------------------------------------------
 *
 * vhnsw_hub.h
 *	  Elements that join a leaf for their length, under inner product.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_HUB_H
#define VHNSW_HUB_H

#include "postgres.h"

#include "vhnsw/vhnsw_choices.h"
#include "vhnsw/vhnsw_graph.h"

/* How many a leaf gets, at most. */
#define VHNSW_HUBS_OF_LEAF 750

/* For each of k leaves a few elements, by their place among those divided. */
typedef struct VhnswHubs
{
	int			places;			/* a leaf has room for so many */
	VhnswMemory memory;			/* k * places, then k counts */
	uint32	   *elements;
	int		   *counts;
} VhnswHubs;

#define VhnswHubsOf(hubs, leaf) ((hubs)->elements + (Size) (leaf) * (hubs)->places)

extern Size VhnswHubsWorkBytes(const VhnswLayout *layout, uint64 count);
extern Size VhnswHubsBytes(void);
extern void VhnswFindHubs(VhnswCrew *crew, const uint32 *members, uint32 n,
						  const VhnswMemory *centroids, uint32 k,
						  const VhnswChoices *choices, VhnswHubs *hubs);
extern void VhnswHubsJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_HUB_H */
