/*-------------------------------------------------------------------------
 *
 * vhnsw_page.h
 *	  On-disk layout of a vhnsw index, and access to its pages.
 *
 * The layout is described in README, section "Pages"; VHNSW_FORMAT_VERSION
 * changes with it (section "Versions").
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_PAGE_H
#define VHNSW_PAGE_H

#include "postgres.h"

#include "access/generic_xlog.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

#define VHNSW_MAGIC 0x56484E53	/* "VHNS" */
#define VHNSW_FORMAT_VERSION 3	/* of new indexes */
#define VHNSW_OLDEST_FORMAT_VERSION 2
#define VHNSW_PAGE_ID 0xFF93

#define VHNSW_META_BLKNO 0

/* A number of a place for an element; 0 lies on the metapage: none. */
typedef uint32 VhnswElement;

#define VHNSW_NO_ELEMENT ((VhnswElement) 0)

typedef enum VhnswMetric
{
	VHNSW_L2 = 1,
	VHNSW_INNER_PRODUCT = 2,
	VHNSW_COSINE = 3,
	VHNSW_L1 = 4,
	VHNSW_HAMMING = 5,
	VHNSW_JACCARD = 6
} VhnswMetric;

/* What an index is to be good at; README, section "Edges". */
typedef enum VhnswStorage
{
	VHNSW_STORAGE_AUTO,
	VHNSW_STORAGE_FAST,
	VHNSW_STORAGE_COMPACT,
	VHNSW_STORAGE_TINY
} VhnswStorage;

typedef enum VhnswPageKind
{
	VHNSW_PAGE_META = 1,
	VHNSW_PAGE_MEAN = 2,
	VHNSW_PAGE_ENTRY = 3,
	VHNSW_PAGE_ELEMENT = 4,
	VHNSW_PAGE_TIDS = 5,
	VHNSW_PAGE_PCA = 6
} VhnswPageKind;

/* Special area of every page. */
typedef struct VhnswPageOpaqueData
{
	BlockNumber next;			/* next page of the chain, 0 = none */
	uint8		kind;			/* VhnswPageKind */
	uint8		flags;			/* VHNSW_PAGE_HAS_FREE_CELLS */
	uint16		unused1;
	uint32		unused2;
	uint16		unused3;
	uint16		page_id;		/* VHNSW_PAGE_ID */
} VhnswPageOpaqueData;

typedef VhnswPageOpaqueData *VhnswPageOpaque;

#define VHNSW_PAGE_HAS_FREE_CELLS 0x01

/* Functions, because core's macros may evaluate their argument twice. */
static inline VhnswPageOpaque
VhnswPageGetOpaque(Page page)
{
	return (VhnswPageOpaque) PageGetSpecialPointer(page);
}

StaticAssertDecl(sizeof(VhnswPageOpaqueData) == 16,
				 "special area is part of the on-disk format");

/* Bytes for data on a page. */
#define VHNSW_PAGE_CAPACITY \
	(BLCKSZ - SizeOfPageHeaderData - sizeof(VhnswPageOpaqueData))

/* The TID lists outside the graph, in the order of the metapage. */
typedef enum VhnswOutsideList
{
	VHNSW_LIST_NULL,
	VHNSW_LIST_ZERO,
	VHNSW_LIST_EXTREME
} VhnswOutsideList;

#define VHNSW_OUTSIDE_LISTS 3

/* Owner of the cells of such a list; no element has this number. */
#define VhnswOutsideOwner(list) ((uint32) 0xFFFFFFFF - (uint32) (list))

/* How a build linked what it had loaded. */
typedef enum VhnswBuildKind
{
	VHNSW_BUILT_UNKNOWN = 0,	/* before this was kept */
	VHNSW_BUILT_BLOCKED = 1,
	VHNSW_BUILT_BLOCKED_IN_FILES = 2,
	VHNSW_BUILT_BY_SEARCH = 3
} VhnswBuildKind;

