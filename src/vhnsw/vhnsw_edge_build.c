/*-------------------------------------------------------------------------
 *
 * vhnsw_edge_build.c
 *	  Choose and make the sketches of an index build.
 *
 * The number of elements on a page is chosen first, then sketches fill it:
 * README, section "Edges", has the sizes.  How good they are is measured, as
 * the share of the neighbors' squared distances that the projection keeps
 * ("edge energy"); where it is low, bits are spent on more dimensions, and only
 * then more bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_basis.h"
#include "vhnsw/vhnsw_edge_build.h"

/*
 * Below VHNSW_GOOD_ENERGY twice as many dimensions of 1 bit are better than 2
 * bits; with less than this of these, more bytes.  README, section "Edges", has
 * measurements.
 */
#define USELESS_ENERGY 0.3

/* Elements whose edges are measured, and so many at a time */
#define ENERGY_ELEMENTS 400
#define MEASURED_AT_ONCE 8

/* A basis needs some elements for each dimension. */
#define ELEMENTS_PER_DIM 4

/* Elements projected at a time. */
#define PROJECTED_AT_ONCE 128

/* Neighbors on their way from memory while one is in work */
#define PREFETCHED 4

/* What is tried, in this order; begins with the usual ones or the large ones. */
typedef enum SketchSize
{
	SKETCH_DEFAULT,				/* 2 bits for each dimension */
	SKETCH_ONE_BIT,				/* as many bytes, twice the dimensions */
	SKETCH_LARGE,				/* one element less on a page */
	SKETCH_LARGE_ONE_BIT,
	SKETCH_FULL,				/* one bit of every dimension */
	SKETCH_NONE
} SketchSize;

/* Sums of squared lengths of an element's edges */
typedef struct EdgeSquares
{
	double		kept;			/* by the projection */
	double		all;
} EdgeSquares;

/* Job: measure the edges of n elements. */
typedef struct EnergyJob
{
	VhnswSketches sketches;
	VhnswListsShape lists;
	uint32		n;
	VhnswMemory squares;
} EnergyJob;

static SketchSize first_size(const VhnswLayout *layout);
static void choose_dims(SketchSize size, VhnswLayout *layout);
static void set_edges(VhnswLayout *layout, int edge_dims, int edge_bits);
static bool may_have_sketches(const VhnswLayout *layout);
static int	dims_that_fit(const VhnswLayout *layout, int slots_per_page,
						  int bits);
static VhnswMemory find_basis(VhnswGraph *graph, const VhnswMemory *covariance,
							  int dims);
static double measure_energy(const VhnswSketches *sketches,
							 const VhnswGraph *graph);
static float load_projection(const VhnswSketches *sketches,
							 const VhnswGraph *graph, uint32 id, float *z);
static void load_distances(const VhnswSketches *sketches,
						   const VhnswGraph *graph, uint32 id,
						   float *distances);
static void prefetch_neighbor(const VhnswSketches *sketches,
							  const VhnswGraph *graph, uint32 id);

/* ----------------------------------------------------------------------
 * Sizes
 * ----------------------------------------------------------------------
 */

/* Set the edges of a layout, and what follows from them. */
static void
set_edges(VhnswLayout *layout, int edge_dims, int edge_bits)
{
	layout->edge_dims = edge_dims;
	layout->edge_bits = edge_bits;
	VhnswLayoutDerive(layout);
}

/* Sketches estimate products, which are all that rotated codes are about. */
static bool
may_have_sketches(const VhnswLayout *layout)
{
	return layout->is_rotated && layout->storage != VHNSW_STORAGE_TINY;
}

/* The largest sketch that leaves room for so many elements on a page. */
static int
dims_that_fit(const VhnswLayout *layout, int slots_per_page, int bits)
{
	VhnswLayout plain = *layout;
	int			rest;

	set_edges(&plain, 0, 0);
	rest = TYPEALIGN_DOWN(8, VHNSW_PAGE_CAPACITY / slots_per_page) -
		plain.slot_size - VHNSW_EDGE_FACTORS_SIZE(layout->degree);
	if (rest <= 0)
		return 0;
	return TYPEALIGN_DOWN(DistanceEdgeChunkDims(bits),
						  rest * 8 / (layout->degree * bits));
}

/*
 * Choose the number of dimensions.  How many elements a page has follows from
 * what is wanted with two bits: they need half the projection of one bit, and
 * are better as long as they keep most of the energy.
 */
