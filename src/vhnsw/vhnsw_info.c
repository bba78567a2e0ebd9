/*-------------------------------------------------------------------------
 *
 * vhnsw_info.c
 *	  Tell what an index is made of, and what it would gain from.
 *
 * vhnsw_info() reads the whole index.  Like vhnsw_check() it takes no lock
 * that a standby could not take, so its counts are of no single moment if the
 * index changes meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_check.h"
#include "vhnsw/vhnsw_coders.h"
#include "vhnsw/vhnsw_edge.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_walk.h"

VECDIST_FUNCTION_INFO_V1(vhnsw_info);

#define INFO_COLUMNS 34

/* Below this many elements a mean would not be worth a REINDEX. */
#define MANY_ELEMENTS 1000

typedef struct IndexCounts
{
	int64		elements;		/* live */
	int64		tombstones;
	int64		free_slots;
	int64		rows;			/* heap TIDs, those outside included */
	int64		outside[VHNSW_OUTSIDE_LISTS];
	int64		links;			/* of live elements */
	int64		unreachable;	/* live elements */
	int64		truncated;		/* live, of sparse codes that are not whole */
} IndexCounts;

static void count_elements(VhnswWalk *walk, IndexCounts *counts);
static void count_cells(VhnswWalk *walk, BlockNumber blkno,
						IndexCounts *counts);
static char *give_advice(const VhnswMetaPageData *meta,
						 const IndexCounts *counts, BlockNumber nblocks);
static const char *metric_name(VhnswMetric metric);
static const char *storage_name(VhnswStorage storage);
static const char *build_name(VhnswBuildKind kind);

/*
 * VhnswOpenForInspection
 *		Open an index and its table for a function that reads all of it.
 *
 * Allowed to the owner and to members of pg_stat_scan_tables, like the
 * functions of pgstattuple.  Takes AccessShareLock on both.
 */
Relation
VhnswOpenForInspection(Oid index_oid, Relation *heap)
{
	Oid			heap_oid = IndexGetRelation(index_oid, true);
	Relation	index;

	/* The table first, as everybody else locks them. */
	*heap = OidIsValid(heap_oid) ? table_open(heap_oid, AccessShareLock) : NULL;
	index = relation_open(index_oid, AccessShareLock);

	if (index->rd_rel->relkind != RELKIND_INDEX ||
		index->rd_indam->ambulkdelete != vhnswbulkdelete)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a vhnsw index",
					   RelationGetRelationName(index)),
				index->rd_rel->relkind == RELKIND_PARTITIONED_INDEX ?
				errhint("Name the index of a partition.") : 0);
	if (!object_ownercheck(RelationRelationId, index_oid, GetUserId()) &&
		!has_privs_of_role(GetUserId(), ROLE_PG_STAT_SCAN_TABLES))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_INDEX,
					   RelationGetRelationName(index));
	if (RELATION_IS_OTHER_TEMP(index))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot access temporary indexes of other sessions"));
	if (!RelationIsPermanent(index) && RecoveryInProgress())
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot access temporary or unlogged relations during recovery"));
	if (*heap == NULL ||
		index->rd_index->indrelid != RelationGetRelid(*heap))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("could not open the table of index \"%s\"",
					   RelationGetRelationName(index)));
	return index;
}

void
VhnswCloseAfterInspection(Relation index, Relation heap)
{
	relation_close(index, AccessShareLock);
	table_close(heap, AccessShareLock);
}

/*
 * vhnsw_info(index regclass)
 *		Parameters, counts and advice, in one row.
 */
