/*-------------------------------------------------------------------------
 *
 * dist_topk_stream.c
 *	  Read the rows of all servers in order of distance, in pieces.
 *
 * For a scan that does not know how many rows will be wanted.  Each server
 * returns its rows, merged over its partitions, a batch at a time; here the
 * servers' rows are merged.  The first row that nobody can precede is emitted:
 * every server has returned one that comes after it, or has no more.
 *
 * An index that is not told how many rows are wanted may find one late.  Batches
 * are sorted when they come; what is too late even so is left out and counted,
 * unless the session allows disorder.
 *
 * See README, section "Streams", also for the invariants named here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "distribution/dist_connection.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_init.h"
#include "distribution/dist_settings.h"
#include "distribution/dist_topk.h"
#include "vecdist_debug.h"

/* Rows of the first batch of each server; each further one has twice as many. */
#define FIRST_BATCH_ROWS	50

/* Parameters of the message that begins a stream; those of the search follow. */
enum
{
	MSG_STREAM,
	MSG_PARTITIONS,
	MSG_COLUMNS,
	MSG_FILTER,
	MSG_DISTANCE,
	MSG_FIRST,
	MSG_SETTINGS,
	MSG_FIRST_PARAM
};

/* The answers of one turn share their memory. */
typedef struct Round
{
	MemoryContext context;
	int			nbatches;		/* that are still needed */
} Round;

/* What one server returned in one turn, in order. */
typedef struct Batch
{
	Round	   *round;
	TupleDesc	desc;			/* of tuples found here */
	int			nrows;
	int			next;			/* the next one to emit */
	DistTopKSource *rows;
} Batch;

/* One server. */
typedef struct StreamWorker
{
	DistConn   *conn;			/* NULL before the first batch */
	bool		begun;
	bool		exhausted;		/* there are no more rows than came */
	Batch	   *batch;			/* or NULL */
	Batch	   *ahead;			/* the one after it, or NULL */
	size_t		row_bytes;		/* memory of a row, as of the last batch */
} StreamWorker;

struct DistTopKStream
{
	int			number;			/* known to workers; ours to give out */
	MemoryContextCallback release;	/* gives it back */

	/* What was emitted, if the executor may go back to the beginning. */
	Tuplestorestate *emitted;	/* or NULL */
	TupleTableSlot *emitted_slot;

	/* The current search; memory in search_context. */
	StreamWorker *workers;		/* as many as DistTopKState.nworkers */
	char	  **index;			/* of each partition, as last reported */
	bool		begun;			/* somebody was asked */
	bool		allow_disorder;
	bool		has_last;
	DistMergeKey last;			/* the greatest distance emitted */

	int64		nuncounted;		/* rows emitted since the last count */

	/* In all searches */
	int64		nrounds;
	int64		nfetched;
	int64		nlate;
};

/* What is used by the callback that keeps rows found on this server. */
typedef struct LocalBatch
{
	DistTopKState *state;
	DistTopKWorker *worker;
	Batch	   *batch;
	int			space;
	size_t		bytes;
} LocalBatch;

/* One turn */
typedef struct Turn
{
	DistTopKState *state;
	Round	   *round;
} Turn;

/* Numbers of streams that exist in this session; in TopMemoryContext. */
static Bitmapset *numbers = NULL;

static void count_rows(DistTopKState *state);
static int	give_number(void);
static void release_number(void *arg);
static void begin_stream(DistTopKState *state);
static void ask_all(DistTopKState *state);
static const DistTopKSource *next_source(DistTopKState *state);
static int	find_nearest(DistTopKState *state);
static bool make_ready(StreamWorker *worker);
static void drop_batch(StreamWorker *worker);
static bool wants_batch(const StreamWorker *worker);
static void fetch(DistTopKState *state);
static void ask_servers(DistTopKState *state, MemoryContext context);
static int	read_batches(DistTopKState *state, DistRequest *requests, int *asked,
						 int n, Round *round);
static void make_request(DistTopKState *state, int index, DistRequest *request);
static const DistParams *begin_params(DistTopKState *state, int index);
static int64 batch_rows(DistTopKState *state, int index);
static void read_batch(DistTopKState *state, int index, PGresult *result,
					   Round *round);
