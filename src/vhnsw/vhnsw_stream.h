/*-------------------------------------------------------------------------
 *
 * vhnsw_stream.h
 *	  The rows of an index, roughly by distance from a query.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_STREAM_H
#define VHNSW_STREAM_H

#include "postgres.h"

#include "utils/tuplesort.h"

#include "vhnsw/vhnsw_answer.h"
#include "vhnsw/vhnsw_search.h"
#include "vhnsw/vhnsw_stats.h"

typedef enum VhnswStreamSource
{
	VHNSW_STREAM_EXTREME,
	VHNSW_STREAM_GRAPH,
	VHNSW_STREAM_SWEEP,
	VHNSW_STREAM_ZERO,
	VHNSW_STREAM_NULL,
	VHNSW_STREAM_END
} VhnswStreamSource;

typedef struct VhnswStreamRow
{
	ItemPointerData tid;
	VhnswDistance bound;		/* not above its distance */
	int64		number;			/* among the rows of its element, from 1; 0 =
								 * outside of the graph */
} VhnswStreamRow;

typedef struct VhnswStream
{
	/* Set by the caller before the first row */
	int64		ef;				/* elements to settle before it */
	int64		max_elements;	/* of the graph; at most so many are reported */
	int64		max_visits;		/* beyond ef settled, the search ends after so
								 * many; 0 = no limit, or beyond the index */
	double		expected_rows;	/* that will probably be read; 0 = up to ef */
	int64		rows_wanted;	/* the caller will be content with the nearest
								 * so many; 0 = not known */
	bool		filtered;		/* not every row read is wanted */
	int64		pause_at;		/* after so many visits return without a row
								 * and set paused; the caller raises this and
								 * goes on; 0 = never */
	Relation	table;			/* whose rows will be fetched one by one; or
								 * NULL */
	bool		stop_at_sweep;	/* end instead, and set sweep_due; the caller
								 * may then unset this and go on */

	/* Read-only */
	MemoryContext context;		/* owns everything; child of the caller's */
	Relation	index;
	double		elements;		/* places for them in the index */
	bool		unordered;		/* a NULL query, or none: any order */
	bool		paused;
	bool		sweep_due;
	bool		swept;			/* the sweep has begun */
	bool		cut;			/* one of these two limits was in the way */
	VhnswSearch *search;		/* NULL if the query has no direction or place */
	VhnswLayout layout;

	/* Private */
	VhnswQuery	query;
	VhnswStreamSource source;
	double		constant_bound; /* of every row, if there is no search */
	int64		nreported;		/* elements, of the graph */
	bool		reading;
	VhnswListReader reader;		/* of a list outside */
	Tuplesortstate *sort;		/* of the sweep */
	TupleTableSlot *slot;		/* likewise */
	VhnswElementReader element_reader;	/* of the element being reported */
	bool		reading_element;	/* it may have more TIDs than these */
	VhnswTidArray tids;			/* of that element */
	int			next_tid;
	int64		tids_given;		/* of that element */
	double		bound;			/* likewise */
} VhnswStream;

extern VhnswStream *VhnswStreamBegin(Relation index, Datum query, bool isnull,
									 MemoryContext parent);
extern bool VhnswStreamNext(VhnswStream *stream, VhnswStreamRow *row);
extern int64 VhnswStreamEf(const VhnswStream *stream);
extern int64 VhnswStreamVisits(const VhnswStream *stream);
extern void VhnswStreamCount(const VhnswStream *stream, VhnswCounts *counts);
extern double VhnswStreamBoundOf(const VhnswStream *stream, Datum value);
extern void VhnswStreamSkip(VhnswStream *stream);
extern void VhnswStreamEnd(VhnswStream *stream);

#endif							/* VHNSW_STREAM_H */
