/*-------------------------------------------------------------------------
 *
 * dist_reconnect.c
 *	  When to try again to connect to a worker that could not be reached.
 *
 * A worker that is down is asked for by every session; one that comes back must
 * not be met by all of them at the same moment, again and again.  So a failed
 * attempt is noted in shared memory, with the time of the next one, and until
 * then no session makes one.  The delay doubles with each failure, up to
 * vecdist.max_reconnect_delay, and is shortened by chance.  The first success
 * ends all that.
 *
 * What is noted belongs to one set of options: a wrong password of one role
 * says nothing about the others, and changed options are tried at once.
 *
 * Who may try claims the attempt by putting off the time of the next one.  If
 * it never ends, because the session was canceled, the next claims it then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "distribution/dist_reconnect.h"
#include "vecdist_compat.h"
#include "vecdist_debug.h"
#include "vecdist_shared.h"

/* Of a server.  What does not find room is tried whenever somebody asks. */
#define MAX_FAILURES	512

/* The first delay; a worker that restarts in time is hardly waited for. */
#define FIRST_DELAY_MS	100

/* A failure this long ago counts no more. */
#define FORGET_MS		60000

#define DEFAULT_MAX_DELAY_MS	1000

/* Options that could not connect the last time */
typedef struct Failure
{
	DistReconnectKey key;
	int			times;			/* in a row */
	DistReconnectState state;
} Failure;

/* Beside the table */
typedef struct Shared
{
	uint64		last_failure;	/* number of it */
	ConditionVariable ended;	/* broadcast when an attempt has ended */
} Shared;

int			DistMaxReconnectDelay = DEFAULT_MAX_DELAY_MS;

static Size shared_size(void);
static void attach(void);
static Failure *find_failure(const DistReconnectKey *key);
static Failure *add_failure(const DistReconnectKey *key);
static void forget_old(void);
static TimestampTz next_attempt(int times);

static HTAB *failures = NULL;	/* NULL if not preloaded */
static Shared *shared = NULL;
static VecdistShared area = {"vecdist_reconnect", shared_size, attach};

/* Called once, when the library is loaded. */
void
DistReconnectInit(void)
{
	DefineCustomIntVariable("vecdist.max_reconnect_delay",
							"Longest time for which a worker that could not be reached is left alone.",
							"The delay starts small and doubles with each failure.  "
							"Zero means that every session tries whenever it needs the worker.",
							&DistMaxReconnectDelay,
							DEFAULT_MAX_DELAY_MS, 0, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	VecdistRequestShared(&area);
}

static Size
shared_size(void)
{
	return add_size(MAXALIGN(sizeof(Shared)),
					hash_estimate_size(MAX_FAILURES, sizeof(Failure)));
}

static void
attach(void)
{
	bool		found;

	failures = VecdistSharedHash(&area, MAX_FAILURES, sizeof(DistReconnectKey),
								 sizeof(Failure));
	shared = ShmemInitStruct("vecdist_reconnect_state", sizeof(Shared), &found);
	if (!found)
	{
		shared->last_failure = 0;
		ConditionVariableInit(&shared->ended);
	}
}

bool
DistReconnectMayTry(const DistReconnectKey *key, DistReconnectState *state)
{
	Failure    *failure;
	bool		result = true;

	state->failure = 0;
	if (failures == NULL || DistMaxReconnectDelay == 0 ||
		VD_MISTAKE("dist-reconnect-at-once"))
		return true;
	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	failure = find_failure(key);
	if (failure != NULL)
	{
		result = GetCurrentTimestamp() >= failure->state.due;
		if (result)
			failure->state.due = next_attempt(failure->times);
		*state = failure->state;
	}
	LWLockRelease(area.lock);
	return result;
}

bool
DistReconnectLook(const DistReconnectKey *key, DistReconnectState *state)
{
	Failure    *failure;

	state->failure = 0;
	if (failures == NULL || DistMaxReconnectDelay == 0)
		return false;
	LWLockAcquire(area.lock, LW_SHARED);
	failure = find_failure(key);
	if (failure != NULL)
		*state = failure->state;
	LWLockRelease(area.lock);
	return failure != NULL;
}

void
DistReconnectFailed(const DistReconnectKey *key, const char *reason)
{
	Failure    *failure;

	if (failures == NULL || DistMaxReconnectDelay == 0)
		return;
	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	failure = find_failure(key);
	if (failure == NULL)
		failure = add_failure(key);
	if (failure != NULL)
	{
		failure->times++;
		failure->state.failure = ++shared->last_failure;
		failure->state.due = next_attempt(failure->times);
		strlcpy(failure->state.reason, reason, sizeof(failure->state.reason));
	}
	LWLockRelease(area.lock);
	ConditionVariableBroadcast(&shared->ended);
}

void
DistReconnectSucceeded(const DistReconnectKey *key)
{
	bool		found = false;

	if (failures == NULL)
		return;

	/* Mostly there is nothing, which is as well seen a moment too late. */
	LWLockAcquire(area.lock, LW_SHARED);
	found = find_failure(key) != NULL;
	LWLockRelease(area.lock);
	if (!found)
		return;
	LWLockAcquire(area.lock, LW_EXCLUSIVE);
	(void) hash_search(failures, key, HASH_REMOVE, NULL);
	LWLockRelease(area.lock);
	ConditionVariableBroadcast(&shared->ended);
}

void
DistReconnectBeginWait(void)
{
	ConditionVariablePrepareToSleep(&shared->ended);
}

void
DistReconnectSleep(long timeout_ms)
{
	(void) ConditionVariableTimedSleep(&shared->ended, timeout_ms,
									   VECDIST_WAIT_EVENT);
}

void
DistReconnectEndWait(void)
{
	ConditionVariableCancelSleep();
}

/* The lock is held. */
static Failure *
find_failure(const DistReconnectKey *key)
{
	return hash_search(failures, key, HASH_FIND, NULL);
}

/* A new entry, or NULL if there is no room.  The lock is held exclusively. */
static Failure *
add_failure(const DistReconnectKey *key)
{
	Failure    *failure;

	if (hash_get_num_entries(failures) >= MAX_FAILURES)
		forget_old();
	failure = hash_search(failures, key, HASH_ENTER_NULL, NULL);
	if (failure != NULL)
	{
		failure->times = 0;
		memset(&failure->state, 0, sizeof(failure->state));
	}
	return failure;
}

/* Of servers that were dropped or changed nobody hears again. */
static void
forget_old(void)
{
	TimestampTz now = GetCurrentTimestamp();
	HASH_SEQ_STATUS status;
	Failure    *failure;

	hash_seq_init(&status, failures);
	while ((failure = hash_seq_search(&status)) != NULL)
	{
		if (TimestampDifferenceExceeds(failure->state.due, now, FORGET_MS))
			(void) hash_search(failures, &failure->key, HASH_REMOVE, NULL);
	}
}

/* The time of the next attempt after so many failures: half to all of a delay */
static TimestampTz
next_attempt(int times)
{
	double		delay = FIRST_DELAY_MS * pow(2, Min(times, 30) - 1);

	delay = Min(delay, DistMaxReconnectDelay);
	if (VD_MISTAKE("dist-reconnect-in-an-hour"))
		delay = 3600 * 1000;
	delay *= 0.5 + 0.5 * pg_prng_double(&pg_global_prng_state);
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) delay);
}
