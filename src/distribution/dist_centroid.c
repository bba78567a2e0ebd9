/*-------------------------------------------------------------------------
 *
 * dist_centroid.c
 *	  Sets of centroids, by which rows are placed, and nearest_centroid().
 *
 * A set is a row of vecdist.centroid_set.  It never changes, and its id never
 * comes back for another one (dist_centroid_table.c): that is what makes
 * nearest_centroid() immutable, and what lets each backend keep the sets it has
 * used.
 *
 * See README, section "Placement by centroid".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "distance/distance.h"
#include "distribution/dist_centroid.h"
#include "distribution/dist_centroid_private.h"
#include "distribution/dist_placement.h"
#include "types/vector.h"
#include "vecdist_compat.h"

#define FUNCTION_NAME "nearest_centroid"
#define SCHEMA_NAME "vecdist"

/*
 * Below this, what the fp32 kernels lose to underflow could decide which
 * centroid is nearest.
 */
#define SMALLEST_SURE_RESULT 1e-25

VECDIST_FUNCTION_INFO_V1(vecdist_nearest_centroid);

/* The sets that this backend has used, and where they are. */
static HTAB *sets = NULL;
static MemoryContext sets_context = NULL;
static Oid	sets_relid = InvalidOid;

static DistCentroidSet *load_set(int id);
static const DistCentroidSet *keep_set(const DistCentroidSet *set);
static void forget_sets(Datum arg, Oid relid);
static int	nearest_in_double(const DistCentroidSet *set, const float *x);
static void read_centroids(DistCentroidSet *set, Datum *elems, bool *nulls);
static void normalize(float *x, int dim, int number);
static void refuse_equal_centroids(const DistCentroidSet *set);

/*
 * vecdist.nearest_centroid(vector, set)
 */
Datum
vecdist_nearest_centroid(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	const DistCentroidSet *set = DistGetCentroidSet(PG_GETARG_INT32(1));
	int			result;

	if (vector->dim != set->dim)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("expected %d dimensions, not %d", set->dim, vector->dim),
				errdetail("Centroid set %d has vectors of %d dimensions.",
						  set->id, set->dim));
	result = DistNearestCentroid(set, vector->x);
	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_INT32(result);
}

/*
 * The kernels give the same bits on every CPU, so every server places a row
 * alike.  Where they could overflow or underflow, doubles decide.
 */
int
DistNearestCentroid(const DistCentroidSet *set, const float *x)
{
	double		best = 0;
	double		largest = 0;
	int			nearest = 0;

	for (int i = 0; i < set->n; i++)
	{
		const float *c = DIST_CENTROID(set, i);
		double		d = set->cosine ?
		-distance_kernels->inner_product(x, c, set->dim) :
		distance_kernels->l2_squared(x, c, set->dim);

		if (!isfinite(d))
			return nearest_in_double(set, x);
		largest = Max(largest, fabs(d));
		if (i == 0 || d < best)
		{
			best = d;
			nearest = i;
		}
	}
	if ((set->cosine ? largest : best) < SMALLEST_SURE_RESULT)
		return nearest_in_double(set, x);
	return nearest;
}

static int
nearest_in_double(const DistCentroidSet *set, const float *x)
{
	double		best = 0;
	int			nearest = 0;

	for (int i = 0; i < set->n; i++)
	{
		const float *c = DIST_CENTROID(set, i);
		double		d = 0;

		for (int j = 0; j < set->dim; j++)
		{
			double		diff = (double) x[j] - c[j];

			d += set->cosine ? -(double) x[j] * c[j] : diff * diff;
		}
		if (i == 0 || d < best)
		{
			best = d;
			nearest = i;
		}
	}
	return nearest;
}

/* ----------------------------------------------------------------
 * Sets in memory
 * ----------------------------------------------------------------
 */

const DistCentroidSet *
DistGetCentroidSet(int id)
{
	const DistCentroidSet *set = NULL;

	if (sets != NULL)
		set = hash_search(sets, &id, HASH_FIND, NULL);
	if (set == NULL)
	{
		DistCentroidSet *loaded = load_set(id);

		set = keep_set(loaded);
		pfree(loaded->x);
		pfree(loaded);
	}
	return set;
}

