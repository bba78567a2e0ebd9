/*-------------------------------------------------------------------------
 *
 * vhnsw_spill.c
 *	  Arrays of an index build that do not fit into memory.
 *
 * An array of records is a temporary file, of which some pages are in memory.
 * When another is needed, the clock hand looks for one that was not asked for
 * since it came by last, and this one is written if it was changed.
 *
 * A build goes over elements in the order of their leaves, so most of what it
 * asks for was asked for shortly before.
 *
 * The file is PostgreSQL's: it counts against temp_file_limit and goes at the
 * end of the transaction, or at the restart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/tablespace.h"
#include "storage/buffile.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_spill.h"

/* Enough that there is always one that may go. */
#define MIN_FRAMES (2 * VHNSW_SPILL_RECENT)

#define NO_FRAME PG_UINT32_MAX
#define NO_PAGE PG_UINT32_MAX

/* A page of memory. */
typedef struct Frame
{
	uint32		page;			/* of the file; NO_PAGE = empty */
	bool		asked_for;		/* since the hand came by */
	bool		changed;
} Frame;

struct VhnswSpill
{
	MemoryContext context;
	BufFile    *file;
	Size		record_bytes;
	Size		page_bytes;
	uint32		records_per_page;
	uint32		file_pages;		/* written so far */
	uint32		npages;			/* that have been asked for */
	uint32		map_size;
	uint32	   *map;			/* of each page: its frame, or NO_FRAME */
	uint32		nframes;
	Frame	   *frames;
	char	   *memory;			/* of the frames */
	uint32		hand;
	uint32		recent[VHNSW_SPILL_RECENT]; /* frames */
	uint32		next_recent;
};

static void make_frames(VhnswSpill *spill, Size cache_bytes);
static void drop_frames(VhnswSpill *spill);
static uint32 find_frame(VhnswSpill *spill, uint32 page);
static uint32 free_frame(VhnswSpill *spill);
static void write_frame(VhnswSpill *spill, uint32 number);
static void read_page(VhnswSpill *spill, uint32 page, char *memory);
static void seek_page(VhnswSpill *spill, uint32 page);

/*
 * VhnswSpillCreate
 *		An array of records, all zero, of which about 'cache_bytes' are kept in
 *		memory; in the current context.
 */
VhnswSpill *
VhnswSpillCreate(Size record_bytes, Size cache_bytes)
{
	VhnswSpill *spill = palloc0_object(VhnswSpill);

	spill->context = CurrentMemoryContext;
	spill->record_bytes = MAXALIGN(record_bytes);
	spill->page_bytes = TYPEALIGN(BLCKSZ, spill->record_bytes);
	spill->records_per_page = spill->page_bytes / spill->record_bytes;
	PrepareTempTablespaces();
	spill->file = BufFileCreateTemp(false);
	make_frames(spill, cache_bytes);
	return spill;
}

/* Take more memory or less; what was asked for is no longer where it was. */
void
VhnswSpillResize(VhnswSpill *spill, Size cache_bytes)
{
	drop_frames(spill);
	make_frames(spill, cache_bytes);
}

/*
 * VhnswSpillGet
 *		A record, to be read.
 *
 * It stays where it is until VHNSW_SPILL_RECENT others have been asked for.
 */
void *
VhnswSpillGet(VhnswSpill *spill, uint32 record)
{
	uint32		page = record / spill->records_per_page;
	uint32		number = page < spill->npages ? spill->map[page] : NO_FRAME;

	if (number == NO_FRAME)
		number = find_frame(spill, page);
	spill->frames[number].asked_for = true;
	spill->recent[spill->next_recent++ % VHNSW_SPILL_RECENT] = number;
	return spill->memory + number * spill->page_bytes +
		record % spill->records_per_page * spill->record_bytes;
}

/* Likewise, to be changed, before others have been asked for. */
void *
VhnswSpillChange(VhnswSpill *spill, uint32 record)
{
	void	   *address = VhnswSpillGet(spill, record);

	spill->frames[spill->map[record / spill->records_per_page]].changed = true;
	return address;
}

void
VhnswSpillFree(VhnswSpill *spill)
{
	BufFileClose(spill->file);
	pfree(spill->memory);
	pfree(spill->frames);
	if (spill->map)
		pfree(spill->map);
	pfree(spill);
}

