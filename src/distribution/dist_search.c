/*-------------------------------------------------------------------------
 *
 * dist_search.c
 *	  Search partitions on the server that holds them.
 *
 * One partition is searched by an ordinary query through SPI:
 *
 *		SELECT columns, distance FROM partition AS t
 *		WHERE filter ORDER BY distance LIMIT k
 *
 * (see DistSearchQuery for further keys), so that privileges, row security, the planner's choice between index and
 * exact scan, and visibility are the server's own.  A partition that has
 * moved away is a foreign table here and is read through it; nothing below
 * needs to know.
 *
 * vecdist.search() is called by other servers.  A server that holds
 * partitions of a table it is asked about calls DistSearchPartition itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/execdesc.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "distribution/dist_merge.h"
#include "distribution/dist_search.h"
#include "distribution/dist_settings.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(vecdist_search);

/* The index access method by name: distribution does not know its code. */
#define INDEX_AM_NAME		"vhnsw"
#define INDEX_SCAN_NAME		"Vhnsw Scan"
#define EF_SETTING			"vhnsw.ef_search"

/* What the distance is called: unlike any column */
#define DISTANCE_NAME		"\"vecdist distance\""

/* Rows held in memory at a time between the portal and the receiver */
#define FETCH_ROWS			1000

/* Arguments of vecdist.search() */
enum
{
	ARG_PARTITIONS,
	ARG_COLUMNS,
	ARG_FILTER,
	ARG_DISTANCE,
	ARG_TIES,
	ARG_K,
	ARG_SETTINGS,
	ARG_PARAMETERS				/* the first of them */
};

/* Columns of its result; the wanted ones follow. */
enum
{
	COL_PART,
	COL_POS,
	COL_DISTANCE,
	COL_REPORT,
	COL_FIRST_WANTED
};

/* Where vecdist.search() puts rows. */
typedef struct SearchOutput
{
	Tuplestorestate *store;
	TupleDesc	desc;
	Datum	   *values;			/* of one row, and its distance at the end */
	bool	   *nulls;
	int			part;			/* number of the partition */
	int			pos;			/* number of the next row within it */
} SearchOutput;

static void append_nearest_rows(StringInfo sql, const DistSearch *search,
								const char *columns, const char *partition);
static int64 fetch_rows(Portal portal, DistSearchCallback row, void *arg);
static void describe_plan(PlanState *planstate, DistSearchReport *report);
static bool find_index_walker(PlanState *planstate, void *context);
static void read_arguments(FunctionCallInfo fcinfo, DistSearch *search);
static List *strings_of_array(Datum array);
static void check_result_type(TupleDesc desc);
static void put_row(HeapTuple tuple, TupleDesc desc, void *arg);
static void check_row_type(TupleDesc row, TupleDesc result);
static void put_report(const DistSearchReport *report, SearchOutput *output);

void
DistSearchPartition(const DistSearch *search, const char *partition,
					DistSearchCallback row, void *arg,
					DistSearchReport *report)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	int			nestlevel = DistSettingsPush(search->settings);
	SPIPlanPtr	plan;
	Portal		portal;

	SPI_connect();
	plan = DistSearchPlan(search, DistSearchQuery(search, partition));
	portal = SPI_cursor_open(NULL, plan, search->param_values,
							 search->param_nulls, true);

	spi = MemoryContextSwitchTo(caller);
	report->k = search->k;
	report->settings = DistSettingsEcho(search->settings);
	describe_plan(portal->queryDesc->planstate, report);
	report->standby = RecoveryInProgress();
	report->lsn = report->standby ? GetXLogReplayRecPtr(NULL) :
		GetXLogWriteRecPtr();
	MemoryContextSwitchTo(spi);

	report->nrows = fetch_rows(portal, row, arg);
	report->exhausted = report->nrows < search->k;

	SPI_cursor_close(portal);
	SPI_finish();
	AtEOXact_GUC(true, nestlevel);
}

/*
 * With further keys behind the distance no index gives the order.  But it
 * gives the k nearest rows and all that tie with the last of them, and sorting
 * these is enough.
 */
char *
DistSearchQuery(const DistSearch *search, const char *partition)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (search->ties == NULL)
	{
		append_nearest_rows(&sql, search, search->columns, partition);
		if (search->k != DIST_ALL_ROWS)
			appendStringInfo(&sql, " LIMIT " INT64_FORMAT, search->k);
		return sql.data;
	}

	appendStringInfo(&sql, "SELECT %s%s%s.%s FROM (", search->columns,
					 search->columns[0] ? ", " : "",
					 DIST_SEARCH_ALIAS, DISTANCE_NAME);
	append_nearest_rows(&sql, search, DIST_SEARCH_ALIAS ".*", partition);
	if (search->k != DIST_ALL_ROWS)
		appendStringInfo(&sql, " FETCH FIRST " INT64_FORMAT " ROWS WITH TIES",
						 search->k);
	appendStringInfo(&sql, ") AS %s ORDER BY %s.%s, %s", DIST_SEARCH_ALIAS,
					 DIST_SEARCH_ALIAS, DISTANCE_NAME, search->ties);
	if (search->k != DIST_ALL_ROWS)
		appendStringInfo(&sql, " LIMIT " INT64_FORMAT, search->k);
	return sql.data;
}

