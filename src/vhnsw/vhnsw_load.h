/*-------------------------------------------------------------------------
 *
 * vhnsw_load.h
 *	  Make codes of the rows of an index build, with the help of workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_LOAD_H
#define VHNSW_LOAD_H

#include "postgres.h"

#include "storage/itemptr.h"

#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_crew.h"

typedef struct VhnswBatch VhnswBatch;

/* One that is filled while codes are made of the other. */
#define VHNSW_BATCHES 2

extern VhnswVectorClass VhnswEncodeDatum(const VhnswLayout *layout,
										 const VhnswSpace *space,
										 VhnswQuery *query, Datum datum,
										 VhnswCode *code);
extern Size VhnswBatchBytes(const VhnswLayout *layout);
extern VhnswBatch *VhnswBatchCreate(VhnswCrew *crew,
									const VhnswLayout *layout,
									const VhnswSpace *space);
extern bool VhnswBatchPut(VhnswBatch *batch, ItemPointer tid, Datum datum);
extern uint32 VhnswBatchCount(const VhnswBatch *batch);
extern uint32 VhnswBatchPlaces(const VhnswBatch *batch);
extern void VhnswBatchBegin(VhnswBatch *batch);
extern void VhnswBatchFinish(VhnswBatch *batch);
extern VhnswVectorClass VhnswBatchGet(const VhnswBatch *batch, uint32 number,
									  ItemPointer *tid,
									  const VhnswCode **code);
extern void VhnswBatchReset(VhnswBatch *batch);
extern void VhnswBatchFree(VhnswBatch *batch);
extern void VhnswEncodeJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_LOAD_H */