static void
choose_dims(SketchSize size, VhnswLayout *layout)
{
	int			full = TYPEALIGN(DistanceEdgeChunkDims(2), layout->dims);
	int			wanted = VHNSW_FULL_SKETCH_DIMS;
	int			bits = size == SKETCH_DEFAULT || size == SKETCH_LARGE ? 2 : 1;
	int			slots_per_page;
	int			dims = 0;

	if (size == SKETCH_NONE || !may_have_sketches(layout))
	{
		set_edges(layout, 0, 0);
		return;
	}
	if (size == SKETCH_FULL)
	{
		int			all = TYPEALIGN(DistanceEdgeChunkDims(1), layout->dims);

		if (dims_that_fit(layout, 1, 1) >= all)
			set_edges(layout, all, 1);
		else
			set_edges(layout, 0, 0);
		return;
	}

	if (layout->dims > 192 && !(layout->storage == VHNSW_STORAGE_COMPACT &&
								layout->is_direct))
		wanted = layout->dims <= 2500 ? 96 : 80;
	wanted = Min(wanted, full);
	for (slots_per_page = VHNSW_PAGE_CAPACITY / offsetof(VhnswSlotData, neighbors);
		 slots_per_page > 0; slots_per_page--)
	{
		dims = dims_that_fit(layout, slots_per_page, 2);
		if (dims >= wanted)
			break;
	}
	if (slots_per_page > 1 && size >= SKETCH_LARGE)
	{
		int			usual = dims;

		dims = dims_that_fit(layout, --slots_per_page, 2);

		/* Where small slots are near each other in size, one less is none. */
		while (layout->storage == VHNSW_STORAGE_FAST && usual < full &&
			   dims <= usual && slots_per_page > 1)
			dims = dims_that_fit(layout, --slots_per_page, 2);
	}
	if (bits == 1 && slots_per_page > 0)
	{
		dims = dims_that_fit(layout, slots_per_page, 1);
		full = TYPEALIGN(DistanceEdgeChunkDims(1), layout->dims);
	}
	set_edges(layout, Min(dims, full), dims > 0 ? bits : 0);
}

/*
 * The size that is tried first.  Under inner product a query is not near the
 * elements it has the largest product with, so all of its dimensions count.
 */
static SketchSize
first_size(const VhnswLayout *layout)
{
	if (layout->storage == VHNSW_STORAGE_FAST ||
		(layout->storage == VHNSW_STORAGE_AUTO &&
		 layout->metric == VHNSW_INNER_PRODUCT &&
		 layout->dims > VHNSW_FULL_SKETCH_DIMS))
		return SKETCH_LARGE;
	return SKETCH_DEFAULT;
}

/* Does a build begin with sketches?  (Asked for each row that is loaded.) */
bool
VhnswHasSketches(const VhnswLayout *layout)
{
	return may_have_sketches(layout) && dims_that_fit(layout, 1, 2) > 0;
}

/* How many dimensions sketches have if they keep enough; 0 = none. */
int
VhnswFirstSketchDims(const VhnswLayout *layout)
{
	VhnswLayout first = *layout;

	choose_dims(first_size(layout), &first);
	return first.edge_dims;
}

/*
 * VhnswUntrainedSketches
 *		The sketches of an index that is built on too few elements for a basis.
 *
 * Dimensions of the rotated vectors are as good as random ones, so all are
 * needed, or many.
 */
void
VhnswUntrainedSketches(VhnswLayout *layout)
{
	if (!may_have_sketches(layout))
		set_edges(layout, 0, 0);
	else if (layout->dims <= 128 && dims_that_fit(layout, 1, 2) >=
			 TYPEALIGN(DistanceEdgeChunkDims(2), layout->dims))
		set_edges(layout, TYPEALIGN(DistanceEdgeChunkDims(2), layout->dims), 2);
	else
	{
		int			wanted = layout->dims <= 512 ? layout->dims : 256;

		wanted = Min(TYPEALIGN(DistanceEdgeChunkDims(1), wanted),
					 dims_that_fit(layout, 1, 1));
		set_edges(layout, wanted, wanted > 0 ? 1 : 0);
	}
}

/* ----------------------------------------------------------------------
 * Training
 * ----------------------------------------------------------------------
 */

/* Memory that learning takes at least, if there can be anything to learn. */
Size
VhnswLearningBytes(const VhnswLayout *layout)
{
	for (SketchSize size = SKETCH_DEFAULT; size < SKETCH_FULL; size++)
	{
		VhnswLayout other = *layout;

		choose_dims(size, &other);
		if (other.edge_dims > 0 && other.edge_dims < other.dims)
			return VhnswCovarianceBytes(layout);
	}
	return 0;
}

