/*-------------------------------------------------------------------------
 *
 * vhnsw_leaf.c
 *	  Divide the elements of a build into overlapping leaves.
 *
 * k-means on a sample gives centroids; every element then belongs to the few
 * that are nearest to it.  Where elements lie dense, a leaf becomes much
 * larger than others, and comparing all pairs in it would be dear: it is
 * divided again.  See README, section "Blocked build".
 *
 * The result depends on the codes, their numbers and the seed only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/float.h"

#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_leaf.h"

#define SAMPLE_PER_CENTROID 40
#define KMEANS_ROUNDS 6

/* Nearest centroids that an element of a leaf divided again belongs to. */
#define INNER_OVERLAP 2
#define MAX_OVERLAP 8

/* Elements packed at a time to be assigned. */
#define ROWS_AT_ONCE 64

/* The nearest centroids of DISTANCE_ROWS elements, nearest first. */
typedef struct Nearest
{
	float		distances[DISTANCE_ROWS][MAX_OVERLAP];
	uint32		centroids[DISTANCE_ROWS][MAX_OVERLAP];
} Nearest;

static VhnswBlock *find_centroids(const VhnswGraph *graph,
								  const uint32 *members, uint32 n, uint32 k,
								  uint64 seed);
static void move_centroids(const VhnswGraph *graph, const uint32 *sample,
						   uint32 n, const uint32 *assigned, uint32 k,
						   float *sums, VhnswBlock *centroids,
						   pg_prng_state *prng);
static void find_nearest(const VhnswBlock *rows, uint32 row,
						 const VhnswBlock *centroids, int overlap,
						 Nearest *nearest);

/*
 * VhnswMakePartition
 *		Divide n elements by centroids; each is in 'overlap' of the parts, or
 *		in all if there are fewer.
 *
 * There are as many parts as would have VHNSW_LEAF_SIZE members.  'members'
 * may be NULL for elements 0 to n - 1.  If 'nearest' is not NULL, it gets the
 * number of each element's nearest part.
 */
VhnswPartition *
VhnswMakePartition(const VhnswGraph *graph, const uint32 *members, uint32 n,
				   int overlap, uint64 seed, uint32 *nearest)
{
	VhnswPartition *partition = palloc_object(VhnswPartition);
	uint32		k = (uint32) Max(((uint64) n * overlap + VHNSW_LEAF_SIZE - 1) /
								 VHNSW_LEAF_SIZE, 1);
	VhnswBlock *centroids;
	VhnswBlock *rows = VhnswBlockCreate(VHNSW_L2, graph->layout.dims,
										ROWS_AT_ONCE);
	Nearest		found;
	uint32	   *chosen;
	uint32	   *next;

	k = Min(k, n);
	overlap = Min(overlap, (int) k);
	centroids = find_centroids(graph, members, n, k, seed);
	chosen = palloc_extended((Size) n * overlap * sizeof(uint32),
							 MCXT_ALLOC_HUGE);
	partition->nparts = k;
	partition->starts = palloc0_array(uint32, k + 2);
	partition->members = palloc_extended((Size) n * overlap * sizeof(uint32),
										 MCXT_ALLOC_HUGE);

	/* Counted two places on, starts move into place as parts are filled. */
	next = partition->starts + 1;
	for (uint32 first = 0; first < n; first += ROWS_AT_ONCE)
	{
		uint32		count = Min(n - first, ROWS_AT_ONCE);

		CHECK_FOR_INTERRUPTS();
		VhnswBlockReset(rows);
		for (uint32 i = 0; i < count; i++)
			VhnswBlockAdd(rows, VhnswGraphGetCode(graph, members ?
												  members[first + i] :
												  first + i));
		VhnswBlockFinish(rows);
		for (uint32 i = 0; i < count; i++)
		{
			uint32	   *choice = chosen + (Size) (first + i) * overlap;

			if (i % DISTANCE_ROWS == 0)
				find_nearest(rows, i, centroids, overlap, &found);
			for (int j = 0; j < overlap; j++)
			{
				choice[j] = found.centroids[i % DISTANCE_ROWS][j];
				next[choice[j] + 1]++;
			}
			if (nearest)
				nearest[first + i] = choice[0];
		}
	}
	for (uint32 i = 1; i <= k; i++)
		next[i] += next[i - 1];
	for (uint32 i = 0; i < n; i++)
	{
		for (int j = 0; j < overlap; j++)
			partition->members[next[chosen[(Size) i * overlap + j]]++] =
				members ? members[i] : i;
	}

	pfree(chosen);
	VhnswBlockFree(rows);
	VhnswBlockFree(centroids);
	return partition;
}

