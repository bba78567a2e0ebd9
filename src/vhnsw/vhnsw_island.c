/*-------------------------------------------------------------------------
 *
 * vhnsw_island.c
 *	  Elements that are near to each other and far from all others.
 *
 * The first element that is in no island yet begins one, which takes all that
 * lists lead to and that is about as near to it as the nearest that it lists.
 * Where there are clusters far apart, these are the islands, or parts of them;
 * elsewhere they are pieces of what hangs together.
 *
 * What nobody in its cluster lists would be left, so an element goes where the
 * nearest is that it lists, if that would take it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_island.h"

/*
 * An island takes what is within twice the distance of the nearest (squares are
 * compared), and so many elements; they are looked for behind each other.
 */
#define NEAR 4
#define LARGEST_ISLAND 256

#define NO_ISLAND PG_UINT32_MAX

static void fill_island(VhnswIslands *islands, const VhnswGraph *graph,
						uint32 first, const VhnswCode *code, float limit);
static float reach_of(const VhnswGraph *graph, uint32 id,
					  const VhnswCode *code, uint32 *nearest, float *distance);
static void list_distances(const VhnswGraph *graph, const VhnswCode *code,
						   uint32 id, float *distances);

/*
 * VhnswFindIslands
 *		Divide the elements of a graph into islands, by their lists.
 *
 * Takes 8 bytes for an element, of what VhnswGraphMemory() has for the sweep at
 * the end of linking and for what was kept beside near lists.
 */
VhnswIslands *
VhnswFindIslands(const VhnswGraph *graph)
{
	VhnswIslands *islands = palloc_object(VhnswIslands);
	Size		bytes = (Size) graph->count * sizeof(uint32);
	char	   *copies = graph->codes ? palloc(2 * graph->code_size) : NULL;

	islands->next = palloc_extended(bytes, MCXT_ALLOC_HUGE);
	islands->firsts = palloc_extended(bytes, MCXT_ALLOC_HUGE);
	islands->count = 0;
	memset(islands->next, 0xFF, bytes);
	for (uint32 id = 0; id < graph->count; id++)
	{
		const VhnswCode *code;
		float		limit;
		float		distance;
		uint32		nearest;

		CHECK_FOR_INTERRUPTS();
		if (islands->next[id] != NO_ISLAND)
			continue;
		code = VhnswGraphKeepCode(graph, id, copies, 0);
		limit = reach_of(graph, id, code, &nearest, &distance);
		if (nearest != id && islands->next[nearest] != NO_ISLAND)
		{
			uint32		ignored;
			float		others;

			if (distance <= reach_of(graph, nearest,
									 VhnswGraphKeepCode(graph, nearest,
														copies, 1),
									 &ignored, &others))
			{
				islands->next[id] = islands->next[nearest];
				islands->next[nearest] = id;
				continue;
			}
		}
		islands->firsts[islands->count++] = id;
		islands->next[id] = id;
		fill_island(islands, graph, id, code, limit);
	}
	if (copies)
		pfree(copies);
	return islands;
}

void
VhnswFreeIslands(VhnswIslands *islands)
{
	pfree(islands->next);
	pfree(islands->firsts);
	pfree(islands);
}

/* Take what lists lead to, from the first on, within a distance from that. */
static void
fill_island(VhnswIslands *islands, const VhnswGraph *graph, uint32 first,
			const VhnswCode *code, float limit)
{
	uint32		members[LARGEST_ISLAND] = {first};
	int			n = 1;

	for (int done = 0; done < n; done++)
	{
		uint32		id = members[done];
		const uint32 *ids;
		float		distances[PG_UINT8_MAX];

		list_distances(graph, code, id, distances);
		ids = VhnswGraphGetIds(graph, id);
		for (int i = 0; i < graph->list_counts[id] && n < LARGEST_ISLAND; i++)
		{
			if (distances[i] > limit || islands->next[ids[i]] != NO_ISLAND)
				continue;
			islands->next[ids[i]] = islands->next[first];
			islands->next[first] = ids[i];
			members[n++] = ids[i];
		}
	}
}

/*
 * How far an island of an element reaches.  *nearest becomes the nearest that
 * the element lists (itself, if there are none), which is so far.
 */
static float
reach_of(const VhnswGraph *graph, uint32 id, const VhnswCode *code,
		 uint32 *nearest, float *distance)
{
	float		distances[PG_UINT8_MAX];
	float		resolution = VhnswDirectionResolution(&graph->layout, code);

	list_distances(graph, code, id, distances);
	*nearest = id;
	*distance = FLT_MAX;
	for (int i = 0; i < graph->list_counts[id]; i++)
	{
		if (distances[i] < *distance)
		{
			*distance = distances[i];
			*nearest = VhnswGraphGetIds(graph, id)[i];
		}
	}
	return NEAR * Max(*nearest == id ? 0 : *distance, resolution);
}

/* Distances of what an element lists; under inner product of directions. */
static void
list_distances(const VhnswGraph *graph, const VhnswCode *code, uint32 id,
			   float *distances)
{
	const uint32 *ids = VhnswGraphGetIds(graph, id);
	int			n = graph->list_counts[id];

	VhnswGraphDistances(graph, code, ids, n, distances);
	if (graph->layout.metric != VHNSW_INNER_PRODUCT)
		return;
	for (int i = 0; i < n; i++)
		distances[i] = VhnswDirectionDistance(distances[i], code->norm,
											  VhnswGraphGetCode(graph, ids[i])->norm);
}
