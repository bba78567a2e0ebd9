/*-------------------------------------------------------------------------
 *
 * vhnsw_recall.c
 *	  How many of the exact nearest elements lists hold.
 *
 * A few elements are compared with all, those of one part in each chunk of the
 * job; the nearest of each part are kept.  The leader takes the nearest of
 * these, and looks for them in lists.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/float.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_recall.h"

/* Elements whose lists are compared with exact ones, and how much of them. */
#define CHECKED_ELEMENTS 200
#define CHECKED_NEIGHBORS 10

/* Parts of the elements that they are compared with: chunks of the job. */
#define NUM_PARTS 16

/* Elements packed at a time. */
#define ROWS_AT_ONCE 64

/* Elements that one that is checked has met, in no order. */
typedef struct Nearest
{
	int			count;
	VhnswKey	keys[2 * CHECKED_NEIGHBORS];
} Nearest;

/* Job: find the nearest elements of some, in each part. */
typedef struct ExactJob
{
	uint32		nchecked;
	VhnswMemory nearest;		/* of each part, for each that is checked */
} ExactJob;

static int	count_found(const VhnswJoin *join, uint32 id,
						const Nearest *nearest, char *copy);
static VhnswBlockKind block_kind(const VhnswGraph *graph);
static void find_nearest(const VhnswGraph *graph, const VhnswBlock *checked,
						 VhnswBlock *rows, uint32 first, uint32 end,
						 Nearest *nearest);
static void offer(Nearest *nearest, VhnswKey key, float *limit);
static void cut(Nearest *nearest);

/*
 * VhnswJoinRecall
 *		The share of exact nearest neighbors that near lists hold, measured on
 *		a few elements.
 */
double
VhnswJoinRecall(VhnswCrew *crew, const VhnswJoin *join)
{
	const VhnswGraph *graph = join->graph;
	ExactJob	job = {.nchecked = Min(graph->count, CHECKED_ELEMENTS)};
	int64		found = 0;
	int64		wanted = 0;
	char	   *copy = graph->codes ? palloc(graph->code_size) : NULL;
	Nearest    *parts;
	double		share;

	job.nearest = VhnswCrewAlloc(crew, (Size) NUM_PARTS * job.nchecked *
								 sizeof(Nearest));
	parts = job.nearest.address;
	VhnswCrewRun(crew, VHNSW_JOB_EXACT, &job, sizeof(job), NUM_PARTS);

	for (uint32 i = 0; i < job.nchecked; i++)
	{
		uint32		id = VhnswGraphSpread(graph, job.nchecked, i);
		Nearest		all = parts[i];

		for (int part = 1; part < NUM_PARTS; part++)
		{
			const Nearest *nearest = &parts[part * job.nchecked + i];

			for (int j = 0; j < nearest->count; j++)
				offer(&all, nearest->keys[j], NULL);
		}
		cut(&all);
		wanted += all.count;

		found += count_found(join, id, &all, copy);
	}
	if (copy)
		pfree(copy);
	VhnswCrewFree(crew, &job.nearest);
	share = wanted > 0 ? (double) found / (double) wanted : 1;
	return VD_PRETEND("vhnsw-no-clusters") ? share / 4 : share;
}

/*
 * How many of the nearest elements a list holds, or others that are as near as
 * the farthest of these.  Distances in lists may be those of principal
 * dimensions, so they are computed anew.  'copy' is room for a code, if codes
 * are in a file.
 */
static int
count_found(const VhnswJoin *join, uint32 id, const Nearest *nearest,
			char *copy)
{
	const VhnswGraph *graph = join->graph;
	const VhnswKey *keys = VhnswJoinGetKeys(join, id);
	int			n = join->near_counts[id];
	uint32		ids[VHNSW_MAX_KEY_PLACES + 1];
	float		distances[VHNSW_MAX_KEY_PLACES + 1];
	int			found = 0;

	if (nearest->count == 0)
		return 0;
	for (int i = 0; i < n; i++)
		ids[i] = VhnswKeyId(keys[i]);
	ids[n] = VhnswKeyId(VhnswLargestKey(nearest->keys, nearest->count));
	VhnswGraphDistances(graph, VhnswGraphKeepCode(graph, id, copy, 0), ids,
						n + 1, distances);
	for (int i = 0; i < n; i++)
	{
		bool		is_found = distances[i] <= distances[n];

		for (int k = 0; k < nearest->count && !is_found; k++)
			is_found = ids[i] == VhnswKeyId(nearest->keys[k]);
		found += is_found;
	}
	return Min(found, nearest->count);
}