typedef struct VhnswMetaPageData
{
	uint32		magic;
	uint16		version;
	uint8		metric;			/* VhnswMetric */
	uint8		own_bits;		/* of a code, for each dimension */
	uint16		dims;			/* the lower half */
	uint16		m;
	uint16		ef_construction;
	uint16		degree;			/* places in a neighbor list */
	uint16		edge_dims;		/* 0 = no sketches of neighbors */
	uint8		edge_bits;		/* 1 or 2, 0 without sketches */
	uint8		filter_format;	/* reserved */
	uint16		slot_size;
	uint16		slots_per_page;
	uint64		rotation_seed;
	BlockNumber mean_block;		/* 0 = the mean is zero */
	BlockNumber entry_block;	/* 0 = no entry page */
	uint32		entry_count;
	uint32		generation;		/* changes when an entry changes */
	BlockNumber pca_block;		/* 0 = none is needed */
	BlockNumber pending_head;	/* reserved */
	BlockNumber pending_tail;	/* reserved */
	uint32		pending_count;	/* reserved */
	BlockNumber free_cells;		/* first TID page with free cells, 0 = none */
	uint32		flags;			/* VHNSW_META_TOMBSTONES */
	ItemPointerData outside[VHNSW_OUTSIDE_LISTS];	/* heads of the lists */
	uint8		storage;		/* VhnswStorage */
	uint8		unused;
	float4		edge_energy;	/* measured at the build; 0 = unknown */
	float8		elements;		/* at the last build or vacuum */
	float8		tombstones;		/* likewise */
	float8		free_slots;		/* likewise */
	uint16		dims_high;		/* the upper half of dims */
	uint16		unused2;
	float4		list_recall;	/* of the blocked build; 0 = unknown */

	/* the build: how, and what it took */
	uint8		build_kind;		/* VhnswBuildKind */
	uint8		unused3;
	uint16		build_workers;	/* beside the leader */
	uint32		build_memory;	/* kB, as planned for what was loaded */
	float8		build_inserted; /* rows that went in page by page */
	float4		build_seconds;	/* until the pages are logged */
	float4		searches_found; /* for its elements, share; 0 = unknown */
	float4		weak_searches_found;	/* likewise, near those not found */
	char		reserved[4];
} VhnswMetaPageData;

typedef VhnswMetaPageData *VhnswMetaPage;

/* Tombstones may wait for repair (I10). */
#define VHNSW_META_TOMBSTONES 0x01

StaticAssertDecl(offsetof(VhnswMetaPageData, rotation_seed) == 24,
				 "metapage is part of the on-disk format");
StaticAssertDecl(offsetof(VhnswMetaPageData, outside) == 72,
				 "metapage is part of the on-disk format");
StaticAssertDecl(offsetof(VhnswMetaPageData, elements) == 96,
				 "metapage is part of the on-disk format");
StaticAssertDecl(offsetof(VhnswMetaPageData, build_kind) == 128,
				 "metapage is part of the on-disk format");
StaticAssertDecl(sizeof(VhnswMetaPageData) == 160,
				 "metapage is part of the on-disk format");

static inline VhnswMetaPage
VhnswPageGetMeta(Page page)
{
	return (VhnswMetaPage) PageGetContents(page);
}

static inline int
VhnswMetaGetDims(const VhnswMetaPageData *meta)
{
	return (int) ((uint32) meta->dims_high << 16 | meta->dims);
}

/* One element, or a free place for one. */
typedef struct VhnswSlotData
{
	uint8		flags;			/* 0 = free */
	uint8		version;		/* counts how often the slot was freed */
	uint8		nneighbors;
	uint8		label;			/* reserved */
	ItemPointerData heaptid;	/* may be invalid if there is a list */
	ItemPointerData tids;		/* first cell of further TIDs */
	float4		scale;
	float4		norm;
	float4		residual;
	float4		edge_scale;		/* that factors are relative to */
	VhnswElement neighbors[FLEXIBLE_ARRAY_MEMBER];
	/* sketches and code follow: vhnsw_edge.c, VhnswLayout.code_offset */
} VhnswSlotData;

