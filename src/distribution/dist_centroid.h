/*-------------------------------------------------------------------------
 *
 * dist_centroid.h
 *	  Sets of centroids, by which rows are placed.
 *
 * See README, section "Placement by centroid".
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_CENTROID_H
#define DIST_CENTROID_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "distribution/dist_cluster.h"

/* A set may have as many centroids as a table may have partitions. */
#define DIST_MAX_CENTROIDS 1024

typedef struct DistCentroidSet
{
	int			id;				/* hash key */
	bool		cosine;			/* nearest by angle; centroids have length 1 */
	int			n;
	int			dim;
	float	   *x;				/* n * dim */
	int64	   *sampled;		/* rows of the sample nearest to each, or NULL */
} DistCentroidSet;

#define DIST_CENTROID(set, i) ((set)->x + (size_t) (i) * (set)->dim)

/*
 * A set by its id; raises 42704 if there is none.  The result stays valid
 * until something else looks into catalogs, and says the same each time.
 */
extern const DistCentroidSet *DistGetCentroidSet(int id);

/* Number of the centroid of a set that is nearest to a vector of its length. */
extern int	DistNearestCentroid(const DistCentroidSet *set, const float *x);

/*
 * Is this expression nearest_centroid(something, constant)?  Then *operand is
 * the something and *set the constant.
 */
extern bool DistIsNearestCentroid(Node *expr, Node **operand, int *set);

/* The set by which a partitioned table places its rows, or 0. */
extern int	DistPlacingSet(Relation rel);

/* Statements that make all sets of this server on another one. */
extern List *DistCentroidStatements(void);

/* Drop all sets that no table uses, on this server. */
extern void DistForgetCentroids(void);

/*
 * Store n vectors of 'dim' dimensions as the next version of a name, here and
 * on all workers, and return the id.  'sampled' may be NULL.  Raises an error
 * if they are no valid set.
 */
extern int	DistStoreCentroids(const char *name, const char *metric,
							   const float *x, int n, int dim,
							   const int64 *sampled);

/* Is this the name of a metric, and of which?  Raises 22023 if not. */
extern bool DistMetricIsCosine(const char *metric);

/* The type vector. */
extern Oid	DistVectorType(void);

#endif							/* DIST_CENTROID_H */
