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

#include <math.h>

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/float.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_hub.h"
#include "vhnsw/vhnsw_leaf.h"
#include "vhnsw/vhnsw_nibbles.h"

#define SAMPLE_PER_CENTROID 40
#define KMEANS_ROUNDS 6

/* Nearest centroids that an element of a leaf divided again belongs to. */
#define INNER_OVERLAP 4
#define MAX_OVERLAP 32

/* The size of leaves, by the root of the number of elements. */
#define LEAF_SIZE_GROWTH 0.42

/* Elements packed at a time to be assigned. */
#define ROWS_AT_ONCE 64

/* Vectors of the sample in memory at a time, if elements are in a file. */
#define ROWS_IN_PIECE 1024

/* The nearest centroids of DISTANCE_ROWS elements, nearest first. */
typedef struct Nearest
{
	float		distances[DISTANCE_ROWS][MAX_OVERLAP];
	uint32		centroids[DISTANCE_ROWS][MAX_OVERLAP];
} Nearest;

/* Vectors that centroids are learned from, assigned to them by a job. */
typedef struct CentroidsJob
{
	uint32		first;			/* of the sample: where a piece begins */
	uint32		count;			/* how long it is */
	uint32		places;			/* that the block has */
	uint32		k;
	VhnswMemory rows;			/* a block: the piece */
	VhnswMemory centroids;		/* likewise */
	VhnswMemory assigned;		/* a centroid for each vector */
} CentroidsJob;

/* Elements to be assigned to the nearest centroids. */
typedef struct AssignJob
{
	uint32		n;
	const uint32 *members;		/* NULL in a whole crew */
	int			overlap;
	uint32		k;
	VhnswMemory centroids;
	VhnswMemory chosen;			/* 'overlap' for each element */
	VhnswSpillShape spilled;	/* in place of chosen, if there is one */
} AssignJob;

static VhnswBlockKind centroid_kind(const VhnswGraph *graph);
static VhnswMemory find_centroids(VhnswCrew *crew, const uint32 *members,
								  uint32 n, uint32 k, uint64 seed);
static uint32 number_of_parts(uint32 nresidents);
static void check_members(const VhnswCrew *crew, uint32 n, uint32 k,
						  int overlap);
static bool choices_in_file(const VhnswLayout *layout, bool in_file);
static void fill_parts(VhnswPartition *partition, const VhnswChoices *choices,
					   const VhnswHubs *hubs, const VhnswLeaf *whole);
static void divide_anyhow(const VhnswLeaf *leaf, VhnswLeafCallback callback,
						  void *arg);
static const VhnswCode *sample_code(const VhnswGraph *graph,
									const uint32 *sample, VhnswSpill *copies,
									uint32 i);
static void move_centroids(const VhnswGraph *graph, const uint32 *sample,
						   VhnswSpill *copies, uint32 n,
						   const uint32 *assigned, uint32 k, float *sums,
						   VhnswBlock *centroids, pg_prng_state *prng);
static void find_nearest(const VhnswBlock *rows, uint32 row,
						 const VhnswBlock *centroids, int overlap,
						 Nearest *nearest);

/*
 * VhnswMakePartition
 *		Divide elements by centroids; each is in 'overlap' of the parts, or in
 *		all if there are fewer.
 *
 * Residents of the whole become residents of one part each, and centroids are
 * those of residents; its guests are guests everywhere.  Its members may be
 * NULL for elements 0 to n - 1, and must be if there are workers.  If 'nearest'
 * is not NULL, it gets the number of each element's nearest part.
 */