/* The basis by which pairs were compared, if it has so many dimensions, or one. */
static VhnswMemory
find_basis(VhnswGraph *graph, const VhnswMemory *covariance, int dims)
{
	if (graph->basis_dims != dims)
		return VhnswTrainBasis(graph, covariance, dims);
	graph->basis_dims = 0;
	return graph->basis;
}

/* The share of squared lengths of edges that the projection keeps. */
static double
measure_energy(const VhnswSketches *sketches, const VhnswGraph *graph)
{
	VhnswCrew  *crew = graph->crew;
	EnergyJob	job = {
		.sketches = *sketches,
		.lists = VhnswGraphDescribeLists(graph),
		.n = Min(graph->count, ENERGY_ELEMENTS)
	};
	const EdgeSquares *squares;
	double		kept = 0;
	double		all = 0;

	job.squares = VhnswCrewAlloc(crew, job.n * sizeof(EdgeSquares));
	squares = job.squares.address;
	VhnswCrewRun(crew, VHNSW_JOB_ENERGY, &job, sizeof(job),
				 (job.n + MEASURED_AT_ONCE - 1) / MEASURED_AT_ONCE);
	for (uint32 i = 0; i < job.n; i++)
	{
		kept += squares[i].kept;
		all += squares[i].all;
	}
	VhnswCrewFree(crew, &job.squares);
	return all > 0 ? Min(kept / all, 1) : 1;
}

void
VhnswEnergyJob(VhnswCrew *crew, const void *arg)
{
	EnergyJob	job = *(const EnergyJob *) arg;
	VhnswSketches *sketches = &job.sketches;
	VhnswGraph *graph = crew->graph;
	EdgeSquares *squares = VhnswCrewAddress(crew, &job.squares);
	VhnswLayout plain = graph->layout;
	VhnswProjector *projector;
	int			dims = sketches->layout.edge_dims;
	uint32		chunk;

	plain.metric = VHNSW_L2;
	VhnswAttachSketches(crew, sketches);
	projector = VhnswBeginProjector(graph, &sketches->space);
	VhnswGraphAttachLists(crew, &job.lists);
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * MEASURED_AT_ONCE;
		uint32		end = Min(first + MEASURED_AT_ONCE, job.n);

		for (uint32 i = first; i < end; i++)
		{
			uint32		id = VhnswGraphSpread(graph, job.n, i);
			const uint32 *ids = VhnswGraphGetIds(graph, id);

			squares[i] = (EdgeSquares)
			{
				0
			};
			VhnswProject(projector, &id, 1);
			memcpy(sketches->from, projector->z, dims * sizeof(float));
			for (int j = 0; j < graph->list_counts[id]; j++)
			{
				const VhnswCode *other = VhnswGraphGetCode(graph, ids[j]);

				squares[i].all +=
					Max(VhnswCodeDistance(&plain, VhnswGraphGetCode(graph, id),
										  other), 0);
				if (j % DISTANCE_ROWS == 0)
					VhnswProject(projector, ids + j,
								 Min(graph->list_counts[id] - j, DISTANCE_ROWS));
				squares[i].kept +=
					DistanceL2Squared(sketches->from, projector->z +
									  j % DISTANCE_ROWS * dims, dims);
			}
		}
	}
}

/*
 * VhnswMakeSketches
 *		Choose the sketches of a linked graph, learn their basis, and project
 *		all elements.
 *
 * The result lives in the current memory context.  A NOTICE says when the data
 * need larger sketches than usual.
 */
