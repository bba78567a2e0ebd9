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
 * When the graph is done, others are searched for without changing it, so that
 * the index can tell how many searches fail in spite of all.  So it is after
 * linking by searching, too.
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

/*
 * If, before the last round of all areas, one of so many fails, there are
 * clusters that the sample of vhnsw_span.c misses.
 */
#define APART 32

/* The pool of a search. */
#define PROBE_EF 32

/*
 * Elements that are searched for when the graph is done, at most: all, or of
 * more elements those with odd numbers, which VhnswProbeGraph() has not searched
 * for but in the weakest areas.
 */
#define MAX_MEASURED 512

/*
 * In the areas of those that were not found, one of so many, in so many areas at
 * most.  The remainder makes them others than those, and than those that
 * VhnswProbeGraph() has searched for but in the weakest areas.
 */
#define WEAK_MEASURED_STRIDE 32
#define WEAK_MEASURED_REMAINDER 2
#define MAX_WEAK 64

/* If a smaller share is found, somebody should know. */
#define GOOD_SHARE 0.97

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

static Probe *measured_elements(uint32 count, uint32 *n);
static Probe *others_in_weak_areas(const Probe *probes, uint32 n,
								   uint32 count, uint32 *nothers);
static float share_found(uint32 missed, uint32 n);
static uint32 count_missed(const VhnswGraph *graph, Probe *probes, uint32 n);
static uint32 weak_areas(Area *areas, uint32 n, uint32 most);
static int	compare_areas(const void *a, const void *b);
static uint32 probe_areas(VhnswAdded *added, ProbeJob *job, Area *areas,
						  uint32 nareas, uint32 stride, uint32 offset,
						  uint32 *missed);
static void run_probes(const VhnswGraph *graph, ProbeJob *job, uint32 n);
static void probe_element(VhnswBeam *beam, VhnswCode *code,
						  const uint32 *starts,
						  const VhnswCode **start_codes, uint32 nstarts,
						  Probe *probe);
static bool is_found(const VhnswBeam *beam, const VhnswCode *code, uint32 id,
					 uint32 *nearest);

/*
 * VhnswProbeGraph
 *		Search for some elements, and link those that are not found.
 *
 * graph->order is made.
 */
void
VhnswProbeGraph(VhnswAdded *added)
{
	const VhnswGraph *graph = added->graph;
	ProbeJob	job = {
		.order = graph->order_memory,.nstarts = graph->nentries
	};
	uint32		all = (graph->count + AREA - 1) / AREA;
	uint32		nareas = all;
	Area	   *areas = palloc_array(Area, all);
	uint32		total = 0;
	uint32		missed = 0;

	for (uint32 i = 0; i < all; i++)
		areas[i] = (Area)
	{
		.number = i
	};
	for (uint32 stride = FIRST_STRIDE; stride >= LAST_STRIDE; stride /= 4)
	{
		if (stride == LAST_STRIDE &&
			missed * APART >= total && missed > 0)
		{
			uint32		islands = VhnswSpanIslands(added);

			ereport(DEBUG1,
					errmsg_internal("%u islands are linked, since %u of %u searches for elements did not come near them",
									islands, missed, total));
		}
		total += probe_areas(added, &job, areas, nareas, stride, stride / 2,
							 &missed);
	}
	nareas = weak_areas(areas, nareas, all / WEAK_SHARE);
	total += probe_areas(added, &job, areas, nareas, WEAK_STRIDE, WEAK_STRIDE / 2,
						 &missed);
	nareas = weak_areas(areas, nareas, all / WEAKEST_SHARE);
	for (int offset = WEAKEST_STRIDE - 1; offset >= 0; offset--)
		total += probe_areas(added, &job, areas, nareas, WEAKEST_STRIDE, offset,
							 &missed);
	ereport(DEBUG1,
			errmsg_internal("%u of %u searches for elements did not come near them",
							missed, total));
	pfree(areas);
}

/*
 * VhnswMeasureSearches
 *		Tell how many searches for elements of a finished graph find them, and
 *		how many near those that were not found.
 *
 * Sets graph->searches_found and weak_searches_found (0 if there are no others
 * near those), and says so if the first is small.
 */
void
VhnswMeasureSearches(VhnswGraph *graph, const char *index_name)
{
	uint32		n;
	uint32		nothers;
	Probe	   *probes = measured_elements(graph->count, &n);
	Probe	   *others;

	graph->searches_found = share_found(count_missed(graph, probes, n), n);
	others = others_in_weak_areas(probes, n, graph->count, &nothers);
	graph->weak_searches_found =
		nothers == 0 ? 0 :
		share_found(count_missed(graph, others, nothers), nothers);
	pfree(probes);
	pfree(others);

	if (graph->searches_found >= GOOD_SHARE)
		return;
	ereport(NOTICE,
			errmsg("searches of index \"%s\" may miss rows", index_name),
			nothers == 0 ?
			errdetail("Of searches for its own elements %.1f %% fail.",
					  100 * (1 - graph->searches_found)) :
			errdetail("Of searches for its own elements %.1f %% fail, and %.1f %% in the same places.",
					  100 * (1 - graph->searches_found),
					  100 * (1 - graph->weak_searches_found)),
			graph->kind == VHNSW_BUILT_BLOCKED ?
			errhint("Set vhnsw.ef_search higher.  Building with vhnsw.build_method = search takes longer, and may find more.") :
			graph->kind == VHNSW_BUILT_BLOCKED_IN_FILES ?
			errhint("Set vhnsw.ef_search higher.  With a maintenance_work_mem that has room for all elements, building with vhnsw.build_method = search takes longer, and may find more.") :
			errhint("Set vhnsw.ef_search higher."));
}

