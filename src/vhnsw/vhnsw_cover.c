/*-------------------------------------------------------------------------
 *
 * vhnsw_cover.c
 *	  Choose entries so that what lies apart is found.
 *
 * A search finds a cluster that is far from all others if it begins there, or
 * happens to expand one of the few elements with a link to it.  With more
 * clusters than entries that is not sure, however large ef is: of 141 clusters
 * in 960 dimensions 2 % were missed with 32 entries, found at random.
 *
 * So every such cluster of a sample gets an entry.  An element of it is covered
 * if an entry is about as near as its neighbors in the sample are.  One that is
 * not becomes an entry if it has neighbors, and there is a gap behind these.
 * (Without the gap words-skipgram-100 would have 301 entries in place of 42,
 * find the same, and take 13 % longer.)  Neighbors nearer than codes can tell
 * count as being as near as codes can tell, or there would be gaps everywhere.
 *
 * Inner product: clusters are those of directions.  And short elements that
 * point elsewhere than all others have a larger product with each other than
 * with anybody who could lead there.  No search would find them from outside,
 * though there is a way.  So every second one of the entries before points
 * elsewhere than all before it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>

#include "common/pg_prng.h"
#include "miscadmin.h"

#include "vhnsw/vhnsw_cover.h"
#include "vhnsw/vhnsw_meta.h"

/* Random order without random results. */
#define ORDER_SEED UINT64CONST(0x76686E7377)

/* Four for each of the most entries that there may be */
#define SAMPLE (4 * VHNSW_MAX_ENTRIES)

/* Of how many the nearest in the sample is looked for; the median counts. */
#define PROBES 255

/*
 * An entry covers what is within twice that distance (squares are compared).
 * Where dimensions are many and there are no clusters, hardly anything is
 * farther from any other.
 */
#define COVERED 4

/*
 * In a cluster that lies apart an element has so many others that near, and
 * within twice this (squared) distance at most twice as many.
 */
#define CLUSTER 3
#define GAP 2

/* Others that are looked at, at most: each is compared with all. */
#define MAX_OTHERS VHNSW_MAX_ENTRIES

/* Of how many elements entries are chosen that point elsewhere. */
#define SPREAD_SAMPLE 20000
#define SPREAD_AT_ONCE 256

/* Elements in a random order, those that are entries first */
typedef struct EntrySample
{
	uint32	   *order;			/* their numbers: graph->order */
	const VhnswCode **codes;
	VhnswSpill *spilled;		/* in place of codes, if not NULL */
	float	   *nearest;		/* distance to the nearest entry */
	uint32		count;
} EntrySample;

static void shuffle(VhnswGraph *graph);
static void cover_clusters(VhnswGraph *graph);
static void spread_entries(VhnswGraph *graph);
static void sample_begin(EntrySample *sample, const VhnswGraph *graph,
						 uint32 most);
static void sample_exchange(EntrySample *sample, const VhnswGraph *graph,
							uint32 i, uint32 j);
static inline const VhnswCode *sample_code(const EntrySample *sample, uint32 i);
static void sample_distances(const EntrySample *sample,
							 const VhnswGraph *graph, uint32 i, uint32 first,
							 uint32 n, float *distances);
static void sample_end(EntrySample *sample);
static float typical_distance(const VhnswGraph *graph,
							  const EntrySample *sample);
static int	compare_floats(const void *a, const void *b);

/*
 * VhnswChooseEntries
 *		Make graph->order, and choose the entries, with which it begins.
 *
 * Elements have their last numbers; no lists are needed.
 */
void
VhnswChooseEntries(VhnswGraph *graph)
{
	shuffle(graph);
	graph->nentries = Min(VhnswEntryTarget(graph->count), graph->count);
	if (graph->layout.is_rotated && graph->lengths_matter)
		spread_entries(graph);
	if (graph->layout.is_rotated)
		cover_clusters(graph);
}

/*
 * Sorted input would make the first elements, from which searches start, all
 * lie in one corner.
 */
static void
shuffle(VhnswGraph *graph)
{
	pg_prng_state prng;

	graph->order_memory = VhnswCrewAlloc(graph->crew,
										 (Size) graph->count * sizeof(uint32));
	graph->order = graph->order_memory.address;
	pg_prng_seed(&prng, ORDER_SEED);
	for (uint32 i = 0; i < graph->count; i++)
	{
		uint32		j = pg_prng_uint64_range(&prng, 0, i);

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		graph->order[i] = graph->order[j];
		graph->order[j] = i;
	}
}

/*
 * Put more entries behind those that the graph has, from the beginning of
 * graph->order.  Codes are those of rotated vectors.
 */
static void
cover_clusters(VhnswGraph *graph)
{
	EntrySample sample;
	float	   *distances;
	float		limit;
	int			nothers = 0;

	sample_begin(&sample, graph, SAMPLE);
	distances = palloc_array(float, sample.count);
	limit = COVERED * typical_distance(graph, &sample);
	for (uint32 i = 0; i < sample.count &&
		 graph->nentries < VHNSW_MAX_ENTRIES && nothers < MAX_OTHERS; i++)
	{
		bool		is_entry = i < graph->nentries;
		uint32		near = 0;
		uint32		beyond = 0;

		CHECK_FOR_INTERRUPTS();
		if (!is_entry && sample.nearest[i] <= limit)
			continue;
		sample_distances(&sample, graph, i, 0, sample.count, distances);
		for (uint32 j = 0; j < sample.count; j++)
		{
			near += j != i && distances[j] <= limit;
			beyond += distances[j] > limit && distances[j] <= GAP * limit;
		}
		if (!is_entry && (near < CLUSTER || beyond > near))
		{
			nothers++;
			continue;
		}
		for (uint32 j = 0; j < sample.count; j++)
			sample.nearest[j] = Min(sample.nearest[j], distances[j]);

		/* What stood there has been looked at, as all before i have. */
		if (!is_entry)
			sample_exchange(&sample, graph, i, graph->nentries++);
	}
	sample_end(&sample);
	pfree(distances);
}

