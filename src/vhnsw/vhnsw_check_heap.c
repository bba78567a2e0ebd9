/*-------------------------------------------------------------------------
 *
 * vhnsw_check_heap.c
 *	  Compare an index with its table.
 *
 * Every row that a snapshot sees must stand in the index (I11), with the code
 * of its vector, and bounds must hold for it (I8).  The snapshot is taken
 * before the index is read: rows that it sees were in the index by then, and
 * cannot leave it while the snapshot is held.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_check.h"
#include "vhnsw/vhnsw_meta.h"

typedef struct HeapCheck
{
	VhnswCheck *check;
	VhnswSpace	space;			/* a copy: the cache may go while we read rows */
	MemoryContext context;		/* reset for each row */
	VhnswQuery	query;			/* of this row's vector */
	VhnswCode  *code;			/* likewise */
	MemoryContext other_context;	/* owns the following, if there is any */
	bool		has_other;
	VhnswQuery	other_query;	/* of an earlier row, for its bounds */
	VhnswValue	other;			/* that row's vector */
} HeapCheck;

static void copy_space(HeapCheck *state, const VhnswCache *cache);
static void check_row(Relation index, ItemPointer tid, Datum *values,
					  bool *isnull, bool alive, void *arg);
static void check_vector(HeapCheck *state, ItemPointer tid, uint32 owner,
						 Datum datum);
static void check_code(HeapCheck *state, ItemPointer tid,
					   VhnswElement element, Datum datum,
					   const VhnswValue *value);
static void remember_row(HeapCheck *state, Datum datum);
static void report_row(VhnswCheck *check, const char *invariant,
					   ItemPointer tid, const char *message);

/*
 * VhnswCheckSnapshot
 *		A registered snapshot whose rows must be in the index.
 */
Snapshot
VhnswCheckSnapshot(Relation index)
{
	Snapshot	snapshot;

	if (!index->rd_index->indisvalid)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot compare index \"%s\" with its table",
					   RelationGetRelationName(index)),
				errdetail("The index is not valid."));

	snapshot = RegisterSnapshot(GetTransactionSnapshot());

	/* A snapshot older than the index may see rows it does not have. */
	if (IsolationUsesXactSnapshot() && index->rd_index->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
							   snapshot->xmin))
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("cannot compare index \"%s\" with its table",
					   RelationGetRelationName(index)),
				errdetail("The snapshot of this transaction is older than the index."));
	return snapshot;
}

/*
 * VhnswCheckHeap
 *		Look up every row in the index.  Unregisters the snapshot.
 */
void
VhnswCheckHeap(VhnswCheck *check, Snapshot snapshot)
{
	IndexInfo  *info = BuildIndexInfo(check->index);
	TableScanDesc scan = table_beginscan_strat(check->heap, snapshot, 0, NULL,
											   true, true);
	HeapCheck	state = {.check = check};

	copy_space(&state, VhnswGetCache(check->index));
	state.context = AllocSetContextCreate(CurrentMemoryContext,
										  "vhnsw check of a row",
										  ALLOCSET_DEFAULT_SIZES);
	state.other_context = AllocSetContextCreate(CurrentMemoryContext,
												"vhnsw check of another row",
												ALLOCSET_DEFAULT_SIZES);
	state.code = palloc(VhnswCodeSize(&check->layout));

	/* So that the scan accepts an MVCC snapshot. */
	info->ii_Concurrent = true;
	info->ii_Unique = false;
	table_index_build_scan(check->heap, check->index, info, true, false,
						   check_row, &state, scan);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(state.context);
	MemoryContextDelete(state.other_context);
}

static void
copy_space(HeapCheck *state, const VhnswCache *cache)
{
	int			dims = cache->layout.dims;

	state->space = cache->space;
	if (cache->layout.is_rotated)
	{
		float	   *signs = palloc_array(float, VHNSW_ROTATION_ROUNDS * dims);

		memcpy(signs, cache->space.signs,
			   VHNSW_ROTATION_ROUNDS * dims * sizeof(float));
		state->space.signs = signs;
	}
	if (cache->space.mean)
	{
		float	   *mean = palloc_array(float, dims);

		memcpy(mean, cache->space.mean, dims * sizeof(float));
		state->space.mean = mean;
	}
}

