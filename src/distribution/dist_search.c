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
 * vecdist.search_stream() is for callers who do not know how many rows they
 * want: they go on by vecdist.search_next(), and may have many streams open.
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
VECDIST_FUNCTION_INFO_V1(vecdist_search_stream);
VECDIST_FUNCTION_INFO_V1(vecdist_search_next);

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

/* Arguments of vecdist.search_stream() */
enum
{
	STREAM_ARG_STREAM,
	STREAM_ARG_PARTITIONS,
	STREAM_ARG_COLUMNS,
	STREAM_ARG_FILTER,
	STREAM_ARG_DISTANCE,
	STREAM_ARG_FIRST,
	STREAM_ARG_SETTINGS,
	STREAM_ARG_PARAMETERS		/* the first of them */
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
	int64		k;
	Oid			user;			/* who began it */
	MemoryContextCallback forget;	/* resets 'open_search' with the memory */
} OpenSearch;

static OpenSearch *open_search = NULL;

static void begin_output(FunctionCallInfo fcinfo, SearchOutput *output);
static void keep_open(DistSearchRun *run, int64 k);
static void close_open_search(void);
static void forget_open_search(void *arg);
static void read_arguments(FunctionCallInfo fcinfo, DistSearch *search);
static void read_stream_arguments(FunctionCallInfo fcinfo, DistSearch *search);
static char *text_argument(FunctionCallInfo fcinfo, int arg);
static void read_parameters(FunctionCallInfo fcinfo, int first,
							DistSearch *search);
static DistSearchRun *open_run(const DistSearch *search, Datum partitions,
							   const SearchOutput *output);
static DistSearchRun *find_stream(FunctionCallInfo fcinfo);
static void next_rows(DistSearchRun *run, int64 nrows, SearchOutput *output);
static List *strings_of_array(Datum array);
static void check_result_type(TupleDesc desc);
static void put_row(int part, int pos, HeapTuple tuple, TupleDesc desc,
					void *arg);
static void check_row_type(TupleDesc row, TupleDesc result);
static void put_reports(DistSearchRun *run, SearchOutput *output);

/*
 * vecdist.search(partitions, columns, filter, distance, ties, k, first,
 *				  settings, VARIADIC parameters)
 *		The worker's side of a distributed search.
 *
 * The nearest rows of all partitions together, then one row with pos = -1 and
 * the reports.  See README, section "Search".
 */
Datum
vecdist_search(PG_FUNCTION_ARGS)
{
	SearchOutput output = {0};
	DistSearch	search = {0};
	int64		first;
	DistSearchRun *run;

	close_open_search();
	begin_output(fcinfo, &output);
	read_arguments(fcinfo, &search);
	first = PG_ARGISNULL(ARG_FIRST) ? search.k : PG_GETARG_INT64(ARG_FIRST);
	if (VD_MISTAKE("dist-search-for-first"))
		search.k = first;
	run = open_run(&search, PG_GETARG_DATUM(ARG_PARTITIONS), &output);
	if (!DistSearchFetch(run, first, NULL, put_row, &output))
		elog(ERROR, "search of partitions is not open");
	put_reports(run, &output);

	if (first < search.k)
		keep_open(run, search.k);
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
	put_reports(open->run, &output);
	close_open_search();
	return (Datum) 0;
}

/*
 * vecdist.search_stream(stream, partitions, columns, filter, distance, first,
 *						 settings, VARIADIC parameters)
 *		Begin a search of which nobody knows how many rows it will return.
 *
 * Returns the nearest "first" rows and the reports, as vecdist.search() does, and
 * stays open under the number "stream".  One with that number is closed before.
 */
Datum
vecdist_search_stream(PG_FUNCTION_ARGS)
{
	SearchOutput output = {0};
	DistSearch	search = {.k = DIST_ALL_ROWS,.stream = true};
	DistSearchRun *run;

	begin_output(fcinfo, &output);
	read_stream_arguments(fcinfo, &search);
	run = DistSearchFind(PG_GETARG_INT64(STREAM_ARG_STREAM), GetUserId());
	if (run != NULL)
		DistSearchClose(run);
	run = open_run(&search, PG_GETARG_DATUM(STREAM_ARG_PARTITIONS), &output);
	DistSearchSetNumber(run, PG_GETARG_INT64(STREAM_ARG_STREAM), GetUserId());
	next_rows(run, PG_GETARG_INT64(STREAM_ARG_FIRST), &output);
	return (Datum) 0;
}

/*
 * vecdist.search_next(stream, next)
 *		The next rows of a stream, then the reports.
 */
