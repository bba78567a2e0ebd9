/*-------------------------------------------------------------------------
 *
 * dist_topk_answer.c
 *	  What servers answer: its columns, rows and reports.
 *
 * The rows of all partitions of a worker come in one result, each with the
 * number of its partition and its position there, the distance, and the columns
 * that are wanted of the table.  One more row has the reports of all partitions.
 * Rows found on this server are tuples of these columns and the distance.
 *
 * Rows stay in the form they came in until they are emitted: of all the rows
 * that come, only K are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "distribution/dist_deparse.h"
#include "distribution/dist_topk.h"

/* Columns of the answer; those of the table follow. */
enum
{
	ANS_PART,
	ANS_POS,
	ANS_DISTANCE,
	ANS_REPORT,
	ANS_FIRST_COLUMN
};

static void set_up_column(DistTopKColumn *column, Expr *expr, int *nshipped,
						  EState *estate, StringInfo columns,
						  StringInfo definitions);
static void set_up_row(DistTopKColumn *column, Var *row, List *tlist);
static DistTopKPartition *answering_partition(DistTopKState *state,
											  DistTopKWorker *worker,
											  PGresult *result, int row);
static void report_context(void *arg);
static int64 bytes_of_rows(PGresult *result, int nrows);
static int	read_int32(PGresult *result, int row, int column);
static DistMergeKey read_key(PGresult *result, int row);
static Datum whole_row(DistTopKState *state, const DistTopKSource *source,
					   const DistTopKColumn *column);
static Datum remote_value(PGresult *result, int row, int field,
						  DistTopKColumn *column, bool *isnull);

/* ----------------------------------------------------------------
 * Columns
 * ----------------------------------------------------------------
 */

char *
DistTopKSetUpColumns(DistTopKState *state)
{
	CustomScan *scan = castNode(CustomScan, state->css.ss.ps.plan);
	StringInfoData columns;
	StringInfoData definitions;
	int			nshipped = 0;
	ListCell   *lc;

	initStringInfo(&columns);
	initStringInfo(&definitions);
	state->ncolumns = list_length(scan->custom_scan_tlist);
	state->column = palloc0(sizeof(DistTopKColumn) * state->ncolumns);
	foreach(lc, scan->custom_scan_tlist)
	{
		set_up_column(&state->column[foreach_current_index(lc)],
					  lfirst_node(TargetEntry, lc)->expr, &nshipped,
					  state->css.ss.ps.state, &columns, &definitions);
	}
	foreach(lc, scan->custom_scan_tlist)
	{
		Var		   *var = (Var *) lfirst_node(TargetEntry, lc)->expr;

		if (IsA(var, Var) && var->varattno == InvalidAttrNumber)
			set_up_row(&state->column[foreach_current_index(lc)], var,
					   scan->custom_scan_tlist);
	}
	state->columns = columns.data;
	return psprintf("AS s (part pg_catalog.int4, pos pg_catalog.int4, "
					"distance pg_catalog.float8, report pg_catalog.bytea%s)",
					definitions.data);
}

/*
 * Find out how a column of the scan tuple travels, and append it to the select
 * list and to the definition of the answer, if it does.
 */
static void
set_up_column(DistTopKColumn *column, Expr *expr, int *nshipped,
			  EState *estate, StringInfo columns, StringInfo definitions)
{
	Var		   *var = (Var *) expr;
	Oid			typid;
	Oid			input;
	const char *name;

	if (!IsA(expr, Var))
	{
		column->kind = DIST_TOPK_COLUMN_DISTANCE;
		return;
	}
	if (var->varattno == TableOidAttributeNumber)
	{
		column->kind = DIST_TOPK_COLUMN_TABLEOID;
		return;
	}
	if (var->varattno == InvalidAttrNumber)
	{
		column->kind = DIST_TOPK_COLUMN_ROW;
		return;
	}

	typid = var->vartype;
	if (DistTypeIsBinarySafe(typid))
	{
		column->kind = DIST_TOPK_COLUMN_BINARY;
		getTypeBinaryInputInfo(typid, &input, &column->ioparam);
	}
	else
	{
		column->kind = DIST_TOPK_COLUMN_TEXT;
		getTypeInputInfo(typid, &input, &column->ioparam);
	}
	fmgr_info(input, &column->input);
	column->typmod = var->vartypmod;
	column->field = (*nshipped)++;

	name = get_attname(exec_rt_fetch(var->varno, estate)->relid,
					   var->varattno, false);
	appendStringInfo(columns, "%s%s.%s%s", columns->len > 0 ? ", " : "",
					 DIST_SEARCH_ALIAS, quote_identifier(name),
					 column->kind == DIST_TOPK_COLUMN_TEXT ?
					 "::pg_catalog.text" : "");
	appendStringInfo(definitions, ", c%d %s", column->field,
					 column->kind == DIST_TOPK_COLUMN_TEXT ?
					 "pg_catalog.text" : DistTypeName(typid, -1));
}