VhnswPartition *
VhnswMakePartition(VhnswCrew *crew, const VhnswLeaf *whole, int overlap,
				   uint64 seed, uint32 *nearest)
{
	VhnswPartition *partition = palloc_object(VhnswPartition);
	uint32		n = whole->n;
	AssignJob	job = {.n = n,.members = whole->members};
	VhnswHubs  *hubs = NULL;
	VhnswSpill *spilled = NULL;
	VhnswChoices choices;

	job.k = number_of_parts(whole->nresidents);
	job.overlap = Min(overlap, (int) job.k);
	check_members(crew, n, job.k, job.overlap);
	job.centroids = find_centroids(crew, whole->members, whole->nresidents,
								   job.k, seed);
	if (whole->members == NULL &&
		choices_in_file(&crew->graph->layout, crew->graph->codes != NULL))
	{
		spilled = VhnswCrewCreateFile(crew, job.overlap * sizeof(uint32), n, 0);
		job.spilled = VhnswSpillDescribe(spilled);
	}
	else
		job.chosen = VhnswCrewAlloc(crew, (Size) n * job.overlap * sizeof(uint32));
	VhnswCrewRun(crew, VHNSW_JOB_ASSIGN, &job, sizeof(job),
				 (n + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE);
	choices = (VhnswChoices)
	{
		job.overlap, job.chosen.address, spilled
	};
	if (crew->graph->layout.metric == VHNSW_INNER_PRODUCT)
	{
		hubs = palloc_object(VhnswHubs);
		VhnswFindHubs(crew, whole->members, n, &job.centroids, job.k, &choices,
					  hubs);
	}
	VhnswCrewFree(crew, &job.centroids);

	for (uint32 i = 0; nearest && i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		nearest[i] = VhnswChoicesOf(&choices, i)[0];
	}

	partition->nparts = job.k;
	partition->nmembers = (uint64) n * job.overlap;
	for (uint32 i = 0; hubs && i < job.k; i++)
		partition->nmembers += hubs->counts[i];
	partition->memory =
		VhnswCrewAlloc(crew, (partition->nmembers + 2 * (Size) job.k + 2) *
					   sizeof(uint32));
	VhnswAttachPartition(crew, partition);
	fill_parts(partition, &choices, hubs, whole);
	if (spilled)
		VhnswSpillFree(spilled);
	else
		VhnswCrewFree(crew, &job.chosen);
	if (hubs)
	{
		VhnswCrewFree(crew, &hubs->memory);
		pfree(hubs);
	}
	if (whole->members == NULL)
		VhnswCrewReport(crew, n);
	return partition;
}

/*
 * With more elements parts become larger, because each element is compared with
 * all centroids.
 */
static uint32
number_of_parts(uint32 nresidents)
{
	double		size = Max(VHNSW_LEAF_SIZE,
						   LEAF_SIZE_GROWTH * sqrt((double) nresidents));

	return (uint32) Max(ceil(nresidents / size), 1);
}

/* The places of n elements in k parts, and of hubs, are numbers of 32 bits. */
static void
check_members(const VhnswCrew *crew, uint32 n, uint32 k, int overlap)
{
	uint64		nmembers = (uint64) n * overlap;
	uint64		limit = VD_PRETEND("vhnsw-many-members") ? 10000 : PG_UINT32_MAX;

	if (crew->graph->layout.metric == VHNSW_INNER_PRODUCT)
		nmembers += (uint64) k * VHNSW_HUBS_OF_LEAF;
	if (nmembers > limit)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("too many vectors to build an index by clusters"),
				errdetail("%u different vectors have %llu places in clusters, and there can be %llu.",
						  n, (unsigned long long) nmembers,
						  (unsigned long long) limit),
				errhint("Partition the table, or set vhnsw.build_method to \"search\"."));
}

/*
 * If codes are in a file, so are choices, which are written and read in order;
 * but those of hubs are not.
 */
static bool
choices_in_file(const VhnswLayout *layout, bool in_file)
{
	return in_file && layout->metric != VHNSW_INNER_PRODUCT;
}

/* Products are compared among vectors of similar direction. */
static VhnswBlockKind
centroid_kind(const VhnswGraph *graph)
{
	return graph->layout.metric == VHNSW_INNER_PRODUCT ?
		VHNSW_BLOCK_DIRECTION : VHNSW_BLOCK_SQUARED;
}

/* Let a process know where the members are. */
void
VhnswAttachPartition(VhnswCrew *crew, VhnswPartition *partition)
{
	partition->members = VhnswCrewAddress(crew, &partition->memory);
	partition->starts = partition->members + partition->nmembers;
	partition->nresidents = partition->starts + partition->nparts + 2;
}

void
VhnswFreePartition(VhnswCrew *crew, VhnswPartition *partition)
{
	VhnswCrewFree(crew, &partition->memory);
	pfree(partition);
}

/*
 * Memory for one element, besides that of a leaf, and besides its code if this
 * is in a file.
 */
Size
VhnswPartitionElementBytes(const VhnswLayout *layout, int overlap,
						   bool in_file)
{
	int			dims = layout->dims;
	Size		of_sample = 2 * sizeof(uint32) +
	(in_file ? 0 : VhnswBlockRowsBytes(dims, DISTANCE_PANEL) / DISTANCE_PANEL);
	Size		of_choice = choices_in_file(layout, in_file) ? 0 : sizeof(uint32);
	Size		of_centroid = VhnswBlockBytes(dims, DISTANCE_PANEL) /
	DISTANCE_PANEL + dims * sizeof(float);

	if (layout->metric == VHNSW_INNER_PRODUCT)
		of_centroid += 2 * VhnswHubsBytes();
	return overlap * (sizeof(uint32) + of_choice) +
		(of_sample * SAMPLE_PER_CENTROID + of_centroid) / VHNSW_LEAF_SIZE + 1;
}

