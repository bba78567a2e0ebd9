/*-------------------------------------------------------------------------
 *
 * vhnsw_meta.c
 *	  The metadata chain of an index and its backend-local copy.
 *
 * A search starts by comparing its query with the copies of the entries'
 * codes.  Reading them from the chain each time would cost as many pages as
 * part of the search, so every backend keeps a copy and compares generations.
 * A copy that is out of date costs nothing but a detour: what an entry names
 * is looked at as it is now before it is used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_coders.h"
#include "vhnsw/vhnsw_meta.h"

#define MIN_ENTRIES 32
#define FLOATS_PER_PAGE (VHNSW_PAGE_CAPACITY / sizeof(float4))

/* Since this format version, codes of 4 bits of rotated vectors are levels. */
#define LEVELS_VERSION 3

static void read_meta(Relation index, VhnswMetaPageData *meta);
static void check_meta(Relation index, const VhnswMetaPageData *meta);
static bool may_have_equal_steps(const VhnswMetaPageData *meta);
static const VhnswCoder *get_coder(const VhnswMetaPageData *meta);
static bool edges_are_possible(const VhnswMetaPageData *meta);
static void init_layout(VhnswLayout *layout, const VhnswMetaPageData *meta);
static VhnswCache *load_cache(Relation index, const VhnswMetaPageData *meta,
							  const VhnswCache *old);
static void load_fixed(Relation index, VhnswCache *cache);
static void load_floats(Relation index, BlockNumber blkno, VhnswPageKind kind,
						float *values, Size n);
static void set_pointers(VhnswCache *cache);
static Size fixed_size(const VhnswMetaPageData *meta);
static uint32 load_entries(Relation index, VhnswCache *cache);
static Buffer lock_entry_page(Relation index, VhnswMetaPage meta,
							  uint32 ordinal, Buffer *last);
static bool try_add_entry(Relation index, const VhnswLayout *layout,
						  VhnswElement element, uint8 version,
						  const VhnswCode *code, Buffer fresh, bool building);

static const VhnswCoder *
get_coder(const VhnswMetaPageData *meta)
{
	return VhnswGetCoder(meta->metric, meta->own_bits);
}

/* Could a slot with such sketches fit a page? */
static bool
edges_are_possible(const VhnswMetaPageData *meta)
{
	if (meta->edge_dims == 0)
		return meta->edge_bits == 0;
	return get_coder(meta)->is_rotated &&
		(meta->edge_bits == 1 || meta->edge_bits == 2) &&
		meta->edge_dims % DistanceEdgeChunkDims(meta->edge_bits) == 0 &&
		(Size) meta->edge_dims * meta->edge_bits * meta->degree / 8 <
		VHNSW_PAGE_CAPACITY;
}

static void
init_layout(VhnswLayout *layout, const VhnswMetaPageData *meta)
{
	int			room;

	layout->metric = meta->metric;
	layout->coder = get_coder(meta);
	layout->dims = VhnswMetaGetDims(meta);
	layout->m = meta->m;
	layout->ef_construction = meta->ef_construction;
	layout->storage = meta->storage;
	layout->edge_dims = meta->edge_dims;
	layout->edge_bits = meta->edge_bits;
	layout->code_bytes = 0;
	VhnswLayoutDerive(layout);

	/* The length of codes is what the slot has room for, if it is free. */
	room = meta->slot_size - layout->code_offset;
	if (layout->coder->code_bytes == NULL && room > 0 && room % 8 == 0 &&
		room <= VhnswCodeBytesThatFit(layout, 1))
	{
		layout->code_bytes = room;
		VhnswLayoutDerive(layout);
	}
}

/* Copy and check the metapage. */
static void
read_meta(Relation index, VhnswMetaPageData *meta)
{
	Buffer		buffer = VhnswGetPage(index, VHNSW_META_BLKNO, VHNSW_PAGE_META,
									  BUFFER_LOCK_SHARE);

	memcpy(meta, VhnswPageGetMeta(BufferGetPage(buffer)), sizeof(*meta));
	VhnswReleasePage(buffer);
	check_meta(index, meta);
}

/*
 * Is this an index that we read?  Nothing else decides that, and whoever goes
 * by what a metapage says has called this: README, section "Versions".
 */
