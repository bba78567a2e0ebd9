/*-------------------------------------------------------------------------
 *
 * vhnsw_basis.c
 *	  The dimensions in which the elements of a build vary most.
 *
 * A sample is turned, piece by piece, into a block that has a vector for each
 * dimension, of which the covariance follows by the products of all pairs
 * (vhnsw_pca.c).  Codes of 7 bits are enough for that: what they lose is noise,
 * the same in all directions.
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

/* The sample has so many elements, or fewer of very many dimensions. */
#define SAMPLE_ELEMENTS 6000
#define SAMPLE_BYTES (256 * 1024 * 1024)

/*
 * So many of them are in memory at a time.  The room that they take is enough
 * for what computing a basis takes later: two matrices of up to half as many
 * rows.
 */
#define PIECE_ELEMENTS 512

/*
 * Values beyond so many standard deviations count as that: else the codes of a
 * dimension would know nothing but the farthest.
 */
#define MAX_DEVIATIONS 8

/*
 * Job: make vectors of the dimensions of a piece of a sample, DISTANCE_PANEL in
 * each chunk.
 */
typedef struct SampleJob
{
	int			n;				/* elements of the sample */
	int			first;			/* those of the piece: from here */
	int			end;			/* to before this */
	const VhnswCode **copies;	/* of these; NULL in a whole crew */
	float		unit;			/* the largest scale of the sample's codes */
	VhnswMemory ranges;			/* of the values of each dimension */
	VhnswMemory columns;		/* a block, with values of each dimension */
} SampleJob;

/* What values of a dimension, in units of a sample, are in it. */
typedef struct Range
{
	float		mean;
	float		limit;			/* of what deviates from it */
} Range;

static int	sample_size(const VhnswGraph *graph);
static const VhnswCode **copy_piece(const VhnswGraph *graph,
									const SampleJob *job);
static const VhnswCode *sample_code(const VhnswGraph *graph, int n, int i);
static void find_ranges(const VhnswGraph *graph, SampleJob *job);
static void add_values(double *restrict sums, double *restrict squares,
					   const int8 *restrict u, float scale, int dims);

static int
sample_size(const VhnswGraph *graph)
{
	Size		most = SAMPLE_BYTES / (sizeof(float) * graph->layout.dims);

	return (int) Min(Min(SAMPLE_ELEMENTS, most), graph->count);
}

/*
 * VhnswCovarianceBytes
 *		Memory for the covariance, and a piece of a sample.
 *
 * A value of the piece takes no more than a float would: two bytes in the
 * block, and one in the copy of a code that is in a file.
 */
Size
VhnswCovarianceBytes(const VhnswLayout *layout)
{
	return ((Size) PIECE_ELEMENTS + layout->dims) * layout->dims * sizeof(float);
}

/*
 * VhnswLearnCovariance
 *		How the vectors vary, up to a factor, by elements spread evenly.
 */
VhnswMemory
VhnswLearnCovariance(const VhnswGraph *graph)
{
	VhnswCrew  *crew = graph->crew;
	VhnswCrew	alone = VhnswCrewOfOne(crew);
	int			dims = graph->layout.dims;
	SampleJob	job = {.n = sample_size(graph)};
	VhnswMemory covariance;

	covariance = VhnswBeginCovariance(crew, dims);
	job.ranges = VhnswCrewAlloc(crew, dims * sizeof(Range));
	job.columns = VhnswCrewAlloc(crew, VhnswBlockBytes(PIECE_ELEMENTS, dims));
	find_ranges(graph, &job);
	for (job.first = 0; job.first < job.n; job.first = job.end)
	{
		job.end = Min(job.first + PIECE_ELEMENTS, job.n);
		if (graph->codes)
			job.copies = copy_piece(graph, &job);
		VhnswCrewRun(job.copies ? &alone : crew, VHNSW_JOB_SAMPLE, &job,
					 sizeof(job), (dims + DISTANCE_PANEL - 1) / DISTANCE_PANEL);
		if (job.copies)
		{
			pfree(unconstify(VhnswCode *, job.copies[0]));
			pfree(job.copies);
		}
		VhnswAddCovariance(crew, &covariance, &job.columns,
						   job.end - job.first, dims);
	}
	VhnswCrewFree(crew, &job.columns);
	VhnswCrewFree(crew, &job.ranges);
	VhnswEndCovariance(&covariance, dims);
	return covariance;
}

/* What is in a file is read once for all chunks of a job. */
static const VhnswCode **
copy_piece(const VhnswGraph *graph, const SampleJob *job)
{
	uint32		ids[PIECE_ELEMENTS];

	for (int i = job->first; i < job->end; i++)
		ids[i - job->first] = VhnswGraphSpread(graph, job->n, i);
	return VhnswGraphSample(graph, ids, job->end - job->first);
}

/* The code of element i of a sample of n. */
static const VhnswCode *
sample_code(const VhnswGraph *graph, int n, int i)
{
	return VhnswGraphGetCode(graph, VhnswGraphSpread(graph, n, i));
}

/* Find the unit of a sample, and the ranges of its values. */
static void
find_ranges(const VhnswGraph *graph, SampleJob *job)
{
	int			dims = graph->layout.dims;
	Range	   *ranges = job->ranges.address;
	double	   *sums = palloc0_array(double, dims);
	double	   *squares = palloc0_array(double, dims);
	VhnswUnpacked room;

	for (int i = 0; i < job->n; i++)
		job->unit = Max(job->unit, sample_code(graph, job->n, i)->scale);
	for (int i = 0; i < job->n && job->unit > 0; i++)
	{
		const VhnswCode *code = sample_code(graph, job->n, i);

		CHECK_FOR_INTERRUPTS();
		add_values(sums, squares,
				   VhnswRotatedNumbers(code, graph->layout.is_direct, dims,
									   &room),
				   code->scale / job->unit, dims);
	}
	for (int i = 0; i < dims; i++)
	{
		double		mean = sums[i] / Max(job->n, 1);
		double		variance = squares[i] / Max(job->n, 1) - mean * mean;

		ranges[i] = (Range)
		{
			(float) mean, MAX_DEVIATIONS * (float) sqrt(Max(variance, 0))
		};
	}
	pfree(sums);
	pfree(squares);
}

/* Add the values of a code, and their squares. */
static void
add_values(double *restrict sums, double *restrict squares,
		   const int8 *restrict u, float scale, int dims)
{
	for (int i = 0; i < dims; i++)
	{
		double		value = scale * u[i];

		sums[i] += value;
		squares[i] += value * value;
	}
}

void
VhnswSampleJob(VhnswCrew *crew, const void *arg)
{
	const SampleJob *job = arg;
	const VhnswGraph *graph = crew->graph;
	const Range *ranges = VhnswCrewAddress(crew, &job->ranges);
	int			dims = graph->layout.dims;
	int			n = job->end - job->first;
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
			sample_code(graph, job->n, job->first + i);
			float		scale = job->unit > 0 ? code->scale / job->unit : 0;

			for (int j = 0; j < count; j++)
			{
				const Range *range = &ranges[first + j];
				float		value = scale *
				(graph->layout.is_direct ? code->code[first + j] :
				 VhnswUnpackNibble(code->code, vhnsw_rotated_levels, dims,
								   first + j)) - range->mean;

				values[(Size) j * n + i] =
					Max(Min(value, range->limit), -range->limit);
			}
		}
		columns.count = first;
		for (int j = 0; j < count; j++)
			VhnswBlockAddFloats(&columns, values + (Size) j * n);
		if (first + count == dims)
			VhnswBlockFinish(&columns);
	}
	pfree(values);
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
