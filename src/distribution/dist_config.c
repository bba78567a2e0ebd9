/*-------------------------------------------------------------------------
 *
 * dist_config.c
 *	  Settings that connections and searches read, and how we were loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "distribution/dist_config.h"

/*
 * Ten seconds: longer than a fork storm, a checkpoint's stall or a lost SYN
 * (retransmitted after 1, 3 and 7 seconds) on a healthy server, and still
 * within what a person waits for an answer.
 */
#define DEFAULT_NODE_TIMEOUT_MS 10000

int			DistNodeTimeout = DEFAULT_NODE_TIMEOUT_MS;
int			DistHop = 0;
int			DistReadConsistency = DIST_READ_STRONG;

static bool preloaded = false;

static const struct config_enum_entry read_consistency_options[] = {
	{"strong", DIST_READ_STRONG, false},
	{"eventual", DIST_READ_EVENTUAL, false},
	{NULL, 0, false}
};

void
DistConfigInit(void)
{
	preloaded = process_shared_preload_libraries_in_progress;

	DefineCustomIntVariable("vecdist.node_timeout",
							"Longest wait for a worker to accept a connection, to begin answering a search, or to commit.",
							"The servers of a worker group share it while connecting.  "
							"It does not bound DDL, COPY and other writes.",
							&DistNodeTimeout,
							DEFAULT_NODE_TIMEOUT_MS, 10, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomEnumVariable("vecdist.read_consistency",
							 "Which servers of a worker group may answer a search.",
							 "\"strong\": the primary.  \"eventual\": any.",
							 &DistReadConsistency,
							 DIST_READ_STRONG, read_consistency_options,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("vecdist.hop",
							"Number of servers this session's requests have passed through.",
							"Set by the server that opens the connection, which is told "
							"of it by the greeting.",
							&DistHop,
							0, 0, 2,
							PGC_BACKEND,
							GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE |
							GUC_REPORT,
							NULL, NULL, NULL);
}

bool
DistPreloaded(void)
{
	return preloaded;
}

void
DistRequirePreload(void)
{
	if (!preloaded)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("vecdist must be loaded at server start to distribute tables"),
				errdetail("Statements on distributed tables reach the workers through hooks that every session must have."),
				errhint("Put \"shared_preload_libraries = 'vecdist'\" into postgresql.conf and restart the server."));
}
