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
#include "vhnsw/vhnsw_crew.h"
#include "vhnsw/vhnsw_page.h"
#include "vhnsw/vhnsw_spill.h"

/*
 * Elements have numbers from 0, in the order of loading, which is that of the
 * heap; the blocked build gives them new ones, in which they are written.
 *
 * Codes and first TIDs lie in bundles of 2^bundle_shift elements: codes, then
 * TIDs.  Bundles do not move as the graph grows, and lie in a few large
 * segments, so that workers can share them.
 *
 * If the graph does not fit into memory, codes with their TIDs and, later,
 * lists are in files, and what is asked for stays where it is until
 * VHNSW_SPILL_RECENT others are asked for.
 */
typedef struct VhnswGraph
{
	MemoryContext context;
	VhnswCrew  *crew;
	VhnswLayout layout;
	Size		code_size;
	uint32		count;
	float		shortest;		/* length of an element, while loading */
	float		longest;
	bool		lengths_matter; /* see VhnswGraphEndLoad() */
	int			bundle_shift;
	Size		bundle_bytes;
	char	  **bundles;
	uint32		nbundles;
	int			nsegments;
	struct VhnswSegment *segments;
	struct codes_hash *hash;	/* finds equal codes, while loading */
	uint64		memory_limit;	/* bytes */
	Size		learning_bytes; /* of these, for sketches, at least */
	Size		dividing_bytes; /* of large leaves, for each process */
	VhnswSpill *codes;			/* in place of bundles, if not NULL */

	/* TIDs beyond the first: (element, tid), in the order of loading */
	uint32		nduplicates;
	uint32		duplicates_capacity;
	struct VhnswDuplicate *duplicates;

	/* made by VhnswGraphLink(), which may number the elements anew */
	VhnswMemory lists;			/* list_ids, then list_counts */
	int			list_capacity;	/* places of a list */
	uint8	   *list_counts;
	uint32	   *list_ids;
	VhnswSpill *spilled_lists;	/* in place of list_ids, if not NULL */
	Size		list_offset;	/* in its records */
	VhnswMemory order_memory;
	uint32	   *order;			/* elements in the order of linking */
	uint32		nentries;		/* order[0 .. nentries) are the entries */
	VhnswMemory covariance;		/* what sketches are learned from, and */
	VhnswMemory basis;			/* a basis, if linking has made them */
	int			basis_dims;		/* of that; 0 = none */
	float		list_recall;	/* of candidates, by blocks; 0 = unknown */
	float		searches_found; /* share of searches for its elements that
								 * come near them; 0 = unknown */
	float		weak_searches_found;	/* likewise, near those that do not */
	VhnswBuildKind kind;		/* how they were linked */
} VhnswGraph;

/* Bundles that were allocated together. */
typedef struct VhnswSegment
{
	VhnswMemory memory;
	uint32		nbundles;
} VhnswSegment;

/* What workers need to know of its lists. */
typedef struct VhnswListsShape
{
	VhnswMemory lists;
	int			list_capacity;
	VhnswSpillShape file;		/* of spilled lists, if there are any */
	Size		list_offset;
} VhnswListsShape;

typedef struct VhnswDuplicate
{
	uint32		element;
	ItemPointerData tid;
} VhnswDuplicate;

/* The number of the i-th of n elements that are spread evenly. */
static inline uint32
VhnswGraphSpread(const VhnswGraph *graph, uint32 n, uint32 i)
{
	return (uint32) ((uint64) graph->count * i / n);
}

static inline VhnswCode *
VhnswGraphGetCode(const VhnswGraph *graph, uint32 id)
{
	if (unlikely(graph->codes != NULL))
		return VhnswSpillGet(graph->codes, id);
	return (VhnswCode *) (graph->bundles[id >> graph->bundle_shift] +
						  (id & ((1U << graph->bundle_shift) - 1)) *
						  graph->code_size);
}

/*
 * The code of an element, which stays where it is: if that is in a file, a copy
 * at this place of 'copies', which are NULL else.
 */
static inline const VhnswCode *
VhnswGraphKeepCode(const VhnswGraph *graph, uint32 id, char *copies,
				   uint32 place)
{
	const VhnswCode *code = VhnswGraphGetCode(graph, id);

	return copies ?
		memcpy(copies + (Size) place * graph->code_size, code,
			   graph->code_size) : code;
}

/* Of the file of codes: what is there of an element. */
static inline Size
VhnswGraphRecordBytes(const VhnswGraph *graph)
{
	return graph->code_size + sizeof(ItemPointerData);
}

/* Bring memory near the processor. */
static inline void
VhnswPrefetch(const void *memory, Size size)
{
	for (Size i = 0; i < size; i += PG_CACHE_LINE_SIZE / 2)
		__builtin_prefetch((const char *) memory + i);
}

static inline void
VhnswGraphPrefetchCode(const VhnswGraph *graph, uint32 id)
{
	if (graph->codes == NULL)
		VhnswPrefetch(VhnswGraphGetCode(graph, id), graph->code_size);
}

