/*-------------------------------------------------------------------------
 *
 * vhnsw_graph.c
 *	  Link the elements of an index build in memory.
 *
 *	1. Elements are linked one by one, in random order: search, select m
 *	   neighbors, append the back-links.  A list may grow to 1.3 times the
 *	   degree before it is pruned.
 *	2. Lists are pruned to the degree, or topped up from the neighbors of
 *	   their neighbors.
 *	3. A sweep from the entries attaches what it does not reach.
 *
 * See README, section "Build".  The result depends on the input only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/progress.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_blocked.h"
#include "vhnsw/vhnsw_graph.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_select.h"

/* Fewer elements are linked by search. */
#define MIN_BLOCKED 1000

/* Random order without random results. */
#define ORDER_SEED UINT64CONST(0x76686E7377)

/* How many unreached elements one element takes before another's turn. */
#define MAX_HOSTED 8

/* A place in the pool of a search, nearest first. */
typedef struct PoolEntry
{
	float		distance;
	uint32		id;
	bool		expanded;
} PoolEntry;

typedef struct Pool
{
	int			count;
	int			capacity;
	PoolEntry  *entries;
} Pool;

/* Room for one pruning or one selection. */
typedef struct Workspace
{
	Pool		pool;
	VhnswLink  *candidates;
	VhnswLink  *selected;
} Workspace;

static bool wants_blocks(const VhnswGraph *graph);
static void link_by_search(VhnswGraph *graph);
static void allocate_lists(VhnswGraph *graph);
static void shuffle(VhnswGraph *graph);
static void link_element(VhnswGraph *graph, uint32 position, Workspace *work);
static void search(VhnswGraph *graph, uint32 id, uint32 nlinked, Pool *pool);
static bool pool_add(Pool *pool, float distance, uint32 id, int *position);
static void add_back_link(VhnswGraph *graph, uint32 target, uint32 id,
						  float distance, Workspace *work);
static void prune_list(VhnswGraph *graph, uint32 id, Workspace *work);
static void set_list(VhnswGraph *graph, uint32 id, const VhnswLink *links,
					 int n);
static void top_up_list(VhnswGraph *graph, uint32 id, Workspace *work);
static void attach_unreached(VhnswGraph *graph);

/* Memory that searching takes for one element, at the most. */
Size
VhnswSearchElementBytes(const VhnswLayout *layout)
{
	return VhnswGraphListBytes(1, VhnswLinkerPlaces(layout)) +
		VhnswLinkerPlaces(layout) * sizeof(float) +
		VhnswOrderBytes + VhnswProjectionBytes(layout->dims);
}

/*
 * VhnswGraphLink
 *		Give every element its neighbors, after all have been added.
 */
void
VhnswGraphLink(VhnswGraph *graph, const char *index_name)
{
	bool		done;

	VhnswGraphEndLoad(graph);

	/* Before anything is said about elements: it gives them new numbers. */
	done = wants_blocks(graph) && VhnswBlockedLink(graph, index_name);
	shuffle(graph);
	graph->nentries = Min(VhnswEntryTarget(graph->count), graph->count);
	if (!done)
		link_by_search(graph);
	attach_unreached(graph);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL,
								 graph->count);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE,
								 graph->count);
}

/* In a small table a search costs little. */
static bool
wants_blocks(const VhnswGraph *graph)
{
	if (!VhnswMayHaveBlocks(&graph->layout) || graph->count == 0)
		return false;
	return vhnsw_build_method == VHNSW_BUILD_BLOCKED ||
		graph->count >= MIN_BLOCKED;
}

/* One element after the other. */
static void
link_by_search(VhnswGraph *graph)
{
	Workspace	work;
	int			efc = graph->layout.ef_construction;
	int			degree = graph->layout.degree;
	int			room = Max(efc + 1, degree * (degree + 1) + 1);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE,
								 VHNSW_PHASE_LINK);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL,
								 graph->count);
	allocate_lists(graph);

	work.pool.capacity = efc;
	work.pool.entries = palloc_array(PoolEntry, efc + 1);
	work.candidates = palloc_array(VhnswLink, room);
	work.selected = palloc_array(VhnswLink, room);

	for (uint32 i = 0; i < graph->count; i++)
	{
		link_element(graph, i, &work);
		if (i % 128 == 0)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i);
	}
	for (uint32 i = 0; i < graph->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (graph->list_counts[i] > degree)
			prune_list(graph, i, &work);
	}
	for (uint32 i = 0; i < graph->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (graph->list_counts[i] < degree)
			top_up_list(graph, i, &work);
	}

	pfree(work.pool.entries);
	pfree(work.candidates);
	pfree(work.selected);
	pfree(graph->list_distances);
}

