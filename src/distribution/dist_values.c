/*-------------------------------------------------------------------------
 *
 * dist_values.c
 *	  Values on their way to a worker and back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "distribution/dist_deparse.h"
#include "distribution/dist_values.h"

struct DistParamState
{
	List	   *exprs;			/* of ExprState */
	DistValueWriter *writers;	/* one for each */
	bool		any_text;		/* is one of them written as text? */
	MemoryContext context;		/* what the values point to */
	const char **values;
	int		   *lengths;
	int		   *formats;
	DistParams	params;			/* of these three arrays */
};

/* How one column is read. */
typedef struct ColumnReader
{
	AttrNumber	attnum;
	FmgrInfo	function;		/* the type's receive or input function */
	Oid			ioparam;
	int32		typmod;
} ColumnReader;

struct DistRowReader
{
	int			natts;			/* attributes of the row to fill */
	bool		binary;
	int			ncolumns;
	ColumnReader columns[FLEXIBLE_ARRAY_MEMBER];
};

static Datum read_value(DistRowReader *reader, ColumnReader *column,
						PGresult *result, int row, int i);

void
DistInitValueWriter(DistValueWriter *writer, Oid typid, bool binary)
{
	Oid			function;
	bool		varlena;

	writer->binary = binary && DistTypeIsBinarySafe(typid);
	if (writer->binary)
		getTypeBinaryOutputInfo(typid, &function, &varlena);
	else
		getTypeOutputInfo(typid, &function, &varlena);
	fmgr_info(function, &writer->function);
}

DistParamState *
DistMakeParams(List *exprs, PlanState *parent)
{
	DistParamState *state = palloc0(sizeof(DistParamState));
	int			n = list_length(exprs);
	ListCell   *lc;
	int			i = 0;

	state->exprs = ExecInitExprList(exprs, parent);
	state->writers = palloc0(sizeof(DistValueWriter) * n);
	state->values = palloc0(sizeof(char *) * n);
	state->lengths = palloc0(sizeof(int) * n);
	state->formats = palloc0(sizeof(int) * n);
	foreach(lc, exprs)
	{
		DistInitValueWriter(&state->writers[i], exprType(lfirst(lc)), true);
		state->any_text |= !state->writers[i].binary;
		state->formats[i] = state->writers[i].binary ? 1 : 0;
		i++;
	}
	state->context = AllocSetContextCreate(CurrentMemoryContext,
										   "vecdist parameters",
										   ALLOCSET_DEFAULT_SIZES);
	state->params.n = n;
	state->params.values = state->values;
	state->params.lengths = state->lengths;
	state->params.formats = state->formats;
	return state;
}

const DistParams *
DistEvalParams(DistParamState *state, ExprContext *econtext)
{
	MemoryContext oldcontext;
	int			nestlevel = 0;
	ListCell   *lc;
	int			i = 0;

	if (state->exprs == NIL)
		return NULL;

	MemoryContextReset(state->context);
	oldcontext = MemoryContextSwitchTo(state->context);
	foreach(lc, state->exprs)
	{
		DistValueWriter *writer = &state->writers[i];
		bool		isnull;
		Datum		value = ExecEvalExpr(lfirst(lc), econtext, &isnull);

		/* Only around the output: expressions see the user's settings. */
		if (isnull)
			state->values[i] = NULL;
		else if (writer->binary)
		{
			bytea	   *bytes = SendFunctionCall(&writer->function, value);

			state->values[i] = VARDATA(bytes);
			state->lengths[i] = VARSIZE(bytes) - VARHDRSZ;
		}
		else
		{
			nestlevel = DistPushTextSettings();
			state->values[i] = OutputFunctionCall(&writer->function, value);
			AtEOXact_GUC(true, nestlevel);
			state->lengths[i] = 0;	/* text ends with a zero byte */
		}
		i++;
	}
	MemoryContextSwitchTo(oldcontext);
	return &state->params;
}

DistRowReader *
DistMakeRowReader(TupleDesc desc, List *attnums)
{
	int			n = list_length(attnums);
	DistRowReader *reader = palloc0(offsetof(DistRowReader, columns) +
									sizeof(ColumnReader) * n);
	ListCell   *lc;

	reader->natts = desc->natts;
	reader->ncolumns = n;
	reader->binary = true;
	foreach(lc, attnums)
		if (lfirst_int(lc) > 0)
		reader->binary &=
			DistTypeIsBinarySafe(TupleDescAttr(desc, lfirst_int(lc) - 1)->atttypid);

	for (int i = 0; i < n; i++)
	{
		ColumnReader *column = &reader->columns[i];
		Oid			typid = TIDOID;
		Oid			function;

		column->attnum = list_nth_int(attnums, i);
		column->typmod = -1;
		if (column->attnum > 0)
		{
			Form_pg_attribute attr = TupleDescAttr(desc, column->attnum - 1);

			typid = attr->atttypid;
			column->typmod = attr->atttypmod;
		}
		else
			Assert(column->attnum == SelfItemPointerAttributeNumber);

		if (reader->binary)
			getTypeBinaryInputInfo(typid, &function, &column->ioparam);
		else
			getTypeInputInfo(typid, &function, &column->ioparam);
		fmgr_info(function, &column->function);
	}
	return reader;
}

bool
DistRowReaderIsBinary(const DistRowReader *reader)
{
	return reader->binary;
}

void
DistReadRow(DistRowReader *reader, PGresult *result, int row,
			Datum *values, bool *isnull, ItemPointer tid)
{
	for (int i = 0; i < reader->natts; i++)
	{
		values[i] = (Datum) 0;
		isnull[i] = true;
	}
	for (int i = 0; i < reader->ncolumns; i++)
	{
		ColumnReader *column = &reader->columns[i];
		Datum		value = read_value(reader, column, result, row, i);

		if (column->attnum > 0)
		{
			values[column->attnum - 1] = value;
			isnull[column->attnum - 1] = PQgetisnull(result, row, i);
		}
		else if (!PQgetisnull(result, row, i))
			*tid = *(ItemPointer) DatumGetPointer(value);
	}
}

/* Input functions are called for NULL as well: domains may refuse it. */
static Datum
read_value(DistRowReader *reader, ColumnReader *column, PGresult *result,
		   int row, int i)
{
	bool		isnull = PQgetisnull(result, row, i);
	StringInfoData buf;

	if (!reader->binary)
		return InputFunctionCall(&column->function,
								 isnull ? NULL : PQgetvalue(result, row, i),
								 column->ioparam, column->typmod);

	/* libpq ends every value with a zero byte, as receive functions want. */
	buf.data = PQgetvalue(result, row, i);
	buf.len = PQgetlength(result, row, i);
	buf.maxlen = buf.len + 1;
	buf.cursor = 0;
	return ReceiveFunctionCall(&column->function, isnull ? NULL : &buf,
							   column->ioparam, column->typmod);
}
