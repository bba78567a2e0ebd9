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
 * fast kernels: the sample comes as one row for each dimension.  Its covariance
 * serves for any number of components.
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

/* Rows that stay in a processor's cache while all others pass by them. */
#define ROWS_AT_ONCE 16

#define PCA_SEED UINT64CONST(0x50434176686E7377)

static void products(const float *a, int na, const float *b, int nb, int dims,
					 bool lower, float *result);
static void random_rows(pg_prng_state *prng, float *rows, int nrows, int dims);
static void orthonormalize(pg_prng_state *prng, float *rows, int nrows,
						   int dims);
static void multiply(const float *a, int nrows, int inner, const float *b,
					 int ncolumns, float *result);

/*
 * VhnswCovariance
 *		The covariance matrix of a sample, up to a factor: dims^2 values.
 *
 * 'columns' has a row of n values for each dimension; they are centred here.
 * Can be canceled.
 */
float *
VhnswCovariance(float *columns, int n, int dims)
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

	products(columns, dims, columns, dims, n, true, square);
	for (int i = 0; i < dims; i++)
		for (int j = 0; j < i; j++)
			square[(Size) j * dims + i] = square[(Size) i * dims + j];
	return square;
}

/*
 * VhnswPca
 *		An orthonormal base of the 'ncomponents' dimensions in which a sample
 *		varies most, by its covariance: as many rows of 'dims' values.
 *
 * Can be canceled.
 */
void
VhnswPca(const float *covariance, int dims, int ncomponents, float *matrix)
{
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
		products(matrix, ncomponents, covariance, dims, dims, false, rows);
		orthonormalize(&prng, rows, ncomponents, dims);
		memcpy(matrix, rows, size);
	}

	random_rows(&prng, mixing, ncomponents, ncomponents);
	orthonormalize(&prng, mixing, ncomponents, ncomponents);
	multiply(mixing, ncomponents, ncomponents, rows, dims, matrix);

	pfree(rows);
	pfree(mixing);
}

/*
 * The inner products of all rows of a with all of b, as na rows of nb values;
 * with 'lower' only of those that do not come later in b.
 */
static void
products(const float *a, int na, const float *b, int nb, int dims, bool lower,
		 float *result)
{
	for (int first = 0; first < na; first += ROWS_AT_ONCE)
	{
		int			end = Min(first + ROWS_AT_ONCE, na);

		for (int j = 0; j < (lower ? Min(end, nb) : nb); j++)
		{
			CHECK_FOR_INTERRUPTS();
			for (int i = lower ? Max(first, j) : first; i < end; i++)
				result[(Size) i * nb + j] = (float)
					DistanceInnerProduct(a + (Size) i * dims,
										 b + (Size) j * dims, dims);
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
