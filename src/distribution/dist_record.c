/*-------------------------------------------------------------------------
 *
 * dist_record.c
 *	  Commit records of transactions that commit in two phases.
 *
 * The table vecdist.dist_transaction has a row for each participant of each
 * transaction that committed here and may be prepared there.  The row is part
 * of the local transaction, so it exists exactly if that committed.  Rows are
 * written by heap insert: at that point of a commit no user code (triggers,
 * SPI) may run any more.
 *
 * A row whose participant has confirmed COMMIT PREPARED is garbage.  Removing
 * it would need a transaction of its own; so the session remembers the gid
 * and removes the row with its next record.  The last ones are removed by
 * recovery.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "distribution/dist_record.h"

#define RECORD_SCHEMA "vecdist"
#define RECORD_TABLE "dist_transaction"
#define RECORD_INDEX "dist_transaction_pkey"

/* Columns */
#define Anum_record_gid 1
#define Anum_record_server 2
#define Natts_record 2

/* Gids whose records may go; a session that forgets some loses nothing. */
#define MAX_DONE 64
static char done_gids[MAX_DONE][DIST_GID_SIZE];
static int	ndone = 0;

static Relation open_records(LOCKMODE lockmode);
static void delete_record(Relation rel, const char *gid);

/* ----------------------------------------------------------------
 * Identifiers: vecdist_<system identifier>_<database>_<xid8>_<nonce>_<n>
 *
 * The transaction id alone does not make them unique: an id that was assigned
 * shortly before a crash, and had not reached the disk, is assigned again
 * afterwards, while a worker still holds what the first one prepared.
 * ----------------------------------------------------------------
 */

char *
DistGidPrefix(void)
{
	return psprintf("vecdist_" UINT64_FORMAT "_%u_", GetSystemIdentifier(),
					MyDatabaseId);
}

void
DistMakeGid(char *gid, FullTransactionId xid, uint64 nonce, int n)
{
	snprintf(gid, DIST_GID_SIZE,
			 "vecdist_" UINT64_FORMAT "_%u_" UINT64_FORMAT "_%08x%08x_%d",
			 GetSystemIdentifier(), MyDatabaseId,
			 U64FromFullTransactionId(xid),
			 (uint32) (nonce >> 32), (uint32) nonce, n);
}

bool
DistParseGid(const char *gid, FullTransactionId *xid)
{
	char	   *prefix = DistGidPrefix();
	size_t		len = strlen(prefix);
	char	   *end;
	uint64		value;

	if (strncmp(gid, prefix, len) != 0)
		return false;
	errno = 0;
	value = strtou64(gid + len, &end, 10);
	if (errno != 0 || end == gid + len || *end != '_')
		return false;
	*xid = FullTransactionIdFromU64(value);
	return FullTransactionIdIsNormal(*xid);
}

/* ----------------------------------------------------------------
 * The table
 * ----------------------------------------------------------------
 */

static Relation
open_records(LOCKMODE lockmode)
{
	Oid			schema = get_namespace_oid(RECORD_SCHEMA, true);
	Oid			relid = InvalidOid;

	if (OidIsValid(schema))
		relid = get_relname_relid(RECORD_TABLE, schema);
	if (!OidIsValid(relid))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("table \"%s.%s\" does not exist",
					   RECORD_SCHEMA, RECORD_TABLE),
				errhint("Create the extension vecdist in this database."));
	return table_open(relid, lockmode);
}

void
DistRecordInsert(const char *gid, Oid serverid)
{
	Relation	rel = open_records(RowExclusiveLock);
	Datum		values[Natts_record];
	bool		nulls[Natts_record] = {false};
	HeapTuple	tuple;

	for (int i = 0; i < ndone; i++)
		delete_record(rel, done_gids[i]);
	ndone = 0;

	values[Anum_record_gid - 1] = CStringGetTextDatum(gid);
	values[Anum_record_server - 1] = ObjectIdGetDatum(serverid);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
	table_close(rel, NoLock);
}

void
DistRecordDone(const char *gid)
{
	if (ndone < MAX_DONE)
		strlcpy(done_gids[ndone++], gid, DIST_GID_SIZE);
}

void
DistRecordDelete(const char *gid)
{
	Relation	rel = open_records(RowExclusiveLock);

	delete_record(rel, gid);
	table_close(rel, NoLock);
}

/*
 * Delete the record of 'gid' if there is one.  Recovery and the session that
 * made it may want to delete it at the same time; who comes second goes on.
 */
static void
delete_record(Relation rel, const char *gid)
{
	Oid			index = get_relname_relid(RECORD_INDEX,
										  RelationGetNamespace(rel));
	ScanKeyData key;
	SysScanDesc scan;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_record_gid, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(gid));
	scan = systable_beginscan(rel, index, OidIsValid(index), snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TM_FailureData failure;

		(void) heap_delete(rel, &tuple->t_self, GetCurrentCommandId(true),
						   InvalidSnapshot, false, &failure, false);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
}

List *
DistRecordList(void)
{
	Relation	rel = open_records(AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot,
										  0, NULL);
	List	   *result = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		DistRecord *record = palloc(sizeof(DistRecord));
		bool		isnull;
		Datum		gid = heap_getattr(tuple, Anum_record_gid,
									   RelationGetDescr(rel), &isnull);
		Datum		server = heap_getattr(tuple, Anum_record_server,
										  RelationGetDescr(rel), &isnull);

		strlcpy(record->gid, TextDatumGetCString(gid), DIST_GID_SIZE);
		record->serverid = DatumGetObjectId(server);
		result = lappend(result, record);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return result;
}
