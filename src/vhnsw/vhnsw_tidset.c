/*-------------------------------------------------------------------------
 *
 * vhnsw_tidset.c
 *	  A set of TIDs that can be asked about single ones.
 *
 * Core's TIDBitmap can only be walked over.  Its pages come in order, so that
 * two sorted arrays make a set with a binary search.  It takes less memory
 * than the bitmap, which keeps to work_mem by forgetting the TIDs of some
 * pages: then any TID of the page may be meant.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_tidset.h"

/* Of a page whose TIDs were forgotten */
#define GUESSED_TIDS	64

static void add_page(VhnswTidSet *set, BlockNumber block,
					 const OffsetNumber *offsets, int count);

/* Copy a bitmap into memory of the current context. */
VhnswTidSet *
VhnswTidSetMake(TIDBitmap *bitmap)
{
	VhnswTidSet *set = palloc0_object(VhnswTidSet);
	VecdistBitmapReader reader;
	BlockNumber block;
	OffsetNumber offsets[MaxHeapTuplesPerPage];
	int			count;

	set->pages_capacity = 64;
	set->pages = palloc_array(VhnswTidPage, set->pages_capacity);
	set->offsets_capacity = 256;
	set->offsets = palloc_array(OffsetNumber, set->offsets_capacity);

	VecdistBitmapBegin(&reader, bitmap);
	while (VecdistBitmapNext(&reader, &block, offsets, &count))
		add_page(set, block, offsets, count);
	VecdistBitmapEnd(&reader);
	return set;
}

static void
add_page(VhnswTidSet *set, BlockNumber block, const OffsetNumber *offsets,
		 int count)
{
	VhnswTidPage *page;

	if (set->npages == set->pages_capacity)
	{
		set->pages_capacity *= 2;
		set->pages = repalloc_huge(set->pages,
								   mul_size(set->pages_capacity,
											sizeof(VhnswTidPage)));
	}
	page = &set->pages[set->npages++];
	page->block = block;
	page->count = count;
	page->first = set->noffsets;
	set->count += count < 0 ? GUESSED_TIDS : count;
	if (count <= 0)
		return;

	while (set->noffsets + count > set->offsets_capacity)
	{
		set->offsets_capacity *= 2;
		set->offsets = repalloc_huge(set->offsets,
									 mul_size(set->offsets_capacity,
											  sizeof(OffsetNumber)));
	}
	memcpy(set->offsets + set->noffsets, offsets,
		   count * sizeof(OffsetNumber));
	set->noffsets += count;
}

/* May this TID be meant? */
bool
VhnswTidSetHas(const VhnswTidSet *set, const ItemPointerData *tid)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	int			low = 0;
	int			high = set->npages;
	const VhnswTidPage *page;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (set->pages[middle].block < block)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == set->npages || set->pages[low].block != block)
		return false;

	page = &set->pages[low];
	for (int i = 0; i < page->count; i++)
	{
		if (set->offsets[page->first + i] == offset)
			return true;
	}
	return page->count < 0;
}

/*
 * The next TID of the set; false if there is none.  Of a page whose TIDs were
 * forgotten, all that a page can have.
 */
bool
VhnswTidSetNext(VhnswTidSetReader *reader, ItemPointer tid)
{
	const VhnswTidSet *set = reader->set;

	while (reader->page < set->npages)
	{
		const VhnswTidPage *page = &set->pages[reader->page];
		bool		all = page->count < 0;

		if (reader->position < (all ? MaxHeapTuplesPerPage : page->count))
		{
			int			i = reader->position++;

			ItemPointerSet(tid, page->block, all ? FirstOffsetNumber + i :
						   set->offsets[page->first + i]);
			return true;
		}
		reader->page++;
		reader->position = 0;
	}
	return false;
}
