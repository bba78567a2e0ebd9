/*-------------------------------------------------------------------------
 *
 * vhnsw_blocked.c
 *	  Link the elements of an index build leaf by leaf.
 *
 *	1. Divide the elements into overlapping leaves (vhnsw_leaf.c) and number
 *	   them anew, so that those of a leaf lie together.
 *	2. Compare all pairs of each leaf (vhnsw_join.c): near and far lists.
 *	3. Compare some lists with exact ones.  If too much is missing, divide
 *	   and compare again with other centroids.
 *	4. Choose links among the lists (vhnsw_choose.c).
 *
 * See README, section "Blocked build".  The result depends on the codes and
 * their order only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_blocked.h"
#include "vhnsw/vhnsw_choose.h"
#include "vhnsw/vhnsw_join.h"
#include "vhnsw/vhnsw_leaf.h"
#include "vhnsw/vhnsw_mutual.h"
#include "vhnsw/vhnsw_recall.h"
#include "vhnsw/vhnsw_settings.h"

#define PARTITION_SEED UINT64CONST(0x766C656166)

/* Leaves that an element is in. */
#define OVERLAP 14

/*
 * With lists that hold less than this of the exact neighbors, divide and
 * compare again, with other centroids each time; compare whole codes, if it
 * was not; and give up.
 */
#define GOOD_RECALL 0.9
#define GOOD_PRINCIPAL_RECALL 0.93
#define MAX_ROUNDS 3
#define USELESS_RECALL 0.5

/* Job: compare what is in the same leaf. */
typedef struct JoinJob
{
	VhnswJoin	join;
	VhnswPartition partition;
	bool		in_order;		/* elements are numbered by these leaves */
	uint64		seed;
} JoinJob;

static void report_recall(const char *index_name, double first, double last,
						  int rounds, bool useless);
static void renumber(VhnswGraph *graph, VhnswPartition *partition,
					 uint32 *nearest);
static void permute(VhnswGraph *graph, const uint32 *sources);
static void invert(uint32 *numbers, uint32 n);
static void plan_dividing(VhnswGraph *graph, const VhnswPartition *partition);
static void join_parts(VhnswCrew *crew, VhnswJoin *join,
					   const VhnswPartition *partition, uint64 seed);

/* Blocks read coordinates from codes. */
bool
VhnswMayHaveBlocks(const VhnswLayout *layout)
{
	return layout->is_rotated &&
		vhnsw_build_method != VHNSW_BUILD_SEARCH;
}

/*
 * Memory for one element in the phase that takes most, besides what a leaf
 * takes.
 */
Size
VhnswBlockedElementBytes(const VhnswLayout *layout)
{
	Size		partition = VhnswPartitionElementBytes(layout, OVERLAP, false) +
	sizeof(uint32) + sizeof(bool);
	Size		join = VhnswJoinElementBytes(layout->degree);
	Size		members = VhnswMemberBytes(layout, OVERLAP, false) +
	VhnswPrincipalElementBytes(layout);
	Size		incoming = VhnswIncomingBytes(layout);
	Size		later = VhnswOrderBytes + VhnswProjectionBytes(layout->dims);

	return Max(partition, join + Max(Max(members, incoming), later));
}

/* Likewise, if codes, leaves, lists and projections are in files. */
Size
VhnswBlockedResidentBytes(const VhnswLayout *layout)
{
	Size		partition = VhnswPartitionElementBytes(layout, OVERLAP, true) +
	sizeof(uint32) + sizeof(bool);
	Size		later = VhnswOrderBytes + sizeof(uint8) + VhnswJoinRestBytes;

	return Max(Max(partition, VhnswBlockedJoinBytes(layout)), later);
}

/* Likewise, while pairs are compared. */
Size
VhnswBlockedJoinBytes(const VhnswLayout *layout)
{
	return VhnswMemberBytes(layout, OVERLAP, true) + sizeof(uint8) +
		VhnswJoinRestBytes;
}

/*
 * VhnswBlockedLink
 *		Give every element its neighbors, and choose the entries.
 *
 * Returns false, and does neither, if leaves do not hold the neighbors of their
 * elements.  Elements get new numbers in either case.
 */