/* Up to so many elements, from the beginning of graph->order */
static void
sample_begin(EntrySample *sample, const VhnswGraph *graph, uint32 most)
{
	sample->order = graph->order;
	sample->count = Min(graph->count, most);
	sample->codes = NULL;
	sample->spilled = NULL;
	if (graph->codes)
	{
		/* In the order in which they are compared */
		sample->spilled = VhnswGraphCopyCodes(graph, sample->order,
											  sample->count);
	}
	else
		sample->codes = VhnswGraphSample(graph, sample->order, sample->count);
	sample->nearest = palloc_array(float, sample->count);
	for (uint32 i = 0; i < sample->count; i++)
		sample->nearest[i] = FLT_MAX;
}

/* A code of the sample, which need not stay where it is. */
static inline const VhnswCode *
sample_code(const EntrySample *sample, uint32 i)
{
	return sample->spilled ? VhnswSpillGet(sample->spilled, i) :
		sample->codes[i];
}

/*
 * Distances of i from n elements of the sample, from 'first' on; under inner
 * product of their directions, squared.
 */
static void
sample_distances(const EntrySample *sample, const VhnswGraph *graph, uint32 i,
				 uint32 first, uint32 n, float *distances)
{
	float		norm = sample_code(sample, i)->norm;

	if (sample->spilled == NULL)
		VhnswCodeDistances(&graph->layout, sample->codes[i],
						   sample->codes + first, n, distances);
	else
	{
		for (uint32 j = 0; j < n; j++)
			distances[j] = VhnswCodeDistance(&graph->layout,
											 sample_code(sample, i),
											 sample_code(sample, first + j));
	}
	if (graph->layout.metric == VHNSW_INNER_PRODUCT)
	{
		for (uint32 j = 0; j < n; j++)
			distances[j] = VhnswDirectionDistance(distances[j], norm,
												  sample_code(sample, first + j)->norm);
	}
}

/* Each takes the place of the other. */
static void
sample_exchange(EntrySample *sample, const VhnswGraph *graph, uint32 i,
				uint32 j)
{
	uint32		id = sample->order[i];
	float		nearest = sample->nearest[i];

	sample->order[i] = sample->order[j];
	sample->order[j] = id;
	if (sample->spilled)
	{
		for (int k = 0; k < 2; k++)
			memcpy(VhnswSpillChange(sample->spilled, k == 0 ? i : j),
				   VhnswGraphGetCode(graph, sample->order[k == 0 ? i : j]),
				   graph->code_size);
	}
	else
	{
		const VhnswCode *code = sample->codes[i];

		sample->codes[i] = sample->codes[j];
		sample->codes[j] = code;
	}
	sample->nearest[i] = sample->nearest[j];
	sample->nearest[j] = nearest;
}

static void
sample_end(EntrySample *sample)
{
	pfree(sample->nearest);
	if (sample->spilled)
		VhnswSpillFree(sample->spilled);
	else
		pfree(sample->codes);
}

/*
 * The median distance of an element of the sample to the nearest other one, or
 * what codes can tell apart, if that is more.
 */
static float
typical_distance(const VhnswGraph *graph, const EntrySample *sample)
{
	uint32		nprobes = Min(sample->count, PROBES);
	float		nearest[PROBES] = {0};
	float	   *distances = palloc_array(float, sample->count);

	for (uint32 i = 0; i < nprobes; i++)
	{
		CHECK_FOR_INTERRUPTS();
		sample_distances(sample, graph, i, 0, sample->count, distances);
		nearest[i] = FLT_MAX;
		for (uint32 j = 0; j < sample->count; j++)
		{
			if (j != i)
				nearest[i] = Min(nearest[i], distances[j]);
		}
		nearest[i] = Max(nearest[i],
						 VhnswDirectionResolution(&graph->layout,
												  sample_code(sample, i)));
	}
	pfree(distances);
	qsort(nearest, nprobes, sizeof(float), compare_floats);
	return nearest[nprobes / 2];
}

static int
compare_floats(const void *a, const void *b)
{
	float		fa = *(const float *) a;
	float		fb = *(const float *) b;

	return (fa > fb) - (fa < fb);
}

/*
 * Make every second entry one that points elsewhere than all before: the
 * farthest of a sample.  For inner product.
 */
static void
spread_entries(VhnswGraph *graph)
{
	EntrySample sample;

	sample_begin(&sample, graph, SPREAD_SAMPLE);
	for (uint32 entry = 0; entry < graph->nentries; entry++)
	{
		CHECK_FOR_INTERRUPTS();
		if (entry % 2 == 1)
		{
			uint32		farthest = entry;

			for (uint32 i = entry + 1; i < sample.count; i++)
			{
				if (sample.nearest[i] > sample.nearest[farthest])
					farthest = i;
			}
			sample_exchange(&sample, graph, entry, farthest);
		}
		for (uint32 first = entry + 1; first < sample.count;
			 first += SPREAD_AT_ONCE)
		{
			float		distances[SPREAD_AT_ONCE];
			uint32		n = Min(sample.count - first, SPREAD_AT_ONCE);

			sample_distances(&sample, graph, entry, first, n, distances);
			for (uint32 i = 0; i < n; i++)
				sample.nearest[first + i] =
					Min(sample.nearest[first + i], distances[i]);
		}
	}
	sample_end(&sample);
}
