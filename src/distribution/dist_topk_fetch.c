/*-------------------------------------------------------------------------
 *
 * dist_topk_fetch.c
 *	  Ask the servers for the nearest rows of their partitions.
 *
 * Each worker gets one message for all of its partitions, all at the same
 * time; partitions that live here are searched by the same code in-process.
 * The text of the message depends only on the columns and on the types of
 * the parameters, so each connection prepares it once.
 *
 * Rows stay in the form they came in until they are emitted: of all the rows
 * that come, only K are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "port/pg_bswap.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "distribution/dist_connection.h"
#include "distribution/dist_deparse.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_init.h"
#include "distribution/dist_options.h"
#include "distribution/dist_settings.h"
#include "distribution/dist_topk.h"

/* Parameters of the message; those of the search follow. */
enum
{
	MSG_PARTITIONS,
	MSG_COLUMNS,
	MSG_FILTER,
	MSG_DISTANCE,
	MSG_TIES,
	MSG_K,
	MSG_SETTINGS,
	MSG_FIRST_PARAM
};

/* Columns of the answer; those of the table follow. */
enum
{
	ANS_PART,
	ANS_POS,
	ANS_DISTANCE,
	ANS_REPORT,
	ANS_FIRST_COLUMN
};

/* The parameters of a message, in libpq's terms. */
typedef struct Message
{
	int			n;
	const char **values;
	int		   *lengths;
	int		   *formats;
} Message;

/* For the callback that keeps rows found on this server. */
typedef struct LocalRows
{
	DistTopKPartition *partition;
	MemoryContext context;		/* where to keep them */
	int			space;			/* rows allocated */
} LocalRows;

static void set_up_column(DistTopKColumn *column, Expr *expr, int *nshipped,
						  EState *estate, StringInfo columns,
						  StringInfo definitions);
static char *statement_text(DistTopKState *state, const char *definitions);
static int	ask_workers(DistTopKState *state, const Message *message,
						DistTopKWorker **workers, int nworkers, bool first);
static Message *make_message(DistTopKState *state);
static const DistParams *address_message(const Message *message,
										 DistTopKState *state,
										 DistTopKWorker *worker);
static void write_param(DistTopKParam *param, Message *message, int index);
static char *text_array(List *strings);
static bool may_ask_another(DistTopKWorker *worker, const DistRequest *request);
static int	number_of_hosts(Oid serverid);
static void worker_failed(DistTopKState *state, DistTopKWorker *worker,
						  ErrorData *error) pg_attribute_noreturn();
static void failure_context(void *arg);
static char *partition_list(DistTopKState *state, DistTopKWorker *worker);
static void read_answer(DistTopKState *state, DistTopKWorker *worker,
						PGresult *result);
static int	read_int32(PGresult *result, int row, int column);
static DistMergeKey read_key(PGresult *result, int row);
static void bad_answer(DistTopKWorker *worker) pg_attribute_noreturn();
static void search_here(void *arg);
static void search_own_partitions(DistTopKState *state,
								  DistTopKWorker *worker);
static void keep_row(HeapTuple tuple, TupleDesc desc, void *arg);
static Oid	owner_of(Oid relid);
static Datum remote_value(PGresult *result, int row, int field,
						  DistTopKColumn *column, bool *isnull);

/* ----------------------------------------------------------------
 * Texts and functions that stay the same
 * ----------------------------------------------------------------
 */

void
DistTopKPrepare(DistTopKState *state)
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
	state->columns = columns.data;
	state->statement = statement_text(state, definitions.data);
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

/* What is sent to every worker. */
static char *
statement_text(DistTopKState *state, const char *definitions)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "SELECT * FROM vecdist.search($1::pg_catalog.text[], "
						   "$2::pg_catalog.text, $3::pg_catalog.text, "
						   "$4::pg_catalog.text, $5::pg_catalog.text, "
						   "$6::pg_catalog.int8, $7::pg_catalog.text[]");
	for (int i = 0; i < state->nparams; i++)
		appendStringInfo(&sql, ", $%d::%s", MSG_FIRST_PARAM + i + 1,
						 DistTypeName(state->param[i].type, -1));
	appendStringInfo(&sql,
					 ") AS s (part pg_catalog.int4, pos pg_catalog.int4, "
					 "distance pg_catalog.float8, report pg_catalog.text%s)",
					 definitions);
	return sql.data;
}

