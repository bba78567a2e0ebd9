/*-------------------------------------------------------------------------
 *
 * vhnsw_elements.c
 *	  The elements of an index build, in memory that workers may share.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_blocked.h"
#include "vhnsw/vhnsw_graph.h"
#include "vhnsw/vhnsw_join.h"
#include "vhnsw/vhnsw_linker.h"

/* About so many bytes make a bundle, but not more elements than 2^10. */
#define BUNDLE_BYTES (128 * 1024)
#define MAX_BUNDLE_SHIFT 10

/* A new segment has this part of all bundles, so that there are few. */
#define SEGMENT_SHARE 8

typedef struct CodesEntry
{
	uint32		element;		/* hash key: stands for its code */
	uint32		hash;
	char		status;
} CodesEntry;

static uint32 code_hash (const VhnswGraph *graph, uint32 element);
static bool code_equal(const VhnswGraph *graph, uint32 a, uint32 b);

#define SH_PREFIX codes
#define SH_ELEMENT_TYPE CodesEntry
#define SH_KEY_TYPE uint32
#define SH_KEY element
#define SH_HASH_KEY(tb, key) code_hash((const VhnswGraph *) (tb)->private_data, key)
#define SH_EQUAL(tb, a, b) code_equal((const VhnswGraph *) (tb)->private_data, a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
/* Core's header has a harmless shadowing. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow=compatible-local"
#include "lib/simplehash.h"
#pragma GCC diagnostic pop

static void init_sizes(VhnswGraph *graph);
static uint32 next_segment_bundles(const VhnswGraph *graph);
static void add_segment(VhnswGraph *graph);
static void use_segment(VhnswGraph *graph, char *address, uint32 nbundles);

static uint32
code_hash	(const VhnswGraph *graph, uint32 element)
{
	return hash_bytes((unsigned char *) VhnswGraphGetCode(graph, element),
					  graph->code_size);
}

static bool
code_equal(const VhnswGraph *graph, uint32 a, uint32 b)
{
	return memcmp(VhnswGraphGetCode(graph, a), VhnswGraphGetCode(graph, b),
				  graph->code_size) == 0;
}

/* ----------------------------------------------------------------------
 * Loading
 * ----------------------------------------------------------------------
 */

/* An empty graph; memory that is not shared comes from 'context'. */
VhnswGraph *
VhnswGraphCreate(const VhnswLayout *layout, VhnswCrew *crew,
				 uint64 memory_limit, MemoryContext context)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	VhnswGraph *graph = palloc0_object(VhnswGraph);

	graph->context = context;
	graph->crew = crew;
	graph->layout = *layout;
	graph->memory_limit = memory_limit;
	init_sizes(graph);
	graph->duplicates_capacity = 16;
	graph->duplicates = palloc_array(VhnswDuplicate,
									 graph->duplicates_capacity);
	graph->hash = codes_create(context, 1024, graph);
	MemoryContextSwitchTo(old_context);
	return graph;
}

static void
init_sizes(VhnswGraph *graph)
{
	graph->code_size = VhnswCodeSize(&graph->layout);
	graph->bundle_shift = MAX_BUNDLE_SHIFT;
	while ((graph->code_size << graph->bundle_shift) > BUNDLE_BYTES &&
		   graph->bundle_shift > 0)
		graph->bundle_shift--;
	graph->bundle_bytes = MAXALIGN((graph->code_size + sizeof(ItemPointerData)) <<
								   graph->bundle_shift);
}

static uint32
next_segment_bundles(const VhnswGraph *graph)
{
	return Max(graph->nbundles / SEGMENT_SHARE, 1);
}

/*
 * VhnswGraphMemory
 *		Bytes that a graph of 'count' elements takes in the phase that takes
 *		most, and those who link it.
 */
uint64
VhnswGraphMemory(const VhnswGraph *graph, uint64 count)
{
	const VhnswLayout *layout = &graph->layout;
	int			workers = graph->crew->workers;
	uint64		bundles = graph->nbundles;
	uint64		fixed;
	uint64		loading = count * 3 * sizeof(CodesEntry);	/* at most half full */
	uint64		linking = count * VhnswLinkerElementBytes(layout, workers);

	if (count > bundles << graph->bundle_shift)
		bundles += next_segment_bundles(graph);
	fixed = bundles * graph->bundle_bytes +
		(uint64) graph->duplicates_capacity * sizeof(VhnswDuplicate);
	if (VhnswMayHaveBlocks(layout))
		linking = Max(linking,
					  count * VhnswBlockedElementBytes(layout) +
					  VhnswJoinLeafBytes(layout, count) * (workers + 1));
	return fixed + Max(linking, loading);
}