Datum
vhnsw_info(PG_FUNCTION_ARGS)
{
	Relation	heap;
	Relation	index = VhnswOpenForInspection(PG_GETARG_OID(0), &heap);
	VhnswMetaPageData meta = VhnswGetCache(index)->meta;
	VhnswLayout layout = VhnswGetCache(index)->layout;
	VhnswWalk  *walk = VhnswWalkCreate(index, &layout,
									   GetAccessStrategy(BAS_BULKREAD));
	IndexCounts counts = {0};
	TupleDesc	tupdesc;
	Datum		values[INFO_COLUMNS];
	bool		nulls[INFO_COLUMNS] = {0};
	bool		build_known = meta.build_kind != VHNSW_BUILT_UNKNOWN;
	char	   *advice;
	double		bytes = (double) walk->nblocks * BLCKSZ;
	int			i = 0;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE ||
		tupdesc->natts != INFO_COLUMNS)
		elog(ERROR, "return type of vhnsw_info must be a row of %d columns",
			 INFO_COLUMNS);

	count_elements(walk, &counts);
	counts.unreachable = VhnswCountUnreachable(walk);
	advice = give_advice(&meta, &counts, walk->nblocks);

	values[i++] = CStringGetTextDatum(metric_name(meta.metric));
	values[i++] = Int32GetDatum(VhnswMetaGetDims(&meta));
	values[i++] = Int32GetDatum(meta.m);
	values[i++] = Int32GetDatum(meta.ef_construction);
	values[i++] = Int32GetDatum(meta.degree);
	values[i++] = Int32GetDatum(meta.version);
	values[i++] = Int32GetDatum(meta.own_bits);
	values[i++] = CStringGetTextDatum(storage_name(meta.storage));
	values[i++] = Int32GetDatum(meta.edge_dims);
	values[i++] = Int32GetDatum(meta.edge_bits);
	nulls[i] = meta.edge_dims == 0 || meta.edge_energy == 0;
	values[i++] = Float8GetDatum(meta.edge_energy);
	values[i++] = Int32GetDatum(meta.slot_size);
	values[i++] = Int32GetDatum(meta.slots_per_page);
	values[i++] = Int64GetDatum(walk->nblocks);
	values[i++] = Int64GetDatum(counts.rows);
	values[i++] = Int64GetDatum(counts.outside[VHNSW_LIST_NULL]);
	values[i++] = Int64GetDatum(counts.outside[VHNSW_LIST_ZERO]);
	values[i++] = Int64GetDatum(counts.outside[VHNSW_LIST_EXTREME]);
	values[i++] = Int64GetDatum(counts.elements);
	values[i++] = Int64GetDatum(counts.tombstones);
	values[i++] = Int64GetDatum(counts.free_slots);
	values[i++] = Int64GetDatum(counts.unreachable);
	values[i++] = Int32GetDatum(meta.entry_count);
	nulls[i] = counts.elements == 0;
	values[i++] = Float8GetDatum((double) counts.links /
								 Max(counts.elements, 1));
	nulls[i] = meta.list_recall == 0;
	values[i++] = Float8GetDatum(meta.list_recall);
	nulls[i] = meta.searches_found == 0;
	values[i++] = Float8GetDatum(meta.searches_found);
	nulls[i] = meta.weak_searches_found == 0;
	values[i++] = Float8GetDatum(meta.weak_searches_found);
	nulls[i] = !build_known;
	values[i++] = CStringGetTextDatum(build_name(meta.build_kind));
	nulls[i] = !build_known;
	values[i++] = Int32GetDatum(meta.build_workers);
	nulls[i] = !build_known;
	values[i++] = Int64GetDatum(meta.build_memory);
	nulls[i] = !build_known;
	values[i++] = Int64GetDatum((int64) meta.build_inserted);
	nulls[i] = !build_known;
	values[i++] = Float8GetDatum(meta.build_seconds);
	nulls[i] = counts.rows == 0;
	values[i++] = Float8GetDatum(bytes / Max(counts.rows, 1));
	nulls[i] = advice == NULL;
	values[i++] = advice ? CStringGetTextDatum(advice) : (Datum) 0;
	Assert(i == INFO_COLUMNS);

	VhnswCloseAfterInspection(index, heap);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}

static const char *
metric_name(VhnswMetric metric)
{
	switch (metric)
	{
		case VHNSW_L2:
			return "l2";
		case VHNSW_INNER_PRODUCT:
			return "ip";
		case VHNSW_COSINE:
			return "cosine";
		case VHNSW_L1:
			return "l1";
		case VHNSW_HAMMING:
			return "hamming";
		case VHNSW_JACCARD:
			return "jaccard";
	}
	return NULL;				/* VhnswGetCache() has checked it */
}

static const char *
storage_name(VhnswStorage storage)
{
	switch (storage)
	{
		case VHNSW_STORAGE_AUTO:
			return "auto";
		case VHNSW_STORAGE_FAST:
			return "fast";
		case VHNSW_STORAGE_COMPACT:
			return "compact";
		case VHNSW_STORAGE_TINY:
			return "tiny";
	}
	return NULL;				/* likewise */
}

static const char *
build_name(VhnswBuildKind kind)
{
	switch (kind)
	{
		case VHNSW_BUILT_UNKNOWN:
			break;
		case VHNSW_BUILT_BLOCKED:
			return "blocked";
		case VHNSW_BUILT_BLOCKED_IN_FILES:
			return "blocked in files";
		case VHNSW_BUILT_BY_SEARCH:
			return "search";
	}
	return "";
}

/* Count what stands on element pages and TID pages. */
static void
count_elements(VhnswWalk *walk, IndexCounts *counts)
{
	const VhnswLayout *layout = &walk->layout;

	for (BlockNumber blkno = 1; blkno < walk->nblocks; blkno++)
	{
		if (!VhnswWalkReadPage(walk, blkno))
		{
			if (walk->page_is_new)
				counts->free_slots += layout->slots_per_page;
			else
				count_cells(walk, blkno, counts);
			continue;
		}
		for (int i = 0; i < layout->slots_per_page; i++)
		{
			VhnswSlot	slot = VhnswPageGetSlot(layout, walk->page.data, i);

			if (slot->flags & VHNSW_SLOT_LIVE)
			{
				counts->elements++;
				if (layout->coder->code_bytes == NULL && slot->residual > 0)
					counts->truncated++;
				counts->links += VhnswSlotNeighborCount(layout, slot);
				if (ItemPointerIsValid(&slot->heaptid))
					counts->rows++;
			}
			else if (slot->flags & VHNSW_SLOT_TOMBSTONE)
				counts->tombstones++;
			else
				counts->free_slots++;
		}
	}
}

