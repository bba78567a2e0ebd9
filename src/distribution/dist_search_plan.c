/*-------------------------------------------------------------------------
 *
 * dist_search_plan.c
 *	  Plans of searches, kept between requests.
 *
 * Parsing and planning the query of a partition takes as long as an index
 * search of it, and the same queries come again with other vectors.  So each
 * backend keeps the plans of its last searches.  The plan cache of core keeps
 * them valid: it plans anew when a table, an index, a policy or the role has
 * changed.  It does not look at settings, so those that travel with a search
 * are part of what a plan is found by.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "distribution/dist_search.h"

/* Enough for a few queries over all partitions of a worker. */
#define MAX_PLANS	256

typedef struct PlanEntry
{
	uint64		hash;			/* of the text it is found by; must be first */
	char	   *text;			/* that text */
	SPIPlanPtr	plan;
	uint64		last_use;		/* value of 'uses' then */
} PlanEntry;

static HTAB *plans = NULL;		/* of PlanEntry */
static MemoryContext plan_texts = NULL; /* holds PlanEntry.text */
static uint64 uses = 0;

static int	plan_options(const DistSearch *search);
static char *identifying_text(const DistSearch *search, const char *query);
static void make_room(void);
static void forget_plan(PlanEntry *entry);

SPIPlanPtr
DistSearchPlan(const DistSearch *search, const char *query)
{
	char	   *text = identifying_text(search, query);
	uint64		hash = hash_bytes_extended((unsigned char *) text,
										   strlen(text), 0);
	PlanEntry  *entry;
	SPIPlanPtr	plan;

	if (plans == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(uint64),
		.entrysize = sizeof(PlanEntry)};

		plan_texts = AllocSetContextCreate(CacheMemoryContext,
										   "vecdist search plans",
										   ALLOCSET_DEFAULT_SIZES);
		plans = hash_create("vecdist search plans", MAX_PLANS, &ctl,
							HASH_ELEM | HASH_BLOBS);
	}

	entry = hash_search(plans, &hash, HASH_FIND, NULL);
	if (entry != NULL && strcmp(entry->text, text) == 0)
	{
		entry->last_use = ++uses;
		return entry->plan;
	}
	if (entry != NULL)
		forget_plan(entry);		/* another text with the same hash */
	make_room();

	plan = SPI_prepare_cursor(query, search->nparams, search->param_types,
							  plan_options(search));
	if (plan == NULL)
		elog(ERROR, "could not prepare a search: %s",
			 SPI_result_code_string(SPI_result));

	/* Nothing may fail between keeping the plan and finding it again. */
	text = MemoryContextStrdup(plan_texts, text);

	entry = hash_search(plans, &hash, HASH_ENTER, NULL);
	entry->text = text;

	entry->plan = plan;
	entry->last_use = ++uses;
	SPI_keepplan(plan);
	return plan;
}

/*
 * A query vector does not change the plan.  If it is the only parameter there
 * is one plan from the first search on, so that rows with equal distances
 * come in the same order each time.  Values in a filter may matter: core
 * decides after some searches.
 */
static int
plan_options(const DistSearch *search)
{
	return CURSOR_OPT_NO_SCROLL |
		(search->stream ? CURSOR_OPT_FAST_PLAN : 0) |
		(search->nparams == 1 ? CURSOR_OPT_GENERIC_PLAN : 0);
}

/*
 * Everything the plan depends on that core's plan cache does not watch: the
 * query, the types of its parameters, the settings, and how it will be read.
 */
static char *
identifying_text(const DistSearch *search, const char *query)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	if (search->stream)
		appendStringInfoString(&text, "stream\n");
	foreach(lc, search->settings)
		appendStringInfo(&text, "%s\n", (char *) lfirst(lc));
	for (int i = 0; i < search->nparams; i++)
		appendStringInfo(&text, "%u ", search->param_types[i]);
	appendStringInfoString(&text, query);
	return text.data;
}

/* Forget the plan that was not used for longest, if there are too many. */
static void
make_room(void)
{
	PlanEntry  *oldest = NULL;
	PlanEntry  *entry;
	HASH_SEQ_STATUS seq;

	if (hash_get_num_entries(plans) < MAX_PLANS)
		return;
	hash_seq_init(&seq, plans);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		if (oldest == NULL || entry->last_use < oldest->last_use)
			oldest = entry;
	}
	forget_plan(oldest);
}

/* A portal that still runs the plan holds what it needs of it. */
static void
forget_plan(PlanEntry *entry)
{
	SPIPlanPtr	plan = entry->plan;

	pfree(entry->text);
	(void) hash_search(plans, &entry->hash, HASH_REMOVE, NULL);
	SPI_freeplan(plan);
}