/* ----------------------------------------------------------------
 * Searching
 * ----------------------------------------------------------------
 */

void
DistTopKFetch(DistTopKState *state)
{
	DistTopKWorker **workers;
	int			nworkers = 0;
	Message    *message;
	bool		first = true;

	state->settings = DistSettingsToSend();
	workers = palloc(sizeof(DistTopKWorker *) * state->nworkers);
	for (int i = 0; i < state->nworkers; i++)
	{
		if (OidIsValid(state->worker[i].serverid))
		{
			workers[nworkers++] = &state->worker[i];
			state->worker[i].ntries = 0;
		}
	}
	DistFlushInserts();
	message = make_message(state);

	/* Again only if a server failed and another one may be asked. */
	do
	{
		nworkers = ask_workers(state, message, workers, nworkers, first);
		first = false;
	} while (nworkers > 0);
}

/*
 * Send the message to these workers, and read the answers of those that
 * answer.  Those that did not and have another server to ask are moved to the
 * front of 'workers'; returns their number.  Raises an error for a worker that
 * has not.  The first time, this server searches its own partitions while the
 * workers search theirs.
 */
static int
ask_workers(DistTopKState *state, const Message *message,
			DistTopKWorker **workers, int nworkers, bool first)
{
	DistRequest *requests = palloc0(sizeof(DistRequest) * nworkers);
	DistTarget	target = DistReadConsistency == DIST_READ_EVENTUAL ?
	DIST_TARGET_ANY : DIST_TARGET_PRIMARY;
	int			nleft = 0;

	for (int i = 0; i < nworkers; i++)
	{
		requests[i].conn = DistConnGet(workers[i]->serverid, state->userid,
									   target);
		requests[i].sql = state->statement;
		requests[i].params = address_message(message, state, workers[i]);
		requests[i].flags = DIST_REQ_BINARY | DIST_REQ_PREPARED;
		if (IsolationUsesXactSnapshot())
			requests[i].flags |= DIST_REQ_XACT;
		workers[i]->ntries++;
		workers[i]->nrequests++;
	}

	DistExecuteMeanwhile(requests, nworkers, DistNodeTimeout,
						 DIST_EXEC_KEEP_GOING,
						 first ? search_here : NULL, state);

	for (int i = 0; i < nworkers; i++)
	{
		if (requests[i].error == NULL)
		{
			workers[i]->host = pstrdup(DistConnHost(requests[i].conn));
			read_answer(state, workers[i], requests[i].result);
		}
		else if (may_ask_another(workers[i], &requests[i]))
			workers[nleft++] = workers[i];
		else
			worker_failed(state, workers[i], requests[i].error);
	}
	return nleft;
}

/* Make what is the same for all workers; address_message adds the rest. */
static Message *
make_message(DistTopKState *state)
{
	Message    *message = palloc(sizeof(Message));
	int			nestlevel = DistPushTextSettings();

	message->n = MSG_FIRST_PARAM + state->nparams;
	message->values = palloc0(sizeof(char *) * message->n);
	message->lengths = palloc0(sizeof(int) * message->n);
	message->formats = palloc0(sizeof(int) * message->n);

	message->values[MSG_COLUMNS] = state->columns;
	message->values[MSG_FILTER] = state->filter;
	message->values[MSG_DISTANCE] = state->distance;
	message->values[MSG_TIES] = state->ties;
	if (state->k != DIST_ALL_ROWS)
		message->values[MSG_K] = psprintf(INT64_FORMAT, state->k);
	message->values[MSG_SETTINGS] = text_array(state->settings);
	for (int i = 0; i < state->nparams; i++)
		write_param(&state->param[i], message, MSG_FIRST_PARAM + i);
	AtEOXact_GUC(true, nestlevel);
	return message;
}

