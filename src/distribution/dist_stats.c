/*-------------------------------------------------------------------------
 *
 * dist_stats.c
 *	  What distributed searches have done, by table: vecdist.stat_search.
 *
 * The sums over all sessions since the server started, in shared memory: on
 * this server, of the searches that it coordinated.  A search adds its part
 * when it ends, also by an error.  Core's cumulative statistics are open to
 * extensions from 18 on only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/hsearch.h"
#include "utils/syscache.h"

#include "distribution/dist_stats.h"
#include "vecdist_compat.h"
#include "vecdist_shared.h"

VECDIST_FUNCTION_INFO_V1(vecdist_stat_search);
VECDIST_FUNCTION_INFO_V1(vecdist_stat_search_reset);

/* Of a server; searches of further tables are not counted. */
#define MAX_TABLES 1024

#define NCOLUMNS 12				/* of the view */

typedef struct TableKey
{
	Oid			database;
	Oid			table;
} TableKey;

typedef struct TableEntry
{
	TableKey	key;
	DistSearchCounts counts;
} TableEntry;

static Size shared_size(void);
static void attach(void);

static HTAB *tables = NULL;		/* NULL if not preloaded */
static VecdistShared area = {"vecdist_stat_search", shared_size, attach};

static void add_counts(DistSearchCounts *sum, const DistSearchCounts *counts);

/* Called once, when the library is loaded. */
void
DistStatsInit(void)
{
	VecdistRequestShared(&area);
}

static Size
shared_size(void)
{
	return hash_estimate_size(MAX_TABLES, sizeof(TableEntry));
}

static void
attach(void)
{
	tables = VecdistSharedHash(&area, MAX_TABLES, sizeof(TableKey),
							   sizeof(TableEntry));
}

void
DistStatsCount(Oid table, const DistSearchCounts *counts)
{
	TableKey	key = {MyDatabaseId, table};
	TableEntry *entry;
	bool		found;

	if (tables == NULL)
		return;
	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	entry = hash_search(tables, &key, HASH_ENTER_NULL, &found);
	if (entry != NULL)
	{
		if (!found)
			memset(&entry->counts, 0, sizeof(entry->counts));
		add_counts(&entry->counts, counts);
	}
	LWLockRelease(area.lock);
}

static void
add_counts(DistSearchCounts *sum, const DistSearchCounts *counts)
{
	sum->searches += counts->searches;
	sum->failed += counts->failed;
	sum->not_certified += counts->not_certified;
	sum->messages += counts->messages;
	sum->second_rounds += counts->second_rounds;
	sum->retries += counts->retries;
	sum->rows_received += counts->rows_received;
	sum->bytes_received += counts->bytes_received;
	sum->rows_returned += counts->rows_returned;
	sum->total_time += counts->total_time;
	sum->max_time = Max(sum->max_time, counts->max_time);
}

/*
 * vecdist.stat_search()
 *		The counts of the tables of this database.
 */
Datum
vecdist_stat_search(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TableEntry *copy;
	int			n = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (tables == NULL)
		return (Datum) 0;

	/* Rows may go to a file, so they are made without the lock. */
	copy = palloc(sizeof(TableEntry) * MAX_TABLES);
	LWLockAcquire(area.lock, LW_SHARED);
	{
		HASH_SEQ_STATUS status;
		TableEntry *entry;

		hash_seq_init(&status, tables);
		while ((entry = hash_seq_search(&status)) != NULL)
		{
			if (entry->key.database == MyDatabaseId)
				copy[n++] = *entry;
		}
	}
	LWLockRelease(area.lock);

	for (int i = 0; i < n; i++)
	{
		const DistSearchCounts *counts = &copy[i].counts;
		Datum		values[NCOLUMNS];
		bool		nulls[NCOLUMNS] = {false};
		int			c = 0;

		/* Nobody tells us when a table is dropped. */
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(copy[i].key.table)))
		{
			LWLockAcquire(area.lock, LW_EXCLUSIVE);
			hash_search(tables, &copy[i].key, HASH_REMOVE, NULL);
			LWLockRelease(area.lock);
			continue;
		}
		values[c++] = ObjectIdGetDatum(copy[i].key.table);
		values[c++] = Int64GetDatum(counts->searches);
		values[c++] = Int64GetDatum(counts->failed);
		values[c++] = Int64GetDatum(counts->not_certified);
		values[c++] = Int64GetDatum(counts->messages);
		values[c++] = Int64GetDatum(counts->second_rounds);
		values[c++] = Int64GetDatum(counts->retries);
		values[c++] = Int64GetDatum(counts->rows_received);
		values[c++] = Int64GetDatum(counts->bytes_received);
		values[c++] = Int64GetDatum(counts->rows_returned);
		values[c++] = Float8GetDatum(counts->total_time);
		values[c++] = Float8GetDatum(counts->max_time);
		Assert(c == NCOLUMNS);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * vecdist.stat_search_reset(relation)
 *		Begin to count anew: for a table, or with NULL for all of the database.
 */
Datum
vecdist_stat_search_reset(PG_FUNCTION_ARGS)
{
	Oid			table = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	HASH_SEQ_STATUS status;
	TableEntry *entry;

	if (tables == NULL)
		PG_RETURN_VOID();
	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	hash_seq_init(&status, tables);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.database == MyDatabaseId &&
			(table == InvalidOid || entry->key.table == table))
			hash_search(tables, &entry->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(area.lock);
	PG_RETURN_VOID();
}