bool
VhnswBlockedLink(VhnswGraph *graph, const char *index_name)
{
	VhnswCrew  *crew = graph->crew;
	Size		join_bytes = VhnswBlockedJoinBytes(&graph->layout);
	VhnswJoin  *join;
	uint32	   *nearest = palloc_extended((Size) graph->count * sizeof(uint32),
										  MCXT_ALLOC_HUGE);
	VhnswPartition *partition;
	VhnswPrincipal principal;
	VhnswLeaf	whole = {NULL, graph->count, graph->count};
	double		first_recall;
	double		recall;
	int			rounds = 0;
	bool		useless;

	VhnswCrewPhase(VHNSW_PHASE_CLUSTER, graph->count);
	VhnswGraphResizeCodes(graph, VhnswBlockedResidentBytes(&graph->layout));
	partition = VhnswMakePartition(crew, &whole, OVERLAP, PARTITION_SEED,
								   nearest);
	renumber(graph, partition, nearest);
	pfree(nearest);

	plan_dividing(graph, partition);
	VhnswMakePrincipal(graph, &principal, join_bytes);
	join = VhnswJoinCreate(crew, &principal, join_bytes);
	join_parts(crew, join, partition, PARTITION_SEED);
	recall = VhnswJoinRecall(crew, join);
	if (join->principal.dims > 0 && recall < GOOD_PRINCIPAL_RECALL)
	{
		ereport(DEBUG1,
				errmsg_internal("lists by principal dimensions hold %.1f %% of the exact neighbors",
								100 * recall));
		VhnswJoinWholeCodes(crew, join);
		join_parts(crew, join, partition, PARTITION_SEED);
		recall = VhnswJoinRecall(crew, join);
	}
	VhnswFreePartition(crew, partition);
	first_recall = recall;
	while (recall < GOOD_RECALL && rounds < MAX_ROUNDS)
	{
		uint64		seed = PARTITION_SEED + ++rounds;

		/* Lists are there already, beside what the first partition took. */
		graph->dividing_bytes = 0;
		VhnswGraphResizeCodes(graph,
							  VhnswBlockedResidentBytes(&graph->layout) +
							  sizeof(uint8) + VhnswJoinRestBytes);
		VhnswCrewPhase(VHNSW_PHASE_CLUSTER, graph->count);
		partition = VhnswMakePartition(crew, &whole, OVERLAP, seed, NULL);
		plan_dividing(graph, partition);
		join_parts(crew, join, partition, seed);
		VhnswFreePartition(crew, partition);
		recall = VhnswJoinRecall(crew, join);
	}
	graph->dividing_bytes = 0;

	/* Searching wants codes in memory. */
	useless = recall < USELESS_RECALL && !graph->codes;
	report_recall(index_name, first_recall, recall, rounds, useless);
	VhnswFreePrincipal(crew, &join->principal);
	if (useless)
	{
		VhnswJoinFree(crew, join);
		return false;
	}

	VhnswCrewPhase(VHNSW_PHASE_LINK, 2 * (int64) graph->count);
	VhnswGraphResizeCodes(graph, sizeof(uint32) + sizeof(uint8) +
						  VhnswJoinRestBytes);
	join->lists.lasts = true;
	VhnswChooseLinks(crew, join);

	/* Zero would say that it is not known. */
	graph->list_recall = (float) recall;

	/* Keys have become lists. */
	VhnswGraphSetLists(graph, crew, &join->lists,
					   join->spilled ? 0 : 2 * join->key_places);
	graph->spilled_lists = join->spilled;
	graph->list_offset = join->spilled ? VhnswListOffset(&graph->layout) : 0;
	VhnswCrewFree(crew, &join->rest);
	pfree(join);
	if (graph->codes)
	{
		Size		cache = VhnswGraphCacheBytes(graph, VhnswOrderBytes +
												 sizeof(uint8));

		VhnswSpillResize(graph->codes, cache / 4 * 3);
		VhnswSpillResize(graph->spilled_lists, cache / 4);
	}
	return true;
}

/*
 * Say what was done about lists that hold too few of the exact neighbors; if
 * they are useless, elements are linked by searching.
 */
static void
report_recall(const char *index_name, double first, double last, int rounds,
			  bool useless)
{
	ereport(DEBUG1,
			errmsg_internal("lists of index \"%s\" hold %.1f %% of the exact neighbors",
							index_name, 100 * last));
	if (useless)
		ereport(NOTICE,
				errmsg("elements of index \"%s\" are linked by searching, which takes longer",
					   index_name),
				errdetail("The vectors do not form clusters: comparing them within clusters found only %.0f %% of their neighbors.",
						  100 * last));
	else if (rounds > 0)
		ereport(NOTICE,
				errmsg("vectors of index \"%s\" were clustered %d times",
					   index_name, rounds + 1),
				errdetail("The first time found %.0f %% of their neighbors, all together %.0f %%.",
						  100 * first, 100 * last));
}

/*
 * Number the elements in the order of their nearest parts.  'nearest' is used
 * up.
 */
static void
renumber(VhnswGraph *graph, VhnswPartition *partition, uint32 *nearest)
{
	uint32	   *next = palloc0_array(uint32, partition->nparts + 1);
	uint32	   *numbers = nearest;

	for (uint32 i = 0; i < graph->count; i++)
	{
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		next[nearest[i] + 1]++;
	}
	for (uint32 i = 1; i <= partition->nparts; i++)
		next[i] += next[i - 1];
	for (uint32 i = 0; i < graph->count; i++)
	{
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		numbers[i] = next[nearest[i]]++;
	}
	pfree(next);

	for (uint32 i = 0; i < graph->nduplicates; i++)
	{
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		graph->duplicates[i].element = numbers[graph->duplicates[i].element];
	}
	VhnswRenumberPartition(partition, numbers);
	invert(numbers, graph->count);
	if (graph->codes)
		VhnswGraphReorderFile(graph, numbers);
	else
		permute(graph, numbers);
}