static Batch *new_batch(Round *round, int nrows);
static void accept_batch(DistTopKState *state, int index, Batch *batch,
						 size_t bytes);
static void check_report(DistTopKState *state, int part);
static int	compare_sources(const void *a, const void *b);
static void fetch_here(void *arg);
static void fetch_own(DistTopKState *state, int index, Round *round);
static void keep_row(int part, int pos, HeapTuple tuple, TupleDesc desc,
					 void *arg);
static void close_own(DistTopKState *state);

/* ----------------------------------------------------------------
 * Life
 * ----------------------------------------------------------------
 */

void
DistTopKStreamBegin(DistTopKState *state, int eflags)
{
	EState	   *estate = state->css.ss.ps.state;
	DistTopKStream *stream = palloc0(sizeof(DistTopKStream));

	state->stream = stream;
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	stream->number = give_number();
	stream->release.func = release_number;
	stream->release.arg = stream;
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &stream->release);
	if (eflags & EXEC_FLAG_REWIND)
	{
		stream->emitted = tuplestore_begin_heap(true, false, work_mem);
		tuplestore_set_eflags(stream->emitted, EXEC_FLAG_REWIND);
		stream->emitted_slot =
			MakeSingleTupleTableSlot(state->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor,
									 &TTSOpsMinimalTuple);
	}
}

/*
 * The lowest number that is free, so that a worker closes what an earlier scan
 * left open there when the next one begins.
 */
static int
give_number(void)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	int			number = 1;

	while (bms_is_member(number, numbers))
		number++;
	numbers = bms_add_member(numbers, number);
	MemoryContextSwitchTo(oldcontext);
	return number;
}

static void
release_number(void *arg)
{
	numbers = bms_del_member(numbers, ((DistTopKStream *) arg)->number);
}

void
DistTopKStreamRescan(DistTopKState *state, bool changed)
{
	DistTopKStream *stream = state->stream;

	if (stream->emitted != NULL && !changed)
	{
		tuplestore_rescan(stream->emitted);
		return;
	}
	if (stream->emitted != NULL)
		tuplestore_clear(stream->emitted);
	count_rows(state);
	close_own(state);
	stream->workers = NULL;
	MemoryContextReset(state->search_context);
	state->searched = false;
}

void
DistTopKStreamEnd(DistTopKState *state)
{
	DistTopKStream *stream = state->stream;

	count_rows(state);
	close_own(state);
	if (stream->emitted != NULL)
	{
		tuplestore_end(stream->emitted);
		ExecDropSingleTupleTableSlot(stream->emitted_slot);
	}
}

/* Count what was emitted since the last turn, which counted what came before. */
static void
count_rows(DistTopKState *state)
{
	DistSearchCounts counts = {.rows_returned = state->stream->nuncounted};

	if (counts.rows_returned > 0)
		DistStatsCount(state->table, &counts);
	state->stream->nuncounted = 0;
}

void
DistTopKStreamStats(const DistTopKState *state, DistTopKStreamCounts *counts)
{
	counts->nrounds = state->stream->nrounds;
	counts->nfetched = state->stream->nfetched;
	counts->nlate = state->stream->nlate;
}

/* ----------------------------------------------------------------
 * Emitting
 * ----------------------------------------------------------------
 */

bool
DistTopKStreamNext(DistTopKState *state, TupleTableSlot *slot)
{
	DistTopKStream *stream = state->stream;
	const DistTopKSource *source;
	MemoryContext oldcontext;

	if (stream->emitted != NULL &&
		tuplestore_gettupleslot(stream->emitted, true, false,
								stream->emitted_slot))
	{
		ExecCopySlot(slot, stream->emitted_slot);
		return true;
	}

	if (!state->searched)
		begin_stream(state);
	source = next_source(state);
	ExecClearTuple(slot);
	if (source == NULL)
		return false;
	oldcontext = MemoryContextSwitchTo(state->css.ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
	for (int i = 0; i < state->ncolumns; i++)
		slot->tts_values[i] = DistTopKReadColumn(state, source, i,
												 &slot->tts_isnull[i]);
	MemoryContextSwitchTo(oldcontext);
	ExecStoreVirtualTuple(slot);
	if (stream->emitted != NULL)
		tuplestore_puttupleslot(stream->emitted, slot);
	return true;
}

static void
begin_stream(DistTopKState *state)
{
	DistTopKStream *stream = state->stream;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->search_context);

	state->k = DIST_ALL_ROWS;
	DistTopKEvaluateParams(state);
	state->settings = DistSettingsToSend(true);
	state->fingerprint = DistSettingsFingerprint(state->settings);
	stream->allow_disorder = DistSettingsAllowDisorder();
	stream->has_last = false;
	stream->begun = false;
	stream->workers = palloc0(sizeof(StreamWorker) * state->nworkers);
	stream->index = palloc0(sizeof(char *) * state->npartitions);
	ask_all(state);
	DistFlushInserts();
	state->searched = true;
	state->nsearches++;
	MemoryContextSwitchTo(oldcontext);
}

