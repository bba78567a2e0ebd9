/*-------------------------------------------------------------------------
 *
 * vhnsw_outside.h
 *	  Rows of an index build that are outside of the graph.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_OUTSIDE_H
#define VHNSW_OUTSIDE_H

#include "postgres.h"

#include "storage/buffile.h"
#include "storage/itemptr.h"

/* The latest TIDs of a list, which are in memory */
#define VHNSW_OUTSIDE_TIDS 4096

/* A list; all zero is an empty one. */
typedef struct VhnswOutside
{
	uint64		count;
	ItemPointerData *latest;	/* of these, those that are not in the file */
	BufFile    *file;			/* NULL = none yet */
	uint64		next;			/* to be read */
} VhnswOutside;

extern void VhnswOutsideAdd(VhnswOutside *list, const ItemPointerData *tid);
extern void VhnswOutsideRewind(VhnswOutside *list);
extern ItemPointerData VhnswOutsideNext(VhnswOutside *list);
extern void VhnswOutsideFree(VhnswOutside *list);

#endif							/* VHNSW_OUTSIDE_H */
