/*-------------------------------------------------------------------------
 *
 * vhnsw_tidset.h
 *	  A set of TIDs that can be asked about single ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_TIDSET_H
#define VHNSW_TIDSET_H

#include "postgres.h"

#include "nodes/tidbitmap.h"
#include "storage/itemptr.h"

/* The TIDs on one page of the table */
typedef struct VhnswTidPage
{
	BlockNumber block;
	int			count;			/* -1 = any TID of the page may be meant */
	int64		first;			/* in VhnswTidSet.offsets */
} VhnswTidPage;

typedef struct VhnswTidSet
{
	int64		count;			/* TIDs; of pages with all: a guess */
	int			npages;
	int			pages_capacity;
	VhnswTidPage *pages;		/* by rising block */
	int64		noffsets;
	int64		offsets_capacity;
	OffsetNumber *offsets;		/* rising on each page */
} VhnswTidSet;

/* Walks over a set. */
typedef struct VhnswTidSetReader
{
	const VhnswTidSet *set;
	int			page;
	int			position;		/* in the page */
} VhnswTidSetReader;

extern VhnswTidSet *VhnswTidSetMake(TIDBitmap *bitmap);
extern bool VhnswTidSetHas(const VhnswTidSet *set, const ItemPointerData *tid);
extern bool VhnswTidSetNext(VhnswTidSetReader *reader, ItemPointer tid);

#endif							/* VHNSW_TIDSET_H */
