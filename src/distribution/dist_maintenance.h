/*-------------------------------------------------------------------------
 *
 * dist_maintenance.h
 *	  VACUUM, ANALYZE and REINDEX of rows that live on workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_MAINTENANCE_H
#define DIST_MAINTENANCE_H

#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"

/*
 * What is left of VACUUM or ANALYZE for this server after the workers have
 * done their part for the partitions there: a list of VacuumStmt, usually one
 * or none.  NIL also if the statement is not about partitions on workers, in
 * which case *ours is false and nothing was done.
 */
extern List *DistVacuumOnWorkers(VacuumStmt *stmt, bool is_top_level,
								 bool *ours);

/* REINDEX of a table or index that all workers have under this name. */
extern void DistReindexOnWorkers(ReindexStmt *stmt, Oid relid);

#endif							/* DIST_MAINTENANCE_H */
