/*-------------------------------------------------------------------------
 *
 * dist_stats.h
 *	  What distributed searches have done, by table: vecdist.stat_search.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_STATS_H
#define DIST_STATS_H

#include "postgres.h"

/* In the order of the view's columns. */
typedef struct DistSearchCounts
{
	int64		searches;
	int64		failed;			/* of these: ended by an error */
	int64		not_certified;	/* of these: answer not proved complete */
	int64		messages;		/* sent to workers */
	int64		second_rounds;	/* of these: for the rest of a large K */
	int64		retries;		/* of these: another server was asked again */
	int64		rows_received;
	int64		bytes_received; /* of these rows, as they came */
	int64		rows_returned;	/* the merged answers */
	double		total_time;		/* ms */
	double		max_time;
} DistSearchCounts;

/* Shared memory.  Called by DistInit. */
extern void DistStatsInit(void);

/* Add to the counts of a table, if there is shared memory and room. */
extern void DistStatsCount(Oid table, const DistSearchCounts *counts);

#endif							/* DIST_STATS_H */