/* vecdist.probes is for searches with a K: a stream may want any row. */
static void
ask_all(DistTopKState *state)
{
	for (int i = 0; i < state->npartitions; i++)
	{
		state->partition[i].nrows = 0;
		state->partition[i].asked = true;
	}
	for (int i = 0; i < state->nworkers; i++)
	{
		DistTopKWorker *worker = &state->worker[i];

		worker->ntries = 0;
		worker->nasked = worker->npartitions;
		memcpy(worker->asked, worker->partitions,
			   sizeof(int) * worker->npartitions);
	}
	state->nasked = state->npartitions;
}

/*
 * The next row to emit, or NULL if there are no more.  Valid until the next
 * call.
 */
static const DistTopKSource *
next_source(DistTopKState *state)
{
	DistTopKStream *stream = state->stream;
	int			nearest;

	while ((nearest = find_nearest(state)) >= 0)
	{
		Batch	   *batch = stream->workers[nearest].batch;
		const DistTopKSource *source = &batch->rows[batch->next++];

		if (stream->has_last &&
			DistMergeCompareKeys(&source->key, &stream->last) < 0)
		{
			/* (T3) */
			if (stream->allow_disorder)
			{
				stream->nuncounted++;
				return source;
			}
			stream->nlate++;
			continue;
		}
		stream->last = source->key;
		stream->has_last = true;
		stream->nuncounted++;
		return source;
	}
	return NULL;
}

/*
 * (T1) The worker whose next row comes before those of all others, or -1 if
 * there are no more rows.  Fetches until all have a row that may have one.
 */
static int
find_nearest(DistTopKState *state)
{
	StreamWorker *workers = state->stream->workers;
	const DistTopKSource *best = NULL;
	int			nearest = -1;

	for (int i = 0; i < state->nworkers; i++)
	{
		const DistTopKSource *head;

		while (!make_ready(&workers[i]) && !workers[i].exhausted)
		{
			if (VD_MISTAKE("dist-emit-early") && best != NULL)
				break;
			fetch(state);
		}
		if (workers[i].batch == NULL)
			continue;
		head = &workers[i].batch->rows[workers[i].batch->next];
		if (best == NULL || compare_sources(head, best) < 0)
		{
			best = head;
			nearest = i;
		}
	}
	return nearest;
}

/* Let the worker's batch have a next row, if what came has one. */
static bool
make_ready(StreamWorker *worker)
{
	while (worker->batch != NULL && worker->batch->next >= worker->batch->nrows)
	{
		drop_batch(worker);
		worker->batch = worker->ahead;
		worker->ahead = NULL;
	}
	return worker->batch != NULL;
}

static void
drop_batch(StreamWorker *worker)
{
	Round	   *round = worker->batch->round;

	if (--round->nbatches == 0)
		MemoryContextDelete(round->context);
}

/* ----------------------------------------------------------------
 * Fetching
 * ----------------------------------------------------------------
 */

/* (T2) */
static bool
wants_batch(const StreamWorker *worker)
{
	const Batch *batch = worker->batch;

	return !worker->exhausted && worker->ahead == NULL &&
		(batch == NULL || batch->nrows - batch->next < batch->nrows / 2);
}