typedef VhnswSlotData *VhnswSlot;

#define VHNSW_SLOT_LIVE 0x01
#define VHNSW_SLOT_TOMBSTONE 0x02

StaticAssertDecl(offsetof(VhnswSlotData, neighbors) == 32,
				 "slot header is part of the on-disk format");

/* Copy of an entry's code, on an entry page. */
typedef struct VhnswEntryData
{
	VhnswElement element;
	uint8		version;
	uint8		unused1[3];
	float4		scale;
	float4		norm;
	float4		residual;
	uint32		unused2;
	int8		code[FLEXIBLE_ARRAY_MEMBER];
} VhnswEntryData;

typedef VhnswEntryData *VhnswEntry;

#define VHNSW_TIDS_PER_CELL 8

typedef struct VhnswCellData
{
	ItemPointerData next;		/* next cell of the list, or invalid */
	uint8		ntids;			/* 0 = free */
	uint8		version;		/* of the owner's slot */
	uint32		owner;			/* element number or VhnswOutsideOwner() */
	uint32		sequence;		/* falls along a list */
	ItemPointerData tids[VHNSW_TIDS_PER_CELL];
} VhnswCellData;

typedef VhnswCellData *VhnswCell;

StaticAssertDecl(sizeof(VhnswCellData) == 64,
				 "TID cell is part of the on-disk format");

#define VHNSW_CELLS_PER_PAGE (VHNSW_PAGE_CAPACITY / sizeof(VhnswCellData))

/* Cells are addressed like heap tuples; the first of a page is 1. */
static inline VhnswCell
VhnswPageGetCell(Page page, OffsetNumber number)
{
	return (VhnswCell) PageGetContents(page) + (number - 1);
}

/* The constants of one index, and what VhnswLayoutDerive() makes of them. */
typedef struct VhnswLayout
{
	/* parameters */
	VhnswMetric metric;
	const struct VhnswCoder *coder; /* what its codes are */
	int			dims;
	int			m;
	int			ef_construction;
	VhnswStorage storage;
	int			edge_dims;		/* 0 = no sketches; whole chunks */
	int			edge_bits;

	/* derived */
	bool		is_rotated;		/* coder->is_rotated */
	bool		is_direct;		/* coder->is_direct */
	int			degree;			/* places in a list */
	int			edge_chunks;
	int			slot_size;
	int			slots_per_page;
	int			code_offset;	/* of the code in a slot */
	int			code_bytes;		/* of a code, a multiple of 8 */
	int			entry_size;
	int			entries_per_page;
} VhnswLayout;

#define VhnswElementBlock(layout, element) \
	((BlockNumber) ((element) / (uint32) (layout)->slots_per_page))
#define VhnswElementSlot(layout, element) \
	((int) ((element) % (uint32) (layout)->slots_per_page))
#define VhnswMakeElement(layout, blkno, slotno) \
	((VhnswElement) (blkno) * (uint32) (layout)->slots_per_page + (slotno))

/* The last numbers name the lists outside the graph. */
#define VhnswBlockIsAddressable(layout, blkno) \
	(((uint64) (blkno) + 1) * (layout)->slots_per_page <= \
	 PG_UINT32_MAX - VHNSW_OUTSIDE_LISTS)

static inline VhnswSlot
VhnswPageGetSlot(const VhnswLayout *layout, Page page, int slotno)
{
	return (VhnswSlot) (PageGetContents(page) +
						(Size) slotno * layout->slot_size);
}

static inline int8 *
VhnswSlotGetCode(const VhnswLayout *layout, VhnswSlot slot)
{
	return (int8 *) ((char *) slot + layout->code_offset);
}

static inline VhnswEntry
VhnswPageGetEntry(const VhnswLayout *layout, Page page, int number)
{
	return (VhnswEntry) (PageGetContents(page) +
						 (Size) number * layout->entry_size);
}

/* As pgvector's limit for bit strings; vectors end before. */
#define VHNSW_MAX_DIMS 64000

