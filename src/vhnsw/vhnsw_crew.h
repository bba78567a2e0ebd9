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
#include "vhnsw/vhnsw_spill.h"

struct VhnswCrew;

/* Room for the argument of a job. */
#define VHNSW_MAX_ARGUMENT 1024

/* By numbers, because functions have other addresses in other processes. */
typedef enum VhnswJob
{
	VHNSW_JOB_NONE,				/* nothing is left to do */
	VHNSW_JOB_ENCODE,
	VHNSW_JOB_CENTROIDS,
	VHNSW_JOB_MEANS,
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

/* What a crew is for, which is known to those who make one. */
typedef struct VhnswCrewDuties
{
	VhnswJobFunction (*get_function) (VhnswJob job);

	/* Set graph and codes of a worker, by what the leader says of them. */
	void		(*attach_graph) (struct VhnswCrew *crew, const void *shape);
} VhnswCrewDuties;

/* Memory that jobs work on: the leader's own, or shared. */
typedef struct VhnswMemory
{
	void	   *address;		/* in the leader */
	dsm_handle	handle;			/* DSM_HANDLE_INVALID if not shared */
	bool		lasts;			/* nobody frees it before the build ends */
} VhnswMemory;

/* The crew, as one of its processes sees it. */
typedef struct VhnswCrew
{
	const VhnswCrewDuties *duties;
	struct VhnswGraph *graph;	/* what the jobs are about, when it is loaded */
	VhnswSpill **codes;			/* a member of that; NULL before */
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
	List	   *lasting;		/* a worker's, attached until it goes home */
	uint32		nfiles;			/* made so far */
	List	   *files;			/* a worker's, open for the job */
	ParallelContext *context;	/* the leader's */

	/* CPU seconds of the leader, of a whole crew only */
	double		clock;			/* all, when a job was last begun or finished */
	double		alone;			/* outside of jobs */
	double		in_jobs;		/* from begin to end of each */
} VhnswCrew;

/* This process alone, for jobs that are too small to be shared. */
static inline VhnswCrew
VhnswCrewOfOne(const VhnswCrew *crew)
{
	VhnswCrew	alone = {.duties = crew->duties,.graph = crew->graph};

	return alone;
}

extern VhnswCrew *VhnswCrewCreate(Relation heap, Relation index,
								  const VhnswCrewDuties *duties);
extern void VhnswCrewLaunch(VhnswCrew *crew, bool concurrent);
extern void VhnswCrewSetWorkers(VhnswCrew *crew, int workers);
extern void *VhnswCrewShareGraph(VhnswCrew *crew, Size shape_size);
extern void VhnswCrewRunJob(VhnswCrew *crew, VhnswJob job, const void *arg,
							Size size, uint32 nchunks);
extern void VhnswCrewBeginJob(VhnswCrew *crew, VhnswJob job, const void *arg,
							  Size size, uint32 nchunks);
extern void VhnswCrewFinish(VhnswCrew *crew);
extern bool VhnswCrewNext(VhnswCrew *crew, uint32 *chunk);
extern void VhnswCrewPhase(int phase, int64 total);
extern void VhnswCrewReport(VhnswCrew *crew, int64 done);
extern void VhnswCrewTell(VhnswCrew *crew);
extern void VhnswCrewDismiss(VhnswCrew *crew);

extern VhnswMemory VhnswCrewAlloc(VhnswCrew *crew, Size size);
extern void VhnswCrewFree(VhnswCrew *crew, VhnswMemory *memory);
extern void *VhnswCrewAddress(VhnswCrew *crew, const VhnswMemory *memory);

extern VhnswSpill *VhnswCrewCreateFile(VhnswCrew *crew, Size record_bytes,
									   uint32 nrecords, Size cache_bytes);
extern VhnswSpill *VhnswCrewFile(VhnswCrew *crew,
								 const VhnswSpillShape *shape);

extern void VhnswCrewServe(dsm_segment *segment, shm_toc *toc,
						   const VhnswCrewDuties *duties);

/* The size of an argument is known when its job is compiled. */
#define VhnswCrewRun(crew, job, arg, size, nchunks) \
	(StaticAssertExpr((size) <= VHNSW_MAX_ARGUMENT, "argument of a job"), \
	 VhnswCrewRunJob(crew, job, arg, size, nchunks))
#define VhnswCrewBegin(crew, job, arg, size, nchunks) \
	(StaticAssertExpr((size) <= VHNSW_MAX_ARGUMENT, "argument of a job"), \
	 VhnswCrewBeginJob(crew, job, arg, size, nchunks))

#endif							/* VHNSW_CREW_H */
