/*-------------------------------------------------------------------------
 *
 * vhnsw_basis.c
 *	  The dimensions in which the elements of a build vary most.
 *
 * A sample is turned into a block that has a vector for each dimension, of
 * which the covariance follows by the products of all pairs (vhnsw_pca.c).
 * Codes of 7 bits are enough for that: what they lose is noise, the same in all
 * directions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "distance/distance.h"
#include "vecdist_debug.h"
#include "vhnsw/vhnsw_basis.h"
#include "vhnsw/vhnsw_nibbles.h"
#include "vhnsw/vhnsw_pca.h"

/* The sample has as many elements as memory allows, but not more. */
#define SAMPLE_ELEMENTS 6000
#define SAMPLE_BYTES (256 * 1024 * 1024)

/*
 * Values beyond so many standard deviations count as that: else the codes of a
 * dimension would know nothing but the farthest.
 */
#define MAX_DEVIATIONS 8

/*
 * Job: make vectors of a sample's dimensions, DISTANCE_PANEL in each chunk.
 */
typedef struct SampleJob
{
	int			n;
	const VhnswCode **copies;	/* of the elements; NULL in a whole crew */
	float		unit;			/* the largest scale of their codes */
	VhnswMemory columns;		/* a block, with n values of each dimension */
} SampleJob;

static Size full_sample(const VhnswLayout *layout);
static const VhnswCode **copy_sample(const VhnswGraph *graph, int n);
static const VhnswCode *sample_code(const VhnswGraph *graph, int n, int i);
static void center(float *values, int n);

/* How many elements make a sample, if memory allows that. */
static Size
full_sample(const VhnswLayout *layout)
{
	return Min(SAMPLE_ELEMENTS, SAMPLE_BYTES / (sizeof(float) * layout->dims));
}

/* Memory for a full sample and the covariance. */
Size
VhnswCovarianceBytes(const VhnswLayout *layout)
{
	return (full_sample(layout) + layout->dims) * layout->dims * sizeof(float);
}

/*
 * VhnswLearnCovariance
 *		How the vectors vary, by elements spread evenly: as many as 'room' has
 *		place for beside the covariance.
 *
 * A value of the sample takes no more than a float would: two bytes in the
 * block, and one in the copy of a code that is in a file.
 */
VhnswMemory
VhnswLearnCovariance(const VhnswGraph *graph, Size room)
{
	VhnswCrew  *crew = graph->crew;
	VhnswCrew	alone = VhnswCrewOfOne(crew);
	int			dims = graph->layout.dims;
	Size		squares = (Size) dims * dims * sizeof(float);
	Size		n = (room > squares ? room - squares : 0) / (sizeof(float) * dims);
	SampleJob	job = {0};
	VhnswMemory covariance;

	/* So many are in the plan of every build that has sketches to learn. */
	n = Max(n, VHNSW_MIN_BASIS_SAMPLE);
	n = Min(Min(n, full_sample(&graph->layout)), graph->count);

	job.n = (int) n;
	if (graph->codes)
		job.copies = copy_sample(graph, job.n);
	for (int i = 0; i < job.n; i++)
		job.unit = Max(job.unit, job.copies ? job.copies[i]->scale :
					   sample_code(graph, job.n, i)->scale);
	job.columns = VhnswCrewAlloc(crew, VhnswBlockBytes(job.n, dims));
	VhnswCrewRun(job.copies ? &alone : crew, VHNSW_JOB_SAMPLE, &job, sizeof(job),
				 (dims + DISTANCE_PANEL - 1) / DISTANCE_PANEL);
	if (job.copies)
	{
		pfree(unconstify(VhnswCode *, job.copies[0]));
		pfree(job.copies);
	}
	covariance = VhnswCovariance(crew, &job.columns, job.n, dims);
	VhnswCrewFree(crew, &job.columns);
	return covariance;
}

/* What is in a file is read once. */
static const VhnswCode **
copy_sample(const VhnswGraph *graph, int n)
{
	uint32	   *ids = palloc_array(uint32, n);
	const VhnswCode **copies;

	for (int i = 0; i < n; i++)
		ids[i] = VhnswGraphSpread(graph, n, i);
	copies = VhnswGraphSample(graph, ids, n);
	pfree(ids);
	return copies;
}

/* The code of element i of a sample of n. */
static const VhnswCode *
sample_code(const VhnswGraph *graph, int n, int i)
{
	return VhnswGraphGetCode(graph, VhnswGraphSpread(graph, n, i));
}

void
VhnswSampleJob(VhnswCrew *crew, const void *arg)
{
	const SampleJob *job = arg;
	const VhnswGraph *graph = crew->graph;
	int			dims = graph->layout.dims;
	int			n = job->n;
	float	   *values = palloc_array(float, (Size) DISTANCE_PANEL * n);
	VhnswBlock	columns;
	uint32		chunk;

	VhnswBlockInit(&columns, VHNSW_BLOCK_PRODUCT, n, dims,
				   VhnswCrewAddress(crew, &job->columns));
	while (VhnswCrewNext(crew, &chunk))
	{
		int			first = (int) chunk * DISTANCE_PANEL;
		int			count = Min(DISTANCE_PANEL, dims - first);

		CHECK_FOR_INTERRUPTS();
		VD_DEBUG_POINT("vhnsw-build-sample");
		for (int i = 0; i < n; i++)
		{
			const VhnswCode *code = job->copies ? job->copies[i] :
			sample_code(graph, n, i);
			float		scale = job->unit > 0 ? code->scale / job->unit : 0;

			for (int j = 0; j < count; j++)
				values[(Size) j * n + i] = scale *
					(graph->layout.is_direct ? code->code[first + j] :
					 VhnswUnpackNibble(code->code, vhnsw_rotated_levels, dims,
									   first + j));
		}
		columns.count = first;
		for (int j = 0; j < count; j++)
		{
			center(values + (Size) j * n, n);
			VhnswBlockAddFloats(&columns, values + (Size) j * n);
		}
		if (first + count == dims)
			VhnswBlockFinish(&columns);
	}
	pfree(values);
}