/* The limit of the type sparsevec. */
#define VHNSW_MAX_SPARSE_DIMS 1000000000

/* The slot counts neighbors in one byte. */
#define VHNSW_MIN_M 2
#define VHNSW_MAX_M 100
#define VHNSW_MAX_DEGREE 200

/* Bytes of the two factors of each neighbor. */
#define VHNSW_EDGE_FACTORS_SIZE(degree) ((degree) * 2 * (int) sizeof(uint16))

extern void VhnswLayoutDerive(VhnswLayout *layout);
extern int	VhnswCodeBytesThatFit(const VhnswLayout *layout,
								  int slots_per_page);
extern int	VhnswMaxCodeBytes(int m);

/*
 * A change of up to four pages that reaches WAL as one record.
 *
 * Begin; VhnswChangePage() for each page, whose buffer the caller holds
 * exclusively locked, and edit the image it returns; End.  End does not
 * release the buffers.  Between Begin and End nothing may fail except for
 * want of memory.  While an index is being built ("building"), pages are edited
 * in place and logged later.
 */
typedef struct VhnswChange
{
	Relation	index;
	GenericXLogState *xlog;		/* NULL while building */
	int			npages;
	Buffer		buffers[MAX_GENERIC_XLOG_PAGES];
} VhnswChange;

extern void VhnswChangeBegin(VhnswChange *change, Relation index,
							 bool building);
extern Page VhnswChangePage(VhnswChange *change, Buffer buffer);
extern Page VhnswChangeNewPage(VhnswChange *change, Buffer buffer,
							   VhnswPageKind kind, const VhnswLayout *layout);
extern void VhnswChangeEnd(VhnswChange *change);

extern void VhnswInitPage(Page page, VhnswPageKind kind,
						  const VhnswLayout *layout);
extern Buffer VhnswGetPage(Relation index, BlockNumber blkno,
						   VhnswPageKind kind, int access);
extern struct VhnswPageHints *VhnswGetPageHints(Relation relation);
extern Buffer VhnswHintedBuffer(const struct VhnswPageHints *hints,
								BlockNumber blkno);
extern Buffer VhnswPinHinted(Relation relation, struct VhnswPageHints *hints,
							 BlockNumber blkno);
extern Buffer VhnswLockHinted(Relation relation, struct VhnswPageHints *hints,
							  BlockNumber blkno);
extern void VhnswNoteHint(struct VhnswPageHints *hints, BlockNumber blkno,
						  Buffer buffer);
extern Buffer VhnswVisitPage(Relation index, struct VhnswPageHints *hints,
							 BlockNumber blkno);
extern void VhnswPrefetchSlot(const VhnswLayout *layout,
							  const struct VhnswPageHints *hints,
							  VhnswElement element);
extern void VhnswPrefetchPage(Relation index, const VhnswLayout *layout,
							  struct VhnswPageHints *hints,
							  VhnswElement element);
extern Buffer VhnswGetAnyPage(Relation index, BlockNumber blkno, int access);
extern Buffer VhnswGetPageWithStrategy(Relation index, BlockNumber blkno,
									   int access,
									   BufferAccessStrategy strategy);
extern void VhnswLockPage(Buffer buffer, int access);
extern void VhnswUnlockPage(Buffer buffer);
extern void VhnswReleasePage(Buffer buffer);
extern bool VhnswPageIsKind(Page page, VhnswPageKind kind);
extern Buffer VhnswExtend(Relation index, ForkNumber fork);
extern void VhnswExtendBy(Relation index, BlockNumber npages);
extern Buffer VhnswNewPage(Relation index, BlockNumber blkno);
extern void VhnswReportCorruption(Relation index, BlockNumber blkno,
								  const char *detail) pg_attribute_noreturn();

extern Buffer VhnswGetFreeSlot(Relation index, const VhnswLayout *layout,
							   int *slotno);
extern void VhnswRecordFreeSlots(Relation index, BlockNumber blkno,
								 int nfree);

#endif							/* VHNSW_PAGE_H */
