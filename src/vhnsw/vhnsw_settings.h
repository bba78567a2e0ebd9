/*-------------------------------------------------------------------------
 *
 * vhnsw_settings.h
 *	  The settings of vhnsw.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_SETTINGS_H
#define VHNSW_SETTINGS_H

#include "postgres.h"

#define VHNSW_DEFAULT_EF_SEARCH 40
#define VHNSW_MIN_EF_SEARCH 1
#define VHNSW_MAX_EF_SEARCH 1000

typedef enum VhnswIterativeScan
{
	VHNSW_ITERATIVE_OFF,
	VHNSW_ITERATIVE_RELAXED,
	VHNSW_ITERATIVE_STRICT
} VhnswIterativeScan;

typedef enum VhnswBuildMethod
{
	VHNSW_BUILD_AUTO,
	VHNSW_BUILD_SEARCH,
	VHNSW_BUILD_BLOCKED
} VhnswBuildMethod;

/* How rows that pass the filter are found; see README, "Filters". */
typedef enum VhnswFilterStrategy
{
	VHNSW_FILTER_AUTO,			/* of the setting only */
	VHNSW_FILTER_SEARCH,		/* fetch what the search finds, nearest first */
	VHNSW_FILTER_BITMAP,		/* fetch of that what another index matches */
	VHNSW_FILTER_MATCHES,		/* fetch all that another index matches */
	VHNSW_FILTER_EXACT			/* read the table */
} VhnswFilterStrategy;

extern int	vhnsw_build_method;
extern bool vhnsw_enable_scan;
extern int	vhnsw_filter_strategy;
extern double vhnsw_gamma;

/* Those for which one of pgvector's may stand in */
extern int	VhnswEfSearch(void);
extern int	VhnswMaxScanTuples(void);
extern VhnswIterativeScan VhnswIterativeScanMode(void);
extern Size VhnswScanMemory(void);

extern void VhnswSettingsInit(void);

#endif							/* VHNSW_SETTINGS_H */
