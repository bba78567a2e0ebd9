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
 * Of a large K, workers are first asked for their likely share, and those of
 * which the merge needs more are asked for the rest.
 *
 * Rows stay in the form they came in until they are emitted: of all the rows
 * that come, only K are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "funcapi.h"
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
#include "utils/typcache.h"

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
	MSG_FIRST,
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

/* A second round has to save that many rows: it costs another turn. */
#define SECOND_ROUND_ROWS	500

/* That many rows of a worker wait in the socket until all have answered. */
#define SHORT_ANSWER_ROWS	100

/* For the callback that keeps rows found on this server. */
typedef struct LocalRows
{
	DistTopKState *state;
	DistTopKWorker *worker;
	MemoryContext context;		/* where to keep them */
} LocalRows;

static void set_up_row(DistTopKColumn *column, Var *row, List *tlist);
static void set_up_column(DistTopKColumn *column, Expr *expr, int *nshipped,
						  EState *estate, StringInfo columns,
						  StringInfo definitions);
static char *statement_text(DistTopKState *state, const char *definitions);
static char *answer_columns(const char *definitions);
static void choose_partitions(DistTopKState *state, DistTopKWorker *worker,
							  const bool *ask);
static void choose_first(DistTopKState *state);
static int	ask_workers(DistTopKState *state, const DistTopKMessage *message,
						DistTopKWorker **workers, int nworkers, bool first);
static DistTopKMessage *make_message(DistTopKState *state);
static const DistParams *address_message(const DistTopKMessage *message,
										 DistTopKState *state,
										 DistTopKWorker *worker);
static void write_param(DistTopKParam *param, DistTopKMessage *message, int index);
static int	number_of_hosts(Oid serverid);
static void failure_context(void *arg);
static char *partition_list(DistTopKState *state, DistTopKWorker *worker);
static void read_answer(DistTopKState *state, DistTopKWorker *worker,
						PGresult *result, int round,
						const DistMergeKey *bound);
static void check_bounds(DistTopKState *state, DistTopKWorker *worker,
						 const DistMergeKey *told);
static void report_context(void *arg);
static int64 bytes_of_rows(PGresult *result, int nrows);
static void make_room(DistTopKPartition *partition);
static DistTopKPartition *answering_partition(DistTopKState *state,
											  DistTopKWorker *worker,
											  PGresult *result, int row);
static int	read_int32(PGresult *result, int row, int column);
static DistMergeKey read_key(PGresult *result, int row);
static void search_here(void *arg);
static void search_own_partitions(DistTopKState *state,
								  DistTopKWorker *worker);
static void keep_row(int part, int pos, HeapTuple tuple, TupleDesc desc,
					 void *arg);
static Oid	owner_of(Oid relid);
static Datum whole_row(DistTopKState *state, const DistTopKSource *source,
					   const DistTopKColumn *column);
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
	foreach(lc, scan->custom_scan_tlist)
	{
		Var		   *var = (Var *) lfirst_node(TargetEntry, lc)->expr;

		if (IsA(var, Var) && var->varattno == InvalidAttrNumber)
			set_up_row(&state->column[foreach_current_index(lc)], var,
					   scan->custom_scan_tlist);
	}
	state->columns = columns.data;
	if (state->why_stream != NULL)
	{
		state->statement =
			DistTopKStreamStatement(state, answer_columns(definitions.data));
		state->rest_statement =
			psprintf("SELECT * FROM vecdist.search_next($1::pg_catalog.int8, $2::pg_catalog.int8) %s",
					 answer_columns(definitions.data));
		return;
	}
	state->statement = statement_text(state, definitions.data);
	state->rest_statement =
		psprintf("SELECT * FROM vecdist.search_rest($1::pg_catalog.float8) %s",
				 answer_columns(definitions.data));
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
						   "$6::pg_catalog.int8, $7::pg_catalog.int8, "
						   "$8::pg_catalog.text[]");
	DistTopKAppendParams(&sql, state, MSG_FIRST_PARAM);
	appendStringInfo(&sql, ") %s", answer_columns(definitions));
	return sql.data;
}

