/*-------------------------------------------------------------------------
 *
 * dist_tabledef.h
 *	  The statements that make a table's definition on another server.
 *
 * Everything is read from the catalogs, names are schema-qualified, so the
 * text means the same under any search_path.  Results are lists of C strings
 * in the current memory context.  The caller holds a lock on the table that
 * keeps its definition as it is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_TABLEDEF_H
#define DIST_TABLEDEF_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* "schema.name" of a relation, quoted. */
extern char *DistRelationName(Oid relid);

/* Role that owns a relation. */
extern Oid	DistRelationOwner(Oid relid);

/* CREATE SCHEMA with owner and privileges. */
extern List *DistSchemaStatements(Oid nspid);

/*
 * A partitioned table: columns, constraints, partition key, storage; then
 * owner, row-level security and privileges.
 */
extern List *DistTableStatements(Oid relid);

/*
 * A leaf of 'parent' with rows: an ordinary table "schema.name" with the
 * parent's owner, row-level security and privileges, because requests from
 * other servers name the leaf itself.  'bound' is "FOR VALUES ..." or
 * "DEFAULT".
 */
extern List *DistLeafStatements(Oid parent, const char *schema,
								const char *name, const char *bound);

/*
 * The same leaf on every server that does not hold its rows.  'remote_schema'
 * and 'remote_name' are its name on the worker, both NULL if the same.
 */
extern List *DistForeignLeafStatements(Oid parent, const char *schema,
									   const char *name, const char *bound,
									   const char *worker,
									   const char *remote_schema,
									   const char *remote_name);

/*
 * All of a partitioned table as a server has it that holds none of its rows:
 * the table, its partitions as foreign tables, its indexes.  Raises 0A000 if
 * a partition lives on this server.
 */
extern List *DistShellStatements(Oid relid);

/* CREATE INDEX for an index of a partitioned table, with all partitions. */
extern char *DistIndexStatement(Oid indexid);

/* DistIndexStatement for each index of a table. */
extern List *DistTableIndexStatements(Oid relid);

/*
 * Statements that make the privileges on "target" (a table named with schema)
 * those of 'relid': what 'grantees' (a list of role oids, InvalidOid for
 * PUBLIC) hold is revoked first.
 */
extern List *DistPrivilegeStatements(Oid relid, const char *target,
									 List *grantees);

/* All roles that hold privileges on a table or its columns. */
extern List *DistPrivilegeGrantees(Oid relid);

/* Partition bound of a relation, as CREATE TABLE ... PARTITION OF takes it. */
extern char *DistPartitionBound(Oid relid);

#endif							/* DIST_TABLEDEF_H */
