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

#include "distribution/dist_config.h"
#include "distribution/dist_connection.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_kept_rows.h"
#include "distribution/dist_settings.h"
#include "distribution/dist_topk.h"
#include "vecdist_debug.h"

/* Rows of the first batch of each server; each further one has twice as many. */
#define FIRST_BATCH_ROWS	50

/* Partitions are asked in so many steps at most: twice as many in each. */
#define MAX_STEPS	16

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

/* Partitions of one server that were asked together. */
typedef struct StreamRun
{
	DistTopKWorker *worker;		/* in DistTopKState, for EXPLAIN */
	DistTopKWorker place;		/* the same, with these partitions only */
	int			number;			/* under which the server knows it */
	DistConn   *conn;			/* NULL before the first batch */
	bool		begun;
	bool		exhausted;		/* there are no more rows than came */
	Batch	   *batch;			/* or NULL */
	Batch	   *ahead;			/* the one after it, or NULL */
	size_t		row_bytes;		/* memory of a row, as of the last batch */
	DistKeptRows *kept;			/* rows of partitions here that are still to
								 * come, all of them, or NULL */
} StreamRun;

struct DistTopKStream
{
	/* Known to workers, and ours to give out: one for each step. */
	int			nnumbers;
	int			numbers[MAX_STEPS];
	MemoryContextCallback release;	/* gives them back */

	/* What was emitted, if the executor may go back to the beginning. */
	Tuplestorestate *emitted;	/* or NULL */
	TupleTableSlot *emitted_slot;

