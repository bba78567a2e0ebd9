/*-------------------------------------------------------------------------
 *
 * dist_table.h
 *	  Making tables distributed, and their partitions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_TABLE_H
#define DIST_TABLE_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "distribution/dist_cluster.h"

/*
 * Are these names (of char *) free in a schema on the workers of some
 * scripts?  Raises 42P07 naming the worker.
 */
extern void DistCheckNamesFree(DistScript *scripts, int nscripts,
							   const char *schema, List *names);

/*
 * Can a table, with 'leaf_names' in its schema, be created on the workers of
 * some scripts?  Raises 42P07 for names that are taken, 42704 for types and
 * roles that are missing there.  Where the schema is missing, statements that
 * create it are appended to the worker's script.
 */
extern void DistCheckTableFits(DistScript *scripts, int nscripts, Oid relid,
							   List *leaf_names);

/* Statement that puts a table on the list of another server. */
extern char *DistListStatement(Oid relid);

#endif							/* DIST_TABLE_H */