/* Find the columns that make a whole row. */
static void
set_up_row(DistTopKColumn *column, Var *row, List *tlist)
{
	column->desc = lookup_rowtype_tupdesc_copy(row->vartype, -1);
	column->attribute = palloc(sizeof(int) * column->desc->natts);
	for (int i = 0; i < column->desc->natts; i++)
	{
		ListCell   *lc;

		column->attribute[i] = -1;
		foreach(lc, tlist)
		{
			Var		   *var = (Var *) lfirst_node(TargetEntry, lc)->expr;

			if (IsA(var, Var) && var->varattno == i + 1)
				column->attribute[i] = foreach_current_index(lc);
		}
		Assert(column->attribute[i] >= 0 ||
			   TupleDescAttr(column->desc, i)->attisdropped);
	}
}

/* ----------------------------------------------------------------
 * Rows and reports
 * ----------------------------------------------------------------
 */

int
DistTopKCountRows(DistTopKWorker *worker, PGresult *result)
{
	int			nrows = PQntuples(result) - 1;

	if (PQresultStatus(result) != PGRES_TUPLES_OK || nrows < 0 ||
		PQnfields(result) < ANS_FIRST_COLUMN)
		DistTopKBadAnswer(worker);
	return nrows;
}

void
DistTopKReadRow(DistTopKState *state, DistTopKWorker *worker,
				PGresult *result, int row, DistTopKSource *source)
{
	DistTopKPartition *partition = answering_partition(state, worker, result,
													   row);

	if (read_int32(result, row, ANS_POS) != partition->nrows)
		DistTopKBadAnswer(worker);
	partition->nrows++;
	source->partition = partition - state->partition;
	source->key = read_key(result, row);
	source->answer = result;
	source->row = row;
}

void
DistTopKReadReports(DistTopKState *state, DistTopKWorker *worker,
					PGresult *result, int nrows)
{
	DistSearchReport **reports = palloc(sizeof(DistSearchReport *) *
										worker->nasked);
	ErrorContextCallback callback;

	state->counts.rows_received += nrows;
	state->counts.bytes_received += bytes_of_rows(result, PQntuples(result));
	if (read_int32(result, nrows, ANS_POS) != -1 ||
		PQgetisnull(result, nrows, ANS_REPORT))
		DistTopKBadAnswer(worker);

	for (int i = 0; i < worker->nasked; i++)
		reports[i] = &state->partition[worker->asked[i]].report;
	callback.callback = report_context;
	callback.arg = worker;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	DistSearchReportsFromBytes(PQgetvalue(result, nrows, ANS_REPORT),
							   PQgetlength(result, nrows, ANS_REPORT),
							   worker->nasked, reports);
	error_context_stack = callback.previous;
	for (int i = 0; i < worker->nasked; i++)
	{
		if (reports[i]->nrows != state->partition[worker->asked[i]].nrows)
			DistTopKBadAnswer(worker);
	}
}

static void
report_context(void *arg)
{
	errcontext("answer of worker \"%s\"", ((DistTopKWorker *) arg)->name);
}

/* How long the messages with the rows were. */
static int64
bytes_of_rows(PGresult *result, int nrows)
{
	int			nfields = PQnfields(result);
	int64		bytes = (int64) nrows * (7 + 4 * nfields);

	for (int row = 0; row < nrows; row++)
		for (int field = 0; field < nfields; field++)
			bytes += PQgetlength(result, row, field);
	return bytes;
}

