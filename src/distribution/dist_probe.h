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
#include "nodes/primnodes.h"

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
	bool		exact;			/* rows are ordered by the same values that
								 * placed them */
	bool		is_half;		/* the query vector is a halfvec, else a
								 * vector */
	const Vector *query;		/* as a vector */
	int			npartitions;
	List	  **cells;			/* of each partition, a list of int: its
								 * centroids; NIL if they are not known */

	/* set by DistProbeChoose */
	int			nrivals;
	int			rivals[DIST_PROBE_RIVALS];	/* centroids nearest to the query */
} DistProbe;

extern void DistProbeInit(void);

/*
 * Does a distance order the rows of a table by that which places them?
 *
 * 'operand' is the side of the distance that belongs to the row, 'placed_by'
 * what nearest_centroid() is applied to.  Casts between vector and halfvec and
 * to a length do not matter, but if one side is rounded to halfvec and the
 * other is not, *exact is false.  Returns NULL, or the reason why not.
 */
extern const char *DistProbeMatch(OpExpr *distance, Node *operand,
								  Node *placed_by, DistProbeOrder *order,
								  bool *exact);

/* Is this type halfvec? */
extern bool DistProbeIsHalf(Oid type);

/* A value as query vector; is_half says of what type it is. */
extern const Vector *DistProbeVector(const DistProbe *probe, Datum value);

/*
 * Set asked[i] for the nearest n partitions, and those of which nothing is
 * known.
 */
extern void DistProbeChoose(DistProbe *probe, int n, bool *asked);

/*
 * After DistProbeChoose: is every row of a partition, but those without a
 * distance, certainly farther from the query vector than 'distance', as the
 * operator gives it?
 */
extern bool DistProbeExcludes(const DistProbe *probe, int partition,
							  double distance);

#endif							/* DIST_PROBE_H */
