/*-------------------------------------------------------------------------
 *
 * vhnsw_spill.c
 *	  Arrays of an index build that do not fit into memory.
 *
 * An array of records is a temporary file, of which some pages are in memory.
 * When another is needed, the clock hand looks for one that was not asked for
 * since it came by last, and this one is written if it was changed.  Records
 * that follow each other can also be read and written past these pages.
 *
 * Several processes may have the file of one array open, each with pages of
 * its own, which know nothing of each other.  README, section "Bounded
 * memory", has the rules by which that goes well.
 *
 * The file is PostgreSQL's: it goes at the end of the transaction, or at the
 * restart.  It counts against temp_file_limit in the process that has made it:
 * so a shared array has its whole length from the start, as a hole, and others
 * write within it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/tablespace.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "vhnsw/vhnsw_spill.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* About so many bytes make a page. */
#define PAGE_BYTES BLCKSZ

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
	File		file;
	FileSet    *files;			/* it is one of; NULL = a file of our own */
	uint32		number;			/* of these */
	bool		is_ours;		/* we have made it */
	Size		record_bytes;
	Size		page_bytes;
	uint32		records_per_page;
	uint64		file_bytes;		/* written so far */
	uint32		npages;			/* that have been asked for */
	uint32		map_size;
	uint32	   *map;			/* of each page: its frame, or NO_FRAME */
	Size		cache_bytes;
	uint32		nframes;
	Frame	   *frames;			/* NULL until a page is asked for */
	char	   *memory;			/* of the frames */
	uint32		hand;
	uint32		recent[VHNSW_SPILL_RECENT]; /* frames */
	uint32		next_recent;
};

static VhnswSpill *make_spill(FileSet *files, uint32 number,
							  Size record_bytes, Size cache_bytes);
static void file_name(uint32 number, char *name);
static void make_frames(VhnswSpill *spill);
static void drop_frames(VhnswSpill *spill);
static uint32 find_frame(VhnswSpill *spill, uint32 page);
static uint32 free_frame(VhnswSpill *spill);
static void write_frame(VhnswSpill *spill, uint32 number);
static void read_bytes(VhnswSpill *spill, uint64 offset, Size size,
					   char *memory);
static void write_bytes(VhnswSpill *spill, uint64 offset, Size size,
						const char *memory);

/*
 * VhnswSpillCreate
 *		An array of records, all zero, of which about 'cache_bytes' are kept in
 *		memory; in the current context.
 *
 * 'files' may be NULL for an array of this process alone.  The array grows as
 * records are changed, from 'nrecords' on, which must be all in a job.
 */
VhnswSpill *
VhnswSpillCreate(FileSet *files, uint32 number, Size record_bytes,
				 uint32 nrecords, Size cache_bytes)
{
	VhnswSpill *spill = make_spill(files, number, record_bytes, cache_bytes);

	PrepareTempTablespaces();
	spill->is_ours = true;
	if (files)
	{
		char		name[MAXPGPATH];

		file_name(number, name);
		spill->file = FileSetCreate(files, name);
	}
	else
		spill->file = OpenTemporaryFile(false);
	if (nrecords > 0)
		write_bytes(spill, nrecords * (uint64) spill->record_bytes - 1, 1, "");
	return spill;
}

