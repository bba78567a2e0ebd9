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

typedef struct VhnswIndexSize
{
	double		elements;
	double		pages;
	VhnswLayout layout;
} VhnswIndexSize;

extern void VhnswGetIndexSize(Oid index_oid, double pages, double elements,
							  VhnswIndexSize *size);
extern Cost VhnswSweepCost(const VhnswIndexSize *index);
extern Cost VhnswSearchCost(const VhnswIndexSize *index, double rows,
							double ef);
extern Cost VhnswFetchCost(const VhnswIndexSize *index, double heap_pages);

#endif							/* VHNSW_COST_H */