/* Read a set from the table, into the current context. */
static DistCentroidSet *
load_set(int id)
{
	Oid			relid = DistOwnTable(DIST_CENTROID_TABLE);
	Relation	rel = table_open(relid, AccessShareLock);
	SysScanDesc scan = DistCentroidBeginScan(rel, id);
	HeapTuple	tuple = systable_getnext(scan);
	Datum		values[COL_LAST];
	bool		nulls[COL_LAST];
	DistCentroidSet *set;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("centroid set %d does not exist", id),
				errhint("The view vecdist.centroid_sets lists them.  When restoring a dump, load the data of vecdist.centroid_set first."));
	heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
	set = DistCentroidSetFromRow(id,
								 TextDatumGetCString(values[COL_METRIC - 1]),
								 DatumGetArrayTypeP(values[COL_CENTROIDS - 1]),
								 nulls[COL_SAMPLED - 1] ? NULL :
								 DatumGetArrayTypeP(values[COL_SAMPLED - 1]));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	sets_relid = relid;
	return set;
}

/* Copy a set into the cache.  Looks into no catalog. */
static const DistCentroidSet *
keep_set(const DistCentroidSet *set)
{
	static bool registered = false;
	DistCentroidSet *entry;
	Size		size = sizeof(float) * set->n * set->dim;
	float	   *x;
	int64	   *sampled = NULL;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_sets, (Datum) 0);
		registered = true;
	}
	if (sets == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(int),
		.entrysize = sizeof(DistCentroidSet)};

		if (sets_context == NULL)
			sets_context = AllocSetContextCreate(CacheMemoryContext,
												 "vecdist centroid sets",
												 ALLOCSET_DEFAULT_SIZES);
		ctl.hcxt = sets_context;
		sets = hash_create("vecdist centroid sets", 8, &ctl,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	x = MemoryContextAllocHuge(sets_context, size);
	memcpy(x, set->x, size);
	if (set->sampled != NULL)
	{
		sampled = MemoryContextAlloc(sets_context, sizeof(int64) * set->n);
		memcpy(sampled, set->sampled, sizeof(int64) * set->n);
	}
	entry = hash_search(sets, &set->id, HASH_ENTER, NULL);
	*entry = *set;
	entry->x = x;
	entry->sampled = sampled;
	return entry;
}

/*
 * Relcache callback.  A set that the cache has may go away with the
 * transaction that made it, and somebody else's get its id.
 */
static void
forget_sets(Datum arg, Oid relid)
{
	if (sets == NULL || (OidIsValid(relid) && relid != sets_relid))
		return;
	sets = NULL;
	MemoryContextReset(sets_context);
}

bool
DistMetricIsCosine(const char *metric)
{
	if (strcmp(metric, "l2") == 0)
		return false;
	if (strcmp(metric, "cosine") == 0)
		return true;
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid metric \"%s\" of a centroid set", metric),
			errhint("Metrics are \"l2\" and \"cosine\"; for inner products of vectors of equal length take \"cosine\"."));
	return false;				/* keep compiler quiet */
}

DistCentroidSet *
DistCentroidSetFromRow(int id, const char *metric, ArrayType *array,
					   ArrayType *sampled)
{
	DistCentroidSet *set = palloc0(sizeof(DistCentroidSet));
	Datum	   *elems;
	bool	   *nulls;

	set->id = id;
	set->cosine = DistMetricIsCosine(metric);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("array of centroids must have one dimension"));
	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT,
					  &elems, &nulls, &set->n);
	if (set->n < 1 || set->n > DIST_MAX_CENTROIDS)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("number of centroids must be between 1 and %d",
					   DIST_MAX_CENTROIDS),
				errdetail("There are %d.", set->n));
	read_centroids(set, elems, nulls);
	refuse_equal_centroids(set);
	if (sampled != NULL)
	{
		if (ARR_NDIM(sampled) != 1 || ARR_DIMS(sampled)[0] != set->n ||
			ARR_HASNULL(sampled))
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("a centroid set has one sample size for each centroid"));
		set->sampled = palloc(sizeof(int64) * set->n);
		memcpy(set->sampled, ARR_DATA_PTR(sampled), sizeof(int64) * set->n);
	}
	return set;
}