void
VhnswFreePartition(VhnswPartition *partition)
{
	pfree(partition->starts);
	pfree(partition->members);
	pfree(partition);
}

/*
 * VhnswVisitLeaves
 *		Call back with a part as one leaf, or divide it if it is too large.
 */
void
VhnswVisitLeaves(const VhnswGraph *graph, uint32 *members, uint32 n,
				 uint64 seed, VhnswLeafCallback callback, void *arg)
{
	VhnswPartition *inner;

	CHECK_FOR_INTERRUPTS();
	if (n <= VHNSW_LEAF_LIMIT)
	{
		if (n > 0)
			callback(members, n, arg);
		return;
	}

	inner = VhnswMakePartition(graph, members, n, INNER_OVERLAP, seed, NULL);
	for (uint32 i = 0; i < inner->nparts; i++)
	{
		uint32		start = inner->starts[i];
		uint32		size = inner->starts[i + 1] - start;

		if (size < n / 4 * 3)
			VhnswVisitLeaves(graph, inner->members + start, size, seed + 1,
							 callback, arg);
		else
		{
			/* Nothing tells these elements apart; any division will do. */
			for (uint32 done = 0; done < size; done += VHNSW_LEAF_SIZE)
				callback(inner->members + start + done,
						 Min(size - done, VHNSW_LEAF_SIZE), arg);
		}
	}
	VhnswFreePartition(inner);
}

/* k-means on a random sample of the members. */
static VhnswBlock *
find_centroids(const VhnswGraph *graph, const uint32 *members, uint32 n,
			   uint32 k, uint64 seed)
{
	int			dims = graph->layout.dims;
	uint32		nsample = (uint32) Min((uint64) n,
									   (uint64) k * SAMPLE_PER_CENTROID);
	VhnswBlock *centroids = VhnswBlockCreate(VHNSW_L2, dims, k);
	VhnswBlock *rows = VhnswBlockCreate(VHNSW_L2, dims, nsample);
	uint32	   *sample = palloc_array(uint32, nsample);
	uint32	   *assigned = palloc_array(uint32, nsample);
	float	   *sums = palloc_extended((Size) k * dims * sizeof(float),
									   MCXT_ALLOC_HUGE);
	pg_prng_state prng;

	/* Of each part of equal length one, so that no list of places is needed. */
	pg_prng_seed(&prng, seed);
	for (uint32 i = 0; i < nsample; i++)
	{
		uint64		low = (uint64) n * i / nsample;
		uint64		high = (uint64) n * (i + 1) / nsample;
		uint32		place = (uint32) pg_prng_uint64_range(&prng, low, high - 1);

		sample[i] = members ? members[place] : place;
	}
	for (uint32 i = nsample - 1; i > 0; i--)
	{
		uint32		j = (uint32) pg_prng_uint64_range(&prng, 0, i);
		uint32		swap = sample[i];

		sample[i] = sample[j];
		sample[j] = swap;
	}

	for (uint32 i = 0; i < nsample; i++)
		VhnswBlockAdd(rows, VhnswGraphGetCode(graph, sample[i]));
	VhnswBlockFinish(rows);
	for (uint32 i = 0; i < k; i++)
		VhnswBlockAdd(centroids, VhnswGraphGetCode(graph, sample[i]));
	VhnswBlockFinish(centroids);

	for (int round = 0; k > 1 && round < KMEANS_ROUNDS; round++)
	{
		for (uint32 i = 0; i < nsample; i += DISTANCE_ROWS)
		{
			Nearest		nearest;

			CHECK_FOR_INTERRUPTS();
			find_nearest(rows, i, centroids, 1, &nearest);
			for (uint32 j = 0; j < DISTANCE_ROWS && i + j < nsample; j++)
				assigned[i + j] = nearest.centroids[j][0];
		}
		move_centroids(graph, sample, nsample, assigned, k, sums, centroids,
					   &prng);
	}

	pfree(sample);
	pfree(assigned);
	pfree(sums);
	VhnswBlockFree(rows);
	return centroids;
}