/* Of that, what stays: its places in leaves, and a share of their hubs. */
Size
VhnswMemberBytes(const VhnswLayout *layout, int overlap)
{
	Size		bytes = overlap * sizeof(uint32) + 1;

	if (layout->metric == VHNSW_INNER_PRODUCT)
		bytes += VHNSW_HUBS_OF_LEAF * sizeof(uint32) / VHNSW_LEAF_SIZE;
	return bytes;
}

/*
 * VhnswDivideBytes
 *		Memory that a process takes to divide a part again, if any is so large:
 *		the leaves that its members choose, and their places there.
 *
 * A part of it that is divided once more has three quarters at most.
 */
Size
VhnswDivideBytes(const VhnswLayout *layout, const VhnswPartition *partition)
{
	Size		most = 0;

	for (uint32 i = 0; i < partition->nparts; i++)
	{
		VhnswLeaf	part = VhnswPartitionLeaf(partition, i);

		if (part.nresidents > VHNSW_LEAF_LIMIT)
			most = Max(most, part.n);
	}
	if (most == 0)
		return 0;
	return most * (VhnswPartitionElementBytes(layout, INNER_OVERLAP, true) +
				   INNER_OVERLAP * sizeof(uint32)) +
		VhnswBlockRowsBytes(layout->dims, ROWS_IN_PIECE) +
		VhnswHubsWorkBytes(layout, most);
}

/* Job: find the nearest centroids of elements. */
void
VhnswAssignJob(VhnswCrew *crew, const void *arg)
{
	const AssignJob *job = arg;
	const VhnswGraph *graph = crew->graph;
	int			dims = graph->layout.dims;
	VhnswSpill *spilled = VhnswCrewFile(crew, &job->spilled);
	Size		stride = spilled ? VhnswSpillStride(job->overlap * sizeof(uint32)) :
	job->overlap * sizeof(uint32);
	char	   *chosen = spilled ? palloc0(ROWS_AT_ONCE * stride) :
	VhnswCrewAddress(crew, &job->chosen);
	VhnswBlock *rows = VhnswBlockCreateRows(centroid_kind(graph), dims,
											ROWS_AT_ONCE);
	VhnswBlock	centroids;
	uint32		chunk;

	VhnswBlockInit(&centroids, centroid_kind(graph), dims, job->k,
				   VhnswCrewAddress(crew, &job->centroids));
	centroids.count = job->k;
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * ROWS_AT_ONCE;
		uint32		count = Min(job->n - first, ROWS_AT_ONCE);
		Nearest		found;

		/* A part that is divided again belongs to another phase. */
		if (job->members == NULL)
		{
			VhnswCrewReport(crew, first);
			VD_DEBUG_POINT("vhnsw-build-assign");
		}
		VhnswBlockReset(rows);
		for (uint32 i = first; i < first + count; i++)
			VhnswBlockAdd(rows, &graph->layout, VhnswGraphGetCode(graph, job->members ?
																  job->members[i] : i));
		VhnswBlockFinish(rows);
		for (uint32 i = 0; i < count; i++)
		{
			if (i % DISTANCE_ROWS == 0)
				find_nearest(rows, i, &centroids, job->overlap, &found);
			memcpy(chosen + (spilled ? i : (Size) first + i) * stride,
				   found.centroids[i % DISTANCE_ROWS],
				   job->overlap * sizeof(uint32));
		}
		if (spilled)
			VhnswSpillWrite(spilled, first, count, chosen);
	}
}

