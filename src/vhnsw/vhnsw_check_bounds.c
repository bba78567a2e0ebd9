/*-------------------------------------------------------------------------
 *
 * vhnsw_check_bounds.c
 *	  Try to break proven bounds (I8); empty unless built with ASSERTIONS=1.
 *
 * Vectors are drawn that are hard on the arithmetic: of all magnitudes and of
 * mixed ones, constant, with one element, far from the mean, nearly equal or
 * opposite or parallel to another.  Each becomes a query and a code; the bound
 * of every query and code must not be above what the SQL function returns for
 * the two values.  Likely bounds may be, and are counted.  Numbers depend on the
 * seed alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vecdist_debug.h"

#ifdef VECDIST_DEBUG_POINTS

#include <math.h>

#include "common/pg_prng.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "types/vector.h"
#include "vecdist_compat.h"
#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_coders.h"

/* Vectors of one round: each is compared with each, in both roles. */
#define ROUND 32

#define LARGEST_HALF 65504.0

typedef struct BoundsTest
{
	FmgrInfo	distance;
	FmgrInfo	convert;		/* from vector; fn_oid 0 = none */
	VhnswSpace	space;
	VhnswLayout layout;
	pg_prng_state random;
	double		largest;		/* magnitude that the type can hold */

	/* of a round */
	Vector	   *vectors[ROUND];
	Datum		datums[ROUND];
	VhnswValue	values[ROUND];
	VhnswQuery	queries[ROUND];
	VhnswCode  *codes[ROUND];

	/* counts */
	int64		pairs;			/* with a bound */
	int64		outside;		/* without: extreme or zero */
	int64		sharp;			/* the bound is half of the distance or more */
	int64		unlucky;		/* the likely bound is above the distance */
} BoundsTest;

static void init_test(BoundsTest *test, FunctionCallInfo fcinfo);
static void draw_round(BoundsTest *test);
static void draw_mean(BoundsTest *test);
static void draw_vector(BoundsTest *test, int number);
static double draw_element(BoundsTest *test, int kind, int i, int chosen,
						   double scale);
static void draw_relative(BoundsTest *test, Vector *vector,
						  const Vector *other);
static double uniform(BoundsTest *test);
static char *compare_round(BoundsTest *test);
static char *compare_pair(BoundsTest *test, int query, int stored);

