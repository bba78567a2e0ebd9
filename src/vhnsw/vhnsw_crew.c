/*-------------------------------------------------------------------------
 *
 * vhnsw_crew.c
 *	  Workers for an index build, their jobs and their memory.
 *
 * The leader does everything that has an order, and alone; of what has none it
 * makes a job (VhnswJob): chunks with numbers, which leader and workers
 * take one after the other until none is left.  It opens a job, takes part,
 * closes it, and waits for those workers who have joined it, but for no others:
 * who comes late, or never, or gets no processor for a while, is not missed.
 * Between jobs workers wait and have nothing open, so that the leader may
 * change what they have seen.  Without workers the same functions run in the
 * leader alone.
 *
 * What a job writes must not depend on who takes which chunk: README, section
 * "Parallel build".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>
#include <sys/time.h>

#include "access/genam.h"
#include "access/xact.h"
#include "commands/progress.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/sharedfileset.h"
#include "storage/spin.h"
#include "tcop/tcopprot.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_crew.h"

/* Keys of the parts of the parallel context's memory. */
#define KEY_CREW UINT64CONST(0x7668637200000001)
#define KEY_QUERY UINT64CONST(0x7668637200000002)
#define KEY_WAL_USAGE UINT64CONST(0x7668637200000003)
#define KEY_BUFFER_USAGE UINT64CONST(0x7668637200000004)

typedef struct CrewShared
{
	Oid			index;
	bool		concurrent;		/* CREATE INDEX CONCURRENTLY */
	SharedFileSet files;

	/* written by the leader between jobs */
	VhnswMemory graph;			/* a VhnswGraphShape, once it is known */
	VhnswSpillShape codes;		/* of the graph, if they are in a file */
	VhnswJob	job;
	uint32		nchunks;
	pg_atomic_uint32 next;
	char		argument[VHNSW_MAX_ARGUMENT] pg_attribute_aligned(MAXIMUM_ALIGNOF);

	slock_t		mutex;			/* protects what follows */
	int			workers;		/* those with higher numbers go home */
	uint32		number;			/* of jobs opened so far */
	bool		is_open;		/* the last one may be joined */
	int			at_work;		/* workers who have joined and not left it */
	int			joined;			/* who have joined it */
	int			present;		/* who have come and not gone home */
	ConditionVariable opened;
	ConditionVariable left;
	pg_atomic_uint64 cpu_time;	/* of workers in jobs, microseconds */
} CrewShared;

static uint64 cpu_time(void);
static double take_time(VhnswCrew *crew);
static bool close_job(CrewShared *shared);
static void check_started(const VhnswCrew *crew);
static bool join_job(CrewShared *shared, uint32 *number);
static void leave_job(CrewShared *shared);
static void do_job(VhnswCrew *crew, VhnswJob job, const void *arg);
static void close_files(VhnswCrew *crew);
static void detach_segments(List **segments);

/* ----------------------------------------------------------------------
 * The leader
 * ----------------------------------------------------------------------
 */

/*
 * VhnswCrewCreate
 *		Plan how many workers a build shall have, as for a btree.
 *
 * From here on VhnswCrewAlloc() gives memory that workers will see.
 */
VhnswCrew *
VhnswCrewCreate(Relation heap, Relation index,
				const VhnswCrewDuties *duties)
{
	VhnswCrew  *crew = palloc0_object(VhnswCrew);

	crew->duties = duties;
	crew->index = index;
	crew->clock = cpu_time() / 1e6;
	if (IsNormalProcessingMode() && max_parallel_maintenance_workers > 0)
		crew->workers = plan_create_index_workers(RelationGetRelid(heap),
												  RelationGetRelid(index));
	return crew;
}

/*
 * VhnswCrewLaunch
 *		Start the workers.
 *
 * Parallel mode lasts from here to VhnswCrewDismiss().  There are none planned
 * if the index has expressions that must not be evaluated in it.
 */