static void
check_meta(Relation index, const VhnswMetaPageData *meta)
{
	VhnswLayout layout;

	if (meta->magic != VHNSW_MAGIC)
		VhnswReportCorruption(index, VHNSW_META_BLKNO,
							  "The metapage has another magic number.");
	if (meta->version < VHNSW_OLDEST_FORMAT_VERSION ||
		meta->version > VHNSW_FORMAT_VERSION)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("index \"%s\" has format version %d, this version of vecdist reads versions %d to %d",
					   RelationGetRelationName(index), meta->version,
					   VHNSW_OLDEST_FORMAT_VERSION, VHNSW_FORMAT_VERSION),
				meta->version > VHNSW_FORMAT_VERSION ?
				errdetail("A later version of vecdist has made it.") : 0,
				meta->version > VHNSW_FORMAT_VERSION ?
				errhint("Install that version, or REINDEX the index.") :
				errhint("REINDEX the index."));

	if (get_coder(meta) == NULL ||
		meta->m < VHNSW_MIN_M || meta->m > VHNSW_MAX_M ||
		VhnswMetaGetDims(meta) < 1 ||
		VhnswMetaGetDims(meta) > VhnswMaxDims(get_coder(meta), meta->m) ||
		meta->storage > VHNSW_STORAGE_TINY || !edges_are_possible(meta))
		VhnswReportCorruption(index, VHNSW_META_BLKNO,
							  "The metapage has impossible parameters.");
	init_layout(&layout, meta);
	if (meta->degree != layout.degree ||
		meta->slot_size != layout.slot_size ||
		meta->slots_per_page != layout.slots_per_page)
		VhnswReportCorruption(index, VHNSW_META_BLKNO,
							  "The metapage has impossible parameters.");

	/* Or values would be taken for what they are not. */
	if (meta->metric != VhnswGetMetric(index) ||
		!VhnswCoderIsPossible(meta->metric, VhnswGetValueType(index),
							  VhnswMetaGetDims(meta), meta->own_bits))
		VhnswReportCorruption(index, VHNSW_META_BLKNO,
							  "The metapage names another metric or type than the operator class.");

	if (may_have_equal_steps(meta))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("index \"%s\" has codes of 4 bits of format version %d, this version of vecdist reads those of version %d",
					   RelationGetRelationName(index), meta->version,
					   VHNSW_FORMAT_VERSION),
				errdetail("Until version %d, numbers in codes of more than %d dimensions had another meaning.",
						  LEVELS_VERSION,
						  VhnswMaxDims(&vhnsw_rotated_coder, meta->m)),
				errhint("REINDEX the index."));
}

/*
 * Before LEVELS_VERSION, codes of 4 bits of rotated vectors were numbers from
 * -7 to 7, and there only where 8 bits do not fit.  Then they became levels,
 * and small storage got them too, without another version for a while.
 */
static bool
may_have_equal_steps(const VhnswMetaPageData *meta)
{
	return meta->version < LEVELS_VERSION &&
		get_coder(meta) == &vhnsw_rotated_nibble_coder &&
		VhnswMetaGetDims(meta) > VhnswMaxDims(&vhnsw_rotated_coder, meta->m);
}

/*
 * VhnswGetCache
 *		Parameters, mean and entries of an index, up to date.
 *
 * Caller holds no content lock.  See VhnswCache for how long the result is
 * valid.
 */
const VhnswCache *
VhnswGetCache(Relation index)
{
	VhnswCache *cache = index->rd_amcache;
	VhnswMetaPageData meta;

	read_meta(index, &meta);
	if (cache == NULL || cache->meta.generation != meta.generation)
	{
		VhnswCache *fresh = load_cache(index, &meta, cache);

		if (index->rd_amcache)
			pfree(index->rd_amcache);
		index->rd_amcache = cache = fresh;
	}
	cache->meta = meta;
	return cache;
}

/*
 * Read the chain into a new chunk; what never changes is copied from the old
 * one, if there is one.
 */
