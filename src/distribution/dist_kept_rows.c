/*-------------------------------------------------------------------------
 *
 * dist_kept_rows.c
 *	  Rows of partitions of this server that are read ahead of their use.
 *
 * A tuplestore has them, each with the number of its partition as a further
 * column.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/tuplestore.h"

#include "distribution/dist_kept_rows.h"

struct DistKeptRows
{
	Tuplestorestate *store;
	TupleDesc	desc;			/* of the rows */
	TupleTableSlot *slot;		/* of these columns and the partition */
	Datum	   *values;			/* room for them */
	bool	   *nulls;
};

DistKeptRows *
DistKeptRowsBegin(TupleDesc desc)
{
	DistKeptRows *kept = palloc(sizeof(DistKeptRows));
	int			natts = desc->natts;
	TupleDesc	stored = CreateTemplateTupleDesc(natts + 1);

	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(stored, i, desc, i);
	TupleDescInitEntry(stored, natts + 1, "part", INT4OID, -1, 0);
	kept->store = tuplestore_begin_heap(false, false, work_mem);
	kept->desc = CreateTupleDescCopy(desc);
	kept->slot = MakeSingleTupleTableSlot(stored, &TTSOpsMinimalTuple);
	kept->values = palloc(sizeof(Datum) * (natts + 1));
	kept->nulls = palloc(sizeof(bool) * (natts + 1));
	return kept;
}

void
DistKeptRowsPut(DistKeptRows *kept, int part, HeapTuple tuple)
{
	int			natts = kept->desc->natts;

	heap_deform_tuple(tuple, kept->desc, kept->values, kept->nulls);
	kept->values[natts] = Int32GetDatum(part);
	kept->nulls[natts] = false;
	tuplestore_putvalues(kept->store, kept->slot->tts_tupleDescriptor,
						 kept->values, kept->nulls);
}

HeapTuple
DistKeptRowsTake(DistKeptRows *kept, int *part)
{
	TupleTableSlot *slot = kept->slot;
	HeapTuple	tuple;

	if (!tuplestore_gettupleslot(kept->store, true, false, slot))
		return NULL;
	slot_getallattrs(slot);
	*part = DatumGetInt32(slot->tts_values[kept->desc->natts]);
	tuple = heap_form_tuple(kept->desc, slot->tts_values, slot->tts_isnull);

	/* What came from a file is in the current memory context, too. */
	ExecClearTuple(slot);
	return tuple;
}

TupleDesc
DistKeptRowsDesc(const DistKeptRows *kept)
{
	return kept->desc;
}

void
DistKeptRowsEnd(DistKeptRows *kept)
{
	ExecDropSingleTupleTableSlot(kept->slot);
	tuplestore_end(kept->store);
}
