/*-------------------------------------------------------------------------
 *
 * dist_centroid_private.h
 *	  The table of sets of centroids, for those who read and write it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_CENTROID_PRIVATE_H
#define DIST_CENTROID_PRIVATE_H

#include "postgres.h"

#include "access/genam.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/relcache.h"

#include "distribution/dist_centroid.h"

/* In the schema vecdist. */
#define DIST_CENTROID_TABLE "centroid_set"

/* Columns of the table */
enum
{
	COL_ID = 1,
	COL_NAME,
	COL_VERSION,
	COL_METRIC,
	COL_CENTROIDS,
	COL_SAMPLED,
	COL_LAST = COL_SAMPLED
};

/* A set from the values of its row, checked, in the current context. */
extern DistCentroidSet *DistCentroidSetFromRow(int id, const char *metric,
											   ArrayType *array,
											   ArrayType *sampled);

/* Scan the table for one set, or all for 0.  It has a few rows. */
extern SysScanDesc DistCentroidBeginScan(Relation rel, int id);

/* The set in the expressions of a partition key, or 0. */
extern int	DistPlacingSetOfKey(List *exprs);

#endif							/* DIST_CENTROID_PRIVATE_H */