static VhnswCache *
load_cache(Relation index, const VhnswMetaPageData *meta,
		   const VhnswCache *old)
{
	VhnswLayout layout;
	VhnswCache *cache;
	Size		fixed = fixed_size(meta);

	init_layout(&layout, meta);
	if (meta->entry_count > (uint64) RelationGetNumberOfBlocks(index) *
		layout.entries_per_page)
		VhnswReportCorruption(index, VHNSW_META_BLKNO,
							  "The metapage counts more entries than the index has room for.");

	cache = MemoryContextAllocExtended(index->rd_indexcxt,
									   add_size(fixed,
												mul_size(meta->entry_count,
														 layout.entry_size)),
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (old && old->fixed_size == fixed)
		memcpy(cache, old, fixed);
	cache->meta = *meta;
	cache->layout = layout;
	cache->space.type = VhnswGetValueType(index);
	set_pointers(cache);
	if (cache->fixed_size != fixed)
	{
		load_fixed(index, cache);
		cache->fixed_size = fixed;
	}
	cache->nentries = load_entries(index, cache);
	return cache;
}

/* The signs of the rotation, the mean, the basis of sketches. */
static Size
signs_size(const VhnswMetaPageData *meta)
{
	if (!get_coder(meta)->is_rotated)
		return 0;
	return MAXALIGN(sizeof(float) * VHNSW_ROTATION_ROUNDS * VhnswMetaGetDims(meta));
}

static Size
mean_size(const VhnswMetaPageData *meta)
{
	if (meta->mean_block == 0)
		return 0;
	return MAXALIGN(sizeof(float) * VhnswMetaGetDims(meta));
}

static Size
basis_size(const VhnswMetaPageData *meta)
{
	if (meta->pca_block == 0)
		return 0;
	return MAXALIGN(sizeof(float) * meta->edge_dims * VhnswMetaGetDims(meta));
}

/* Bytes of a chunk before its entries. */
static Size
fixed_size(const VhnswMetaPageData *meta)
{
	return MAXALIGN(sizeof(VhnswCache)) + signs_size(meta) + mean_size(meta) +
		basis_size(meta);
}

/* Divide up a chunk. */
static void
set_pointers(VhnswCache *cache)
{
	const VhnswMetaPageData *meta = &cache->meta;
	char	   *next = (char *) cache + MAXALIGN(sizeof(VhnswCache));

	cache->space.metric = cache->layout.metric;
	cache->space.coder = cache->layout.coder;
	cache->space.dims = cache->layout.dims;
	cache->space.code_bytes = cache->layout.code_bytes;
	cache->space.signs = (void *) next;
	next += signs_size(meta);
	cache->space.mean = meta->mean_block != 0 ? (void *) next : NULL;
	next += mean_size(meta);
	VhnswEdgeSpaceInit(&cache->edges, &cache->layout,
					   meta->pca_block != 0 ? (void *) next : NULL);
	cache->entries = next + basis_size(meta);
}

/* Read what never changes. */
static void
load_fixed(Relation index, VhnswCache *cache)
{
	const VhnswMetaPageData *meta = &cache->meta;

	if (cache->layout.is_rotated)
		VhnswRotationSigns(meta->rotation_seed, VhnswMetaGetDims(meta),
						   unconstify(float *, cache->space.signs));
	if (meta->mean_block != 0)
		load_floats(index, meta->mean_block, VHNSW_PAGE_MEAN,
					unconstify(float *, cache->space.mean), VhnswMetaGetDims(meta));
	if (meta->pca_block != 0)
		load_floats(index, meta->pca_block, VHNSW_PAGE_PCA,
					unconstify(float *, cache->edges.matrix),
					(Size) meta->edge_dims * VhnswMetaGetDims(meta));
}

/* Read n values from a chain of pages. */
static void
load_floats(Relation index, BlockNumber blkno, VhnswPageKind kind,
			float *values, Size n)
{
	for (Size done = 0; done < n;)
	{
		Size		some = Min(n - done, FLOATS_PER_PAGE);
		Buffer		buffer = VhnswGetPage(index, blkno, kind,
										  BUFFER_LOCK_SHARE);
		Page		page = BufferGetPage(buffer);

		memcpy(values + done, PageGetContents(page), some * sizeof(float));
		done += some;
		blkno = VhnswPageGetOpaque(page)->next;
		VhnswReleasePage(buffer);
	}
}

/*
 * Copy as many entries as the metapage counted.  Others may change entries
 * meanwhile: then the generation has changed too, and the next call notices.
 */
static uint32
load_entries(Relation index, VhnswCache *cache)
{
	const VhnswLayout *layout = &cache->layout;
	BlockNumber blkno = cache->meta.entry_block;
	uint32		done = 0;

	while (done < cache->meta.entry_count && blkno != 0)
	{
		uint32		n = Min(cache->meta.entry_count - done,
							(uint32) layout->entries_per_page);
		Buffer		buffer = VhnswGetPage(index, blkno, VHNSW_PAGE_ENTRY,
										  BUFFER_LOCK_SHARE);
		Page		page = BufferGetPage(buffer);

		memcpy(VhnswCacheGetEntry(cache, done), PageGetContents(page),
			   (Size) n * layout->entry_size);
		done += n;
		blkno = VhnswPageGetOpaque(page)->next;
		VhnswReleasePage(buffer);
	}
	return done;
}

/* Fill in the metapage of an empty index. */
void
VhnswInitMeta(VhnswMetaPage meta, const VhnswLayout *layout, uint64 seed)
{
	memset(meta, 0, sizeof(*meta));
	meta->magic = VHNSW_MAGIC;
	meta->version = VHNSW_FORMAT_VERSION;
	meta->metric = layout->metric;
	meta->own_bits = layout->coder->own_bits;
	meta->dims = (uint16) layout->dims;
	meta->dims_high = (uint16) (layout->dims >> 16);
	meta->m = layout->m;
	meta->ef_construction = layout->ef_construction;
	meta->degree = layout->degree;
	meta->storage = layout->storage;
	meta->edge_dims = layout->edge_dims;
	meta->edge_bits = layout->edge_bits;
	meta->slot_size = layout->slot_size;
	meta->slots_per_page = layout->slots_per_page;
	meta->rotation_seed = seed;
	for (int i = 0; i < VHNSW_OUTSIDE_LISTS; i++)
		ItemPointerSetInvalid(&meta->outside[i]);
}

/* How many entries an index of this many elements should have. */
uint32
VhnswEntryTarget(double elements)
{
	return (uint32) Max(MIN_ENTRIES, Min(VHNSW_MAX_ENTRIES, cbrt(elements)));
}

void
VhnswFillEntry(const VhnswLayout *layout, VhnswEntry entry,
			   VhnswElement element, uint8 version, const VhnswCode *code)
{
	memset(entry, 0, layout->entry_size);
	entry->element = element;
	entry->version = version;
	entry->scale = code->scale;
	entry->norm = code->norm;
	entry->residual = code->residual;
	memcpy(entry->code, code->code, layout->code_bytes);
}

/*
 * Exclusively lock the entry page number 'ordinal' of the chain, which the
 * metapage lock keeps still.  If the chain is shorter, returns an invalid
 * buffer, and its last page, if it has any, in *last.
 */
static Buffer
lock_entry_page(Relation index, VhnswMetaPage meta, uint32 ordinal,
				Buffer *last)
{
	BlockNumber blkno = meta->entry_block;
	BlockNumber previous = 0;

	for (uint32 i = 0; i < ordinal && blkno != 0; i++)
	{
		Buffer		buffer = VhnswGetPage(index, blkno, VHNSW_PAGE_ENTRY,
										  BUFFER_LOCK_SHARE);

		previous = blkno;
		blkno = VhnswPageGetOpaque(BufferGetPage(buffer))->next;
		VhnswReleasePage(buffer);
	}
	if (blkno != 0)
		return VhnswGetPage(index, blkno, VHNSW_PAGE_ENTRY,
							BUFFER_LOCK_EXCLUSIVE);
	if (previous != 0 && last)
		*last = VhnswGetPage(index, previous, VHNSW_PAGE_ENTRY,
							 BUFFER_LOCK_EXCLUSIVE);
	return InvalidBuffer;
}

/*
 * VhnswAddEntry
 *		Make a new element an entry, if entries are few for the index's size
 *		or if it must be ('force').
 *
 * Caller holds no content lock.  The element is live and cannot be freed
 * meanwhile (caller holds VHNSW_REPAIR_LOCK, or is building); its slot has the
 * given version.
 */
void
VhnswAddEntry(Relation index, const VhnswLayout *layout,
			  VhnswElement element, uint8 version, const VhnswCode *code,
			  bool force, bool building)
{
	double		slots = (double) RelationGetNumberOfBlocks(index) *
	layout->slots_per_page;
	VhnswMetaPageData meta;
	Buffer		fresh = InvalidBuffer;

	read_meta(index, &meta);
	while (force || meta.entry_count < VhnswEntryTarget(slots))
	{
		if (try_add_entry(index, layout, element, version, code, fresh,
						  building))
		{
			VD_DEBUG_POINT("vhnsw-insert-entry");
			break;
		}

		/* The chain is full: come back with one more page for it. */
		if (BufferIsValid(fresh))
			ReleaseBuffer(fresh);
		fresh = VhnswExtend(index, MAIN_FORKNUM);
		VhnswUnlockPage(fresh);
	}
	if (BufferIsValid(fresh))
		ReleaseBuffer(fresh);
}

/*
 * Append an entry.  'fresh' is a pinned page for the chain if that is full, or
 * invalid.  Returns false if another page is needed.
 *
 * One record: the metapage, the entry page, and the page before it if the
 * entry page is new.  A crash leaves nothing unfinished.
 */
static bool
try_add_entry(Relation index, const VhnswLayout *layout,
			  VhnswElement element, uint8 version, const VhnswCode *code,
			  Buffer fresh, bool building)
{
	uint32		per_page = layout->entries_per_page;
	Buffer		meta_buffer = VhnswGetPage(index, VHNSW_META_BLKNO,
										   VHNSW_PAGE_META,
										   BUFFER_LOCK_EXCLUSIVE);
	VhnswMetaPage meta = VhnswPageGetMeta(BufferGetPage(meta_buffer));
	uint32		count = meta->entry_count;
	Buffer		last = InvalidBuffer;
	Buffer		buffer;
	VhnswChange change;
	Page		page;

	buffer = lock_entry_page(index, meta, count / per_page, &last);
	if (!BufferIsValid(buffer) && BufferIsValid(fresh))
	{
		VhnswLockPage(fresh, BUFFER_LOCK_EXCLUSIVE);
		if (PageIsNew(BufferGetPage(fresh)))
			buffer = fresh;
		else
			VhnswUnlockPage(fresh); /* somebody found it all zero */
	}

	if (BufferIsValid(buffer))
	{
		VhnswChangeBegin(&change, index, building);
		meta = VhnswPageGetMeta(VhnswChangePage(&change, meta_buffer));
		if (buffer == fresh)
		{
			BlockNumber blkno = BufferGetBlockNumber(fresh);

			if (BufferIsValid(last))
				VhnswPageGetOpaque(VhnswChangePage(&change, last))->next = blkno;
			else
				meta->entry_block = blkno;
			page = VhnswChangeNewPage(&change, fresh, VHNSW_PAGE_ENTRY,
									  layout);
		}
		else
			page = VhnswChangePage(&change, buffer);

		VhnswFillEntry(layout,
					   VhnswPageGetEntry(layout, page, count % per_page),
					   element, version, code);
		meta->entry_count++;
		meta->generation++;
		VhnswChangeEnd(&change);

		if (buffer == fresh)
			VhnswUnlockPage(fresh);
		else
			VhnswReleasePage(buffer);
	}
	if (BufferIsValid(last))
		VhnswReleasePage(last);
	VhnswReleasePage(meta_buffer);
	return BufferIsValid(buffer);
}

/*
 * VhnswReplaceEntry
 *		Let entry 'number' name another element, if it still names 'old'.
 *
 * Caller holds no content lock; 'element' is live and cannot be freed
 * meanwhile.  Vacuum only: nobody else changes or removes entries.
 */
void
VhnswReplaceEntry(Relation index, const VhnswLayout *layout, uint32 number,
				  VhnswElement old, VhnswElement element, uint8 version,
				  const VhnswCode *code)
{
	Buffer		meta_buffer;
	Buffer		buffer;
	VhnswMetaPage meta;
	VhnswChange change;
	Page		page;
	VhnswEntry	entry;

	meta_buffer = VhnswGetPage(index, VHNSW_META_BLKNO, VHNSW_PAGE_META,
							   BUFFER_LOCK_EXCLUSIVE);
	meta = VhnswPageGetMeta(BufferGetPage(meta_buffer));
	buffer = lock_entry_page(index, meta, number / layout->entries_per_page,
							 NULL);
	entry = VhnswPageGetEntry(layout, BufferGetPage(buffer),
							  number % layout->entries_per_page);
	if (number < meta->entry_count && entry->element == old)
	{
		VhnswChangeBegin(&change, index, false);
		meta = VhnswPageGetMeta(VhnswChangePage(&change, meta_buffer));
		page = VhnswChangePage(&change, buffer);
		entry = VhnswPageGetEntry(layout, page,
								  number % layout->entries_per_page);
		VhnswFillEntry(layout, entry, element, version, code);
		meta->generation++;
		VhnswChangeEnd(&change);
	}
	VhnswReleasePage(buffer);
	VhnswReleasePage(meta_buffer);
}

/*
 * VhnswRemoveEntry
 *		Remove entry 'number', if it still names 'old'; the last entry takes
 *		its place.
 *
 * Caller holds no content lock.  Vacuum only, as above.  Entry pages that
 * become empty stay in the chain.
 */
void
VhnswRemoveEntry(Relation index, const VhnswLayout *layout, uint32 number,
				 VhnswElement old)
{
	uint32		per_page = layout->entries_per_page;
	Buffer		meta_buffer;
	Buffer		buffer;
	Buffer		last_buffer;
	VhnswMetaPage meta;
	uint32		last;

	meta_buffer = VhnswGetPage(index, VHNSW_META_BLKNO, VHNSW_PAGE_META,
							   BUFFER_LOCK_EXCLUSIVE);
	meta = VhnswPageGetMeta(BufferGetPage(meta_buffer));
	last = meta->entry_count - 1;
	if (number > last || meta->entry_count == 0)
	{
		VhnswReleasePage(meta_buffer);
		return;
	}

	/* The later page first: on the way to it the other must not be locked. */
	last_buffer = lock_entry_page(index, meta, last / per_page, NULL);
	buffer = last_buffer;
	if (last / per_page != number / per_page)
		buffer = lock_entry_page(index, meta, number / per_page, NULL);

	if (VhnswPageGetEntry(layout, BufferGetPage(buffer),
						  number % per_page)->element == old)
	{
		VhnswChange change;
		Page		page;
		Page		last_page;
		VhnswEntry	last_entry;

		VhnswChangeBegin(&change, index, false);
		meta = VhnswPageGetMeta(VhnswChangePage(&change, meta_buffer));
		page = VhnswChangePage(&change, buffer);
		last_page = page;
		if (last_buffer != buffer)
			last_page = VhnswChangePage(&change, last_buffer);

		last_entry = VhnswPageGetEntry(layout, last_page, last % per_page);
		if (number != last)
			memcpy(VhnswPageGetEntry(layout, page, number % per_page),
				   last_entry, layout->entry_size);
		memset(last_entry, 0, layout->entry_size);
		meta->entry_count--;
		meta->generation++;
		VhnswChangeEnd(&change);
	}
	if (last_buffer != buffer)
		VhnswReleasePage(last_buffer);
	VhnswReleasePage(buffer);
	VhnswReleasePage(meta_buffer);
}

/*
 * VhnswSetMetaFlag
 *		Set or clear a flag of the metapage.  Caller holds no content lock.
 */
void
VhnswSetMetaFlag(Relation index, uint32 flag, bool on)
{
	Buffer		buffer = VhnswGetPage(index, VHNSW_META_BLKNO, VHNSW_PAGE_META,
									  BUFFER_LOCK_EXCLUSIVE);
	VhnswMetaPage meta = VhnswPageGetMeta(BufferGetPage(buffer));

	if (((meta->flags & flag) != 0) != on)
	{
		VhnswChange change;

		VhnswChangeBegin(&change, index, false);
		meta = VhnswPageGetMeta(VhnswChangePage(&change, buffer));
		if (on)
			meta->flags |= flag;
		else
			meta->flags &= ~flag;
		VhnswChangeEnd(&change);
	}
	VhnswReleasePage(buffer);
}
