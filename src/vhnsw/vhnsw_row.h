/*-------------------------------------------------------------------------
 *
 * vhnsw_row.h
 *	  Rows of the table, fetched by TID.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_ROW_H
#define VHNSW_ROW_H

#include "postgres.h"

#include "access/tableam.h"

extern void VhnswPrefetchRows(Relation table, const ItemPointerData *tids, int n);
extern bool VhnswFetchRow(IndexFetchTableData *fetch, ItemPointer tid,
						  Snapshot snapshot, TupleTableSlot *slot);

#endif							/* VHNSW_ROW_H */
