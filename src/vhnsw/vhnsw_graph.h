/*-------------------------------------------------------------------------
 *
 * vhnsw_graph.h
 *	  The graph of an index build, in memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_GRAPH_H
#define VHNSW_GRAPH_H

#include "postgres.h"

#include "storage/itemptr.h"

#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_page.h"

/*
 * Elements have numbers from 0, in the order of loading, which is that of the
 * heap and later that of the pages.  Arrays live in 'context'; codes move when
 * the array grows, so pointers to them are short-lived until linking begins.
 */
typedef struct VhnswGraph
{
	MemoryContext context;
	VhnswLayout layout;
	Size		code_size;
	uint32		count;
	uint32		capacity;
	char	   *codes;
	ItemPointerData *tids;		/* the first TID of each element */
	struct codes_hash *hash;	/* finds equal codes */
	uint64		memory_limit;	/* bytes */

	/* TIDs beyond the first: (element, tid), in the order of loading */
	uint32		nduplicates;
	uint32		duplicates_capacity;
	struct VhnswDuplicate *duplicates;

	/* made by VhnswGraphLink(), which may number the elements anew */
	int			list_capacity;
	uint8	   *list_counts;
	uint32	   *list_ids;		/* list_capacity for each element */
	float	   *list_distances; /* of the search-based linker only */
	uint32	   *order;			/* elements in the order of linking */
	uint32	   *visited;		/* mark of the last search that saw it */
	uint32		visit_mark;
	uint32		nentries;		/* order[0 .. nentries) are the entries */
} VhnswGraph;

typedef struct VhnswDuplicate
{
	uint32		element;
	ItemPointerData tid;
} VhnswDuplicate;

#define VhnswGraphGetCode(graph, id) \
	((VhnswCode *) ((graph)->codes + (Size) (id) * (graph)->code_size))
#define VhnswGraphGetIds(graph, id) \
	((graph)->list_ids + (Size) (id) * (graph)->list_capacity)
#define VhnswGraphGetDistances(graph, id) \
	((graph)->list_distances + (Size) (id) * (graph)->list_capacity)

extern VhnswGraph *VhnswGraphCreate(const VhnswLayout *layout,
									uint64 memory_limit,
									MemoryContext context);
extern bool VhnswGraphIsFull(const VhnswGraph *graph);
extern void VhnswGraphAdd(VhnswGraph *graph, const VhnswCode *code,
						  ItemPointer tid);
extern void VhnswGraphLink(VhnswGraph *graph, const char *index_name);

#endif							/* VHNSW_GRAPH_H */
