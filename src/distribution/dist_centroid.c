/*-------------------------------------------------------------------------
 *
 * dist_centroid.c
 *	  Sets of centroids, by which rows are placed.
 *
 * A set is a row of vecdist.centroid_set.  It never changes, and its id never
 * comes back for another one: that is what makes nearest_centroid() immutable,
 * and what lets each backend keep the sets it has used.  The trigger on the
 * table sees to it, whoever writes: our own statements, COPY from a dump,
 * replication.
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
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/spi.h"
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
#include "distribution/dist_placement.h"
#include "types/vector.h"
#include "vecdist_compat.h"

#define TABLE_NAME "centroid_set"
#define SEQUENCE_NAME "centroid_set_id_seq"
#define FUNCTION_NAME "nearest_centroid"
#define SCHEMA_NAME "vecdist"

/* Columns of the table */
enum
{
	COL_ID = 1,
	COL_NAME,
	COL_VERSION,
	COL_METRIC,
	COL_CENTROIDS,
	COL_SAMPLED,
	COL_LAST = COL_SAMPLED
};

/*
 * Below this, what the fp32 kernels lose to underflow could decide which
 * centroid is nearest.
 */
#define SMALLEST_SURE_RESULT 1e-25

VECDIST_FUNCTION_INFO_V1(vecdist_nearest_centroid);
VECDIST_FUNCTION_INFO_V1(vecdist_create_centroids);
VECDIST_FUNCTION_INFO_V1(vecdist_drop_centroids);
VECDIST_FUNCTION_INFO_V1(vecdist_guard_centroid_set);

/* The sets that this backend has used, and where they are. */
static HTAB *sets = NULL;
static MemoryContext sets_context = NULL;
static Oid	sets_relid = InvalidOid;

static DistCentroidSet *load_set(int id);
static const DistCentroidSet *keep_set(const DistCentroidSet *set);
static void forget_sets(Datum arg, Oid relid);
static int	nearest_in_double(const DistCentroidSet *set, const float *x);
static DistCentroidSet *make_set(int id, const char *metric, ArrayType *array,
								 ArrayType *sampled);
