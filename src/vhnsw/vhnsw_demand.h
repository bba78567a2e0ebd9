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

#include "access/skey.h"

typedef struct VhnswDemand VhnswDemand;

extern void VhnswDemandInit(void);
extern VhnswDemand *VhnswFindDemand(ScanKey orderbys);
extern int64 VhnswDemandRows(const VhnswDemand *demand);
extern bool VhnswDemandIsAll(const VhnswDemand *demand);
extern double VhnswDemandFiltered(const VhnswDemand *demand);
extern bool VhnswDemandPassed(const VhnswDemand *demand, uint64 *passed);

#endif							/* VHNSW_DEMAND_H */
