/*-------------------------------------------------------------------------
 *
 * vhnsw_probe.c
 *	  Find what searches do not find, after a blocked build.
 *
 * Leaves tell the elements of a cluster about each other, and a sample of all
 * about other clusters (vhnsw_span.c).  What that leaves apart is found by
 * trying: one element in 32 is searched for, as a query would be.  If the
 * search ends before it has come to where the element is, the elements where
 * it ended get links to it.  It is what an insert would have done.
 *
 * Elements are numbered by their leaves, so those at equal intervals are in
 * all leaves.  Few come first and then four times as many, which profit from
 * the links of those before; those of one round do not see each other's, so
 * any number of processes can take part.
 *
 * What a few miss in one place may be all that is there: a hundred clusters of
 * eight elements are 3 % of 30,000.  So numbers are divided into areas as large
 * as a leaf, and of those where searches failed more elements are searched for,
 * and all in the end, while failures go on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "vhnsw/vhnsw_beam.h"
#include "vhnsw/vhnsw_probe.h"
#include "vhnsw/vhnsw_select.h"
#include "vhnsw/vhnsw_span.h"

/* One element of so many in the first round, and in the last */
#define FIRST_STRIDE 2048
#define LAST_STRIDE 32

/*
 * Numbers of an area, and strides of the elements in weak areas, offsets 1 and
 * 0 with the last.  At most one of so many areas takes part.
 */
#define AREA 256
#define WEAK_STRIDE 8
#define WEAK_SHARE 4
#define WEAKEST_STRIDE 2
#define WEAKEST_SHARE 16

/* Where fewer than one of so many probes fail, they end. */
#define FAILURES 16

/* The pool of a search. */
#define PROBE_EF 32

/* Where a search ended: so many get links, of so many that may have room. */
#define HOSTS 4
#define MAX_HOSTS 8

/* Taken at a time */
#define PROBED_AT_ONCE 8

/* What a search for an element gave. */
typedef struct Probe
{
	uint32		target;			/* whom to search for; then: who shall get a
								 * link */
	uint32		area;			/* its place among those probed */
	uint32		nhosts;			/* from them; 0 = it was found */
	uint32		hosts[MAX_HOSTS];
} Probe;

/* Job: search for the targets of probes. */
typedef struct ProbeJob
{
	VhnswListsShape lists;
	VhnswMemory order;
	uint32		nstarts;
	uint32		nprobes;
	VhnswMemory probes;
} ProbeJob;

/* Probes of an area: in this round, and how many failed. */
typedef struct Area
{
	uint32		number;
	uint32		probed;
	uint32		failed;
} Area;

static uint32 weak_areas(Area *areas, uint32 n, uint32 most);
static int	compare_areas(const void *a, const void *b);
static uint32 probe_areas(VhnswGraph *graph, ProbeJob *job, Area *areas,
						  uint32 nareas, uint32 stride, uint32 offset,
						  uint8 *added, uint32 *missed);
static void probe_element(VhnswBeam *beam, VhnswCode *code,
						  const uint32 *starts,
						  const VhnswCode **start_codes, uint32 nstarts,
						  Probe *probe);

/*
 * VhnswProbeGraph
 *		Search for some elements, and link those that are not found.
 *
 * All elements have their lists, and the order is made.  added[] counts for
 * each element the links that took places of its fill.
 */
void
VhnswProbeGraph(VhnswGraph *graph, uint8 *added)
{
	ProbeJob	job = {
		.order = graph->order_memory,.nstarts = graph->nentries
	};
	uint32		nareas = (graph->count + AREA - 1) / AREA;
	Area	   *areas = palloc_array(Area, nareas);
	uint32		total = 0;
	uint32		missed = 0;

	for (uint32 i = 0; i < nareas; i++)
		areas[i] = (Area)
	{
		.number = i
	};
	for (uint32 stride = FIRST_STRIDE; stride >= LAST_STRIDE; stride /= 4)
	{
		total += probe_areas(graph, &job, areas, nareas, stride, stride / 2,
							 added, &missed);
	}
	ereport(DEBUG1,
			errmsg_internal("%u of %u searches for elements did not come near them",
							missed, total));
	total = missed = 0;
	nareas = weak_areas(areas, nareas, nareas / WEAK_SHARE);
	total += probe_areas(graph, &job, areas, nareas, WEAK_STRIDE, WEAK_STRIDE / 2,
						 added, &missed);
	nareas = weak_areas(areas, nareas,
						(graph->count + AREA - 1) / AREA / WEAKEST_SHARE);
	for (int offset = WEAKEST_STRIDE - 1; offset >= 0; offset--)
		total += probe_areas(graph, &job, areas, nareas, WEAKEST_STRIDE, offset,
							 added, &missed);
	if (total > 0)
		ereport(DEBUG1,
				errmsg_internal("%u of %u more, where they did not", missed, total));
	pfree(areas);
}

/* Put those areas first where most probes fail; returns how many. */
static uint32
weak_areas(Area *areas, uint32 n, uint32 most)
{
	uint32		count = 0;

	for (uint32 i = 0; i < n; i++)
	{
		if (areas[i].failed * FAILURES >= areas[i].probed &&
			areas[i].failed > 0)
			areas[count++] = areas[i];
	}
	qsort(areas, count, sizeof(Area), compare_areas);
	return Min(count, most);
}