static void
make_frames(VhnswSpill *spill, Size cache_bytes)
{
	spill->nframes = (uint32) Min(Max(cache_bytes / spill->page_bytes,
									  MIN_FRAMES), PG_INT32_MAX);
	spill->frames =
		MemoryContextAllocHuge(spill->context, spill->nframes * sizeof(Frame));
	spill->memory =
		MemoryContextAllocHuge(spill->context,
							   spill->nframes * spill->page_bytes);
	for (uint32 i = 0; i < spill->nframes; i++)
		spill->frames[i] = (Frame)
	{
		NO_PAGE, false, false
	};
	for (int i = 0; i < VHNSW_SPILL_RECENT; i++)
		spill->recent[i] = NO_FRAME;
	spill->hand = 0;
}

static void
drop_frames(VhnswSpill *spill)
{
	for (uint32 i = 0; i < spill->nframes; i++)
	{
		if (spill->frames[i].page == NO_PAGE)
			continue;
		if (spill->frames[i].changed)
			write_frame(spill, i);
		spill->map[spill->frames[i].page] = NO_FRAME;
	}
	pfree(spill->frames);
	pfree(spill->memory);
}

/* Bring a page into memory. */
static uint32
find_frame(VhnswSpill *spill, uint32 page)
{
	uint32		number = free_frame(spill);

	if (page >= spill->map_size)
	{
		Size		size;

		spill->map_size = Max(page + 1, Max(2 * spill->map_size, 64));
		size = spill->map_size * sizeof(uint32);
		spill->map = spill->map ? repalloc_huge(spill->map, size) :
			MemoryContextAllocHuge(spill->context, size);
	}
	while (spill->npages <= page)
		spill->map[spill->npages++] = NO_FRAME;

	read_page(spill, page, spill->memory + number * spill->page_bytes);
	spill->frames[number].page = page;
	spill->map[page] = number;
	return number;
}

/* A frame without a page. */
static uint32
free_frame(VhnswSpill *spill)
{
	for (;;)
	{
		uint32		number = spill->hand;
		Frame	   *frame = &spill->frames[number];
		bool		is_recent = false;

		spill->hand = (spill->hand + 1) % spill->nframes;
		if (frame->page == NO_PAGE)
			return number;
		for (int i = 0; i < VHNSW_SPILL_RECENT; i++)
			is_recent = is_recent || spill->recent[i] == number;
		if (is_recent)
			continue;
		if (frame->asked_for)
		{
			frame->asked_for = false;
			continue;
		}
		if (frame->changed)
			write_frame(spill, number);
		spill->map[frame->page] = NO_FRAME;
		frame->page = NO_PAGE;
		return number;
	}
}

/* The file has no holes: what was not written yet before a page is zero. */
static void
write_frame(VhnswSpill *spill, uint32 number)
{
	Frame	   *frame = &spill->frames[number];

	if (frame->page > spill->file_pages)
	{
		char	   *zeros = MemoryContextAllocZero(spill->context,
												   spill->page_bytes);

		seek_page(spill, spill->file_pages);
		for (; spill->file_pages < frame->page; spill->file_pages++)
			BufFileWrite(spill->file, zeros, spill->page_bytes);
		pfree(zeros);
	}
	seek_page(spill, frame->page);
	BufFileWrite(spill->file, spill->memory + number * spill->page_bytes,
				 spill->page_bytes);
	spill->file_pages = Max(spill->file_pages, frame->page + 1);
	frame->changed = false;
}

static void
read_page(VhnswSpill *spill, uint32 page, char *memory)
{
	if (page >= spill->file_pages)
	{
		memset(memory, 0, spill->page_bytes);
		return;
	}
	seek_page(spill, page);
	if (BufFileRead(spill->file, memory, spill->page_bytes) != spill->page_bytes)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not read from temporary file of an index build"));
}

static void
seek_page(VhnswSpill *spill, uint32 page)
{
	uint64		block = (uint64) page * (spill->page_bytes / BLCKSZ);

	if (BufFileSeekBlock(spill->file, (long) block) != 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not seek in temporary file of an index build"));
}
