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
 * Thousands of clusters are more than a sample shows.  Where searches fail in
 * spite of it, one element of each is compared with those of all others, and
 * the nearest get links: each from another element of the one cluster to
 * another one of the other, since a search expands most elements of a cluster
 * that it has come to, and should see many other clusters from there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "vhnsw/vhnsw_island.h"
#include "vhnsw/vhnsw_key.h"
#include "vhnsw/vhnsw_select.h"
#include "vhnsw/vhnsw_span.h"

/* The first sample: one element in so many, and at most */
#define SAMPLE_STRIDE 32
#define LARGEST_SAMPLE 3000

/* Likewise, of islands */
#define ISLAND_STRIDE 12
#define MOST_ISLANDS 25000

/* Links of an element in each sample, and of how many they are chosen */
#define SPANNING_LINKS 8
#define CANDIDATES 64

/*
 * Links of an island, at most, and the share of its places that an element has
 * for these (and as many for those of others)
 */
#define ISLAND_LINKS CANDIDATES
#define ISLAND_SHARE 8

/* Elements whose links are chosen at a time */
#define CHOSEN_AT_ONCE 8

/* The links that were chosen for an element: places in the sample. */
typedef struct Spanning
{
	uint16		count;
	uint16		links[ISLAND_LINKS];
} Spanning;

StaticAssertDecl(LARGEST_SAMPLE <= PG_UINT16_MAX + 1 && MOST_ISLANDS <= PG_UINT16_MAX + 1,
				 "places in a sample must fit");

/* Job: choose the links of a sample. */
typedef struct SpanJob
{
	VhnswMemory ids;
	uint32		count;			/* the sample: so many of them */
	bool		nearest;		/* choose the nearest */
	VhnswMemory copies;			/* its codes, if they are in a file */
	VhnswMemory spannings;
} SpanJob;

static void span_sample(VhnswAdded *added, uint32 count);
static const Spanning *choose_links(const VhnswGraph *graph, SpanJob *job);
static void free_links(const VhnswGraph *graph, SpanJob *job);
static int	links_of_island(const VhnswIslands *islands, uint32 first,
							int each);
static const VhnswCode **codes_of_sample(VhnswCrew *crew, const SpanJob *job);
static int	find_nearest(const VhnswGraph *graph, const VhnswCode **codes,
						 uint32 which, uint32 count, VhnswLink *nearest);

/* Memory of all processes for that, if elements are in a file. */
Size
VhnswSpanBytes(const VhnswLayout *layout, uint64 count, int processes)
{
	return Min(count / ISLAND_STRIDE, MOST_ISLANDS) *
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
 * VhnswSpanIslands
 *		After VhnswSpanClusters(), link islands among themselves.
 *
 * If there are too many, those at equal intervals.  Returns how many are linked.
 */
uint32
VhnswSpanIslands(VhnswAdded *added)
{
	const VhnswGraph *graph = added->graph;
	VhnswIslands *islands = VhnswFindIslands(graph);
	uint32	   *turns = islands->firsts;	/* whose turn is next in each */
	uint32		count = Min(islands->count,
							Min(graph->count / ISLAND_STRIDE, MOST_ISLANDS));
	SpanJob		job = {.count = count,.nearest = true};
	const Spanning *spannings;
	uint8	   *limits = palloc(count);

	job.ids = VhnswCrewAlloc(graph->crew, count * sizeof(uint32));
	for (uint32 i = 0; i < count; i++)
	{
		turns[i] = islands->firsts[(uint64) i * islands->count / count];
		limits[i] = links_of_island(islands, turns[i],
									graph->layout.degree / ISLAND_SHARE);
	}
	memcpy(job.ids.address, turns, count * sizeof(uint32));
	spannings = choose_links(graph, &job);

	/* The nearest first, as places may not do for all. */
	for (int j = 0; j < ISLAND_LINKS; j++)
	{
		for (uint32 i = 0; i < count; i++)
		{
			uint32		from = turns[i];
			uint32		to;

			CHECK_FOR_INTERRUPTS();
			if (j >= Min(spannings[i].count, limits[i]))
				continue;
			to = turns[spannings[i].links[j]];
			(void) VhnswAddLink(added, from, to);
			(void) VhnswAddLink(added, to, from);
			turns[i] = islands->next[from];
			turns[spannings[i].links[j]] = islands->next[to];
		}
	}
	free_links(graph, &job);
	VhnswCrewFree(graph->crew, &job.ids);
	pfree(limits);
	VhnswFreeIslands(islands);
	return count;
}

/* So many for each of its elements */
static int
links_of_island(const VhnswIslands *islands, uint32 first, int each)
{
	int			n = each;

	for (uint32 id = islands->next[first]; id != first && n < ISLAND_LINKS;
		 id = islands->next[id])
		n += each;
	return Min(n, ISLAND_LINKS);
}

/* Link so many elements, the first of graph->order, among themselves. */
static void
span_sample(VhnswAdded *added, uint32 count)
{
	const VhnswGraph *graph = added->graph;
	SpanJob		job = {.ids = graph->order_memory,.count = count};
	const Spanning *spannings = choose_links(graph, &job);

	for (uint32 i = 0; i < count; i++)
	{
		uint32		id = graph->order[i];

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < spannings[i].count; j++)
		{
			uint32		other = graph->order[spannings[i].links[j]];

			(void) VhnswAddLink(added, id, other);
			(void) VhnswAddLink(added, other, id);
		}
	}
	free_links(graph, &job);
}

