/*-------------------------------------------------------------------------
 *
 * vhnsw_budget.c
 *	  Memory of an index build: what it takes, and what its files may have.
 *
 * Each phase tells what it takes for an element, and asks here for what
 * remains of maintenance_work_mem (by vhnsw_graph.h, since both look at each
 * other).  Whether rows go to files, with how many workers, and whether the
 * last ones are inserted page by page follows from the phase that takes most.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vhnsw/vhnsw_basis.h"
#include "vhnsw/vhnsw_blocked.h"
#include "vhnsw/vhnsw_edge_build.h"
#include "vhnsw/vhnsw_graph.h"
#include "vhnsw/vhnsw_hub.h"
#include "vhnsw/vhnsw_join.h"
#include "vhnsw/vhnsw_linker.h"
#include "vhnsw/vhnsw_load.h"
#include "vhnsw/vhnsw_principal.h"
#include "vhnsw/vhnsw_span.h"

/* The least that codes have where what was not foreseen takes the rest */
#define LEAST_CACHE (VHNSW_MIN_CACHE / 4)

/*
 * While codes are loaded it is not known how many pages there will be: a map of
 * pages is copied to one twice as large.
 */
#define GROWING_MAP 3

static uint64 memory_with_files(const VhnswGraph *graph, uint64 count,
								int workers);
static uint64 duplicates_bytes(const VhnswGraph *graph);
static uint64 work_bytes(const VhnswGraph *graph, uint64 count, int processes);
static Size learning_element_bytes(const VhnswLayout *layout);

/*
 * VhnswGraphMemory
 *		Bytes that a graph of 'count' elements takes in the phase that takes
 *		most, and those who link it.
 */
uint64
VhnswGraphMemory(const VhnswGraph *graph, uint64 count)
{
	return graph->codes ?
		memory_with_files(graph, count, graph->crew->workers) :
		VhnswGraphMemoryWithoutFiles(graph, count);
}

/* Likewise without files, whether there are some or not. */
uint64
VhnswGraphMemoryWithoutFiles(const VhnswGraph *graph, uint64 count)
{
	const VhnswLayout *layout = &graph->layout;
	int			workers = graph->crew->workers;
	uint64		fixed = VhnswGraphBundlesBytes(graph, count) +
	duplicates_bytes(graph);
	uint64		loading = VhnswGraphHashBytes(count);
	uint64		linking = count * VhnswLinkerElementBytes(layout);

	if (workers > 0)
		loading += VHNSW_BATCHES * VhnswBatchBytes(layout);
	if (VhnswMayHaveBlocks(layout))
	{
		uint64		blocked = count * VhnswBlockedElementBytes(layout) +
		VhnswJoinLeafBytes(layout, count) * (workers + 1);

		if (VhnswWantsPrincipal(layout, count))
			blocked += VhnswPrincipalLearnedBytes(layout);
		linking = Max(linking, blocked);
	}
	linking = Max(linking,
				  count * (VhnswJoinElementBytes(layout->degree) +
						   VhnswOrderBytes) + graph->learning_bytes);
	return fixed + Max(linking, loading);
}

/*
 * VhnswGraphRoom
 *		How many more elements there is room for, now and when they are linked,
 *		if not for 'wanted' ones: at least half as many as there could be.
 */
uint32
VhnswGraphRoom(const VhnswGraph *graph, uint32 wanted)
{
	while (wanted > 0 &&
		   VhnswGraphMemory(graph, (uint64) graph->count + wanted) >
		   graph->memory_limit)
		wanted /= 2;
	return wanted;
}

/* Can so many elements be linked in files, with so many workers? */
bool
VhnswGraphFitsWithFiles(const VhnswGraph *graph, uint64 count, int workers)
{
	return VhnswMayHaveBlocks(&graph->layout) &&
		memory_with_files(graph, count, workers) <= graph->memory_limit;
}

