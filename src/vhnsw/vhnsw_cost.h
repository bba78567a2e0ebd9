/*-------------------------------------------------------------------------
 *
 * vhnsw_cost.h
 *	  What it costs to read a vhnsw index, in units of the planner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_COST_H
#define VHNSW_COST_H

#include "postgres.h"

#include "nodes/nodes.h"

#include "vhnsw/vhnsw_page.h"
#include "vhnsw/vhnsw_search.h"

typedef struct VhnswIndexSize
{
	double		elements;
	double		pages;
	VhnswLayout layout;
} VhnswIndexSize;

extern int64 VhnswEfFor(const VhnswLayout *layout, double rows);
extern int64 VhnswEffortFor(int64 rows);

/*
 * How many elements must be settled before number 'number' is reported: ef for
 * the first ef, then a window that grows with what was taken.  Always as many
 * as 'number', or the graph would look exhausted.  If some of the rows are not
 * wanted, those that are stand farther out, and get a window as wide, compared
 * to their number, as the nearest do.
 */
static inline double
VhnswSettledBefore(double number, double ef, bool filtered)
{
	if (filtered)
		return Max(ef, 3 * number);
	return Max(ef, Min(3 * number - 2 * ef, 2 * number));
}

extern void VhnswGetIndexSize(Oid index_oid, double pages, double elements,
							  VhnswIndexSize *size);
extern Cost VhnswSweepCost(const VhnswIndexSize *index);
extern Cost VhnswSearchCost(const VhnswIndexSize *index, double rows,
							double ef, bool filtered);
extern Cost VhnswSearchedCost(const VhnswIndexSize *index,
							  const VhnswSearch *search, double ef);
extern Cost VhnswTableCost(double pages, double rows);
extern Cost VhnswFetchCost(const VhnswIndexSize *index, double heap_pages);
extern Cost VhnswRowCost(const VhnswIndexSize *index);

#endif							/* VHNSW_COST_H */
