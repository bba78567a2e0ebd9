/*-------------------------------------------------------------------------
 *
 * vhnsw_pca.c
 *	  Principal component analysis of a sample.
 *
 * Subspace iteration (Golub and Van Loan, "Matrix Computations", 8.2.4) on the
 * covariance matrix.  Only the subspace matters here, which is good long
 * before single components are.  They are mixed at the end by a random
 * rotation, because codes of one scale for all components lose least when all
 * have the same variance.
 *
 * Nearly everything is done by inner products of rows, for which src/distance
 * has fast kernels and which workers take part in: the sample comes as one row
 * for each dimension.  Its covariance serves for any number of components.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "miscadmin.h"

#include "distance/distance.h"
#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_pca.h"

/* Enough for a share of the variance that is right to a percent or so. */
#define ITERATIONS 5

/*
 * A chunk of products: rows that stay in a processor's cache while these others
 * pass by them.
 */
#define ROWS_AT_ONCE 16
#define OTHERS_AT_ONCE 128

/* Calling workers takes longer than so many multiplications. */
#define FEW_MULTIPLICATIONS 1e6

#define PCA_SEED UINT64CONST(0x50434176686E7377)

/* Job: the products of each dimension with those that do not come before it. */
typedef struct CovarianceJob
{
	int			n;
	int			dims;
	VhnswMemory columns;
	VhnswMemory result;
} CovarianceJob;

/* Job: the inner products of all rows of a with all of b. */
typedef struct ProductsJob
{
	int			na;
	int			nb;
	int			dims;
	VhnswMemory a;
	VhnswMemory b;
	VhnswMemory result;			/* na rows of nb values */
} ProductsJob;

static void multiply_rows(VhnswCrew *crew, const ProductsJob *job);
static uint32 chunks_of_row(const ProductsJob *job);
static void random_rows(pg_prng_state *prng, float *rows, int nrows, int dims);
static void orthonormalize(pg_prng_state *prng, float *rows, int nrows,
						   int dims, int passes);
static void multiply(const float *a, int nrows, int inner, const float *b,
					 int ncolumns, float *result);
static void add_multiple(float *restrict row, float factor,
						 const float *restrict other, int dims);

/*
 * VhnswBeginCovariance
 *		The covariance matrix of a sample of which nothing is known yet: dims^2
 *		values, for VhnswAddCovariance() and at last VhnswEndCovariance().
 */
VhnswMemory
VhnswBeginCovariance(VhnswCrew *crew, int dims)
{
	Size		size = mul_size(mul_size(dims, dims), sizeof(float));
	VhnswMemory covariance = VhnswCrewAlloc(crew, size);

	memset(covariance.address, 0, size);
	return covariance;
}

/*
 * VhnswAddCovariance
 *		Add what some elements of the sample have to say.
 *
 * 'columns' is a finished block for products, with a vector of n values for
 * each dimension, which are centered, and whose squares have sums in the range
 * of float4 for the whole sample.
 */
void
VhnswAddCovariance(VhnswCrew *crew, const VhnswMemory *covariance,
				   const VhnswMemory *columns, int n, int dims)
{
	CovarianceJob job = {
		.n = n,.dims = dims,.columns = *columns,.result = *covariance
	};

	VhnswCrewRun(crew, VHNSW_JOB_COVARIANCE, &job, sizeof(job),
				 (dims + DISTANCE_PANEL - 1) / DISTANCE_PANEL);
}

/* Fill the other half of the matrix: it is one, up to a factor. */
void
VhnswEndCovariance(const VhnswMemory *covariance, int dims)
{
	float	   *square = covariance->address;

	for (int i = 0; i < dims; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < i; j++)
			square[(Size) j * dims + i] = square[(Size) i * dims + j];
	}
}

void
VhnswCovarianceJob(VhnswCrew *crew, const void *arg)
{
	const CovarianceJob *job = arg;
	float	   *result = VhnswCrewAddress(crew, &job->result);
	int			dims = job->dims;
	int32		dots[DISTANCE_ROWS][DISTANCE_PANEL];
	VhnswBlock	columns;
	uint32		chunk;

	VhnswBlockInit(&columns, VHNSW_BLOCK_PRODUCT, job->n, dims,
				   VhnswCrewAddress(crew, &job->columns));
	while (VhnswCrewNext(crew, &chunk))
	{
		int			first = (int) chunk * DISTANCE_PANEL;
		int			end = Min(first + DISTANCE_PANEL, dims);

		for (int row = first; row < dims; row += DISTANCE_ROWS)
		{
			CHECK_FOR_INTERRUPTS();
			DistanceBlockDots(columns.rows + (Size) row * columns.row_bytes,
							  columns.panels + (Size) first * columns.row_bytes,
							  columns.row_bytes, &dots[0][0]);
			for (int i = row; i < Min(row + DISTANCE_ROWS, dims); i++)
				for (int j = first; j < end; j++)
					result[(Size) i * dims + j] +=
						columns.factors[i] * columns.factors[j] *
						(float) (dots[i - row][j - first] -
								 DISTANCE_ROW_OFFSET * columns.sums[j]);
		}
	}
}

/*
 * VhnswPca
 *		An orthonormal base of the 'ncomponents' dimensions in which a sample
 *		varies most, by its covariance: as many rows of 'dims' values.
 *
 * Can be canceled.
 */
