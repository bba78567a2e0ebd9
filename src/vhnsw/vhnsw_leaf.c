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
#include "vhnsw/vhnsw_key.h"
#include "vhnsw/vhnsw_leaf.h"
#include "vhnsw/vhnsw_nibbles.h"

#define SAMPLE_PER_CENTROID 40
#define KMEANS_ROUNDS 6

/* Nearest centroids that an element of a leaf divided again belongs to. */
#define INNER_OVERLAP 4
#define MAX_OVERLAP 32

/* The size of leaves, by the root of the number of elements. */
#define LEAF_SIZE_GROWTH 0.42

/* Elements packed at a time to be assigned; a multiple of DISTANCE_PANEL. */
#define ROWS_AT_ONCE 64

/* If members are in a file, so many of each part are written at a time, */
#define PLACES_AT_ONCE 64

/* unless that would take more than this. */
#define PLACES_BYTES (VHNSW_MIN_CACHE / 2)

/* The nearest centroids of DISTANCE_ROWS elements, nearest first. */
typedef struct Nearest
{
	float		distances[DISTANCE_ROWS][MAX_OVERLAP];
	uint32		centroids[DISTANCE_ROWS][MAX_OVERLAP];
} Nearest;

/* Puts elements into parts; see begin_filling(). */
typedef struct Filling
{
	VhnswPartition *partition;
	uint32	   *next;			/* of each part: where the next one goes */
	uint32		places;			/* if members are in a file: for so many of
								 * each part */
	uint32	   *waiting;		/* there is room */
	uint32	   *nwaiting;		/* in which so many are */
} Filling;

/* Elements that centroids are learned from. */
typedef struct Sample
{
	uint32		n;
	VhnswMemory elements;
	VhnswSpillShape copies;		/* of their codes, if there are any */
} Sample;

/* Job: assign a sample to the nearest centroids. */
typedef struct CentroidsJob
{
	Sample		sample;
	uint32		k;
	bool		in_file;		/* are codes? */
	bool		packed;			/* rows are there already */
	VhnswMemory rows;			/* a block of the sample, unless in a file */
	VhnswMemory centroids;		/* a block */
	VhnswMemory assigned;		/* a centroid for each of the sample */
} CentroidsJob;

/* Job: move each centroid to the mean of what is assigned to it. */
typedef struct MeansJob
{
	Sample		sample;
	uint32		k;
	VhnswMemory centroids;
	VhnswMemory order;			/* places in the sample by centroid: n
								 * numbers; where those of each start, and one
								 * place for it if it has none: k + 2 and k */
} MeansJob;

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
static void fill_parts(VhnswPartition *partition, const VhnswChoices *choices,
					   const VhnswHubs *hubs, const VhnswLeaf *whole);
static void add_guests_in_order(VhnswPartition *partition,
								const VhnswChoices *choices);
static Filling begin_filling(VhnswPartition *partition, uint32 *next);
static inline void put(Filling *filling, uint32 part, uint32 member);
static void write_waiting(Filling *filling, uint32 part);
static void end_filling(Filling *filling);
static void divide_anyhow(const VhnswLeaf *leaf, VhnswLeafCallback callback,
						  void *arg);
static const VhnswCode *sample_code(const VhnswGraph *graph,
									const uint32 *elements,
									VhnswSpill *copies, uint32 place);
static void move_centroids(VhnswCrew *crew, const MeansJob *job,
						   const uint32 *assigned, pg_prng_state *prng);
static void find_mean(const VhnswGraph *graph, const uint32 *elements,
					  VhnswSpill *copies, const uint32 *places, uint32 n,
					  float *mean);
static void add_multiple(float *restrict sum, float factor,
						 const int8 *restrict numbers, int dims);
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
 * NULL for elements 0 to n - 1, and must be if there are workers; members of
 * parts are in a file then, if codes are.  If 'nearest' is not NULL, it gets the
 * number of each element's nearest part.
 */
