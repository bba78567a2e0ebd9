/*-------------------------------------------------------------------------
 *
 * vhnsw_stats.c
 *	  What searches have done, by index.
 *
 * Every session counts for itself.  If the library is preloaded, a table in
 * shared memory has the sums over all sessions since the server started; each
 * adds its part when a transaction ends.  The cumulative statistics of core
 * are open to extensions from 18 on only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vecdist_shared.h"
#include "vhnsw/vhnsw_check.h"
#include "vhnsw/vhnsw_stats.h"

VECDIST_FUNCTION_INFO_V1(vhnsw_stats);
VECDIST_FUNCTION_INFO_V1(vhnsw_stats_reset);
VECDIST_FUNCTION_INFO_V1(vhnsw_session_stats);

/* Of a server; further indexes are not counted. */
#define SHARED_INDEXES 1024

typedef struct IndexKey
{
	Oid			database;
	Oid			index;
} IndexKey;

typedef struct SharedEntry
{
	IndexKey	key;
	VhnswCounts counts;			/* protected by the lock of the table */
} SharedEntry;

typedef struct SessionEntry
{
	Oid			index;			/* hash key */
	VhnswCounts counts;			/* since the session began, or a reset */
	VhnswCounts unsent;			/* of these: not in shared memory yet */
	bool		has_unsent;
} SessionEntry;

static Size shared_size(void);
static void attach(void);

static HTAB *session_entries = NULL;
static HTAB *shared_entries = NULL; /* NULL if not preloaded */
static VecdistShared area = {"vhnsw_stats", shared_size, attach};
static bool any_unsent = false;

static void create_session_entries(void);
static void send_at_end_of_transaction(XactEvent event, void *arg);
static void send_unsent(void);
static bool get_shared(Oid index, VhnswCounts *counts);
static Datum make_row(FunctionCallInfo fcinfo, const Datum *values,
					  int nvalues);

/* Called once, when the library is loaded. */
void
VhnswStatsInit(void)
{
	VecdistRequestShared(&area);
}

static Size
shared_size(void)
{
	return hash_estimate_size(SHARED_INDEXES, sizeof(SharedEntry));
}

static void
attach(void)
{
	shared_entries = VecdistSharedHash(&area, SHARED_INDEXES,
									   sizeof(IndexKey), sizeof(SharedEntry));
}

