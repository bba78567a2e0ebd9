/*-------------------------------------------------------------------------
 *
 * vhnsw_principal.c
 *	  Elements in the few dimensions in which they vary most.
 *
 * Comparing pairs costs as much as there are dimensions, and most of the
 * distance between two elements is often in a few.  Of the rest an element
 * keeps its length: half of both squares is added to the squared distance,
 * as if the rests of two near elements had half of their lengths in common.
 *
 * See README, section "Blocked build".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "distance/distance.h"
#include "vhnsw/vhnsw_basis.h"
#include "vhnsw/vhnsw_edge_build.h"
#include "vhnsw/vhnsw_principal.h"

/* They are not more than this. */
#define MAX_DIMS 128

/* It pays for vectors of so many dimensions, some five times as many, */
#define MIN_SOURCE_DIMS 560

/*
 * and if there are so many elements for each of these.  Learning multiplies
 * 3,000 dims^2 pairs of bytes and as many of floats as cost the same as 2,240
 * dims^2; comparing by whole codes would multiply 3,500 dims for each element.
 * So learning takes at most a quarter of what is saved.
 */
#define MIN_ELEMENTS_PER_DIM 6

/* What they keep of squared lengths is measured on some elements. */
#define MEASURED_ELEMENTS 400

/* How much of the rest counts, in squares. */
#define SHARE_OF_REST 0.5f

/* Elements projected at a time. */
#define PROJECTED_AT_ONCE 128

/* Job: project all elements. */
typedef struct PrincipalJob
{
	VhnswPrincipal principal;
	VhnswMemory matrix;
} PrincipalJob;

static bool may_have_principal(const VhnswLayout *layout);
static uint64 min_elements(const VhnswLayout *layout);
static VhnswEdgeSpace make_space(const VhnswLayout *layout, int dims,
								 const float *matrix);
static double measure_energy(const VhnswGraph *graph,
							 const VhnswEdgeSpace *space);
static void pack(const VhnswCode *code, const float *z, int dims,
				 VhnswBlockVector *vector);

/*
 * Could there be principal dimensions, and could they pay?  Their basis is
 * shared with the sketches.
 */
static bool
may_have_principal(const VhnswLayout *layout)
{
	return VhnswMetricIsSquared(layout->metric) && layout->is_rotated &&
		layout->dims >= MIN_SOURCE_DIMS && VhnswHasSketches(layout);
}

static uint64
min_elements(const VhnswLayout *layout)
{
	return (uint64) MIN_ELEMENTS_PER_DIM * layout->dims;
}

static Size
record_bytes(int dims)
{
	return MAXALIGN(offsetof(VhnswBlockVector, row) + DistanceRowBytes(dims));
}

/* Memory for one element while pairs are compared, at most. */
Size
VhnswPrincipalElementBytes(const VhnswLayout *layout)
{
	return may_have_principal(layout) ? record_bytes(MAX_DIMS) : 0;
}

/* What is kept meanwhile for the sketches: covariance and basis. */
Size
VhnswPrincipalLearnedBytes(const VhnswLayout *layout)
{
	return ((Size) layout->dims + MAX_DIMS) * layout->dims * sizeof(float);
}

/*
 * VhnswWantsPrincipal
 *		Will so many elements have principal dimensions, if these keep enough?
 *
 * To learn them takes no more memory than to learn sketches, which every build
 * has room for.
 */
bool
VhnswWantsPrincipal(const VhnswLayout *layout, uint64 count)
{
	return may_have_principal(layout) && count >= min_elements(layout);
}

/*
 * VhnswMakePrincipal
 *		Learn the dimensions from the elements of a graph, which have their last
 *		numbers, and project all.  There are none where it would not pay.
 *
 * If elements are in memory, the graph keeps covariance and basis for the
 * sketches.  If they are in a file, there is no room for both meanwhile; the
 * file of the records has three quarters of what caches have while pairs are
 * compared, and the caller gives the rest to that of the codes.
 */
