/*-------------------------------------------------------------------------
 *
 * dist_cluster.h
 *	  This server's part in the cluster, and statements that run on all of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_CLUSTER_H
#define DIST_CLUSTER_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

#include "distribution/dist_connection.h"

/* Setting vecdist.enable_ddl_propagation. */
extern bool DistEnableDdlPropagation;

/*
 * The list of distributed tables: those create_distributed_table made (and
 * made known here), as table vecdist.distributed_table.  Statements reach the
 * workers only for them: of partitioned tables that somebody built by hand
 * from foreign tables we do not know what exists elsewhere.
 */
extern bool DistTableIsListed(Oid relid);
extern void DistListTable(Oid relid);
extern void DistUnlistTable(Oid relid);
extern List *DistListedTables(void);

/*
 * The listed table that a relation is, or is a partition of at any depth;
 * InvalidOid if there is none.
 */
extern Oid	DistListedRoot(Oid relid);

/*
 * A table of the extension in its schema vecdist; InvalidOid where the
 * extension is not created.
 */
extern Oid	DistOwnTable(const char *name);

/* Name of the worker that this server is, or NULL on a coordinator. */
extern char *DistLocalWorker(void);

/*
 * First call of each administration function "funcname": raises 25006 in a
 * read-only transaction, 55000 without preloading, on a worker and on a
 * connection from another server.
 */
extern void DistRequireCoordinator(const char *funcname);

/*
 * Lock the set of workers and the list of tables until the end of the
 * transaction, before any table is locked.  ShareRowExclusiveLock to change
 * them; RowExclusiveLock while a statement is on its way to all workers.
 */
extern void DistLockCluster(LOCKMODE lockmode);

/* Statements for one worker, run one after the other. */
typedef struct DistScript
{
	DistConn   *conn;
	List	   *statements;		/* of char *, each one SQL statement */
} DistScript;

/* Connections of the current user to the primaries of some workers. */
extern DistScript *DistMakeScripts(List *serverids);

/*
 * Run scripts as part of the current transaction, all workers at the same
 * time.  The first error ends all of it.
 */
extern void DistRunScripts(DistScript *scripts, int nscripts);

/* The same statements on all workers. */
extern void DistRunOnAllWorkers(List *statements);

/* Run statements on this server only, whatever tables they are about. */
extern void DistRunLocally(List *statements);

#endif							/* DIST_CLUSTER_H */