/* Run a job whose sample is set; what it has beside that is for free_links(). */
static const Spanning *
choose_links(const VhnswGraph *graph, SpanJob *job)
{
	VhnswCrew  *crew = graph->crew;
	const uint32 *ids = job->ids.address;

	job->spannings = VhnswCrewAlloc(crew, job->count * sizeof(Spanning));
	if (graph->codes)
	{
		job->copies = VhnswCrewAlloc(crew,
									 (Size) job->count * graph->code_size);
		for (uint32 i = 0; i < job->count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			(void) VhnswGraphKeepCode(graph, ids[i], job->copies.address, i);
		}
	}
	VhnswCrewRun(crew, VHNSW_JOB_SPAN, job, sizeof(*job),
				 (job->count + CHOSEN_AT_ONCE - 1) / CHOSEN_AT_ONCE);
	return job->spannings.address;
}

static void
free_links(const VhnswGraph *graph, SpanJob *job)
{
	if (graph->codes)
		VhnswCrewFree(graph->crew, &job->copies);
	VhnswCrewFree(graph->crew, &job->spannings);
}

void
VhnswSpanJob(VhnswCrew *crew, const void *arg)
{
	const SpanJob *job = arg;
	const VhnswGraph *graph = crew->graph;
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
			VhnswLink	chosen[SPANNING_LINKS];
			const VhnswLink *links = job->nearest ? nearest : chosen;
			int			n = find_nearest(graph, codes, i, job->count, nearest);

			if (!job->nearest)
				n = VhnswSelectLinks(&graph->layout, nearest, n,
									 SPANNING_LINKS, SPANNING_LINKS, chosen);
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
	const uint32 *ids = VhnswCrewAddress(crew, &job->ids);
	const VhnswCode **codes = palloc_array(const VhnswCode *, job->count);
	const char *copies = graph->codes ?
	VhnswCrewAddress(crew, &job->copies) : NULL;

	for (uint32 i = 0; i < job->count; i++)
		codes[i] = copies ?
			(const VhnswCode *) (copies + (Size) i * graph->code_size) :
			VhnswGraphGetCode(graph, ids[i]);
	return codes;
}

/* The nearest of a sample, by their places, sorted; returns how many. */
static int
find_nearest(const VhnswGraph *graph, const VhnswCode **codes, uint32 which,
			 uint32 count, VhnswLink *nearest)
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
			VhnswKeyDistance(keys[i]), place, codes[place]
		};
	}
	return n;
}