/* Rows of the partition in order of distance, which is their last column. */
static void
append_nearest_rows(StringInfo sql, const DistSearch *search,
					const char *columns, const char *partition)
{
	appendStringInfo(sql, "SELECT %s%s%s AS %s FROM %s AS %s", columns,
					 columns[0] ? ", " : "", search->distance, DISTANCE_NAME,
					 partition, DIST_SEARCH_ALIAS);
	if (search->filter != NULL)
		appendStringInfo(sql, " WHERE %s", search->filter);
	appendStringInfo(sql, " ORDER BY %s", search->distance);
}

/* Hand all rows of the portal to 'row'; returns their number. */
static int64
fetch_rows(Portal portal, DistSearchCallback row, void *arg)
{
	int64		nrows = 0;

	for (;;)
	{
		uint64		nfetched;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		nfetched = SPI_processed;
		if (nrows == 0 && nfetched > 0 &&
			SPI_gettypeid(SPI_tuptable->tupdesc,
						  SPI_tuptable->tupdesc->natts) != FLOAT8OID)
			ereport(ERROR,
					errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("distance of a distributed search must be of type double precision"));
		for (uint64 i = 0; i < nfetched; i++)
			row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, arg);
		SPI_freetuptable(SPI_tuptable);

		nrows += nfetched;
		if (nfetched < FETCH_ROWS)
			return nrows;
	}
}

/* Fill in which index the plan uses, if any, and how broadly it searches. */
static void
describe_plan(PlanState *planstate, DistSearchReport *report)
{
	const char *ef_search = GetConfigOption(EF_SETTING, true, false);
	Oid			index = InvalidOid;

	report->index = NULL;
	report->ef = 0;
	if (!find_index_walker(planstate, &index))
		return;

	report->index = get_rel_name(index);
	if (ef_search != NULL)
	{
		report->ef = pg_strtoint32(ef_search);

		/* The index raises it to the number of rows wanted. */
		if (report->k != DIST_ALL_ROWS && report->k > report->ef)
			report->ef = (int) Min(report->k, PG_INT32_MAX);
	}
}

/*
 * Find a scan of a vector index; *context is an Oid to be set to it.  The
 * index may be read by an index scan, or by the access method's own scan, whose
 * private list begins with a list of its OID.
 */
static bool
find_index_walker(PlanState *planstate, void *context)
{
	Oid		   *found = context;

	if (IsA(planstate, IndexScanState))
	{
		Relation	index = ((IndexScanState *) planstate)->iss_RelationDesc;

		if (index != NULL &&
			index->rd_rel->relam == get_index_am_oid(INDEX_AM_NAME, true))
		{
			*found = RelationGetRelid(index);
			return true;
		}
	}
	else if (IsA(planstate, CustomScanState))
	{
		CustomScan *scan = castNode(CustomScan, planstate->plan);

		if (strcmp(scan->methods->CustomName, INDEX_SCAN_NAME) == 0)
		{
			*found = linitial_oid((List *) linitial(scan->custom_private));
			return true;
		}
	}
	return planstate_tree_walker(planstate, find_index_walker, context);
}

/*
 * vecdist.search(partitions, columns, filter, distance, ties, k, settings,
 *				  VARIADIC parameters)
 *		The worker's side of a distributed search.
 *
 * For each partition the rows, then one row with pos = -1 and the report.
 * See README, section "Search", for the message.
 */
Datum
vecdist_search(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SearchOutput output = {0};
	DistSearch	search = {0};
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	output.store = rsinfo->setResult;
	output.desc = rsinfo->setDesc;
	check_result_type(output.desc);
	output.values = palloc(sizeof(Datum) * (output.desc->natts + 1));
	output.nulls = palloc(sizeof(bool) * (output.desc->natts + 1));
	read_arguments(fcinfo, &search);

	foreach(lc, strings_of_array(PG_GETARG_DATUM(ARG_PARTITIONS)))
	{
		DistSearchReport report;

		output.pos = 0;
		DistSearchPartition(&search, lfirst(lc), put_row, &output, &report);
		put_report(&report, &output);
		output.part++;
	}
	return (Datum) 0;
}

