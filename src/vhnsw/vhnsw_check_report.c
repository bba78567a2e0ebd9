/*-------------------------------------------------------------------------
 *
 * vhnsw_check_report.c
 *	  Report what vhnsw_check() finds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "vhnsw/vhnsw_check.h"

#define REPORT_COLUMNS 5

/*
 * VhnswCheckReport
 *		Add a row to the result.
 *
 * 'severity' is VHNSW_DAMAGE or VHNSW_INCOMPLETE, 'item' a slot or cell, or -1
 * if the finding is about the whole block, which may be InvalidBlockNumber.
 */
void
VhnswCheckReport(VhnswCheck *check, const char *severity,
				 const char *invariant, BlockNumber blkno, int item,
				 const char *format,...)
{
	Datum		values[REPORT_COLUMNS];
	bool		nulls[REPORT_COLUMNS] = {false};
	va_list		args;
	char		message[256];

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);

	values[0] = CStringGetTextDatum(severity);
	nulls[1] = invariant == NULL;
	values[1] = invariant ? CStringGetTextDatum(invariant) : (Datum) 0;
	nulls[2] = blkno == InvalidBlockNumber;
	values[2] = Int64GetDatum(blkno);
	nulls[3] = item < 0;
	values[3] = Int32GetDatum(item);
	values[4] = CStringGetTextDatum(message);
	tuplestore_putvalues(check->result->setResult, check->result->setDesc,
						 values, nulls);
}