	/* The current search; memory in search_context. */
	int			nruns;
	StreamRun  *runs;			/* space for one of each partition */
	int			nsteps;			/* in which partitions were asked */
	int			nprobes;		/* how many the next step asks */
	int64		widen_at;		/* and after how many rows */
	char	  **index;			/* of each partition, as last reported */
	bool		begun;			/* somebody was asked */
	bool		allow_disorder;
	bool		has_last;
	DistMergeKey last;			/* the greatest distance emitted */
	int64		nemitted;
	bool		was_late;		/* a row was left out */

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
	StreamRun  *run;
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

static void count_search(DistTopKState *state);
static int	count_uncertain(DistTopKState *state);
static int	give_number(void);
static void release_numbers(void *arg);
static void begin_stream(DistTopKState *state);
static void ask_more(DistTopKState *state, int n);
static void add_run(DistTopKState *state, DistTopKWorker *worker, int number,
					const bool *ask);
static const DistTopKSource *next_source(DistTopKState *state);
static int	find_nearest(DistTopKState *state);
static bool make_ready(StreamRun *run);
static void drop_batch(StreamRun *run);
static bool wants_batch(const StreamRun *run);
static StreamRun *run_to_ask(DistTopKState *state,
							 const DistTopKWorker *worker);
static void fetch(DistTopKState *state);
static void ask_servers(DistTopKState *state, MemoryContext context);
static int	read_batches(DistTopKState *state, DistRequest *requests,
						 StreamRun **asked, int n, Round *round);
static void make_request(DistTopKState *state, StreamRun *run,
						 DistRequest *request);
static const DistParams *begin_params(DistTopKState *state, StreamRun *run);
static char *statement_text(DistTopKState *state, const char *answer);
static int64 batch_rows(DistTopKState *state, StreamRun *run);
static void read_batch(DistTopKState *state, StreamRun *run, PGresult *result,
					   Round *round);
static Batch *new_batch(Round *round, int nrows);
static void accept_batch(DistTopKState *state, StreamRun *run, Batch *batch,
						 size_t bytes);
static void check_report(DistTopKState *state, int part);
static int	compare_sources(const void *a, const void *b);
static void fetch_here(void *arg);
static void fetch_own(DistTopKState *state, StreamRun *run, Round *round);
static void keep_all(DistTopKState *state, StreamRun *run);
static void end_kept(StreamRun *run);
static DistSearchRun *own_search(DistTopKState *state, StreamRun *run);
static void read_own(DistTopKState *state, StreamRun *run,
					 DistSearchRun *search, int64 nrows,
					 DistSearchCallback row, void *arg);
static void own_search_is_gone(void) pg_attribute_noreturn();
static void put_kept(int part, int pos, HeapTuple tuple, TupleDesc desc,
					 void *arg);
static bool take_kept(DistKeptRows *kept, int64 nrows, LocalBatch *local);
static void keep_row(int part, int pos, HeapTuple tuple, TupleDesc desc,
					 void *arg);
static void add_row(LocalBatch *local, int part, HeapTuple tuple);
static void close_own(DistTopKState *state);

/* ----------------------------------------------------------------
 * Life
 * ----------------------------------------------------------------
 */

void
DistTopKStreamBegin(DistTopKState *state, const char *answer, int eflags)
{
	EState	   *estate = state->css.ss.ps.state;
	DistTopKStream *stream = palloc0(sizeof(DistTopKStream));

	state->stream = stream;
	state->statement = statement_text(state, answer);
	state->rest_statement =
		psprintf("SELECT * FROM vecdist.search_next($1::pg_catalog.int8, $2::pg_catalog.int8) %s",
				 answer);
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	stream->release.func = release_numbers;
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
release_numbers(void *arg)
{
	DistTopKStream *stream = arg;

	for (int i = 0; i < stream->nnumbers; i++)
		numbers = bms_del_member(numbers, stream->numbers[i]);
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
	count_search(state);
	close_own(state);
	stream->nruns = 0;
	MemoryContextReset(state->search_context);
	state->searched = false;
}

void
DistTopKStreamEnd(DistTopKState *state)
{
	DistTopKStream *stream = state->stream;

	count_search(state);
	close_own(state);
	if (stream->emitted != NULL)
	{
		tuplestore_end(stream->emitted);
		ExecDropSingleTupleTableSlot(stream->emitted_slot);
	}
}

/*
 * The search ends: count what was emitted since the last turn, which counted
 * what came before, and whether the answer is certified.
 */
static void
count_search(DistTopKState *state)
{
	DistSearchCounts counts = {.rows_returned = state->stream->nuncounted};

	if (!state->searched)
		return;
	counts.not_certified = state->stream->was_late;
	if (count_uncertain(state) > 0)
	{
		counts.not_certified = 1;
		state->ndoubtful++;
	}
	if (counts.rows_returned > 0 || counts.not_certified > 0)
		DistStatsCount(state->table, &counts);
	state->stream->nuncounted = 0;
}

/* Partitions that were not asked and may have a row before the last one. */
static int
count_uncertain(DistTopKState *state)
{
	DistMergeKey none = {.isnull = true};

	return DistTopKCountUncertain(state, state->stream->has_last ?
								  &state->stream->last : &none);
}

void
DistTopKStreamStats(DistTopKState *state, DistTopKStreamCounts *counts)
{
	counts->nrounds = state->stream->nrounds;
	counts->nfetched = state->stream->nfetched;
	counts->nlate = state->stream->nlate;
	counts->nuncertain = count_uncertain(state);
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
	stream->was_late = false;
	stream->begun = false;
	stream->nemitted = 0;
	stream->nruns = 0;
	stream->nsteps = 0;
	stream->runs = palloc0(sizeof(StreamRun) * state->npartitions);
	stream->index = palloc0(sizeof(char *) * state->npartitions);
	state->nasked = 0;
	for (int i = 0; i < state->npartitions; i++)
	{
		state->partition[i].nrows = 0;
		state->partition[i].asked = false;
	}
	stream->widen_at = FIRST_BATCH_ROWS;
	stream->nprobes = DistTopKProbes(state);
	ask_more(state, stream->nprobes);
	DistFlushInserts();
	state->searched = true;
	state->nsearches++;
	MemoryContextSwitchTo(oldcontext);
}

/*
 * (T5) Let the nearest n partitions be asked, or all if n is 0: those that were
 * not asked yet, with the next batch.
 */
static void
ask_more(DistTopKState *state, int n)
{
	DistTopKStream *stream = state->stream;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->search_context);
	bool	   *ask = palloc(sizeof(bool) * state->npartitions);
	int			number;

	if (n == 0 || stream->nsteps == MAX_STEPS - 1)
		memset(ask, true, sizeof(bool) * state->npartitions);
	else
		DistProbeChoose(state->probe, n, ask);
	if (stream->nnumbers <= stream->nsteps)
		stream->numbers[stream->nnumbers++] = give_number();
	number = stream->numbers[stream->nsteps++];
	for (int i = 0; i < state->nworkers; i++)
		add_run(state, &state->worker[i], number, ask);
	stream->nprobes = n > PG_INT32_MAX / 2 ? 0 : 2 * n;
	pfree(ask);
	MemoryContextSwitchTo(oldcontext);
}

/* Ask a worker for those of its partitions that it was not asked for before. */
static void
add_run(DistTopKState *state, DistTopKWorker *worker, int number,
		const bool *ask)
{
	StreamRun  *run = &state->stream->runs[state->stream->nruns];
	int		   *asked = palloc(sizeof(int) * worker->npartitions);
	int			n = 0;

	for (int i = 0; i < worker->npartitions; i++)
	{
		int			p = worker->partitions[i];

		if (!ask[p] || state->partition[p].asked)
			continue;
		state->partition[p].asked = true;
		asked[n++] = p;
	}
	if (n == 0)
		return;
	run->worker = worker;
	run->number = number;
	run->place.serverid = worker->serverid;
	run->place.name = worker->name;
	run->place.npartitions = run->place.nasked = n;
	run->place.partitions = run->place.asked = asked;
	state->stream->nruns++;
	state->nasked += n;
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
		Batch	   *batch = stream->runs[nearest].batch;
		const DistTopKSource *source = &batch->rows[batch->next++];

		if (stream->has_last &&
			DistMergeCompareKeys(&source->key, &stream->last) < 0)
		{
			/* (T3) */
			if (!stream->allow_disorder)
			{
				stream->was_late = true;
				stream->nlate++;
				continue;
			}
		}
		else
		{
			stream->last = source->key;
			stream->has_last = true;
		}
		stream->nemitted++;
		stream->nuncounted++;
		return source;
	}
	return NULL;
}