static void
create_session_entries(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(SessionEntry);
	control.hcxt = TopMemoryContext;
	session_entries = hash_create("vhnsw statistics", 16, &control,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (shared_entries)
		RegisterXactCallback(send_at_end_of_transaction, NULL);
}

void
VhnswCountsAdd(VhnswCounts *sum, const VhnswCounts *counts)
{
	for (int i = 0; i < VHNSW_NCOUNTS; i++)
		((int64 *) sum)[i] += ((const int64 *) counts)[i];
}

/* Add what a search of the index has done. */
void
VhnswStatsCount(Relation index, const VhnswCounts *counts)
{
	SessionEntry *entry;
	Oid			oid = RelationGetRelid(index);
	bool		found;

	if (session_entries == NULL)
		create_session_entries();
	entry = hash_search(session_entries, &oid, HASH_ENTER, &found);
	if (!found)
		memset(&entry->counts, 0,
			   sizeof(SessionEntry) - offsetof(SessionEntry, counts));
	VhnswCountsAdd(&entry->counts, counts);
	if (shared_entries)
	{
		VhnswCountsAdd(&entry->unsent, counts);
		entry->has_unsent = any_unsent = true;
	}
}

static void
send_at_end_of_transaction(XactEvent event, void *arg)
{
	if (any_unsent &&
		(event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		 event == XACT_EVENT_PREPARE))
		send_unsent();
}

/* Add to shared memory what was counted since the last time. */
static void
send_unsent(void)
{
	HASH_SEQ_STATUS status;
	SessionEntry *entry;

	if (!any_unsent)
		return;
	any_unsent = false;

	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	hash_seq_init(&status, session_entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		IndexKey	key = {MyDatabaseId, entry->index};
		SharedEntry *shared;
		bool		found;

		if (!entry->has_unsent)
			continue;
		shared = hash_search(shared_entries, &key, HASH_ENTER_NULL, &found);
		if (shared && !found)
			memset(&shared->counts, 0, sizeof(VhnswCounts));
		if (shared)
			VhnswCountsAdd(&shared->counts, &entry->unsent);
		memset(&entry->unsent, 0, sizeof(VhnswCounts));
		entry->has_unsent = false;
	}
	LWLockRelease(area.lock);
}

/* The sums over all sessions; false if there are none. */
static bool
get_shared(Oid index, VhnswCounts *counts)
{
	IndexKey	key = {MyDatabaseId, index};
	SharedEntry *shared;

	if (shared_entries == NULL)
		return false;
	send_unsent();
	LWLockAcquire(area.lock, LW_SHARED);
	shared = hash_search(shared_entries, &key, HASH_FIND, NULL);
	if (shared)
		*counts = shared->counts;
	LWLockRelease(area.lock);
	return true;
}

/*
 * vhnsw_stats(index regclass) returns record
 *		What searches of the index have done since the server started, or a
 *		reset; if the library is not preloaded, those of this session.
 */
Datum
vhnsw_stats(PG_FUNCTION_ARGS)
{
	Relation	heap;
	Relation	index = VhnswOpenForInspection(PG_GETARG_OID(0), &heap);
	Oid			oid = RelationGetRelid(index);
	VhnswCounts counts = {0};
	Datum		values[VHNSW_NCOUNTS + 1];

	if (get_shared(oid, &counts))
		values[0] = CStringGetTextDatum("server");
	else
	{
		SessionEntry *entry = session_entries == NULL ? NULL :
		hash_search(session_entries, &oid, HASH_FIND, NULL);

		if (entry)
			counts = entry->counts;
		values[0] = CStringGetTextDatum("session");
	}
	VhnswCloseAfterInspection(index, heap);

	for (int i = 0; i < VHNSW_NCOUNTS; i++)
		values[i + 1] = Int64GetDatum(((int64 *) &counts)[i]);
	return make_row(fcinfo, values, lengthof(values));
}

/*
 * vhnsw_stats_reset(index regclass) returns void
 *		Begin to count anew.
 */
Datum
vhnsw_stats_reset(PG_FUNCTION_ARGS)
{
	Relation	heap;
	Relation	index = VhnswOpenForInspection(PG_GETARG_OID(0), &heap);
	Oid			oid = RelationGetRelid(index);

	if (session_entries)
		hash_search(session_entries, &oid, HASH_REMOVE, NULL);
	if (shared_entries)
	{
		IndexKey	key = {MyDatabaseId, oid};

		LWLockAcquire(area.lock, LW_EXCLUSIVE);
		hash_search(shared_entries, &key, HASH_REMOVE, NULL);
		LWLockRelease(area.lock);
	}
	VhnswCloseAfterInspection(index, heap);
	PG_RETURN_VOID();
}

/*
 * vhnsw_session_stats() returns record
 *		What the searches of this session have done, for tests and tuning.
 */
Datum
vhnsw_session_stats(PG_FUNCTION_ARGS)
{
	VhnswCounts counts = {0};
	Datum		values[5];

	if (session_entries)
	{
		HASH_SEQ_STATUS status;
		SessionEntry *entry;

		hash_seq_init(&status, session_entries);
		while ((entry = hash_seq_search(&status)) != NULL)
			VhnswCountsAdd(&counts, &entry->counts);
	}
	values[0] = Int64GetDatum(counts.searches);
	values[1] = Int64GetDatum(counts.expanded);
	values[2] = Int64GetDatum(counts.evaluated);
	values[3] = Int64GetDatum(counts.sweeps);
	values[4] = Int64GetDatum(counts.late);
	return make_row(fcinfo, values, lengthof(values));
}

static Datum
make_row(FunctionCallInfo fcinfo, const Datum *values, int nvalues)
{
	TupleDesc	desc;
	bool		nulls[VHNSW_NCOUNTS + 1] = {false};
	Datum		copy[VHNSW_NCOUNTS + 1];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != nvalues)
		elog(ERROR, "return type must be a row of %d columns", nvalues);
	memcpy(copy, values, nvalues * sizeof(Datum));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), copy,
											 nulls));
}