/* Would one more element exceed the limit, now or when it is linked? */
bool
VhnswGraphIsFull(const VhnswGraph *graph)
{
	return VhnswGraphMemory(graph, (uint64) graph->count + 1) >
		graph->memory_limit;
}

/*
 * VhnswGraphAdd
 *		Load a code; an element that has it already gets one more TID.
 */
void
VhnswGraphAdd(VhnswGraph *graph, const VhnswCode *code, ItemPointer tid)
{
	CodesEntry *entry;
	bool		found;

	if (graph->count >> graph->bundle_shift == graph->nbundles)
		add_segment(graph);
	memcpy(VhnswGraphGetCode(graph, graph->count), code, graph->code_size);
	entry = codes_insert(graph->hash, graph->count, &found);
	if (!found)
	{
		*VhnswGraphGetTid(graph, graph->count) = *tid;
		graph->count++;
		return;
	}

	if (graph->nduplicates == graph->duplicates_capacity)
	{
		graph->duplicates_capacity *= 2;
		graph->duplicates = repalloc_huge(graph->duplicates,
										  graph->duplicates_capacity *
										  sizeof(VhnswDuplicate));
	}
	graph->duplicates[graph->nduplicates].element = entry->element;
	graph->duplicates[graph->nduplicates++].tid = *tid;
}

/* Nothing will be added any more. */
void
VhnswGraphEndLoad(VhnswGraph *graph)
{
	codes_destroy(graph->hash);
	graph->hash = NULL;
}

static void
add_segment(VhnswGraph *graph)
{
	MemoryContext old_context = MemoryContextSwitchTo(graph->context);
	VhnswSegment segment;

	segment.nbundles = next_segment_bundles(graph);
	segment.memory = VhnswCrewAlloc(graph->crew, (Size) segment.nbundles *
									graph->bundle_bytes);
	if (graph->segments == NULL)
		graph->segments = palloc_object(VhnswSegment);
	else
		graph->segments = repalloc_array(graph->segments, VhnswSegment,
										 graph->nsegments + 1);
	graph->segments[graph->nsegments++] = segment;
	use_segment(graph, segment.memory.address, segment.nbundles);
	MemoryContextSwitchTo(old_context);
}

/* Note where the bundles of a segment are. */
static void
use_segment(VhnswGraph *graph, char *address, uint32 nbundles)
{
	Size		size = ((Size) graph->nbundles + nbundles) * sizeof(char *);

	graph->bundles = graph->bundles ? repalloc_huge(graph->bundles, size) :
		palloc_extended(size, MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < nbundles; i++)
		graph->bundles[graph->nbundles++] = address + i * graph->bundle_bytes;
}

/* ----------------------------------------------------------------------
 * Sharing
 * ----------------------------------------------------------------------
 */

Size
VhnswGraphShapeSize(const VhnswGraph *graph)
{
	return offsetof(VhnswGraphShape, segments) +
		graph->nsegments * sizeof(VhnswSegment);
}

void
VhnswGraphDescribe(const VhnswGraph *graph, VhnswGraphShape *shape)
{
	shape->layout = graph->layout;
	shape->own_bits = graph->layout.coder->own_bits;
	shape->count = graph->count;
	shape->nsegments = graph->nsegments;
	memcpy(shape->segments, graph->segments,
		   graph->nsegments * sizeof(VhnswSegment));
}

/* The leader's graph as a worker sees it. */
VhnswGraph *
VhnswGraphAttach(VhnswCrew *crew, const VhnswGraphShape *shape)
{
	VhnswGraph *graph = palloc0_object(VhnswGraph);

	graph->context = CurrentMemoryContext;
	graph->crew = crew;
	graph->layout = shape->layout;
	graph->layout.coder = VhnswGetCoder(shape->layout.metric,
										shape->own_bits);
	graph->count = shape->count;
	init_sizes(graph);
	for (int i = 0; i < shape->nsegments; i++)
		use_segment(graph, VhnswCrewAddress(crew, &shape->segments[i].memory),
					shape->segments[i].nbundles);
	return graph;
}

/* Memory for lists of so many places. */
Size
VhnswGraphListBytes(uint32 count, int list_capacity)
{
	return (Size) count * (list_capacity * sizeof(uint32) + sizeof(uint8));
}

/* Let a process know where lists are. */
void
VhnswGraphSetLists(VhnswGraph *graph, VhnswCrew *crew,
				   const VhnswMemory *lists, int list_capacity)
{
	graph->lists = *lists;
	graph->list_capacity = list_capacity;
	graph->list_ids = VhnswCrewAddress(crew, lists);
	graph->list_counts = (uint8 *) (graph->list_ids +
									(Size) graph->count * list_capacity);
}
