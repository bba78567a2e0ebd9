/*-------------------------------------------------------------------------
 *
 * vhnsw_demand.h
 *	  What the executor wants of an index scan.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_DEMAND_H
#define VHNSW_DEMAND_H

#include "postgres.h"

typedef struct VhnswDemand VhnswDemand;

extern void VhnswDemandInit(void);
extern VhnswDemand *VhnswFindDemand(void *key);
extern int64 VhnswDemandRows(const VhnswDemand *demand);
extern int64 VhnswDemandRemaining(const VhnswDemand *demand, bool *exactly);
extern bool VhnswDemandIsAll(const VhnswDemand *demand);
extern double VhnswDemandFiltered(const VhnswDemand *demand);
extern bool VhnswDemandPassed(const VhnswDemand *demand, uint64 *passed);

#endif							/* VHNSW_DEMAND_H */