VhnswPartition *
VhnswMakePartition(VhnswCrew *crew, const VhnswLeaf *whole, int overlap,
				   uint64 seed, uint32 *nearest)
{
	VhnswPartition *partition = palloc0_object(VhnswPartition);
	uint32		n = whole->n;
	AssignJob	job = {.n = n,.members = whole->members};
	VhnswHubs  *hubs = NULL;
	bool		in_file = whole->members == NULL && crew->graph->codes;
	VhnswSpill *spilled = NULL;
	VhnswChoices choices;

	job.k = number_of_parts(whole->nresidents);
	job.overlap = Min(overlap, (int) job.k);
	check_members(crew, n, job.k, job.overlap);
	job.centroids = find_centroids(crew, whole->members, whole->nresidents,
								   job.k, seed);
	if (in_file)
	{
		spilled = VhnswCrewCreateFile(crew, job.overlap * sizeof(uint32), n, 0);
		job.spilled = VhnswSpillDescribe(spilled);
	}
	else
		job.chosen = VhnswCrewAlloc(crew, (Size) n * job.overlap * sizeof(uint32));
	VhnswCrewRun(crew, VHNSW_JOB_ASSIGN, &job, sizeof(job),
				 (n + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE);

	/* Pages of choices, and members that wait, take their place. */
	if (in_file)
		VhnswSpillForget(crew->graph->codes);
	choices = (VhnswChoices)
	{
		job.overlap, job.chosen.address, spilled
	};
	if (crew->graph->lengths_matter)
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
		VhnswCrewAlloc(crew, ((in_file ? 0 : partition->nmembers) +
							  2 * (Size) job.k + 2) * sizeof(uint32));
	if (in_file)
	{
		partition->spilled = VhnswCrewCreateFile(crew, sizeof(uint32),
												 (uint32) partition->nmembers, 0);
		partition->shape = VhnswSpillDescribe(partition->spilled);
	}
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
 * VhnswLeafSize
 *		Residents that a part of so many has on average.
 *
 * With more elements parts become larger, because each element is compared with
 * all centroids.
 */
double
VhnswLeafSize(uint32 nresidents)
{
	return Max(VHNSW_LEAF_SIZE,
			   LEAF_SIZE_GROWTH * sqrt((double) nresidents));
}

static uint32
number_of_parts(uint32 nresidents)
{
	return (uint32) Max(ceil(nresidents / VhnswLeafSize(nresidents)), 1);
}

/* The places of n elements in k parts, and of hubs, are numbers of 32 bits. */
static void
check_members(const VhnswCrew *crew, uint32 n, uint32 k, int overlap)
{
	uint64		nmembers = (uint64) n * overlap;
	uint64		limit = VD_PRETEND("vhnsw-many-members") ? 10000 : PG_UINT32_MAX;

	if (crew->graph->lengths_matter)
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

/* Products are compared among vectors of similar direction. */
static VhnswBlockKind
centroid_kind(const VhnswGraph *graph)
{
	return graph->layout.metric == VHNSW_INNER_PRODUCT ?
		VHNSW_BLOCK_DIRECTION : VHNSW_BLOCK_SQUARED;
}

/*
 * Let a process know where the members are.  Those of a file have no room in
 * memory yet; see VhnswPartitionRoom().
 */
void
VhnswAttachPartition(VhnswCrew *crew, VhnswPartition *partition)
{
	partition->starts = VhnswCrewAddress(crew, &partition->memory);
	partition->nresidents = partition->starts + partition->nparts + 2;
	partition->spilled = VhnswCrewFile(crew, &partition->shape);
	partition->members = partition->spilled ? NULL :
		partition->nresidents + partition->nparts;
}

/* The members or, if they are in a file, room for those of a part. */
uint32 *
VhnswPartitionRoom(const VhnswPartition *partition)
{
	return partition->spilled ?
		palloc_extended(partition->largest * sizeof(uint32), MCXT_ALLOC_HUGE) :
		partition->members;
}

/*
 * VhnswRenumberPartition
 *		Give elements new numbers: that of element i is numbers[i].
 *
 * In a file, residents and guests of a part are in the order of these then.
 */
void
VhnswRenumberPartition(VhnswPartition *partition, const uint32 *numbers)
{
	VhnswPartition view = *partition;

	view.members = VhnswPartitionRoom(partition);
	for (uint32 part = 0; part < view.nparts; part++)
	{
		VhnswLeaf	leaf = VhnswPartitionLeaf(&view, part);

		CHECK_FOR_INTERRUPTS();
		for (uint32 i = 0; i < leaf.n; i++)
			leaf.members[i] = numbers[leaf.members[i]];
		if (view.spilled)
		{
			VhnswOrderLeaf(&leaf);
			VhnswSpillWrite(view.spilled, view.starts[part], leaf.n,
							leaf.members);
		}
	}
	if (view.spilled)
		pfree(view.members);
}

/*
 * VhnswOrderLeaf
 *		Put residents and guests of a leaf in the order of their numbers.
 */
void
VhnswOrderLeaf(const VhnswLeaf *leaf)
{
	VhnswSortIds(leaf->members, leaf->nresidents);
	VhnswSortIds(leaf->members + leaf->nresidents, leaf->n - leaf->nresidents);
}

void
VhnswFreePartition(VhnswCrew *crew, VhnswPartition *partition)
{
	if (partition->spilled)
		VhnswSpillFree(partition->spilled);
	VhnswCrewFree(crew, &partition->memory);
	pfree(partition);
}

/*
 * Memory for one element, besides that of a leaf; and besides its code and its
 * leaves, if these are in files.
 */
Size
VhnswPartitionElementBytes(const VhnswLayout *layout, int overlap,
						   bool in_file)
{
	int			dims = layout->dims;
	Size		of_sample = 3 * sizeof(uint32) +
	(in_file ? 0 : VhnswBlockRowsBytes(dims, DISTANCE_PANEL) / DISTANCE_PANEL);
	Size		of_leaves = in_file ? 0 : 2 * overlap * sizeof(uint32);
	Size		of_centroid = VhnswBlockBytes(dims, DISTANCE_PANEL) /
	DISTANCE_PANEL + 2 * sizeof(uint32);

	if (layout->metric == VHNSW_INNER_PRODUCT)
		of_centroid += VhnswHubsBytes();
	return of_leaves + (of_sample * SAMPLE_PER_CENTROID + of_centroid) /
		VHNSW_LEAF_SIZE + 1;
}

/*
 * Of that, what stays, a byte for all that leaves have: besides its places in
 * leaves, and a share of their hubs, if these are not in a file.
 */
Size
VhnswMemberBytes(const VhnswLayout *layout, int overlap, bool in_file)
{
	Size		bytes = 1;

	if (in_file)
		return bytes;
	bytes += overlap * sizeof(uint32);
	if (layout->metric == VHNSW_INNER_PRODUCT)
		bytes += VHNSW_HUBS_OF_LEAF * sizeof(uint32) / VHNSW_LEAF_SIZE;
	return bytes;
}

/*
 * VhnswDivideBytes
 *		Memory that a process takes, in files, for the members of a part and, if
 *		any is so large, to divide it again: the leaves that its members choose,
 *		and their places there.
 *
 * A part of it that is divided once more has three quarters at most.
 */
Size
VhnswDivideBytes(const VhnswLayout *layout, const VhnswPartition *partition)
{
	Size		most = 0;

	for (uint32 i = 0; i < partition->nparts; i++)
	{
		if (VhnswIsDivided(partition->nresidents[i]))
			most = Max(most, partition->starts[i + 1] - partition->starts[i]);
	}
	if (most > 0)
		most = most * (VhnswPartitionElementBytes(layout, INNER_OVERLAP, true) +
					   2 * INNER_OVERLAP * sizeof(uint32)) +
			VhnswBlockRowsBytes(layout->dims, ROWS_AT_ONCE) +
			VhnswHubsWorkBytes(layout, most);
	return most + 2 * partition->largest * sizeof(uint32);
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
	Filling		filling;

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
	{
		partition->largest = Max(partition->largest, next[i]);
		next[i] += next[i - 1];
	}
	filling = begin_filling(partition, next);
	for (uint32 i = 0; i < whole->nresidents; i++)
	{
		uint32		part = VhnswChoicesOf(choices, i)[0];

		CHECK_FOR_INTERRUPTS();
		nresidents[part]++;
		put(&filling, part, members ? members[i] : i);
	}
	if (members == NULL && choices->spilled == NULL)
		add_guests_in_order(partition, choices);
	else
	{
		for (uint32 i = 0; i < n; i++)
		{
			const uint32 *parts = VhnswChoicesOf(choices, i);

			CHECK_FOR_INTERRUPTS();
			for (int j = i < whole->nresidents; j < choices->overlap; j++)
				put(&filling, parts[j], members ? members[i] : i);
		}
	}
	for (uint32 i = 0; hubs && i < partition->nparts; i++)
	{
		const uint32 *elements = VhnswHubsOf(hubs, i);

		for (int j = 0; j < hubs->counts[i]; j++)
			put(&filling, i, members ? members[elements[j]] : elements[j]);
	}
	end_filling(&filling);
}

/*
 * Add guests behind the residents that stand in their places, in the order of
 * the parts that guests are residents of: that of their numbers, if these are
 * to follow parts.
 */
static void
add_guests_in_order(VhnswPartition *partition, const VhnswChoices *choices)
{
	uint32	   *next = partition->starts + 1;
	uint32	   *residents = palloc_array(uint32, partition->nparts);

	for (uint32 i = 0; i < partition->nparts; i++)
		residents[i] = next[i] - partition->nresidents[i];
	for (uint32 i = 0; i < partition->nparts; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (uint32 j = 0; j < partition->nresidents[i]; j++)
		{
			uint32		id = partition->members[residents[i] + j];
			const uint32 *parts = VhnswChoicesOf(choices, id);

			for (int k = 1; k < choices->overlap; k++)
				partition->members[next[parts[k]]++] = id;
		}
	}
	pfree(residents);
}

/*
 * Put elements into parts, of which 'next' has the starts: behind each other, in
 * memory or in a file.
 */
static Filling
begin_filling(VhnswPartition *partition, uint32 *next)
{
	Filling		filling = {.partition = partition,.next = next};
	Size		k = partition->nparts;

	if (partition->spilled)
	{
		filling.places = (uint32) Max(Min(PLACES_BYTES / (k * sizeof(uint32)),
										  PLACES_AT_ONCE), 1);
		filling.waiting = palloc_extended(k * filling.places * sizeof(uint32),
										  MCXT_ALLOC_HUGE);
		filling.nwaiting = palloc0_array(uint32, k);
	}
	return filling;
}

static inline void
put(Filling *filling, uint32 part, uint32 member)
{
	if (filling->waiting == NULL)
	{
		filling->partition->members[filling->next[part]++] = member;
		return;
	}
	filling->waiting[(Size) part * filling->places +
					 filling->nwaiting[part]++] = member;
	if (filling->nwaiting[part] == filling->places)
		write_waiting(filling, part);
}

static void
write_waiting(Filling *filling, uint32 part)
{
	uint32		n = filling->nwaiting[part];

	if (n > 0)
		VhnswSpillWrite(filling->partition->spilled, filling->next[part], n,
						filling->waiting + (Size) part * filling->places);
	filling->next[part] += n;
	filling->nwaiting[part] = 0;
}

static void
end_filling(Filling *filling)
{
	VhnswPartition *partition = filling->partition;

	if (filling->waiting == NULL)
		return;
	for (uint32 i = 0; i < partition->nparts; i++)
		write_waiting(filling, i);
	pfree(filling->waiting);
	pfree(filling->nwaiting);
}

/* A part.  If it is in a file, it stays in memory until the next call. */
VhnswLeaf
VhnswPartitionLeaf(const VhnswPartition *partition, uint32 part)
{
	uint32		start = partition->starts[part];
	VhnswLeaf	leaf = {
		partition->members, partition->nresidents[part],
		partition->starts[part + 1] - start
	};

	if (partition->spilled)
		VhnswSpillRead(partition->spilled, start, leaf.n, leaf.members);
	else
		leaf.members += start;
	return leaf;
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
	if (!VhnswIsDivided(part->nresidents))
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
	Sample		sample = {
		.n = (uint32) Min((uint64) n, (uint64) k * SAMPLE_PER_CENTROID)
	};
	CentroidsJob job = {.k = k,.in_file = graph->codes != NULL};
	MeansJob	means = {.k = k};
	VhnswBlock	centroids;
	uint32	   *elements;
	VhnswSpill *copies = NULL;
	pg_prng_state prng;

	sample.elements = VhnswCrewAlloc(crew, (Size) sample.n * sizeof(uint32));
	if (!job.in_file)
		job.rows = VhnswCrewAlloc(crew, VhnswBlockRowsBytes(dims, sample.n));
	job.centroids = VhnswCrewAlloc(crew, VhnswBlockBytes(dims, k));
	job.assigned = VhnswCrewAlloc(crew, (Size) sample.n * sizeof(uint32));
	means.centroids = job.centroids;
	means.order = VhnswCrewAlloc(crew, ((Size) sample.n + 2 * (Size) k + 2) *
								 sizeof(uint32));

	/* Of each part of equal length one, so that no list of places is needed. */
	elements = sample.elements.address;
	pg_prng_seed(&prng, seed);
	for (uint32 i = 0; i < sample.n; i++)
	{
		uint64		low = (uint64) n * i / sample.n;
		uint64		high = (uint64) n * (i + 1) / sample.n;
		uint32		place = (uint32) pg_prng_uint64_range(&prng, low, high - 1);

		elements[i] = members ? members[place] : place;
	}
	for (uint32 i = sample.n - 1; i > 0; i--)
	{
		uint32		j = (uint32) pg_prng_uint64_range(&prng, 0, i);
		uint32		swap = elements[i];

		elements[i] = elements[j];
		elements[j] = swap;
	}

	/* Of a part that is divided again elements lie together. */
	if (job.in_file && members == NULL)
	{
		copies = VhnswGraphCopyCodes(graph, elements, sample.n);
		sample.copies = VhnswSpillDescribe(copies);
	}
	job.sample = means.sample = sample;

	VhnswBlockInit(&centroids, centroid_kind(graph), dims, k, job.centroids.address);
	for (uint32 i = 0; i < k; i++)
	{
		CHECK_FOR_INTERRUPTS();
		VhnswBlockAdd(&centroids, &graph->layout,
					  sample_code(graph, elements, copies, i));
	}
	VhnswBlockFinish(&centroids);

	for (int round = 0; k > 1 && round < KMEANS_ROUNDS; round++)
	{
		job.packed = round > 0 && !job.in_file;
		VhnswCrewRun(crew, VHNSW_JOB_CENTROIDS, &job, sizeof(job),
					 (sample.n + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE);
		move_centroids(crew, &means, job.assigned.address, &prng);
	}

	if (copies)
		VhnswSpillFree(copies);
	VhnswCrewFree(crew, &sample.elements);
	if (!job.in_file)
		VhnswCrewFree(crew, &job.rows);
	VhnswCrewFree(crew, &job.assigned);
	VhnswCrewFree(crew, &means.order);
	return job.centroids;
}

void
VhnswCentroidsJob(VhnswCrew *crew, const void *arg)
{
	const CentroidsJob *job = arg;
	const VhnswGraph *graph = crew->graph;
	int			dims = graph->layout.dims;
	const uint32 *elements = VhnswCrewAddress(crew, &job->sample.elements);
	VhnswSpill *copies = VhnswCrewFile(crew, &job->sample.copies);
	uint32	   *assigned = VhnswCrewAddress(crew, &job->assigned);
	uint32		places = job->in_file ? ROWS_AT_ONCE : job->sample.n;
	VhnswBlock	rows;
	VhnswBlock	centroids;
	uint32		chunk;

	VhnswBlockInitRows(&rows, centroid_kind(graph), dims, places,
					   job->in_file ? palloc(VhnswBlockRowsBytes(dims, places)) :
					   VhnswCrewAddress(crew, &job->rows));
	VhnswBlockInit(&centroids, centroid_kind(graph), dims, job->k,
				   VhnswCrewAddress(crew, &job->centroids));
	centroids.count = job->k;
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * ROWS_AT_ONCE;
		uint32		count = Min(job->sample.n - first, ROWS_AT_ONCE);
		uint32		first_row = job->in_file ? 0 : first;

		rows.count = first_row;
		for (uint32 i = 0; i < count && !job->packed; i++)
			VhnswBlockAdd(&rows, &graph->layout,
						  sample_code(graph, elements, copies, first + i));
		if (!job->packed)
			VhnswBlockFinish(&rows);
		for (uint32 i = 0; i < count; i += DISTANCE_ROWS)
		{
			Nearest		nearest;

			find_nearest(&rows, first_row + i, &centroids, 1, &nearest);
			for (uint32 j = 0; j < DISTANCE_ROWS && i + j < count; j++)
				assigned[first + i + j] = nearest.centroids[j][0];
		}
	}
}

/* The code of what is in this place of a sample. */
static const VhnswCode *
sample_code(const VhnswGraph *graph, const uint32 *elements,
			VhnswSpill *copies, uint32 place)
{
	return copies ? VhnswSpillGet(copies, place) :
		VhnswGraphGetCode(graph, elements[place]);
}

/*
 * Make each centroid the mean of what is assigned to it.  Sums are made in the
 * order of the sample, whoever makes them.
 */
static void
move_centroids(VhnswCrew *crew, const MeansJob *job, const uint32 *assigned,
			   pg_prng_state *prng)
{
	uint32		n = job->sample.n;
	uint32		k = job->k;
	uint32	   *places = job->order.address;
	uint32	   *starts = places + n;
	uint32	   *elsewhere = starts + k + 2;
	uint32	   *next = starts + 1;

	/* Counted two places on, starts move into place as the sample does. */
	memset(starts, 0, (k + 2) * sizeof(uint32));
	for (uint32 i = 0; i < n; i++)
		next[assigned[i] + 1]++;
	for (uint32 i = 0; i < k; i++)
	{
		/* Nobody's: it tries another place. */
		if (next[i + 1] == 0)
			elsewhere[i] = (uint32) pg_prng_uint64_range(prng, 0, n - 1);
		next[i + 1] += next[i];
	}
	for (uint32 i = 0; i < n; i++)
		places[next[assigned[i]]++] = i;
	VhnswCrewRun(crew, VHNSW_JOB_MEANS, job, sizeof(*job),
				 (k + DISTANCE_PANEL - 1) / DISTANCE_PANEL);
}

void
VhnswMeansJob(VhnswCrew *crew, const void *arg)
{
	const MeansJob *job = arg;
	const VhnswGraph *graph = crew->graph;
	int			dims = graph->layout.dims;
	const uint32 *elements = VhnswCrewAddress(crew, &job->sample.elements);
	VhnswSpill *copies = VhnswCrewFile(crew, &job->sample.copies);
	const uint32 *places = VhnswCrewAddress(crew, &job->order);
	const uint32 *starts = places + job->sample.n;
	const uint32 *elsewhere = starts + job->k + 2;
	float	   *mean = palloc_array(float, dims);
	VhnswBlock	centroids;
	uint32		chunk;

	VhnswBlockInit(&centroids, centroid_kind(graph), dims, job->k,
				   VhnswCrewAddress(crew, &job->centroids));
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * DISTANCE_PANEL;
		uint32		end = Min(first + DISTANCE_PANEL, job->k);

		centroids.count = first;
		for (uint32 i = first; i < end; i++)
		{
			uint32		count = starts[i + 1] - starts[i];

			if (count == 0)
				VhnswBlockAdd(&centroids, &graph->layout,
							  sample_code(graph, elements, copies, elsewhere[i]));
			else
			{
				find_mean(graph, elements, copies, places + starts[i], count,
						  mean);
				VhnswBlockAddFloats(&centroids, mean);
			}
		}
		VhnswBlockFinish(&centroids);
	}
}

/* The mean of what is in n places of a sample. */
static void
find_mean(const VhnswGraph *graph, const uint32 *elements, VhnswSpill *copies,
		  const uint32 *places, uint32 n, float *mean)
{
	int			dims = graph->layout.dims;
	VhnswUnpacked room;

	memset(mean, 0, dims * sizeof(float));
	for (uint32 i = 0; i < n; i++)
	{
		const VhnswCode *code = sample_code(graph, elements, copies, places[i]);

		CHECK_FOR_INTERRUPTS();
		add_multiple(mean, code->scale,
					 VhnswRotatedNumbers(code, graph->layout.is_direct, dims,
										 &room),
					 dims);
	}
	for (int i = 0; i < dims; i++)
		mean[i] /= (float) n;
}

/* sum += factor * numbers */
static void
add_multiple(float *restrict sum, float factor, const int8 *restrict numbers,
			 int dims)
{
	for (int i = 0; i < dims; i++)
		sum[i] += factor * numbers[i];
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
