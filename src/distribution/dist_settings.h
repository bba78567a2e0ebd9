/*-------------------------------------------------------------------------
 *
 * dist_settings.h
 *	  The settings that travel with a search.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_SETTINGS_H
#define DIST_SETTINGS_H

#include "postgres.h"

#include "nodes/pg_list.h"

/*
 * The settings of this session that can change the answer of a search, as a
 * list of "name=value" strings in the current context.  'stream': rows need not
 * come in order.
 */
extern List *DistSettingsToSend(bool stream);

/* Does the session allow rows to come out of order? */
extern bool DistSettingsAllowDisorder(void);

/*
 * Take over settings in that form, and the settings under which SQL text
 * means the same on every server.  AtEOXact_GUC(true, result) goes back.
 */
extern int	DistSettingsPush(List *settings);

/* The same names with the values that are in effect now. */
extern List *DistSettingsEcho(List *settings);

/* A number that tells such lists apart, the same on every server. */
extern uint64 DistSettingsFingerprint(List *settings);

/*
 * Where a search comes from travels as the last of its settings, and is
 * neither pushed nor echoed.  DistSettingsWithName is a list with it, if the
 * query has an identifier.  DistSettingsTakeName, on the worker, is one without,
 * and shows the name in pg_stat_activity until the transaction ends, unless
 * the connection was given another name than ours.
 */
extern List *DistSettingsWithName(List *settings, int64 query_id);
extern List *DistSettingsTakeName(List *settings);

#endif							/* DIST_SETTINGS_H */