static void
allocate_lists(VhnswGraph *graph)
{
	int			capacity = VhnswLinkerPlaces(&graph->layout);
	VhnswMemory lists = VhnswCrewAlloc(graph->crew,
									   VhnswGraphListBytes(graph->count, capacity));

	VhnswGraphSetLists(graph, graph->crew, &lists, capacity);
	memset(graph->list_counts, 0, graph->count);
	graph->list_distances =
		MemoryContextAllocHuge(graph->context, (Size) Max(graph->count, 1) *
							   capacity * sizeof(float));
}

/*
 * Sorted input would make the first elements, from which searches start, all
 * lie in one corner.
 */
static void
shuffle(VhnswGraph *graph)
{
	Size		n = Max(graph->count, 1);
	pg_prng_state prng;

	graph->order = MemoryContextAllocHuge(graph->context, n * sizeof(uint32));
	graph->visited = MemoryContextAllocHuge(graph->context,
											n * sizeof(uint32));
	memset(graph->visited, 0, n * sizeof(uint32));
	pg_prng_seed(&prng, ORDER_SEED);
	for (uint32 i = 0; i < graph->count; i++)
	{
		uint32		j = pg_prng_uint64_range(&prng, 0, i);

		graph->order[i] = graph->order[j];
		graph->order[j] = i;
	}
}

/* Link the element at a position of the order to those before it. */
static void
link_element(VhnswGraph *graph, uint32 position, Workspace *work)
{
	const VhnswLayout *layout = &graph->layout;
	uint32		id = graph->order[position];
	Pool	   *pool = &work->pool;
	VhnswLink	links[VHNSW_MAX_M];
	int			n;

	CHECK_FOR_INTERRUPTS();
	search(graph, id, position, pool);
	for (int i = 0; i < pool->count; i++)
	{
		work->candidates[i].distance = pool->entries[i].distance;
		work->candidates[i].id = pool->entries[i].id;
		work->candidates[i].code =
			VhnswGraphGetCode(graph, pool->entries[i].id);
	}
	n = VhnswSelectLinks(layout, work->candidates, pool->count, layout->m,
						 layout->m, links);
	set_list(graph, id, links, n);
	for (int i = 0; i < n; i++)
		add_back_link(graph, links[i].id, id, links[i].distance, work);
}

/*
 * Beam search for the neighborhood of an element among the first 'nlinked' of
 * the order.  The pool holds the ef_construction nearest, nearest first.
 */
static void
search(VhnswGraph *graph, uint32 id, uint32 nlinked, Pool *pool)
{
	const VhnswLayout *layout = &graph->layout;
	const VhnswCode *code = VhnswGraphGetCode(graph, id);
	uint32		nstarts = Min(graph->nentries, nlinked);
	uint32		mark = ++graph->visit_mark;
	int			next = 0;
	int			position;

	pool->count = 0;
	for (uint32 i = 0; i < nstarts; i++)
	{
		uint32		start = graph->order[i];

		graph->visited[start] = mark;
		pool_add(pool, VhnswCodeDistance(layout, code,
										 VhnswGraphGetCode(graph, start)),
				 start, &position);
	}

	while (next < pool->count)
	{
		PoolEntry  *entry = &pool->entries[next];
		uint32	   *ids;
		int			n;
		int			nearest = next + 1;

		if (entry->expanded)
		{
			next++;
			continue;
		}
		entry->expanded = true;
		ids = VhnswGraphGetIds(graph, entry->id);
		n = graph->list_counts[entry->id];
		for (int i = 0; i < n; i++)
		{
			if (i + 1 < n)
				__builtin_prefetch(VhnswGraphGetCode(graph, ids[i + 1]));
			if (graph->visited[ids[i]] == mark)
				continue;
			graph->visited[ids[i]] = mark;
			if (pool_add(pool,
						 VhnswCodeDistance(layout, code,
										   VhnswGraphGetCode(graph, ids[i])),
						 ids[i], &position))
				nearest = Min(nearest, position);
		}
		next = Min(next + 1, nearest);
	}
}