Datum
vecdist_search_next(PG_FUNCTION_ARGS)
{
	SearchOutput output = {0};

	begin_output(fcinfo, &output);
	next_rows(find_stream(fcinfo), PG_GETARG_INT64(1), &output);
	return (Datum) 0;
}

static DistSearchRun *
find_stream(FunctionCallInfo fcinfo)
{
	int64		number = PG_GETARG_INT64(0);
	DistSearchRun *run = DistSearchFind(number, GetUserId());

	if (run == NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_CURSOR_STATE),
				errmsg("stream " INT64_FORMAT " is not open", number),
				errdetail("A stream is open from vecdist.search_stream() to the end of its transaction, or the rollback of its subtransaction."));
	return run;
}

static void
next_rows(DistSearchRun *run, int64 nrows, SearchOutput *output)
{
	if (!DistSearchNext(run, nrows, put_row, output))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_CURSOR_STATE),
				errmsg("a portal of a stream was closed"));
	put_reports(run, output);
}

/* Begin the search of the partitions named in an array of text. */
static DistSearchRun *
open_run(const DistSearch *search, Datum partitions,
		 const SearchOutput *output)
{
	List	   *names = strings_of_array(partitions);
	char	  **array = palloc(sizeof(char *) * Max(list_length(names), 1));
	DistSearchRun *run;
	ListCell   *lc;

	foreach(lc, names)
		array[foreach_current_index(lc)] = lfirst(lc);
	run = DistSearchOpen(search, list_length(names), array, NULL);
	if (names != NIL)
		check_row_type(DistSearchGetDesc(run), output->desc);
	return run;
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
keep_open(DistSearchRun *run, int64 k)
{
	OpenSearch *open = MemoryContextAllocZero(CurTransactionContext,
											  sizeof(OpenSearch));

	open->run = run;
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

	search->columns = text_argument(fcinfo, ARG_COLUMNS);
	search->filter = text_argument(fcinfo, ARG_FILTER);
	search->distance = text_argument(fcinfo, ARG_DISTANCE);
	search->ties = text_argument(fcinfo, ARG_TIES);
	search->k = PG_ARGISNULL(ARG_K) ? DIST_ALL_ROWS : PG_GETARG_INT64(ARG_K);
	search->settings =
		DistSettingsTakeName(strings_of_array(PG_GETARG_DATUM(ARG_SETTINGS)));
	read_parameters(fcinfo, ARG_PARAMETERS, search);
}

static void
read_stream_arguments(FunctionCallInfo fcinfo, DistSearch *search)
{
	for (int i = 0; i < STREAM_ARG_PARAMETERS; i++)
		if (PG_ARGISNULL(i) && i != STREAM_ARG_FILTER)
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("only filter and parameters of a stream may be null"));
	search->columns = text_argument(fcinfo, STREAM_ARG_COLUMNS);
	search->filter = text_argument(fcinfo, STREAM_ARG_FILTER);
	search->distance = text_argument(fcinfo, STREAM_ARG_DISTANCE);
	search->settings =
		DistSettingsTakeName(strings_of_array(PG_GETARG_DATUM(STREAM_ARG_SETTINGS)));
	read_parameters(fcinfo, STREAM_ARG_PARAMETERS, search);
}

static char *
text_argument(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* The values of $1, $2, ..., which begin with argument 'first'. */
static void
read_parameters(FunctionCallInfo fcinfo, int first, DistSearch *search)
{
	if (get_fn_expr_variadic(fcinfo->flinfo))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("parameters of a distributed search must be separate arguments"));

	search->nparams = PG_NARGS() - first;
	search->param_types = palloc(sizeof(Oid) * search->nparams);
	search->param_values = palloc(sizeof(Datum) * search->nparams);
	search->param_nulls = palloc(search->nparams);
	for (int i = 0; i < search->nparams; i++)
	{
		int			arg = first + i;

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
	static const Oid types[] = {INT4OID, INT4OID, FLOAT8OID, BYTEAOID};
	bool		valid = desc->natts >= COL_FIRST_WANTED;

	for (int i = 0; valid && i < lengthof(types); i++)
		valid = TupleDescAttr(desc, i)->atttypid == types[i];
	if (!valid)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column definition list of a distributed search must begin with integer, integer, double precision, bytea"));
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

/* One row, behind those of the partitions. */
static void
put_reports(DistSearchRun *run, SearchOutput *output)
{
	memset(output->nulls, true, sizeof(bool) * output->desc->natts);
	output->values[COL_POS] = Int32GetDatum(-1);
	output->nulls[COL_POS] = false;
	output->values[COL_REPORT] =
		PointerGetDatum(DistSearchReportsToBytes(run));
	output->nulls[COL_REPORT] = false;
	tuplestore_putvalues(output->store, output->desc,
						 output->values, output->nulls);
}