void
VhnswCrewLaunch(VhnswCrew *crew, bool concurrent)
{
	ParallelContext *context;
	CrewShared *shared;
	Size		query_size = debug_query_string ?
	strlen(debug_query_string) + 1 : 0;
	void	   *part;

	if (crew->workers == 0)
		return;

	EnterParallelMode();
	/* It calls VhnswCrewServe(). */
	context = CreateParallelContext("vecdist", "VhnswBuildWorkerMain",
									crew->workers);
	shm_toc_estimate_chunk(&context->estimator, sizeof(CrewShared));
	shm_toc_estimate_chunk(&context->estimator, query_size);
	shm_toc_estimate_chunk(&context->estimator,
						   mul_size(sizeof(WalUsage), context->nworkers));
	shm_toc_estimate_chunk(&context->estimator,
						   mul_size(sizeof(BufferUsage), context->nworkers));
	shm_toc_estimate_keys(&context->estimator, 4);
	InitializeParallelDSM(context);
	crew->context = context;
	if (context->seg == NULL)
	{
		/* No room for workers: we are alone. */
		VhnswCrewDismiss(crew);
		return;
	}

	shared = shm_toc_allocate(context->toc, sizeof(CrewShared));
	shared->index = RelationGetRelid(crew->index);
	shared->concurrent = concurrent;
	shared->graph.handle = DSM_HANDLE_INVALID;
	shared->codes.spill = NULL;
	shared->job = VHNSW_JOB_NONE;
	shared->nchunks = 0;
	pg_atomic_init_u32(&shared->next, 0);
	SpinLockInit(&shared->mutex);
	shared->workers = context->nworkers;
	shared->number = 0;
	shared->is_open = false;
	shared->at_work = shared->joined = shared->present = 0;
	ConditionVariableInit(&shared->opened);
	ConditionVariableInit(&shared->left);
	pg_atomic_init_u64(&shared->cpu_time, 0);
	SharedFileSetInit(&shared->files, context->seg);
	shm_toc_insert(context->toc, KEY_CREW, shared);

	if (query_size > 0)
	{
		part = shm_toc_allocate(context->toc, query_size);
		memcpy(part, debug_query_string, query_size);
		shm_toc_insert(context->toc, KEY_QUERY, part);
	}

	/* Who joins no job has used nothing. */
	part = shm_toc_allocate(context->toc,
							mul_size(sizeof(WalUsage), context->nworkers));
	memset(part, 0, context->nworkers * sizeof(WalUsage));
	shm_toc_insert(context->toc, KEY_WAL_USAGE, part);
	part = shm_toc_allocate(context->toc,
							mul_size(sizeof(BufferUsage), context->nworkers));
	memset(part, 0, context->nworkers * sizeof(BufferUsage));
	shm_toc_insert(context->toc, KEY_BUFFER_USAGE, part);

	LaunchParallelWorkers(context);
	crew->shared = shared;
	crew->launched = context->nworkers_launched;
	ereport(DEBUG1,
			errmsg_internal("index \"%s\" is built with %d of %d planned workers",
							RelationGetRelationName(crew->index),
							crew->launched, crew->workers));
	if (crew->launched == 0)
		VhnswCrewDismiss(crew);
	crew->workers = crew->launched;
	VD_DEBUG_POINT("vhnsw-build-launched");
}

/*
 * VhnswCrewSetWorkers
 *		Go on with fewer workers, who were planned or are at work.
 */
void
VhnswCrewSetWorkers(VhnswCrew *crew, int workers)
{
	Assert(workers <= crew->workers);
	crew->workers = workers;
	if (crew->shared)
	{
		SpinLockAcquire(&crew->shared->mutex);
		crew->shared->workers = workers;
		SpinLockRelease(&crew->shared->mutex);
	}
}

