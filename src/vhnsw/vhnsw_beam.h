/*-------------------------------------------------------------------------
 *
 * vhnsw_beam.h
 *	  Beam search in the graph of an index build.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_BEAM_H
#define VHNSW_BEAM_H

#include "postgres.h"

#include "vhnsw/vhnsw_graph.h"

/* A place in the pool. */
typedef struct VhnswBeamEntry
{
	float		distance;
	uint32		id;
	bool		expanded;
} VhnswBeamEntry;

/*
 * A search, and what it has found: the nearest elements, nearest first.  All
 * that it has met stand in a hash table of 2^bits places, at most half full;
 * an empty one has the number of no element.
 */
typedef struct VhnswBeam
{
	const VhnswGraph *graph;
	int			capacity;
	int			count;
	VhnswBeamEntry *entries;
	int			bits;
	uint32		nseen;
	uint32	   *seen;
} VhnswBeam;

extern VhnswBeam *VhnswBeamCreate(const VhnswGraph *graph, int capacity);
extern void VhnswBeamReset(VhnswBeam *beam);
extern bool VhnswBeamSee(VhnswBeam *beam, uint32 id);
extern void VhnswBeamSearch(VhnswBeam *beam, const VhnswCode *code,
							const uint32 *starts,
							const VhnswCode **start_codes, uint32 nstarts);

#endif							/* VHNSW_BEAM_H */
