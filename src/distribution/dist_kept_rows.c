/*-------------------------------------------------------------------------
 *
 * dist_kept_rows.c
 *	  Rows of partitions of this server that are read ahead of their use.
 *
 * A tuplesort has them, each with the number of its partition and its own in
 * there as further columns.  Portals do not keep to the order: what an index
 * finds late would come after what was taken before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

#include "distribution/dist_kept_rows.h"

struct DistKeptRows
{
	MemoryContext context;		/* of all of this */
	Tuplesortstate *sort;
	TupleDesc	desc;			/* of the rows */
	TupleTableSlot *row;		/* to put one, with its partition and number */
	TupleTableSlot *sorted;		/* to take one */
};

DistKeptRows *
DistKeptRowsBegin(TupleDesc desc)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "kept rows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	DistKeptRows *kept = palloc(sizeof(DistKeptRows));
	int			natts = desc->natts;
	TupleDesc	wide = CreateTemplateTupleDesc(natts + 2);
	AttrNumber	columns[] = {natts, natts + 1, natts + 2};
	Oid			operators[] = {Float8LessOperator, Int4LessOperator, Int4LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false, false};

	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(wide, i, desc, i);
	TupleDescInitEntry(wide, natts + 1, "part", INT4OID, -1, 0);
	TupleDescInitEntry(wide, natts + 2, "pos", INT4OID, -1, 0);
	kept->context = context;
	kept->desc = CreateTupleDescCopy(desc);
	kept->row = MakeSingleTupleTableSlot(wide, &TTSOpsVirtual);
	kept->sorted = MakeSingleTupleTableSlot(wide, &TTSOpsMinimalTuple);
	kept->sort = tuplesort_begin_heap(wide, lengthof(columns), columns,
									  operators, collations, nulls_first,
									  work_mem, NULL, TUPLESORT_NONE);
	MemoryContextSwitchTo(caller);
	return kept;
}

void
DistKeptRowsPut(DistKeptRows *kept, int part, int pos, HeapTuple tuple)
{
	TupleTableSlot *row = kept->row;
	int			natts = kept->desc->natts;

	heap_deform_tuple(tuple, kept->desc, row->tts_values, row->tts_isnull);
	row->tts_values[natts] = Int32GetDatum(part);
	row->tts_isnull[natts] = false;
	row->tts_values[natts + 1] = Int32GetDatum(pos);
	row->tts_isnull[natts + 1] = false;
	ExecStoreVirtualTuple(row);
	tuplesort_puttupleslot(kept->sort, row);
	ExecClearTuple(row);
}

void
DistKeptRowsSort(DistKeptRows *kept)
{
	tuplesort_performsort(kept->sort);
}

HeapTuple
DistKeptRowsTake(DistKeptRows *kept, int *part)
{
	TupleTableSlot *sorted = kept->sorted;

	if (!tuplesort_gettupleslot(kept->sort, true, false, sorted, NULL))
		return NULL;
	slot_getallattrs(sorted);
	*part = DatumGetInt32(sorted->tts_values[kept->desc->natts]);
	return heap_form_tuple(kept->desc, sorted->tts_values,
						   sorted->tts_isnull);
}

TupleDesc
DistKeptRowsDesc(const DistKeptRows *kept)
{
	return kept->desc;
}

void
DistKeptRowsEnd(DistKeptRows *kept)
{
	ExecDropSingleTupleTableSlot(kept->row);
	ExecDropSingleTupleTableSlot(kept->sorted);
	tuplesort_end(kept->sort);
	MemoryContextDelete(kept->context);
}