/*
 * VhnswCrewShareGraph
 *		Memory where workers will find what they need to know of the graph.
 *
 * It has 'shape_size' bytes, which are the caller's business and that of
 * duties->attach_graph().  Returns NULL if there are no workers.
 */
void *
VhnswCrewShareGraph(VhnswCrew *crew, Size shape_size)
{
	if (crew->shared == NULL)
		return NULL;
	crew->shared->graph = VhnswCrewAlloc(crew, shape_size);
	return crew->shared->graph.address;
}

/*
 * VhnswCrewRun
 *		Do a job of 'nchunks' chunks together; returns when all are done.
 *
 * 'arg' has 'size' bytes, a constant, and may contain VhnswMemory, but no other
 * pointers that workers follow.
 */
void
VhnswCrewRunJob(VhnswCrew *crew, VhnswJob job, const void *arg, Size size,
				uint32 nchunks)
{
	VhnswCrewBeginJob(crew, job, arg, size, nchunks);
	VhnswCrewFinish(crew);
}

/*
 * VhnswCrewBegin
 *		As VhnswCrewRun(), but return at once, while workers begin.
 *
 * Until VhnswCrewFinish() the leader may do what neither needs the results of
 * the job nor changes what it reads; and 'arg' stays where it is.
 */
void
VhnswCrewBeginJob(VhnswCrew *crew, VhnswJob job, const void *arg, Size size,
				  uint32 nchunks)
{
	CrewShared *shared = crew->shared;

	Assert(crew->job == VHNSW_JOB_NONE);
	crew->alone += take_time(crew);
	crew->job = job;
	crew->argument = arg;
	if (shared == NULL)
	{
		crew->next = 0;
		crew->nchunks = nchunks;
		return;
	}

	if (crew->codes && *crew->codes)
		shared->codes = VhnswSpillDescribe(*crew->codes);
	memcpy(shared->argument, arg, size);
	shared->job = job;
	shared->nchunks = nchunks;
	pg_atomic_write_u32(&shared->next, 0);

	SpinLockAcquire(&shared->mutex);
	shared->number++;
	shared->is_open = true;
	shared->joined = 0;
	SpinLockRelease(&shared->mutex);
	ConditionVariableBroadcast(&shared->opened);
}

/* Take part in the job that was begun; returns when all of it is done. */
void
VhnswCrewFinish(VhnswCrew *crew)
{
	CrewShared *shared = crew->shared;

	do_job(crew, crew->job, crew->argument);
	if (shared)
	{
		ConditionVariablePrepareToSleep(&shared->left);
		while (!close_job(shared))
			ConditionVariableSleep(&shared->left,
								   WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
		ConditionVariableCancelSleep();
		check_started(crew);
	}
	crew->job = VHNSW_JOB_NONE;
	crew->in_jobs += take_time(crew);
}

/*
 * Let nobody join any more; false if somebody is still at work.  A test that
 * says what shall happen to workers needs all of them in each job.
 */
static bool
close_job(CrewShared *shared)
{
	bool		needs_all = VD_UNDER_TEST;
	bool		is_done;

	SpinLockAcquire(&shared->mutex);
	if (!needs_all || shared->joined >= shared->present)
		shared->is_open = false;
	is_done = !shared->is_open && shared->at_work == 0;
	SpinLockRelease(&shared->mutex);
	return is_done;
}

/*
 * Raise an error if a worker could not be started: parallel mode cannot end
 * without one, and the end of the build would be late to say so.  Those who
 * are on their way are not waited for.
 */
static void
check_started(const VhnswCrew *crew)
{
	const ParallelContext *context = crew->context;

	for (int i = 0; i < context->nworkers_launched; i++)
	{
		const ParallelWorkerInfo *worker = &context->worker[i];
		pid_t		pid;

		/* It is here, or has been. */
		if (context->known_attached_workers[i] || worker->error_mqh == NULL)
			continue;
		if (GetBackgroundWorkerPid(worker->bgwhandle, &pid) == BGWH_STOPPED &&
			shm_mq_get_sender(shm_mq_get_queue(worker->error_mqh)) == NULL)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("parallel worker of an index build could not be started"),
					errhint("The server log may have more details."));
	}
}

