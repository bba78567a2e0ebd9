/*-------------------------------------------------------------------------
 *
 * vhnsw_page.c
 *	  Buffer access, WAL and free space of a vhnsw index.
 *
 * The only file of vhnsw that calls ReadBuffer and LockBuffer.  Every page
 * that is handed out has been checked to be of the kind the caller expects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pgstat.h"
#include "storage/buf_internals.h"
#include "storage/freespace.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_page.h"

/*
 * Where this backend last found the pages of a relation, an index or its table
 * (vhnsw_row.c).  Asking a buffer whether it still holds a page costs half of
 * looking the page up (measured: 0.7 against 1.4 microseconds on 1.5 GB).
 */
typedef struct VhnswPageHints
{
	Oid			relid;			/* hash key */
	bool		valid;			/* false: the relation may have changed */
	RelFileLocator locator;		/* what the hints are for */
	BlockNumber nblocks;		/* length of the array */
	uint32		visits;
	Buffer	   *buffers;
} VhnswPageHints;

/* Every so many visits a page is looked up, which raises its usage count. */
#define VISITS_PER_LOOKUP 16

/* A hint: the kernel was asked for the page. */
#define BUFFER_ON_ITS_WAY INT_MAX

static HTAB *page_hints = NULL;

static bool block_exists(Relation index, BlockNumber blkno);
static Buffer read_and_lock(Relation index, BlockNumber blkno, int access,
							BufferAccessStrategy strategy);
static void reset_hints(Datum arg, Oid relid);
static void drop_stale_hints(void);
static int	find_free_slot(const VhnswLayout *layout, Page page);
static bool try_free_page(Relation index, const VhnswLayout *layout,
						  BlockNumber blkno, Buffer *buffer, int *slotno);

/* Initialize an empty page.  'layout' is needed for slots and entries. */
void
VhnswInitPage(Page page, VhnswPageKind kind, const VhnswLayout *layout)
{
	VhnswPageOpaque opaque;
	int			used = 0;

	PageInit(page, BLCKSZ, sizeof(VhnswPageOpaqueData));
	opaque = VhnswPageGetOpaque(page);
	opaque->kind = kind;
	opaque->page_id = VHNSW_PAGE_ID;

	switch (kind)
	{
		case VHNSW_PAGE_META:
			used = sizeof(VhnswMetaPageData);
			break;
		case VHNSW_PAGE_MEAN:
		case VHNSW_PAGE_PCA:
			used = VHNSW_PAGE_CAPACITY;
			break;
		case VHNSW_PAGE_ENTRY:
			used = layout->entries_per_page * layout->entry_size;
			break;
		case VHNSW_PAGE_ELEMENT:
			used = layout->slots_per_page * layout->slot_size;
			break;
		case VHNSW_PAGE_TIDS:
			used = VHNSW_CELLS_PER_PAGE * sizeof(VhnswCellData);
			break;
	}

	/* Generic WAL zeroes what lies between pd_lower and pd_upper. */
	((PageHeader) page)->pd_lower = SizeOfPageHeaderData + used;
}

bool
VhnswPageIsKind(Page page, VhnswPageKind kind)
{
	return !PageIsNew(page) &&
		PageGetSpecialSize(page) == sizeof(VhnswPageOpaqueData) &&
		VhnswPageGetOpaque(page)->page_id == VHNSW_PAGE_ID &&
		VhnswPageGetOpaque(page)->kind == kind;
}

void
VhnswReportCorruption(Relation index, BlockNumber blkno, const char *detail)
{
	ereport(ERROR,
			errcode(ERRCODE_INDEX_CORRUPTED),
			errmsg("index \"%s\" is damaged at block %u",
				   RelationGetRelationName(index), blkno),
			errdetail_internal("%s", detail),
			errhint("REINDEX the index."));
}

/*
 * Block numbers come from pages that may be damaged.  smgr remembers a length
 * that the index once had; we never truncate, so most blocks are known to
 * exist without a system call.
 */
static bool
block_exists(Relation index, BlockNumber blkno)
{
	BlockNumber known = RelationGetSmgr(index)->smgr_cached_nblocks[MAIN_FORKNUM];

	return (known != InvalidBlockNumber && blkno < known) ||
		blkno < RelationGetNumberOfBlocks(index);
}

static Buffer
read_and_lock(Relation index, BlockNumber blkno, int access,
			  BufferAccessStrategy strategy)
{
	Buffer		buffer;

	if (unlikely(!block_exists(index, blkno)))
		VhnswReportCorruption(index, blkno,
							  "The block is beyond the end of the index.");
	buffer = ReadBufferExtended(index, MAIN_FORKNUM, blkno, RBM_NORMAL,
								strategy);
	LockBuffer(buffer, access);
	return buffer;
}

