/*-------------------------------------------------------------------------
 *
 * dist_record.h
 *	  Commit records of transactions that commit in two phases.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_RECORD_H
#define DIST_RECORD_H

#include "postgres.h"

#include "access/transam.h"
#include "nodes/pg_list.h"

/* Longest identifier of a prepared transaction (GIDSIZE), with the zero. */
#define DIST_GID_SIZE 200

/* One commit record. */
typedef struct DistRecord
{
	char		gid[DIST_GID_SIZE];
	Oid			serverid;		/* the worker that prepared it */
} DistRecord;

/*
 * Identifier of the n-th participant of a transaction of this database.
 * 'nonce' is a random number drawn for the transaction.
 */
extern void DistMakeGid(char *gid, FullTransactionId xid, uint64 nonce, int n);

/*
 * Is this the gid of a transaction that this database coordinates?  Then
 * *xid is set.
 */
extern bool DistParseGid(const char *gid, FullTransactionId *xid);

/* What gids of this database begin with; palloc'd. */
extern char *DistGidPrefix(void);

/*
 * Write a commit record in the current transaction.  Callable before commit,
 * with and without an active snapshot.  Also removes records of earlier
 * transactions of this session that are known to be complete.
 */
extern void DistRecordInsert(const char *gid, Oid serverid);

/*
 * A participant has committed: its record may go with a later transaction.
 * Raises no errors.
 */
extern void DistRecordDone(const char *gid);

/* All records visible now, as a list of DistRecord. */
extern List *DistRecordList(void);

/* Delete a record, unless somebody else is doing so. */
extern void DistRecordDelete(const char *gid);

#endif							/* DIST_RECORD_H */
