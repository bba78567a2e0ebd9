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
 * are part of what a plan is found by.  So are all texts of the request, and
 * not the query made of them: that is made only for a new plan.
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
	uint64		hash;			/* of what it is found by; must be first */
	char	   *partition;		/* that: the partition's name */
	char	   *key;			/* and the search, of 'key_len' bytes */
	int			key_len;
	SPIPlanPtr	plan;
	uint64		last_use;		/* value of 'uses' then */
} PlanEntry;

static HTAB *plans = NULL;		/* of PlanEntry */
static MemoryContext plan_texts = NULL; /* holds what they are found by */
static uint64 uses = 0;

static int	plan_options(const DistSearch *search);
static bool is_plan_of(const PlanEntry *entry, const DistSearchKey *key,
					   const char *partition);
static void append_text(StringInfo buf, const char *string);
static void make_room(void);
static void forget_plan(PlanEntry *entry);

SPIPlanPtr
DistSearchPlan(const DistSearch *search, const DistSearchKey *key,
			   const char *partition)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) partition,
										   strlen(partition), key->hash);
	PlanEntry  *entry;
	SPIPlanPtr	plan;
	char	   *kept_partition;
	char	   *kept_key;

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
	if (entry != NULL && is_plan_of(entry, key, partition))
	{
		entry->last_use = ++uses;
		return entry->plan;
	}
	if (entry != NULL)
		forget_plan(entry);		/* of another query with the same hash */
	make_room();

	plan = SPI_prepare_cursor(DistSearchQuery(search, partition), search->nparams, search->param_types,
							  plan_options(search));
	if (plan == NULL)
		elog(ERROR, "could not prepare a search: %s",
			 SPI_result_code_string(SPI_result));

	/* Nothing may fail between keeping the plan and finding it again. */
	kept_partition = MemoryContextStrdup(plan_texts, partition);
	kept_key = MemoryContextAlloc(plan_texts, key->len);
	memcpy(kept_key, key->data, key->len);

	entry = hash_search(plans, &hash, HASH_ENTER, NULL);
	entry->partition = kept_partition;
	entry->key = kept_key;
	entry->key_len = key->len;
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

static bool
is_plan_of(const PlanEntry *entry, const DistSearchKey *key,
		   const char *partition)
{
	return entry->key_len == key->len &&
		memcmp(entry->key, key->data, key->len) == 0 &&
		strcmp(entry->partition, partition) == 0;
}

/*
 * Everything the plan depends on that core's plan cache does not watch, but for
 * the partition: the texts of the query, the types of its parameters, the
 * settings, and how it will be read.
 */
DistSearchKey
DistSearchPlanKey(const DistSearch *search)
{
	DistSearchKey key;
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, search->stream ? 's' : 'k');
	appendBinaryStringInfo(&buf, (const char *) &search->k, sizeof(search->k));
	appendBinaryStringInfo(&buf, (const char *) &search->nparams,
						   sizeof(search->nparams));
	appendBinaryStringInfo(&buf, (const char *) search->param_types,
						   sizeof(Oid) * search->nparams);
	append_text(&buf, search->columns);
	append_text(&buf, search->filter);
	append_text(&buf, search->distance);
	append_text(&buf, search->ties);
	foreach(lc, search->settings)
		append_text(&buf, lfirst(lc));
	key.data = buf.data;
	key.len = buf.len;
	key.hash = hash_bytes_extended((unsigned char *) buf.data, buf.len, 0);
	return key;
}

/* With the zero that ends it, so that each text stands for itself. */
static void
append_text(StringInfo buf, const char *string)
{
	appendStringInfoChar(buf, string != NULL ? '+' : '-');
	if (string != NULL)
		appendBinaryStringInfo(buf, string, strlen(string) + 1);
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

	pfree(entry->partition);
	pfree(entry->key);
	(void) hash_search(plans, &entry->hash, HASH_REMOVE, NULL);
	SPI_freeplan(plan);
}