/*
 * Insert into the sorted pool, unless it is full of nearer elements.
 * *position becomes the place it took.
 */
static bool
pool_add(Pool *pool, float distance, uint32 id, int *position)
{
	int			low = 0;
	int			high = pool->count;

	if (pool->count == pool->capacity &&
		distance >= pool->entries[pool->count - 1].distance)
		return false;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (pool->entries[middle].distance <= distance)
			low = middle + 1;
		else
			high = middle;
	}
	if (pool->count < pool->capacity)
		pool->count++;
	memmove(&pool->entries[low + 1], &pool->entries[low],
			(pool->count - 1 - low) * sizeof(PoolEntry));
	pool->entries[low].distance = distance;
	pool->entries[low].id = id;
	pool->entries[low].expanded = false;
	*position = low;
	return true;
}

static void
add_back_link(VhnswGraph *graph, uint32 target, uint32 id, float distance,
			  Workspace *work)
{
	int			n = graph->list_counts[target];

	VhnswGraphGetIds(graph, target)[n] = id;
	VhnswGraphGetDistances(graph, target)[n] = distance;
	graph->list_counts[target]++;
	if (graph->list_counts[target] == graph->list_capacity)
		prune_list(graph, target, work);
}

/* Reduce a list to the degree. */
static void
prune_list(VhnswGraph *graph, uint32 id, Workspace *work)
{
	const VhnswLayout *layout = &graph->layout;
	const uint32 *ids = VhnswGraphGetIds(graph, id);
	const float *distances = VhnswGraphGetDistances(graph, id);
	int			n = graph->list_counts[id];

	for (int i = 0; i < n; i++)
	{
		work->candidates[i].distance = distances[i];
		work->candidates[i].id = ids[i];
		work->candidates[i].code = VhnswGraphGetCode(graph, ids[i]);
	}
	VhnswSortLinks(work->candidates, n);
	n = VhnswSelectLinks(layout, work->candidates, n,
						 layout->degree, layout->degree, work->selected);
	set_list(graph, id, work->selected, n);
}

static void
set_list(VhnswGraph *graph, uint32 id, const VhnswLink *links, int n)
{
	uint32	   *ids = VhnswGraphGetIds(graph, id);
	float	   *distances = VhnswGraphGetDistances(graph, id);

	for (int i = 0; i < n; i++)
	{
		ids[i] = links[i].id;
		distances[i] = links[i].distance;
	}
	graph->list_counts[id] = n;
}

/* Fill a list with the nearest of the neighbors' neighbors. */
static void
top_up_list(VhnswGraph *graph, uint32 id, Workspace *work)
{
	const VhnswLayout *layout = &graph->layout;
	const VhnswCode *code = VhnswGraphGetCode(graph, id);
	uint32	   *ids = VhnswGraphGetIds(graph, id);
	float	   *distances = VhnswGraphGetDistances(graph, id);
	int			count = graph->list_counts[id];
	uint32		mark = ++graph->visit_mark;
	int			n = 0;

	graph->visited[id] = mark;
	for (int i = 0; i < count; i++)
		graph->visited[ids[i]] = mark;

	for (int i = 0; i < count; i++)
	{
		const uint32 *next_ids = VhnswGraphGetIds(graph, ids[i]);
		int			next_count = graph->list_counts[ids[i]];

		for (int j = 0; j < next_count; j++)
		{
			VhnswLink  *link = &work->candidates[n];

			if (graph->visited[next_ids[j]] == mark)
				continue;
			graph->visited[next_ids[j]] = mark;
			link->id = next_ids[j];
			link->code = VhnswGraphGetCode(graph, link->id);
			link->distance = VhnswCodeDistance(layout, code, link->code);
			n++;
		}
	}
	VhnswSortLinks(work->candidates, n);
	for (int i = 0; i < n && count < layout->degree; i++)
	{
		ids[count] = work->candidates[i].id;
		distances[count] = work->candidates[i].distance;
		count++;
	}
	graph->list_counts[id] = count;
}