/*
 * (T1) The run whose next row comes before those of all others, or -1 if
 * there are no more rows.  Fetches until all have a row that may have one.
 */
static int
find_nearest(DistTopKState *state)
{
	DistTopKStream *stream = state->stream;
	const DistTopKSource *best = NULL;
	int			nearest = -1;

	/* (T5) */
	while (state->nasked < state->npartitions &&
		   stream->nemitted >= stream->widen_at)
	{
		ask_more(state, stream->nprobes);
		stream->widen_at *= 2;
	}

	for (int i = 0; i < stream->nruns; i++)
	{
		StreamRun  *run = &stream->runs[i];
		const DistTopKSource *head;

		while (!make_ready(run) && !run->exhausted)
		{
			if (VD_MISTAKE("dist-emit-early") && best != NULL)
				break;
			fetch(state);
		}
		if (run->batch == NULL)
			continue;
		head = &run->batch->rows[run->batch->next];
		if (best == NULL || compare_sources(head, best) < 0)
		{
			best = head;
			nearest = i;
		}
	}
	if (best == NULL && state->nasked < state->npartitions)
	{
		ask_more(state, 0);
		return find_nearest(state);
	}
	return nearest;
}

/* Let the run's batch have a next row, if what came has one. */
static bool
make_ready(StreamRun *run)
{
	while (run->batch != NULL && run->batch->next >= run->batch->nrows)
	{
		drop_batch(run);
		run->batch = run->ahead;
		run->ahead = NULL;
	}
	return run->batch != NULL;
}

static void
drop_batch(StreamRun *run)
{
	Round	   *round = run->batch->round;

	if (--round->nbatches == 0)
		MemoryContextDelete(round->context);
}

/* ----------------------------------------------------------------
 * Fetching
 * ----------------------------------------------------------------
 */

/* (T2) */
static bool
wants_batch(const StreamRun *run)
{
	const Batch *batch = run->batch;

	return !run->exhausted && run->ahead == NULL &&
		(batch == NULL || batch->nrows - batch->next < batch->nrows / 2);
}

/*
 * The run of a worker that is to be asked next, or NULL: one without rows, if
 * there is one.
 */