/* One turn: the next batch of every server that has little left. */
static void
fetch(DistTopKState *state)
{
	DistTopKStream *stream = state->stream;
	MemoryContext context = AllocSetContextCreate(state->search_context,
												  "rows of a stream",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	int			searches = stream->begun ? 0 : 1;
	instr_time	start;

	INSTR_TIME_SET_CURRENT(start);
	memset(&state->counts, 0, sizeof(state->counts));
	state->counts.rows_returned = stream->nuncounted;
	stream->nuncounted = 0;
	stream->begun = true;
	PG_TRY();
	{
		ask_servers(state, context);
	}
	PG_CATCH();
	{
		state->counts.failed = 1;
		DistTopKCount(state, searches, start);
		PG_RE_THROW();
	}
	PG_END_TRY();
	DistTopKCount(state, searches, start);
	stream->nrounds++;
	MemoryContextSwitchTo(oldcontext);
}

static void
ask_servers(DistTopKState *state, MemoryContext context)
{
	DistTopKStream *stream = state->stream;
	DistRequest *requests = palloc0(sizeof(DistRequest) * state->nworkers);
	int		   *asked = palloc(sizeof(int) * state->nworkers);
	Round	   *round = palloc0(sizeof(Round));
	Turn		turn = {.state = state,.round = round};
	int			n = 0;

	round->context = context;
	for (int i = 0; i < state->nworkers; i++)
	{
		if (!OidIsValid(state->worker[i].serverid) ||
			!wants_batch(&stream->workers[i]))
			continue;
		make_request(state, i, &requests[n]);
		asked[n++] = i;
	}
	DistExecuteMeanwhile(requests, n, DistNodeTimeout, DIST_EXEC_KEEP_GOING,
						 fetch_here, &turn);
	while ((n = read_batches(state, requests, asked, n, round)) > 0)
	{
		memset(requests, 0, sizeof(DistRequest) * n);
		for (int i = 0; i < n; i++)
		{
			stream->workers[asked[i]].begun = false;
			make_request(state, asked[i], &requests[i]);
			state->counts.retries++;
		}
		DistExecuteMeanwhile(requests, n, DistNodeTimeout,
							 DIST_EXEC_KEEP_GOING, NULL, NULL);
	}
}

/*
 * Read the answers of the workers 'asked'.  Those that did not answer and may
 * begin on another server are moved to the front; returns their number.
 * Raises an error for a worker that may not.
 */
static int
read_batches(DistTopKState *state, DistRequest *requests, int *asked, int n,
			 Round *round)
{
	int			nleft = 0;

	for (int i = 0; i < n; i++)
	{
		DistTopKWorker *worker = &state->worker[asked[i]];

		if (requests[i].error != NULL)
		{
			/* The portals of one that has answered exist nowhere else. */
			if (worker->host != NULL ||
				!DistTopKMayAskAnother(worker, &requests[i]))
				DistTopKWorkerFailed(state, worker, requests[i].error);
			asked[nleft++] = asked[i];
			continue;
		}
		if (worker->host == NULL)
			worker->host = MemoryContextStrdup(state->search_context,
											   DistConnHost(requests[i].conn));
		read_batch(state, asked[i], requests[i].result, round);
	}
	return nleft;
}

static void
make_request(DistTopKState *state, int index, DistRequest *request)
{
	StreamWorker *worker = &state->stream->workers[index];
	DistTopKWorker *place = &state->worker[index];

	if (!worker->begun)
	{
		worker->conn = DistConnGet(place->serverid, state->userid,
								   DistReadConsistency == DIST_READ_EVENTUAL ?
								   DIST_TARGET_ANY : DIST_TARGET_PRIMARY);
		place->host = NULL;
		place->ntries++;
		request->sql = state->statement;
		request->params = begin_params(state, index);
	}
	else
	{
		DistParams *params = palloc0(sizeof(DistParams));
		const char **values = palloc(sizeof(char *) * 2);

		values[0] = psprintf("%d", state->stream->number);
		values[1] = psprintf(INT64_FORMAT, batch_rows(state, index));
		params->n = 2;
		params->values = values;
		request->sql = state->rest_statement;
		request->params = params;
	}
	worker->begun = true;
	request->conn = worker->conn;
	request->flags = DIST_REQ_BINARY | DIST_REQ_PREPARED | DIST_REQ_XACT;
	place->nrequests++;
	state->counts.messages++;
}

static const DistParams *
begin_params(DistTopKState *state, int index)
{
	DistTopKMessage *message = DistTopKNewMessage(MSG_FIRST_PARAM, state);

	message->values[MSG_STREAM] = psprintf("%d", state->stream->number);
	message->values[MSG_PARTITIONS] =
		DistTopKPartitionNames(state, &state->worker[index]);
	message->values[MSG_COLUMNS] = state->columns;
	message->values[MSG_FILTER] = state->filter;
	message->values[MSG_DISTANCE] = state->distance;
	message->values[MSG_FIRST] = psprintf(INT64_FORMAT,
										  batch_rows(state, index));
	message->values[MSG_SETTINGS] =
		DistTopKTextArray(DistSettingsWithName(state->settings,
											   state->css.ss.ps.state->es_plannedstmt->queryId));
	return DistTopKMessageParams(message);
}

char *
DistTopKStreamStatement(DistTopKState *state, const char *answer)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "SELECT * FROM vecdist.search_stream($1::pg_catalog.int8, "
						   "$2::pg_catalog.text[], $3::pg_catalog.text, "
						   "$4::pg_catalog.text, $5::pg_catalog.text, "
						   "$6::pg_catalog.int8, $7::pg_catalog.text[]");
	DistTopKAppendParams(&sql, state, MSG_FIRST_PARAM);
	appendStringInfo(&sql, ") %s", answer);
	return sql.data;
}