void
VhnswPca(VhnswCrew *crew, const VhnswMemory *covariance, int dims,
		 int ncomponents, const VhnswMemory *matrix)
{
	Size		size = mul_size(mul_size(ncomponents, dims), sizeof(float));
	ProductsJob job = {
		.na = ncomponents,.nb = dims,.dims = dims,
		.a = *matrix,.b = *covariance
	};
	float	   *rows;
	float	   *mixing = palloc_extended(mul_size(mul_size(ncomponents, ncomponents),
												  sizeof(float)),
										 MCXT_ALLOC_HUGE);
	pg_prng_state prng;

	job.result = VhnswCrewAlloc(crew, size);
	rows = job.result.address;
	pg_prng_seed(&prng, PCA_SEED);
	random_rows(&prng, matrix->address, ncomponents, dims);
	orthonormalize(&prng, matrix->address, ncomponents, dims, 1);
	for (int i = 0; i < ITERATIONS; i++)
	{
		multiply_rows(crew, &job);
		orthonormalize(&prng, rows, ncomponents, dims,
					   i + 1 < ITERATIONS ? 1 : 2);
		memcpy(matrix->address, rows, size);
	}

	random_rows(&prng, mixing, ncomponents, ncomponents);
	orthonormalize(&prng, mixing, ncomponents, ncomponents, 2);
	multiply(mixing, ncomponents, ncomponents, rows, dims, matrix->address);

	VhnswCrewFree(crew, &job.result);
	pfree(mixing);
}

/* Do the job, alone if it is small. */
static void
multiply_rows(VhnswCrew *crew, const ProductsJob *job)
{
	VhnswCrew	alone = VhnswCrewOfOne(crew);

	VhnswCrewRun((double) job->na * job->nb * job->dims < FEW_MULTIPLICATIONS ?
				 &alone : crew,
				 VHNSW_JOB_PRODUCTS, job, sizeof(*job),
				 (job->na + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE *
				 chunks_of_row(job));
}

static uint32
chunks_of_row(const ProductsJob *job)
{
	return (job->nb + OTHERS_AT_ONCE - 1) / OTHERS_AT_ONCE;
}

void
VhnswProductsJob(VhnswCrew *crew, const void *arg)
{
	const ProductsJob *job = arg;
	const float *a = VhnswCrewAddress(crew, &job->a);
	const float *b = VhnswCrewAddress(crew, &job->b);
	float	   *result = VhnswCrewAddress(crew, &job->result);
	uint32		chunk;

	while (VhnswCrewNext(crew, &chunk))
	{
		int			first = chunk / chunks_of_row(job) * ROWS_AT_ONCE;
		int			end = Min(first + ROWS_AT_ONCE, job->na);
		int			other = chunk % chunks_of_row(job) * OTHERS_AT_ONCE;
		int			end_other = Min(other + OTHERS_AT_ONCE, job->nb);

		for (int j = other; j < end_other; j++)
		{
			CHECK_FOR_INTERRUPTS();
			for (int i = first; i < end; i++)
				result[(Size) i * job->nb + j] = (float)
					DistanceInnerProduct(a + (Size) i * job->dims,
										 b + (Size) j * job->dims, job->dims);
		}
	}
}

static void
random_rows(pg_prng_state *prng, float *rows, int nrows, int dims)
{
	for (Size i = 0; i < (Size) nrows * dims; i++)
		rows[i] = (float) (pg_prng_double(prng) - 0.5);
}

/*
 * Make rows orthonormal, by Gram and Schmidt: with two passes for accuracy, with
 * one if the rows will be multiplied again.  A row that depends on those before
 * it, as with a sample of few dimensions, is replaced by a random one.
 */
static void
orthonormalize(pg_prng_state *prng, float *rows, int nrows, int dims,
			   int passes)
{
	for (int i = 0; i < nrows; i++)
	{
		float	   *row = rows + (Size) i * dims;
		double		before = sqrt(DistanceNormSquared(row, dims));
		double		length;

		CHECK_FOR_INTERRUPTS();
		for (int pass = 0; pass < passes; pass++)
		{
			for (int j = 0; j < i; j++)
			{
				const float *other = rows + (Size) j * dims;
				float		product = (float) DistanceInnerProduct(row, other,
																   dims);

				add_multiple(row, -product, other, dims);
			}
		}
		length = sqrt(DistanceNormSquared(row, dims));
		if (!(length > 1e-5 * before) || length == 0)
		{
			random_rows(prng, row, 1, dims);
			i--;
			continue;
		}
		for (int k = 0; k < dims; k++)
			row[k] = (float) (row[k] / length);
	}
}

/* result = a (nrows x inner) times b (inner x ncolumns) */
static void
multiply(const float *a, int nrows, int inner, const float *b, int ncolumns,
		 float *result)
{
	for (int i = 0; i < nrows; i++)
	{
		float	   *row = result + (Size) i * ncolumns;

		CHECK_FOR_INTERRUPTS();
		memset(row, 0, ncolumns * sizeof(float));
		for (int j = 0; j < inner; j++)
			add_multiple(row, a[(Size) i * inner + j], b + (Size) j * ncolumns,
						 ncolumns);
	}
}

/* row += factor times other */
static void
add_multiple(float *restrict row, float factor, const float *restrict other,
			 int dims)
{
	for (int i = 0; i < dims; i++)
		row[i] += factor * other[i];
}
