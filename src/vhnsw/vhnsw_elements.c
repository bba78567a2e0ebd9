/*-------------------------------------------------------------------------
 *
 * vhnsw_elements.c
 *	  The elements of an index build, in memory that workers may share.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_coders.h"
#include "vhnsw/vhnsw_graph.h"

/* About so many bytes make a bundle, but not more elements than 2^10. */
#define BUNDLE_BYTES (128 * 1024)
#define MAX_BUNDLE_SHIFT 10

/* About so many bytes are written at a time when a file is copied. */
#define COPY_BYTES (64 * 1024)

/* A new segment has this part of all bundles, so that there are few. */
#define SEGMENT_SHARE 8

/* Vectors are equally long if the longest is no longer than this times the shortest. */
#define SAME_LENGTH 1.01f

typedef struct CodesEntry
{
	uint32		element;		/* hash key: stands for its code */
	uint32		hash;
	char		status;
} CodesEntry;

/* What workers need to know of a graph whose elements are loaded. */
typedef struct VhnswGraphShape
{
	VhnswLayout layout;			/* without coder, which is elsewhere in others */
	int			own_bits;		/* of the coder */
	uint32		count;
	bool		lengths_matter;
	int			nsegments;
	VhnswSegment segments[FLEXIBLE_ARRAY_MEMBER];
} VhnswGraphShape;

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
static uint64 next_segment_bundles(uint64 nbundles);
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

/* How many are added to so many. */
static uint64
next_segment_bundles(uint64 nbundles)
{
	return Max(nbundles / SEGMENT_SHARE, 1);
}

/* What so many elements take, or will take, in bundles. */
uint64
VhnswGraphBundlesBytes(const VhnswGraph *graph, uint64 count)
{
	uint64		bundles = graph->nbundles;

	while (count > bundles << graph->bundle_shift)
		bundles += next_segment_bundles(bundles);
	return bundles * graph->bundle_bytes;
}

/*
 * Likewise in the hash table, which is 0.9 full when another one, twice as
 * large, is made beside it.
 */
uint64
VhnswGraphHashBytes(uint64 count)
{
	return count * (3 * sizeof(CodesEntry) * 10 / 9);
}

/*
 * VhnswGraphSpill
 *		Move what is loaded to a file, to go on there.
 *
 * When elements are linked their codes are the smaller part of what they take;
 * while loading there is room for a cache beside them.
 */
void
VhnswGraphSpill(VhnswGraph *graph)
{
	MemoryContext old_context;
	VhnswSpill *codes;
	uint32		id = 0;
	uint32		end = 0;

	old_context = MemoryContextSwitchTo(graph->context);
	codes = VhnswCrewCreateFile(graph->crew, VhnswGraphRecordBytes(graph), 0,
								graph->memory_limit / 8);
	for (int i = 0; i < graph->nsegments; i++)
	{
		VhnswSegment *segment = &graph->segments[i];

		end += segment->nbundles << graph->bundle_shift;
		for (; id < Min(end, graph->count); id++)
		{
			char	   *record = VhnswSpillChange(codes, id);

			if (id % 1024 == 0)
				CHECK_FOR_INTERRUPTS();
			memcpy(record, VhnswGraphGetCode(graph, id), graph->code_size);
			*(ItemPointer) (record + graph->code_size) =
				*VhnswGraphGetTid(graph, id);
		}
		VhnswCrewFree(graph->crew, &segment->memory);
	}
	graph->codes = codes;
	graph->nsegments = 0;
	graph->nbundles = 0;
	MemoryContextSwitchTo(old_context);
}

/*
 * VhnswGraphReorderFile
 *		Give the elements of a graph whose codes are in a file new numbers:
 *		order[i] is what number i was.
 *
 * They are read one by one, and written in order.
 */
void
VhnswGraphReorderFile(VhnswGraph *graph, const uint32 *order)
{
	MemoryContext old_context = MemoryContextSwitchTo(graph->context);
	Size		record_bytes = VhnswGraphRecordBytes(graph);
	Size		stride = VhnswSpillStride(record_bytes);
	uint32		at_once = (uint32) Max(COPY_BYTES / stride, 1);
	char	   *records = palloc(at_once * stride);
	VhnswSpill *codes = VhnswCrewCreateFile(graph->crew, record_bytes,
											graph->count, 0);

	VhnswSpillResize(graph->codes, 0);
	for (uint32 first = 0; first < graph->count; first += at_once)
	{
		uint32		n = Min(graph->count - first, at_once);

		CHECK_FOR_INTERRUPTS();
		for (uint32 i = 0; i < n; i++)
			VhnswSpillRead(graph->codes, order[first + i], 1,
						   records + i * stride);
		VhnswSpillWrite(codes, first, n, records);
	}
	VhnswSpillFree(graph->codes);
	graph->codes = codes;
	pfree(records);
	MemoryContextSwitchTo(old_context);
}

/* The graph is not needed any more. */
void
VhnswGraphCloseFiles(VhnswGraph *graph)
{
	if (graph->codes)
		VhnswSpillFree(graph->codes);
	if (graph->spilled_lists)
		VhnswSpillFree(graph->spilled_lists);
	graph->codes = graph->spilled_lists = NULL;
}

/*
 * VhnswGraphDistances
 *		VhnswCodeDistance() of n elements from a code, which stays where it is
 *		if codes are in a file.
 */