/* Sort elements by the parts they are in. */
static void
fill_parts(VhnswPartition *partition, const VhnswChoices *choices,
		   const VhnswHubs *hubs, const VhnswLeaf *whole)
{
	/* Counted two places on, starts move into place as parts are filled. */
	uint32	   *next = partition->starts + 1;
	uint32	   *nresidents = partition->nresidents;
	const uint32 *members = whole->members;
	uint32		n = whole->n;

	memset(partition->starts, 0, (partition->nparts + 2) * sizeof(uint32));
	memset(nresidents, 0, partition->nparts * sizeof(uint32));
	for (uint32 i = 0; i < n; i++)
	{
		const uint32 *parts = VhnswChoicesOf(choices, i);

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < choices->overlap; j++)
			next[parts[j] + 1]++;
	}
	for (uint32 i = 0; hubs && i < partition->nparts; i++)
		next[i + 1] += hubs->counts[i];
	for (uint32 i = 1; i <= partition->nparts; i++)
		next[i] += next[i - 1];
	for (uint32 i = 0; i < whole->nresidents; i++)
	{
		uint32		part = VhnswChoicesOf(choices, i)[0];

		CHECK_FOR_INTERRUPTS();
		nresidents[part]++;
		partition->members[next[part]++] = members ? members[i] : i;
	}
	for (uint32 i = 0; i < n; i++)
	{
		const uint32 *parts = VhnswChoicesOf(choices, i);

		CHECK_FOR_INTERRUPTS();
		for (int j = i < whole->nresidents; j < choices->overlap; j++)
			partition->members[next[parts[j]]++] = members ? members[i] : i;
	}
	for (uint32 i = 0; hubs && i < partition->nparts; i++)
	{
		const uint32 *elements = VhnswHubsOf(hubs, i);

		for (int j = 0; j < hubs->counts[i]; j++)
			partition->members[next[i]++] = members ? members[elements[j]] :
				elements[j];
	}
}

VhnswLeaf
VhnswPartitionLeaf(const VhnswPartition *partition, uint32 part)
{
	uint32		start = partition->starts[part];

	return (VhnswLeaf)
	{
		partition->members + start, partition->nresidents[part],
			partition->starts[part + 1] - start
	};
}

/*
 * VhnswVisitLeaves
 *		Call back with a part as one leaf, or divide it if it is too large.
 */
void
VhnswVisitLeaves(VhnswGraph *graph, const VhnswLeaf *part, uint64 seed,
				 VhnswLeafCallback callback, void *arg)
{
	VhnswCrew	alone = VhnswCrewOfOne(graph->crew);
	VhnswPartition *inner;

	CHECK_FOR_INTERRUPTS();
	if (part->nresidents <= VHNSW_LEAF_LIMIT)
	{
		if (part->nresidents > 0)
			callback(part, arg);
		return;
	}

	inner = VhnswMakePartition(&alone, part, INNER_OVERLAP, seed, NULL);
	for (uint32 i = 0; i < inner->nparts; i++)
	{
		VhnswLeaf	leaf = VhnswPartitionLeaf(inner, i);

		if (leaf.nresidents < part->nresidents / 4 * 3)
			VhnswVisitLeaves(graph, &leaf, seed + 1, callback, arg);
		else
			divide_anyhow(&leaf, callback, arg);
	}
	VhnswFreePartition(&alone, inner);
}

/* Nothing tells these elements apart; any division will do. */
static void
divide_anyhow(const VhnswLeaf *leaf, VhnswLeafCallback callback, void *arg)
{
	for (uint32 done = 0; done < leaf->nresidents; done += VHNSW_LEAF_LIMIT)
	{
		uint32		n = Min(leaf->nresidents - done, VHNSW_LEAF_LIMIT);
		VhnswLeaf	piece = {leaf->members + done, n, n};

		callback(&piece, arg);
	}
}

