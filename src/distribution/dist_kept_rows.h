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
 * Rows of these columns, of which the last is the distance, a float8.  In a
 * child of the current memory context, and beyond work_mem in a file of the
 * current resource owner.
 */
extern DistKeptRows *DistKeptRowsBegin(TupleDesc desc);

/* Add a row, which has number 'pos' in partition 'part'. */
extern void DistKeptRowsPut(DistKeptRows *kept, int part, int pos,
							HeapTuple tuple);

/* All have been added: sort them, then let them be taken. */
extern void DistKeptRowsSort(DistKeptRows *kept);

/*
 * The next row in order of (distance, part, pos), or NULL if there are no more.
 * In the current memory context.
 */
extern HeapTuple DistKeptRowsTake(DistKeptRows *kept, int *part);

/* What rows look like; valid until the end. */
extern TupleDesc DistKeptRowsDesc(const DistKeptRows *kept);

extern void DistKeptRowsEnd(DistKeptRows *kept);

#endif							/* DIST_KEPT_ROWS_H */
