/*-------------------------------------------------------------------------
 *
 * vhnsw_extend.c
 *	  Add all pages of an index build to the file at once.
 *
 * Writing zeros, as for one page, takes some 20 microseconds for each, and
 * nobody can help: it was 4 to 6 % of a build.  So the operating system is
 * asked for room, in which pages read as zero.  If the disk is full, it says so
 * here and not when pages are written later.  PostgreSQL does the same from 16
 * on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_page.h"

static void add_pages(Relation index, BlockNumber first, BlockNumber npages);

/*
 * VhnswExtendBy
 *		Add pages to an index that is being built, all zero on disk.
 *
 * Caller holds no content lock.  Can be canceled.
 */
void
VhnswExtendBy(Relation index, BlockNumber npages)
{
	LockRelationForExtension(index, ExclusiveLock);
	if (npages > 0)
		add_pages(index, RelationGetNumberOfBlocks(index), npages);
	UnlockRelationForExtension(index, ExclusiveLock);
}

#if VECDIST_HAS_ZERO_EXTEND

/* Pages added at a time, between which a build can be canceled */
#define PAGES_AT_ONCE (64 * 1024 * 1024 / BLCKSZ)

static void
add_pages(Relation index, BlockNumber first, BlockNumber npages)
{
	for (BlockNumber done = 0; done < npages; done += PAGES_AT_ONCE)
	{
		CHECK_FOR_INTERRUPTS();
		smgrzeroextend(RelationGetSmgr(index), MAIN_FORKNUM, first + done,
					   (int) Min(npages - done, PAGES_AT_ONCE), false);
	}
}

#else

/* Likewise, where the operating system may have to write something in each */
#define PAGES_AT_ONCE (16 * 1024 * 1024 / BLCKSZ)

static bool reserve(Relation index, BlockNumber first, BlockNumber npages);
static int	allocate(int fd, off_t offset, off_t size);

/* A block beyond the end makes what is between a hole, which is then filled. */
static void
add_pages(Relation index, BlockNumber first, BlockNumber npages)
{
	PGAlignedBlock zero;
	BlockNumber end = first + npages;
	BlockNumber n;

	memset(zero.data, 0, BLCKSZ);
	smgrextend(RelationGetSmgr(index), MAIN_FORKNUM, end - 1, zero.data, false);
	for (BlockNumber block = first; block < end; block += n)
	{
		CHECK_FOR_INTERRUPTS();
		/* A piece is in one file of the relation. */
		n = Min(end - block, PAGES_AT_ONCE);
		n = Min(n, RELSEG_SIZE - block % RELSEG_SIZE);
		if (reserve(index, block, n))
			continue;
		for (BlockNumber i = block; i < block + n; i++)
			smgrwrite(RelationGetSmgr(index), MAIN_FORKNUM, i, zero.data,
					  false);
	}
}

/* Reserve room for pages; false if the operating system cannot. */
static bool
reserve(Relation index, BlockNumber first, BlockNumber npages)
{
	char	   *base = relpath(RelationGetSmgr(index)->smgr_rnode, MAIN_FORKNUM);
	BlockNumber segment = first / RELSEG_SIZE;
	char	   *path = segment == 0 ? base : psprintf("%s.%u", base, segment);
	int			fd = OpenTransientFile(path, O_RDWR | PG_BINARY);
	int			error;

	if (fd < 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not open file \"%s\": %m", path));
	error = allocate(fd, (off_t) (first % RELSEG_SIZE) * BLCKSZ,
					 (off_t) npages * BLCKSZ);
	if (error != 0 && error != EINVAL && error != EOPNOTSUPP)
	{
		errno = error;
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not extend file \"%s\": %m", path),
				errhint("Check free disk space."));
	}
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not close file \"%s\": %m", path));
	if (path != base)
		pfree(path);
	pfree(base);
	return error == 0;
}

/* Returns 0 or an error number. */
static int
allocate(int fd, off_t offset, off_t size)
{
#ifdef HAVE_POSIX_FALLOCATE
	int			error;

	do
	{
		CHECK_FOR_INTERRUPTS();
		error = posix_fallocate(fd, offset, size);
	} while (error == EINTR);
	return error;
#else
	return EOPNOTSUPP;
#endif
}

#endif
