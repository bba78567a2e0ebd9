/*-------------------------------------------------------------------------
 *
 * vhnsw_stats.h
 *	  What searches have done, by index.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_STATS_H
#define VHNSW_STATS_H

#include "postgres.h"

#include "utils/relcache.h"

/* All int64, so that they can be added up as an array. */
typedef struct VhnswCounts
{
	int64		searches;
	int64		expanded;		/* elements whose list was read */
	int64		evaluated;		/* elements read for their code alone */
	int64		scored;			/* edges, by the sketch beside the link */
	int64		sweeps;			/* the whole index was read */
	int64		fetches;		/* TIDs looked up in the table */
	int64		invisible;		/* of these: no visible row */
	int64		filtered;		/* of these: conditions not met */
	int64		skipped;		/* not fetched, as a bitmap has them not */
	int64		late;			/* dropped, as a farther row had been returned */
	int64		cut;			/* searches ended by a setting; see stream */
	int64		by_bitmap;		/* searches by what another index matches, */
	int64		by_matches;		/* those that fetched all of it, */
	int64		by_exact;		/* and those that read the table */
} VhnswCounts;

#define VHNSW_NCOUNTS ((int) (sizeof(VhnswCounts) / sizeof(int64)))

extern void VhnswStatsInit(void);
extern void VhnswCountsAdd(VhnswCounts *sum, const VhnswCounts *counts);
extern void VhnswStatsCount(Relation index, const VhnswCounts *counts);

#endif							/* VHNSW_STATS_H */