void
DistTopKAppendParams(StringInfo sql, DistTopKState *state, int first)
{
	for (int i = 0; i < state->nparams; i++)
		appendStringInfo(sql, ", $%d::%s", first + i + 1,
						 DistTypeName(state->param[i].type, -1));
}

static char *
answer_columns(const char *definitions)
{
	return psprintf("AS s (part pg_catalog.int4, pos pg_catalog.int4, "
					"distance pg_catalog.float8, report pg_catalog.bytea%s)",
					definitions);
}

/* ----------------------------------------------------------------
 * Searching
 * ----------------------------------------------------------------
 */

void
DistTopKFetch(DistTopKState *state, const bool *ask)
{
	DistTopKWorker **workers;
	int			nworkers = 0;
	DistTopKMessage *message;
	bool		first = true;

	state->settings = DistSettingsToSend(false);
	state->fingerprint = DistSettingsFingerprint(state->settings);
	workers = palloc(sizeof(DistTopKWorker *) * state->nworkers);
	for (int i = 0; i < state->nworkers; i++)
	{
		choose_partitions(state, &state->worker[i], ask);
		if (OidIsValid(state->worker[i].serverid) &&
			state->worker[i].nasked > 0)
		{
			workers[nworkers++] = &state->worker[i];
			state->worker[i].ntries = 0;
		}
	}
	DistFlushInserts();
	choose_first(state);
	message = make_message(state);

	/* Again only if a server failed and another one may be asked. */
	do
	{
		nworkers = ask_workers(state, message, workers, nworkers, first);
		first = false;
	} while (nworkers > 0);
}

/* Note which of a worker's partitions the next message asks. */
static void
choose_partitions(DistTopKState *state, DistTopKWorker *worker,
				  const bool *ask)
{
	worker->nasked = 0;
	for (int i = 0; i < worker->npartitions; i++)
	{
		int			p = worker->partitions[i];

		if (!ask[p] || state->partition[p].asked)
			continue;
		worker->asked[worker->nasked++] = p;
		state->partition[p].asked = true;
		state->nasked++;
	}
}

/*
 * How many rows each worker is asked for first: all, or where rows are placed
 * by hash its likely share of a large K, and three standard deviations more.
 */
static void
choose_first(DistTopKState *state)
{
	double		saved = 0;

	for (int i = 0; i < state->nworkers; i++)
	{
		DistTopKWorker *worker = &state->worker[i];
		double		share = (double) state->k * worker->npartitions /
		state->npartitions;

		worker->rest = false;
		worker->first = state->k;
		if (state->k != DIST_ALL_ROWS && OidIsValid(worker->serverid))
			worker->first = Min(state->k, (int64) ceil(share + 3 * sqrt(share)));
		saved += state->k - worker->first;
	}

	/* A search in a transaction cannot move to another server. */
	if (state->hashed && saved >= SECOND_ROUND_ROWS &&
		DistReadConsistency != DIST_READ_EVENTUAL)
		return;
	for (int i = 0; i < state->nworkers; i++)
		state->worker[i].first = state->k;
}

bool
DistTopKFetchRest(DistTopKState *state)
{
	const DistMerge *merge = &state->merge;
	DistRequest *requests = palloc0(sizeof(DistRequest) * state->nworkers);
	DistTopKWorker **workers = palloc(sizeof(DistTopKWorker *) * state->nworkers);
	const char *bound = NULL;
	DistMergeKey key = {.isnull = true};
	DistParams	params = {.n = 1,.values = &bound};
	int			n = 0;

	for (int i = 0; i < state->nworkers; i++)
	{
		DistTopKWorker *worker = &state->worker[i];

		for (int j = 0; j < worker->npartitions && !worker->rest; j++)
			worker->rest = worker->first < state->k &&
				DistMergeFindGap(merge, worker->partitions[j]) != NULL;
		if (worker->rest)
			workers[n++] = worker;
	}
	if (n == 0)
		return false;

	/* No row farther than the last one of K can enter the answer. */
	if (merge->nrows == merge->k)
	{
		const DistMergeRow *last = &merge->rows[merge->nrows - 1];

		key = merge->inputs[last->input].keys[last->pos];
		if (!key.isnull && !isnan(key.distance))
			bound = psprintf("%.17g", key.distance);
	}
	for (int i = 0; i < n; i++)
	{
		requests[i].conn = DistConnGet(workers[i]->serverid, state->userid,
									   DIST_TARGET_PRIMARY);
		requests[i].sql = state->rest_statement;
		requests[i].params = &params;
		requests[i].flags = DIST_REQ_BINARY | DIST_REQ_PREPARED | DIST_REQ_XACT;
		workers[i]->nrequests++;
		state->counts.messages++;
		state->counts.second_rounds++;
	}
	DistExecuteMeanwhile(requests, n, DistNodeTimeout, DIST_EXEC_KEEP_GOING,
						 NULL, NULL);
	for (int i = 0; i < n; i++)
	{
		if (requests[i].error != NULL)
			DistTopKWorkerFailed(state, workers[i], requests[i].error);
		read_answer(state, workers[i], requests[i].result, 1,
					bound != NULL ? &key : NULL);
	}
	return true;
}