/*
 * VhnswCrewNext
 *		Take the next chunk of the job that is being done; false if none is
 *		left.
 */
bool
VhnswCrewNext(VhnswCrew *crew, uint32 *chunk)
{
	CHECK_FOR_INTERRUPTS();
	if (crew->shared == NULL)
	{
		*chunk = crew->next++;
		return *chunk < crew->nchunks;
	}
	*chunk = pg_atomic_fetch_add_u32(&crew->shared->next, 1);
	return *chunk < crew->shared->nchunks;
}

/*
 * Show that a phase of the build begins, of so many steps if not 0.  Who ends
 * one shows that all of them are done.
 */
void
VhnswCrewPhase(int phase, int64 total)
{
	static const int params[] = {
		PROGRESS_CREATEIDX_SUBPHASE,
		PROGRESS_CREATEIDX_TUPLES_TOTAL,
		PROGRESS_CREATEIDX_TUPLES_DONE
	};
	int64		values[] = {phase, total, 0};

	VD_DEBUG_POINT("vhnsw-build-phase");
	pgstat_progress_update_multi_param(lengthof(params), params, values);
}

/* Show how far a job is; what others take meanwhile comes after. */
void
VhnswCrewReport(VhnswCrew *crew, int64 done)
{
	if (!crew->is_worker)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, done);
}

