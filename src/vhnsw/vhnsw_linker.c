/*-------------------------------------------------------------------------
 *
 * vhnsw_linker.c
 *	  Link the elements of an index build by searching for each.
 *
 *	1. Elements come in batches, in random order: as many as are linked
 *	   already, but at most 2 % of all.
 *		a. Search for each among those of earlier batches, and select m
 *		   neighbors.
 *		b. Append the back-links, sorted by the elements that get them.  A list
 *		   may grow to 1.3 times the degree before it is pruned.
 *	2. Lists are pruned to the degree, or topped up from the neighbors of
 *	   their neighbors.
 *
 * In each step an element's list is written by one process, and none is read
 * that is written, so that any number of processes can take part; see README,
 * section "Parallel build".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_beam.h"
#include "vhnsw/vhnsw_linker.h"
#include "vhnsw/vhnsw_select.h"

#define LIST_SLACK 1.3

/* A batch is at most this part of all elements. */
#define BATCH_SHARE 50

/* Taken at a time: elements to search for, back-links, lists to finish. */
#define SEARCHED_AT_ONCE 8
#define LINKS_AT_ONCE 256
#define FINISHED_AT_ONCE 128

#define Chunks(n, at_once) (((n) + (at_once) - 1) / (at_once))

/* Places of a list, before it is pruned to the degree. */
#define ListPlaces(layout) \
	Min((int) ((layout)->degree * LIST_SLACK), PG_UINT8_MAX - 1)

/* 'source' lists 'target', which shall list 'source'. */
typedef struct BackLink
{
	uint32		target;
	uint32		source;
	float		distance;
} BackLink;

/* All jobs have the same argument. */
typedef struct LinkJob
{
	VhnswMemory lists;
	VhnswMemory distances;		/* list_capacity for each element */
	VhnswMemory order;
	VhnswMemory back_links;		/* of a batch, by target */
	uint32		nback_links;
	VhnswMemory counts;			/* of lists before any is topped up */
	uint32		first;			/* places of the batch in the order */
	uint32		end;
	uint32		nstarts;		/* searches start from the first of the order */
} LinkJob;

/* A process at work. */
typedef struct Linker
{
	VhnswGraph *graph;
	const VhnswLayout *layout;
	float	   *distances;
	VhnswBeam  *beam;
	VhnswLink  *candidates;
	VhnswLink  *selected;
} Linker;

#define GetDistances(linker, id) \
	((linker)->distances + (Size) (id) * (linker)->graph->list_capacity)

static void link_batch(VhnswCrew *crew, LinkJob *job);
static int	compare_back_links(const void *a, const void *b);
static Linker *begin_linker(VhnswCrew *crew, const LinkJob *job);
static void link_element(Linker *linker, uint32 id, const uint32 *starts,
						 const VhnswCode **start_codes, uint32 nstarts);
static void add_back_link(Linker *linker, const BackLink *link);
static void prune_list(Linker *linker, uint32 id);
static void set_list(Linker *linker, uint32 id, const VhnswLink *links,
					 int n);
static void top_up_list(Linker *linker, uint32 id, const uint8 *counts);

/* ----------------------------------------------------------------------
 * What the leader does
 * ----------------------------------------------------------------------
 */

/* Memory for one element. */
Size
VhnswLinkerElementBytes(const VhnswLayout *layout)
{
	return VhnswGraphListBytes(1, ListPlaces(layout)) +
		ListPlaces(layout) * sizeof(float) +
		layout->m * sizeof(BackLink) / BATCH_SHARE +
		VhnswOrderBytes + VhnswProjectionBytes(layout->dims);
}

/*
 * VhnswLinkBySearch
 *		Give every element its neighbors; the order and the number of entries
 *		are known.
 */
void
VhnswLinkBySearch(VhnswGraph *graph)
{
	VhnswCrew  *crew = graph->crew;
	int			capacity = ListPlaces(&graph->layout);
	uint32		largest = Max(graph->count / BATCH_SHARE, 1);
	LinkJob		job = {.order = graph->order_memory};

	VhnswCrewPhase(VHNSW_PHASE_LINK, graph->count);
	job.lists = VhnswCrewAlloc(crew, VhnswGraphListBytes(graph->count,
														 capacity));
	job.lists.lasts = true;
	VhnswGraphSetLists(graph, crew, &job.lists, capacity);
	memset(graph->list_counts, 0, graph->count);
	job.distances = VhnswCrewAlloc(crew, (Size) graph->count * capacity *
								   sizeof(float));
	job.back_links = VhnswCrewAlloc(crew, (Size) largest * graph->layout.m *
									sizeof(BackLink));
	job.counts = VhnswCrewAlloc(crew, graph->count);

	while (job.end < graph->count)
	{
		job.first = job.end;
		job.end += Min(Max(Min(job.first, largest), 1),
					   graph->count - job.first);
		job.nstarts = Min(graph->nentries, job.first);
		link_batch(crew, &job);
	}
	VhnswCrewRun(crew, VHNSW_JOB_PRUNE, &job, sizeof(job),
				 Chunks(graph->count, FINISHED_AT_ONCE));
	memcpy(job.counts.address, graph->list_counts, graph->count);
	VhnswCrewRun(crew, VHNSW_JOB_TOP_UP, &job, sizeof(job),
				 Chunks(graph->count, FINISHED_AT_ONCE));
	VhnswCrewReport(crew, graph->count);

	VhnswCrewFree(crew, &job.distances);
	VhnswCrewFree(crew, &job.back_links);
	VhnswCrewFree(crew, &job.counts);
}