static VhnswBlockKind
block_kind(const VhnswGraph *graph)
{
	return graph->layout.metric == VHNSW_INNER_PRODUCT ?
		VHNSW_BLOCK_PRODUCT : VHNSW_BLOCK_SQUARED;
}

void
VhnswExactJob(VhnswCrew *crew, const void *arg)
{
	const ExactJob *job = arg;
	const VhnswGraph *graph = crew->graph;
	int			dims = graph->layout.dims;
	Nearest    *parts = VhnswCrewAddress(crew, &job->nearest);
	VhnswBlock *checked = VhnswBlockCreate(block_kind(graph), dims,
										   job->nchecked);
	VhnswBlock *rows = VhnswBlockCreateRows(block_kind(graph), dims,
											ROWS_AT_ONCE);
	uint32		part;

	for (uint32 i = 0; i < job->nchecked; i++)
	{
		uint32		id = VhnswGraphSpread(graph, job->nchecked, i);

		VhnswBlockAdd(checked, &graph->layout, VhnswGraphGetCode(graph, id));
	}
	VhnswBlockFinish(checked);
	while (VhnswCrewNext(crew, &part))
	{
		Nearest    *nearest = parts + part * job->nchecked;

		find_nearest(graph, checked, rows,
					 (uint32) ((uint64) graph->count * part / NUM_PARTS),
					 (uint32) ((uint64) graph->count * (part + 1) / NUM_PARTS),
					 nearest);
		for (uint32 i = 0; i < job->nchecked; i++)
			cut(&nearest[i]);
	}
}

/* Compare elements first .. end - 1 with those that are checked. */
static void
find_nearest(const VhnswGraph *graph, const VhnswBlock *checked,
			 VhnswBlock *rows, uint32 first, uint32 end, Nearest *nearest)
{
	float		distances[DISTANCE_ROWS * DISTANCE_PANEL];
	float		no_limits[DISTANCE_ROWS];
	float		limits[VhnswBlockPlaces(CHECKED_ELEMENTS)];

	for (int i = 0; i < lengthof(no_limits); i++)
		no_limits[i] = -get_float4_infinity();
	for (uint32 i = 0; i < lengthof(limits); i++)
		limits[i] = i < checked->count ? FLT_MAX : -get_float4_infinity();
	for (uint32 i = 0; i < checked->count; i++)
		nearest[i].count = 0;

	for (; first < end; first += ROWS_AT_ONCE)
	{
		CHECK_FOR_INTERRUPTS();
		VhnswBlockReset(rows);
		for (uint32 id = first; id < Min(first + ROWS_AT_ONCE, end); id++)
			VhnswBlockAdd(rows, &graph->layout, VhnswGraphGetCode(graph, id));
		VhnswBlockFinish(rows);
		for (uint32 column = 0; column < checked->count;
			 column += DISTANCE_PANEL)
		{
			for (uint32 row = 0; row < rows->count; row += DISTANCE_ROWS)
			{
				uint64		bits = VhnswBlockCompare(rows, row, no_limits,
													 checked, column,
													 limits + column,
													 distances);

				while (bits != 0)
				{
					int			bit = pg_rightmost_one_pos64(bits);
					uint32		place = row + bit / DISTANCE_PANEL;
					uint32		i = column + bit % DISTANCE_PANEL;
					uint32		id = first + place;

					bits &= bits - 1;
					if (place < rows->count && i < checked->count &&
						id != VhnswGraphSpread(graph, checked->count, i))
						offer(&nearest[i], VhnswMakeKey(distances[bit], id),
							  &limits[i]);
				}
			}
		}
	}
}

/* 'limit', if not NULL, falls to the distance of the farthest that counts. */
static void
offer(Nearest *nearest, VhnswKey key, float *limit)
{
	if (limit && VhnswKeyDistance(key) > *limit)
		return;
	nearest->keys[nearest->count++] = key;
	if (nearest->count < lengthof(nearest->keys))
		return;
	cut(nearest);
	if (limit)
		*limit = VhnswKeyDistance(VhnswLargestKey(nearest->keys,
												  nearest->count));
}

/* Keep the nearest, as many as are wanted. */
static void
cut(Nearest *nearest)
{
	if (nearest->count <= CHECKED_NEIGHBORS)
		return;
	VhnswSelectKeys(nearest->keys, nearest->count, CHECKED_NEIGHBORS);
	nearest->count = CHECKED_NEIGHBORS;
}
