/*-------------------------------------------------------------------------
 *
 * vhnsw_recall.h
 *	  How many of the exact nearest elements lists hold.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_RECALL_H
#define VHNSW_RECALL_H

#include "postgres.h"

#include "vhnsw/vhnsw_join.h"

extern double VhnswJoinRecall(VhnswCrew *crew, const VhnswJoin *join);
extern void VhnswExactJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_RECALL_H */