VhnswSketches *
VhnswMakeSketches(VhnswGraph *graph, const char *index_name)
{
	VhnswSketches *sketches = palloc0_object(VhnswSketches);
	VhnswLayout *layout = &sketches->layout;
	SketchSize	size = first_size(&graph->layout);
	double		energies[SKETCH_FULL] = {0};
	VhnswMemory covariance = graph->covariance;
	Size		cache = VhnswGraphCacheBytes(graph, VhnswOrderBytes);

	/* Learning takes memory too.  (An empty graph has no lists.) */
	if (graph->codes)
		VhnswSpillResize(graph->codes, VHNSW_MIN_CACHE / 2);
	if (graph->spilled_lists)
		VhnswSpillResize(graph->spilled_lists, VHNSW_MIN_CACHE / 4);

	for (;; size++)
	{
		/* Where the usual ones were not enough, 2 bits will not be either. */
		if (size == SKETCH_LARGE && energies[SKETCH_ONE_BIT] > 0)
			size++;
		*layout = graph->layout;
		choose_dims(size, layout);
		sketches->trained = layout->edge_dims > 0 &&
			layout->edge_dims < layout->dims;
		if (sketches->trained &&
			graph->count < ELEMENTS_PER_DIM * layout->edge_dims)
		{
			VhnswUntrainedSketches(layout);
			sketches->trained = false;
			size = SKETCH_NONE;
		}

		if (sketches->trained)
		{
			if (covariance.address == NULL)
				covariance = VhnswLearnCovariance(graph);
			sketches->matrix = find_basis(graph, &covariance, layout->edge_dims);
		}
		VhnswAttachSketches(graph->crew, sketches);
		sketches->energy = 0;
		if (layout->edge_dims > 0 && size != SKETCH_NONE)
			sketches->energy = (float) measure_energy(sketches, graph);
		if (size >= SKETCH_FULL || !sketches->trained)
			break;

		energies[size] = sketches->energy;
		if (sketches->energy >= (layout->edge_bits == 2 ?
								 VHNSW_GOOD_ENERGY : USELESS_ENERGY))
			break;
		VhnswCrewFree(graph->crew, &sketches->matrix);
	}
	if (covariance.address)
		VhnswCrewFree(graph->crew, &covariance);
	if (graph->basis_dims > 0)
		VhnswCrewFree(graph->crew, &graph->basis);
	graph->basis_dims = 0;

	if (size == SKETCH_LARGE_ONE_BIT && energies[SKETCH_ONE_BIT] > 0)
		ereport(NOTICE,
				errmsg("index \"%s\" uses larger sketches of neighbors than usual",
					   index_name),
				errdetail("The usual ones would keep %.0f %% of the distances between neighbors, these keep %.0f %%.",
						  100 * energies[SKETCH_ONE_BIT],
						  100 * sketches->energy));
	if (size >= SKETCH_FULL && energies[SKETCH_LARGE_ONE_BIT] > 0)
		ereport(NOTICE,
				errmsg("index \"%s\" uses %s", index_name,
					   layout->edge_dims > 0 ?
					   "sketches of all dimensions" :
					   "no sketches of neighbors"),
				errdetail("The vectors vary in so many directions that smaller sketches would keep only %.0f %% of the distances between neighbors.",
						  100 * energies[SKETCH_LARGE_ONE_BIT]));

	if (sketches->trained)
	{
		Size		element_bytes = layout->edge_dims * sizeof(Half);

		/* Codes and lists will be read in order, projections are not. */
		if (graph->codes)
		{
			VhnswSpillResize(graph->codes, cache / 16);
			VhnswSpillResize(graph->spilled_lists, cache / 16);
			sketches->spilled = VhnswCrewCreateFile(graph->crew, element_bytes +
													sizeof(float), graph->count,
													cache / 8 * 7);
			sketches->shape = VhnswSpillDescribe(sketches->spilled);
		}
		else
			sketches->memory =
				VhnswCrewAlloc(graph->crew, mul_size(graph->count,
													 element_bytes));
		VhnswCrewRun(graph->crew, VHNSW_JOB_PROJECT, sketches,
					 sizeof(VhnswSketches),
					 (graph->count + PROJECTED_AT_ONCE - 1) / PROJECTED_AT_ONCE);
		sketches->projections = sketches->memory.address;
	}
	VhnswCrewReport(graph->crew, graph->count);
	return sketches;
}

/* Let a process know where basis and projections are, and give it room. */
void
VhnswAttachSketches(VhnswCrew *crew, VhnswSketches *sketches)
{
	VhnswLayout *layout = &sketches->layout;

	layout->coder = crew->graph->layout.coder;
	VhnswEdgeSpaceInit(&sketches->space, layout, sketches->trained ?
					   VhnswCrewAddress(crew, &sketches->matrix) : NULL);
	if (sketches->projections)
		sketches->projections = VhnswCrewAddress(crew, &sketches->memory);
	sketches->spilled = VhnswCrewFile(crew, &sketches->shape);
	sketches->from = palloc_array(float, Max(layout->edge_dims, 1));
	sketches->to = palloc_array(float, Max(layout->edge_dims, 1));
	sketches->edge = palloc(VhnswEdgeSize(layout));
	sketches->copy = crew->graph->codes ? palloc(crew->graph->code_size) : NULL;
}

/*
 * Job: project elements.  Projections are kept in half precision, relative to
 * the vector's length, which has any magnitude.  In a file that is behind them.
 */