/* Probes of *n of 'count' elements, each once, by rising number. */
static Probe *
measured_elements(uint32 count, uint32 *n)
{
	Probe	   *probes;

	*n = count <= MAX_MEASURED ? count : Min(count / 2, MAX_MEASURED);
	probes = palloc_array(Probe, *n);
	for (uint32 i = 0; i < *n; i++)
	{
		uint32		id = (uint64) count * i / *n;

		probes[i].target = *n < count ? id | 1 : id;
	}
	return probes;
}

/*
 * Probes of *nothers elements in the areas of those that were not found, none of
 * them measured before.  If all of the 'count' elements were, there are none.
 */
static Probe *
others_in_weak_areas(const Probe *probes, uint32 n, uint32 count,
					 uint32 *nothers)
{
	Probe	   *others = palloc_array(Probe, MAX_WEAK * AREA / WEAK_MEASURED_STRIDE);
	uint32	   *areas = palloc_array(uint32, n);
	uint32		nareas = 0;
	uint32		step;

	*nothers = 0;
	for (uint32 i = 0; i < n && n < count; i++)
	{
		uint32		area = probes[i].target / AREA;

		if (probes[i].nhosts > 0 &&
			(nareas == 0 || areas[nareas - 1] != area))
			areas[nareas++] = area;
	}
	step = Max((nareas + MAX_WEAK - 1) / MAX_WEAK, 1);
	for (uint32 i = 0; i < nareas; i += step)
	{
		uint32		first = areas[i] * AREA;
		uint32		end = Min(first + AREA, count);

		for (uint32 id = first + WEAK_MEASURED_REMAINDER; id < end;
			 id += WEAK_MEASURED_STRIDE)
			others[(*nothers)++].target = id;
	}
	pfree(areas);
	return others;
}

/* Zero would say that it is not known. */
static float
share_found(uint32 missed, uint32 n)
{
	return (float) Max(n - missed, 0.5) / n;
}

/*
 * Search for the targets of n probes, and count those that are not found.  Of
 * these, targets stay.
 */
static uint32
count_missed(const VhnswGraph *graph, Probe *probes, uint32 n)
{
	ProbeJob	job = {
		.order = graph->order_memory,.nstarts = graph->nentries
	};
	const Probe *done;
	uint32		missed = 0;

	job.probes = VhnswCrewAlloc(graph->crew, n * sizeof(Probe));
	memcpy(job.probes.address, probes, n * sizeof(Probe));
	run_probes(graph, &job, n);
	done = job.probes.address;
	for (uint32 i = 0; i < n; i++)
	{
		probes[i].nhosts = done[i].nhosts;
		missed += done[i].nhosts > 0;
	}
	VhnswCrewFree(graph->crew, &job.probes);
	return missed;
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
probe_areas(VhnswAdded *added, ProbeJob *job, Area *areas, uint32 nareas,
			uint32 stride, uint32 offset, uint32 *missed)
{
	const VhnswGraph *graph = added->graph;
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
	run_probes(graph, job, n);
	for (uint32 i = 0; i < n; i++)
	{
		const Probe *probe = &probes[i];
		int			linked = 0;

		if (probe->nhosts == 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		(*missed)++;
		areas[probe->area].failed++;
		for (uint32 j = 0; j < probe->nhosts && linked < HOSTS; j++)
		{
			if (!VhnswAddLink(added, probe->hosts[j], probe->target))
				continue;
			(void) VhnswAddLink(added, probe->target, probe->hosts[j]);
			linked++;
		}
	}
	VhnswCrewFree(graph->crew, &job->probes);
	return n;
}

/* Search for the targets of n probes. */
static void
run_probes(const VhnswGraph *graph, ProbeJob *job, uint32 n)
{
	job->nprobes = n;
	job->lists = VhnswGraphDescribeLists(graph);
	VhnswCrewRun(graph->crew, VHNSW_JOB_PROBE, job, sizeof(*job),
				 (n + PROBED_AT_ONCE - 1) / PROBED_AT_ONCE);
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
 * Search for an element.  If it is not found, the probe gets hosts, and under
 * inner product the nearest that it lists as their target.
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
	uint32		nearest;
	int			n;

	Assert(id < graph->count);
	probe->nhosts = 0;
	memcpy(code, VhnswGraphGetCode(graph, id), graph->code_size);
	VhnswBeamSearch(beam, code, starts, start_codes, nstarts);
	if (is_found(beam, code, id, &nearest))
		return;
	if (layout->metric == VHNSW_INNER_PRODUCT)
		probe->target = nearest;

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

/*
 * Whether a search for an element has come to it, or as near as the nearest that
 * it lists, which becomes *nearest (itself, if there are none).
 *
 * Under inner product the element itself is not what a search for it looks for,
 * unless there is no other.
 */
static bool
is_found(const VhnswBeam *beam, const VhnswCode *code, uint32 id,
		 uint32 *nearest)
{
	const VhnswGraph *graph = beam->graph;
	const uint32 *ids = VhnswGraphGetIds(graph, id);
	int			n = graph->list_counts[id];
	float		distances[PG_UINT8_MAX];
	int			least = 0;

	*nearest = id;
	if (n == 0 || graph->layout.metric != VHNSW_INNER_PRODUCT)
	{
		for (int i = 0; i < beam->count; i++)
		{
			if (beam->entries[i].id == id)
				return true;
		}
	}
	if (n == 0)
		return false;

	/* Those of a blocked build begin with the nearest, but not others. */
	VhnswGraphDistances(graph, code, ids, n, distances);
	for (int i = 1; i < n; i++)
	{
		if (distances[i] < distances[least])
			least = i;
	}
	*nearest = ids[least];
	return beam->entries[0].distance <= distances[least];
}
