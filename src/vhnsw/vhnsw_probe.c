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
	uint32		target;			/* who shall get a link */
	uint32		nhosts;			/* from them; 0 = it was found */
	uint32		hosts[MAX_HOSTS];
} Probe;

/* Job: search for the elements stride / 2, and so on. */
typedef struct ProbeJob
{
	VhnswListsShape lists;
	VhnswMemory order;
	uint32		nstarts;
	uint32		stride;
	uint32		nprobes;
	VhnswMemory probes;
} ProbeJob;

static void probe_element(VhnswBeam *beam, uint32 id, VhnswCode *code,
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
	uint32		total = 0;
	uint32		missed = 0;

	for (job.stride = FIRST_STRIDE; job.stride >= LAST_STRIDE; job.stride /= 4)
	{
		const Probe *probes;

		job.nprobes = (graph->count + job.stride / 2 - 1) / job.stride;
		if (job.nprobes == 0)
			continue;
		job.probes = VhnswCrewAlloc(graph->crew, job.nprobes * sizeof(Probe));
		job.lists = VhnswGraphDescribeLists(graph);
		VhnswCrewRun(graph->crew, VHNSW_JOB_PROBE, &job, sizeof(job),
					 (job.nprobes + PROBED_AT_ONCE - 1) / PROBED_AT_ONCE);
		probes = job.probes.address;
		for (uint32 i = 0; i < job.nprobes; i++)
		{
			const Probe *probe = &probes[i];
			int			linked = 0;

			missed += probe->nhosts > 0;
			for (uint32 j = 0; j < probe->nhosts && linked < HOSTS; j++)
			{
				if (!VhnswSpanLink(graph, probe->hosts[j], probe->target, added))
					continue;
				(void) VhnswSpanLink(graph, probe->target, probe->hosts[j], added);
				linked++;
			}
		}
		total += job.nprobes;
		VhnswCrewFree(graph->crew, &job.probes);
	}
	ereport(DEBUG1,
			errmsg_internal("%u of %u searches for elements did not come near them",
							missed, total));
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
			probe_element(beam, job->stride / 2 + i * job->stride, code, order,
						  start_codes, job->nstarts, &probes[i]);
	}
}

/*
 * Search for an element.  It is found if what the search ended with is as near
 * as the nearest that it lists.
 */
static void
probe_element(VhnswBeam *beam, uint32 id, VhnswCode *code,
			  const uint32 *starts, const VhnswCode **start_codes,
			  uint32 nstarts, Probe *probe)
{
	const VhnswGraph *graph = beam->graph;
	const VhnswLayout *layout = &graph->layout;
	VhnswLink	links[PROBE_EF];
	VhnswLink	hosts[MAX_HOSTS];
	char	   *copies = NULL;
	int			n;

	Assert(id < graph->count);
	probe->target = id;
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
		links[i].code = VhnswGraphGetCode(graph, links[i].id);
		if (copies)
			links[i].code = memcpy(copies + i * graph->code_size,
								   links[i].code, graph->code_size);
	}
	probe->nhosts = VhnswSelectLinks(layout, links, n, MAX_HOSTS, MAX_HOSTS,
									 hosts);
	for (uint32 i = 0; i < probe->nhosts; i++)
		probe->hosts[i] = hosts[i].id;
	if (copies)
		pfree(copies);
}
