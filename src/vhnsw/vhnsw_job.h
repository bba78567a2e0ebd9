/*-------------------------------------------------------------------------
 *
 * vhnsw_job.h
 *	  What leader and workers of an index build do together.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_JOB_H
#define VHNSW_JOB_H

struct VhnswCrew;

/* By numbers, because functions have other addresses in other processes. */
typedef enum VhnswJob
{
	VHNSW_JOB_NONE,				/* nothing is left to do */
	VHNSW_JOB_ENCODE,
	VHNSW_JOB_CENTROIDS,
	VHNSW_JOB_ASSIGN,
	VHNSW_JOB_HUBS,
	VHNSW_JOB_PRINCIPAL,
	VHNSW_JOB_JOIN,
	VHNSW_JOB_EXACT,
	VHNSW_JOB_CHOOSE_FIRST,
	VHNSW_JOB_CHOOSE_AGAIN,
	VHNSW_JOB_SEARCH,
	VHNSW_JOB_LINK_BACK,
	VHNSW_JOB_PRUNE,
	VHNSW_JOB_TOP_UP,
	VHNSW_JOB_SPAN,
	VHNSW_JOB_PROBE,
	VHNSW_JOB_SAMPLE,
	VHNSW_JOB_COVARIANCE,
	VHNSW_JOB_PRODUCTS,
	VHNSW_JOB_ENERGY,
	VHNSW_JOB_PROJECT,
	VHNSW_JOB_WRITE
} VhnswJob;

/*
 * Takes chunks with VhnswCrewNext() until none is left, as others do at the
 * same time.  'arg' is the caller's of VhnswCrewRun(), copied.
 */
typedef void (*VhnswJobFunction) (struct VhnswCrew *crew, const void *arg);

extern VhnswJobFunction VhnswGetJobFunction(VhnswJob job);

#endif							/* VHNSW_JOB_H */