/* CPU time of this process, in microseconds */
static uint64
cpu_time(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
		usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

/* CPU seconds that the leader of a whole crew has taken since it was asked. */
static double
take_time(VhnswCrew *crew)
{
	double		before = crew->clock;

	if (crew->index == NULL)
		return 0;
	crew->clock = cpu_time() / 1e6;
	return crew->clock - before;
}

/*
 * Say what the crew has taken: workers can gain no more than what is not the
 * leader's alone.
 */
void
VhnswCrewTell(VhnswCrew *crew)
{
	crew->alone += take_time(crew);
	ereport(DEBUG1,
			errmsg_internal("index \"%s\" took %.3f CPU seconds of the leader alone, %.3f of the leader during jobs, %.3f of workers",
							RelationGetRelationName(crew->index),
							crew->alone, crew->in_jobs,
							crew->shared ?
							pg_atomic_read_u64(&crew->shared->cpu_time) / 1e6 : 0));
}

/*
 * Send the workers home and leave parallel mode; frees shared memory, and
 * deletes files.
 */
void
VhnswCrewDismiss(VhnswCrew *crew)
{
	ParallelContext *context = crew->context;

	/* Who goes home frees memory at the same time as we do. */
	if (crew->shared)
	{
		VhnswCrewSetWorkers(crew, 0);
		ConditionVariableBroadcast(&crew->shared->opened);
	}
	detach_segments(&crew->segments);
	if (context == NULL)
		return;
	if (crew->shared)
	{
		WalUsage   *wal = shm_toc_lookup(context->toc, KEY_WAL_USAGE, false);
		BufferUsage *buffers = shm_toc_lookup(context->toc, KEY_BUFFER_USAGE,
											  false);

		WaitForParallelWorkersToFinish(context);
		for (int i = 0; i < context->nworkers_launched; i++)
			InstrAccumParallelQuery(&buffers[i], &wal[i]);
	}
	DestroyParallelContext(context);
	ExitParallelMode();
	crew->context = NULL;
	crew->shared = NULL;
	crew->launched = 0;
	crew->workers = 0;
}

/* Do what is to be done in a context of its own. */
static void
do_job(VhnswCrew *crew, VhnswJob job, const void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "vhnsw job",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	bool		opens_codes = crew->is_worker && crew->codes != NULL;

	if (opens_codes)
		*crew->codes = VhnswCrewFile(crew, &crew->shared->codes);
	crew->duties->get_function(job) (crew, arg);
	if (opens_codes)
		*crew->codes = NULL;
	close_files(crew);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
}

/* ----------------------------------------------------------------------
 * Workers
 * ----------------------------------------------------------------------
 */

/* Take part in jobs, as a worker, until no more are to come. */
void
VhnswCrewServe(dsm_segment *segment, shm_toc *toc,
			   const VhnswCrewDuties *duties)
{
	CrewShared *shared = shm_toc_lookup(toc, KEY_CREW, false);
	const char *query = shm_toc_lookup(toc, KEY_QUERY, true);
	WalUsage   *wal = shm_toc_lookup(toc, KEY_WAL_USAGE, false);
	BufferUsage *buffers = shm_toc_lookup(toc, KEY_BUFFER_USAGE, false);
	LOCKMODE	lock = shared->concurrent ?
	RowExclusiveLock : AccessExclusiveLock;
	VhnswCrew	crew = {.duties = duties,.is_worker = true,.shared = shared};
	uint32		number = 0;

	debug_query_string = query;
	pgstat_report_activity(STATE_RUNNING, query);
	SharedFileSetAttach(&shared->files, segment);

	SpinLockAcquire(&shared->mutex);
	shared->present++;
	SpinLockRelease(&shared->mutex);
	while (join_job(shared, &number))
	{
		uint64		before = cpu_time();

		if (crew.index == NULL)
		{
			crew.index = index_open(shared->index, lock);
			InstrStartParallelQuery();
		}
		if (shared->graph.handle != DSM_HANDLE_INVALID)
		{
			if (crew.graph == NULL)
				duties->attach_graph(&crew,
									 VhnswCrewAddress(&crew, &shared->graph));
			VD_DEBUG_POINT("vhnsw-build-worker");
		}
		else
			VD_DEBUG_POINT("vhnsw-build-worker-load");
		do_job(&crew, shared->job, shared->argument);
		detach_segments(&crew.segments);
		pg_atomic_fetch_add_u64(&shared->cpu_time, cpu_time() - before);
		leave_job(shared);
	}
	if (crew.index)
	{
		InstrEndParallelQuery(&buffers[ParallelWorkerNumber],
							  &wal[ParallelWorkerNumber]);
		index_close(crew.index, lock);
	}
	detach_segments(&crew.lasting);
}

/*
 * Wait for a job after that with this number, and join it, for a worker; false
 * if it shall go home.
 */
static bool
join_job(CrewShared *shared, uint32 *number)
{
	bool		joins_anyway = VD_UNDER_TEST;
	bool		goes_home = false;
	bool		has_joined = false;

	ConditionVariablePrepareToSleep(&shared->opened);
	for (;;)
	{
		SpinLockAcquire(&shared->mutex);
		if (ParallelWorkerNumber >= shared->workers)
		{
			goes_home = true;
			shared->present--;
		}
		else if (shared->is_open && shared->number != *number)
		{
			*number = shared->number;
			has_joined = joins_anyway ||
				pg_atomic_read_u32(&shared->next) < shared->nchunks;
			if (has_joined)
			{
				shared->joined++;
				shared->at_work++;
			}
		}
		SpinLockRelease(&shared->mutex);
		if (goes_home || has_joined)
			break;
		ConditionVariableSleep(&shared->opened,
							   WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
	}
	ConditionVariableCancelSleep();
	if (goes_home)
		ConditionVariableSignal(&shared->left);
	return has_joined;
}

/* A worker has nothing open any more. */
static void
leave_job(CrewShared *shared)
{
	SpinLockAcquire(&shared->mutex);
	shared->at_work--;
	SpinLockRelease(&shared->mutex);
	ConditionVariableSignal(&shared->left);
}

/* ----------------------------------------------------------------------
 * Memory
 * ----------------------------------------------------------------------
 */

/*
 * VhnswCrewAlloc
 *		Memory that workers, if any are planned, will see.
 *
 * Private memory comes from the current context.  Shared memory is freed at
 * the end of the transaction if nobody does before.
 */
VhnswMemory
VhnswCrewAlloc(VhnswCrew *crew, Size size)
{
	VhnswMemory memory = {NULL, DSM_HANDLE_INVALID, false};
	dsm_segment *segment;

	size = Max(size, 1);
	if (crew->workers == 0)
		memory.address = palloc_extended(size, MCXT_ALLOC_HUGE);
	else
	{
		MemoryContext old_context =
		MemoryContextSwitchTo(GetMemoryChunkContext(crew));

		segment = dsm_create(size, 0);
		memory.address = dsm_segment_address(segment);
		memory.handle = dsm_segment_handle(segment);
		crew->segments = lappend(crew->segments, segment);
		MemoryContextSwitchTo(old_context);
	}
	return memory;
}

/* For the leader; workers have given the memory back at the end of the job. */
void
VhnswCrewFree(VhnswCrew *crew, VhnswMemory *memory)
{
	if (memory->handle == DSM_HANDLE_INVALID)
		pfree(memory->address);
	else
	{
		dsm_segment *segment = dsm_find_mapping(memory->handle);

		crew->segments = list_delete_ptr(crew->segments, segment);
		dsm_detach(segment);
	}
	memory->address = NULL;
	memory->handle = DSM_HANDLE_INVALID;
}

/*
 * VhnswCrewAddress
 *		Where the memory is in this process.
 *
 * In workers it is there until the end of the job or, if it lasts, of the build:
 * what is attached again has to be mapped again, page by page.
 */
void *
VhnswCrewAddress(VhnswCrew *crew, const VhnswMemory *memory)
{
	dsm_segment *segment;

	if (!crew->is_worker)
		return memory->address;

	segment = dsm_find_mapping(memory->handle);
	if (segment == NULL)
	{
		MemoryContext old_context =
		MemoryContextSwitchTo(TopTransactionContext);

		segment = dsm_attach(memory->handle);
		if (segment == NULL)
			elog(ERROR, "shared memory of an index build is gone");
		if (memory->lasts)
			crew->lasting = lappend(crew->lasting, segment);
		else
			crew->segments = lappend(crew->segments, segment);
		MemoryContextSwitchTo(old_context);
	}
	return dsm_segment_address(segment);
}

static void
detach_segments(List **segments)
{
	ListCell   *lc;

	foreach(lc, *segments)
		dsm_detach(lfirst(lc));
	list_free(*segments);
	*segments = NIL;
}

/* ----------------------------------------------------------------------
 * Files
 * ----------------------------------------------------------------------
 */

/*
 * VhnswCrewCreateFile
 *		An array that workers, if there are any, will see; for the leader, who
 *		frees it.
 */
VhnswSpill *
VhnswCrewCreateFile(VhnswCrew *crew, Size record_bytes, uint32 nrecords,
					Size cache_bytes)
{
	return VhnswSpillCreate(crew->shared ? &crew->shared->files.fs : NULL,
							crew->nfiles++, record_bytes, nrecords,
							cache_bytes);
}

/*
 * VhnswCrewFile
 *		The array in this process, or NULL if there is none.
 *
 * In workers it is open until the end of the job.
 */
VhnswSpill *
VhnswCrewFile(VhnswCrew *crew, const VhnswSpillShape *shape)
{
	VhnswSpill *spill = shape->spill;

	if (crew->is_worker && spill != NULL)
	{
		spill = VhnswSpillOpen(&crew->shared->files.fs, shape);
		crew->files = lappend(crew->files, spill);
	}
	return spill;
}

/* At the end of a job, in its memory context. */
static void
close_files(VhnswCrew *crew)
{
	ListCell   *lc;

	foreach(lc, crew->files)
		VhnswSpillFree(lfirst(lc));
	crew->files = NIL;
}
