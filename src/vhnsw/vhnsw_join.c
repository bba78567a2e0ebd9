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
#include "vhnsw/vhnsw_blocked.h"
#include "vhnsw/vhnsw_join.h"
#include "vhnsw/vhnsw_leaf.h"

/* One element of so many is a far candidate. */
#define FAR_SHARE 8

/* Fibonacci hashing of element numbers, and a number that none has. */
#define HASH_FACTOR 2654435769U
#define NO_ELEMENT PG_UINT32_MAX

/* An element has the lock of this number, by its own. */
#define NUM_LOCKS 4096

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
	const float *least_limit;	/* the limit stays above this, if not NULL */
} WorkList;

/* One of the two lists of an element, as all leaves share it. */
typedef struct SharedList
{
	VhnswKey   *keys;
	uint8	   *count;
	int			places;
	float	   *limit;			/* farther ones are not wanted; falls only */
	slock_t    *lock;			/* NULL if there are no workers */
} SharedList;

static VhnswBlockKind near_kind(const VhnswGraph *graph);
static bool is_far_candidate(uint32 id);
static int	far_candidates_first(uint32 *members, uint32 n);
static SharedList near_list(const VhnswJoin *join, uint32 id);
static SharedList far_list(const VhnswJoin *join, uint32 id);
static int	copy_list(const SharedList *shared, VhnswKey *keys);
static bool replace_list(const SharedList *shared,
						 const VhnswKey *old, int old_count,
						 const VhnswKey *keys, int count);
static void begin_list(WorkList *list, VhnswKey *room, int places,
					   float *limit, const float *least_limit);
static void lower_limit(WorkList *list, float limit);
static inline void offer(WorkList *list, float distance, uint32 id);
static void cut_list(WorkList *list);
static void prefetch_lists(const VhnswJoin *join, uint32 id);
static void merge_list(WorkList *list, const SharedList *shared);
static int	merge_keys(const WorkList *list, const VhnswKey *keys, int count,
					   VhnswKey *all);
static void compare_leaf(const VhnswBlock *block, const uint32 *members,
						 uint32 num_far, WorkList *near, WorkList *far,
						 float *near_limits, float *far_limits);

static void compare_far(const VhnswGraph *graph, const uint32 *members,
						uint32 n, uint32 num_far, WorkList *far,
						const float *far_limits);

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

/* Memory that comparing a leaf takes, in a graph of 'count' elements. */
Size
VhnswJoinLeafBytes(const VhnswLayout *layout, uint64 count)
{
	Size		n = Min(count, VHNSW_LEAF_LIMIT);

	return VhnswBlockBytes(layout->dims, n) *
		(layout->metric == VHNSW_INNER_PRODUCT ? 2 : 1) +
		n * (2 * VhnswKeyPlaces(layout->degree) * sizeof(VhnswKey) +
			 2 * sizeof(WorkList) + 2 * sizeof(float));
}

/* Empty lists for all elements of a graph. */
VhnswJoin *
VhnswJoinCreate(VhnswCrew *crew)
{
	VhnswJoin  *join = palloc_object(VhnswJoin);
	VhnswGraph *graph = crew->graph;

	join->near_places = VhnswNearPlaces(graph->layout.degree);
	join->far_places = VhnswFarPlaces(graph->layout.degree);
	join->key_places = join->near_places + join->far_places;
	join->spilled = NULL;
	if (graph->codes)
	{
		Size		cache = VhnswGraphCacheBytes(graph,
												 VhnswBlockedJoinBytes(&graph->layout));

		VhnswSpillResize(graph->codes, cache / 2);
		join->spilled = VhnswSpillCreate(join->key_places * sizeof(VhnswKey),
										 cache / 2);
	}
	join->lists =
		VhnswCrewAlloc(crew, VhnswGraphListBytes(graph->count,
												 join->spilled ? 0 :
												 2 * join->key_places));
	join->rest = VhnswCrewAlloc(crew, (Size) graph->count *
								(2 * sizeof(float) + sizeof(uint8)) +
								NUM_LOCKS * sizeof(slock_t));
	VhnswAttachJoin(crew, join);
	for (Size i = 0; i < 2 * (Size) graph->count; i++)
		join->limits[i] = FLT_MAX;
	memset(join->near_counts, 0, graph->count);
	memset(join->far_counts, 0, graph->count);
	for (int i = 0; join->locks && i < NUM_LOCKS; i++)
		SpinLockInit(&join->locks[i]);
	return join;
}

/* Let a process know where the lists are. */
void
VhnswAttachJoin(VhnswCrew *crew, VhnswJoin *join)
{
	join->graph = crew->graph;
	join->keys = VhnswCrewAddress(crew, &join->lists);
	join->near_counts = (uint8 *)
		(join->keys + (join->spilled ? 0 :
					   (Size) crew->graph->count * join->key_places));
	join->limits = VhnswCrewAddress(crew, &join->rest);
	join->locks = (slock_t *) (join->limits + 2 * (Size) crew->graph->count);
	join->far_counts = (uint8 *) (join->locks + NUM_LOCKS);
	if (crew->shared == NULL)
		join->locks = NULL;
}