static StreamRun *
run_to_ask(DistTopKState *state, const DistTopKWorker *worker)
{
	StreamRun  *result = NULL;

	for (int i = 0; i < state->stream->nruns; i++)
	{
		StreamRun  *run = &state->stream->runs[i];

		if (run->worker != worker || !wants_batch(run))
			continue;
		if (!make_ready(run))
			return run;
		if (result == NULL)
			result = run;
	}
	return result;
}

/*
 * One turn: the next batch of every server that has little left.  A connection
 * carries one request in a turn.
 */
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
	DistRequest *requests = palloc0(sizeof(DistRequest) * state->nworkers);
	StreamRun **asked = palloc(sizeof(StreamRun *) * state->nworkers);
	Round	   *round = palloc0(sizeof(Round));
	Turn		turn = {.state = state,.round = round};
	int			n = 0;

	round->context = context;
	for (int i = 0; i < state->nworkers; i++)
	{
		StreamRun  *run = NULL;

		if (OidIsValid(state->worker[i].serverid))
			run = run_to_ask(state, &state->worker[i]);
		if (run == NULL)
			continue;
		make_request(state, run, &requests[n]);
		asked[n++] = run;
	}
	DistExecuteMeanwhile(requests, n, DistNodeTimeout, DIST_EXEC_KEEP_GOING,
						 fetch_here, &turn);
	while ((n = read_batches(state, requests, asked, n, round)) > 0)
	{
		memset(requests, 0, sizeof(DistRequest) * n);
		for (int i = 0; i < n; i++)
		{
			asked[i]->begun = false;
			make_request(state, asked[i], &requests[i]);
			state->counts.retries++;
		}
		DistExecuteMeanwhile(requests, n, DistNodeTimeout,
							 DIST_EXEC_KEEP_GOING, NULL, NULL);
	}
}

/*
 * Read the answers of the servers 'asked'.  Those that did not answer and may
 * begin on another server are moved to the front; returns their number.
 * Raises an error for one that may not.
 */
static int
read_batches(DistTopKState *state, DistRequest *requests, StreamRun **asked,
			 int n, Round *round)
{
	int			nleft = 0;

	for (int i = 0; i < n; i++)
	{
		StreamRun  *run = asked[i];
		DistTopKWorker *place = &run->place;

		if (requests[i].error != NULL)
		{
			/* The portals of one that has answered exist nowhere else. */
			if (place->host != NULL ||
				!DistTopKMayAskAnother(place, &requests[i]))
				DistTopKWorkerFailed(state, place, requests[i].error);
			asked[nleft++] = run;
			continue;
		}
		if (place->host == NULL)
			place->host = MemoryContextStrdup(state->search_context,
											  DistConnHost(requests[i].conn));
		run->worker->host = place->host;
		read_batch(state, run, requests[i].result, round);
	}
	return nleft;
}

static void
make_request(DistTopKState *state, StreamRun *run, DistRequest *request)
{
	if (!run->begun)
	{
		run->conn = DistConnGet(run->place.serverid, state->userid,
								DistReadConsistency == DIST_READ_EVENTUAL ?
								DIST_TARGET_ANY : DIST_TARGET_PRIMARY);
		run->place.host = NULL;
		run->place.ntries++;
		request->sql = state->statement;
		request->params = begin_params(state, run);
	}
	else
	{
		DistParams *params = palloc0(sizeof(DistParams));
		const char **values = palloc(sizeof(char *) * 2);

		values[0] = psprintf("%d", run->number);
		values[1] = psprintf(INT64_FORMAT, batch_rows(state, run));
		params->n = 2;
		params->values = values;
		request->sql = state->rest_statement;
		request->params = params;
	}
	run->begun = true;
	request->conn = run->conn;
	request->flags = DIST_REQ_BINARY | DIST_REQ_PREPARED | DIST_REQ_XACT;
	run->worker->nrequests++;
	state->counts.messages++;
}

static const DistParams *
begin_params(DistTopKState *state, StreamRun *run)
{
	DistTopKMessage *message = DistTopKNewMessage(MSG_FIRST_PARAM, state);

	message->values[MSG_STREAM] = psprintf("%d", run->number);
	message->values[MSG_PARTITIONS] =
		DistTopKPartitionNames(state, &run->place);
	message->values[MSG_COLUMNS] = state->columns;
	message->values[MSG_FILTER] = state->filter;
	message->values[MSG_DISTANCE] = state->distance;
	message->values[MSG_FIRST] = psprintf(INT64_FORMAT,
										  batch_rows(state, run));
	message->values[MSG_SETTINGS] =
		DistTopKTextArray(DistSettingsWithName(state->settings,
											   state->css.ss.ps.state->es_plannedstmt->queryId));
	return DistTopKMessageParams(message);
}

