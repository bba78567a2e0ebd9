/*-------------------------------------------------------------------------
 *
 * vhnsw_hub.c
 *	  Elements that join a leaf for their length, under inner product.
 *
 * What has a large product with the members of a leaf may point elsewhere, if
 * it is long.  So the elements that have the largest product with the centroid
 * of a leaf are added to its members.  See README, section "Blocked build".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/float.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_hub.h"
#include "vhnsw/vhnsw_key.h"

/* Elements packed at a time */
#define ROWS_AT_ONCE 64

/*
 * Leaves they are compared with for that, of k: a quarter of them, so that there
 * are chunks for several processes, and little work in each.
 */
#define MAX_LEAVES_AT_ONCE 256
#define LeavesAtOnce(k) \
	Min(MAX_LEAVES_AT_ONCE, TYPEALIGN(DISTANCE_PANEL, (k) / 4 + 1))

/* Of all that are divided, at most this share joins each leaf. */
#define HUBS_SHARE 8

#define HubsOf(count) Min(VHNSW_HUBS_OF_LEAF, (count) / HUBS_SHARE + 1)

#define NO_ELEMENT PG_UINT32_MAX

/* Find the hubs of some leaves. */
typedef struct HubsJob
{
	uint32		n;
	const uint32 *members;		/* NULL in a whole crew */
	uint32		k;
	VhnswMemory centroids;
	VhnswHubs	hubs;
} HubsJob;

/* What a centroid has met. */
typedef struct Meeting
{
	int			places;			/* how many are wanted */
	int			count;
	VhnswKey   *keys;			/* 2 * places, in no order */
	float	   *limit;			/* larger ones are not wanted */
} Meeting;

static void attach_hubs(VhnswCrew *crew, VhnswHubs *hubs, uint32 k);
static void meet(const HubsJob *job, const VhnswGraph *graph,
				 const VhnswBlock *centroids, uint32 first_leaf,
				 uint32 num_leaves, Meeting *meetings, float *limits);
static void compare_rows(const VhnswBlock *rows, uint32 first,
						 const VhnswBlock *centroids, uint32 first_leaf,
						 uint32 num_leaves, Meeting *meetings, float *limits);
static void drop_members(const VhnswHubs *hubs, uint32 n, uint32 k,
						 const VhnswChoices *choices);

/* Memory for each leaf. */
Size
VhnswHubsBytes(void)
{
	return VHNSW_HUBS_OF_LEAF * sizeof(uint32) + sizeof(int);
}

/* Memory of a process that finds them. */
Size
VhnswHubsWorkBytes(const VhnswLayout *layout, uint64 count)
{
	if (layout->metric != VHNSW_INNER_PRODUCT)
		return 0;
	return LeavesAtOnce(count / VHNSW_LEAF_SIZE + 1) * 2 * HubsOf(count) *
		sizeof(VhnswKey);
}

/*
 * VhnswFindHubs
 *		Find those elements that join each of k leaves.
 *
 * 'choices' tells the leaves that an element is in anyway.
 * 'centroids' is a block of k directions.  The caller frees the hubs' memory.
 */
void
VhnswFindHubs(VhnswCrew *crew, const uint32 *members, uint32 n,
			  const VhnswMemory *centroids, uint32 k,
			  const VhnswChoices *choices, VhnswHubs *hubs)
{
	HubsJob		job = {.n = n,.members = members,.k = k,.centroids = *centroids};

	hubs->places = HubsOf(n);
	hubs->memory = VhnswCrewAlloc(crew, (Size) k * hubs->places * sizeof(uint32) +
								  k * sizeof(int));
	attach_hubs(crew, hubs, k);
	job.hubs = *hubs;
	VhnswCrewRun(crew, VHNSW_JOB_HUBS, &job, sizeof(job),
				 (k + LeavesAtOnce(k) - 1) / LeavesAtOnce(k));
	if (choices->spilled)
		VhnswSpillForget(crew->graph->codes);
	drop_members(hubs, n, k, choices);
}

/*
 * Drop what is in a leaf anyway.  Hubs of a leaf are in order, so that choices,
 * which may be in a file, are read in order.  (That has some pages in memory, in
 * place of those of codes.)
 */
static void
drop_members(const VhnswHubs *hubs, uint32 n, uint32 k,
			 const VhnswChoices *choices)
{
	int		   *next = palloc0_array(int, k);

	for (uint32 element = 0; element < n; element++)
	{
		const uint32 *choice = VhnswChoicesOf(choices, element);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < choices->overlap; i++)
		{
			uint32	   *elements = VhnswHubsOf(hubs, choice[i]);
			int			count = hubs->counts[choice[i]];
			int			place = next[choice[i]];

			while (place < count && elements[place] < element)
				place++;
			if (place < count && elements[place] == element)
				elements[place++] = NO_ELEMENT;
			next[choice[i]] = place;
		}
	}
	pfree(next);

	for (uint32 leaf = 0; leaf < k; leaf++)
	{
		uint32	   *elements = VhnswHubsOf(hubs, leaf);
		int			found = hubs->counts[leaf];

		CHECK_FOR_INTERRUPTS();
		hubs->counts[leaf] = 0;
		for (int i = 0; i < found; i++)
		{
			if (elements[i] != NO_ELEMENT)
				elements[hubs->counts[leaf]++] = elements[i];
		}
	}
}

