/*-------------------------------------------------------------------------
 *
 * dist_kept_rows.h
 *	  Rows of partitions of this server that are read ahead of their use.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_KEPT_ROWS_H
#define DIST_KEPT_ROWS_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"

typedef struct DistKeptRows DistKeptRows;

/*
 * Rows of these columns, in the current memory context, and beyond work_mem in
 * a file of the current resource owner.
 */
extern DistKeptRows *DistKeptRowsBegin(TupleDesc desc);

/* Add a row, of the partition with this number. */
extern void DistKeptRowsPut(DistKeptRows *kept, int part, HeapTuple tuple);

/*
 * The next row, in the order in which they were added, or NULL if there are no
 * more.  In the current memory context.
 */
extern HeapTuple DistKeptRowsTake(DistKeptRows *kept, int *part);
extern TupleDesc DistKeptRowsDesc(const DistKeptRows *kept);
extern void DistKeptRowsEnd(DistKeptRows *kept);

#endif							/* DIST_KEPT_ROWS_H */