/* Count the TIDs of a TID page, if that is what the block holds. */
static void
count_cells(VhnswWalk *walk, BlockNumber blkno, IndexCounts *counts)
{
	Buffer		buffer = VhnswGetPageWithStrategy(walk->index, blkno,
												  BUFFER_LOCK_SHARE,
												  walk->strategy);
	Page		page = BufferGetPage(buffer);

	if (VhnswPageIsKind(page, VHNSW_PAGE_TIDS))
	{
		for (int i = 1; i <= VHNSW_CELLS_PER_PAGE; i++)
		{
			VhnswCell	cell = VhnswPageGetCell(page, i);

			if (cell->owner == 0)
				continue;
			counts->rows += cell->ntids;
			for (int list = 0; list < VHNSW_OUTSIDE_LISTS; list++)
			{
				if (cell->owner == VhnswOutsideOwner(list))
					counts->outside[list] += cell->ntids;
			}
		}
	}
	VhnswReleasePage(buffer);
}

/*
 * VhnswCountUnreachable
 *		How many live elements no search can reach.
 */
int64
VhnswCountUnreachable(VhnswWalk *walk)
{
	int64		unreachable = 0;

	walk->through_tombstones = true;
	VhnswWalkStart(walk);
	VhnswWalkReach(walk);
	for (BlockNumber blkno = 1; blkno < walk->nblocks; blkno++)
	{
		VhnswElement first = VhnswMakeElement(&walk->layout, blkno, 0);
		bool		complete = true;

		for (int i = 0; i < walk->layout.slots_per_page && complete; i++)
			complete = VhnswGetBit(walk->reached, first + i);
		if (complete || !VhnswWalkReadPage(walk, blkno))
			continue;
		for (int i = 0; i < walk->layout.slots_per_page; i++)
		{
			VhnswSlot	slot = VhnswPageGetSlot(&walk->layout,
												walk->page.data, i);

			if ((slot->flags & VHNSW_SLOT_LIVE) &&
				!VhnswGetBit(walk->reached, first + i))
				unreachable++;
		}
	}
	return unreachable;
}

/* What would do the index good; NULL if nothing would. */
static char *
give_advice(const VhnswMetaPageData *meta, const IndexCounts *counts,
			BlockNumber nblocks)
{
	StringInfoData advice;
	double		slots = (double) nblocks * meta->slots_per_page;

	initStringInfo(&advice);
	if (counts->tombstones > 0)
		appendStringInfoString(&advice,
							   "VACUUM advised: deleted elements wait for their links to be replaced.  ");
	if (counts->unreachable > counts->elements / 100)
		appendStringInfoString(&advice,
							   "REINDEX advised: more than 1 % of the elements cannot be reached through the graph.  ");
	if (meta->mean_block == 0 && VhnswGetCoder(meta->metric, meta->own_bits)->has_mean &&
		meta->metric != VHNSW_INNER_PRODUCT &&
		counts->elements >= MANY_ELEMENTS)
		appendStringInfoString(&advice,
							   "REINDEX advised: the index was made when the table had too few rows to learn from.  ");
	else if (meta->edge_dims > 0 && meta->edge_energy == 0 &&
			 VhnswMetaGetDims(meta) > VHNSW_FULL_SKETCH_DIMS &&
			 counts->elements >= MANY_ELEMENTS)
		appendStringInfoString(&advice,
							   "REINDEX advised: there are enough rows by now to learn better sketches from.  ");
	else if (counts->truncated > counts->elements / 10 &&
			 counts->elements >= MANY_ELEMENTS && meta->slots_per_page > 1)
		appendStringInfoString(&advice,
							   "REINDEX advised: sparse vectors have more elements than codes have room for.  ");
	else if (counts->elements >= MANY_ELEMENTS &&
			 counts->links < counts->elements * meta->m)
		appendStringInfoString(&advice,
							   "REINDEX advised: deletions have left the graph with few links.  ");
	else if (counts->free_slots > slots / 2 &&
			 counts->free_slots >= MANY_ELEMENTS)
		appendStringInfoString(&advice,
							   "REINDEX advised if the table will not grow again: more than half of the index is free space.  ");

	/* The sentences are separated, not ended, by two spaces. */
	while (advice.len > 0 && advice.data[advice.len - 1] == ' ')
		advice.data[--advice.len] = '\0';
	return advice.len > 0 ? advice.data : NULL;
}