void
VhnswJoinFree(VhnswCrew *crew, VhnswJoin *join)
{
	VhnswCrewFree(crew, &join->lists);
	VhnswCrewFree(crew, &join->rest);
	if (join->spilled)
		VhnswSpillFree(join->spilled);
	pfree(join);
}

static VhnswBlockKind
near_kind(const VhnswGraph *graph)
{
	return graph->layout.metric == VHNSW_INNER_PRODUCT ?
		VHNSW_BLOCK_PRODUCT : VHNSW_BLOCK_SQUARED;
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
	bool		by_product = graph->layout.metric == VHNSW_INNER_PRODUCT;
	VhnswBlock *block = VhnswBlockCreate(near_kind(graph), graph->layout.dims,
										 n);
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
		const float *limits = join->limits + 2 * (Size) members[i];

		VhnswBlockAdd(block, &graph->layout, VhnswGraphGetCode(graph, members[i]));
		begin_list(&near[i], room, join->near_places, &near_limits[i], NULL);
		lower_limit(&near[i], limits[0]);
		room += 2 * join->near_places;
		begin_list(&far[i], room, join->far_places, &far_limits[i],
				   by_product ? NULL : &near_limits[i]);
		lower_limit(&far[i], limits[1]);
		room += 2 * join->far_places;
	}
	VhnswBlockFinish(block);
	for (uint32 i = n; i < places; i++)
		near_limits[i] = far_limits[i] = -get_float4_infinity();

	compare_leaf(block, members, by_product ? 0 : num_far, near, far,
				 near_limits, far_limits);
	if (by_product)
		compare_far(graph, members, n, num_far, far, far_limits);

	for (uint32 i = 0; i < n; i++)
	{
		SharedList	shared = near_list(join, members[i]);

		if (i + 2 < n && join->spilled == NULL)
			prefetch_lists(join, members[i + 2]);
		merge_list(&near[i], &shared);
		shared = far_list(join, members[i]);
		merge_list(&far[i], &shared);
	}

	pfree(near[0].keys);
	pfree(near);
	pfree(far);
	pfree(near_limits);
	pfree(far_limits);
	VhnswBlockFree(block);
}

static SharedList
near_list(const VhnswJoin *join, uint32 id)
{
	return (SharedList)
	{
		VhnswJoinChangeKeys(join, id), &join->near_counts[id],
			join->near_places, &join->limits[2 * (Size) id],
			join->locks ? &join->locks[id % NUM_LOCKS] : NULL
	};
}

static SharedList
far_list(const VhnswJoin *join, uint32 id)
{
	return (SharedList)
	{
		VhnswJoinChangeKeys(join, id) + join->near_places, &join->far_counts[id],
			join->far_places, &join->limits[2 * (Size) id + 1],
			join->locks ? &join->locks[id % NUM_LOCKS] : NULL
	};
}

/*
 * Another process may have a leaf with the same element in work.  Locks are
 * held while keys are copied or compared, and no longer.
 */
static int
copy_list(const SharedList *shared, VhnswKey *keys)
{
	int			count;

	if (shared->lock)
		SpinLockAcquire(shared->lock);
	count = *shared->count;
	memcpy(keys, shared->keys, count * sizeof(VhnswKey));
	if (shared->lock)
		SpinLockRelease(shared->lock);
	return count;
}

/* Replace a list if it is still the old one.  A full one has a limit. */
static bool
replace_list(const SharedList *shared, const VhnswKey *old, int old_count,
			 const VhnswKey *keys, int count)
{
	float		limit = FLT_MAX;
	bool		unchanged;

	if (count == shared->places)
		limit = VhnswKeyDistance(VhnswLargestKey(keys, count));
	if (shared->lock)
		SpinLockAcquire(shared->lock);
	unchanged = *shared->count == old_count &&
		memcmp(shared->keys, old, old_count * sizeof(VhnswKey)) == 0;
	if (unchanged)
	{
		memcpy(shared->keys, keys, count * sizeof(VhnswKey));
		*shared->count = count;
		*shared->limit = limit;
	}
	if (shared->lock)
		SpinLockRelease(shared->lock);
	return unchanged;
}

static void
begin_list(WorkList *list, VhnswKey *room, int places, float *limit,
		   const float *least_limit)
{
	list->keys = room;
	list->count = 0;
	list->places = places;
	list->limit = limit;
	list->least_limit = least_limit;
	*limit = FLT_MAX;
}

/*
 * The limit of a far list stays above that of the near list: a leaf is compared
 * by one limit for both, and what is lost must not depend on the order of
 * leaves.
 */
