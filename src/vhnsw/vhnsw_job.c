/*-------------------------------------------------------------------------
 *
 * vhnsw_job.c
 *	  What leader and workers of an index build do together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vhnsw/vhnsw_basis.h"
#include "vhnsw/vhnsw_blocked.h"
#include "vhnsw/vhnsw_choose.h"
#include "vhnsw/vhnsw_edge_build.h"
#include "vhnsw/vhnsw_graph.h"
#include "vhnsw/vhnsw_hub.h"
#include "vhnsw/vhnsw_job.h"
#include "vhnsw/vhnsw_leaf.h"
#include "vhnsw/vhnsw_linker.h"
#include "vhnsw/vhnsw_load.h"
#include "vhnsw/vhnsw_pca.h"
#include "vhnsw/vhnsw_principal.h"
#include "vhnsw/vhnsw_probe.h"
#include "vhnsw/vhnsw_recall.h"
#include "vhnsw/vhnsw_span.h"
#include "vhnsw/vhnsw_write.h"

static VhnswJobFunction get_function(VhnswJob job);

const VhnswCrewDuties vhnsw_build_duties = {
	.get_function = get_function,
	.attach_graph = VhnswGraphAttach
};

/* Entry point of a worker. */
void
VhnswBuildWorkerMain(dsm_segment *segment, shm_toc *toc)
{
	VhnswCrewServe(segment, toc, &vhnsw_build_duties);
}

static VhnswJobFunction
get_function(VhnswJob job)
{
	switch (job)
	{
		case VHNSW_JOB_NONE:
			break;
		case VHNSW_JOB_ENCODE:
			return VhnswEncodeJob;
		case VHNSW_JOB_CENTROIDS:
			return VhnswCentroidsJob;
		case VHNSW_JOB_MEANS:
			return VhnswMeansJob;
		case VHNSW_JOB_ASSIGN:
			return VhnswAssignJob;
		case VHNSW_JOB_HUBS:
			return VhnswHubsJob;
		case VHNSW_JOB_PRINCIPAL:
			return VhnswPrincipalJob;
		case VHNSW_JOB_JOIN:
			return VhnswJoinJob;
		case VHNSW_JOB_EXACT:
			return VhnswExactJob;
		case VHNSW_JOB_CHOOSE_FIRST:
			return VhnswChooseFirstJob;
		case VHNSW_JOB_CHOOSE_AGAIN:
			return VhnswChooseAgainJob;
		case VHNSW_JOB_SEARCH:
			return VhnswSearchJob;
		case VHNSW_JOB_LINK_BACK:
			return VhnswLinkBackJob;
		case VHNSW_JOB_PRUNE:
			return VhnswPruneJob;
		case VHNSW_JOB_TOP_UP:
			return VhnswTopUpJob;
		case VHNSW_JOB_SPAN:
			return VhnswSpanJob;
		case VHNSW_JOB_PROBE:
			return VhnswProbeJob;
		case VHNSW_JOB_SAMPLE:
			return VhnswSampleJob;
		case VHNSW_JOB_COVARIANCE:
			return VhnswCovarianceJob;
		case VHNSW_JOB_PRODUCTS:
			return VhnswProductsJob;
		case VHNSW_JOB_ENERGY:
			return VhnswEnergyJob;
		case VHNSW_JOB_PROJECT:
			return VhnswProjectJob;
		case VHNSW_JOB_WRITE:
			return VhnswWriteJob;
	}
	return NULL;
}