/* Subtract the mean from n values, and limit what remains. */
static void
center(float *values, int n)
{
	double		mean = 0;
	float		limit;

	for (int i = 0; i < n; i++)
		mean += values[i];
	mean /= n;
	for (int i = 0; i < n; i++)
		values[i] -= (float) mean;
	limit = MAX_DEVIATIONS * (float) sqrt(DistanceNormSquared(values, n) / n);
	for (int i = 0; i < n; i++)
		values[i] = Max(Min(values[i], limit), -limit);
}

/*
 * VhnswTrainBasis
 *		A basis for 'ncomponents' dimensions, of vectors that blocks have codes
 *		for.
 *
 * So elements are projected as queries and inserts are, which use floats.
 */
VhnswMemory
VhnswTrainBasis(const VhnswGraph *graph, const VhnswMemory *covariance,
				int ncomponents)
{
	int			dims = graph->layout.dims;
	VhnswMemory matrix =
	VhnswCrewAlloc(graph->crew, mul_size(mul_size(ncomponents, dims),
										 sizeof(float)));
	float	   *basis;

	VhnswPca(graph->crew, covariance, dims, ncomponents, &matrix);
	basis = VhnswCrewAddress(graph->crew, &matrix);
	for (int i = 0; i < ncomponents; i++)
		DistanceBlockRound(basis + (Size) i * dims, dims);
	return matrix;
}

/* In the current memory context */
VhnswProjector *
VhnswBeginProjector(const VhnswGraph *graph, const VhnswEdgeSpace *space)
{
	VhnswProjector *projector = palloc_object(VhnswProjector);

	projector->graph = graph;
	projector->space = space;
	projector->basis = NULL;
	projector->rows = NULL;
	projector->z = palloc_array(float, DISTANCE_ROWS * space->dims);
	if (space->matrix)
	{
		VhnswBlock *basis = VhnswBlockCreate(VHNSW_BLOCK_PRODUCT,
											 space->source_dims, space->dims);

		for (int i = 0; i < space->dims; i++)
			VhnswBlockAddFloats(basis, space->matrix + (Size) i * space->source_dims);
		VhnswBlockFinish(basis);
		projector->basis = basis;
		projector->rows = palloc_array(uint8, DISTANCE_ROWS * basis->row_bytes);
	}
	return projector;
}

/*
 * Project n elements, DISTANCE_ROWS at most, into projector->z.
 *
 * Their codes are multiplied by 7-bit ones of the basis, which are what it is.
 */
void
VhnswProject(VhnswProjector *projector, const uint32 *ids, int n)
{
	const VhnswEdgeSpace *space = projector->space;
	const VhnswBlock *basis = projector->basis;
	float		scales[DISTANCE_ROWS];
	int32		dots[DISTANCE_ROWS][DISTANCE_PANEL];
	VhnswUnpacked room;

	if (basis == NULL)
	{
		for (int i = 0; i < n; i++)
			VhnswEdgeProjectCode(space, VhnswGraphGetCode(projector->graph, ids[i]),
								 projector->z + i * space->dims);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		const VhnswCode *code = VhnswGraphGetCode(projector->graph, ids[i]);
		const int8 *u = VhnswRotatedNumbers(code, space->is_direct,
											space->source_dims, &room);
		uint8	   *row = projector->rows + i * basis->row_bytes;

		scales[i] = code->scale;
		for (int j = 0; j < space->source_dims; j++)
			row[j] = (uint8) u[j] ^ DISTANCE_BYTE_OFFSET;
		memset(row + space->source_dims, DISTANCE_BYTE_OFFSET,
			   basis->row_bytes - space->source_dims);
	}
	for (int i = n; i < DISTANCE_ROWS; i++)
		memset(projector->rows + i * basis->row_bytes, DISTANCE_BYTE_OFFSET,
			   basis->row_bytes);

	for (int first = 0; first < space->dims; first += DISTANCE_PANEL)
	{
		DistanceBlockDots(projector->rows,
						  basis->panels + (Size) first * basis->row_bytes,
						  basis->row_bytes, &dots[0][0]);
		for (int i = 0; i < n; i++)
		{
			for (int j = first; j < Min(first + DISTANCE_PANEL, space->dims); j++)
				projector->z[i * space->dims + j] = scales[i] * basis->factors[j] *
					(float) (dots[i][j - first] - DISTANCE_BYTE_OFFSET * basis->sums[j]);
		}
	}
}

/*
 * VhnswProjectInOrder
 *		The projection of an element, of those from 'first' to before 'end' that
 *		are asked for one after the other.
 */
float *
VhnswProjectInOrder(VhnswProjector *projector, uint32 id, uint32 first,
					uint32 end)
{
	uint32		place = (id - first) % DISTANCE_ROWS;

	if (place == 0)
	{
		uint32		ids[DISTANCE_ROWS];

		for (int i = 0; i < DISTANCE_ROWS; i++)
			ids[i] = id + i;
		VhnswProject(projector, ids, Min(end - id, DISTANCE_ROWS));
	}
	return projector->z + place * projector->space->dims;
}