/*
 * Send the message to these workers, and read the answers of those that
 * answer.  Those that did not and have another server to ask are moved to the
 * front of 'workers'; returns their number.  Raises an error for a worker that
 * has not.  The first time, this server searches its own partitions while the
 * workers search theirs.
 */
static int
ask_workers(DistTopKState *state, const DistTopKMessage *message,
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
		if (IsolationUsesXactSnapshot() || workers[i]->first < state->k)
			requests[i].flags |= DIST_REQ_XACT;
		workers[i]->ntries++;
		workers[i]->nrequests++;
		state->counts.messages++;
		state->counts.retries += first ? 0 : 1;
	}

	DistExecuteMeanwhile(requests, nworkers, DistNodeTimeout,
						 DIST_EXEC_KEEP_GOING |
						 (state->k <= SHORT_ANSWER_ROWS ? DIST_EXEC_SHORT : 0),
						 first ? search_here : NULL, state);

	for (int i = 0; i < nworkers; i++)
	{
		if (requests[i].error == NULL)
		{
			workers[i]->host = pstrdup(DistConnHost(requests[i].conn));
			read_answer(state, workers[i], requests[i].result, 0,
						NULL);
		}
		else if (DistTopKMayAskAnother(workers[i], &requests[i]))
			workers[nleft++] = workers[i];
		else
			DistTopKWorkerFailed(state, workers[i], requests[i].error);
	}
	return nleft;
}

/* Make what is the same for all workers; address_message adds the rest. */
static DistTopKMessage *
make_message(DistTopKState *state)
{
	DistTopKMessage *message = DistTopKNewMessage(MSG_FIRST_PARAM, state);

	message->values[MSG_COLUMNS] = state->columns;
	message->values[MSG_FILTER] = state->filter;
	message->values[MSG_DISTANCE] = state->distance;
	message->values[MSG_TIES] = state->ties;
	if (state->k != DIST_ALL_ROWS)
		message->values[MSG_K] = psprintf(INT64_FORMAT, state->k);
	message->values[MSG_SETTINGS] =
		DistTopKTextArray(DistSettingsWithName(state->settings,
											   state->css.ss.ps.state->es_plannedstmt->queryId));
	return message;
}

DistTopKMessage *
DistTopKNewMessage(int nfixed, DistTopKState *state)
{
	DistTopKMessage *message = palloc(sizeof(DistTopKMessage));
	bool		any_text = false;
	int			nestlevel = 0;

	message->n = nfixed + state->nparams;
	message->values = palloc0(sizeof(char *) * message->n);
	message->lengths = palloc0(sizeof(int) * message->n);
	message->formats = palloc0(sizeof(int) * message->n);
	for (int i = 0; i < state->nparams; i++)
		any_text |= !state->param[i].writer.binary;
	if (any_text)
		nestlevel = DistPushTextSettings();
	for (int i = 0; i < state->nparams; i++)
		write_param(&state->param[i], message, nfixed + i);
	if (any_text)
		AtEOXact_GUC(true, nestlevel);
	return message;
}

/* Shares the values with the message. */
DistParams *
DistTopKMessageParams(const DistTopKMessage *message)
{
	DistParams *params = palloc(sizeof(DistParams));

	params->n = message->n;
	params->values = message->values;
	params->lengths = message->lengths;
	params->formats = message->formats;
	return params;
}