/* What begins the stream on a worker. */
static char *
statement_text(DistTopKState *state, const char *answer)
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
batch_rows(DistTopKState *state, StreamRun *run)
{
	int64		wanted = FIRST_BATCH_ROWS;
	int64		fitting;

	if (run->row_bytes > 0)
	{
		fitting = work_mem * INT64CONST(1024) /
			(2 * state->stream->nruns * run->row_bytes);
		wanted = Min(2 * run->place.first, fitting);
		wanted = Max(wanted, FIRST_BATCH_ROWS);
	}
	run->place.first = run->worker->first = wanted;
	return wanted;
}

/* ----------------------------------------------------------------
 * Answers
 * ----------------------------------------------------------------
 */

static void
read_batch(DistTopKState *state, StreamRun *run, PGresult *result, Round *round)
{
	DistTopKWorker *place = &run->place;
	int			nrows = DistTopKCountRows(place, result);
	Batch	   *batch = new_batch(round, nrows);

	for (int row = 0; row < nrows; row++)
	{
		DistTopKSource *source = &batch->rows[batch->nrows++];

		DistTopKReadRow(state, place, result, row, source);
		CHECK_FOR_INTERRUPTS();
	}
	DistTopKReadReports(state, place, result, nrows);
	accept_batch(state, run, batch, PQresultMemorySize(result));
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
accept_batch(DistTopKState *state, StreamRun *run, Batch *batch, size_t bytes)
{
	bool		exhausted = true;

	for (int i = 0; i < run->place.nasked; i++)
	{
		int			part = run->place.asked[i];

		check_report(state, part);
		exhausted &= state->partition[part].report.exhausted;
	}
	if (batch->nrows == 0 && !exhausted)
		DistTopKBadAnswer(&run->place);

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
		run->row_bytes = bytes / batch->nrows + sizeof(DistTopKSource);
	run->exhausted = exhausted;
	state->stream->nfetched += batch->nrows;
	Assert(run->ahead == NULL);
	if (run->batch == NULL)
		run->batch = batch;
	else
		run->ahead = batch;
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

	for (int i = 0; i < state->stream->nruns; i++)
	{
		StreamRun  *run = &state->stream->runs[i];

		if (!OidIsValid(run->place.serverid) && wants_batch(run))
			fetch_own(state, run, turn->round);
	}
}

/*
 * The next batch of partitions here, from their portals or from what was kept.
 * Kept rows end with the last of them; the run is exhausted then.
 */
static void
fetch_own(DistTopKState *state, StreamRun *run, Round *round)
{
	LocalBatch	local = {.state = state,.run = run,.space = FIRST_BATCH_ROWS};
	int64		nrows = batch_rows(state, run);
	bool		has_more;

	local.batch = new_batch(round, local.space);
	if (!run->begun && ActivePortal != NULL &&
		(ActivePortal->cursorOptions & CURSOR_OPT_HOLD))
		keep_all(state, run);
	if (run->kept == NULL)
	{
		DistSearchRun *search = own_search(state, run);

		local.batch->desc = CreateTupleDescCopy(DistSearchGetDesc(search));
		read_own(state, run, search, nrows, keep_row, &local);
		accept_batch(state, run, local.batch, local.bytes);
		return;
	}
	local.batch->desc = CreateTupleDescCopy(DistKeptRowsDesc(run->kept));
	has_more = take_kept(run->kept, nrows, &local);
	accept_batch(state, run, local.batch, local.bytes);
	run->exhausted = !has_more;
	if (!has_more)
		end_kept(run);
}

/*
 * Read all rows of partitions here, and keep them: COMMIT would close their
 * portals before it reads what is left of a cursor WITH HOLD.
 */
static void
keep_all(DistTopKState *state, StreamRun *run)
{
	DistSearchRun *search = own_search(state, run);
	MemoryContext oldcontext = MemoryContextSwitchTo(state->search_context);

	run->kept = DistKeptRowsBegin(DistSearchGetDesc(search));
	MemoryContextSwitchTo(oldcontext);
	read_own(state, run, search, DIST_ALL_ROWS, put_kept, run->kept);
	DistSearchClose(search);
	DistKeptRowsSort(run->kept);
}

static void
end_kept(StreamRun *run)
{
	DistKeptRowsEnd(run->kept);
	run->kept = NULL;
}

/* The search of a run of partitions here, begun if need be. */
static DistSearchRun *
own_search(DistTopKState *state, StreamRun *run)
{
	DistSearchRun *search;

	/* Numbers of runs that others began here are positive. */
	if (run->begun)
	{
		search = DistSearchFind(-run->number, state->userid);
		if (search == NULL)
			own_search_is_gone();
		return search;
	}
	PushActiveSnapshot(state->css.ss.ps.state->es_snapshot);
	search = DistTopKOpenOwn(state, &run->place, true);
	DistSearchSetNumber(search, -run->number, state->userid);
	PopActiveSnapshot();
	run->begun = true;
	return search;
}

static void
read_own(DistTopKState *state, StreamRun *run, DistSearchRun *search,
		 int64 nrows, DistSearchCallback row, void *arg)
{
	PushActiveSnapshot(state->css.ss.ps.state->es_snapshot);
	if (!DistSearchNext(search, nrows, row, arg))
		own_search_is_gone();
	PopActiveSnapshot();
	DistTopKKeepOwnReports(state, &run->place, search);
}

static void
own_search_is_gone(void)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_CURSOR_STATE),
			errmsg("cannot read on after a rollback to a savepoint"),
			errdetail("The search of partitions on this server was begun after the savepoint."));
}