VECDIST_FUNCTION_INFO_V1(vhnsw_try_bounds);
Datum
vhnsw_try_bounds(PG_FUNCTION_ARGS)
{
	int64		wanted = PG_GETARG_INT64(5);
	BoundsTest	test = {0};
	MemoryContext context;
	TupleDesc	desc;
	char	   *wrong = NULL;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	init_test(&test, fcinfo);
	context = AllocSetContextCreate(CurrentMemoryContext, "vhnsw bounds",
									ALLOCSET_DEFAULT_SIZES);
	while (wrong == NULL && test.pairs + test.outside < wanted)
	{
		MemoryContext old_context;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(context);
		old_context = MemoryContextSwitchTo(context);
		draw_round(&test);
		wrong = compare_round(&test);
		MemoryContextSwitchTo(old_context);
	}
	values[0] = Int64GetDatum(test.pairs);
	values[1] = Int64GetDatum(test.outside);
	values[2] = Int64GetDatum(test.sharp);
	values[3] = Int64GetDatum(test.unlucky);
	nulls[4] = wrong == NULL;
	values[4] = wrong ? CStringGetTextDatum(wrong) : (Datum) 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

/*
 * Arguments: distance, conversion or 0, type, metric, dimensions, -, seed, own
 * bits or 0.
 */
static void
init_test(BoundsTest *test, FunctionCallInfo fcinfo)
{
	VhnswSpace *space = &test->space;
	Oid			convert = PG_GETARG_OID(1);
	int			own_bits = PG_GETARG_INT32(7);
	int			count;

	fmgr_info(PG_GETARG_OID(0), &test->distance);
	if (OidIsValid(convert))
		fmgr_info(convert, &test->convert);
	space->type = PG_GETARG_INT32(2);
	space->metric = PG_GETARG_INT32(3);
	space->dims = PG_GETARG_INT32(4);
	space->coder = VhnswGetCoder(space->metric,
								 own_bits ? own_bits : VhnswOwnBits(space->type));
	if (space->coder == NULL)
		elog(ERROR, "no codes of %d bits", own_bits);
	pg_prng_seed(&test->random, PG_GETARG_INT64(6));
	test->largest = space->type == VHNSW_HALFVEC ? LARGEST_HALF : FLT_MAX;

	/* Codes of sparse vectors have room for a part of the elements. */
	count = 1 + (int) (uniform(test) * space->dims);
	space->code_bytes = TYPEALIGN(8, space->coder->code_bytes ?
								  space->coder->code_bytes(space->dims) :
								  VhnswSparseCodeBytes(space->dims, count));
	if (space->coder->is_rotated)
	{
		float	   *signs = palloc_array(float, VHNSW_ROTATION_ROUNDS *
										 space->dims);

		VhnswRotationSigns(pg_prng_uint64(&test->random), space->dims, signs);
		space->signs = signs;
	}
	test->layout.metric = space->metric;
	test->layout.coder = space->coder;
	test->layout.dims = space->dims;
	test->layout.is_rotated = space->coder->is_rotated;
	test->layout.is_direct = space->coder->is_direct;
	test->layout.code_bytes = space->code_bytes;
}

/* Vectors, and what the index makes of them. */
static void
draw_round(BoundsTest *test)
{
	for (int i = 0; i < ROUND; i++)
	{
		test->vectors[i] = VectorCreate(test->space.dims);
		draw_vector(test, i);
	}
	draw_mean(test);
	for (int i = 0; i < ROUND; i++)
	{
		Datum		vector = PointerGetDatum(test->vectors[i]);

		test->datums[i] = OidIsValid(test->convert.fn_oid) ?
			FunctionCall3(&test->convert, vector, Int32GetDatum(-1),
						  BoolGetDatum(false)) : vector;
		VhnswValueGet(test->space.type, test->datums[i], &test->values[i]);
		VhnswQueryInit(&test->queries[i], &test->space, &test->values[i]);
		test->codes[i] = NULL;
		if (test->queries[i].vector_class == VHNSW_VECTOR_NORMAL)
		{
			test->codes[i] = palloc(VhnswCodeSize(&test->layout));
			VhnswEncode(&test->layout, &test->queries[i], test->codes[i]);
		}
	}
}

/* None, or the middle of some vectors that a code can be made of. */
static void
draw_mean(BoundsTest *test)
{
	float	   *mean;
	int			n = (int) (uniform(test) * 4);
	int			first = (int) (uniform(test) * (ROUND - 4));

	test->space.mean = NULL;
	if (n == 0 || !test->space.coder->has_mean ||
		test->space.metric == VHNSW_INNER_PRODUCT)
		return;
	mean = palloc_array(float, test->space.dims);
	for (int i = 0; i < test->space.dims; i++)
	{
		double		sum = 0;

		for (int j = first; j < first + n; j++)
			sum += test->vectors[j]->x[i];
		sum /= n;
		if (test->space.metric == VHNSW_COSINE)
			sum = fmax(-1, fmin(1, sum));
		mean[i] = (float) fmax(-VHNSW_LARGEST_COMPONENT,
							   fmin(VHNSW_LARGEST_COMPONENT, sum));
	}
	test->space.mean = mean;
}

/* One in three is made from another. */
static void
draw_vector(BoundsTest *test, int number)
{
	Vector	   *vector = test->vectors[number];
	int			kind = (int) (uniform(test) * 15);
	int			chosen = (int) (uniform(test) * test->space.dims);
	double		scale;

	switch ((int) (uniform(test) * 4))
	{
		case 0:
			scale = pow(10, uniform(test) * 60 - 44);
			break;
		case 1:
			scale = pow(10, uniform(test) * 8 - 4);
			break;
		default:
			scale = 1;
	}
	if (kind >= 10 && number > 0)
		draw_relative(test, vector,
					  test->vectors[(int) (uniform(test) * number)]);
	else
	{
		for (int i = 0; i < test->space.dims; i++)
			vector->x[i] = (float) fmax(-test->largest,
										fmin(test->largest,
											 draw_element(test, kind % 10, i,
														  chosen, scale)));
	}
}

static double
draw_element(BoundsTest *test, int kind, int i, int chosen, double scale)
{
	double		r = 2 * uniform(test) - 1;

	switch (kind)
	{
		case 0:					/* plain */
			return scale * r;
		case 1:					/* constant */
			return scale;
		case 2:					/* one-hot */
			return i == chosen ? scale : 0;
		case 3:					/* one rules */
			return i == chosen ? 1e9 * scale : scale * r;
		case 4:					/* a tight cluster far away */
			return scale * (1000 + 1e-3 * r);
		case 5:					/* long tails */
			return scale * exp(14 * r);
		case 6:					/* alternating */
			return i % 2 ? scale : -scale;
		case 7:					/* few values */
			return scale * round(2 * r);
		case 8:					/* mixed magnitudes */
			return scale * r * pow(10, 20 * uniform(test) - 10);
		default:				/* neighbors of 1 */
			return scale * (1 + round(4 * r) * FLT_EPSILON);
	}
}

/* Nearly equal, opposite or parallel to another, or that but for an element. */
static void
draw_relative(BoundsTest *test, Vector *vector, const Vector *other)
{
	double		factor = 1;
	double		noise = 0;
	int			dims = test->space.dims;

	switch ((int) (uniform(test) * 5))
	{
		case 0:					/* equal */
			break;
		case 1:
			factor = -1;
			break;
		case 2:
			factor = pow(10, uniform(test) * 6 - 3);
			break;
		case 3:
			noise = FLT_EPSILON;
			break;
		default:
			noise = pow(10, uniform(test) * 6 - 6);
	}
	for (int i = 0; i < dims; i++)
		vector->x[i] = (float) fmax(-test->largest,
									fmin(test->largest, other->x[i] * factor *
										 (1 + noise * (2 * uniform(test) - 1))));
	if (uniform(test) < 0.3)
		vector->x[(int) (uniform(test) * dims)] = 0;
}

/* 0 <= x < 1 */
static double
uniform(BoundsTest *test)
{
	return pg_prng_double(&test->random);
}

/* All pairs; what is wrong, or NULL. */
static char *
compare_round(BoundsTest *test)
{
	char	   *wrong = NULL;

	for (int i = 0; i < ROUND && wrong == NULL; i++)
	{
		for (int j = 0; j < ROUND && wrong == NULL; j++)
		{
			if (test->codes[i] && test->codes[j])
				wrong = compare_pair(test, i, j);
			else
				test->outside++;
		}
	}
	return wrong ? MemoryContextStrdup(MemoryContextGetParent(CurrentMemoryContext),
									   wrong) : NULL;
}

static char *
compare_pair(BoundsTest *test, int query, int stored)
{
	VhnswQuery *prepared = &test->queries[query];
	const VhnswCode *code = test->codes[stored];
	VhnswCodeView view = VhnswViewOfCode(code);
	float		estimate;
	double		bound = VhnswBound(prepared, view, &estimate);
	double		distance =
	DatumGetFloat8(FunctionCall2(&test->distance, test->datums[stored],
								 test->datums[query]));

	if (VD_MISTAKE("vhnsw-bound-too-high"))
		bound += fabs(bound) * 1e-4;
	VhnswQueryWantLikely(prepared);
	if (VhnswBound(prepared, view, &estimate) > distance)
		test->unlucky++;
	prepared->likely = false;
	test->pairs++;
	if (distance > 0 ? bound >= distance / 2 : bound >= distance * 2)
		test->sharp++;
	if (bound <= distance)
		return NULL;
	return psprintf("bound %.17g, distance %.17g: after %lld pairs, vectors %d and %d of the round, norms %g and %g%s",
					bound, distance, (long long) test->pairs, query, stored,
					prepared->norm, (double) code->norm,
					test->space.mean ? ", with a mean" : "");
}

#endif							/* VECDIST_DEBUG_POINTS */
