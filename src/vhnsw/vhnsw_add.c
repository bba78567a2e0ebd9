/*-------------------------------------------------------------------------
 *
 * vhnsw_add.c
 *	  Links that are added to the lists of a blocked build.
 *
 * When all lists are full, a new link takes the place of another one.  That
 * must not be the last way to somebody, so it is counted how many lists name
 * each element.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_add.h"

/* Who is in so few lists stays there. */
#define RARE 4

/*
 * Under inner product, an element in fewer than RARE lists is put in those of
 * what it lists, if it is not much shorter than the first so many of these.
 */
#define LONG_SHARE 0.9f
#define COMPARED_LENGTHS 8

/*
 * Otherwise, if it is one of many that are all but equal, in those of what it
 * lists and of so many before it.  Elements were compared by 7 bits of 8, which
 * leave so many times the square.
 */
#define BEFORE 8
#define PACKED_SQUARES 4

/* Of its places, an element gives at most this share to added links. */
#define ADDED_SHARE 2

static bool add_to_equals(VhnswAdded *added, uint32 id, char *copy);
static bool is_long(const VhnswGraph *graph, uint32 id);

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
 * The fill of a list is at its end, behind it links added before, which stay.
 * Returns true if it is listed now, or was before; false if added links are half
 * of the list already, or nobody may be given up.
 */
bool
VhnswAddLink(VhnswAdded *added, uint32 from, uint32 to)
{
	VhnswGraph *graph = added->graph;
	const uint32 *ids = VhnswGraphGetIds(graph, from);
	uint32	   *changed;
	float	   *distances;
	int			count = graph->list_counts[from];
	int			degree = graph->layout.degree;
	int			place = degree - 1 - added->links[from];
	int			victim = place; /* whose place the last one gets */

	for (int i = 0; i < count; i++)
	{
		if (ids[i] == to)
			return true;
	}
	if (added->links[from] >= degree / ADDED_SHARE)
		return false;
	if (count < degree)
		place = victim = graph->list_counts[from]++;
	else
	{
		while (victim >= degree / 2 && added->incoming[ids[victim]] <= RARE)
			victim--;
		if (victim < degree / 2)
			return false;
		if (added->incoming[ids[victim]] < PG_UINT8_MAX)
			added->incoming[ids[victim]]--;
	}
	changed = VhnswGraphChangeIds(graph, from);
	changed[victim] = changed[place];
	changed[place] = to;
	distances = VhnswGraphListDistances(graph, changed);
	if (distances)
	{
		distances[victim] = distances[place];
		distances[place] = get_float4_nan();
	}
	added->links[from]++;
	if (added->incoming[to] < PG_UINT8_MAX)
		added->incoming[to]++;
	return true;
}

/*
 * VhnswAddRare
 *		Let those elements be listed that hardly any list names, although they
 *		are as near to queries as those that many name.
 *
 * Of hundreds that are all but equal every one lists the same few, which are
 * first among equals by their numbers, or by what codes leave of them.
 *
 * Under inner product, those that point a little more to the middle of a
 * cluster have the largest products with all of it, and its lists name nobody
 * else; but any element as long as these is the nearest to some query.
 */
void
VhnswAddRare(VhnswAdded *added)
{
	VhnswGraph *graph = added->graph;
	char	   *copy = graph->codes ? palloc(graph->code_size) : NULL;

	for (uint32 id = 0; id < graph->count; id++)
	{
		if (id % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (added->incoming[id] >= RARE || graph->list_counts[id] == 0)
			continue;
		if (graph->layout.metric == VHNSW_INNER_PRODUCT)
		{
			if (!is_long(graph, id))
				continue;
		}
		else if (!add_to_equals(added, id, copy))
			continue;
		for (int i = 0; i < graph->list_counts[id] &&
			 added->incoming[id] < RARE; i++)
			(void) VhnswAddLink(added, VhnswGraphGetIds(graph, id)[i], id);
	}
	if (copy)
		pfree(copy);
}

/*
 * Are there elements that packed codes cannot tell from this one?  Then let it
 * be listed by those of them that stand before it.
 *
 * What others list has many lists to be in, and few places; these have places,
 * and are as well a way to each other.  'copy' is room for a code, if codes
 * are in a file.
 */
static bool
add_to_equals(VhnswAdded *added, uint32 id, char *copy)
{
	const VhnswGraph *graph = added->graph;
	const VhnswLayout *layout = &graph->layout;
	const VhnswCode *code = VhnswGraphKeepCode(graph, id, copy, 0);
	uint32		nearest = VhnswGraphGetIds(graph, id)[0];
	float		limit = VhnswCodeResolution(code);

	if (layout->is_direct)
		limit *= PACKED_SQUARES;
	if (VhnswCodeDistance(layout, code, VhnswGraphGetCode(graph, nearest)) > limit)
		return false;
	for (uint32 i = 1; i <= Min(id, BEFORE) && added->incoming[id] < RARE; i++)
	{
		if (VhnswCodeDistance(layout, code,
							  VhnswGraphGetCode(graph, id - i)) <= limit)
			(void) VhnswAddLink(added, id - i, id);
	}
	return true;
}

/* Is an element about as long as the first that it lists? */
static bool
is_long(const VhnswGraph *graph, uint32 id)
{
	int			n = Min(graph->list_counts[id], COMPARED_LENGTHS);
	float		sum = 0;

	for (int i = 0; i < n; i++)
		sum += VhnswGraphGetCode(graph, VhnswGraphGetIds(graph, id)[i])->norm;
	return VhnswGraphGetCode(graph, id)->norm * n >= LONG_SHARE * sum;
}