static void
lower_limit(WorkList *list, float limit)
{
	if (list->least_limit)
		limit = Max(limit, *list->least_limit);
	*list->limit = limit;
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
	VhnswSelectKeys(list->keys, list->count, list->places);
	list->count = list->places;
	lower_limit(list, VhnswKeyDistance(VhnswLargestKey(list->keys,
													   list->count)));
}

/* Most lists of a leaf lie apart, and are not in the processor's cache. */
static void
prefetch_lists(const VhnswJoin *join, uint32 id)
{
	const char *keys = (const char *) VhnswJoinGetKeys(join, id);

	for (int i = 0; i < join->key_places * sizeof(VhnswKey);
		 i += PG_CACHE_LINE_SIZE / 2)
		__builtin_prefetch(keys + i);
}

/* Merge a list into the one that all leaves share. */
static void
merge_list(WorkList *list, const SharedList *shared)
{
	VhnswKey	old[VHNSW_MAX_KEY_PLACES];
	VhnswKey	all[2 * VHNSW_MAX_KEY_PLACES];
	int			old_count;
	int			count;

	cut_list(list);
	do
	{
		old_count = copy_list(shared, old);
		count = merge_keys(list, old, old_count, all);
	} while (!replace_list(shared, old, old_count, all, count));
}

/*
 * Put the nearest of a list and of 'count' keys into 'all', and return how
 * many there are.  Most of what a leaf has to say is known from another.
 */
static int
merge_keys(const WorkList *list, const VhnswKey *keys, int count,
		   VhnswKey *all)
{
	uint32		known[4 * VHNSW_MAX_KEY_PLACES];
	uint32		mask = pg_nextpower2_32(2 * Max(count, 1)) - 1;
	int			n = count;

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
		VhnswSelectKeys(all, n, list->places);
		n = list->places;
	}
	return n;
}

VhnswKey
VhnswLargestKey(const VhnswKey *keys, int n)
{
	VhnswKey	largest = 0;

	for (int i = 0; i < n; i++)
		largest = Max(largest, keys[i]);
	return largest;
}

/*
 * VhnswSelectKeys
 *		Put the k smallest of n different keys first, in no order.
 *
 * This is Hoare's selection.  Which side of the pivot a key belongs to cannot be predicted, so
 * the partition has no branch for it.
 */
void
VhnswSelectKeys(VhnswKey *keys, int n, int k)
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
 * Under inner product, compare all members with the far candidates, by
 * distance.  What has a large product with everybody is in near lists; what is
 * near leads to short elements, which have it with nobody.
 */
static void
compare_far(const VhnswGraph *graph, const uint32 *members, uint32 n,
			uint32 num_far, WorkList *far, const float *far_limits)
{
	VhnswBlock *block = VhnswBlockCreate(VHNSW_BLOCK_SQUARED,
										 graph->layout.dims, n);
	float		distances[DISTANCE_ROWS * DISTANCE_PANEL];
	float		no_limits[DISTANCE_PANEL];

	for (int i = 0; i < DISTANCE_PANEL; i++)
		no_limits[i] = -get_float4_infinity();
	for (uint32 i = 0; i < n; i++)
		VhnswBlockAdd(block, &graph->layout, VhnswGraphGetCode(graph, members[i]));
	VhnswBlockFinish(block);

	for (uint32 column = 0; column < num_far; column += DISTANCE_PANEL)
	{
		CHECK_FOR_INTERRUPTS();
		for (uint32 row = 0; row < n; row += DISTANCE_ROWS)
		{
			uint64		bits = VhnswBlockCompare(block, row, far_limits + row,
												 block, column, no_limits,
												 distances);

			while (bits != 0)
			{
				int			bit = pg_rightmost_one_pos64(bits);
				uint32		a = row + bit / DISTANCE_PANEL;
				uint32		b = column + bit % DISTANCE_PANEL;

				bits &= bits - 1;
				if (a != b && a < n && b < num_far)
					offer(&far[a], distances[bit], members[b]);
			}
		}
	}
	VhnswBlockFree(block);
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
	VhnswBlock *rows = VhnswBlockCreate(near_kind(graph), graph->layout.dims,
										nchecked);
	VhnswBlock *columns = VhnswBlockCreate(near_kind(graph),
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
		VhnswBlockAdd(rows, &graph->layout, VhnswGraphGetCode(graph, ids[i]));
		begin_list(&lists[i], palloc_array(VhnswKey, 2 * CHECKED_NEIGHBORS),
				   CHECKED_NEIGHBORS, &limits[i], NULL);
	}
	VhnswBlockFinish(rows);

	for (uint32 first = 0; first < graph->count; first += DISTANCE_PANEL)
	{
		CHECK_FOR_INTERRUPTS();
		VhnswBlockReset(columns);
		for (uint32 i = first; i < Min(first + DISTANCE_PANEL, graph->count); i++)
			VhnswBlockAdd(columns, &graph->layout, VhnswGraphGetCode(graph, i));
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
		last = VhnswLargestKey(lists[i].keys, lists[i].count);
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