/* (T2) How many rows to ask a server for. */
static int64
batch_rows(DistTopKState *state, int index)
{
	const StreamWorker *worker = &state->stream->workers[index];
	int64		wanted = FIRST_BATCH_ROWS;
	int64		fitting;

	if (worker->row_bytes > 0)
	{
		fitting = work_mem * INT64CONST(1024) /
			(2 * state->nworkers * worker->row_bytes);
		wanted = Min(2 * state->worker[index].first, fitting);
		wanted = Max(wanted, FIRST_BATCH_ROWS);
	}
	state->worker[index].first = wanted;
	return wanted;
}

/* ----------------------------------------------------------------
 * Answers
 * ----------------------------------------------------------------
 */

static void
read_batch(DistTopKState *state, int index, PGresult *result, Round *round)
{
	DistTopKWorker *worker = &state->worker[index];
	int			nrows = DistTopKCountRows(worker, result);
	Batch	   *batch = new_batch(round, nrows);

	for (int row = 0; row < nrows; row++)
	{
		DistTopKSource *source = &batch->rows[batch->nrows++];

		DistTopKReadRow(state, worker, result, row, source);
		CHECK_FOR_INTERRUPTS();
	}
	DistTopKReadReports(state, worker, result, nrows);
	accept_batch(state, index, batch, PQresultMemorySize(result));
}

