/*-------------------------------------------------------------------------
 *
 * vhnsw_answer.c
 *	  Rows with their exact distances, on the way to the user.
 *
 * A row is put here as "pending".  It is "proven" once no row that is still to
 * come from the index can be nearer, as far as the search knows; only proven
 * rows are taken, nearest first.  Ties are broken by TID.
 *
 * Where everything is read before the first row is taken, the rows go through
 * a tuplesort instead, which may use the disk.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_answer.h"

typedef struct AnswerRow
{
	pairingheap_node link;
	VhnswDistance distance;
	ItemPointerData tid;
} AnswerRow;

static int	compare_rows(const pairingheap_node *a, const pairingheap_node *b,
						 void *arg);
static void sort_put(VhnswAnswer *answer, VhnswDistance distance,
					 const ItemPointerData *tid);
static bool sort_take(VhnswAnswer *answer, VhnswDistance *distance,
					  ItemPointer tid);

/* As btree would order them: less than, equal to or greater than zero. */
int
VhnswCompareDistances(VhnswDistance a, VhnswDistance b)
{
	if (a.isnull || b.isnull)
		return (int) a.isnull - (int) b.isnull;
	return float8_cmp_internal(a.value, b.value);
}

/* Pairing heaps have the largest first: a smaller distance is larger. */
static int
compare_rows(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const AnswerRow *ra = pairingheap_const_container(AnswerRow, link, a);
	const AnswerRow *rb = pairingheap_const_container(AnswerRow, link, b);
	int			order = VhnswCompareDistances(rb->distance, ra->distance);

	if (order != 0)
		return order;
	return ItemPointerCompare(unconstify(ItemPointerData *, &rb->tid),
							  unconstify(ItemPointerData *, &ra->tid));
}

/* Begin with no rows; memory is taken from a child of 'parent'. */
void
VhnswAnswerInit(VhnswAnswer *answer, MemoryContext parent)
{
	MemoryContext old_context;

	memset(answer, 0, sizeof(*answer));
	answer->context = AllocSetContextCreate(parent, "vhnsw answer",
											ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(answer->context);
	answer->pending = pairingheap_allocate(compare_rows, NULL);
	answer->proven = pairingheap_allocate(compare_rows, NULL);
	MemoryContextSwitchTo(old_context);
}

/* Add a row. */
void
VhnswAnswerPut(VhnswAnswer *answer, VhnswDistance distance,
			   const ItemPointerData *tid)
{
	AnswerRow  *row;

	if (answer->sort)
	{
		sort_put(answer, distance, tid);
		return;
	}
	row = MemoryContextAlloc(answer->context, sizeof(AnswerRow));
	row->distance = distance;
	row->tid = *tid;
	pairingheap_add(answer->pending, &row->link);
	answer->npending++;
}

/* What is still to come is not nearer than 'bound'. */
void
VhnswAnswerProve(VhnswAnswer *answer, VhnswDistance bound)
{
	while (!pairingheap_is_empty(answer->pending))
	{
		AnswerRow  *row = pairingheap_container(AnswerRow, link,
												pairingheap_first(answer->pending));

		if (VhnswCompareDistances(row->distance, bound) > 0)
			break;
		(void) pairingheap_remove_first(answer->pending);
		answer->npending--;
		pairingheap_add(answer->proven, &row->link);
		answer->nproven++;
	}
}

/* Nothing is to come. */
void
VhnswAnswerProveAll(VhnswAnswer *answer)
{
	VhnswDistance null = {.isnull = true};

	if (answer->sort == NULL)
		VhnswAnswerProve(answer, null);
	else if (!answer->sorted)
	{
		MemoryContext old_context = MemoryContextSwitchTo(answer->context);

		tuplesort_performsort(answer->sort);
		answer->sorted = true;
		MemoryContextSwitchTo(old_context);
	}
}

/*
 * From now on everything goes through a sort, what is here included.  The
 * next is VhnswAnswerProveAll(), when all rows have been put.  No more than
 * 'wanted' rows will be taken, if it is not 0.
 */
void
VhnswAnswerBeginSort(VhnswAnswer *answer, int64 wanted)
{
	MemoryContext old_context = MemoryContextSwitchTo(answer->context);
	pairingheap *heaps[] = {answer->pending, answer->proven};
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	AttrNumber	columns[] = {1, 2};
	Oid			operators[] = {Float8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	TupleDescInitEntry(desc, 1, "distance", FLOAT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "tid", INT8OID, -1, 0);
	answer->sort = tuplesort_begin_heap(desc, 2, columns, operators,
										collations, nulls_first, work_mem,
										NULL, wanted > 0 ?
										TUPLESORT_ALLOWBOUNDED :
										TUPLESORT_NONE);
	if (wanted > 0)
		tuplesort_set_bound(answer->sort, wanted);
	answer->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	MemoryContextSwitchTo(old_context);

	for (int i = 0; i < lengthof(heaps); i++)
	{
		while (!pairingheap_is_empty(heaps[i]))
		{
			AnswerRow  *row = pairingheap_container(AnswerRow, link,
													pairingheap_remove_first(heaps[i]));

			sort_put(answer, row->distance, &row->tid);
			pfree(row);
		}
	}
	answer->npending = answer->nproven = 0;
}

static void
sort_put(VhnswAnswer *answer, VhnswDistance distance,
		 const ItemPointerData *tid)
{
	TupleTableSlot *slot = answer->slot;

	ExecClearTuple(slot);
	slot->tts_values[0] = Float8GetDatum(distance.value);
	slot->tts_isnull[0] = distance.isnull;
	slot->tts_values[1] =
		Int64GetDatum(((int64) ItemPointerGetBlockNumber(tid) << 16) |
					  ItemPointerGetOffsetNumber(tid));
	slot->tts_isnull[1] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(answer->sort, slot);
}

static bool
sort_take(VhnswAnswer *answer, VhnswDistance *distance, ItemPointer tid)
{
	bool		isnull;
	int64		packed;

	Assert(answer->sorted);
	if (!tuplesort_gettupleslot(answer->sort, true, false, answer->slot, NULL))
		return false;
	distance->value = DatumGetFloat8(slot_getattr(answer->slot, 1,
												  &distance->isnull));
	packed = DatumGetInt64(slot_getattr(answer->slot, 2, &isnull));
	ItemPointerSet(tid, (BlockNumber) (packed >> 16),
				   (OffsetNumber) (packed & 0xFFFF));
	return true;
}

/* Take the nearest proven row; false if there is none. */
bool
VhnswAnswerTake(VhnswAnswer *answer, VhnswDistance *distance, ItemPointer tid)
{
	AnswerRow  *row;

	if (answer->sort)
		return sort_take(answer, distance, tid);
	if (pairingheap_is_empty(answer->proven))
		return false;
	row = pairingheap_container(AnswerRow, link,
								pairingheap_remove_first(answer->proven));
	answer->nproven--;
	*distance = row->distance;
	*tid = row->tid;
	pfree(row);
	return true;
}

/* Bytes that the rows take; a sort keeps to work_mem by itself. */
Size
VhnswAnswerMemory(const VhnswAnswer *answer)
{
	return (answer->npending + answer->nproven) *
		MAXALIGN(sizeof(AnswerRow) + sizeof(void *));
}

/* Give back what the answer holds. */
void
VhnswAnswerEnd(VhnswAnswer *answer)
{
	if (answer->sort)
		tuplesort_end(answer->sort);
	if (answer->slot)
		ExecDropSingleTupleTableSlot(answer->slot);
	MemoryContextDelete(answer->context);
	memset(answer, 0, sizeof(*answer));
}
