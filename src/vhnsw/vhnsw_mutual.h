/*-------------------------------------------------------------------------
 *
 * vhnsw_mutual.h
 *	  Which pairs of a leaf are compared in another one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_MUTUAL_H
#define VHNSW_MUTUAL_H

#include "postgres.h"

#include "vhnsw/vhnsw_leaf.h"

/* Guests that are looked at together: a bit for each */
#define VHNSW_MUTUAL_GUESTS 16

typedef struct VhnswMutual VhnswMutual;

extern Size VhnswMutualBytes(uint64 count);
extern VhnswMutual *VhnswMutualCreate(const VhnswPartition *partition);
extern void VhnswMutualFree(VhnswMutual *mutual);
extern void VhnswMutualBegin(VhnswMutual *mutual, uint32 part);
extern uint32 VhnswMutualFirst(const VhnswMutual *mutual);
extern const uint16 *VhnswMutualElsewhere(VhnswMutual *mutual,
										  const uint32 *guests, int n);

#endif							/* VHNSW_MUTUAL_H */