/* DistSearchCallback: keep the row in DistKeptRows. */
static void
put_kept(int part, int pos, HeapTuple tuple, TupleDesc desc, void *arg)
{
	DistKeptRowsPut(arg, part, pos, tuple);
}

/* Put kept rows into the batch; false if that were the last. */
static bool
take_kept(DistKeptRows *kept, int64 nrows, LocalBatch *local)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(local->batch->round->context);
	int64		n = 0;

	for (; n < nrows; n++)
	{
		int			part;
		HeapTuple	tuple = DistKeptRowsTake(kept, &part);

		if (tuple == NULL)
			break;
		add_row(local, part, tuple);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(oldcontext);
	return n == nrows;
}

/* DistSearchCallback: keep the row in the memory of the turn. */
static void
keep_row(int part, int pos, HeapTuple tuple, TupleDesc desc, void *arg)
{
	LocalBatch *local = arg;
	MemoryContext oldcontext = MemoryContextSwitchTo(local->batch->round->context);

	add_row(local, part, heap_copytuple(tuple));
	MemoryContextSwitchTo(oldcontext);
}

/* Add a row to the batch, in whose memory it is. */
static void
add_row(LocalBatch *local, int part, HeapTuple tuple)
{
	Batch	   *batch = local->batch;
	DistTopKSource *source;

	if (batch->nrows == local->space)
	{
		local->space *= 2;
		batch->rows = repalloc_huge(batch->rows,
									mul_size(sizeof(DistTopKSource),
											 local->space));
	}
	source = &batch->rows[batch->nrows];
	source->partition = local->run->place.asked[part];
	source->key = DistTopKKeyOfTuple(tuple, batch->desc);
	source->answer = NULL;
	source->row = batch->nrows++;
	source->tuple = tuple;
	source->desc = batch->desc;
	local->bytes += tuple->t_len + HEAPTUPLESIZE;
	local->state->partition[source->partition].nrows++;
}

static void
close_own(DistTopKState *state)
{
	for (int i = 0; i < state->stream->nruns; i++)
	{
		if (state->stream->runs[i].kept != NULL)
			end_kept(&state->stream->runs[i]);
	}
	for (int i = 0; i < state->stream->nnumbers; i++)
	{
		DistSearchRun *search = DistSearchFind(-state->stream->numbers[i],
											   state->userid);

		if (search != NULL)
			DistSearchClose(search);
	}
}