/* The partition that a row of an answer speaks of. */
static DistTopKPartition *
answering_partition(DistTopKState *state, DistTopKWorker *worker,
					PGresult *result, int row)
{
	int			part = read_int32(result, row, ANS_PART);

	if (part < 0 || part >= worker->nasked)
		DistTopKBadAnswer(worker);
	return &state->partition[worker->asked[part]];
}

/* A number that is not there is one that no answer has. */
static int
read_int32(PGresult *result, int row, int column)
{
	uint32		value;

	if (PQgetisnull(result, row, column))
		return PG_INT32_MIN;
	memcpy(&value, PQgetvalue(result, row, column), sizeof(value));
	return (int) pg_ntoh32(value);
}

static DistMergeKey
read_key(PGresult *result, int row)
{
	DistMergeKey key = {0};
	uint64		bits;

	if (PQgetisnull(result, row, ANS_DISTANCE))
		key.isnull = true;
	else
	{
		memcpy(&bits, PQgetvalue(result, row, ANS_DISTANCE), sizeof(bits));
		bits = pg_ntoh64(bits);
		memcpy(&key.distance, &bits, sizeof(bits));
	}
	return key;
}

void
DistTopKBadAnswer(DistTopKWorker *worker)
{
	ereport(ERROR,
			errcode(ERRCODE_PROTOCOL_VIOLATION),
			errmsg("worker \"%s\" sent an invalid answer to a search",
				   worker->name),
			errhint("Check that all servers run the same version of vecdist."));
}

/* The distance is the last column of a row found here. */
DistMergeKey
DistTopKKeyOfTuple(HeapTuple tuple, TupleDesc desc)
{
	DistMergeKey key;
	Datum		distance = heap_getattr(tuple, desc->natts, desc, &key.isnull);

	key.distance = key.isnull ? 0 : DatumGetFloat8(distance);
	return key;
}

/* ----------------------------------------------------------------
 * Values
 * ----------------------------------------------------------------
 */

Datum
DistTopKReadColumn(DistTopKState *state, const DistTopKSource *source,
				   int number, bool *isnull)
{
	DistTopKColumn *column = &state->column[number];
	Datum		value;

	*isnull = false;
	switch (column->kind)
	{
		case DIST_TOPK_COLUMN_DISTANCE:
			*isnull = source->key.isnull;
			return Float8GetDatum(source->key.distance);
		case DIST_TOPK_COLUMN_TABLEOID:
			return ObjectIdGetDatum(state->partition[source->partition].place->relid);
		case DIST_TOPK_COLUMN_ROW:
			return whole_row(state, source, column);
		case DIST_TOPK_COLUMN_BINARY:
		case DIST_TOPK_COLUMN_TEXT:
			break;
	}

	if (source->answer != NULL)
		return remote_value(source->answer, source->row,
							ANS_FIRST_COLUMN + column->field, column, isnull);

	value = heap_getattr(source->tuple, column->field + 1, source->desc,
						 isnull);
	if (*isnull || column->kind == DIST_TOPK_COLUMN_BINARY)
		return value;
	return InputFunctionCall(&column->input, TextDatumGetCString(value),
							 column->ioparam, column->typmod);
}

static Datum
whole_row(DistTopKState *state, const DistTopKSource *source,
		  const DistTopKColumn *column)
{
	int			n = column->desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		nulls[i] = true;
		values[i] = 0;
		if (column->attribute[i] >= 0)
			values[i] = DistTopKReadColumn(state, source,
										   column->attribute[i], &nulls[i]);
	}
	return HeapTupleGetDatum(heap_form_tuple(column->desc, values, nulls));
}

static Datum
remote_value(PGresult *result, int row, int field, DistTopKColumn *column,
			 bool *isnull)
{
	char	   *data = PQgetvalue(result, row, field);
	int			len = PQgetlength(result, row, field);
	StringInfoData buf;

	*isnull = PQgetisnull(result, row, field);
	if (column->kind == DIST_TOPK_COLUMN_TEXT)
		return InputFunctionCall(&column->input, *isnull ? NULL : data,
								 column->ioparam, column->typmod);

	/* Receive functions read the buffer in place; libpq ends it with a NUL. */
	buf.data = data;
	buf.len = len;
	buf.maxlen = len + 1;
	buf.cursor = 0;
	return ReceiveFunctionCall(&column->input, *isnull ? NULL : &buf,
							   column->ioparam, column->typmod);
}