/* The first TID of an element. */
static inline ItemPointer
VhnswGraphGetTid(const VhnswGraph *graph, uint32 id)
{
	if (unlikely(graph->codes != NULL))
		return (ItemPointer) ((char *) VhnswSpillGet(graph->codes, id) +
							  graph->code_size);
	return (ItemPointer) (graph->bundles[id >> graph->bundle_shift] +
						  (graph->code_size << graph->bundle_shift)) +
		(id & ((1U << graph->bundle_shift) - 1));
}

/* Store an element. */
static inline void
VhnswGraphPut(VhnswGraph *graph, uint32 id, const VhnswCode *code,
			  ItemPointerData tid)
{
	if (unlikely(graph->codes != NULL))
		(void) VhnswSpillChange(graph->codes, id);
	memcpy(VhnswGraphGetCode(graph, id), code, graph->code_size);
	*VhnswGraphGetTid(graph, id) = tid;
}

/* The list of an element. */
static inline uint32 *
VhnswGraphGetIds(const VhnswGraph *graph, uint32 id)
{
	if (unlikely(graph->spilled_lists != NULL))
		return (uint32 *) ((char *) VhnswSpillGet(graph->spilled_lists, id) +
						   graph->list_offset);
	return graph->list_ids + (Size) id * graph->list_capacity;
}

/* Likewise, to be changed. */
static inline uint32 *
VhnswGraphChangeIds(const VhnswGraph *graph, uint32 id)
{
	if (unlikely(graph->spilled_lists != NULL))
		(void) VhnswSpillChange(graph->spilled_lists, id);
	return VhnswGraphGetIds(graph, id);
}

/*
 * In a file, the distances of neighbors stand behind a list: NaN where they are
 * not known.  NULL in memory, where they are computed anew.
 */
static inline float *
VhnswGraphListDistances(const VhnswGraph *graph, const uint32 *ids)
{
	return graph->spilled_lists ?
		(float *) (unconstify(uint32 *, ids) + graph->layout.degree) : NULL;
}

/* Memory of a process for the records of files, at least */
#define VHNSW_MIN_CACHE (1024 * 1024)

/*
 * For each element: order, and state of the sweep at the end of linking.
 * (VhnswAdded, which is freed before, takes less than the sweep.)
 */
#define VhnswOrderBytes (3 * sizeof(uint32) + sizeof(uint8))

/* For each element, later: its projection, but for very large sketches. */
#define VhnswProjectionBytes(dims) (Min(dims, 256) * sizeof(Half))

/* vhnsw_elements.c */
extern VhnswGraph *VhnswGraphCreate(const VhnswLayout *layout,
									VhnswCrew *crew,
									uint64 memory_limit,
									MemoryContext context);
extern uint64 VhnswGraphBundlesBytes(const VhnswGraph *graph, uint64 count);
extern uint64 VhnswGraphHashBytes(uint64 count);
extern void VhnswGraphSpill(VhnswGraph *graph);
extern void VhnswGraphReorderFile(VhnswGraph *graph, const uint32 *order);
extern void VhnswGraphCloseFiles(VhnswGraph *graph);
extern void VhnswGraphDistances(const VhnswGraph *graph,
								const VhnswCode *code, const uint32 *ids,
								int n, float *distances);
extern const VhnswCode **VhnswGraphSample(const VhnswGraph *graph,
										  const uint32 *ids, uint32 n);
extern VhnswSpill *VhnswGraphCopyCodes(const VhnswGraph *graph,
									   const uint32 *ids, uint32 n);
extern void VhnswGraphAdd(VhnswGraph *graph, const VhnswCode *code,
						  ItemPointer tid);
extern void VhnswGraphEndLoad(VhnswGraph *graph);
extern Size VhnswGraphListBytes(uint32 count, int list_capacity);
extern void VhnswGraphSetLists(VhnswGraph *graph, VhnswCrew *crew,
							   const VhnswMemory *lists, int list_capacity);
extern VhnswListsShape VhnswGraphDescribeLists(const VhnswGraph *graph);
extern void VhnswGraphAttachLists(VhnswCrew *crew,
								  const VhnswListsShape *shape);
extern void VhnswGraphShare(VhnswGraph *graph);
extern void VhnswGraphAttach(VhnswCrew *crew, const void *arg);

/* vhnsw_budget.c */
extern uint64 VhnswGraphMemory(const VhnswGraph *graph, uint64 count);
extern uint64 VhnswGraphMemoryWithoutFiles(const VhnswGraph *graph,
										   uint64 count);
extern uint32 VhnswGraphRoom(const VhnswGraph *graph, uint32 wanted);
extern bool VhnswGraphFitsWithFiles(const VhnswGraph *graph, uint64 count,
									int workers);
extern void VhnswGraphDropWorkers(VhnswGraph *graph, uint64 count);
extern bool VhnswGraphMaySpill(const VhnswGraph *graph);
extern Size VhnswGraphCacheBytes(const VhnswGraph *graph, Size element_bytes);
extern void VhnswGraphResizeCodes(VhnswGraph *graph, Size element_bytes);

#endif							/* VHNSW_GRAPH_H */