/* What a graph takes whose codes, lists and projections are in files. */
static uint64
memory_with_files(const VhnswGraph *graph, uint64 count, int workers)
{
	const VhnswLayout *layout = &graph->layout;
	int			processes = workers + 1;
	uint64		loading = VhnswGraphHashBytes(count) + VHNSW_MIN_CACHE +
	GROWING_MAP * VhnswSpillMapBytes(VhnswGraphRecordBytes(graph), count);
	uint64		linking = count * VhnswBlockedResidentBytes(layout) +
	processes * VHNSW_MIN_CACHE + work_bytes(graph, count, processes);
	uint64		learning = count * learning_element_bytes(layout) +
	VHNSW_MIN_CACHE + graph->learning_bytes;

	if (workers > 0)
		loading += VHNSW_BATCHES * VhnswBatchBytes(layout);
	return duplicates_bytes(graph) +
		Max(Max(loading, linking), learning);
}

/* TIDs of elements that have several */
static uint64
duplicates_bytes(const VhnswGraph *graph)
{
	return (uint64) graph->duplicates_capacity * sizeof(VhnswDuplicate);
}

/*
 * What processes have in work, if codes are in a file: each of them hubs or a
 * leaf, or later all together a sample of the codes; and each, always, where
 * the pages are of codes, lists, and projections (principal dimensions take
 * less).
 */
static uint64
work_bytes(const VhnswGraph *graph, uint64 count, int processes)
{
	const VhnswLayout *layout = &graph->layout;
	uint64		leaf = Max(VhnswHubsWorkBytes(layout, count),
						   VhnswJoinLeafBytes(layout, count) +
						   graph->dividing_bytes);
	uint64		maps = VhnswSpillMapBytes(VhnswGraphRecordBytes(graph), count) +
	VhnswSpillMapBytes(VhnswKeyPlaces(layout->degree) * sizeof(VhnswKey),
					   count) +
	VhnswSpillMapBytes(VhnswProjectionBytes(layout->dims) + sizeof(float),
					   count);

	return Max(processes * leaf, VhnswSpanBytes(layout, count, processes)) +
		processes * maps;
}

/*
 * VhnswGraphDropWorkers
 *		Go on with as many workers as memory has room for, if so many elements
 *		are linked in files: each process has caches, and a leaf in work.
 */
void
VhnswGraphDropWorkers(VhnswGraph *graph, uint64 count)
{
	int			workers = graph->crew->workers;

	while (workers > 0 && !VhnswGraphFitsWithFiles(graph, count, workers))
		workers--;
	VhnswCrewSetWorkers(graph->crew, workers);
}

/*
 * VhnswGraphMaySpill
 *		Is it worth while to go on in files?  Not if memory is too small for
 *		twice as many elements, or if they cannot be linked by blocks.
 */
bool
VhnswGraphMaySpill(const VhnswGraph *graph)
{
	return graph->codes == NULL &&
		VhnswGraphFitsWithFiles(graph, 2 * (uint64) graph->count, 0);
}

/*
 * VhnswGraphCacheBytes
 *		Memory for the records of files, where each element takes so many bytes
 *		besides: for each process.
 */
Size
VhnswGraphCacheBytes(const VhnswGraph *graph, Size element_bytes)
{
	int			processes = graph->crew->workers + 1;
	uint64		taken = duplicates_bytes(graph) +
	work_bytes(graph, graph->count, processes) +
	(uint64) graph->count * element_bytes;

	return graph->memory_limit > taken + processes * LEAST_CACHE ?
		(graph->memory_limit - taken) / processes : LEAST_CACHE;
}

/* Let codes, if they are in a file, take that. */
void
VhnswGraphResizeCodes(VhnswGraph *graph, Size element_bytes)
{
	if (graph->codes)
		VhnswSpillResize(graph->codes,
						 VhnswGraphCacheBytes(graph, element_bytes));
}

/* With codes in a file: a basis may be learned before pairs are compared. */
static Size
learning_element_bytes(const VhnswLayout *layout)
{
	return VhnswPrincipalElementBytes(layout) > 0 ?
		Max(VhnswBlockedJoinBytes(layout), VhnswOrderBytes) : VhnswOrderBytes;
}
