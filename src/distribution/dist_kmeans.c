/*-------------------------------------------------------------------------
 *
 * dist_kmeans.c
 *	  Train a set of centroids from vectors that a query returns.
 *
 * A uniform sample of the rows, then k-means: the first centroids by
 * k-means++ (Arthur and Vassilvitskii, 2007), then rounds of Lloyd's until
 * hardly a row moves.  For cosine the vectors are made unit vectors, and so are
 * the means (spherical k-means).  The random numbers are always the same, so
 * that the same rows in the same order give the same centroids.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "distance/distance.h"
#include "distribution/dist_centroid.h"
#include "types/vector.h"
#include "vecdist_compat.h"

/* Rows of the sample for each centroid; more change the means little. */
#define SAMPLE_PER_CENTROID 256
#define MAX_ROUNDS 20
#define FETCH_ROWS 1000
#define SEED 1

typedef struct KMeans
{
	bool		cosine;
	int			k;
	int			dim;			/* 0 before the first row */
	int64		max_rows;		/* of the sample */
	int64		seen;			/* rows that the query returned, usable ones */
	int			n;				/* rows of the sample */
	float	   *x;				/* the sample: n * dim */
	float	   *c;				/* the centroids: k * dim */
	int		   *nearest;		/* of each row, its centroid */
	double	   *distance;		/* and the squared distance to it */
	int64	   *count;			/* rows of each centroid */
	pg_prng_state prng;
	MemoryContext context;		/* of the arrays */
} KMeans;

VECDIST_FUNCTION_INFO_V1(vecdist_train_centroids);

static void take_sample(KMeans *km, const char *query);
static void check_column(SPITupleTable *table);
static void sample_row(KMeans *km, const Vector *vector);
static void begin_sample(KMeans *km, int dim);
static bool make_unit(float *x, int dim);
static void choose_first(KMeans *km);
static int	draw_row(KMeans *km, double total);
static void make_rounds(KMeans *km);
static int	assign_rows(KMeans *km);
static void compute_means(KMeans *km);
static void take_farthest(KMeans *km, int centroid);

#define ROW(km, i) ((km)->x + (size_t) (i) * (km)->dim)
#define MEAN(km, i) ((km)->c + (size_t) (i) * (km)->dim)

/*
 * vecdist.train_centroids(name, query, centroids, metric)
 */
Datum
vecdist_train_centroids(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *query = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *metric = text_to_cstring(PG_GETARG_TEXT_PP(3));
	KMeans		km = {.k = PG_GETARG_INT32(2),.context = CurrentMemoryContext};

	DistRequireCoordinator("vecdist.train_centroids()");
	if (km.k < 1 || km.k > DIST_MAX_CENTROIDS)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("number of centroids must be between 1 and %d",
					   DIST_MAX_CENTROIDS));
	km.cosine = DistMetricIsCosine(metric);
	pg_prng_seed(&km.prng, SEED);
	take_sample(&km, query);
	choose_first(&km);
	make_rounds(&km);
	PG_RETURN_INT32(DistStoreCentroids(name, metric, km.c, km.k, km.dim,
									   km.count));
}

/*
 * Reservoir sampling: each row has the same chance, however many there are.
 */
static void
take_sample(KMeans *km, const char *query)
{
	SPIPlanPtr	plan;
	Portal		portal;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare(query, 0, NULL);
	if (plan == NULL || !SPI_is_cursor_plan(plan))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" is not a query", query),
				errhint("Give one SELECT that returns vectors."));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	do
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		check_column(SPI_tuptable);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[i],
											  SPI_tuptable->tupdesc, 1,
											  &isnull);

			if (!isnull)
				sample_row(km, DatumGetVector(value));
		}
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	SPI_finish();

	if (km->n < km->k)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%d vectors are too few to train %d centroids",
					   km->n, km->k),
				errdetail("NULL is not counted%s.",
						  km->cosine ? ", nor are zero vectors" : ""));
}

static void
check_column(SPITupleTable *table)
{
	if (table->tupdesc->natts != 1 ||
		SPI_gettypeid(table->tupdesc, 1) != DistVectorType())
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("the query must return one column of type vector"),
				errhint("Cast other types, as in SELECT embedding::vector FROM items."));
}

static void
sample_row(KMeans *km, const Vector *vector)
{
	uint64		place;

	if (km->dim == 0)
		begin_sample(km, vector->dim);
	if (vector->dim != km->dim)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("different vector dimensions %d and %d", km->dim,
					   vector->dim));
	if (km->cosine && distance_kernels->norm_squared(vector->x, km->dim) == 0)
		return;

	km->seen++;
	place = km->n < km->max_rows ? km->n++ :
		pg_prng_uint64_range(&km->prng, 0, km->seen - 1);
	if (place >= km->max_rows)
		return;
	memcpy(ROW(km, place), vector->x, sizeof(float) * km->dim);
	if (km->cosine)
		(void) make_unit(ROW(km, place), km->dim);
}

