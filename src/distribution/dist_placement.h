/*-------------------------------------------------------------------------
 *
 * dist_placement.h
 *	  Where the partitions of a table live.
 *
 * The interface behind which placement providers stand.  The only provider
 * so far is the native one: a leaf that is a foreign table of vecdist_fdw
 * lives on that table's server, every other leaf lives here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_PLACEMENT_H
#define DIST_PLACEMENT_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

/* One leaf of a partitioned table. */
typedef struct DistPartition
{
	Oid			relid;			/* the leaf on this server */
	Oid			serverid;		/* its worker, or InvalidOid if it lives here */
	char	   *worker;			/* name of the worker, or NULL */
	char	   *remote_schema;	/* its name on the worker */
	char	   *remote_name;
} DistPartition;

/*
 * Is this a partitioned table with at least one leaf on a worker?  Takes no
 * lock; the caller holds one on the table or can stand a stale answer.
 */
extern bool DistIsDistributed(Oid relid);

/* Is this a foreign table of vecdist_fdw? */
extern bool DistIsForeignPartition(Oid relid);

/*
 * All leaves below a partitioned table in the order of their bounds (the
 * order that ties are resolved in), as a list of DistPartition in the
 * current memory context.  Locks the leaves in 'lockmode'.
 */
extern List *DistPartitions(Oid relid, LOCKMODE lockmode);

/* Describe one leaf: a foreign table of ours, or a table that lives here. */
extern DistPartition *DistGetPartition(Oid relid);

/* Oids of all foreign servers of vecdist_fdw, ordered by name. */
extern List *DistWorkers(void);

/* Oid of vecdist_fdw, or InvalidOid where the extension is not created. */
extern Oid	DistFdwOid(void);

#endif							/* DIST_PLACEMENT_H */