void
VhnswProjectJob(VhnswCrew *crew, const void *arg)
{
	VhnswSketches sketches = *(const VhnswSketches *) arg;
	const VhnswGraph *graph = crew->graph;
	int			dims = sketches.layout.edge_dims;
	Size		stride = dims * sizeof(Half);
	uint32		chunk;
	char	   *projections;
	VhnswProjector *projector;

	VhnswAttachSketches(crew, &sketches);
	projector = VhnswBeginProjector(graph, &sketches.space);
	if (sketches.spilled)
	{
		stride = VhnswSpillStride(stride + sizeof(float));
		projections = palloc0(PROJECTED_AT_ONCE * stride);
	}
	else
		projections = VhnswCrewAddress(crew, &sketches.memory);
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * PROJECTED_AT_ONCE;
		uint32		end = Min(first + PROJECTED_AT_ONCE, graph->count);

		VhnswCrewReport(crew, first);
		VD_DEBUG_POINT("vhnsw-build-project");
		for (uint32 id = first; id < end; id++)
		{
			float		norm = VhnswGraphGetCode(graph, id)->norm;
			float	   *z = VhnswProjectInOrder(projector, id, first, end);
			Half	   *projection =
			(Half *) (projections + stride *
					  (sketches.spilled ? id - first : (Size) id));

			for (int j = 0; j < dims && norm > 0; j++)
				z[j] /= norm;
			DistanceFloatToHalf(z, projection, dims);
			if (sketches.spilled)
				memcpy(projection + dims, &norm, sizeof(float));
		}
		if (sketches.spilled)
			VhnswSpillWrite(sketches.spilled, first, end - first, projections);
	}
}

/*
 * The projection of an element, whose norm is returned.  Without a basis it is
 * part of the code.
 */
static float
load_projection(const VhnswSketches *sketches, const VhnswGraph *graph,
				uint32 id, float *z)
{
	int			dims = sketches->space.dims;
	const Half *projection;
	float		norm;

	if (sketches->projections == NULL && sketches->spilled == NULL)
	{
		const VhnswCode *code = VhnswGraphGetCode(graph, id);

		VhnswEdgeProjectCode(&sketches->space, code, z);
		return code->norm;
	}
	if (sketches->spilled)
	{
		projection = VhnswSpillGet(sketches->spilled, id);
		memcpy(&norm, projection + dims, sizeof(float));
	}
	else
	{
		projection = sketches->projections + (Size) id * dims;
		norm = VhnswGraphGetCode(graph, id)->norm;
	}
	DistanceHalfToFloat(projection, z, dims);
	for (int i = 0; i < dims; i++)
		z[i] *= norm;
	return norm;
}

/*
 * Distances of an element from its neighbors.  If lists are in a file, it has
 * those of links that were chosen; then only links that were added need codes.
 */
static void
load_distances(const VhnswSketches *sketches, const VhnswGraph *graph,
			   uint32 id, float *distances)
{
	const VhnswCode *code = VhnswGraphKeepCode(graph, id, sketches->copy, 0);
	const uint32 *ids = VhnswGraphGetIds(graph, id);
	const float *known = VhnswGraphListDistances(graph, ids);
	int			n = graph->list_counts[id];

	if (known == NULL)
	{
		VhnswGraphDistances(graph, code, ids, n, distances);
		return;
	}
	for (int i = 0; i < n; i++)
		distances[i] = !isnan(known[i]) ? known[i] :
			VhnswCodeDistance(&graph->layout, code,
							  VhnswGraphGetCode(graph, ids[i]));
}

/* What an element's sketch is made of lies anywhere in memory. */
static void
prefetch_neighbor(const VhnswSketches *sketches, const VhnswGraph *graph,
				  uint32 id)
{
	Size		size = sketches->space.dims * sizeof(Half);

	VhnswGraphPrefetchCode(graph, id);
	if (sketches->projections)
		VhnswPrefetch(sketches->projections + (Size) id * sketches->space.dims, size);
}

/*
 * VhnswSketchNeighbors
 *		Put the sketches of an element's neighbors into its slot.
 */
void
VhnswSketchNeighbors(VhnswSketches *sketches, const VhnswGraph *graph,
					 uint32 id, VhnswSlot slot)
{
	const uint32 *ids = VhnswGraphGetIds(graph, id);
	VhnswEdgeEnd from = {0, sketches->from};
	VhnswEdgeEnd to = {0, sketches->to};
	float		distances[VHNSW_MAX_DEGREE];

	from.norm = load_projection(sketches, graph, id, sketches->from);
	load_distances(sketches, graph, id, distances);
	for (int i = 0; i < graph->list_counts[id]; i++)
	{
		if (i + PREFETCHED < graph->list_counts[id])
			prefetch_neighbor(sketches, graph, ids[i + PREFETCHED]);
		to.norm = load_projection(sketches, graph, ids[i], sketches->to);
		VhnswEdgeEncode(&sketches->space, &from, &to, distances[i],
						sketches->edge);
		VhnswEdgePut(&sketches->layout, slot, i, sketches->edge);
	}
}
