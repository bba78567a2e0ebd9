/*-------------------------------------------------------------------------
 *
 * dist_search_run.c
 *	  Search several partitions and return their rows merged.
 *
 * Each partition is searched by an ordinary query in a portal of its own,
 *
 *		SELECT columns, distance FROM partition AS t
 *		WHERE filter ORDER BY distance LIMIT k
 *
 * (see DistSearchQuery for further keys), so that privileges, row security, the
 * planner's choice between index and exact scan, and visibility are the
 * server's own.  A partition that has moved away is a foreign table here and
 * is read through it; nothing below needs to know.
 *
 * Rows are taken from the portals in order of distance, in small batches, until
 * enough were returned.  A portal has "LIMIT k" whatever is read of it: that
 * decides how broadly an index searches.  Rows that were read ahead but not
 * returned are kept, so that a later DistSearchFetch goes on where the last
 * one stopped, with the same snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "executor/execdesc.h"
#include "executor/spi.h"
#include "lib/binaryheap.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "distribution/dist_merge.h"
#include "distribution/dist_search.h"
#include "distribution/dist_settings.h"
#include "vecdist_compat.h"
#include "vecdist_debug.h"

/* The index access method by name: distribution does not know its code. */
#define INDEX_AM_NAME		"vhnsw"
#define INDEX_SCAN_NAME		"Vhnsw Scan"
#define EF_SETTING			"vhnsw.ef_search"

/* The part of its rows that a stream is planned for */
#define STREAM_FRACTION		"0.001"

/* Rows read from a portal at a time */
#define MIN_BATCH_ROWS		10
#define MAX_BATCH_ROWS		1000

/* One partition of a run, and the rows read ahead from its portal. */
typedef struct RunPartition
{
	char		portal[NAMEDATALEN];
	Oid			user;			/* role it is searched as; InvalidOid: the
								 * current one */
	int64		nread;			/* rows read from the portal */
	bool		at_end;			/* there is no more to read */
	DistSearchReport report;	/* filled in by DistSearchGetReport */

	SPITupleTable *table;		/* the batch, while SPI is connected */
	HeapTuple  *tuples;			/* its rows, or copies in 'kept' */
	int			ntuples;
	int			next;			/* the next one to return */
	DistMergeKey key;			/* its distance */
	MemoryContext kept;			/* what was read ahead, between fetches */
} RunPartition;

struct DistSearchRun
{
	MemoryContext context;		/* of all of this */
	dlist_node	link;			/* in 'runs' */
	int64		number;			/* given by DistSearchSetNumber, or 0 */
	Oid			owner;			/* whose number that is */
	MemoryContextCallback forget;	/* takes it off the list */
	int64		k;
	List	   *settings;
	int			nestlevel;		/* of the settings that were changed */
	bool		unread;			/* opened, and ready for the first fetch */
	TupleDesc	desc;
	int			npartitions;
	RunPartition *partitions;

	int64		nreturned;		/* rows, since the beginning */
	DistMergeKey last;			/* distance of the last of them */
	bool		cut;			/* the last fetch left rows, all of them
								 * farther than common.bound */
	DistSearchReport common;	/* what all partitions report */
};

/* Whom we are while a partition is opened or read */
typedef struct Identity
{
	Oid			user;
	int			sec_context;
} Identity;

/* All that live. */
static dlist_head runs = DLIST_STATIC_INIT(runs);

static void forget_run(void *arg);
static void describe_run(DistSearchRun *run);
static void open_portal(DistSearchRun *run, const DistSearch *search,
						const DistSearchKey *key, const char *partition,
						RunPartition *p);
static Identity become(Oid user);
static void become_again(Identity identity);
static bool portals_exist(DistSearchRun *run);
static void begin_reading(DistSearchRun *run);
static void end_reading(DistSearchRun *run, MemoryContext caller);
static binaryheap *heap_of_heads(DistSearchRun *run, int64 nrows);
static void return_head(DistSearchRun *run, binaryheap *heap, int64 nrows,
						DistSearchCallback row, void *arg);