/* The array of another process. */
VhnswSpill *
VhnswSpillOpen(FileSet *files, const VhnswSpillShape *shape)
{
	VhnswSpill *spill = make_spill(files, shape->number, shape->record_bytes,
								   shape->cache_bytes);
	char		name[MAXPGPATH];

	file_name(shape->number, name);
	spill->file = FileSetOpen(files, name, O_RDWR);
	if (spill->file < 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not open temporary file of an index build: %m"));
	spill->file_bytes = shape->file_bytes;
	return spill;
}

/* About so many records that lie so far apart make a page. */
static uint32
records_per_page(Size stride)
{
	return (uint32) Max(PAGE_BYTES / stride, 1);
}

/*
 * VhnswSpillMapBytes
 *		Memory that an array of so many records takes besides its cache, in each
 *		process.
 */
Size
VhnswSpillMapBytes(Size record_bytes, uint64 nrecords)
{
	return (nrecords / records_per_page(VhnswSpillStride(record_bytes)) + 1) *
		sizeof(uint32);
}

static VhnswSpill *
make_spill(FileSet *files, uint32 number, Size record_bytes, Size cache_bytes)
{
	VhnswSpill *spill = palloc0_object(VhnswSpill);

	spill->context = CurrentMemoryContext;
	spill->files = files;
	spill->number = number;
	spill->record_bytes = VhnswSpillStride(record_bytes);
	spill->records_per_page = records_per_page(spill->record_bytes);
	spill->page_bytes = spill->records_per_page * spill->record_bytes;
	spill->cache_bytes = cache_bytes;
	return spill;
}

static void
file_name(uint32 number, char *name)
{
	snprintf(name, MAXPGPATH, "vhnsw%u", number);
}

/*
 * VhnswSpillDescribe
 *		Write what was changed, and tell what others need to know, who will have
 *		caches of the same size.
 */
VhnswSpillShape
VhnswSpillDescribe(VhnswSpill *spill)
{
	for (uint32 i = 0; i < spill->nframes; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (spill->frames[i].changed)
			write_frame(spill, i);
	}
	return (VhnswSpillShape)
	{
		spill, spill->number, spill->record_bytes, spill->cache_bytes,
			spill->file_bytes
	};
}

/* Take more memory or less; what was asked for is no longer where it was. */
void
VhnswSpillResize(VhnswSpill *spill, Size cache_bytes)
{
	drop_frames(spill);
	spill->cache_bytes = cache_bytes;
}

/* Have no page in memory, since others are about to change the file. */
void
VhnswSpillForget(VhnswSpill *spill)
{
	VhnswSpillResize(spill, spill->cache_bytes);
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

/* Read records that are not in pages in memory, or not changed there. */
void
VhnswSpillRead(VhnswSpill *spill, uint32 first, uint32 n, void *records)
{
	read_bytes(spill, first * (uint64) spill->record_bytes,
			   n * spill->record_bytes, records);
}

/* Write records that are not in pages in memory. */
void
VhnswSpillWrite(VhnswSpill *spill, uint32 first, uint32 n,
				const void *records)
{
	write_bytes(spill, first * (uint64) spill->record_bytes,
				n * spill->record_bytes, records);
}

/* Close the file; whoever has made it deletes it. */
void
VhnswSpillFree(VhnswSpill *spill)
{
	FileClose(spill->file);
	if (spill->files && spill->is_ours)
	{
		char		name[MAXPGPATH];

		file_name(spill->number, name);
		FileSetDelete(spill->files, name, true);
	}
	if (spill->frames)
	{
		pfree(spill->memory);
		pfree(spill->frames);
	}
	if (spill->map)
		pfree(spill->map);
	pfree(spill);
	VhnswSpillGiveBack();
}

/*
 * VhnswSpillGiveBack
 *		Give freed memory back to the system, which malloc would keep: as much
 *		as the largest cache that was freed, twice, beyond what is planned.
 */
void
VhnswSpillGiveBack(void)
{
#ifdef __GLIBC__
	(void) malloc_trim(0);
#endif
}

static void
make_frames(VhnswSpill *spill)
{
	spill->nframes =
		(uint32) Min(Max(spill->cache_bytes / spill->page_bytes, MIN_FRAMES),
					 PG_INT32_MAX);
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
		CHECK_FOR_INTERRUPTS();
		if (spill->frames[i].changed)
			write_frame(spill, i);
		spill->map[spill->frames[i].page] = NO_FRAME;
	}
	if (spill->frames == NULL)
		return;
	pfree(spill->frames);
	pfree(spill->memory);
	spill->frames = NULL;
	spill->nframes = 0;
	VhnswSpillGiveBack();
}

/* Bring a page into memory. */
static uint32
find_frame(VhnswSpill *spill, uint32 page)
{
	uint32		number;

	if (spill->frames == NULL)
		make_frames(spill);
	number = free_frame(spill);
	if (page >= spill->map_size)
	{
		uint64		there = (spill->file_bytes + spill->page_bytes - 1) /
		spill->page_bytes;
		Size		size;

		/* What is there already does not grow, but for codes while loading. */
		spill->map_size = page < there ? (uint32) there :
			Max(page + 1, Max(2 * spill->map_size, 64));
		size = spill->map_size * sizeof(uint32);
		spill->map = spill->map ? repalloc_huge(spill->map, size) :
			MemoryContextAllocHuge(spill->context, size);
	}
	while (spill->npages <= page)
		spill->map[spill->npages++] = NO_FRAME;

	read_bytes(spill, page * (uint64) spill->page_bytes, spill->page_bytes,
			   spill->memory + number * spill->page_bytes);
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

static void
write_frame(VhnswSpill *spill, uint32 number)
{
	Frame	   *frame = &spill->frames[number];

	write_bytes(spill, frame->page * (uint64) spill->page_bytes,
				spill->page_bytes, spill->memory + number * spill->page_bytes);
	frame->changed = false;
}

/* What was not written yet is zero. */
static void
read_bytes(VhnswSpill *spill, uint64 offset, Size size, char *memory)
{
	Size		there = offset < spill->file_bytes ?
	Min(size, spill->file_bytes - offset) : 0;
	int			done = 0;

	if (there > 0)
		done = FileRead(spill->file, memory, (int) there, (off_t) offset,
						WAIT_EVENT_BUFFILE_READ);
	if (done < 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not read from temporary file of an index build: %m"));
	if (done < there)
		ereport(ERROR,
				errcode(ERRCODE_IO_ERROR),
				errmsg("could not read from temporary file of an index build"),
				errdetail("Read only %d of %zu bytes.", done, there));
	memset(memory + there, 0, size - there);
}

static void
write_bytes(VhnswSpill *spill, uint64 offset, Size size, const char *memory)
{
	/* PostgreSQL 15 has no const there. */
	if (FileWrite(spill->file, unconstify(char *, memory), (int) size,
				  (off_t) offset, WAIT_EVENT_BUFFILE_WRITE) != size)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not write to temporary file of an index build: %m"));
	spill->file_bytes = Max(spill->file_bytes, offset + size);
}