static void
read_centroids(DistCentroidSet *set, Datum *elems, bool *nulls)
{
	for (int i = 0; i < set->n; i++)
	{
		Vector	   *centroid;

		if (nulls[i])
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("centroid %d cannot be null", i));
		centroid = DatumGetVector(elems[i]);
		if (i == 0)
		{
			set->dim = centroid->dim;
			set->x = palloc_extended(sizeof(float) * set->n * set->dim,
									 MCXT_ALLOC_HUGE);
		}
		if (centroid->dim != set->dim)
			ereport(ERROR,
					errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("centroids have different numbers of dimensions"),
					errdetail("Centroid 0 has %d, centroid %d has %d.",
							  set->dim, i, centroid->dim));
		memcpy(DIST_CENTROID(set, i), centroid->x, sizeof(float) * set->dim);
		if (set->cosine)
			normalize(DIST_CENTROID(set, i), set->dim, i);
	}
}

/* In plain double arithmetic, so that all servers get the same bits. */
static void
normalize(float *x, int dim, int number)
{
	double		sum = 0;

	for (int j = 0; j < dim; j++)
		sum += (double) x[j] * x[j];
	if (sum == 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("centroid %d is zero, which has no direction", number));
	sum = sqrt(sum);
	for (int j = 0; j < dim; j++)
		x[j] = x[j] / sum;
}

/* The second of two would never get a row. */
static void
refuse_equal_centroids(const DistCentroidSet *set)
{
	for (int i = 1; i < set->n; i++)
		for (int j = 0; j < i; j++)
		{
			if (memcmp(DIST_CENTROID(set, i), DIST_CENTROID(set, j),
					   sizeof(float) * set->dim) == 0)
				ereport(ERROR,
						errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("centroids %d and %d are equal", j, i));
		}
}

/* ----------------------------------------------------------------
 * Sets in the catalog
 * ----------------------------------------------------------------
 */

SysScanDesc
DistCentroidBeginScan(Relation rel, int id)
{
	ScanKeyData key;

	ScanKeyInit(&key, COL_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(id));
	return systable_beginscan(rel, InvalidOid, false, NULL, id != 0 ? 1 : 0,
							  &key);
}

bool
DistIsNearestCentroid(Node *expr, Node **operand, int *set)
{
	FuncExpr   *call = (FuncExpr *) expr;
	Const	   *number;
	char	   *name;

	if (expr == NULL || !IsA(expr, FuncExpr) || list_length(call->args) != 2 ||
		!IsA(lsecond(call->args), Const))
		return false;
	number = lsecond_node(Const, call->args);
	if (number->constisnull || number->consttype != INT4OID)
		return false;
	name = get_func_name(call->funcid);
	if (name == NULL || strcmp(name, FUNCTION_NAME) != 0 ||
		get_func_namespace(call->funcid) != get_namespace_oid(SCHEMA_NAME, true))
		return false;
	*operand = linitial(call->args);
	*set = DatumGetInt32(number->constvalue);
	return true;
}

int
DistPlacingSet(Relation rel)
{
	PartitionKey key = RelationGetPartitionKey(rel);

	if (key == NULL || key->strategy != PARTITION_STRATEGY_LIST)
		return 0;
	return DistPlacingSetOfKey(key->partexprs);
}

int
DistPlacingSetOfKey(List *exprs)
{
	Node	   *operand;
	int			set;

	return exprs != NIL &&
		DistIsNearestCentroid(linitial(exprs), &operand, &set) ? set : 0;
}

Oid
DistVectorType(void)
{
	return get_element_type(get_atttype(DistOwnTable(DIST_CENTROID_TABLE),
										COL_CENTROIDS));
}