static void
read_arguments(FunctionCallInfo fcinfo, DistSearch *search)
{
	static const int required[] = {
		ARG_PARTITIONS, ARG_COLUMNS, ARG_DISTANCE, ARG_SETTINGS
	};

	for (int i = 0; i < lengthof(required); i++)
		if (PG_ARGISNULL(required[i]))
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("only filter, ties, k and parameters of a distributed search may be null"));
	if (get_fn_expr_variadic(fcinfo->flinfo))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("parameters of a distributed search must be separate arguments"));

	search->columns = text_to_cstring(PG_GETARG_TEXT_PP(ARG_COLUMNS));
	if (!PG_ARGISNULL(ARG_FILTER))
		search->filter = text_to_cstring(PG_GETARG_TEXT_PP(ARG_FILTER));
	search->distance = text_to_cstring(PG_GETARG_TEXT_PP(ARG_DISTANCE));
	if (!PG_ARGISNULL(ARG_TIES))
		search->ties = text_to_cstring(PG_GETARG_TEXT_PP(ARG_TIES));
	search->k = PG_ARGISNULL(ARG_K) ? DIST_ALL_ROWS : PG_GETARG_INT64(ARG_K);
	search->settings = strings_of_array(PG_GETARG_DATUM(ARG_SETTINGS));

	search->nparams = PG_NARGS() - ARG_PARAMETERS;
	search->param_types = palloc(sizeof(Oid) * search->nparams);
	search->param_values = palloc(sizeof(Datum) * search->nparams);
	search->param_nulls = palloc(search->nparams);
	for (int i = 0; i < search->nparams; i++)
	{
		int			arg = ARG_PARAMETERS + i;

		search->param_types[i] = get_fn_expr_argtype(fcinfo->flinfo, arg);
		search->param_values[i] = PG_GETARG_DATUM(arg);
		search->param_nulls[i] = PG_ARGISNULL(arg) ? 'n' : ' ';
	}
}

/* Elements of a text[] as a list of C strings. */
static List *
strings_of_array(Datum array)
{
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;
	List	   *result = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &nulls, &nelems);
	for (int i = 0; i < nelems; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("partitions and settings of a distributed search must not be null"));
		result = lappend(result, TextDatumGetCString(elems[i]));
	}
	return result;
}

static void
check_result_type(TupleDesc desc)
{
	static const Oid types[] = {INT4OID, INT4OID, FLOAT8OID, TEXTOID};
	bool		valid = desc->natts >= COL_FIRST_WANTED;

	for (int i = 0; valid && i < lengthof(types); i++)
		valid = TupleDescAttr(desc, i)->atttypid == types[i];
	if (!valid)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column definition list of a distributed search must begin with integer, integer, double precision, text"));
}

/* DistSearchCallback of vecdist.search() */
static void
put_row(HeapTuple tuple, TupleDesc desc, void *arg)
{
	SearchOutput *output = arg;
	int			distance = output->desc->natts; /* behind the wanted ones */

	if (output->pos == 0)
		check_row_type(desc, output->desc);

	heap_deform_tuple(tuple, desc, output->values + COL_FIRST_WANTED,
					  output->nulls + COL_FIRST_WANTED);
	output->values[COL_PART] = Int32GetDatum(output->part);
	output->nulls[COL_PART] = false;
	output->values[COL_POS] = Int32GetDatum(output->pos++);
	output->nulls[COL_POS] = false;
	output->values[COL_DISTANCE] = output->values[distance];
	output->nulls[COL_DISTANCE] = output->nulls[distance];
	output->nulls[COL_REPORT] = true;
	tuplestore_putvalues(output->store, output->desc,
						 output->values, output->nulls);
}

/* Do the columns of a partition's rows have the types the caller expects? */
static void
check_row_type(TupleDesc row, TupleDesc result)
{
	int			nwanted = row->natts - 1;
	bool		valid = result->natts == COL_FIRST_WANTED + nwanted;

	for (int i = 0; valid && i < nwanted; i++)
		valid = TupleDescAttr(row, i)->atttypid ==
			TupleDescAttr(result, COL_FIRST_WANTED + i)->atttypid;
	if (!valid)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("columns of a distributed search do not match its column definition list"));
}

static void
put_report(const DistSearchReport *report, SearchOutput *output)
{
	memset(output->nulls, true, sizeof(bool) * output->desc->natts);
	output->values[COL_PART] = Int32GetDatum(output->part);
	output->nulls[COL_PART] = false;
	output->values[COL_POS] = Int32GetDatum(-1);
	output->nulls[COL_POS] = false;
	output->values[COL_REPORT] =
		CStringGetTextDatum(DistSearchReportToJson(report));
	output->nulls[COL_REPORT] = false;
	tuplestore_putvalues(output->store, output->desc,
						 output->values, output->nulls);
}
