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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "distribution/dist_config.h"
#include "distribution/dist_connection.h"
#include "distribution/dist_deparse.h"
#include "distribution/dist_fdw.h"
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

static char *statement_text(DistTopKState *state, const char *answer);
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
static void make_room(DistTopKPartition *partition);
static void search_here(void *arg);
static void search_own_partitions(DistTopKState *state,
								  DistTopKWorker *worker);
static void keep_row(int part, int pos, HeapTuple tuple, TupleDesc desc,
					 void *arg);
static Oid	owner_of(Oid relid);

/* ----------------------------------------------------------------
 * Texts that stay the same
 * ----------------------------------------------------------------
 */

void
DistTopKPrepare(DistTopKState *state, const char *answer)
{
	state->statement = statement_text(state, answer);
	state->rest_statement =
		psprintf("SELECT * FROM vecdist.search_rest($1::pg_catalog.float8) %s",
				 answer);
}

/* What is sent to every worker. */
static char *
statement_text(DistTopKState *state, const char *answer)
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
	appendStringInfo(&sql, ") %s", answer);
	return sql.data;
}

void
DistTopKAppendParams(StringInfo sql, DistTopKState *state, int first)
{
	for (int i = 0; i < state->nparams; i++)
		appendStringInfo(sql, ", $%d::%s", first + i + 1,
						 DistTypeName(state->param[i].type, -1));
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