/* Make each centroid the mean of the elements assigned to it. */
static void
move_centroids(const VhnswGraph *graph, const uint32 *sample, uint32 n,
			   const uint32 *assigned, uint32 k, float *sums,
			   VhnswBlock *centroids, pg_prng_state *prng)
{
	int			dims = graph->layout.dims;
	uint32	   *counts = palloc0_array(uint32, k);

	memset(sums, 0, (Size) k * dims * sizeof(float));
	for (uint32 i = 0; i < n; i++)
	{
		const VhnswCode *code = VhnswGraphGetCode(graph, sample[i]);
		float	   *sum = sums + (Size) assigned[i] * dims;

		for (int j = 0; j < dims; j++)
			sum[j] += code->scale * code->code[j];
		counts[assigned[i]]++;
	}

	VhnswBlockReset(centroids);
	for (uint32 i = 0; i < k; i++)
	{
		float	   *sum = sums + (Size) i * dims;

		if (counts[i] == 0)
		{
			/* Nobody's: it tries another place. */
			uint32		other = sample[pg_prng_uint64_range(prng, 0, n - 1)];

			VhnswBlockAdd(centroids, VhnswGraphGetCode(graph, other));
			continue;
		}
		for (int j = 0; j < dims; j++)
			sum[j] /= (float) counts[i];
		VhnswBlockAddFloats(centroids, sum);
	}
	VhnswBlockFinish(centroids);
	pfree(counts);
}

/* Compare four rows with all centroids.  Of equal ones the first is nearer. */
static void
find_nearest(const VhnswBlock *rows, uint32 row, const VhnswBlock *centroids,
			 int overlap, Nearest *nearest)
{
	float		distances[DISTANCE_ROWS * DISTANCE_PANEL];
	float		row_limits[DISTANCE_ROWS];
	float		column_limits[DISTANCE_PANEL];

	for (int i = 0; i < DISTANCE_PANEL; i++)
		column_limits[i] = -get_float4_infinity();
	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		row_limits[i] = FLT_MAX;
		for (int j = 0; j < overlap; j++)
		{
			nearest->distances[i][j] = FLT_MAX;
			nearest->centroids[i][j] = 0;
		}
	}

	for (uint32 first = 0; first < centroids->count; first += DISTANCE_PANEL)
	{
		uint64		near = VhnswBlockCompare(rows, row, row_limits, centroids,
											 first, column_limits, distances);

		while (near != 0)
		{
			int			bit = pg_rightmost_one_pos64(near);
			int			i = bit / DISTANCE_PANEL;
			int			place = overlap - 1;

			near &= near - 1;
			if (distances[bit] >= nearest->distances[i][place])
				continue;
			for (; place > 0 &&
				 nearest->distances[i][place - 1] > distances[bit]; place--)
			{
				nearest->distances[i][place] = nearest->distances[i][place - 1];
				nearest->centroids[i][place] = nearest->centroids[i][place - 1];
			}
			nearest->distances[i][place] = distances[bit];
			nearest->centroids[i][place] = first + bit % DISTANCE_PANEL;
			row_limits[i] = nearest->distances[i][overlap - 1];
		}
	}
}
