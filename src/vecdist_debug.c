/*-------------------------------------------------------------------------
 *
 * vecdist_debug.c
 *	  Debug points for fault tests; empty unless built with ASSERTIONS=1.
 *
 * vecdist.debug_points is a list "name=action[:n], ...".  The action happens
 * at the n-th time (default: the first) this backend passes the point:
 *
 *	error	raise an error
 *	cancel	cancel the statement, as pg_cancel_backend() does
 *	crash	kill -9 this backend, so that the server recovers from WAL.  What
 *			this backend has logged is flushed before, so that recovery ends
 *			with exactly that
 *	wait	wait until advisory lock (29795, 0) is free.  Cancelable, and
 *			isolationtester sees the wait.  Never put where a buffer lock or an
 *			LWLock is held.
 *	hold	the same with advisory lock (29795, 1), for a second session
 *
 * A name that begins with "leader/" or "worker/" is that of a point for the
 * leader of parallel workers, or any backend without, or for workers.
 *
 * Setting vecdist.debug_points starts all counts at zero.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vecdist_debug.h"

#ifdef VECDIST_DEBUG_POINTS

#include <signal.h>
#include <unistd.h>

#include "access/parallel.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#define DEBUG_LOCK_KEY1 29795

typedef struct DebugPoint
{
	char		name[64];
	char		action[8];
	int			countdown;		/* acts when it reaches zero */
} DebugPoint;

#define MAX_DEBUG_POINTS 32

static char *debug_points_string = NULL;
static char *debug_mistake = NULL;
static char *debug_pretend = NULL;
static DebugPoint debug_points[MAX_DEBUG_POINTS];
static int	num_debug_points = 0;

/* Parse one "name=action[:n]" into *point. */
static bool
parse_debug_point(const char *item, DebugPoint *point)
{
	memset(point, 0, sizeof(*point));
	point->countdown = 1;
	if (sscanf(item, "%63[^=]=%7[a-z]:%d", point->name, point->action,
			   &point->countdown) < 2)
		return false;
	return strcmp(point->action, "error") == 0 ||
		strcmp(point->action, "cancel") == 0 ||
		strcmp(point->action, "crash") == 0 ||
		strcmp(point->action, "wait") == 0 ||
		strcmp(point->action, "hold") == 0;
}

static bool
check_debug_points(char **newval, void **extra, GucSource source)
{
	char	   *raw = pstrdup(*newval);
	List	   *items;
	ListCell   *lc;
	DebugPoint	point;

	if (!SplitGUCList(raw, ',', &items) || list_length(items) > MAX_DEBUG_POINTS)
	{
		GUC_check_errdetail("List syntax is invalid or the list is too long.");
		return false;
	}
	foreach(lc, items)
	{
		if (!parse_debug_point(lfirst(lc), &point))
		{
			GUC_check_errdetail("\"%s\" is not of the form name=error|cancel|crash|wait|hold[:n].",
								(char *) lfirst(lc));
			return false;
		}
	}
	return true;
}

static void
assign_debug_points(const char *newval, void *extra)
{
	char	   *raw = pstrdup(newval);
	List	   *items;
	ListCell   *lc;

	num_debug_points = 0;
	if (!SplitGUCList(raw, ',', &items))
		return;
	foreach(lc, items)
		(void) parse_debug_point(lfirst(lc), &debug_points[num_debug_points++]);
}

void
VecdistDebugInit(void)
{
	DefineCustomStringVariable("vecdist.debug_points",
							   "Faults to inject at named places (test builds only).",
							   NULL,
							   &debug_points_string,
							   "",
							   PGC_SUSET, GUC_LIST_INPUT | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   check_debug_points, assign_debug_points, NULL);
	DefineCustomStringVariable("vecdist.debug_mistake",
							   "Mistake to make, so that a test can show that it would notice (test builds only).",
							   NULL,
							   &debug_mistake,
							   "",
							   PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("vecdist.debug_pretend",
							   "What to treat as if there were very much of it (test builds only).",
							   NULL,
							   &debug_pretend,
							   "",
							   PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
}

void
VecdistDebugPoint(const char *name)
{
	for (int i = 0; i < num_debug_points; i++)
	{
		DebugPoint *point = &debug_points[i];
		const char *role = IsParallelWorker() ? "worker/" : "leader/";
		const char *wanted = point->name;

		if (strncmp(wanted, role, strlen(role)) == 0)
			wanted += strlen(role);
		if (strcmp(wanted, name) != 0 || point->countdown <= 0 ||
			--point->countdown > 0)
			continue;

		if (strcmp(point->action, "crash") == 0)
		{
			if (XactLastRecEnd != 0)
				XLogFlush(XactLastRecEnd);
			kill(getpid(), SIGKILL);
		}
		else if (strcmp(point->action, "cancel") == 0)
			(void) raise(SIGINT);
		else if (strcmp(point->action, "error") == 0)
			ereport(ERROR,
					errcode(ERRCODE_INTERNAL_ERROR),
					errmsg("debug point \"%s\" reached", name));
		else
		{
			int			key2 = strcmp(point->action, "hold") == 0;

			DirectFunctionCall2(pg_advisory_lock_int4,
								Int32GetDatum(DEBUG_LOCK_KEY1),
								Int32GetDatum(key2));
			DirectFunctionCall2(pg_advisory_unlock_int4,
								Int32GetDatum(DEBUG_LOCK_KEY1),
								Int32GetDatum(key2));
		}
	}
}

bool
VecdistDebugHasPoints(void)
{
	return num_debug_points > 0;
}

bool
VecdistDebugMistake(const char *name)
{
	return debug_mistake != NULL && strcmp(debug_mistake, name) == 0;
}

bool
VecdistDebugPretend(const char *name)
{
	return debug_pretend != NULL && strcmp(debug_pretend, name) == 0;
}

#endif							/* VECDIST_DEBUG_POINTS */
