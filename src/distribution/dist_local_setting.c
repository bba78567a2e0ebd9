/*-------------------------------------------------------------------------
 *
 * dist_local_setting.c
 *	  Change settings for a while, at little cost.
 *
 * A search runs under some twenty settings, and mostly they have the wanted
 * values already: those of the last search, or of the startup packet.  To set
 * and reset all of them took a worker a tenth of the time of an empty search.
 *
 * So we remember what became of the texts that were set last: which variable
 * each is, and its value afterwards.  If the variable still has that value,
 * there is nothing to do.  Values are compared in their internal form, after
 * all that check hooks may do to them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "distribution/dist_local_setting.h"
#include "vecdist_compat.h"

/* Texts remembered; then all are forgotten. */
#define MAX_KNOWN	256

/* What became of a text. */
typedef struct KnownSetting
{
	uint64		hash;			/* of the text; must be first */
	char	   *asked;			/* "name=value"; NULL: nothing known */
	struct config_generic *variable;
	char	   *shown;			/* its value, as SHOW has it */

	/* The same in its internal form, by the variable's type */
	bool		boolean;
	int			number;			/* also of an enum */
	double		real;
	char	   *string;			/* may be NULL */
} KnownSetting;

static HTAB *known = NULL;		/* of KnownSetting */
static MemoryContext known_texts = NULL;	/* what they point to */

static KnownSetting *known_setting(const char *text);
static bool is_in_effect(const KnownSetting *setting);
static void remember(KnownSetting *setting, const char *text,
					 const char *name);
static void forget(KnownSetting *setting);
static struct config_generic *find_variable(const char *name);
static char *split_text(const char *text, const char **value);

void
DistSetLocally(const char *setting)
{
	KnownSetting *entry = known_setting(setting);
	bool		is_known = entry->asked != NULL &&
	strcmp(entry->asked, setting) == 0;
	const char *value;
	char	   *name;

	if (is_known && is_in_effect(entry))
		return;

	/*
	 * PGC_USERSET, also for a superuser: what travels are settings that any
	 * role may change.
	 */
	name = split_text(setting, &value);
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (!is_known || !is_in_effect(entry))
		remember(entry, setting, name);
	pfree(name);
}

const char *
DistShowSetting(const char *setting, int *name_len)
{
	KnownSetting *entry = known_setting(setting);
	const char *value;
	char	   *name;

	*name_len = strcspn(setting, "=");
	if (is_in_effect(entry) && strcmp(entry->asked, setting) == 0)
		return entry->shown;
	name = split_text(setting, &value);
	value = GetConfigOption(name, false, false);
	pfree(name);
	return value;
}

/* The entry of a text, made if need be; may be another's with the same hash. */
static KnownSetting *
known_setting(const char *text)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) text,
										   strlen(text), 0);
	KnownSetting *entry;

	if (known != NULL)
	{
		entry = hash_search(known, &hash, HASH_FIND, NULL);
		if (entry != NULL)
			return entry;
		if (hash_get_num_entries(known) >= MAX_KNOWN)
		{
			hash_destroy(known);
			known = NULL;
			MemoryContextReset(known_texts);
		}
	}
	if (known == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(uint64),
		.entrysize = sizeof(KnownSetting)};

		if (known_texts == NULL)
			known_texts = AllocSetContextCreate(TopMemoryContext,
												"vecdist known settings",
												ALLOCSET_SMALL_SIZES);
		known = hash_create("vecdist known settings", MAX_KNOWN, &ctl,
							HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(known, &hash, HASH_ENTER, NULL);
	entry->asked = entry->shown = entry->string = NULL;
	return entry;
}

/* Does the variable have the value that the text gave it? */
static bool
is_in_effect(const KnownSetting *setting)
{
	const char *string;

	if (setting->asked == NULL)
		return false;
	switch (setting->variable->vartype)
	{
		case PGC_BOOL:
			return *((struct config_bool *) setting->variable)->variable ==
				setting->boolean;
		case PGC_INT:
			return *((struct config_int *) setting->variable)->variable ==
				setting->number;
		case PGC_ENUM:
			return *((struct config_enum *) setting->variable)->variable ==
				setting->number;
		case PGC_REAL:
			return *((struct config_real *) setting->variable)->variable ==
				setting->real;
		case PGC_STRING:
			string = *((struct config_string *) setting->variable)->variable;
			if (string == NULL || setting->string == NULL)
				return string == setting->string;
			return strcmp(string, setting->string) == 0;
	}
	return false;
}

/* Note what a text that was set just now has done. */
static void
remember(KnownSetting *setting, const char *text, const char *name)
{
	struct config_generic *variable = find_variable(name);
	MemoryContext caller;
	const char *string = NULL;

	forget(setting);

	/* A placeholder vanishes when its variable is defined. */
	if (variable == NULL || (variable->flags & GUC_CUSTOM_PLACEHOLDER) != 0)
		return;

	switch (variable->vartype)
	{
		case PGC_BOOL:
			setting->boolean = *((struct config_bool *) variable)->variable;
			break;
		case PGC_INT:
			setting->number = *((struct config_int *) variable)->variable;
			break;
		case PGC_ENUM:
			setting->number = *((struct config_enum *) variable)->variable;
			break;
		case PGC_REAL:
			setting->real = *((struct config_real *) variable)->variable;
			break;
		case PGC_STRING:
			string = *((struct config_string *) variable)->variable;
			break;
	}

	/* The text comes last: without it the entry does not count. */
	caller = MemoryContextSwitchTo(known_texts);
	setting->variable = variable;
	setting->string = string != NULL ? pstrdup(string) : NULL;
	setting->shown = pstrdup(GetConfigOption(name, false, false));
	setting->asked = pstrdup(text);
	MemoryContextSwitchTo(caller);
}

static void
forget(KnownSetting *setting)
{
	if (setting->asked != NULL)
		pfree(setting->asked);
	setting->asked = NULL;
	if (setting->shown != NULL)
		pfree(setting->shown);
	setting->shown = NULL;
	if (setting->string != NULL)
		pfree(setting->string);
	setting->string = NULL;
}

static struct config_generic *
find_variable(const char *name)
{
	int			nsettings;
	struct config_generic **settings = VecdistGetGucVariables(&nsettings);

	for (int i = 0; i < nsettings; i++)
	{
		if (pg_strcasecmp(settings[i]->name, name) == 0)
			return settings[i];
	}
	return NULL;
}

/* Name of a "name=value" text as a new string; *value points into the text. */
static char *
split_text(const char *text, const char **value)
{
	const char *equals = strchr(text, '=');

	if (equals == NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid setting \"%s\" of a distributed search", text),
				errdetail("Settings have the form name=value."));
	*value = equals + 1;
	return pnstrdup(text, equals - text);
}