static void return_rows(DistSearchRun *run, int64 nrows,
						const DistMergeKey *bound, DistSearchCallback row,
						void *arg);
static bool enough(DistSearchRun *run, const DistMergeKey *next, int64 nrows,
				   const DistMergeKey *bound);
static int	compare_heads(Datum a, Datum b, void *arg);
static bool find_next_row(DistSearchRun *run, RunPartition *p, int64 nrows);
static int64 batch_size(DistSearchRun *run, RunPartition *p, int64 nrows);
static void keep_batch(DistSearchRun *run, RunPartition *p);
static int	breadth_of_search(int64 k);
static void describe_plan(PlanState *planstate, DistSearchReport *report);
static bool is_vector_index(Relation index);
static bool find_index_walker(PlanState *planstate, void *context);

/* ----------------------------------------------------------------
 * Opening and closing
 * ----------------------------------------------------------------
 */

DistSearchRun *
DistSearchOpen(const DistSearch *search, int npartitions, char **partitions,
			   const Oid *users)
{
	static uint32 number = 0;
	MemoryContext context = AllocSetContextCreate(CurTransactionContext,
												  "search of partitions",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	DistSearchRun *run = palloc0(sizeof(DistSearchRun));
	DistSearchKey key = DistSearchPlanKey(search);
	ListCell   *lc;

	run->context = context;
	run->forget.func = forget_run;
	run->forget.arg = run;
	dlist_push_head(&runs, &run->link);
	MemoryContextRegisterResetCallback(context, &run->forget);
	run->k = search->k;
	foreach(lc, search->settings)
		run->settings = lappend(run->settings, pstrdup(lfirst(lc)));
	run->npartitions = npartitions;
	run->partitions = palloc0(sizeof(RunPartition) * Max(npartitions, 1));

	number++;
	begin_reading(run);
	if (search->stream)
		(void) set_config_option("cursor_tuple_fraction", STREAM_FRACTION,
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	describe_run(run);
	for (int i = 0; i < npartitions; i++)
	{
		RunPartition *p = &run->partitions[i];

		snprintf(p->portal, NAMEDATALEN, "vecdist search %u %d", number, i);
		p->user = users != NULL ? users[i] : InvalidOid;
		open_portal(run, search, &key, partitions[i], p);
	}
	run->unread = true;
	MemoryContextSwitchTo(caller);
	return run;
}

static void
forget_run(void *arg)
{
	dlist_delete(&((DistSearchRun *) arg)->link);
}

/* Fill in what all partitions report, with the settings in effect. */
static void
describe_run(DistSearchRun *run)
{
	DistSearchReport *common = &run->common;

	common->k = run->k;
	common->ef = breadth_of_search(run->k);
	common->settings = DistSettingsFingerprint(DistSettingsEcho(run->settings));
	common->standby = RecoveryInProgress();
	common->lsn = common->standby ? GetXLogReplayRecPtr(NULL) :
		GetXLogWriteRecPtr();
}

static void
open_portal(DistSearchRun *run, const DistSearch *search,
			const DistSearchKey *key, const char *partition, RunPartition *p)
{
	Identity	identity = become(p->user);
	SPIPlanPtr	plan = DistSearchPlan(search, key, partition);
	Portal		portal = SPI_cursor_open(p->portal, plan, search->param_values,
										 search->param_nulls, true);
	TupleDesc	desc = portal->tupDesc;
	MemoryContext spi = MemoryContextSwitchTo(run->context);

	if (TupleDescAttr(desc, desc->natts - 1)->atttypid != FLOAT8OID)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("distance of a distributed search must be of type double precision"));
	if (run->desc == NULL)
		run->desc = CreateTupleDescCopy(desc);

	p->report = run->common;
	describe_plan(portal->queryDesc->planstate, &p->report);
	MemoryContextSwitchTo(spi);
	become_again(identity);
}

static Identity
become(Oid user)
{
	Identity	identity;

	GetUserIdAndSecContext(&identity.user, &identity.sec_context);
	if (OidIsValid(user))
		SetUserIdAndSecContext(user, identity.sec_context |
							   SECURITY_LOCAL_USERID_CHANGE);
	return identity;
}

/* An error does the same, at the end of the (sub)transaction. */
static void
become_again(Identity identity)
{
	SetUserIdAndSecContext(identity.user, identity.sec_context);
}

void
DistSearchClose(DistSearchRun *run)
{
	if (run->unread)
		end_reading(run, CurrentMemoryContext);
	for (int i = 0; i < run->npartitions; i++)
	{
		Portal		portal = GetPortalByName(run->partitions[i].portal);

		if (PortalIsValid(portal))
			SPI_cursor_close(portal);
	}
	MemoryContextDelete(run->context);
}

void
DistSearchSetNumber(DistSearchRun *run, int64 number, Oid owner)
{
	run->number = number;
	run->owner = owner;
}

DistSearchRun *
DistSearchFind(int64 number, Oid owner)
{
	dlist_iter	iter;

	dlist_foreach(iter, &runs)
	{
		DistSearchRun *run = dlist_container(DistSearchRun, link, iter.cur);

		if (number != 0 && run->number == number && run->owner == owner)
			return run;
	}
	return NULL;
}

int
DistSearchCountPartitions(DistSearchRun *run)
{
	return run->npartitions;
}

TupleDesc
DistSearchGetDesc(DistSearchRun *run)
{
	return run->desc;
}

/*
 * A partition is exhausted if its portal ended early and all was returned.  If
 * all k rows of the portal were returned, what comes after them comes after
 * the last one, and nothing else is known of it.  Otherwise the run was cut.
 */
const DistSearchReport *
DistSearchGetReport(DistSearchRun *run, int part)
{
	RunPartition *p = &run->partitions[part];
	int			nunread = p->ntuples - p->next;

	p->report.nrows = p->nread - nunread;
	p->report.exhausted = p->at_end && nunread == 0 && p->nread < run->k;
	p->report.bounded = run->cut && (nunread > 0 || !p->at_end);
	p->report.bound = run->common.bound;
	return &p->report;
}

const DistSearchReport *
DistSearchGetCommonReport(DistSearchRun *run)
{
	return &run->common;
}

/* ----------------------------------------------------------------
 * Returning rows
 * ----------------------------------------------------------------
 */

bool
DistSearchFetch(DistSearchRun *run, int64 nrows, const DistMergeKey *bound,
				DistSearchCallback row, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;

	if (!portals_exist(run))
		return false;
	begin_reading(run);
	return_rows(run, nrows, bound, row, arg);
	end_reading(run, caller);
	return true;
}

bool
DistSearchNext(DistSearchRun *run, int64 nrows, DistSearchCallback row,
			   void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	binaryheap *heap;

	if (!portals_exist(run))
		return false;
	begin_reading(run);
	heap = heap_of_heads(run, nrows);
	for (int64 n = 0; n < nrows && !binaryheap_empty(heap); n++)
		return_head(run, heap, nrows, row, arg);
	binaryheap_free(heap);
	end_reading(run, caller);
	return true;
}

/*
 * Let portals be opened and read: connect SPI, with the settings in effect.
 *
 * DistSearchOpen leaves it so for the first fetch.  An error between the two
 * ends the run, because it belongs to the same subtransaction; one in a later
 * fetch need not, so 'unread' is never set then.
 */
static void
begin_reading(DistSearchRun *run)
{
	if (run->unread)
	{
		run->unread = false;
		return;
	}
	run->nestlevel = DistSettingsPush(run->settings);
	SPI_connect();
}

/* SPI's memory context, which begin_reading may have entered, is gone then. */
static void
end_reading(DistSearchRun *run, MemoryContext caller)
{
	for (int i = 0; i < run->npartitions; i++)
		keep_batch(run, &run->partitions[i]);
	SPI_finish();
	AtEOXact_GUC(true, run->nestlevel);
	MemoryContextSwitchTo(caller);
}

static bool
portals_exist(DistSearchRun *run)
{
	for (int i = 0; i < run->npartitions; i++)
	{
		if (!PortalIsValid(GetPortalByName(run->partitions[i].portal)))
			return false;
	}
	return true;
}

static void
return_rows(DistSearchRun *run, int64 nrows, const DistMergeKey *bound,
			DistSearchCallback row, void *arg)
{
	binaryheap *heap = heap_of_heads(run, nrows);

	run->cut = false;
	while (!binaryheap_empty(heap))
	{
		int			part = DatumGetInt32(binaryheap_first(heap));

		if (enough(run, &run->partitions[part].key, nrows, bound))
			break;
		return_head(run, heap, nrows, row, arg);
	}
	binaryheap_free(heap);
}

/* The partitions that have a next row, the one with the nearest first. */
static binaryheap *
heap_of_heads(DistSearchRun *run, int64 nrows)
{
	binaryheap *heap = binaryheap_allocate(Max(run->npartitions, 1),
										   compare_heads, run);

	for (int i = 0; i < run->npartitions; i++)
	{
		if (find_next_row(run, &run->partitions[i], nrows))
			binaryheap_add_unordered(heap, Int32GetDatum(i));
	}
	binaryheap_build(heap);
	return heap;
}

/* Return the next row of the first partition of the heap. */
static void
return_head(DistSearchRun *run, binaryheap *heap, int64 nrows,
			DistSearchCallback row, void *arg)
{
	int			part = DatumGetInt32(binaryheap_first(heap));
	RunPartition *p = &run->partitions[part];

	run->nreturned++;
	run->last = p->key;
	row(part, p->nread - (p->ntuples - p->next), p->tuples[p->next],
		run->desc, arg);
	p->next++;
	if (find_next_row(run, p, nrows))
		binaryheap_replace_first(heap, Int32GetDatum(part));
	else
		(void) binaryheap_remove_first(heap);
	CHECK_FOR_INTERRUPTS();
}

/* May 'next' and all rows after it be withheld?  If so, notes the bound. */
static bool
enough(DistSearchRun *run, const DistMergeKey *next, int64 nrows,
	   const DistMergeKey *bound)
{
	if (VD_MISTAKE("dist-bound-is-best"))
		nrows = 1;
	if (run->nreturned >= nrows && run->nreturned > 0 &&
		DistMergeCompareKeys(next, &run->last) >
		(VD_MISTAKE("dist-cut-ties") ? -1 : 0))
	{
		run->cut = true;
		run->common.bound = run->last;
	}
	else if (bound != NULL && DistMergeCompareKeys(next, bound) > 0)
	{
		run->cut = true;
		run->common.bound = *bound;
	}
	return run->cut;
}

/* binaryheap keeps the greatest first; we want the nearest. */
static int
compare_heads(Datum a, Datum b, void *arg)
{
	DistSearchRun *run = arg;
	int			part_a = DatumGetInt32(a);
	int			part_b = DatumGetInt32(b);
	int			cmp = DistMergeCompareKeys(&run->partitions[part_a].key,
										   &run->partitions[part_b].key);

	return cmp != 0 ? -cmp : part_b - part_a;
}

/*
 * Make p->tuples[p->next] the partition's next row, read from the portal if
 * need be, and p->key its distance.  Returns false if there is none.
 */
static bool
find_next_row(DistSearchRun *run, RunPartition *p, int64 nrows)
{
	Datum		distance;

	if (p->next >= p->ntuples)
	{
		Identity	identity;
		int64		nwanted;

		if (p->table != NULL)
			SPI_freetuptable(p->table);
		p->table = NULL;
		p->next = p->ntuples = 0;
		nwanted = batch_size(run, p, nrows);
		if (p->at_end || nwanted <= 0)
		{
			p->at_end = true;
			return false;
		}

		identity = become(p->user);
		SPI_cursor_fetch(GetPortalByName(p->portal), true, nwanted);
		become_again(identity);
		p->table = SPI_tuptable;
		p->tuples = SPI_tuptable->vals;
		p->ntuples = SPI_processed;
		p->nread += p->ntuples;
		p->at_end = p->ntuples < nwanted;
		if (p->ntuples == 0)
			return false;
	}

	distance = heap_getattr(p->tuples[p->next], run->desc->natts, run->desc,
							&p->key.isnull);
	p->key.distance = p->key.isnull ? 0 : DatumGetFloat8(distance);
	return true;
}

/*
 * How many rows to read from a portal at once: its likely share of what is
 * wanted of all of them, then a few.
 */
static int64
batch_size(DistSearchRun *run, RunPartition *p, int64 nrows)
{
	double		share = (double) nrows / run->npartitions;
	double		batch = share + 3 * sqrt(share);

	if (p->nread > 0)
		batch /= 4;
	batch = Max(batch, MIN_BATCH_ROWS);
	batch = Min(batch, MAX_BATCH_ROWS);
	return Min((int64) batch, run->k - p->nread);
}

/* What was read ahead outlives SPI's memory. */
static void
keep_batch(DistSearchRun *run, RunPartition *p)
{
	MemoryContext oldcontext;
	HeapTuple  *copies;

	if (p->table == NULL)
		return;
	if (p->kept == NULL)
		p->kept = AllocSetContextCreate(run->context, "rows read ahead",
										ALLOCSET_SMALL_SIZES);
	MemoryContextReset(p->kept);
	oldcontext = MemoryContextSwitchTo(p->kept);
	p->ntuples -= p->next;
	copies = palloc(sizeof(HeapTuple) * Max(p->ntuples, 1));
	for (int i = 0; i < p->ntuples; i++)
		copies[i] = heap_copytuple(p->tuples[p->next + i]);
	p->tuples = copies;
	p->next = 0;
	p->table = NULL;
	MemoryContextSwitchTo(oldcontext);
}

/* ----------------------------------------------------------------
 * How a partition is searched
 * ----------------------------------------------------------------
 */

/* How broadly an index searches for k rows. */
static int
breadth_of_search(int64 k)
{
	const char *ef_search = GetConfigOption(EF_SETTING, true, false);
	int			ef;

	if (ef_search == NULL)
		return 0;
	ef = pg_strtoint32(ef_search);

	/* The index raises it to the number of rows wanted. */
	if (k != DIST_ALL_ROWS && k > ef)
		ef = (int) Min(k, PG_INT32_MAX);
	return ef;
}

/* Fill in which index the plan uses, if any. */
static void
describe_plan(PlanState *planstate, DistSearchReport *report)
{
	Oid			index = InvalidOid;

	if (find_index_walker(planstate, &index))
		report->index = get_rel_name(index);
	else
	{
		report->index = NULL;
		report->ef = 0;
	}
}

/* The access method may have another name as well: what counts is its handler. */
static bool
is_vector_index(Relation index)
{
	HeapTuple	tuple = SearchSysCache1(AMNAME, CStringGetDatum(INDEX_AM_NAME));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = index->rd_amhandler == ((Form_pg_am) GETSTRUCT(tuple))->amhandler;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Find a scan of a vector index; *context is an Oid to be set to it.  The
 * index may be read by an index scan, or by the access method's own scan, whose
 * private list begins with a list of its OID.
 */
static bool
find_index_walker(PlanState *planstate, void *context)
{
	Oid		   *found = context;

	if (IsA(planstate, IndexScanState))
	{
		Relation	index = ((IndexScanState *) planstate)->iss_RelationDesc;

		if (index != NULL && is_vector_index(index))
		{
			*found = RelationGetRelid(index);
			return true;
		}
	}
	else if (IsA(planstate, CustomScanState))
	{
		CustomScan *scan = castNode(CustomScan, planstate->plan);

		if (strcmp(scan->methods->CustomName, INDEX_SCAN_NAME) == 0)
		{
			*found = linitial_oid((List *) linitial(scan->custom_private));
			return true;
		}
	}
	return planstate_tree_walker(planstate, find_index_walker, context);
}