static Batch *
new_batch(Round *round, int nrows)
{
	Batch	   *batch = palloc0(sizeof(Batch));

	batch->round = round;
	batch->rows = palloc_extended(mul_size(sizeof(DistTopKSource),
										   Max(nrows, 1)),
								  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	round->nbatches++;
	return batch;
}

/* Sort what came, and put it behind what the server returned before. */
static void
accept_batch(DistTopKState *state, int index, Batch *batch, size_t bytes)
{
	StreamWorker *worker = &state->stream->workers[index];
	bool		exhausted = true;

	for (int i = 0; i < state->worker[index].npartitions; i++)
	{
		int			part = state->worker[index].partitions[i];

		check_report(state, part);
		exhausted &= state->partition[part].report.exhausted;
	}
	if (batch->nrows == 0 && !exhausted)
		DistTopKBadAnswer(&state->worker[index]);

	for (int i = 1; i < batch->nrows; i++)
	{
		if (compare_sources(&batch->rows[i - 1], &batch->rows[i]) > 0)
		{
			qsort(batch->rows, batch->nrows, sizeof(DistTopKSource),
				  compare_sources);
			break;
		}
	}
	if (batch->nrows > 0)
		worker->row_bytes = bytes / batch->nrows + sizeof(DistTopKSource);
	worker->exhausted = exhausted;
	state->stream->nfetched += batch->nrows;
	Assert(worker->ahead == NULL);
	if (worker->batch == NULL)
		worker->batch = batch;
	else
		worker->ahead = batch;
}

/* (T4) What EXPLAIN shows of the report has to outlive the turn. */
static void
check_report(DistTopKState *state, int part)
{
	DistTopKPartition *partition = &state->partition[part];
	DistSearchReport *report = &partition->report;
	char	  **index = &state->stream->index[part];

	if (!DistTopKIsEchoed(state, partition))
		DistTopKNotCertified(state,
							 psprintf("Partition \"%s\" did not search with the number of rows and the settings it was sent.",
									  get_rel_name(partition->place->relid)));
	if (report->index != NULL &&
		(*index == NULL || strcmp(*index, report->index) != 0))
		*index = MemoryContextStrdup(state->search_context, report->index);
	if (report->index != NULL)
		report->index = *index;
}

/* The order of rows: distance, partition, position. */
static int
compare_sources(const void *a, const void *b)
{
	const DistTopKSource *sa = a;
	const DistTopKSource *sb = b;
	int			cmp = DistMergeCompareKeys(&sa->key, &sb->key);

	if (cmp == 0)
		cmp = sa->partition - sb->partition;
	if (cmp == 0)
		cmp = sa->row - sb->row;
	return cmp;
}

/* ----------------------------------------------------------------
 * Partitions that live here
 * ----------------------------------------------------------------
 */

/* What this server does while workers make their batches. */
static void
fetch_here(void *arg)
{
	Turn	   *turn = arg;
	DistTopKState *state = turn->state;

	for (int i = 0; i < state->nworkers; i++)
	{
		if (!OidIsValid(state->worker[i].serverid) &&
			wants_batch(&state->stream->workers[i]))
			fetch_own(state, i, turn->round);
	}
}

static void
fetch_own(DistTopKState *state, int index, Round *round)
{
	StreamWorker *worker = &state->stream->workers[index];
	DistTopKWorker *place = &state->worker[index];
	LocalBatch	local = {.state = state,.worker = place};
	int64		nrows = batch_rows(state, index);
	DistSearchRun *run;

	/* COMMIT would close the portals before it reads the rest. */
	if (ActivePortal != NULL && (ActivePortal->cursorOptions & CURSOR_OPT_HOLD))
		nrows = DIST_ALL_ROWS;

	/* Numbers of runs that others began here are positive. */
	if (worker->begun)
		run = DistSearchFind(-state->stream->number, state->userid);
	else
	{
		PushActiveSnapshot(state->css.ss.ps.state->es_snapshot);
		run = DistTopKOpenOwn(state, place, true);
		DistSearchSetNumber(run, -state->stream->number, state->userid);
		PopActiveSnapshot();
	}
	worker->begun = true;

	local.space = FIRST_BATCH_ROWS;
	local.batch = new_batch(round, local.space);
	if (run != NULL)
		local.batch->desc = CreateTupleDescCopy(DistSearchGetDesc(run));
	PushActiveSnapshot(state->css.ss.ps.state->es_snapshot);
	if (run == NULL || !DistSearchNext(run, nrows, keep_row, &local))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_CURSOR_STATE),
				errmsg("cannot read on after a rollback to a savepoint"),
				errdetail("The search of partitions on this server was begun after the savepoint."));
	PopActiveSnapshot();
	DistTopKKeepOwnReports(state, place, run);
	accept_batch(state, index, local.batch, local.bytes);
}

/* DistSearchCallback: keep the row in the memory of the turn. */
static void
keep_row(int part, int pos, HeapTuple tuple, TupleDesc desc, void *arg)
{
	LocalBatch *local = arg;
	Batch	   *batch = local->batch;
	MemoryContext oldcontext = MemoryContextSwitchTo(batch->round->context);
	DistTopKSource *source;

	if (batch->nrows == local->space)
	{
		local->space *= 2;
		batch->rows = repalloc_huge(batch->rows,
									mul_size(sizeof(DistTopKSource),
											 local->space));
	}
	source = &batch->rows[batch->nrows];
	source->partition = local->worker->partitions[part];
	source->key = DistTopKKeyOfTuple(tuple, desc);
	source->answer = NULL;
	source->row = batch->nrows++;
	source->tuple = heap_copytuple(tuple);
	source->desc = batch->desc;
	local->bytes += tuple->t_len + HEAPTUPLESIZE;
	local->state->partition[source->partition].nrows++;
	MemoryContextSwitchTo(oldcontext);
}

static void
close_own(DistTopKState *state)
{
	DistSearchRun *run = DistSearchFind(-state->stream->number, state->userid);

	if (run != NULL)
		DistSearchClose(run);
}