/* State of the sweep that attaches what is not reached. */
typedef struct Sweep
{
	VhnswGraph *graph;
	uint32	   *parents;		/* who reached it: itself for entries */
	uint8	   *hosted;			/* elements it took from the unreached */
	uint32	   *queue;			/* all that are reached */
	uint32		head;
	uint32		tail;
} Sweep;

#define NOT_REACHED PG_UINT32_MAX

static void
sweep_reach(Sweep *sweep, uint32 id, uint32 parent)
{
	sweep->parents[id] = parent;
	sweep->queue[sweep->tail++] = id;
}

static void
sweep_run(Sweep *sweep)
{
	VhnswGraph *graph = sweep->graph;

	while (sweep->head < sweep->tail)
	{
		uint32		id = sweep->queue[sweep->head++];
		const uint32 *ids = VhnswGraphGetIds(graph, id);

		for (int i = 0; i < graph->list_counts[id]; i++)
		{
			if (sweep->parents[ids[i]] == NOT_REACHED)
				sweep_reach(sweep, ids[i], id);
		}
	}
}

/*
 * Let 'host' list 'id', in place of its farthest neighbor that it was not the
 * first to reach, if there is one.
 */
static bool
sweep_attach(Sweep *sweep, uint32 host, uint32 id)
{
	VhnswGraph *graph = sweep->graph;
	const VhnswLayout *layout = &graph->layout;
	const VhnswCode *code = VhnswGraphGetCode(graph, host);
	uint32	   *ids = VhnswGraphGetIds(graph, host);
	float		farthest = 0;
	int			place = -1;

	if (host == id || sweep->parents[host] == NOT_REACHED)
		return false;
	if (graph->list_counts[host] < graph->layout.degree)
		place = graph->list_counts[host]++;
	else
	{
		for (int i = 0; i < graph->list_counts[host]; i++)
		{
			float		distance;

			if (sweep->parents[ids[i]] == host)
				continue;
			distance = VhnswCodeDistance(layout, code,
										 VhnswGraphGetCode(graph, ids[i]));
			if (place < 0 || distance > farthest)
			{
				place = i;
				farthest = distance;
			}
		}
		if (place < 0)
			return false;
	}
	ids[place] = id;
	sweep->hosted[host]++;
	sweep_reach(sweep, id, host);
	return true;
}

/*
 * Make every element reachable from the entries.
 *
 * What the sweep does not reach is attached to what it reached last, which is
 * as remote.  Attaching it to its own neighbors was tried: under inner product
 * these are the few long vectors that everybody searches through, and their
 * lists suffered (recall at ef 10 was 0.79 instead of 0.89).  Since n elements
 * need n - 1 links of the spanning tree and have degree times n, somebody
 * always has room.
 */
static void
attach_unreached(VhnswGraph *graph)
{
	Sweep		sweep;
	uint32		n = graph->count;
	uint32		host;

	if (n == 0)
		return;
	sweep.graph = graph;
	sweep.head = sweep.tail = 0;
	sweep.parents = graph->visited;
	memset(sweep.parents, 0xFF, n * sizeof(uint32));
	sweep.queue = MemoryContextAllocHuge(graph->context, n * sizeof(uint32));
	sweep.hosted = MemoryContextAllocHuge(graph->context, n);
	memset(sweep.hosted, 0, n);

	for (uint32 i = 0; i < graph->nentries; i++)
		sweep_reach(&sweep, graph->order[i], graph->order[i]);
	sweep_run(&sweep);

	host = sweep.queue[sweep.tail - 1];
	for (uint32 id = 0; id < n; id++)
	{
		CHECK_FOR_INTERRUPTS();
		if (sweep.parents[id] != NOT_REACHED)
			continue;
		if (sweep.hosted[host] >= MAX_HOSTED ||
			!sweep_attach(&sweep, host, id))
		{
			uint32		i = sweep.tail;

			do
			{
				Assert(i > 0);
				host = sweep.queue[--i];
			} while (!sweep_attach(&sweep, host, id));
		}
		sweep_run(&sweep);
	}
	pfree(sweep.queue);
	pfree(sweep.hosted);
}