/* Link the elements of a batch to those of earlier ones, and these to them. */
static void
link_batch(VhnswCrew *crew, LinkJob *job)
{
	VhnswGraph *graph = crew->graph;
	BackLink   *links = job->back_links.address;
	const float *distances = job->distances.address;

	VhnswCrewRun(crew, VHNSW_JOB_SEARCH, job, sizeof(*job),
				 Chunks(job->end - job->first, SEARCHED_AT_ONCE));

	job->nback_links = 0;
	for (uint32 i = job->first; i < job->end; i++)
	{
		uint32		id = graph->order[i];

		for (int j = 0; j < graph->list_counts[id]; j++)
			links[job->nback_links++] = (BackLink)
		{
			VhnswGraphGetIds(graph, id)[j], id,
				distances[(Size) id * graph->list_capacity + j]
		};
	}
	qsort(links, job->nback_links, sizeof(BackLink), compare_back_links);
	VhnswCrewRun(crew, VHNSW_JOB_LINK_BACK, job, sizeof(*job),
				 Chunks(job->nback_links, LINKS_AT_ONCE));
}

static int
compare_back_links(const void *a, const void *b)
{
	const BackLink *la = a;
	const BackLink *lb = b;

	if (la->target != lb->target)
		return la->target < lb->target ? -1 : 1;
	return la->source < lb->source ? -1 : la->source > lb->source;
}

/* ----------------------------------------------------------------------
 * Jobs
 * ----------------------------------------------------------------------
 */

static Linker *
begin_linker(VhnswCrew *crew, const LinkJob *job)
{
	Linker	   *linker = palloc0_object(Linker);
	VhnswGraph *graph = crew->graph;
	int			efc = graph->layout.ef_construction;
	int			degree = graph->layout.degree;
	int			room = Max(efc + 1, degree * (degree + 1) + 1);

	VhnswGraphSetLists(graph, crew, &job->lists, ListPlaces(&graph->layout));
	linker->graph = graph;
	linker->layout = &graph->layout;
	linker->distances = VhnswCrewAddress(crew, &job->distances);
	linker->beam = VhnswBeamCreate(graph, efc);
	linker->candidates = palloc_array(VhnswLink, room);
	linker->selected = palloc_array(VhnswLink, room);
	return linker;
}

/* Link elements of a batch to earlier ones. */
void
VhnswSearchJob(VhnswCrew *crew, const void *arg)
{
	const LinkJob *job = arg;
	Linker	   *linker = begin_linker(crew, job);
	const uint32 *order = VhnswCrewAddress(crew, &job->order);
	const VhnswCode **start_codes = VhnswGraphSample(crew->graph, order,
													 job->nstarts);
	uint32		chunk;

	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = job->first + chunk * SEARCHED_AT_ONCE;
		uint32		end = Min(first + SEARCHED_AT_ONCE, job->end);

		VhnswCrewReport(crew, first);
		for (uint32 i = first; i < end; i++)
		{
			CHECK_FOR_INTERRUPTS();
			link_element(linker, order[i], order, start_codes, job->nstarts);
		}
	}
}

/* Link earlier elements to those of a batch. */
void
VhnswLinkBackJob(VhnswCrew *crew, const void *arg)
{
	const LinkJob *job = arg;
	Linker	   *linker = begin_linker(crew, job);
	const BackLink *links = VhnswCrewAddress(crew, &job->back_links);
	uint32		chunk;

	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		i = chunk * LINKS_AT_ONCE;
		uint32		end = Min(i + LINKS_AT_ONCE, job->nback_links);

		/* A target belongs to the chunk in which its links begin. */
		while (i > 0 && i < end && links[i].target == links[i - 1].target)
			i++;
		if (i == end)
			continue;
		while (end < job->nback_links &&
			   links[end].target == links[end - 1].target)
			end++;
		for (; i < end; i++)
			add_back_link(linker, &links[i]);
	}
}

/* Reduce lists to the degree. */
void
VhnswPruneJob(VhnswCrew *crew, const void *arg)
{
	Linker	   *linker = begin_linker(crew, arg);
	const VhnswGraph *graph = crew->graph;
	uint32		chunk;

	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * FINISHED_AT_ONCE;
		uint32		end = Min(first + FINISHED_AT_ONCE, graph->count);

		for (uint32 id = first; id < end; id++)
		{
			if (graph->list_counts[id] > graph->layout.degree)
				prune_list(linker, id);
		}
	}
}