/* Called for each row that the snapshot sees and the index should have. */
static void
check_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
		  bool alive, void *arg)
{
	HeapCheck  *state = arg;
	VhnswCheck *check = state->check;
	MemoryContext old_context = MemoryContextSwitchTo(state->context);
	uint32		owner = VhnswCheckFindTid(check, tid);

	VD_DEBUG_POINT("vhnsw-check-row");
	if (owner == 0)
		report_row(check, "I11", tid, "is not in the index");
	else if (isnull[0])
	{
		if (owner != VhnswOutsideOwner(VHNSW_LIST_NULL))
			report_row(check, "I11", tid,
					   "is NULL and not in the list of NULLs");
	}
	else
		check_vector(state, tid, owner, values[0]);

	MemoryContextSwitchTo(old_context);
	MemoryContextReset(state->context);
}

/* Is a row where its vector belongs? */
static void
check_vector(HeapCheck *state, ItemPointer tid, uint32 owner,
			 Datum datum)
{
	VhnswCheck *check = state->check;
	VhnswValue	value;

	VhnswValueGet(state->space.type, datum, &value);
	VhnswQueryInit(&state->query, &state->space, &value);
	switch (state->query.vector_class)
	{
		case VHNSW_VECTOR_ZERO:
			if (owner != VhnswOutsideOwner(VHNSW_LIST_ZERO))
				report_row(check, "I11", tid,
						   "is zero and not in the list of zero vectors");
			break;
		case VHNSW_VECTOR_EXTREME:
			if (owner != VhnswOutsideOwner(VHNSW_LIST_EXTREME))
				report_row(check, "I11", tid,
						   "is extreme and not in the list of extreme vectors");
			break;
		case VHNSW_VECTOR_NORMAL:
			check_code(state, tid, owner, datum, &value);
			break;
	}
}

/*
 * Does the element have the code of this row's vector, and is its bound right
 * for an earlier row as the query?
 */
static void
check_code(HeapCheck *state, ItemPointer tid, VhnswElement element,
		   Datum datum, const VhnswValue *value)
{
	VhnswCheck *check = state->check;
	VhnswLayout *layout = &check->layout;
	VhnswSlot	slot = check->slot;

	/* Rows may have come since we looked at the length of the index. */
	if (!VhnswWalkReadSlot(check->walk, element, slot))
	{
		report_row(check, "I11", tid, "is in the index under no element");
		return;
	}
	VhnswEncode(layout, &state->query, state->code);
	if (!VhnswSlotHasCode(layout, slot, state->code))
	{
		report_row(check, "I11", tid, "stands at an element with another code");
		return;
	}

	if (state->has_other)
	{
		float		estimate;
		double		bound = VhnswBound(&state->other_query,
									   VhnswSlotView(layout, slot), &estimate);

		if (!(bound <= layout->coder->operator(layout->metric, &state->other,
											   value)))
			report_row(check, "I8", tid,
					   "is nearer to another row than its bound");
	}

	/* The next row is compared with this one. */
	remember_row(state, datum);
}

static void
remember_row(HeapCheck *state, Datum datum)
{
	MemoryContext old_context;

	MemoryContextReset(state->other_context);
	old_context = MemoryContextSwitchTo(state->other_context);
	VhnswValueGet(state->space.type, datumCopy(datum, false, -1),
				  &state->other);
	VhnswQueryInit(&state->other_query, &state->space, &state->other);
	state->has_other = true;
	MemoryContextSwitchTo(old_context);
}

static void
report_row(VhnswCheck *check, const char *invariant, ItemPointer tid,
		   const char *message)
{
	VhnswCheckReport(check, VHNSW_DAMAGE, invariant, InvalidBlockNumber, -1,
					 "row (%u,%u) %s", ItemPointerGetBlockNumber(tid),
					 ItemPointerGetOffsetNumber(tid), message);
}