/*
 * VhnswGetPage
 *		Pin and lock a page that must be of the given kind.
 *
 * 'access' is BUFFER_LOCK_SHARE or BUFFER_LOCK_EXCLUSIVE.  Release with
 * VhnswReleasePage().
 */
Buffer
VhnswGetPage(Relation index, BlockNumber blkno, VhnswPageKind kind, int access)
{
	Buffer		buffer = read_and_lock(index, blkno, access, NULL);

	if (unlikely(!VhnswPageIsKind(BufferGetPage(buffer), kind)))
		VhnswReportCorruption(index, blkno, "The page is of another kind than its users say.");
	return buffer;
}

/*
 * VhnswPinHinted
 *		Pin the buffer in which a page of a relation was last, if it still is
 *		there and need not be looked up; else returns InvalidBuffer.
 */
Buffer
VhnswPinHinted(Relation relation, VhnswPageHints *hints, BlockNumber blkno)
{
	Buffer		buffer = VhnswHintedBuffer(hints, blkno);

	if (buffer == InvalidBuffer ||
		hints->visits++ % VISITS_PER_LOOKUP == 0 ||
		!ReadRecentBuffer(hints->locator, MAIN_FORKNUM, blkno, buffer))
		return InvalidBuffer;

	/* Core counts such a read for EXPLAIN, but not for the relation. */
	pgstat_count_buffer_read(relation);
	pgstat_count_buffer_hit(relation);
	return buffer;
}

/* The same, and lock the page in share mode; release with VhnswReleasePage(). */
Buffer
VhnswLockHinted(Relation relation, VhnswPageHints *hints, BlockNumber blkno)
{
	Buffer		buffer = VhnswPinHinted(relation, hints, blkno);

	if (BufferIsValid(buffer))
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
	return buffer;
}

/* The buffer where a page was last, or InvalidBuffer. */
Buffer
VhnswHintedBuffer(const VhnswPageHints *hints, BlockNumber blkno)
{
	Buffer		buffer = blkno < hints->nblocks ? hints->buffers[blkno] : InvalidBuffer;

	return buffer == BUFFER_ON_ITS_WAY ? InvalidBuffer : buffer;
}

/*
 * VhnswVisitPage
 *		Pin an element page and lock it in share mode, as a search does often.
 *
 * 'hints' are the index's.
 */
Buffer
VhnswVisitPage(Relation index, VhnswPageHints *hints, BlockNumber blkno)
{
	Buffer		buffer = VhnswLockHinted(index, hints, blkno);

	if (unlikely(!BufferIsValid(buffer)))
	{
		buffer = read_and_lock(index, blkno, BUFFER_LOCK_SHARE, NULL);
		VhnswNoteHint(hints, blkno, buffer);
	}

	if (unlikely(!VhnswPageIsKind(BufferGetPage(buffer), VHNSW_PAGE_ELEMENT)))
		VhnswReportCorruption(index, blkno, "The page is of another kind than its users say.");
	return buffer;
}

/*
 * VhnswPrefetchSlot
 *		Let the CPU fetch what a visit to an element will read, if we know where
 *		it is.
 *
 * Nothing is pinned: if the page has moved, the wrong memory is fetched.
 */
void
VhnswPrefetchSlot(const VhnswLayout *layout, const VhnswPageHints *hints,
				  VhnswElement element)
{
	BlockNumber blkno = VhnswElementBlock(layout, element);
	Buffer		buffer = VhnswHintedBuffer(hints, blkno);
	const char *slot;

	if (buffer == InvalidBuffer || BufferIsLocal(buffer))
		return;
	__builtin_prefetch(GetBufferDescriptor(buffer - 1));
	__builtin_prefetch(BufferGetBlock(buffer));
	__builtin_prefetch((char *) BufferGetBlock(buffer) + BLCKSZ -
					   sizeof(VhnswPageOpaqueData));
	slot = (const char *)
		VhnswPageGetSlot(layout, BufferGetPage(buffer),
						 VhnswElementSlot(layout, element));
	for (int i = 0; i < layout->slot_size; i += 64)
		__builtin_prefetch(slot + i);
}

/*
 * VhnswPrefetchPage
 *		Let the kernel read the page of an element that we have never seen, and
 *		that is in no buffer.  Asks once for each page.
 */
void
VhnswPrefetchPage(Relation index, const VhnswLayout *layout,
				  VhnswPageHints *hints, VhnswElement element)
{
	BlockNumber blkno = VhnswElementBlock(layout, element);
	PrefetchBufferResult result;

	if (blkno < hints->nblocks && hints->buffers[blkno] != InvalidBuffer)
		return;

	/* A damaged link may lead anywhere; visiting it will say so. */
	if (!block_exists(index, blkno))
		return;
	result = PrefetchBuffer(index, MAIN_FORKNUM, blkno);
	VhnswNoteHint(hints, blkno, BufferIsValid(result.recent_buffer) ?
				  result.recent_buffer : BUFFER_ON_ITS_WAY);
}