/* Give each place the element that has that number now: 'sources'. */
static void
permute(VhnswGraph *graph, const uint32 *sources)
{
	VhnswCode  *code = palloc(graph->code_size);
	bool	   *moved = palloc_extended(graph->count,
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	/* Follow each cycle of the permutation once, against its direction. */
	for (uint32 start = 0; start < graph->count; start++)
	{
		ItemPointerData tid;
		uint32		to = start;

		if (moved[start])
			continue;
		memcpy(code, VhnswGraphGetCode(graph, start), graph->code_size);
		tid = *VhnswGraphGetTid(graph, start);
		for (uint32 from; (from = sources[to]) != start; to = from)
		{
			CHECK_FOR_INTERRUPTS();
			VhnswGraphPut(graph, to, VhnswGraphGetCode(graph, from),
						  *VhnswGraphGetTid(graph, from));
			moved[to] = true;
		}
		VhnswGraphPut(graph, to, code, tid);
		moved[to] = true;
	}
	pfree(moved);
	pfree(code);
}

/* Turn a permutation into that which undoes it. */
static void
invert(uint32 *numbers, uint32 n)
{
	bool	   *done = palloc_extended(n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (uint32 start = 0; start < n; start++)
	{
		uint32		from = start;
		uint32		to = numbers[start];

		while (!done[start])
		{
			uint32		next = numbers[to];

			CHECK_FOR_INTERRUPTS();
			numbers[to] = from;
			done[to] = true;
			from = to;
			to = next;
		}
	}
	pfree(done);
}

/*
 * In files, leave memory for dividing large parts again: caches will be smaller
 * and, if need be, workers fewer.
 */
static void
plan_dividing(VhnswGraph *graph, const VhnswPartition *partition)
{
	if (!graph->codes)
		return;
	graph->dividing_bytes = VhnswDivideBytes(&graph->layout, partition);
	VhnswGraphDropWorkers(graph, graph->count);
}

/* Compare what is in the same part. */
static void
join_parts(VhnswCrew *crew, VhnswJoin *join, const VhnswPartition *partition,
		   uint64 seed)
{
	JoinJob		job;

	/* Residents, who are all elements, and then residents and guests */
	VhnswCrewPhase(VHNSW_PHASE_JOIN,
				   crew->graph->count + partition->nmembers);
	VhnswJoinPlan(join);
	VhnswJoinShare(join);
	job = (JoinJob)
	{
		*join, *partition,
			seed == PARTITION_SEED && !VD_PRETEND("vhnsw-pairs-twice"), seed
	};
	job.join.once = job.in_order;
	for (uint32 i = 0; i < partition->nparts; i++)
		job.join.once &= !VhnswIsDivided(partition->nresidents[i]);
	VhnswCrewRun(crew, VHNSW_JOB_JOIN, &job, sizeof(job), partition->nparts);
	job.join.with_guests = true;
	VhnswCrewRun(crew, VHNSW_JOB_JOIN, &job, sizeof(job), partition->nparts);
	VhnswCrewReport(crew, crew->graph->count + partition->nmembers);
}

void
VhnswJoinJob(VhnswCrew *crew, const void *arg)
{
	JoinJob		job = *(const JoinJob *) arg;
	uint64		count = crew->graph->count;
	VhnswMutual *mutual;
	uint32		part;

	VhnswAttachJoin(crew, &job.join);
	VhnswAttachPartition(crew, &job.partition);
	job.partition.members = VhnswPartitionRoom(&job.partition);
	VhnswJoinBegin(&job.join);
	mutual = VhnswMutualCreate(&job.partition);
	while (VhnswCrewNext(crew, &part))
	{
		VhnswLeaf	leaf = VhnswPartitionLeaf(&job.partition, part);
		uint64		before = job.partition.starts[part];

		/* In memory that is done when residents are compared. */
		if (!job.join.with_guests || job.partition.spilled)
			VhnswOrderLeaf(&leaf);
		job.join.mutual = NULL;
		if (job.join.with_guests)
		{
			VhnswCrewReport(crew, count + before);
			if (job.in_order && !VhnswIsDivided(leaf.nresidents))
			{
				job.join.mutual = mutual;
				VhnswMutualBegin(mutual, part);
			}
		}
		else
		{
			VhnswCrewReport(crew, before * count / job.partition.nmembers);
			leaf.n = leaf.nresidents;
		}
		VD_DEBUG_POINT("vhnsw-build-join");
		VhnswVisitLeaves(crew->graph, &leaf, job.seed, VhnswJoinLeaf,
						 &job.join);
	}
	VhnswMutualFree(mutual);
	VhnswJoinEnd(&job.join);
}