/* k-means on a random sample of the members; returns a block of centroids. */
static VhnswMemory
find_centroids(VhnswCrew *crew, const uint32 *members, uint32 n, uint32 k,
			   uint64 seed)
{
	const VhnswGraph *graph = crew->graph;
	int			dims = graph->layout.dims;
	uint32		nsample = (uint32) Min((uint64) n,
									   (uint64) k * SAMPLE_PER_CENTROID);
	uint32		piece = graph->codes ? Min(nsample, ROWS_IN_PIECE) : nsample;
	CentroidsJob job = {.places = piece,.k = k};
	VhnswBlock	centroids;
	VhnswBlock	rows;
	uint32	   *sample = palloc_extended((Size) nsample * sizeof(uint32),
										 MCXT_ALLOC_HUGE);
	float	   *sums = palloc_extended((Size) k * dims * sizeof(float),
									   MCXT_ALLOC_HUGE);
	VhnswSpill *copies = NULL;
	pg_prng_state prng;

	job.rows = VhnswCrewAlloc(crew, VhnswBlockRowsBytes(dims, piece));
	job.centroids = VhnswCrewAlloc(crew, VhnswBlockBytes(dims, k));
	job.assigned = VhnswCrewAlloc(crew, (Size) nsample * sizeof(uint32));
	VhnswBlockInitRows(&rows, centroid_kind(graph), dims, piece,
					   job.rows.address);
	VhnswBlockInit(&centroids, centroid_kind(graph), dims, k, job.centroids.address);

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

	/* Of a part that is divided again elements lie together. */
	if (graph->codes && members == NULL)
		copies = VhnswGraphCopyCodes(graph, sample, nsample);

	for (uint32 i = 0; i < k; i++)
	{
		CHECK_FOR_INTERRUPTS();
		VhnswBlockAdd(&centroids, &graph->layout,
					  sample_code(graph, sample, copies, i));
	}
	VhnswBlockFinish(&centroids);

	for (int round = 0; k > 1 && round < KMEANS_ROUNDS; round++)
	{
		for (job.first = 0; job.first < nsample; job.first += piece)
		{
			job.count = Min(piece, nsample - job.first);
			if (round == 0 || piece < nsample)
			{
				VhnswBlockReset(&rows);
				for (uint32 i = job.first; i < job.first + job.count; i++)
				{
					CHECK_FOR_INTERRUPTS();
					VhnswBlockAdd(&rows, &graph->layout,
								  sample_code(graph, sample, copies, i));
				}
				VhnswBlockFinish(&rows);
			}
			VhnswCrewRun(crew, VHNSW_JOB_CENTROIDS, &job, sizeof(job),
						 (job.count + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE);
		}
		move_centroids(graph, sample, copies, nsample, job.assigned.address, k,
					   sums, &centroids, &prng);
	}

	if (copies)
		VhnswSpillFree(copies);
	pfree(sample);
	pfree(sums);
	VhnswCrewFree(crew, &job.rows);
	VhnswCrewFree(crew, &job.assigned);
	return job.centroids;
}

/* Job: find the nearest centroid of vectors of the sample. */
void
VhnswCentroidsJob(VhnswCrew *crew, const void *arg)
{
	const CentroidsJob *job = arg;
	int			dims = crew->graph->layout.dims;
	uint32	   *assigned = (uint32 *) VhnswCrewAddress(crew, &job->assigned) +
	job->first;
	VhnswBlock	rows;
	VhnswBlock	centroids;
	uint32		chunk;

	VhnswBlockInitRows(&rows, centroid_kind(crew->graph), dims, job->places,
					   VhnswCrewAddress(crew, &job->rows));
	rows.count = job->count;
	VhnswBlockInit(&centroids, centroid_kind(crew->graph), dims, job->k,
				   VhnswCrewAddress(crew, &job->centroids));
	centroids.count = job->k;
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		end = Min((chunk + 1) * ROWS_AT_ONCE, job->count);

		for (uint32 i = chunk * ROWS_AT_ONCE; i < end; i += DISTANCE_ROWS)
		{
			Nearest		nearest;

			find_nearest(&rows, i, &centroids, 1, &nearest);
			for (uint32 j = 0; j < DISTANCE_ROWS && i + j < end; j++)
				assigned[i + j] = nearest.centroids[j][0];
		}
	}
}

/* The code of element i of a sample, which may have been copied. */
static const VhnswCode *
sample_code(const VhnswGraph *graph, const uint32 *sample, VhnswSpill *copies,
			uint32 i)
{
	return copies ? VhnswSpillGet(copies, i) :
		VhnswGraphGetCode(graph, sample[i]);
}

/* Make each centroid the mean of the elements assigned to it. */
static void
move_centroids(const VhnswGraph *graph, const uint32 *sample,
			   VhnswSpill *copies, uint32 n, const uint32 *assigned, uint32 k,
			   float *sums, VhnswBlock *centroids, pg_prng_state *prng)
{
	int			dims = graph->layout.dims;
	uint32	   *counts = palloc0_array(uint32, k);
	VhnswUnpacked room;

	memset(sums, 0, (Size) k * dims * sizeof(float));
	for (uint32 i = 0; i < n; i++)
	{
		const VhnswCode *code = sample_code(graph, sample, copies, i);
		const int8 *u = VhnswRotatedNumbers(code, graph->layout.is_direct,
											dims, &room);
		float	   *sum = sums + (Size) assigned[i] * dims;

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < dims; j++)
			sum[j] += code->scale * u[j];
		counts[assigned[i]]++;
	}

	VhnswBlockReset(centroids);
	for (uint32 i = 0; i < k; i++)
	{
		float	   *sum = sums + (Size) i * dims;

		CHECK_FOR_INTERRUPTS();
		if (counts[i] == 0)
		{
			/* Nobody's: it tries another place. */
			uint32		other = sample[pg_prng_uint64_range(prng, 0, n - 1)];

			VhnswBlockAdd(centroids, &graph->layout, VhnswGraphGetCode(graph, other));
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