static void
write_param(DistTopKParam *param, Message *message, int index)
{
	if (param->isnull)
		return;					/* as it is */
	if (param->writer.binary)
	{
		bytea	   *value = SendFunctionCall(&param->writer.function,
											 param->value);

		message->values[index] = VARDATA(value);
		message->lengths[index] = VARSIZE(value) - VARHDRSZ;
		message->formats[index] = 1;
	}
	else
		message->values[index] = OutputFunctionCall(&param->writer.function,
													param->value);
}

/* A copy of the message with the names of a worker's partitions. */
static const DistParams *
address_message(const Message *message, DistTopKState *state,
				DistTopKWorker *worker)
{
	DistParams *params = palloc(sizeof(DistParams));
	const char **values = palloc(sizeof(char *) * message->n);
	List	   *names = NIL;

	for (int i = 0; i < worker->npartitions; i++)
	{
		DistPartition *place = state->partition[worker->partitions[i]].place;

		names = lappend(names,
						quote_qualified_identifier(place->remote_schema,
												   place->remote_name));
	}
	memcpy(values, message->values, sizeof(char *) * message->n);
	values[MSG_PARTITIONS] = text_array(names);

	params->n = message->n;
	params->values = values;
	params->lengths = message->lengths;
	params->formats = message->formats;
	return params;
}

/* The text form of an array of strings. */
static char *
text_array(List *strings)
{
	Datum	   *elems = palloc(sizeof(Datum) * Max(list_length(strings), 1));
	ListCell   *lc;

	foreach(lc, strings)
		elems[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	return OidOutputFunctionCall(F_ARRAY_OUT,
								 PointerGetDatum(construct_array(elems,
																 list_length(strings),
																 TEXTOID, -1, false,
																 TYPALIGN_INT)));
}

/* ----------------------------------------------------------------
 * Failures
 * ----------------------------------------------------------------
 */

/*
 * May another server of the group answer instead?  Only if the one that was
 * asked is to blame and old answers are allowed, and never within a remote
 * transaction: its snapshot exists nowhere else.  DistConnGet offers the next
 * server after a failure, so each gets its turn.
 */
static bool
may_ask_another(DistTopKWorker *worker, const DistRequest *request)
{
	int			sqlstate = request->error->sqlerrcode;

	if (DistReadConsistency != DIST_READ_EVENTUAL ||
		IsolationUsesXactSnapshot() || DistConnInXact(request->conn) ||
		worker->ntries >= number_of_hosts(worker->serverid))
		return false;

	switch (sqlstate)
	{
		case ERRCODE_ADMIN_SHUTDOWN:
		case ERRCODE_CRASH_SHUTDOWN:
		case ERRCODE_CANNOT_CONNECT_NOW:
		case ERRCODE_T_R_SERIALIZATION_FAILURE: /* conflict with recovery */
			return true;
		default:
			return ERRCODE_TO_CATEGORY(sqlstate) ==
				ERRCODE_CONNECTION_EXCEPTION;
	}
}

static int
number_of_hosts(Oid serverid)
{
	char	   *hosts = DistGetOption(GetForeignServer(serverid)->options,
									  "hosts");

	return list_length(DistParseHosts(hosts));
}

/* Raise a worker's error, and say what cannot be searched because of it. */
static void
worker_failed(DistTopKState *state, DistTopKWorker *worker, ErrorData *error)
{
	ErrorContextCallback callback;

	callback.callback = failure_context;
	callback.arg = psprintf("search of partitions %s on worker \"%s\"",
							partition_list(state, worker), worker->name);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	error->elevel = ERROR;
	if (error->sqlerrcode == ERRCODE_CONNECTION_FAILURE && error->hint == NULL)
		error->hint = "If the partitions are large and have no index, vecdist.node_timeout may be too short for them.";
	ThrowErrorData(error);
	pg_unreachable();
}

static void
failure_context(void *arg)
{
	errcontext("%s", (char *) arg);
}

/* Names of a worker's partitions, for people. */
static char *
partition_list(DistTopKState *state, DistTopKWorker *worker)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < worker->npartitions; i++)
	{
		DistPartition *place = state->partition[worker->partitions[i]].place;

		appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "",
						 get_rel_name(place->relid));
	}
	return names.data;
}