void
VhnswGraphDistances(const VhnswGraph *graph, const VhnswCode *code,
					const uint32 *ids, int n, float *distances)
{
	const VhnswCode *others[VHNSW_CODES_AT_ONCE];
	int			at_once = graph->codes ? VHNSW_SPILL_RECENT : VHNSW_CODES_AT_ONCE;

	for (int done = 0; done < n; done += at_once)
	{
		int			count = Min(n - done, at_once);

		for (int i = 0; i < count; i++)
		{
			VhnswGraphPrefetchCode(graph, ids[done + i]);
			others[i] = VhnswGraphGetCode(graph, ids[done + i]);
		}
		VhnswCodeDistances(&graph->layout, code, others, count,
						   distances + done);
	}
}

/* The codes of n elements, which stay where they are; copies of files'. */
const VhnswCode **
VhnswGraphSample(const VhnswGraph *graph, const uint32 *ids, uint32 n)
{
	const VhnswCode **sample = palloc_array(const VhnswCode *, n);
	char	   *copies = NULL;

	if (graph->codes)
		copies = palloc_extended(Max((Size) n * graph->code_size, 1),
								 MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		sample[i] = VhnswGraphKeepCode(graph, ids[i], copies, i);
	}
	return sample;
}

/*
 * The codes of n elements that are in a file, in another one, in this order;
 * for the leader.
 */
VhnswSpill *
VhnswGraphCopyCodes(const VhnswGraph *graph, const uint32 *ids, uint32 n)
{
	VhnswSpill *copies = VhnswCrewCreateFile(graph->crew, graph->code_size, n,
											 0);

	for (uint32 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		memcpy(VhnswSpillChange(copies, i), VhnswGraphGetCode(graph, ids[i]),
			   graph->code_size);
	}
	return copies;
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

	if (graph->codes == NULL &&
		graph->count >> graph->bundle_shift == graph->nbundles)
		add_segment(graph);
	VhnswGraphPut(graph, graph->count, code, *tid);
	entry = codes_insert(graph->hash, graph->count, &found);
	if (!found)
	{
		graph->shortest = graph->count > 0 ?
			Min(graph->shortest, code->norm) : code->norm;
		graph->longest = Max(graph->longest, code->norm);
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

/*
 * VhnswGraphEndLoad
 *		Nothing will be added any more.
 *
 * Inner products of vectors that are equally long order as distances do, so the
 * rules of distances are for them.  Embeddings are mostly of length 1, but for
 * rounding; lengths that differ more matter.
 */
void
VhnswGraphEndLoad(VhnswGraph *graph)
{
	codes_destroy(graph->hash);
	graph->hash = NULL;
	graph->lengths_matter = graph->layout.metric == VHNSW_INNER_PRODUCT &&
		graph->longest > SAME_LENGTH * graph->shortest;
}

static void
add_segment(VhnswGraph *graph)
{
	MemoryContext old_context = MemoryContextSwitchTo(graph->context);
	VhnswSegment segment;

	segment.nbundles = (uint32) next_segment_bundles(graph->nbundles);
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

/*
 * VhnswGraphShare
 *		Let jobs from now on be about this graph, when all elements are loaded.
 */
void
VhnswGraphShare(VhnswGraph *graph)
{
	VhnswGraphShape *shape;

	graph->crew->graph = graph;
	graph->crew->codes = &graph->codes;
	shape = VhnswCrewShareGraph(graph->crew,
								offsetof(VhnswGraphShape, segments) +
								graph->nsegments * sizeof(VhnswSegment));
	if (shape == NULL)
		return;
	shape->layout = graph->layout;
	shape->own_bits = graph->layout.coder->own_bits;
	shape->count = graph->count;
	shape->lengths_matter = graph->lengths_matter;
	shape->nsegments = graph->nsegments;
	for (int i = 0; i < graph->nsegments; i++)
		graph->segments[i].memory.lasts = true;
	memcpy(shape->segments, graph->segments,
		   graph->nsegments * sizeof(VhnswSegment));
}

/*
 * VhnswGraphAttach
 *		Make the leader's graph that of a worker, by its VhnswGraphShape.
 */
void
VhnswGraphAttach(VhnswCrew *crew, const void *arg)
{
	const VhnswGraphShape *shape = arg;
	VhnswGraph *graph = palloc0_object(VhnswGraph);

	graph->context = CurrentMemoryContext;
	graph->crew = crew;
	graph->layout = shape->layout;
	graph->layout.coder = VhnswGetCoder(shape->layout.metric,
										shape->own_bits);
	graph->count = shape->count;
	graph->lengths_matter = shape->lengths_matter;
	init_sizes(graph);
	for (int i = 0; i < shape->nsegments; i++)
		use_segment(graph, VhnswCrewAddress(crew, &shape->segments[i].memory),
					shape->segments[i].nbundles);
	crew->graph = graph;
	crew->codes = &graph->codes;
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

/* Lists that are made, for a job that reads them. */
VhnswListsShape
VhnswGraphDescribeLists(const VhnswGraph *graph)
{
	VhnswListsShape shape = {
		.lists = graph->lists,.list_capacity = graph->list_capacity,
		.list_offset = graph->list_offset
	};

	if (graph->spilled_lists)
		shape.file = VhnswSpillDescribe(graph->spilled_lists);
	return shape;
}

/* Let a worker know where they are. */
void
VhnswGraphAttachLists(VhnswCrew *crew, const VhnswListsShape *shape)
{
	VhnswGraph *graph = crew->graph;

	if (!crew->is_worker)
		return;
	VhnswGraphSetLists(graph, crew, &shape->lists, shape->list_capacity);
	graph->spilled_lists = VhnswCrewFile(crew, &shape->file);
	graph->list_offset = shape->list_offset;
}
