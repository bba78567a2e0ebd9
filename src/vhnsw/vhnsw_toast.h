/*-------------------------------------------------------------------------
 *
 * vhnsw_toast.h
 *	  Values that are stored out of line, read one after the other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_TOAST_H
#define VHNSW_TOAST_H

#include "postgres.h"

#include "access/relscan.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* All zero before the first value. */
typedef struct VhnswToastReader
{
	Oid			relid;			/* the TOAST table; invalid = none was seen */
	MemoryContext context;		/* of all that follows */
	Relation	table;			/* NULL = cannot be read by us */
	Relation   *indexes;		/* all open */
	int			nindexes;
	IndexScanDesc scan;			/* of the valid one */
	SnapshotData snapshot;		/* of 'scan'; made anew for each value */
	TupleTableSlot *slot;
	struct varlena *value;		/* the last one */
	Size		room;			/* bytes there */
} VhnswToastReader;

extern bool VhnswToastRead(VhnswToastReader *reader, MemoryContext parent,
						   Datum value, Datum *read);
extern void VhnswToastEnd(VhnswToastReader *reader);

#endif							/* VHNSW_TOAST_H */