/* ----------------------------------------------------------------
 * Answers of workers
 * ----------------------------------------------------------------
 */

/*
 * Find the rows of each partition in the answer, and read the reports.  The
 * rows of a partition are contiguous and numbered from 0, its report follows.
 */
static void
read_answer(DistTopKState *state, DistTopKWorker *worker, PGresult *result)
{
	int			ntuples = PQntuples(result);
	DistMergeKey *keys;
	int			row = 0;

	if (PQresultStatus(result) != PGRES_TUPLES_OK ||
		PQnfields(result) < ANS_FIRST_COLUMN)
		bad_answer(worker);
	keys = palloc_extended(mul_size(sizeof(DistMergeKey), ntuples),
						   MCXT_ALLOC_HUGE);

	for (int i = 0; i < worker->npartitions; i++)
	{
		DistTopKPartition *partition =
		&state->partition[worker->partitions[i]];

		partition->result = result;
		partition->first_row = row;
		partition->keys = keys + row;
		partition->nrows = 0;
		for (; row < ntuples; row++)
		{
			if (read_int32(result, row, ANS_PART) != i ||
				read_int32(result, row, ANS_POS) != partition->nrows)
				break;
			partition->keys[partition->nrows++] = read_key(result, row);
		}

		if (row >= ntuples || read_int32(result, row, ANS_PART) != i ||
			read_int32(result, row, ANS_POS) != -1 ||
			PQgetisnull(result, row, ANS_REPORT))
			bad_answer(worker);
		DistSearchReportFromJson(PQgetvalue(result, row, ANS_REPORT),
								 &partition->report);
		if (partition->report.nrows != partition->nrows)
			bad_answer(worker);
		row++;
		CHECK_FOR_INTERRUPTS();
	}
	if (row != ntuples)
		bad_answer(worker);
}

