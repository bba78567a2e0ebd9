/*-------------------------------------------------------------------------
 *
 * vhnsw_add.c
 *	  Links that are added to the lists of a blocked build.
 *
 * When all lists are full, a new link takes the place of another one.  That
 * must not be the last way to somebody, so it is counted how many lists name
 * each element.
 *
 * Elements may be near a few only that many are near to, whose lists have no
 * place for all of them.  Who is in hardly any list gets into more, or searches
 * would not find it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_add.h"

/*
 * Who is in so few lists stays there, and gets into others until there are as
 * many.
 */
#define RARE 4

/* Of its places, an element gives at most this share to them, or to any. */
#define RARE_SHARE 4
#define ADDED_SHARE 2

static void add_to(VhnswAdded *added, uint32 id, const uint32 *hosts, int n);

/*
 * VhnswAddBegin
 *		Begin to add links to a graph in which all elements have their lists.
 */
VhnswAdded *
VhnswAddBegin(VhnswGraph *graph)
{
	VhnswAdded *added = palloc_object(VhnswAdded);

	added->graph = graph;
	added->links = palloc_extended(graph->count,
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	added->incoming = palloc_extended(graph->count,
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 id = 0; id < graph->count; id++)
	{
		const uint32 *ids = VhnswGraphGetIds(graph, id);

		if (id % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < graph->list_counts[id]; i++)
		{
			if (added->incoming[ids[i]] < PG_UINT8_MAX)
				added->incoming[ids[i]]++;
		}
	}
	return added;
}

void
VhnswAddEnd(VhnswAdded *added)
{
	pfree(added->links);
	pfree(added->incoming);
	pfree(added);
}

/*
 * VhnswAddLink
 *		Let 'from' list 'to', in a free place or in place of the last one, but
 *		not in the first half, whom enough others list.
 *
 * The fill of a list is at its end, behind it links added before, which stay.  Returns false if these are
 * half of the list already, or nobody may be given up.
 */
bool
VhnswAddLink(VhnswAdded *added, uint32 from, uint32 to)
{
	VhnswGraph *graph = added->graph;
	uint32	   *ids = VhnswGraphChangeIds(graph, from);
	int			count = graph->list_counts[from];
	int			degree = graph->layout.degree;
	int			place = degree - 1 - added->links[from];

	for (int i = 0; i < count; i++)
	{
		if (ids[i] == to)
			return true;
	}
	if (added->links[from] >= degree / ADDED_SHARE)
		return false;
	if (count < degree)
		place = graph->list_counts[from]++;
	else
	{
		int			victim = place;

		while (victim >= degree / 2 && added->incoming[ids[victim]] <= RARE)
			victim--;
		if (victim < degree / 2)
			return false;
		if (added->incoming[ids[victim]] < PG_UINT8_MAX)
			added->incoming[ids[victim]]--;
		ids[victim] = ids[place];
	}
	ids[place] = to;
	added->links[from]++;
	if (added->incoming[to] < PG_UINT8_MAX)
		added->incoming[to]++;
	return true;
}

/*
 * VhnswAddToRare
 *		Let those who are in few lists get into those of their neighbors or, if
 *		these have no room, of the neighbors' neighbors.
 */
void
VhnswAddToRare(VhnswAdded *added)
{
	const VhnswGraph *graph = added->graph;

	for (uint32 id = 0; id < graph->count; id++)
	{
		uint32		ids[VHNSW_MAX_DEGREE];
		uint32		others[VHNSW_MAX_DEGREE];
		int			n = graph->list_counts[id];

		if (added->incoming[id] >= RARE)
			continue;
		CHECK_FOR_INTERRUPTS();
		memcpy(ids, VhnswGraphGetIds(graph, id), n * sizeof(uint32));
		add_to(added, id, ids, n);
		for (int i = 0; i < n && added->incoming[id] < RARE; i++)
		{
			int			nothers = graph->list_counts[ids[i]];

			memcpy(others, VhnswGraphGetIds(graph, ids[i]),
				   nothers * sizeof(uint32));
			add_to(added, id, others, nothers);
		}
	}
}

/* Let those of n elements that have room list 'id', until enough do. */
static void
add_to(VhnswAdded *added, uint32 id, const uint32 *hosts, int n)
{
	int			most = added->graph->layout.degree / RARE_SHARE;

	for (int i = 0; i < n && added->incoming[id] < RARE; i++)
	{
		if (hosts[i] != id && added->links[hosts[i]] < most)
			(void) VhnswAddLink(added, hosts[i], id);
	}
}
