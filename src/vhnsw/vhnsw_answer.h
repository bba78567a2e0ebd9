/*-------------------------------------------------------------------------
 *
 * vhnsw_answer.h
 *	  Rows with their exact distances, on the way to the user.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_ANSWER_H
#define VHNSW_ANSWER_H

#include "postgres.h"

#include "lib/pairingheap.h"
#include "storage/itemptr.h"
#include "utils/tuplesort.h"

/* NaN is larger than any number, NULL larger than NaN. */
typedef struct VhnswDistance
{
	double		value;
	bool		isnull;
} VhnswDistance;

typedef struct VhnswAnswer
{
	MemoryContext context;		/* of the rows; child of the caller's */
	pairingheap *pending;		/* something nearer may still be found */
	pairingheap *proven;		/* nothing nearer is known of */
	int64		npending;
	int64		nproven;

	Tuplesortstate *sort;		/* then everything is there instead */
	TupleTableSlot *slot;
	bool		sorted;
} VhnswAnswer;

extern int	VhnswCompareDistances(VhnswDistance a, VhnswDistance b);
extern void VhnswAnswerInit(VhnswAnswer *answer, MemoryContext parent);
extern void VhnswAnswerPut(VhnswAnswer *answer, VhnswDistance distance,
						   const ItemPointerData *tid);
extern void VhnswAnswerProve(VhnswAnswer *answer, VhnswDistance bound);
extern void VhnswAnswerProveAll(VhnswAnswer *answer);
extern void VhnswAnswerBeginSort(VhnswAnswer *answer, int64 wanted);
extern bool VhnswAnswerTake(VhnswAnswer *answer, VhnswDistance *distance,
							ItemPointer tid);
extern Size VhnswAnswerMemory(const VhnswAnswer *answer);
extern void VhnswAnswerEnd(VhnswAnswer *answer);

#endif							/* VHNSW_ANSWER_H */
