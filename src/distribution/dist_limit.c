/*-------------------------------------------------------------------------
 *
 * dist_limit.c
 *	  How many connections to a worker all sessions of this server may have.
 *
 * Shared memory has an entry for each worker that somebody is connected to,
 * and a slot for each connection.  Slots are given back by their sessions, at
 * exit too; a session that is killed takes the server and its shared memory
 * with it.
 *
 * An idle session reads from its client and has no reason to look at shared
 * memory.  It is woken by the signal with which core asks sessions to catch up
 * with invalidations: that makes it run an empty transaction, at whose end it
 * closes connections that others want (dist_transaction).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/procsignal.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "distribution/dist_limit.h"
#include "vecdist_compat.h"
#include "vecdist_shared.h"

/* Room in shared memory; what goes beyond is refused if there is a limit. */
#define MAX_SHARED_WORKERS 512
#define SLOTS_PER_BACKEND 32

#define MAX_LIMIT 262143		/* as of max_connections */

/* How often a waiting session asks again for slots of idle ones. */
#define ASK_AGAIN_MS 100

#define NO_WORKER (-1)

/* A worker; unused if it has neither slots nor waiting sessions. */
typedef struct SharedWorker
{
	Oid			database;
	Oid			server;
	int			nslots;			/* connections there are */
	int			nwaiting;		/* sessions that wait for one */
	int			limit;			/* as the last of them knows it: idle sessions
								 * do not read a changed setting */
	ConditionVariable returned; /* signaled with each slot given back */
} SharedWorker;

typedef struct SharedSlot
{
	int			worker;			/* index, or NO_WORKER if the slot is free */
	int			next_free;
	int			pid;			/* of the session */
	VecdistBackendNumber backend;
	volatile bool idle;			/* written by the session without lock */
} SharedSlot;

typedef struct SharedLimit
{
	int			first_free;		/* index of a slot, or DIST_SLOT_NONE */
	SharedWorker workers[MAX_SHARED_WORKERS];
	SharedSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} SharedLimit;

int			DistMaxConnections = 0;

static Size shared_size(void);
static void attach(void);

static SharedLimit *shared = NULL;	/* NULL if not preloaded */
static VecdistShared area = {"vecdist_connections", shared_size, attach};

static SharedWorker *waiting_for = NULL;	/* counted in its nwaiting */
static int	sleeps = 0;			/* of this wait */

static int	number_of_slots(void);
static SharedWorker *find_worker(Oid serverid);
static void ask_idle_sessions(SharedWorker *worker, bool all);

/* Called once, when the library is loaded. */
void
DistLimitInit(void)
{
	DefineCustomIntVariable("vecdist.max_connections_per_worker",
							"Most connections that all sessions of this server together have to a worker.",
							"Zero means no limit.",
							&DistMaxConnections,
							0, 0, MAX_LIMIT,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	VecdistRequestShared(&area);
}

static int
number_of_slots(void)
{
	return MaxBackends * SLOTS_PER_BACKEND;
}

static Size
shared_size(void)
{
	return add_size(offsetof(SharedLimit, slots),
					mul_size(sizeof(SharedSlot), number_of_slots()));
}

static void
attach(void)
{
	bool		found;

	shared = ShmemInitStruct(area.name, shared_size(), &found);
	if (found)
		return;
	memset(shared, 0, shared_size());
	for (int i = 0; i < MAX_SHARED_WORKERS; i++)
		ConditionVariableInit(&shared->workers[i].returned);
	for (int i = 0; i < number_of_slots(); i++)
	{
		shared->slots[i].worker = NO_WORKER;
		shared->slots[i].next_free = i + 1;
	}
	shared->slots[number_of_slots() - 1].next_free = DIST_SLOT_NONE;
	shared->first_free = 0;
}

/* The entry of a worker, made if need be; NULL if there is no room. */
static SharedWorker *
find_worker(Oid serverid)
{
	SharedWorker *unused = NULL;

	for (int i = 0; i < MAX_SHARED_WORKERS; i++)
	{
		SharedWorker *worker = &shared->workers[i];

		if (worker->nslots == 0 && worker->nwaiting == 0)
		{
			if (unused == NULL)
				unused = worker;
		}
		else if (worker->server == serverid && worker->database == MyDatabaseId)
			return worker;
	}
	if (unused != NULL)
	{
		unused->database = MyDatabaseId;
		unused->server = serverid;
	}
	return unused;
}

int
DistSlotTake(Oid serverid, bool force)
{
	int			limit = DistMaxConnections;
	int			result = DIST_SLOT_NONE;
	SharedWorker *worker;

	if (shared == NULL)
	{
		if (limit > 0 && !force)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("vecdist must be loaded at server start to limit connections to workers"),
					errhint("Put \"shared_preload_libraries = 'vecdist'\" into postgresql.conf and restart the server, or set vecdist.max_connections_per_worker to 0."));
		return DIST_SLOT_UNCOUNTED;
	}

	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	worker = find_worker(serverid);

	/* What is free belongs first to those who wait. */
	if (worker != NULL && shared->first_free != DIST_SLOT_NONE &&
		(limit == 0 || force ||
		 worker->nslots + (worker == waiting_for ? 0 : worker->nwaiting) < limit))
	{
		SharedSlot *slot;

		result = shared->first_free;
		slot = &shared->slots[result];
		shared->first_free = slot->next_free;
		slot->worker = worker - shared->workers;
		slot->pid = MyProcPid;
		slot->backend = VecdistMyBackendNumber;
		slot->idle = false;
		worker->nslots++;
	}
	LWLockRelease(area.lock);

	if (result == DIST_SLOT_NONE && (limit == 0 || force))
		return DIST_SLOT_UNCOUNTED;
	return result;
}