static void
attach_hubs(VhnswCrew *crew, VhnswHubs *hubs, uint32 k)
{
	hubs->elements = VhnswCrewAddress(crew, &hubs->memory);
	hubs->counts = (int *) VhnswHubsOf(hubs, k);
}

/* Job: compare all elements with some centroids. */
void
VhnswHubsJob(VhnswCrew *crew, const void *arg)
{
	HubsJob		job = *(const HubsJob *) arg;
	VhnswHubs  *hubs = &job.hubs;
	int			leaves = LeavesAtOnce(job.k);
	Meeting    *meetings = palloc_array(Meeting, leaves);
	float	   *limits = palloc_array(float, leaves);
	VhnswKey   *keys = palloc_array(VhnswKey,
									(Size) leaves * 2 * hubs->places);
	VhnswBlock	centroids;
	uint32		chunk;

	attach_hubs(crew, hubs, job.k);
	VhnswBlockInit(&centroids, VHNSW_BLOCK_DIRECTION, crew->graph->layout.dims,
				   job.k, VhnswCrewAddress(crew, &job.centroids));
	centroids.count = job.k;
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * leaves;
		uint32		count = Min(leaves, job.k - first);

		for (int i = 0; i < leaves; i++)
		{
			limits[i] = i < count ? FLT_MAX : -get_float4_infinity();
			meetings[i] = (Meeting)
			{
				hubs->places, 0, keys + (Size) i * 2 * hubs->places, &limits[i]
			};
		}
		meet(&job, crew->graph, &centroids, first, count, meetings, limits);
		for (uint32 i = 0; i < count; i++)
		{
			uint32	   *elements = VhnswHubsOf(hubs, first + i);
			int			found = Min(meetings[i].count, hubs->places);

			if (found < meetings[i].count)
				VhnswSelectKeys(meetings[i].keys, meetings[i].count, found);
			for (int j = 0; j < found; j++)
				elements[j] = VhnswKeyId(meetings[i].keys[j]);
			VhnswSortIds(elements, found);
			hubs->counts[first + i] = found;
		}
	}
	pfree(meetings);
	pfree(limits);
	pfree(keys);
}

/* Compare all elements with the centroids of some leaves. */
static void
meet(const HubsJob *job, const VhnswGraph *graph, const VhnswBlock *centroids,
	 uint32 first_leaf, uint32 num_leaves, Meeting *meetings, float *limits)
{
	VhnswBlock *rows = VhnswBlockCreateRows(VHNSW_BLOCK_PRODUCT,
											graph->layout.dims, ROWS_AT_ONCE);

	for (uint32 first = 0; first < job->n; first += ROWS_AT_ONCE)
	{
		CHECK_FOR_INTERRUPTS();
		VD_DEBUG_POINT("vhnsw-build-hubs");
		VhnswBlockReset(rows);
		for (uint32 i = first; i < Min(first + ROWS_AT_ONCE, job->n); i++)
			VhnswBlockAdd(rows, &graph->layout, VhnswGraphGetCode(graph, job->members ?
																  job->members[i] : i));
		VhnswBlockFinish(rows);
		compare_rows(rows, first, centroids, first_leaf, num_leaves, meetings,
					 limits);
	}
	VhnswBlockFree(rows);
}

/* Compare rows, which are the elements from place 'first' on. */
static void
compare_rows(const VhnswBlock *rows, uint32 first, const VhnswBlock *centroids,
			 uint32 first_leaf, uint32 num_leaves, Meeting *meetings,
			 float *limits)
{
	float		distances[DISTANCE_ROWS * DISTANCE_PANEL];
	float		no_limits[DISTANCE_ROWS];

	for (int i = 0; i < DISTANCE_ROWS; i++)
		no_limits[i] = -get_float4_infinity();
	for (uint32 row = 0; row < rows->count; row += DISTANCE_ROWS)
	{
		for (uint32 leaf = 0; leaf < num_leaves; leaf += DISTANCE_PANEL)
		{
			uint64		bits = VhnswBlockCompare(rows, row, no_limits,
												 centroids, first_leaf + leaf,
												 limits + leaf, distances);

			while (bits != 0)
			{
				int			bit = pg_rightmost_one_pos64(bits);
				uint32		place = row + bit / DISTANCE_PANEL;
				Meeting    *meeting = &meetings[leaf + bit % DISTANCE_PANEL];

				bits &= bits - 1;
				if (place >= rows->count || distances[bit] > *meeting->limit)
					continue;
				meeting->keys[meeting->count++] =
					VhnswMakeKey(distances[bit], first + place);
				if (meeting->count == 2 * meeting->places)
				{
					VhnswSelectKeys(meeting->keys, meeting->count,
									meeting->places);
					meeting->count = meeting->places;
					*meeting->limit =
						VhnswKeyDistance(VhnswLargestKey(meeting->keys,
														 meeting->count));
				}
			}
		}
	}
}
