/*-------------------------------------------------------------------------
 *
 * vhnsw_graph_link.c
 *	  Link the elements of an index build in memory.
 *
 *	1. Elements are linked by blocks (vhnsw_blocked.c), which leaves clusters
 *	   to be connected (vhnsw_span.c), or by searching (vhnsw_linker.c).
 *	2. A sweep from the entries attaches what it does not reach.
 *	3. Searches for some elements tell how good the graph is.
 *
 * See README, section "Build".  The result depends on the input only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_add.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_blocked.h"
#include "vhnsw/vhnsw_cover.h"
#include "vhnsw/vhnsw_graph_link.h"
#include "vhnsw/vhnsw_linker.h"
#include "vhnsw/vhnsw_probe.h"
#include "vhnsw/vhnsw_settings.h"
#include "vhnsw/vhnsw_span.h"

/* Fewer elements are linked by search. */
#define MIN_BLOCKED 1000

/* How many unreached elements one element takes before another's turn. */
#define MAX_HOSTED 8

static bool wants_blocks(const VhnswGraph *graph);
static void connect_clusters(VhnswGraph *graph);
static void attach_unreached(VhnswGraph *graph);

/*
 * VhnswGraphLink
 *		Give every element its neighbors, after all have been added.
 */
void
VhnswGraphLink(VhnswGraph *graph, const char *index_name)
{
	bool		done;

	/* Before anything is said about elements: it gives them new numbers. */
	done = wants_blocks(graph) && VhnswBlockedLink(graph, index_name);
	if (!done)
		VhnswChooseEntries(graph);
	graph->kind = graph->codes ? VHNSW_BUILT_BLOCKED_IN_FILES :
		done ? VHNSW_BUILT_BLOCKED : VHNSW_BUILT_BY_SEARCH;
	if (!done)
		VhnswLinkBySearch(graph);
	else
		connect_clusters(graph);
	attach_unreached(graph);
	if (graph->count > 0)
		VhnswMeasureSearches(graph, index_name);
}

/* After a blocked build, link clusters, and what searches do not find. */
static void
connect_clusters(VhnswGraph *graph)
{
	VhnswAdded *added = VhnswAddBegin(graph);

	VhnswSpanClusters(added);
	VhnswAddRare(added);
	VhnswProbeGraph(added);
	VhnswAddEnd(added);
}

/*
 * In a small table a search costs little, unless codes are in a file: then it
 * is a few long vectors whose covariance has no room beside them.
 */
static bool
wants_blocks(const VhnswGraph *graph)
{
	if (!VhnswMayHaveBlocks(&graph->layout) || graph->count == 0)
		return false;
	return vhnsw_build_method == VHNSW_BUILD_BLOCKED ||
		graph->codes != NULL || graph->count >= MIN_BLOCKED;
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

		CHECK_FOR_INTERRUPTS();
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
	uint32	   *ids = VhnswGraphChangeIds(graph, host);
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
			distance = VhnswCodeDistance(layout,
										 VhnswGraphGetCode(graph, host),
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
	if (VhnswGraphListDistances(graph, ids))
		VhnswGraphListDistances(graph, ids)[place] = get_float4_nan();
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
	sweep.parents = MemoryContextAllocHuge(graph->context, n * sizeof(uint32));
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
				CHECK_FOR_INTERRUPTS();
				Assert(i > 0);
				host = sweep.queue[--i];
			} while (!sweep_attach(&sweep, host, id));
		}
		sweep_run(&sweep);
	}
	pfree(sweep.parents);
	pfree(sweep.queue);
	pfree(sweep.hosted);
}
