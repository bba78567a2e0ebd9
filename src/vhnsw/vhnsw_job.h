/*-------------------------------------------------------------------------
 *
 * vhnsw_job.h
 *	  What leader and workers of an index build do together.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_JOB_H
#define VHNSW_JOB_H

#include "postgres.h"

#include "vhnsw/vhnsw_crew.h"

extern const VhnswCrewDuties vhnsw_build_duties;

extern PGDLLEXPORT void VhnswBuildWorkerMain(dsm_segment *segment,
											 shm_toc *toc);

#endif							/* VHNSW_JOB_H */
