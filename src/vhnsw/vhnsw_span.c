/*-------------------------------------------------------------------------
 *
 * vhnsw_span.c
 *	  Links between clusters that lie apart, after a blocked build.
 *
 * Where a cluster fills the lists of its elements, they know nothing of other
 * clusters.  So the elements of a sample get links to others of it, in
 * different directions, and again in a quarter of the sample, down to a few:
 * in one of the samples there are too few of a cluster to take all links.
 * They are the beginnings of the same random order, as the entries are.
 * (The hierarchy of HNSW is this, with lists of its own.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "vhnsw/vhnsw_key.h"
#include "vhnsw/vhnsw_select.h"
#include "vhnsw/vhnsw_span.h"

/* The first sample: one element in so many, and at most */
#define SAMPLE_STRIDE 32
#define LARGEST_SAMPLE 3000

/* Likewise, where searches fail in spite of that */
#define LARGER_STRIDE 16
#define LARGEST_LARGER_SAMPLE 12500

/* Links of an element in each sample, and of how many they are chosen */
#define SPANNING_LINKS 8
#define CANDIDATES 64

/* Elements whose links are chosen at a time */
#define CHOSEN_AT_ONCE 8

/* The links that were chosen for an element. */
typedef struct Spanning
{
	int			count;
	uint32		links[SPANNING_LINKS];
} Spanning;

/* Job: choose the links of a sample. */
typedef struct SpanJob
{
	VhnswMemory order;
	uint32		count;			/* the sample: so many of the order */
	VhnswMemory copies;			/* its codes, if they are in a file */
	VhnswMemory spannings;
} SpanJob;

static void span_sample(VhnswAdded *added, uint32 count);
static const VhnswCode **codes_of_sample(VhnswCrew *crew, const SpanJob *job);
static int	find_nearest(const VhnswGraph *graph, const uint32 *ids,
						 const VhnswCode **codes, uint32 which, uint32 count,
						 VhnswLink *nearest);

/* Memory of all processes for that, if elements are in a file. */
Size
VhnswSpanBytes(const VhnswLayout *layout, uint64 count, int processes)
{
	return Min(count / LARGER_STRIDE, LARGEST_LARGER_SAMPLE) *
		(VhnswCodeSize(layout) + sizeof(Spanning) +
		 processes * sizeof(VhnswCode *));
}

/*
 * VhnswSpanClusters
 *		Link a sample of the elements among themselves.
 *
 * graph->order is made.
 */
void
VhnswSpanClusters(VhnswAdded *added)
{
	uint32		count = Min(added->graph->count / SAMPLE_STRIDE,
							LARGEST_SAMPLE);

	for (; count > 4 * SPANNING_LINKS; count /= 4)
		span_sample(added, count);
}

/*
 * VhnswSpanManyClusters
 *		After VhnswSpanClusters(), link a larger sample among itself.
 */
void
VhnswSpanManyClusters(VhnswAdded *added)
{
	span_sample(added, Min(added->graph->count / LARGER_STRIDE,
						   LARGEST_LARGER_SAMPLE));
}

/* Link so many elements, the first of graph->order, among themselves. */
static void
span_sample(VhnswAdded *added, uint32 count)
{
	const VhnswGraph *graph = added->graph;
	VhnswCrew  *crew = graph->crew;
	SpanJob		job = {.order = graph->order_memory,.count = count};
	const Spanning *spannings;

	job.spannings = VhnswCrewAlloc(crew, count * sizeof(Spanning));
	spannings = job.spannings.address;
	if (graph->codes)
	{
		job.copies = VhnswCrewAlloc(crew, (Size) count * graph->code_size);
		for (uint32 i = 0; i < count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			(void) VhnswGraphKeepCode(graph, graph->order[i],
									  job.copies.address, i);
		}
	}
	VhnswCrewRun(crew, VHNSW_JOB_SPAN, &job, sizeof(job),
				 (count + CHOSEN_AT_ONCE - 1) / CHOSEN_AT_ONCE);
	for (uint32 i = 0; i < count; i++)
	{
		uint32		id = graph->order[i];

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < spannings[i].count; j++)
		{
			(void) VhnswAddLink(added, id, spannings[i].links[j]);
			(void) VhnswAddLink(added, spannings[i].links[j], id);
		}
	}
	if (graph->codes)
		VhnswCrewFree(crew, &job.copies);
	VhnswCrewFree(crew, &job.spannings);
}

void
VhnswSpanJob(VhnswCrew *crew, const void *arg)
{
	const SpanJob *job = arg;
	const VhnswGraph *graph = crew->graph;
	const uint32 *ids = VhnswCrewAddress(crew, &job->order);
	Spanning   *spannings = VhnswCrewAddress(crew, &job->spannings);
	const VhnswCode **codes = codes_of_sample(crew, job);
	uint32		chunk;

	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * CHOSEN_AT_ONCE;
		uint32		end = Min(first + CHOSEN_AT_ONCE, job->count);

		for (uint32 i = first; i < end; i++)
		{
			VhnswLink	nearest[CANDIDATES];
			VhnswLink	links[SPANNING_LINKS];
			int			n = find_nearest(graph, ids, codes, i, job->count,
										 nearest);

			n = VhnswSelectLinks(&graph->layout, nearest, n, SPANNING_LINKS,
								 SPANNING_LINKS, links);
			spannings[i].count = n;
			for (int j = 0; j < n; j++)
				spannings[i].links[j] = links[j].id;
		}
	}
}

/* The codes of a sample, which stay where they are. */
static const VhnswCode **
codes_of_sample(VhnswCrew *crew, const SpanJob *job)
{
	const VhnswGraph *graph = crew->graph;
	const uint32 *ids = VhnswCrewAddress(crew, &job->order);
	const VhnswCode **codes = palloc_array(const VhnswCode *, job->count);
	const char *copies = graph->codes ?
	VhnswCrewAddress(crew, &job->copies) : NULL;

	for (uint32 i = 0; i < job->count; i++)
		codes[i] = copies ?
			(const VhnswCode *) (copies + (Size) i * graph->code_size) :
			VhnswGraphGetCode(graph, ids[i]);
	return codes;
}

/* The nearest of a sample, sorted; returns how many. */
static int
find_nearest(const VhnswGraph *graph, const uint32 *ids,
			 const VhnswCode **codes, uint32 which, uint32 count,
			 VhnswLink *nearest)
{
	VhnswKey	keys[2 * CANDIDATES];
	VhnswKey	limit = PG_UINT64_MAX;
	int			n = 0;

	CHECK_FOR_INTERRUPTS();
	for (uint32 first = 0; first < count; first += CANDIDATES)
	{
		int			m = Min(count - first, CANDIDATES);
		float		distances[CANDIDATES];

		VhnswCodeDistances(&graph->layout, codes[which], codes + first, m,
						   distances);
		for (int i = 0; i < m; i++)
		{
			VhnswKey	key = VhnswMakeKey(distances[i], first + i);

			if (first + i == which || key > limit)
				continue;
			keys[n++] = key;
			if (n == lengthof(keys))
			{
				VhnswSelectKeys(keys, n, CANDIDATES);
				n = CANDIDATES;
				limit = VhnswLargestKey(keys, n);
			}
		}
	}
	n = Min(VhnswSortKeys(keys, n), CANDIDATES);
	for (int i = 0; i < n; i++)
	{
		uint32		place = VhnswKeyId(keys[i]);

		nearest[i] = (VhnswLink)
		{
			VhnswKeyDistance(keys[i]), ids[place], codes[place]
		};
	}
	return n;
}
