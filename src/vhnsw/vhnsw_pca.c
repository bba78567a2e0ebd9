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
 * Everything is done by inner products of rows, for which src/distance has
 * fast kernels: the sample comes as one row for each dimension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "miscadmin.h"

#include "distance/distance.h"
#include "vhnsw/vhnsw_pca.h"

/* Enough for a share of the variance that is right to a percent or so. */
#define ITERATIONS 10

#define PCA_SEED UINT64CONST(0x50434176686E7377)

static float *covariance(float *columns, int n, int dims);
static void random_rows(pg_prng_state *prng, float *rows, int nrows, int dims);
static void orthonormalize(pg_prng_state *prng, float *rows, int nrows,
						   int dims);
static void multiply(const float *a, int nrows, int inner, const float *b,
					 int ncolumns, float *result);

/*
 * VhnswPca
 *		An orthonormal base of the 'ncomponents' dimensions in which the sample
 *		varies most: as many rows of 'dims' values.
 *
 * 'columns' has a row of n values for each dimension; they are centred here.
 * Takes dims^2 values of memory besides.  Can be canceled.
 */
void
VhnswPca(float *columns, int n, int dims, int ncomponents, float *matrix)
{
	float	   *square = covariance(columns, n, dims);
	Size		size = mul_size(mul_size(ncomponents, dims), sizeof(float));
	float	   *rows = palloc_extended(size, MCXT_ALLOC_HUGE);
	float	   *mixing = palloc_extended(mul_size(mul_size(ncomponents, ncomponents),
												  sizeof(float)),
										 MCXT_ALLOC_HUGE);
	pg_prng_state prng;

	pg_prng_seed(&prng, PCA_SEED);
	random_rows(&prng, matrix, ncomponents, dims);
	orthonormalize(&prng, matrix, ncomponents, dims);
	for (int i = 0; i < ITERATIONS; i++)
	{
		for (int row = 0; row < ncomponents; row++)
		{
			CHECK_FOR_INTERRUPTS();
			for (int j = 0; j < dims; j++)
				rows[(Size) row * dims + j] = (float)
					DistanceInnerProduct(matrix + (Size) row * dims,
										 square + (Size) j * dims, dims);
		}
		orthonormalize(&prng, rows, ncomponents, dims);
		memcpy(matrix, rows, size);
	}

	random_rows(&prng, mixing, ncomponents, ncomponents);
	orthonormalize(&prng, mixing, ncomponents, ncomponents);
	multiply(mixing, ncomponents, ncomponents, rows, dims, matrix);

	pfree(square);
	pfree(rows);
	pfree(mixing);
}

/* The covariance matrix, up to a factor: largest value 1. */
static float *
covariance(float *columns, int n, int dims)
{
	float	   *square = palloc_extended(mul_size(mul_size(dims, dims),
												  sizeof(float)),
										 MCXT_ALLOC_HUGE);
	float		largest = 0;

	for (int i = 0; i < dims; i++)
	{
		float	   *column = columns + (Size) i * n;
		double		mean = 0;

		for (int j = 0; j < n; j++)
			mean += column[j];
		mean /= n;
		for (int j = 0; j < n; j++)
		{
			column[j] -= (float) mean;
			largest = Max(largest, fabsf(column[j]));
		}
	}

	/* Squares must not leave the range of float4. */
	for (Size i = 0; i < (Size) dims * n && largest > 0; i++)
		columns[i] /= largest;

	for (int i = 0; i < dims; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j <= i; j++)
			square[(Size) i * dims + j] = square[(Size) j * dims + i] = (float)
				DistanceInnerProduct(columns + (Size) i * n,
									 columns + (Size) j * n, n);
	}
	return square;
}

static void
random_rows(pg_prng_state *prng, float *rows, int nrows, int dims)
{
	for (Size i = 0; i < (Size) nrows * dims; i++)
		rows[i] = (float) (pg_prng_double(prng) - 0.5);
}

/*
 * Make rows orthonormal, by Gram and Schmidt, twice for accuracy.  A row that
 * depends on those before it, as with a sample of few dimensions, is replaced
 * by a random one.
 */
static void
orthonormalize(pg_prng_state *prng, float *rows, int nrows, int dims)
{
	for (int i = 0; i < nrows; i++)
	{
		float	   *row = rows + (Size) i * dims;
		double		before = sqrt(DistanceNormSquared(row, dims));
		double		length;

		CHECK_FOR_INTERRUPTS();
		for (int pass = 0; pass < 2; pass++)
		{
			for (int j = 0; j < i; j++)
			{
				const float *other = rows + (Size) j * dims;
				float		product = (float) DistanceInnerProduct(row, other,
																   dims);

				for (int k = 0; k < dims; k++)
					row[k] -= product * other[k];
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
		{
			const float *other = b + (Size) j * ncolumns;
			float		factor = a[(Size) i * inner + j];

			for (int k = 0; k < ncolumns; k++)
				row[k] += factor * other[k];
		}
	}
}
