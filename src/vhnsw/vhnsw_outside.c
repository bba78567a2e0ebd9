/*-------------------------------------------------------------------------
 *
 * vhnsw_outside.c
 *	  Rows of an index build that are outside of the graph.
 *
 * NULLs, and vectors that have no code, are lists of TIDs.  There may be more of
 * them than maintenance_work_mem has room for; so all but the latest are in a
 * temporary file, which goes at the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/tablespace.h"

#include "vhnsw/vhnsw_outside.h"

#define LATEST_BYTES (VHNSW_OUTSIDE_TIDS * sizeof(ItemPointerData))

/* Add a TID; memory comes from the current context, which must outlive it. */
void
VhnswOutsideAdd(VhnswOutside *list, const ItemPointerData *tid)
{
	uint64		place = list->count % VHNSW_OUTSIDE_TIDS;

	if (list->latest == NULL)
		list->latest = palloc(LATEST_BYTES);
	else if (place == 0)
	{
		if (list->file == NULL)
		{
			PrepareTempTablespaces();
			list->file = BufFileCreateTemp(false);
		}
		BufFileWrite(list->file, list->latest, LATEST_BYTES);
	}
	list->latest[place] = *tid;
	list->count++;
}

/* Read from the first TID on; nothing will be added any more. */
void
VhnswOutsideRewind(VhnswOutside *list)
{
	list->next = 0;
	if (list->file && BufFileSeek(list->file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				errcode(ERRCODE_IO_ERROR),
				errmsg("could not rewind temporary file of an index build"));
}

/* The next TID, in the order in which they were added; there must be one. */
ItemPointerData
VhnswOutsideNext(VhnswOutside *list)
{
	uint64		in_file = (list->count - 1) / VHNSW_OUTSIDE_TIDS *
	VHNSW_OUTSIDE_TIDS;
	uint64		number = list->next++;
	ItemPointerData tid;
	Size		done;

	Assert(number < list->count);
	if (number >= in_file)
		return list->latest[number - in_file];
	done = BufFileRead(list->file, &tid, sizeof(tid));
	if (done < sizeof(tid))
		ereport(ERROR,
				errcode(ERRCODE_IO_ERROR),
				errmsg("could not read from temporary file of an index build"),
				errdetail("Read only %zu of %zu bytes.", done, sizeof(tid)));
	return tid;
}

/* The list is empty again. */
void
VhnswOutsideFree(VhnswOutside *list)
{
	if (list->file)
		BufFileClose(list->file);
	if (list->latest)
		pfree(list->latest);
	memset(list, 0, sizeof(*list));
}
