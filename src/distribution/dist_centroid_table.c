/*-------------------------------------------------------------------------
 *
 * dist_centroid_table.c
 *	  The table of sets of centroids: make, copy, drop and guard them.
 *
 * The trigger keeps sets as they are, whoever writes: our own statements, COPY
 * from a dump, replication.
 *
 * See README, section "Placement by centroid".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "distribution/dist_centroid.h"
#include "distribution/dist_centroid_private.h"
#include "types/vector.h"
#include "vecdist_compat.h"

#define SEQUENCE_NAME "centroid_set_id_seq"

VECDIST_FUNCTION_INFO_V1(vecdist_create_centroids);
VECDIST_FUNCTION_INFO_V1(vecdist_drop_centroids);
VECDIST_FUNCTION_INFO_V1(vecdist_guard_centroid_set);

static int	next_version(const char *name);
static List *all_set_ids(void);
static char *insert_statement(HeapTuple tuple, TupleDesc desc);
static char *quoted_value(Datum value, Oid type);
static HeapTuple guard_insert(TriggerData *trigdata);
static bool same_row(TupleDesc desc, HeapTuple a, HeapTuple b);
static Oid	table_placed_by(int id);

/*
 * vecdist.create_centroids(name, centroids, metric)
 */
Datum
vecdist_create_centroids(PG_FUNCTION_ARGS)
{
	char	   *metric = text_to_cstring(PG_GETARG_TEXT_PP(2));
	DistCentroidSet *set;

	DistRequireCoordinator("vecdist.create_centroids()");
	set = DistCentroidSetFromRow(0, metric, PG_GETARG_ARRAYTYPE_P(1), NULL);
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

	rel = table_open(DistOwnTable(DIST_CENTROID_TABLE), AccessShareLock);
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
	Relation	rel = table_open(DistOwnTable(DIST_CENTROID_TABLE), AccessShareLock);
	SysScanDesc scan = DistCentroidBeginScan(rel, 0);
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
	Relation	rel = table_open(DistOwnTable(DIST_CENTROID_TABLE), AccessShareLock);
	SysScanDesc scan = DistCentroidBeginScan(rel, 0);
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

static List *
all_set_ids(void)
{
	Relation	rel = table_open(DistOwnTable(DIST_CENTROID_TABLE), AccessShareLock);
	SysScanDesc scan = DistCentroidBeginScan(rel, 0);
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
		RelationGetRelid(trigdata->tg_relation) != DistOwnTable(DIST_CENTROID_TABLE))
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
	(void) DistCentroidSetFromRow(id, TextDatumGetCString(values[COL_METRIC - 1]),
								  DatumGetArrayTypeP(values[COL_CENTROIDS - 1]),
								  nulls[COL_SAMPLED - 1] ? NULL :
								  DatumGetArrayTypeP(values[COL_SAMPLED - 1]));

	scan = DistCentroidBeginScan(rel, id);
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
			DistPlacingSetOfKey(stringToNode(TextDatumGetCString(exprs))) == id)
			result = ((Form_pg_partitioned_table) GETSTRUCT(tuple))->partrelid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}
