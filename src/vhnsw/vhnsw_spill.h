/*-------------------------------------------------------------------------
 *
 * vhnsw_spill.h
 *	  Arrays of an index build that do not fit into memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_SPILL_H
#define VHNSW_SPILL_H

#include "postgres.h"

/* How many records asked for last stay where they are. */
#define VHNSW_SPILL_RECENT 8

typedef struct VhnswSpill VhnswSpill;

extern VhnswSpill *VhnswSpillCreate(Size record_bytes, Size cache_bytes);
extern void VhnswSpillResize(VhnswSpill *spill, Size cache_bytes);
extern void *VhnswSpillGet(VhnswSpill *spill, uint32 record);
extern void *VhnswSpillChange(VhnswSpill *spill, uint32 record);
extern void VhnswSpillFree(VhnswSpill *spill);

#endif							/* VHNSW_SPILL_H */
