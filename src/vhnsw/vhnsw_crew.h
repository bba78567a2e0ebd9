/*-------------------------------------------------------------------------
 *
 * vhnsw_crew.h
 *	  The processes that build an index together: a leader and workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_CREW_H
#define VHNSW_CREW_H

#include "postgres.h"

#include "access/parallel.h"
#include "nodes/pg_list.h"
#include "storage/dsm.h"
#include "utils/relcache.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_job.h"
#include "vhnsw/vhnsw_spill.h"

/* Memory that jobs work on: the leader's own, or shared. */
typedef struct VhnswMemory
{
	void	   *address;		/* in the leader */
	dsm_handle	handle;			/* DSM_HANDLE_INVALID if not shared */
} VhnswMemory;

/*
 * The crew, as one of its processes sees it.  All zero but for the graph is a
 * crew of one.
 */
typedef struct VhnswCrew
{
	struct VhnswGraph *graph;	/* what the jobs are about, when it is loaded */
	int			workers;		/* planned or, later, at work; if any, memory
								 * is shared */
	int			launched;
	bool		is_worker;
	Relation	index;			/* open; of a whole crew only */
	struct CrewShared *shared;	/* NULL while there are no workers */
	VhnswJob	job;			/* begun and not finished, in the leader */
	const void *argument;		/* of that */
	uint32		next;			/* chunks taken, while there are none */
	uint32		nchunks;
	List	   *segments;		/* shared memory attached and not freed */
	uint32		nfiles;			/* made so far */
	List	   *files;			/* a worker's, open for the job */
	ParallelContext *context;	/* the leader's */
} VhnswCrew;

extern VhnswCrew *VhnswCrewCreate(Relation heap, Relation index);
extern void VhnswCrewLaunch(VhnswCrew *crew, bool concurrent);
extern void VhnswCrewSetWorkers(VhnswCrew *crew, int workers);
extern void VhnswCrewSetGraph(VhnswCrew *crew, struct VhnswGraph *graph);
extern void VhnswCrewRun(VhnswCrew *crew, VhnswJob job, const void *arg,
						 Size size, uint32 nchunks);
extern void VhnswCrewBegin(VhnswCrew *crew, VhnswJob job, const void *arg,
						   Size size, uint32 nchunks);
extern void VhnswCrewFinish(VhnswCrew *crew);
extern bool VhnswCrewNext(VhnswCrew *crew, uint32 *chunk);
extern void VhnswCrewPhase(int phase, int64 total);
extern void VhnswCrewReport(VhnswCrew *crew, int64 done);
extern void VhnswCrewDismiss(VhnswCrew *crew);

extern VhnswMemory VhnswCrewAlloc(VhnswCrew *crew, Size size);
extern void VhnswCrewFree(VhnswCrew *crew, VhnswMemory *memory);
extern void *VhnswCrewAddress(VhnswCrew *crew, const VhnswMemory *memory);

extern VhnswSpill *VhnswCrewCreateFile(VhnswCrew *crew, Size record_bytes,
									   uint32 nrecords, Size cache_bytes);
extern VhnswSpill *VhnswCrewFile(VhnswCrew *crew,
								 const VhnswSpillShape *shape);

extern PGDLLEXPORT void VhnswBuildWorkerMain(dsm_segment *segment,
											 shm_toc *toc);

#endif							/* VHNSW_CREW_H */