static void
write_param(DistTopKParam *param, DistTopKMessage *message, int index)
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

/* A copy of the message with what is different for each worker. */
static const DistParams *
address_message(const DistTopKMessage *message, DistTopKState *state,
				DistTopKWorker *worker)
{
	DistParams *params = DistTopKMessageParams(message);
	const char **values = palloc(sizeof(char *) * message->n);

	memcpy(values, message->values, sizeof(char *) * message->n);
	params->values = values;
	values[MSG_PARTITIONS] = DistTopKPartitionNames(state, worker);
	if (state->k != DIST_ALL_ROWS)
		values[MSG_FIRST] = psprintf(INT64_FORMAT, worker->first);
	return params;
}

/* Names of a worker's partitions there, as an array. */
char *
DistTopKPartitionNames(DistTopKState *state, DistTopKWorker *worker)
{
	List	   *names = NIL;

	for (int i = 0; i < worker->nasked; i++)
	{
		DistPartition *place = state->partition[worker->asked[i]].place;

		names = lappend(names,
						quote_qualified_identifier(place->remote_schema,
												   place->remote_name));
	}
	return DistTopKTextArray(names);
}

/* The text form of an array of strings. */
char *
DistTopKTextArray(List *strings)
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
bool
DistTopKMayAskAnother(DistTopKWorker *worker, const DistRequest *request)
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
void
DistTopKWorkerFailed(DistTopKState *state, DistTopKWorker *worker, ErrorData *error)
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
	for (int i = 0; i < worker->nasked; i++)
	{
		DistPartition *place = state->partition[worker->asked[i]].place;

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
 * rows of a partition are numbered from 0, in the second round from where the
 * first one ended; then comes one row with the reports of all, in their order.
 * 'bound' is what the second round was told to stop at, or NULL.
 */
static void
read_answer(DistTopKState *state, DistTopKWorker *worker, PGresult *result,
			int round, const DistMergeKey *bound)
{
	int			nrows = DistTopKCountRows(worker, result);

	for (int i = 0; i < worker->nasked; i++)
	{
		DistTopKPartition *partition =
		&state->partition[worker->asked[i]];

		partition->answer[round] = result;
		if (round == 0)
			partition->nrows = partition->space = 0;
		else
			partition->nfirst = partition->nrows;
	}

	for (int row = 0; row < nrows; row++)
	{
		DistTopKSource source;
		DistTopKPartition *partition;

		DistTopKReadRow(state, worker, result, row, &source);
		partition = &state->partition[source.partition];
		make_room(partition);
		partition->keys[partition->nrows - 1] = source.key;
		partition->row[partition->nrows - 1] = row;
		CHECK_FOR_INTERRUPTS();
	}

	DistTopKReadReports(state, worker, result, nrows);
	for (int i = 0; i < worker->nasked && round == 0; i++)
	{
		DistTopKPartition *partition =
		&state->partition[worker->asked[i]];

		partition->nfirst = partition->nrows;
	}
	check_bounds(state, worker, bound);
}

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

/*
 * Do not believe a bound beyond what the worker was told to stop at and beyond
 * all rows that came from it.
 */
static void
check_bounds(DistTopKState *state, DistTopKWorker *worker,
			 const DistMergeKey *told)
{
	DistMergeKey limit = {0};
	bool		has_limit = told != NULL;

	if (told != NULL)
		limit = *told;
	for (int i = 0; i < worker->nasked; i++)
	{
		DistTopKPartition *partition =
		&state->partition[worker->asked[i]];

		if (partition->nrows > 0 &&
			(!has_limit || DistMergeCompareKeys(&partition->keys[partition->nrows - 1],
												&limit) > 0))
		{
			limit = partition->keys[partition->nrows - 1];
			has_limit = true;
		}
	}
	for (int i = 0; i < worker->nasked; i++)
	{
		DistSearchReport *report =
		&state->partition[worker->asked[i]].report;

		if (report->bounded &&
			(!has_limit || DistMergeCompareKeys(&report->bound, &limit) > 0))
			report->bounded = false;
	}
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

/* Let there be room for as many rows as the partition has. */
static void
make_room(DistTopKPartition *partition)
{
	if (partition->space == 0)
	{
		partition->space = 64;
		partition->keys = palloc(sizeof(DistMergeKey) * partition->space);
		partition->row = palloc(sizeof(int) * partition->space);
		partition->tuples = palloc(sizeof(HeapTuple) * partition->space);
	}
	else if (partition->nrows > partition->space)
	{
		partition->space *= 2;
		partition->keys =
			repalloc_huge(partition->keys,
						  mul_size(sizeof(DistMergeKey), partition->space));
		partition->row = repalloc_huge(partition->row,
									   mul_size(sizeof(int), partition->space));
		partition->tuples =
			repalloc_huge(partition->tuples,
						  mul_size(sizeof(HeapTuple), partition->space));
	}
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
		if (!OidIsValid(state->worker[i].serverid) &&
			state->worker[i].nasked > 0)
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
	LocalRows	rows = {.state = state,.worker = worker,
	.context = CurrentMemoryContext};
	DistSearchRun *run;
	TupleDesc	desc;

	for (int i = 0; i < worker->nasked; i++)
	{
		DistTopKPartition *partition =
		&state->partition[worker->asked[i]];

		partition->answer[0] = NULL;
		partition->nrows = partition->space = 0;
	}

	PushActiveSnapshot(state->css.ss.ps.state->es_snapshot);
	run = DistTopKOpenOwn(state, worker, false);
	desc = CreateTupleDescCopy(DistSearchGetDesc(run));
	if (!DistSearchFetch(run, state->k, NULL, keep_row, &rows))
		elog(ERROR, "search of partitions is not open");
	DistTopKKeepOwnReports(state, worker, run);
	for (int i = 0; i < worker->nasked; i++)
		state->partition[worker->asked[i]].desc = desc;
	DistSearchClose(run);
	PopActiveSnapshot();
}

DistSearchRun *
DistTopKOpenOwn(DistTopKState *state, DistTopKWorker *worker, bool stream)
{
	DistSearch	search = {.stream = stream};
	char	  **names = palloc(sizeof(char *) * worker->nasked);
	Oid		   *owners = palloc(sizeof(Oid) * worker->nasked);

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

	for (int i = 0; i < worker->nasked; i++)
	{
		DistPartition *place = state->partition[worker->asked[i]].place;

		names[i] = (char *) quote_qualified_identifier(place->remote_schema,
													   place->remote_name);
		owners[i] = owner_of(place->relid);
	}
	return DistSearchOpen(&search, worker->nasked, names, owners);
}

void
DistTopKKeepOwnReports(DistTopKState *state, DistTopKWorker *worker,
					   DistSearchRun *run)
{
	for (int i = 0; i < worker->nasked; i++)
	{
		DistTopKPartition *partition =
		&state->partition[worker->asked[i]];

		partition->report = *DistSearchGetReport(run, i);
		if (partition->report.index != NULL)
			partition->report.index = pstrdup(partition->report.index);
	}
}

/* DistSearchCallback: keep the row for the merge. */
static void
keep_row(int part, int pos, HeapTuple tuple, TupleDesc desc, void *arg)
{
	LocalRows  *rows = arg;
	DistTopKPartition *partition =
	&rows->state->partition[rows->worker->asked[part]];
	MemoryContext oldcontext = MemoryContextSwitchTo(rows->context);

	partition->nrows++;
	make_room(partition);
	partition->keys[pos] = DistTopKKeyOfTuple(tuple, desc);
	partition->tuples[pos] = heap_copytuple(tuple);
	MemoryContextSwitchTo(oldcontext);
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
	DistTopKSource source = {
		.key = partition->keys[row->pos],
		.partition = row->input
	};

	if (partition->answer[0] != NULL)
	{
		source.answer = partition->answer[row->pos < partition->nfirst ? 0 : 1];
		source.row = partition->row[row->pos];
	}
	else
	{
		source.tuple = partition->tuples[row->pos];
		source.desc = partition->desc;
	}
	return DistTopKReadColumn(state, &source, number, isnull);
}

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

	if (state->why_stream != NULL)
		return DistSearchQuery(&search, "...");

	/* K is known only when the search begins. */
	return psprintf("%s LIMIT ...", DistSearchQuery(&search, "..."));
}
