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

/* Fibonacci hashing of element numbers, and a number that none has. */
#define HASH_FACTOR 2654435769U
#define NO_ELEMENT PG_UINT32_MAX

/* Elements whose lists are compared with exact ones, and how much of them. */
#define CHECKED_ELEMENTS 200
#define CHECKED_NEIGHBORS 10

/*
 * What a member of a leaf meets there for one of its lists, in no order.  It
 * takes twice as many keys as are wanted, to be cut rarely.
 */
typedef struct WorkList
{
	VhnswKey   *keys;
	int			count;
	int			places;			/* how many are wanted */
	float	   *limit;			/* farther ones are not */
} WorkList;

static bool is_far_candidate(uint32 id);
static int	far_candidates_first(uint32 *members, uint32 n);
static void begin_list(WorkList *list, VhnswKey *room, int places,
					   float *limit, const VhnswKey *keys, int count);
static inline void offer(WorkList *list, float distance, uint32 id);
static void cut_list(WorkList *list);
static int	merge_list(WorkList *list, VhnswKey *keys, int count);
static void select_smallest(VhnswKey *keys, int n, int k);
static VhnswKey largest_key(const VhnswKey *keys, int n);
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
		begin_list(&near[i], room, join->near_places, &near_limits[i],
				   keys, join->near_counts[members[i]]);
		room += 2 * join->near_places;
		begin_list(&far[i], room, join->far_places, &far_limits[i],
				   keys + join->near_places, join->far_counts[members[i]]);
		room += 2 * join->far_places;
	}
	VhnswBlockFinish(block);
	for (uint32 i = n; i < places; i++)
		near_limits[i] = far_limits[i] = -get_float4_infinity();

	compare_leaf(block, members, num_far, near, far, near_limits, far_limits);

	for (uint32 i = 0; i < n; i++)
	{
		VhnswKey   *keys = VhnswJoinGetKeys(join, members[i]);

		join->near_counts[members[i]] =
			merge_list(&near[i], keys, join->near_counts[members[i]]);
		join->far_counts[members[i]] =
			merge_list(&far[i], keys + join->near_places,
					   join->far_counts[members[i]]);
	}

	pfree(near[0].keys);
	pfree(near);
	pfree(far);
	pfree(near_limits);
	pfree(far_limits);
	VhnswBlockFree(block);
}

/* An empty list, of what is not farther than a full list of 'count' keys. */
static void
begin_list(WorkList *list, VhnswKey *room, int places, float *limit,
		   const VhnswKey *keys, int count)
{
	list->keys = room;
	list->count = 0;
	list->places = places;
	list->limit = limit;
	*limit = count < places ? FLT_MAX :
		VhnswKeyDistance(largest_key(keys, count));
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

/* Keep the nearest, as many as are wanted. */
static void
cut_list(WorkList *list)
{
	if (list->count < list->places)
		return;
	select_smallest(list->keys, list->count, list->places);
	list->count = list->places;
	*list->limit = VhnswKeyDistance(largest_key(list->keys, list->count));
}

/*
 * Merge a list into 'keys', of which there are 'count' before, and return how
 * many there are then.  Most of what a leaf has to say is known from another.
 */
static int
merge_list(WorkList *list, VhnswKey *keys, int count)
{
	VhnswKey	all[2 * VHNSW_MAX_KEY_PLACES];
	uint32		known[4 * VHNSW_MAX_KEY_PLACES];
	uint32		mask = pg_nextpower2_32(2 * Max(count, 1)) - 1;
	int			n = count;

	cut_list(list);
	memset(known, 0xFF, (mask + 1) * sizeof(uint32));
	for (int i = 0; i < count; i++)
	{
		uint32		place = VhnswKeyId(keys[i]) * HASH_FACTOR >> 16 & mask;

		while (known[place] != NO_ELEMENT)
			place = (place + 1) & mask;
		known[place] = VhnswKeyId(keys[i]);
		all[i] = keys[i];
	}
	for (int i = 0; i < list->count; i++)
	{
		uint32		id = VhnswKeyId(list->keys[i]);
		uint32		place = id * HASH_FACTOR >> 16 & mask;

		while (known[place] != id && known[place] != NO_ELEMENT)
			place = (place + 1) & mask;
		if (known[place] == NO_ELEMENT)
			all[n++] = list->keys[i];
	}
	if (n > list->places)
	{
		select_smallest(all, n, list->places);
		n = list->places;
	}
	memcpy(keys, all, n * sizeof(VhnswKey));
	return n;
}

static VhnswKey
largest_key(const VhnswKey *keys, int n)
{
	VhnswKey	largest = 0;

	for (int i = 0; i < n; i++)
		largest = Max(largest, keys[i]);
	return largest;
}

/*
 * Put the k smallest of n different keys first, in no order (Hoare's
 * selection).  Which side of the pivot a key belongs to cannot be predicted, so
 * the partition has no branch for it.
 */
static void
select_smallest(VhnswKey *keys, int n, int k)
{
	int			low = 0;
	int			high = n;

	Assert(k > 0 && k <= n);
	while (low < k && k < high)
	{
		VhnswKey	first = keys[low];
		VhnswKey	middle = keys[(low + high) / 2];
		VhnswKey	last = keys[high - 1];
		VhnswKey	pivot = Max(Min(first, middle),
								Min(Max(first, middle), last));
		int			end = low;

		/* Of three or more, one is below their median. */
		if (high - low == 2)
			pivot = Max(first, last);
		for (int i = low; i < high; i++)
		{
			VhnswKey	key = keys[i];

			keys[i] = keys[end];
			keys[end] = key;
			end += key < pivot;
		}
		if (k <= end)
			high = end;
		else
			low = end;
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
		begin_list(&lists[i], palloc_array(VhnswKey, 2 * CHECKED_NEIGHBORS),
				   CHECKED_NEIGHBORS, &limits[i], NULL, 0);
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
		last = largest_key(lists[i].keys, lists[i].count);
		wanted += lists[i].count;
		for (int j = 0; j < join->near_counts[ids[i]]; j++)
			found += keys[j] <= last;
		pfree(lists[i].keys);
	}
	pfree(lists);
	pfree(limits);
	pfree(ids);
	VhnswBlockFree(rows);
	VhnswBlockFree(columns);
	return wanted > 0 ? (double) found / (double) wanted : 1;
}