static void read_centroids(DistCentroidSet *set, Datum *elems, bool *nulls);
static void normalize(float *x, int dim, int number);
static void refuse_equal_centroids(const DistCentroidSet *set);
static SysScanDesc begin_set_scan(Relation rel, int id);
static List *all_set_ids(void);
static Oid	table_placed_by(int id);
static int	placing_set(List *exprs);
static int	next_version(const char *name);
static char *insert_statement(HeapTuple tuple, TupleDesc desc);
static char *quoted_value(Datum value, Oid type);
static HeapTuple guard_insert(TriggerData *trigdata);
static bool same_row(TupleDesc desc, HeapTuple a, HeapTuple b);

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
	Oid			relid = DistOwnTable(TABLE_NAME);
	Relation	rel = table_open(relid, AccessShareLock);
	SysScanDesc scan = begin_set_scan(rel, id);
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
	set = make_set(id, TextDatumGetCString(values[COL_METRIC - 1]),
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

/*
 * A set from the values of its row, checked, in the current context.
 */
static DistCentroidSet *
make_set(int id, const char *metric, ArrayType *array, ArrayType *sampled)
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

/* Scan the table for one set, or all for 0.  It has a few rows. */
static SysScanDesc
begin_set_scan(Relation rel, int id)
{
	ScanKeyData key;

	ScanKeyInit(&key, COL_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(id));
	return systable_beginscan(rel, InvalidOid, false, NULL, id != 0 ? 1 : 0,
							  &key);
}

static List *
all_set_ids(void)
{
	Relation	rel = table_open(DistOwnTable(TABLE_NAME), AccessShareLock);
	SysScanDesc scan = begin_set_scan(rel, 0);
	HeapTuple	tuple;
	List	   *result = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		result = lappend_int(result,
							 DatumGetInt32(heap_getattr(tuple, COL_ID,
														RelationGetDescr(rel),
														&isnull)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
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
	return placing_set(key->partexprs);
}

/* The set in the expressions of a partition key, or 0. */
static int
placing_set(List *exprs)
{
	Node	   *operand;
	int			set;

	return exprs != NIL &&
		DistIsNearestCentroid(linitial(exprs), &operand, &set) ? set : 0;
}

/* A table that places its rows by a set, or InvalidOid. */
static Oid
table_placed_by(int id)
{
	Relation	catalog = table_open(PartitionedRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL,
										  0, NULL);
	Oid			result = InvalidOid;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		exprs = heap_getattr(tuple,
										 Anum_pg_partitioned_table_partexprs,
										 RelationGetDescr(catalog), &isnull);

		if (!isnull &&
			placing_set(stringToNode(TextDatumGetCString(exprs))) == id)
			result = ((Form_pg_partitioned_table) GETSTRUCT(tuple))->partrelid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

Oid
DistVectorType(void)
{
	return get_element_type(get_atttype(DistOwnTable(TABLE_NAME),
										COL_CENTROIDS));
}

/* ----------------------------------------------------------------
 * Making and dropping sets
 * ----------------------------------------------------------------
 */

/*
 * vecdist.create_centroids(name, centroids, metric)
 */
Datum
vecdist_create_centroids(PG_FUNCTION_ARGS)
{
	char	   *metric = text_to_cstring(PG_GETARG_TEXT_PP(2));
	DistCentroidSet *set;

	DistRequireCoordinator("vecdist.create_centroids()");
	set = make_set(0, metric, PG_GETARG_ARRAYTYPE_P(1), NULL);
	PG_RETURN_INT32(DistStoreCentroids(text_to_cstring(PG_GETARG_TEXT_PP(0)),
									   metric, set->x, set->n, set->dim,
									   NULL));
}

/*
 * vecdist.drop_centroids(set)
 *
 * The trigger refuses it where a table needs the set.
 */
Datum
vecdist_drop_centroids(PG_FUNCTION_ARGS)
{
	int			id = PG_GETARG_INT32(0);
	List	   *statement;

	DistRequireCoordinator("vecdist.drop_centroids()");
	DistLockCluster(ShareRowExclusiveLock);
	(void) DistGetCentroidSet(id);
	statement = list_make1(psprintf("DELETE FROM vecdist.centroid_set WHERE id = %d",
									id));
	DistRunLocally(statement);
	DistRunOnAllWorkers(statement);
	PG_RETURN_VOID();
}

int
DistStoreCentroids(const char *name, const char *metric, const float *x, int n,
				   int dim, const int64 *sampled)
{
	Relation	rel;
	Datum		values[COL_LAST];
	bool		nulls[COL_LAST] = {0};
	Datum	   *elems = palloc(sizeof(Datum) * n);
	List	   *statement;
	int			id;

	if (name[0] == '\0')
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("name of a centroid set cannot be empty"));
	DistLockCluster(ShareRowExclusiveLock);
	id = nextval_internal(DistOwnTable(SEQUENCE_NAME), false);
	for (int i = 0; i < n; i++)
	{
		Vector	   *centroid = VectorCreate(dim);

		memcpy(centroid->x, x + (size_t) i * dim, sizeof(float) * dim);
		elems[i] = PointerGetDatum(centroid);
	}
	values[COL_ID - 1] = Int32GetDatum(id);
	values[COL_NAME - 1] = CStringGetTextDatum(name);
	values[COL_VERSION - 1] = Int32GetDatum(next_version(name));
	values[COL_METRIC - 1] = CStringGetTextDatum(metric);
	values[COL_CENTROIDS - 1] =
		PointerGetDatum(construct_array(elems, n, DistVectorType(), -1, false,
										TYPALIGN_INT));
	nulls[COL_SAMPLED - 1] = sampled == NULL;
	values[COL_SAMPLED - 1] = (Datum) 0;
	if (sampled != NULL)
	{
		Datum	   *counts = palloc(sizeof(Datum) * n);

		for (int i = 0; i < n; i++)
			counts[i] = Int64GetDatum(sampled[i]);
		values[COL_SAMPLED - 1] =
			PointerGetDatum(construct_array(counts, n, INT8OID, 8,
											FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}

	rel = table_open(DistOwnTable(TABLE_NAME), AccessShareLock);
	statement = list_make1(insert_statement(heap_form_tuple(RelationGetDescr(rel),
															values, nulls),
											RelationGetDescr(rel)));
	table_close(rel, AccessShareLock);
	DistRunLocally(statement);
	DistRunOnAllWorkers(statement);
	CommandCounterIncrement();
	return id;
}

static int
next_version(const char *name)
{
	Relation	rel = table_open(DistOwnTable(TABLE_NAME), AccessShareLock);
	SysScanDesc scan = begin_set_scan(rel, 0);
	HeapTuple	tuple;
	int			result = 1;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull;
		Datum		other = heap_getattr(tuple, COL_NAME, desc, &isnull);
		Datum		version = heap_getattr(tuple, COL_VERSION, desc, &isnull);

		if (strcmp(TextDatumGetCString(other), name) == 0)
			result = Max(result, DatumGetInt32(version) + 1);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

List *
DistCentroidStatements(void)
{
	Relation	rel = table_open(DistOwnTable(TABLE_NAME), AccessShareLock);
	SysScanDesc scan = begin_set_scan(rel, 0);
	List	   *result = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lappend(result, insert_statement(tuple,
												  RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

void
DistForgetCentroids(void)
{
	List	   *statements = NIL;
	ListCell   *lc;

	foreach(lc, all_set_ids())
		if (!OidIsValid(table_placed_by(lfirst_int(lc))))
		statements =
			lappend(statements,
					psprintf("DELETE FROM vecdist.centroid_set WHERE id = %d",
							 lfirst_int(lc)));
	DistRunLocally(statements);
}

/* INSERT for a row of the table; floats are printed so that none changes. */
static char *
insert_statement(HeapTuple tuple, TupleDesc desc)
{
	int			nestlevel = NewGUCNestLevel();
	StringInfoData sql;

	(void) set_config_option("extra_float_digits", "1", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO vecdist.centroid_set VALUES (");
	for (int i = 0; i < COL_LAST; i++)
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, i + 1, desc, &isnull);

		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 isnull ? "NULL" :
						 quoted_value(value, TupleDescAttr(desc, i)->atttypid));
	}
	appendStringInfoChar(&sql, ')');
	AtEOXact_GUC(true, nestlevel);
	return sql.data;
}

static char *
quoted_value(Datum value, Oid type)
{
	Oid			output;
	bool		isvarlena;

	getTypeOutputInfo(type, &output, &isvarlena);
	return quote_literal_cstr(OidOutputFunctionCall(output, value));
}

/* ----------------------------------------------------------------
 * The guard of the table
 * ----------------------------------------------------------------
 */

/*
 * vecdist.guard_centroid_set(), the trigger of the table for all it may see
 */
Datum
vecdist_guard_centroid_set(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	bool		isnull;
	Oid			user;
	int			id;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		RelationGetRelid(trigdata->tg_relation) != DistOwnTable(TABLE_NAME))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("vecdist.guard_centroid_set() is the trigger of vecdist.centroid_set"));

	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		return PointerGetDatum(guard_insert(trigdata));
	if (!TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("a centroid set cannot be changed"),
				errdetail("Rows were placed by it."),
				errhint("Make a new version with vecdist.create_centroids or vecdist.train_centroids, and a new table that uses it."));

	id = DatumGetInt32(heap_getattr(trigdata->tg_trigtuple, COL_ID,
									RelationGetDescr(trigdata->tg_relation),
									&isnull));
	user = table_placed_by(id);
	if (OidIsValid(user))
		ereport(ERROR,
				errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				errmsg("cannot drop centroid set %d", id),
				errdetail("Table \"%s\" places its rows by it.",
						  get_rel_name(user)),
				errhint("Drop the table first."));
	CacheInvalidateRelcache(trigdata->tg_relation);
	return PointerGetDatum(trigdata->tg_trigtuple);
}

/*
 * Check a new set.  One that exists already with the same content is skipped,
 * so that a dump can be restored sets first, and a worker be added that knows
 * some.
 */
static HeapTuple
guard_insert(TriggerData *trigdata)
{
	Relation	rel = trigdata->tg_relation;
	TupleDesc	desc = RelationGetDescr(rel);
	HeapTuple	tuple = trigdata->tg_trigtuple;
	Datum		values[COL_LAST];
	bool		nulls[COL_LAST];
	SysScanDesc scan;
	HeapTuple	old;
	int			id;

	heap_deform_tuple(tuple, desc, values, nulls);
	for (int i = 0; i < COL_SAMPLED - 1; i++)
		if (nulls[i])
			return tuple;		/* core has the words for NOT NULL */
	id = DatumGetInt32(values[COL_ID - 1]);
	if (id <= 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("id of a centroid set must be positive"));
	(void) make_set(id, TextDatumGetCString(values[COL_METRIC - 1]),
					DatumGetArrayTypeP(values[COL_CENTROIDS - 1]),
					nulls[COL_SAMPLED - 1] ? NULL :
					DatumGetArrayTypeP(values[COL_SAMPLED - 1]));

	scan = begin_set_scan(rel, id);
	old = systable_getnext(scan);
	if (HeapTupleIsValid(old))
	{
		if (!same_row(desc, old, tuple))
			ereport(ERROR,
					errcode(ERRCODE_UNIQUE_VIOLATION),
					errmsg("another centroid set %d exists already", id),
					errhint("Drop it, if no table uses it: SELECT vecdist.drop_centroids(%d)",
							id));
		tuple = NULL;
	}
	systable_endscan(scan);
	CacheInvalidateRelcache(rel);
	return tuple;
}

static bool
same_row(TupleDesc desc, HeapTuple a, HeapTuple b)
{
	return strcmp(insert_statement(a, desc), insert_statement(b, desc)) == 0;
}