static int
compare_areas(const void *a, const void *b)
{
	const Area *aa = a;
	const Area *ab = b;

	if (aa->failed != ab->failed)
		return aa->failed > ab->failed ? -1 : 1;
	return aa->number < ab->number ? -1 : aa->number > ab->number;
}

/*
 * Search for the elements at equal intervals in some areas, and link those that
 * are not found.  Returns how many there are.
 */
static uint32
probe_areas(VhnswGraph *graph, ProbeJob *job, Area *areas, uint32 nareas,
			uint32 stride, uint32 offset, uint8 *added, uint32 *missed)
{
	Probe	   *probes;
	uint32		n = 0;
	uint32		most = nareas * ((AREA + stride - 1) / stride);

	if (nareas == 0)
		return 0;
	job->probes = VhnswCrewAlloc(graph->crew, most * sizeof(Probe));
	probes = job->probes.address;
	for (uint32 i = 0; i < nareas; i++)
	{
		uint32		first = areas[i].number * AREA;
		uint32		end = Min(first + AREA, graph->count);
		uint32		id = first + offset;

		/* With large strides an area may have none. */
		if (stride > AREA)
			id = (first + stride - 1 - offset) / stride * stride + offset;
		areas[i].probed = areas[i].failed = 0;
		for (; id < end; id += stride)
		{
			probes[n++] = (Probe)
			{
				.target = id,.area = i
			};
			areas[i].probed++;
		}
	}
	job->nprobes = n;
	job->lists = VhnswGraphDescribeLists(graph);
	VhnswCrewRun(graph->crew, VHNSW_JOB_PROBE, job, sizeof(*job),
				 (n + PROBED_AT_ONCE - 1) / PROBED_AT_ONCE);
	for (uint32 i = 0; i < n; i++)
	{
		const Probe *probe = &probes[i];
		int			linked = 0;

		if (probe->nhosts == 0)
			continue;
		(*missed)++;
		areas[probe->area].failed++;
		for (uint32 j = 0; j < probe->nhosts && linked < HOSTS; j++)
		{
			if (!VhnswSpanLink(graph, probe->hosts[j], probe->target, added))
				continue;
			(void) VhnswSpanLink(graph, probe->target, probe->hosts[j], added);
			linked++;
		}
	}
	VhnswCrewFree(graph->crew, &job->probes);
	return n;
}

void
VhnswProbeJob(VhnswCrew *crew, const void *arg)
{
	const ProbeJob *job = arg;
	VhnswGraph *graph = crew->graph;
	const uint32 *order = VhnswCrewAddress(crew, &job->order);
	Probe	   *probes = VhnswCrewAddress(crew, &job->probes);
	VhnswCode  *code = palloc(graph->code_size);
	const VhnswCode **start_codes = VhnswGraphSample(graph, order,
													 job->nstarts);
	VhnswBeam  *beam;
	uint32		chunk;

	VhnswGraphAttachLists(crew, &job->lists);
	beam = VhnswBeamCreate(graph, PROBE_EF);
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * PROBED_AT_ONCE;
		uint32		end = Min(first + PROBED_AT_ONCE, job->nprobes);

		CHECK_FOR_INTERRUPTS();
		for (uint32 i = first; i < end; i++)
			probe_element(beam, code, order, start_codes, job->nstarts,
						  &probes[i]);
	}
}

/*
 * Search for an element.  It is found if what the search ended with is as near
 * as the nearest that it lists.
 */
static void
probe_element(VhnswBeam *beam, VhnswCode *code, const uint32 *starts, const VhnswCode **start_codes,
			  uint32 nstarts, Probe *probe)
{
	uint32		id = probe->target;
	const VhnswGraph *graph = beam->graph;
	const VhnswLayout *layout = &graph->layout;
	VhnswLink	links[PROBE_EF];
	VhnswLink	hosts[MAX_HOSTS];
	char	   *copies = NULL;
	int			n;

	Assert(id < graph->count);
	probe->nhosts = 0;
	memcpy(code, VhnswGraphGetCode(graph, id), graph->code_size);
	VhnswBeamSearch(beam, code, starts, start_codes, nstarts);
	if (graph->list_counts[id] > 0)
	{
		/* Lists begin with the nearest. */
		uint32		nearest = VhnswGraphGetIds(graph, id)[0];

		if (beam->entries[0].distance <=
			VhnswCodeDistance(layout, code, VhnswGraphGetCode(graph, nearest)))
			return;
		if (layout->metric == VHNSW_INNER_PRODUCT)
			probe->target = nearest;
	}

	n = beam->count;
	if (graph->codes)
		copies = palloc(n * graph->code_size);
	for (int i = 0; i < n; i++)
	{
		links[i].distance = beam->entries[i].distance;
		links[i].id = beam->entries[i].id;
		links[i].code = VhnswGraphKeepCode(graph, links[i].id, copies, i);
	}
	probe->nhosts = VhnswSelectLinks(layout, links, n, MAX_HOSTS, MAX_HOSTS,
									 hosts);
	for (uint32 i = 0; i < probe->nhosts; i++)
		probe->hosts[i] = hosts[i].id;
	if (copies)
		pfree(copies);
}