/* Fill lists with the nearest of the neighbors' neighbors. */
void
VhnswTopUpJob(VhnswCrew *crew, const void *arg)
{
	const LinkJob *job = arg;
	Linker	   *linker = begin_linker(crew, job);
	const VhnswGraph *graph = crew->graph;
	const uint8 *counts = VhnswCrewAddress(crew, &job->counts);
	uint32		chunk;

	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * FINISHED_AT_ONCE;
		uint32		end = Min(first + FINISHED_AT_ONCE, graph->count);

		for (uint32 id = first; id < end; id++)
		{
			if (counts[id] < graph->layout.degree)
				top_up_list(linker, id, counts);
		}
	}
}

/* ----------------------------------------------------------------------
 * One element
 * ----------------------------------------------------------------------
 */

/* Link an element to what a search for it finds. */
static void
link_element(Linker *linker, uint32 id, const uint32 *starts,
			 const VhnswCode **start_codes, uint32 nstarts)
{
	const VhnswLayout *layout = linker->layout;
	const VhnswBeam *beam = linker->beam;
	VhnswLink	links[VHNSW_MAX_M];
	int			n;

	VhnswBeamSearch(linker->beam, VhnswGraphGetCode(linker->graph, id), starts,
					start_codes, nstarts);
	for (int i = 0; i < beam->count; i++)
	{
		VhnswLink  *link = &linker->candidates[i];

		link->distance = beam->entries[i].distance;
		link->id = beam->entries[i].id;
		link->code = VhnswGraphGetCode(linker->graph, link->id);
	}
	n = VhnswSelectLinks(layout, linker->candidates, beam->count, layout->m,
						 layout->m, links);
	set_list(linker, id, links, n);
}

static void
add_back_link(Linker *linker, const BackLink *link)
{
	const VhnswGraph *graph = linker->graph;
	int			n = graph->list_counts[link->target];

	VhnswGraphGetIds(graph, link->target)[n] = link->source;
	GetDistances(linker, link->target)[n] = link->distance;
	graph->list_counts[link->target]++;
	if (graph->list_counts[link->target] == graph->list_capacity)
		prune_list(linker, link->target);
}

/* Reduce a list to the degree. */
static void
prune_list(Linker *linker, uint32 id)
{
	const VhnswGraph *graph = linker->graph;
	const VhnswLayout *layout = linker->layout;
	const uint32 *ids = VhnswGraphGetIds(graph, id);
	const float *distances = GetDistances(linker, id);
	int			n = graph->list_counts[id];

	for (int i = 0; i < n; i++)
	{
		linker->candidates[i].distance = distances[i];
		linker->candidates[i].id = ids[i];
		linker->candidates[i].code = VhnswGraphGetCode(graph, ids[i]);
	}
	VhnswSortLinks(linker->candidates, n);
	n = VhnswSelectLinks(layout, linker->candidates, n,
						 layout->degree, layout->degree, linker->selected);
	set_list(linker, id, linker->selected, n);
}

static void
set_list(Linker *linker, uint32 id, const VhnswLink *links, int n)
{
	uint32	   *ids = VhnswGraphGetIds(linker->graph, id);
	float	   *distances = GetDistances(linker, id);

	for (int i = 0; i < n; i++)
	{
		ids[i] = links[i].id;
		distances[i] = links[i].distance;
	}
	linker->graph->list_counts[id] = n;
}

/*
 * Fill a list with the nearest of the neighbors' neighbors.  'counts' are
 * those before any list was topped up: others may be at work on what follows.
 */
static void
top_up_list(Linker *linker, uint32 id, const uint8 *counts)
{
	const VhnswGraph *graph = linker->graph;
	const VhnswLayout *layout = linker->layout;
	const VhnswCode *code = VhnswGraphGetCode(graph, id);
	uint32	   *ids = VhnswGraphGetIds(graph, id);
	VhnswBeam  *beam = linker->beam;
	int			count = counts[id];
	int			n = 0;

	VhnswBeamReset(beam);
	VhnswBeamSee(beam, id);
	for (int i = 0; i < count; i++)
		VhnswBeamSee(beam, ids[i]);

	for (int i = 0; i < count; i++)
	{
		const uint32 *next_ids = VhnswGraphGetIds(graph, ids[i]);

		for (int j = 0; j < counts[ids[i]]; j++)
		{
			VhnswLink  *link = &linker->candidates[n];

			if (!VhnswBeamSee(beam, next_ids[j]))
				continue;
			link->id = next_ids[j];
			link->code = VhnswGraphGetCode(graph, link->id);
			link->distance = VhnswCodeDistance(layout, code, link->code);
			n++;
		}
	}
	VhnswSortLinks(linker->candidates, n);
	for (int i = 0; i < n && count < layout->degree; i++)
		ids[count++] = linker->candidates[i].id;
	graph->list_counts[id] = count;
}
