/*-------------------------------------------------------------------------
 *
 * vhnsw_join.c
 *	  The nearest elements of every element, found by comparing all pairs in
 *	  leaves.
 *
 * Each element keeps the nearest it met in any leaf, and the nearest among an
 * eighth of all elements, the "far candidates": the longer links that these
 * become keep the graph navigable.  What an element keeps are the smallest
 * keys of all pairs, whatever the order of leaves and pairs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/float.h"

#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_join.h"
#include "vhnsw/vhnsw_leaf.h"

/* One element of so many is a far candidate. */
#define FAR_SHARE 8

/* Elements whose lists are compared with exact ones, and how much of them. */
#define CHECKED_ELEMENTS 200
#define CHECKED_NEIGHBORS 10

/*
 * One list of one member of a leaf in work.  It takes twice as many keys as it
 * keeps, to be sorted rarely.
 */
typedef struct WorkList
{
	VhnswKey   *keys;
	int			count;
	int			places;			/* how many it keeps */
	float	   *limit;			/* farther ones are not wanted */
} WorkList;

static bool is_far_candidate(uint32 id);
static int	far_candidates_first(uint32 *members, uint32 n);
static void load_list(WorkList *list, const VhnswKey *keys, int count);
static inline void offer(WorkList *list, float distance, uint32 id);
static void cut_list(WorkList *list);
static void compare_leaf(const VhnswBlock *block, const uint32 *members,
						 uint32 num_far, WorkList *near, WorkList *far,
						 float *near_limits, float *far_limits);

#define ST_SORT sort_keys
#define ST_ELEMENT_TYPE VhnswKey
#define ST_COMPARE(a, b) (*(a) < *(b) ? -1 : *(a) > *(b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Sort keys and drop repeated ones; returns how many are left. */
int
VhnswSortKeys(VhnswKey *keys, int n)
{
	int			count = 0;

	sort_keys(keys, n);
	for (int i = 0; i < n; i++)
	{
		if (count == 0 || keys[i] != keys[count - 1])
			keys[count++] = keys[i];
	}
	return count;
}

