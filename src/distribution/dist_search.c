/*-------------------------------------------------------------------------
 *
 * dist_search.c
 *	  vecdist.search(): what other servers call to search partitions here.
 *
 * The texts of the request run as SELECTs of the caller, see
 * dist_search_run.c.  If the caller wants only the first rows for now, the
 * search stays open until it asks for the rest by vecdist.search_rest(), begins
 * another search, or ends its transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "distribution/dist_merge.h"
#include "distribution/dist_search.h"
#include "distribution/dist_settings.h"
#include "vecdist_compat.h"
#include "vecdist_debug.h"

VECDIST_FUNCTION_INFO_V1(vecdist_search);
VECDIST_FUNCTION_INFO_V1(vecdist_search_rest);

/* Arguments of vecdist.search() */
enum
{
	ARG_PARTITIONS,
	ARG_COLUMNS,
	ARG_FILTER,
	ARG_DISTANCE,
	ARG_TIES,
	ARG_K,
	ARG_FIRST,
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

/* Where rows are put. */
typedef struct SearchOutput
{
	Tuplestorestate *store;
	TupleDesc	desc;
	Datum	   *values;			/* of one row, and its distance at the end */
	bool	   *nulls;
} SearchOutput;

/* The search that vecdist.search_rest() goes on with. */
typedef struct OpenSearch
{
	DistSearchRun *run;
	int			npartitions;
	int64		k;
	Oid			user;			/* who began it */
	MemoryContextCallback forget;	/* resets 'open_search' with the memory */
} OpenSearch;

static OpenSearch *open_search = NULL;

static void begin_output(FunctionCallInfo fcinfo, SearchOutput *output);
static void keep_open(DistSearchRun *run, int npartitions, int64 k);
static void close_open_search(void);
static void forget_open_search(void *arg);
static void read_arguments(FunctionCallInfo fcinfo, DistSearch *search);
static List *strings_of_array(Datum array);
static void check_result_type(TupleDesc desc);
static void put_row(int part, int pos, HeapTuple tuple, TupleDesc desc,
					void *arg);
static void check_row_type(TupleDesc row, TupleDesc result);
static void put_reports(DistSearchRun *run, int npartitions,
						SearchOutput *output);

/*
 * vecdist.search(partitions, columns, filter, distance, ties, k, first,
 *				  settings, VARIADIC parameters)
 *		The worker's side of a distributed search.
 *
 * The nearest rows of all partitions together, then for each partition one row
 * with pos = -1 and the report.  See README, section "Search".
 */
Datum
vecdist_search(PG_FUNCTION_ARGS)
{
	SearchOutput output = {0};
	DistSearch	search = {0};
	int64		first;
	List	   *names;
	char	  **partitions;
	DistSearchRun *run;
	ListCell   *lc;

	close_open_search();
	begin_output(fcinfo, &output);
	read_arguments(fcinfo, &search);
	first = PG_ARGISNULL(ARG_FIRST) ? search.k : PG_GETARG_INT64(ARG_FIRST);
	names = strings_of_array(PG_GETARG_DATUM(ARG_PARTITIONS));
	partitions = palloc(sizeof(char *) * Max(list_length(names), 1));
	foreach(lc, names)
		partitions[foreach_current_index(lc)] = lfirst(lc);

	if (VD_MISTAKE("dist-search-for-first"))
		search.k = first;
	run = DistSearchOpen(&search, list_length(names), partitions, NULL);
	if (names != NIL)
		check_row_type(DistSearchGetDesc(run), output.desc);
	if (!DistSearchFetch(run, first, NULL, put_row, &output))
		elog(ERROR, "search of partitions is not open");
	put_reports(run, list_length(names), &output);

	if (first < search.k)
		keep_open(run, list_length(names), search.k);
	else
		DistSearchClose(run);
	return (Datum) 0;
}

/*
 * vecdist.search_rest(bound)
 *		Go on with the search that vecdist.search() left open.
 *
 * Rows that are not farther than 'bound', up to k of all partitions together
 * since the beginning; then the reports, and the search is closed.
 */
Datum
vecdist_search_rest(PG_FUNCTION_ARGS)
{
	SearchOutput output = {0};
	DistMergeKey bound = {0};
	OpenSearch *open = open_search;

	begin_output(fcinfo, &output);
	if (!PG_ARGISNULL(0))
		bound.distance = PG_GETARG_FLOAT8(0);
	if (open == NULL || open->user != GetUserId() ||
		!DistSearchFetch(open->run, open->k, PG_ARGISNULL(0) ? NULL : &bound,
						 put_row, &output))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("no search of partitions is open"),
				errdetail("A search stays open in the transaction that called vecdist.search() with \"first\" less than \"k\"."));
	put_reports(open->run, open->npartitions, &output);
	close_open_search();
	return (Datum) 0;
}

static void
begin_output(FunctionCallInfo fcinfo, SearchOutput *output)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	output->store = rsinfo->setResult;
	output->desc = rsinfo->setDesc;
	check_result_type(output->desc);
	output->values = palloc(sizeof(Datum) * (output->desc->natts + 1));
	output->nulls = palloc(sizeof(bool) * (output->desc->natts + 1));
}

/* Memory and portals end with the (sub)transaction, if not before. */
static void
keep_open(DistSearchRun *run, int npartitions, int64 k)
{
	OpenSearch *open = MemoryContextAllocZero(CurTransactionContext,
											  sizeof(OpenSearch));

	open->run = run;
	open->npartitions = npartitions;
	open->k = k;
	open->user = GetUserId();
	open->forget.func = forget_open_search;
	open->forget.arg = open;
	MemoryContextRegisterResetCallback(CurTransactionContext, &open->forget);
	open_search = open;
}

static void
close_open_search(void)
{
	OpenSearch *open = open_search;

	open_search = NULL;
	if (open != NULL)
		DistSearchClose(open->run);
}

static void
forget_open_search(void *arg)
{
	if (open_search == arg)
		open_search = NULL;
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
					errmsg("only filter, ties, k, first and parameters of a distributed search may be null"));
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
	search->settings =
		DistSettingsTakeName(strings_of_array(PG_GETARG_DATUM(ARG_SETTINGS)));

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

/* DistSearchCallback */
static void
put_row(int part, int pos, HeapTuple tuple, TupleDesc desc, void *arg)
{
	SearchOutput *output = arg;
	int			distance = output->desc->natts; /* behind the wanted ones */

	heap_deform_tuple(tuple, desc, output->values + COL_FIRST_WANTED,
					  output->nulls + COL_FIRST_WANTED);
	output->values[COL_PART] = Int32GetDatum(part);
	output->nulls[COL_PART] = false;
	output->values[COL_POS] = Int32GetDatum(pos);
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
put_reports(DistSearchRun *run, int npartitions, SearchOutput *output)
{
	for (int i = 0; i < npartitions; i++)
	{
		memset(output->nulls, true, sizeof(bool) * output->desc->natts);
		output->values[COL_PART] = Int32GetDatum(i);
		output->nulls[COL_PART] = false;
		output->values[COL_POS] = Int32GetDatum(-1);
		output->nulls[COL_POS] = false;
		output->values[COL_REPORT] =
			CStringGetTextDatum(DistSearchReportToJson(DistSearchGetReport(run, i)));
		output->nulls[COL_REPORT] = false;
		tuplestore_putvalues(output->store, output->desc,
							 output->values, output->nulls);
	}
}
