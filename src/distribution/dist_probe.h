/*-------------------------------------------------------------------------
 *
 * dist_probe.h
 *	  Which partitions of a table placed by centroid a search asks.
 *
 * See README, section "Placement by centroid".
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_PROBE_H
#define DIST_PROBE_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "types/vector.h"

/*
 * Borders are tried with these many centroids: those nearest to the query
 * vector have the borders that are farthest from it.
 */
#define DIST_PROBE_RIVALS 4

/* Setting vecdist.probes: how many partitions a search asks; 0 = all. */
extern int	DistProbes;

/* By what a query orders rows. */
typedef enum DistProbeOrder
{
	DIST_PROBE_L2,
	DIST_PROBE_INNER_PRODUCT,
	DIST_PROBE_COSINE,
	DIST_PROBE_L1
} DistProbeOrder;

/* A search of a table placed by centroid. */
typedef struct DistProbe
{
	int			set;			/* of centroids */
	DistProbeOrder order;
	const Vector *query;		/* the query vector */
	int			npartitions;
	List	  **cells;			/* of each partition, a list of int: its
								 * centroids; NIL if they are not known */

	/* set by DistProbeChoose */
	int			nrivals;
	int			rivals[DIST_PROBE_RIVALS];	/* centroids nearest to the query */
} DistProbe;

extern void DistProbeInit(void);

/* Does an operator on vectors order by one of the above? */
extern bool DistProbeFindOrder(Oid operator, DistProbeOrder *order);

/*
 * Set asked[i] for the nearest DistProbes partitions, and those of which
 * nothing is known.
 */
extern void DistProbeChoose(DistProbe *probe, bool *asked);

/*
 * After DistProbeChoose: is every row of a partition, but those without a distance, certainly farther
 * from the query vector than 'distance', as the operator gives it?
 */
extern bool DistProbeExcludes(const DistProbe *probe, int partition,
							  double distance);

#endif							/* DIST_PROBE_H */