/* Empty lists for all elements of a graph. */
VhnswJoin *
VhnswJoinCreate(const VhnswGraph *graph)
{
	VhnswJoin  *join = palloc_object(VhnswJoin);

	join->graph = graph;
	join->near_places = VhnswNearPlaces(graph->layout.degree);
	join->far_places = VhnswFarPlaces(graph->layout.degree);
	join->key_places = join->near_places + join->far_places;
	join->keys = palloc_extended((Size) graph->count * join->key_places *
								 sizeof(VhnswKey), MCXT_ALLOC_HUGE);
	join->near_counts = palloc_extended(graph->count,
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	join->far_counts = palloc_extended(graph->count,
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return join;
}

void
VhnswJoinFree(VhnswJoin *join)
{
	pfree(join->keys);
	pfree(join->near_counts);
	pfree(join->far_counts);
	pfree(join);
}

static bool
is_far_candidate(uint32 id)
{
	return murmurhash32(id) % FAR_SHARE == 0;
}

/* Reorder the members of a leaf; returns how many are far candidates. */
static int
far_candidates_first(uint32 *members, uint32 n)
{
	uint32		num_far = 0;

	for (uint32 i = 0; i < n; i++)
	{
		if (is_far_candidate(members[i]))
		{
			uint32		member = members[i];

			members[i] = members[num_far];
			members[num_far++] = member;
		}
	}
	return num_far;
}

/*
 * VhnswJoinLeaf
 *		Compare all pairs of a leaf and improve the lists of its members.
 */
void
VhnswJoinLeaf(uint32 *members, uint32 n, void *arg)
{
	VhnswJoin  *join = arg;
	const VhnswGraph *graph = join->graph;
	VhnswBlock *block = VhnswBlockCreate(graph->layout.metric,
										 graph->layout.dims, n);
	uint32		places = VhnswBlockPlaces(n);
	VhnswKey   *room = palloc_extended((Size) n * 2 * join->key_places *
									   sizeof(VhnswKey), MCXT_ALLOC_HUGE);
	WorkList   *near = palloc_array(WorkList, n);
	WorkList   *far = palloc_array(WorkList, n);
	float	   *near_limits = palloc_array(float, places);
	float	   *far_limits = palloc_array(float, places);
	uint32		num_far = far_candidates_first(members, n);

	for (uint32 i = 0; i < n; i++)
	{
		VhnswKey   *keys = VhnswJoinGetKeys(join, members[i]);

		VhnswBlockAdd(block, VhnswGraphGetCode(graph, members[i]));
		near[i] = (WorkList)
		{
			room, 0, join->near_places, &near_limits[i]
		};
		room += 2 * join->near_places;
		far[i] = (WorkList)
		{
			room, 0, join->far_places, &far_limits[i]
		};
		room += 2 * join->far_places;
		load_list(&near[i], keys, join->near_counts[members[i]]);
		load_list(&far[i], keys + join->near_places,
				  join->far_counts[members[i]]);
	}
	VhnswBlockFinish(block);
	for (uint32 i = n; i < places; i++)
		near_limits[i] = far_limits[i] = -get_float4_infinity();

	compare_leaf(block, members, num_far, near, far, near_limits, far_limits);

	for (uint32 i = 0; i < n; i++)
	{
		VhnswKey   *keys = VhnswJoinGetKeys(join, members[i]);

		cut_list(&near[i]);
		cut_list(&far[i]);
		memcpy(keys, near[i].keys, near[i].count * sizeof(VhnswKey));
		memcpy(keys + join->near_places, far[i].keys,
			   far[i].count * sizeof(VhnswKey));
		join->near_counts[members[i]] = near[i].count;
		join->far_counts[members[i]] = far[i].count;
	}

	pfree(near[0].keys);
	pfree(near);
	pfree(far);
	pfree(near_limits);
	pfree(far_limits);
	VhnswBlockFree(block);
}

static void
load_list(WorkList *list, const VhnswKey *keys, int count)
{
	memcpy(list->keys, keys, count * sizeof(VhnswKey));
	list->count = count;
	*list->limit = count < list->places ? FLT_MAX :
		VhnswKeyDistance(keys[count - 1]);
}

static inline void
offer(WorkList *list, float distance, uint32 id)
{
	if (distance > *list->limit)
		return;
	list->keys[list->count++] = VhnswMakeKey(distance, id);
	if (list->count == 2 * list->places)
		cut_list(list);
}

/* Sort a list and keep what it has places for. */
static void
cut_list(WorkList *list)
{
	list->count = VhnswSortKeys(list->keys, list->count);
	if (list->count >= list->places)
	{
		list->count = list->places;
		*list->limit = VhnswKeyDistance(list->keys[list->count - 1]);
	}
}

/* Each pair once; what one learns of it, the other learns too. */
static void
compare_leaf(const VhnswBlock *block, const uint32 *members, uint32 num_far,
			 WorkList *near, WorkList *far,
			 float *near_limits, float *far_limits)
{
	float		distances[DISTANCE_ROWS * DISTANCE_PANEL];

	for (uint32 column = 0; column < block->count; column += DISTANCE_PANEL)
	{
		CHECK_FOR_INTERRUPTS();
		for (uint32 row = 0;
			 row < Min(column + DISTANCE_PANEL, block->count);
			 row += DISTANCE_ROWS)
		{
			/* Limits of far lists are wider; they hold only where needed. */
			uint64		bits =
			VhnswBlockCompare(block, row, (column < num_far ?
										   far_limits : near_limits) + row,
							  block, column, (row < num_far ?
											  far_limits : near_limits) + column,
							  distances);

			while (bits != 0)
			{
				int			bit = pg_rightmost_one_pos64(bits);
				uint32		a = row + bit / DISTANCE_PANEL;
				uint32		b = column + bit % DISTANCE_PANEL;

				bits &= bits - 1;
				if (a >= b || b >= block->count)
					continue;
				offer(&near[a], distances[bit], members[b]);
				offer(&near[b], distances[bit], members[a]);
				if (b < num_far)
					offer(&far[a], distances[bit], members[b]);
				if (a < num_far)
					offer(&far[b], distances[bit], members[a]);
			}
		}
	}
}

/*
 * VhnswJoinRecall
 *		The share of exact nearest neighbors that near lists hold, measured on
 *		a few elements.
 */
double
VhnswJoinRecall(const VhnswJoin *join)
{
	const VhnswGraph *graph = join->graph;
	uint32		nchecked = Min(graph->count, CHECKED_ELEMENTS);
	VhnswBlock *rows = VhnswBlockCreate(graph->layout.metric,
										graph->layout.dims, nchecked);
	VhnswBlock *columns = VhnswBlockCreate(graph->layout.metric,
										   graph->layout.dims, DISTANCE_PANEL);
	float	   *limits = palloc_array(float, VhnswBlockPlaces(nchecked));
	WorkList   *lists = palloc_array(WorkList, nchecked);
	uint32	   *ids = palloc_array(uint32, nchecked);
	float		distances[DISTANCE_ROWS * DISTANCE_PANEL];
	float		no_limits[DISTANCE_PANEL];
	int64		found = 0;
	int64		wanted = 0;

	for (int i = 0; i < DISTANCE_PANEL; i++)
		no_limits[i] = -get_float4_infinity();
	for (uint32 i = 0; i < nchecked; i++)
	{
		ids[i] = (uint32) ((uint64) graph->count * i / nchecked);
		VhnswBlockAdd(rows, VhnswGraphGetCode(graph, ids[i]));
		lists[i] = (WorkList)
		{
			palloc_array(VhnswKey, 2 * CHECKED_NEIGHBORS),
				0, CHECKED_NEIGHBORS, &limits[i]
		};
		limits[i] = FLT_MAX;
	}
	VhnswBlockFinish(rows);

	for (uint32 first = 0; first < graph->count; first += DISTANCE_PANEL)
	{
		CHECK_FOR_INTERRUPTS();
		VhnswBlockReset(columns);
		for (uint32 i = first; i < Min(first + DISTANCE_PANEL, graph->count); i++)
			VhnswBlockAdd(columns, VhnswGraphGetCode(graph, i));
		VhnswBlockFinish(columns);
		for (uint32 row = 0; row < nchecked; row += DISTANCE_ROWS)
		{
			uint64		bits = VhnswBlockCompare(rows, row, limits + row,
												 columns, 0, no_limits,
												 distances);

			while (bits != 0)
			{
				int			bit = pg_rightmost_one_pos64(bits);
				uint32		i = row + bit / DISTANCE_PANEL;
				uint32		id = first + bit % DISTANCE_PANEL;

				bits &= bits - 1;
				if (i < nchecked && id < graph->count && id != ids[i])
					offer(&lists[i], distances[bit], id);
			}
		}
	}

	for (uint32 i = 0; i < nchecked; i++)
	{
		const VhnswKey *keys = VhnswJoinGetKeys(join, ids[i]);
		VhnswKey	last;

		cut_list(&lists[i]);
		if (lists[i].count == 0)
			continue;
		last = lists[i].keys[lists[i].count - 1];
		wanted += lists[i].count;
		for (int j = 0; j < join->near_counts[ids[i]] && keys[j] <= last; j++)
			found++;
		pfree(lists[i].keys);
	}
	pfree(lists);
	pfree(limits);
	pfree(ids);
	VhnswBlockFree(rows);
	VhnswBlockFree(columns);
	return wanted > 0 ? (double) found / (double) wanted : 1;
}
