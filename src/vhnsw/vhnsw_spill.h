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

#include "storage/fileset.h"

/* How many records asked for last stay where they are. */
#define VHNSW_SPILL_RECENT 8

/* Records lie so far apart: numbers of 32 bits behind each other. */
#define VhnswSpillStride(record_bytes) \
	((record_bytes) == sizeof(uint32) ? sizeof(uint32) : MAXALIGN(record_bytes))

typedef struct VhnswSpill VhnswSpill;

/* What other processes need to know of an array. */
typedef struct VhnswSpillShape
{
	VhnswSpill *spill;			/* the leader's; NULL if there is no array */
	uint32		number;			/* of its file */
	Size		record_bytes;
	Size		cache_bytes;
	uint64		file_bytes;
} VhnswSpillShape;

extern Size VhnswSpillMapBytes(Size record_bytes, uint64 nrecords);
extern VhnswSpill *VhnswSpillCreate(FileSet *files, uint32 number,
									Size record_bytes, uint32 nrecords,
									Size cache_bytes);
extern VhnswSpill *VhnswSpillOpen(FileSet *files,
								  const VhnswSpillShape *shape);
extern VhnswSpillShape VhnswSpillDescribe(VhnswSpill *spill);
extern void VhnswSpillResize(VhnswSpill *spill, Size cache_bytes);
extern void *VhnswSpillGet(VhnswSpill *spill, uint32 record);
extern void *VhnswSpillChange(VhnswSpill *spill, uint32 record);
extern void VhnswSpillRead(VhnswSpill *spill, uint32 first, uint32 n,
						   void *records);
extern void VhnswSpillWrite(VhnswSpill *spill, uint32 first, uint32 n,
							const void *records);
extern void VhnswSpillForget(VhnswSpill *spill);
extern void VhnswSpillFree(VhnswSpill *spill);
extern void VhnswSpillGiveBack(void);

#endif							/* VHNSW_SPILL_H */