void
VhnswMakePrincipal(VhnswGraph *graph, VhnswPrincipal *principal,
				   Size element_bytes)
{
	VhnswCrew  *crew = graph->crew;
	int			dims;
	VhnswMemory covariance;
	VhnswMemory matrix;
	VhnswEdgeSpace space;
	double		energy;
	PrincipalJob job;

	memset(principal, 0, sizeof(*principal));
	if (!VhnswWantsPrincipal(&graph->layout, graph->count))
		return;
	dims = Min(VhnswFirstSketchDims(&graph->layout), MAX_DIMS);
	if (graph->codes)
		VhnswSpillResize(graph->codes, VHNSW_MIN_CACHE / 2);
	covariance = VhnswLearnCovariance(graph);
	matrix = VhnswTrainBasis(graph, &covariance, dims);
	if (graph->codes)
		VhnswCrewFree(crew, &covariance);
	space = make_space(&graph->layout, dims, matrix.address);
	energy = measure_energy(graph, &space);
	ereport(DEBUG1,
			errmsg_internal("%d principal dimensions keep %.1f %% of squared lengths",
							dims, 100 * energy));
	if (energy >= VHNSW_GOOD_ENERGY)
	{
		principal->dims = dims;
		principal->record_bytes = record_bytes(dims);
		if (graph->codes)
		{
			Size		cache = VhnswGraphCacheBytes(graph, element_bytes);

			principal->spilled = VhnswCrewCreateFile(crew,
													 principal->record_bytes,
													 graph->count,
													 cache / 4 * 3);
			principal->shape = VhnswSpillDescribe(principal->spilled);
		}
		else
			principal->memory =
				VhnswCrewAlloc(crew, mul_size(graph->count,
											  principal->record_bytes));
		job = (PrincipalJob)
		{
			*principal, matrix
		};
		VhnswCrewRun(crew, VHNSW_JOB_PRINCIPAL, &job, sizeof(job),
					 (graph->count + PROJECTED_AT_ONCE - 1) / PROJECTED_AT_ONCE);
		VhnswAttachPrincipal(crew, principal);
	}

	if (graph->codes)
	{
		VhnswCrewFree(crew, &matrix);
		return;
	}
	graph->covariance = covariance;
	graph->basis = matrix;
	graph->basis_dims = dims;
}

/* Let a process know where the records are. */
void
VhnswAttachPrincipal(VhnswCrew *crew, VhnswPrincipal *principal)
{
	principal->spilled = VhnswCrewFile(crew, &principal->shape);
	principal->records = principal->dims > 0 && principal->spilled == NULL ?
		VhnswCrewAddress(crew, &principal->memory) : NULL;
}

/* From here on whole codes are compared. */
void
VhnswFreePrincipal(VhnswCrew *crew, VhnswPrincipal *principal)
{
	if (principal->spilled)
		VhnswSpillFree(principal->spilled);
	else if (principal->dims > 0)
		VhnswCrewFree(crew, &principal->memory);
	memset(principal, 0, sizeof(*principal));
}

static VhnswEdgeSpace
make_space(const VhnswLayout *layout, int dims, const float *matrix)
{
	return (VhnswEdgeSpace)
	{
		.metric = layout->metric,.source_dims = layout->dims,.dims = dims,
			.is_direct = layout->is_direct,.matrix = matrix
	};
}

/* The share of squared lengths that the projection keeps. */
static double
measure_energy(const VhnswGraph *graph, const VhnswEdgeSpace *space)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "vhnsw projector",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	VhnswProjector *projector = VhnswBeginProjector(graph, space);
	uint32		n = Min(graph->count, MEASURED_ELEMENTS);
	double		kept = 0;
	double		all = 0;

	for (uint32 i = 0; i < n; i++)
	{
		uint32		id = VhnswGraphSpread(graph, n, i);
		float		norm = VhnswGraphGetCode(graph, id)->norm;

		CHECK_FOR_INTERRUPTS();
		VhnswProject(projector, &id, 1);
		kept += DistanceNormSquared(projector->z, space->dims);
		all += (double) norm * norm;
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	return all > 0 ? kept / all : 0;
}

void
VhnswPrincipalJob(VhnswCrew *crew, const void *arg)
{
	PrincipalJob job = *(const PrincipalJob *) arg;
	VhnswPrincipal *principal = &job.principal;
	const VhnswGraph *graph = crew->graph;
	int			dims = principal->dims;
	VhnswEdgeSpace space = make_space(&graph->layout, dims,
									  VhnswCrewAddress(crew, &job.matrix));
	VhnswProjector *projector = VhnswBeginProjector(graph, &space);
	char	   *records = NULL;
	uint32		chunk;

	VhnswAttachPrincipal(crew, principal);
	if (principal->spilled)
		records = palloc0(PROJECTED_AT_ONCE * principal->record_bytes);
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * PROJECTED_AT_ONCE;
		uint32		end = Min(first + PROJECTED_AT_ONCE, graph->count);

		CHECK_FOR_INTERRUPTS();
		if (!principal->spilled)
			records = principal->records + (Size) first * principal->record_bytes;
		for (uint32 id = first; id < end; id++)
		{
			const float *z = VhnswProjectInOrder(projector, id, first, end);

			pack(VhnswGraphGetCode(graph, id), z, dims,
				 (VhnswBlockVector *)
				 (records + (id - first) * principal->record_bytes));
		}
		if (principal->spilled)
			VhnswSpillWrite(principal->spilled, first, end - first, records);
	}
}

/* Make a record of an element's projection. */
static void
pack(const VhnswCode *code, const float *z, int dims, VhnswBlockVector *vector)
{
	float		kept = (float) DistanceNormSquared(z, dims);
	float		rest = Max(code->norm * code->norm - kept, 0);

	VhnswBlockPack(vector, z, dims, sqrtf(kept + SHARE_OF_REST * rest));
}