void
DistSlotReturn(int slot)
{
	SharedWorker *worker;
	bool		somebody_waits;

	if (slot < 0)
		return;
	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	Assert(shared->slots[slot].pid == MyProcPid);
	worker = &shared->workers[shared->slots[slot].worker];
	worker->nslots--;
	shared->slots[slot].worker = NO_WORKER;
	shared->slots[slot].idle = false;
	shared->slots[slot].next_free = shared->first_free;
	shared->first_free = slot;
	somebody_waits = worker->nwaiting > 0;
	LWLockRelease(area.lock);

	if (somebody_waits)
		ConditionVariableSignal(&worker->returned);
}

void
DistSlotSetIdle(int slot, bool idle)
{
	if (slot >= 0)
		shared->slots[slot].idle = idle;
}

/* Without lock: who waits asks again. */
bool
DistSlotIsWanted(int slot)
{
	SharedWorker *worker;

	if (slot < 0)
		return false;
	worker = &shared->workers[shared->slots[slot].worker];
	if (worker->nwaiting > 0)
		return worker->nslots + worker->nwaiting > worker->limit;
	return DistMaxConnections > 0 && worker->nslots > DistMaxConnections;
}

void
DistSlotBeginWait(Oid serverid)
{
	SharedWorker *worker;

	Assert(waiting_for == NULL);
	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	worker = find_worker(serverid);
	if (worker != NULL)
	{
		worker->nwaiting++;
		worker->limit = DistMaxConnections;
	}
	waiting_for = worker;
	LWLockRelease(area.lock);
	sleeps = 0;
	if (worker == NULL)
		ereport(ERROR,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("too many workers to limit connections"),
				errdetail("Connections to %d workers are counted.",
						  MAX_SHARED_WORKERS),
				errhint("Set vecdist.max_connections_per_worker to 0."));
	ConditionVariablePrepareToSleep(&worker->returned);
}

void
DistSlotSleep(long timeout_ms)
{
	ask_idle_sessions(waiting_for, sleeps++ > 0);
	(void) ConditionVariableTimedSleep(&waiting_for->returned,
									   Min(timeout_ms, ASK_AGAIN_MS),
									   VECDIST_WAIT_EVENT);
}

void
DistSlotEndWait(void)
{
	if (waiting_for == NULL)
		return;

	/* Passes a signal that came too late on to somebody else. */
	ConditionVariableCancelSleep();
	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	waiting_for->nwaiting--;
	LWLockRelease(area.lock);
	waiting_for = NULL;
}

/*
 * Wake sessions with an idle connection to the worker: at first one; if that
 * did not help, because it is in the middle of something else, all.
 */
static void
ask_idle_sessions(SharedWorker *worker, bool all)
{
	int			index = worker - shared->workers;

	LWLockAcquire(area.lock, LW_SHARED);
	for (int i = 0; i < number_of_slots(); i++)
	{
		SharedSlot *slot = &shared->slots[i];

		if (slot->worker != index || !slot->idle || slot->pid == MyProcPid)
			continue;
		(void) SendProcSignal(slot->pid, PROCSIG_CATCHUP_INTERRUPT,
							  slot->backend);
		if (!all)
			break;
	}
	LWLockRelease(area.lock);
}