/* The number of dimensions is known: how much fits, and make room. */
static void
begin_sample(KMeans *km, int dim)
{
	Size		row = sizeof(float) * dim + sizeof(int) + sizeof(double);

	km->dim = dim;
	km->max_rows = Min((int64) km->k * SAMPLE_PER_CENTROID,
					   (int64) maintenance_work_mem * 1024 / row);
	if (km->max_rows < km->k)
		ereport(ERROR,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("maintenance_work_mem is too small to train %d centroids of %d dimensions",
					   km->k, dim));
	km->x = MemoryContextAllocHuge(km->context, sizeof(float) * km->max_rows * dim);
	km->c = MemoryContextAllocHuge(km->context, sizeof(float) * km->k * dim);
	km->nearest = MemoryContextAllocHuge(km->context,
										 sizeof(int) * km->max_rows);
	km->distance = MemoryContextAllocHuge(km->context,
										  sizeof(double) * km->max_rows);
	km->count = MemoryContextAlloc(km->context, sizeof(int64) * km->k);
}

static bool
make_unit(float *x, int dim)
{
	double		norm = sqrt(distance_kernels->norm_squared(x, dim));

	if (norm == 0)
		return false;
	for (int j = 0; j < dim; j++)
		x[j] = x[j] / norm;
	return true;
}

/*
 * k-means++: each further centroid is a row, drawn with a chance that grows
 * with its squared distance to the nearest so far.
 */
static void
choose_first(KMeans *km)
{
	int			row = pg_prng_uint64_range(&km->prng, 0, km->n - 1);

	for (int i = 0; i < km->n; i++)
	{
		km->nearest[i] = 0;
		km->distance[i] = DBL_MAX;
	}
	for (int c = 0;; c++)
	{
		double		total = 0;

		CHECK_FOR_INTERRUPTS();
		memcpy(MEAN(km, c), ROW(km, row), sizeof(float) * km->dim);
		for (int i = 0; i < km->n; i++)
		{
			double		d = distance_kernels->l2_squared(ROW(km, i),
														 MEAN(km, c), km->dim);

			km->distance[i] = Min(km->distance[i], d);
			total += km->distance[i];
		}
		if (c + 1 == km->k)
			break;
		if (total == 0)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("the sample has only %d different %s", c + 1,
						   km->cosine ? "directions" : "vectors"),
					errhint("Train fewer centroids."));
		row = draw_row(km, total);
	}
}

/* A row, with a chance in proportion to its distance; 'total' is their sum. */
static int
draw_row(KMeans *km, double total)
{
	double		left = pg_prng_double(&km->prng) * total;
	int			last = 0;

	for (int i = 0; i < km->n; i++)
	{
		if (km->distance[i] <= 0)
			continue;
		last = i;
		left -= km->distance[i];
		if (left < 0)
			break;
	}
	return last;
}

static void
make_rounds(KMeans *km)
{
	for (int round = 0; round < MAX_ROUNDS; round++)
	{
		int			moved = assign_rows(km);

		if (round > 0 && moved <= km->n / 1000)
			break;
		compute_means(km);
	}

	/* The counts are those of the centroids as they are. */
	(void) assign_rows(km);
}

/* Returns how many rows have another centroid than before. */
static int
assign_rows(KMeans *km)
{
	int			moved = 0;

	memset(km->count, 0, sizeof(int64) * km->k);
	for (int i = 0; i < km->n; i++)
	{
		double		best = DBL_MAX;
		int			nearest = 0;

		for (int c = 0; c < km->k; c++)
		{
			double		d = distance_kernels->l2_squared(ROW(km, i),
														 MEAN(km, c), km->dim);

			if (d < best)
			{
				best = d;
				nearest = c;
			}
		}
		if (nearest != km->nearest[i])
			moved++;
		km->nearest[i] = nearest;
		km->distance[i] = best;
		km->count[nearest]++;
		CHECK_FOR_INTERRUPTS();
	}
	return moved;
}

static void
compute_means(KMeans *km)
{
	double	   *sum = palloc_extended(sizeof(double) * km->k * km->dim,
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int i = 0; i < km->n; i++)
	{
		double	   *s = sum + (size_t) km->nearest[i] * km->dim;
		const float *x = ROW(km, i);

		for (int j = 0; j < km->dim; j++)
			s[j] += x[j];
	}
	for (int c = 0; c < km->k; c++)
	{
		if (km->count[c] == 0)
		{
			take_farthest(km, c);
			continue;
		}
		for (int j = 0; j < km->dim; j++)
			MEAN(km, c)[j] = sum[(size_t) c * km->dim + j] / km->count[c];
		if (km->cosine && !make_unit(MEAN(km, c), km->dim))
			take_farthest(km, c);
	}
	pfree(sum);
}

/* Give a centroid that has no rows the row that is farthest from its own. */
static void
take_farthest(KMeans *km, int centroid)
{
	int			farthest = 0;

	for (int i = 1; i < km->n; i++)
		if (km->distance[i] > km->distance[farthest])
			farthest = i;
	memcpy(MEAN(km, centroid), ROW(km, farthest), sizeof(float) * km->dim);
	km->distance[farthest] = 0;
}