/*
 * VhnswGetPageHints
 *		The hints for an index or a table, perhaps none.
 *
 * The result is valid until the next call.
 */
VhnswPageHints *
VhnswGetPageHints(Relation relation)
{
	Oid			relid = RelationGetRelid(relation);
	RelFileLocator locator = RelationGetLocator(relation);
	VhnswPageHints *hints;
	bool		found;

	if (page_hints == NULL)
	{
		HASHCTL		info = {.keysize = sizeof(Oid),.entrysize = sizeof(VhnswPageHints)};

		page_hints = hash_create("vhnsw page hints", 16, &info,
								 HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(reset_hints, (Datum) 0);
	}
	hints = hash_search(page_hints, &relid, HASH_FIND, NULL);
	if (likely(hints && hints->valid &&
			   RelFileLocatorEquals(hints->locator, locator)))
		return hints;

	drop_stale_hints();
	hints = hash_search(page_hints, &relid, HASH_ENTER, &found);
	if (found && hints->buffers)
		pfree(hints->buffers);
	hints->valid = true;
	hints->locator = locator;
	hints->visits = 0;
	hints->nblocks = 0;
	hints->buffers = NULL;
	return hints;
}

/* Remember where a page was found.  The array grows with what is visited. */
void
VhnswNoteHint(VhnswPageHints *hints, BlockNumber blkno, Buffer buffer)
{
	if (blkno >= hints->nblocks)
	{
		BlockNumber nblocks = Max(Max(blkno + 1, hints->nblocks / 4 * 5), 1024);
		Size		size = mul_size(nblocks, sizeof(Buffer));

		if (hints->buffers)
			hints->buffers = repalloc_huge(hints->buffers, size);
		else
			hints->buffers = MemoryContextAllocHuge(TopMemoryContext, size);
		memset(hints->buffers + hints->nblocks, 0,
			   (nblocks - hints->nblocks) * sizeof(Buffer));
		hints->nblocks = nblocks;
	}
	hints->buffers[blkno] = buffer;
}

/* Relcache callback: somebody may be using the hints, so only mark them. */
static void
reset_hints(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	VhnswPageHints *hints;

	hash_seq_init(&status, page_hints);
	while ((hints = hash_seq_search(&status)) != NULL)
	{
		if (relid == InvalidOid || hints->relid == relid)
			hints->valid = false;
	}
}

static void
drop_stale_hints(void)
{
	HASH_SEQ_STATUS status;
	VhnswPageHints *hints;

	hash_seq_init(&status, page_hints);
	while ((hints = hash_seq_search(&status)) != NULL)
	{
		if (hints->valid)
			continue;
		if (hints->buffers)
			pfree(hints->buffers);
		hash_search(page_hints, &hints->relid, HASH_REMOVE, NULL);
	}
}

/* Pin and lock a page of any kind, or one that was never initialized. */
Buffer
VhnswGetAnyPage(Relation index, BlockNumber blkno, int access)
{
	return read_and_lock(index, blkno, access, NULL);
}

/* The same for passes over the whole index. */
Buffer
VhnswGetPageWithStrategy(Relation index, BlockNumber blkno, int access,
						 BufferAccessStrategy strategy)
{
	return read_and_lock(index, blkno, access, strategy);
}

/* Lock a page that is pinned; its kind is the caller's business. */
void
VhnswLockPage(Buffer buffer, int access)
{
	LockBuffer(buffer, access);
}

/* Give up the lock and keep the pin. */
void
VhnswUnlockPage(Buffer buffer)
{
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
}

void
VhnswReleasePage(Buffer buffer)
{
	UnlockReleaseBuffer(buffer);
}

/*
 * VhnswExtend
 *		Add a page to the index; returns it exclusively locked, all zero.
 *
 * Caller holds no content lock.
 */
Buffer
VhnswExtend(Relation index, ForkNumber fork)
{
	bool		needs_lock = !RELATION_IS_LOCAL(index);
	Buffer		buffer;

	/*
	 * Between adding the page and locking it, vacuum may offer it to others;
	 * it belongs to whoever finds it all zero.
	 */
	for (;;)
	{
		if (needs_lock)
			LockRelationForExtension(index, ExclusiveLock);
		buffer = ReadBufferExtended(index, fork, P_NEW, RBM_NORMAL, NULL);
		if (needs_lock)
			UnlockRelationForExtension(index, ExclusiveLock);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		if (PageIsNew(BufferGetPage(buffer)))
			return buffer;
		UnlockReleaseBuffer(buffer);
	}
}

/*
 * VhnswNewPage
 *		A page that VhnswExtendBy() has added, exclusively locked and all zero.
 */
Buffer
VhnswNewPage(Relation index, BlockNumber blkno)
{
	return ReadBufferExtended(index, MAIN_FORKNUM, blkno, RBM_ZERO_AND_LOCK,
							  NULL);
}

void
VhnswChangeBegin(VhnswChange *change, Relation index, bool building)
{
	change->index = index;
	change->xlog = building ? NULL : GenericXLogStart(index);
	change->npages = 0;
}

static Page
register_page(VhnswChange *change, Buffer buffer, int flags)
{
	Assert(change->npages < MAX_GENERIC_XLOG_PAGES);
	change->buffers[change->npages++] = buffer;
	if (change->xlog)
		return GenericXLogRegisterBuffer(change->xlog, buffer, flags);
	return BufferGetPage(buffer);
}

/* Add a page to the change; returns the image to edit. */
Page
VhnswChangePage(VhnswChange *change, Buffer buffer)
{
	return register_page(change, buffer, 0);
}

/* Add a page that was never initialized, and initialize it. */
Page
VhnswChangeNewPage(VhnswChange *change, Buffer buffer, VhnswPageKind kind,
				   const VhnswLayout *layout)
{
	Page		page = register_page(change, buffer, GENERIC_XLOG_FULL_IMAGE);

	VhnswInitPage(page, kind, layout);
	return page;
}

void
VhnswChangeEnd(VhnswChange *change)
{
	if (change->xlog)
		GenericXLogFinish(change->xlog);
	else
	{
		for (int i = 0; i < change->npages; i++)
			MarkBufferDirty(change->buffers[i]);
	}
	change->xlog = NULL;
	change->npages = 0;
}

/* The first free slot of an element page, or -1. */
static int
find_free_slot(const VhnswLayout *layout, Page page)
{
	for (int i = 0; i < layout->slots_per_page; i++)
	{
		if (VhnswPageGetSlot(layout, page, i)->flags == 0)
			return i;
	}
	return -1;
}

/*
 * Lock block 'blkno' if it is an element page with a free slot, or was never
 * initialized.
 */
static bool
try_free_page(Relation index, const VhnswLayout *layout, BlockNumber blkno,
			  Buffer *buffer, int *slotno)
{
	Page		page;

	*buffer = VhnswGetAnyPage(index, blkno, BUFFER_LOCK_EXCLUSIVE);
	page = BufferGetPage(*buffer);
	if (PageIsNew(page))
	{
		*slotno = 0;
		return true;
	}
	if (VhnswPageIsKind(page, VHNSW_PAGE_ELEMENT))
	{
		*slotno = find_free_slot(layout, page);
		if (*slotno >= 0)
			return true;
	}
	VhnswReleasePage(*buffer);
	return false;
}

/*
 * VhnswGetFreeSlot
 *		Find a place for a new element.
 *
 * Caller holds no content lock.  Returns the page exclusively locked; it may
 * be a page that was never initialized (PageIsNew), then *slotno is 0.
 *
 * Looks at the page this backend used last, at those the free space map
 * offers, and then extends the index.  A page stays on the map until it is
 * found full, so that sessions that insert one row do not add a page each.
 */
Buffer
VhnswGetFreeSlot(Relation index, const VhnswLayout *layout, int *slotno)
{
	BlockNumber blkno = RelationGetTargetBlock(index);
	Buffer		buffer;

	if (blkno == InvalidBlockNumber)
		blkno = GetPageWithFreeSpace(index, BLCKSZ / 2);
	while (blkno != InvalidBlockNumber)
	{
		if (blkno < RelationGetNumberOfBlocks(index) &&
			try_free_page(index, layout, blkno, &buffer, slotno))
		{
			RelationSetTargetBlock(index, blkno);
			return buffer;
		}
		RecordUsedIndexPage(index, blkno);
		blkno = GetPageWithFreeSpace(index, BLCKSZ / 2);
	}

	buffer = VhnswExtend(index, MAIN_FORKNUM);
	blkno = BufferGetBlockNumber(buffer);
	if (!VhnswBlockIsAddressable(layout, blkno))
	{
		VhnswReleasePage(buffer);
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("index \"%s\" cannot hold more elements",
					   RelationGetRelationName(index)),
				errhint("Partition the table."));
	}
	RelationSetTargetBlock(index, blkno);
	if (layout->slots_per_page > 1)
	{
		/* Others find it only if the upper levels of the map know. */
		RecordFreeIndexPage(index, blkno);
		FreeSpaceMapVacuumRange(index, blkno, blkno + 1);
	}
	*slotno = 0;
	return buffer;
}

/* Tell the free space map how many slots of a page are free. */
void
VhnswRecordFreeSlots(Relation index, BlockNumber blkno, int nfree)
{
	if (nfree > 0)
		RecordFreeIndexPage(index, blkno);
	else
		RecordUsedIndexPage(index, blkno);
}
