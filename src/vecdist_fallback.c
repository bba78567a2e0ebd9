/*-------------------------------------------------------------------------
 *
 * vecdist_fallback.c
 *	  pgvector's settings hnsw.*, where ours of the same name are not set.
 *
 * Clients made for pgvector set hnsw.ef_search and its like.  We do not define
 * these settings, because a session may load pgvector's library as well, which
 * does.  Without it PostgreSQL keeps what was set as a string that nobody has
 * checked; who reads it must.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "vecdist_compat.h"
#include "vecdist_fallback.h"

static bool is_set(const char *name);

/*
 * VecdistFallbackValue
 *		What stands in for the setting 'name' of ours, "vhnsw.something".
 *
 * The value of "hnsw.something" if that was set, in any way, and ours was
 * not; else NULL.  Valid until a setting changes.
 */
const char *
VecdistFallbackValue(const char *name)
{
	const char *other = name + 1;
	const char *value;

	Assert(strncmp(name, "vhnsw.", 6) == 0);

	/* The usual case, and fast; the rest walks over all settings. */
	value = GetConfigOption(other, true, false);
	if (value == NULL || value[0] == '\0')
		return NULL;

	return is_set(other) && !is_set(name) ? value : NULL;
}

static bool
is_set(const char *name)
{
	int			nsettings;
	struct config_generic **settings = VecdistGetGucVariables(&nsettings);

	for (int i = 0; i < nsettings; i++)
	{
		if (pg_strcasecmp(settings[i]->name, name) == 0)
			return settings[i]->source != PGC_S_DEFAULT;
	}
	return false;
}
