/*-------------------------------------------------------------------------
 *
 * vhnsw_meta.h
 *	  The metadata chain: parameters, mean, basis of sketches, and entries.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_META_H
#define VHNSW_META_H

#include "postgres.h"

#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_edge.h"
#include "vhnsw/vhnsw_page.h"

/*
 * Backend-local copy of the metadata chain, one chunk in rd_amcache.
 *
 * A pointer to it is valid until the next relcache invalidation may arrive,
 * so not beyond the function that got it.
 */
typedef struct VhnswCache
{
	VhnswMetaPageData meta;		/* as of the last VhnswGetCache() */
	VhnswLayout layout;
	VhnswSpace	space;			/* points into this chunk */
	VhnswEdgeSpace edges;		/* likewise */
	Size		fixed_size;		/* of what never changes */
	uint32		nentries;		/* entries below, of meta.generation */
	char	   *entries;
} VhnswCache;

#define VhnswCacheGetEntry(cache, i) \
	((VhnswEntry) ((cache)->entries + (Size) (i) * (cache)->layout.entry_size))

extern const VhnswCache *VhnswGetCache(Relation index);
extern void VhnswInitMeta(VhnswMetaPage meta, const VhnswLayout *layout,
						  uint64 seed);

/* More entries would cost a search more than they gain. */
#define VHNSW_MAX_ENTRIES 1024

extern uint32 VhnswEntryTarget(double elements);
extern void VhnswFillEntry(const VhnswLayout *layout, VhnswEntry entry,
						   VhnswElement element, uint8 version,
						   const VhnswCode *code);
extern void VhnswAddEntry(Relation index, const VhnswLayout *layout,
						  VhnswElement element, uint8 version,
						  const VhnswCode *code, bool force, bool building);
extern void VhnswReplaceEntry(Relation index, const VhnswLayout *layout,
							  uint32 number, VhnswElement old,
							  VhnswElement element, uint8 version,
							  const VhnswCode *code);
extern void VhnswRemoveEntry(Relation index, const VhnswLayout *layout,
							 uint32 number, VhnswElement old);
extern void VhnswSetMetaFlag(Relation index, uint32 flag, bool on);

#endif							/* VHNSW_META_H */