static int
read_int32(PGresult *result, int row, int column)
{
	uint32		value;

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

static void
bad_answer(DistTopKWorker *worker)
{
	ereport(ERROR,
			errcode(ERRCODE_PROTOCOL_VIOLATION),
			errmsg("worker \"%s\" sent an invalid answer to a search",
				   worker->name),
			errhint("Check that all servers run the same version of vecdist."));
}

/* ----------------------------------------------------------------
 * Partitions that live here
 * ----------------------------------------------------------------
 */

/* What this server does while the workers search. */
static void
search_here(void *arg)
{
	DistTopKState *state = arg;

	for (int i = 0; i < state->nworkers; i++)
	{
		if (!OidIsValid(state->worker[i].serverid))
			search_own_partitions(state, &state->worker[i]);
	}
}

/*
 * Search partitions on this server, under the query's snapshot.
 *
 * The query was allowed to read the partitioned table, and core does not ask
 * for rights on partitions then, nor apply their own row security.  So the
 * search runs as each partition's owner.  What runs is what DistIsShippable
 * let through, so no code of the querying role runs with the owner's rights.
 */
static void
search_own_partitions(DistTopKState *state, DistTopKWorker *worker)
{
	DistSearch	search = {0};
	Oid			userid;
	int			sec_context;

	search.columns = state->columns;
	search.filter = state->filter;
	search.distance = state->distance;
	search.ties = state->ties;
	search.k = state->k;
	search.settings = state->settings;
	search.nparams = state->nparams;
	search.param_types = palloc(sizeof(Oid) * Max(state->nparams, 1));
	search.param_values = palloc(sizeof(Datum) * Max(state->nparams, 1));
	search.param_nulls = palloc(Max(state->nparams, 1));
	for (int i = 0; i < state->nparams; i++)
	{
		search.param_types[i] = state->param[i].type;
		search.param_values[i] = state->param[i].value;
		search.param_nulls[i] = state->param[i].isnull ? 'n' : ' ';
	}

	PushActiveSnapshot(state->css.ss.ps.state->es_snapshot);
	GetUserIdAndSecContext(&userid, &sec_context);
	for (int i = 0; i < worker->npartitions; i++)
	{
		DistTopKPartition *partition =
		&state->partition[worker->partitions[i]];
		DistPartition *place = partition->place;
		LocalRows	rows = {.partition = partition,
		.context = CurrentMemoryContext};

		partition->result = NULL;
		partition->nrows = 0;
		SetUserIdAndSecContext(owner_of(place->relid),
							   sec_context | SECURITY_LOCAL_USERID_CHANGE);
		DistSearchPartition(&search,
							quote_qualified_identifier(place->remote_schema,
													   place->remote_name),
							keep_row, &rows, &partition->report);
		SetUserIdAndSecContext(userid, sec_context);
	}
	PopActiveSnapshot();
}

/* DistSearchCallback: keep the row for the merge. */
static void
keep_row(HeapTuple tuple, TupleDesc desc, void *arg)
{
	LocalRows  *rows = arg;
	DistTopKPartition *partition = rows->partition;
	MemoryContext oldcontext = MemoryContextSwitchTo(rows->context);
	DistMergeKey *key;
	Datum		distance;

	if (partition->nrows == 0)
	{
		rows->space = 64;
		partition->desc = CreateTupleDescCopy(desc);
		partition->keys = palloc(sizeof(DistMergeKey) * rows->space);
		partition->tuples = palloc(sizeof(HeapTuple) * rows->space);
	}
	else if (partition->nrows == rows->space)
	{
		rows->space *= 2;
		partition->keys = repalloc_huge(partition->keys,
										mul_size(sizeof(DistMergeKey), rows->space));
		partition->tuples = repalloc_huge(partition->tuples,
										  mul_size(sizeof(HeapTuple), rows->space));
	}

	key = &partition->keys[partition->nrows];
	distance = heap_getattr(tuple, desc->natts, desc, &key->isnull);
	key->distance = key->isnull ? 0 : DatumGetFloat8(distance);
	partition->tuples[partition->nrows++] = heap_copytuple(tuple);
	MemoryContextSwitchTo(oldcontext);
}

static Oid
owner_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* ----------------------------------------------------------------
 * Rows to emit
 * ----------------------------------------------------------------
 */

Datum
DistTopKGetColumn(DistTopKState *state, const DistMergeRow *row, int number,
				  bool *isnull)
{
	const DistTopKPartition *partition = &state->partition[row->input];
	DistTopKColumn *column = &state->column[number];
	Datum		value;

	*isnull = false;
	switch (column->kind)
	{
		case DIST_TOPK_COLUMN_DISTANCE:
			*isnull = partition->keys[row->pos].isnull;
			return Float8GetDatum(partition->keys[row->pos].distance);
		case DIST_TOPK_COLUMN_TABLEOID:
			return ObjectIdGetDatum(partition->place->relid);
		case DIST_TOPK_COLUMN_BINARY:
		case DIST_TOPK_COLUMN_TEXT:
			break;
	}

	if (partition->result != NULL)
		return remote_value(partition->result,
							partition->first_row + row->pos,
							ANS_FIRST_COLUMN + column->field, column, isnull);

	value = heap_getattr(partition->tuples[row->pos], column->field + 1,
						 partition->desc, isnull);
	if (*isnull || column->kind == DIST_TOPK_COLUMN_BINARY)
		return value;
	return InputFunctionCall(&column->input, TextDatumGetCString(value),
							 column->ioparam, column->typmod);
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

/* ----------------------------------------------------------------
 * For EXPLAIN
 * ----------------------------------------------------------------
 */

char *
DistTopKQueryText(DistTopKState *state)
{
	DistSearch	search = {
		.columns = state->columns,
		.filter = state->filter,
		.distance = state->distance,
		.ties = state->ties,
		.k = DIST_ALL_ROWS
	};

	/* K is known only when the search begins. */
	return psprintf("%s LIMIT ...", DistSearchQuery(&search, "..."));
}
