/*-------------------------------------------------------------------------
 *
 * dist_settings.c
 *	  The settings that travel with a search.
 *
 * A worker must search as the coordinator's session would.  Two kinds of
 * settings decide that:
 *
 *	- those of the index access method (vhnsw.*): always, because a value in
 *	  a worker's configuration file would win otherwise.  Where only pgvector's
 *	  setting (hnsw.*) was set, its value travels under our name;
 *	- the planner's enable_* switches: only those changed in this session.
 *	  Who turns index scans off wants exact answers from the workers too;
 *	  who did not touch them leaves each server to its configuration.
 *
 * Both are found by what the settings say about themselves, so that a new
 * one travels without a word here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"

#include "distribution/dist_deparse.h"
#include "distribution/dist_local_setting.h"
#include "distribution/dist_options.h"
#include "distribution/dist_settings.h"
#include "vecdist_compat.h"
#include "vecdist_debug.h"
#include "vecdist_fallback.h"

#define INDEX_SETTING_PREFIX	"vhnsw."
#define NAME_SETTING_PREFIX		"application_name="
#define ORDER_SETTING			"vhnsw.iterative_scan"

/*
 * Settings with which a search may end before the last of its rows, or return
 * them in another order.  A merge needs all of them in order, so these values
 * travel instead.  A stream, where a search that was not told K may find a row
 * late, wants it all the same.
 */
static const struct
{
	const char *name;
	const char *value;
	const char *stream_value;
}			complete_settings[] = {
	{ORDER_SETTING, "strict_order", "relaxed_order"},
	{"vhnsw.max_scan_tuples", "0", "0"},
};

/* All that may have to travel; in TopMemoryContext. */
static struct config_generic **candidates = NULL;
static int	ncandidates = 0;

static void find_candidates(void);
static const char *value_to_send(const char *name, bool stream);
static bool changes_search(const struct config_generic *setting);
static bool is_index_setting(const struct config_generic *setting);

List *
DistSettingsToSend(bool stream)
{
	List	   *result = NIL;

	if (candidates == NULL)
		find_candidates();
	for (int i = 0; i < ncandidates && !VD_MISTAKE("dist-keep-settings"); i++)
	{
		const struct config_generic *setting = candidates[i];

		if (is_index_setting(setting) || setting->source == PGC_S_SESSION)
			result = lappend(result,
							 psprintf("%s=%s", setting->name,
									  value_to_send(setting->name, stream)));
	}
	return result;
}

/*
 * Look through all settings for those that change a search.  Ours are defined
 * when the library is loaded, and nobody else defines one of these.
 */
static void
find_candidates(void)
{
	int			nsettings;
	struct config_generic **settings = VecdistGetGucVariables(&nsettings);

	candidates = MemoryContextAlloc(TopMemoryContext,
									sizeof(candidates[0]) * nsettings);
	for (int i = 0; i < nsettings; i++)
	{
		if (changes_search(settings[i]))
			candidates[ncandidates++] = settings[i];
	}
}

bool
DistSettingsAllowDisorder(void)
{
	const char *value = VecdistFallbackValue(ORDER_SETTING);

	if (value == NULL)
		value = GetConfigOption(ORDER_SETTING, true, false);
	return value != NULL && strcmp(value, "relaxed_order") == 0;
}

/* The value of a setting in this session, unless it would harm the merge. */
static const char *
value_to_send(const char *name, bool stream)
{
	const char *value = NULL;

	for (int i = 0; i < lengthof(complete_settings); i++)
	{
		if (strcmp(name, complete_settings[i].name) == 0)
			return stream ? complete_settings[i].stream_value :
				complete_settings[i].value;
	}
	if (strncmp(name, INDEX_SETTING_PREFIX, strlen(INDEX_SETTING_PREFIX)) == 0)
		value = VecdistFallbackValue(name);
	if (value == NULL)
		value = GetConfigOption(name, false, false);
	return value;
}

/* May the setting change a search?  A switch of the planner, if it was set. */
static bool
changes_search(const struct config_generic *setting)
{
	if (setting->context != PGC_USERSET ||
		(setting->flags & GUC_CUSTOM_PLACEHOLDER) != 0)
		return false;
	return is_index_setting(setting) ||
		(setting->group == QUERY_TUNING_METHOD && setting->vartype == PGC_BOOL);
}

static bool
is_index_setting(const struct config_generic *setting)
{
	return pg_strncasecmp(setting->name, INDEX_SETTING_PREFIX,
						  strlen(INDEX_SETTING_PREFIX)) == 0;
}

int
DistSettingsPush(List *settings)
{
	int			nestlevel = DistPushTextSettings();
	ListCell   *lc;

	/*
	 * Synchronized scans start where another one happens to be, so that rows
	 * with equal distances would come in another order each time.
	 */
	DistSetLocally("synchronize_seqscans=off");
	foreach(lc, settings)
		DistSetLocally(lfirst(lc));
	return nestlevel;
}

List *
DistSettingsEcho(List *settings)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, settings)
	{
		const char *setting = lfirst(lc);
		int			name_len;
		const char *value = DistShowSetting(setting, &name_len);
		int			value_len = strlen(value);
		char	   *echo = palloc(name_len + 1 + value_len + 1);

		memcpy(echo, setting, name_len);
		echo[name_len] = '=';
		memcpy(echo + name_len + 1, value, value_len + 1);
		result = lappend(result, echo);
	}
	return result;
}

/* FNV-1a of 64 bits, of the strings with the zeros that end them. */
uint64
DistSettingsFingerprint(List *settings)
{
	uint64		hash = UINT64CONST(0xcbf29ce484222325);
	ListCell   *lc;

	foreach(lc, settings)
	{
		const unsigned char *c = lfirst(lc);

		do
			hash = (hash ^ *c) * UINT64CONST(0x100000001b3);
		while (*c++ != '\0');
	}
	return hash;
}

List *
DistSettingsWithName(List *settings, int64 query_id)
{
	if (query_id == 0)
		return settings;		/* the connection's own name says the rest */
	return lappend(list_copy(settings),
				   psprintf(NAME_SETTING_PREFIX "%s",
							DistApplicationName(query_id)));
}

List *
DistSettingsTakeName(List *settings)
{
	const char *last = settings != NIL ? llast(settings) : "";

	if (strncmp(last, NAME_SETTING_PREFIX, strlen(NAME_SETTING_PREFIX)) != 0)
		return settings;
	if (strncmp(application_name, DIST_APPLICATION_NAME_PREFIX,
				strlen(DIST_APPLICATION_NAME_PREFIX)) == 0)
		(void) set_config_option("application_name",
								 last + strlen(NAME_SETTING_PREFIX),
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	return list_truncate(settings, list_length(settings) - 1);
}
