/*-------------------------------------------------------------------------
 *
 * vhnsw_search.h
 *	  Beam search over the pages of an index.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_SEARCH_H
#define VHNSW_SEARCH_H

#include "postgres.h"

#include "lib/pairingheap.h"

#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_edge.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_page.h"
#include "vhnsw/vhnsw_pool.h"
#include "vhnsw/vhnsw_seen.h"
#include "vhnsw/vhnsw_tids.h"

/*
 * A live element that was expanded: a candidate for the answer.  All of it was
 * read under one lock.
 */
typedef struct VhnswFound
{
	pairingheap_node link;		/* in the heap of settled ones */
	double		bound;			/* in units of the operator */
	float		estimate;
	VhnswElement element;
	uint8		version;
	bool		settled;
	bool		has_list;		/* more TIDs than this */
	ItemPointerData heaptid;
	VhnswFingerprint fingerprint;
} VhnswFound;

/* As many rows as are fetched for the usual LIMIT */
#define VHNSW_NEAREST 16

typedef struct VhnswSearch
{
	Relation	index;
	struct VhnswPageHints *hints;	/* valid during a call */
	VhnswLayout layout;
	VhnswQuery *query;
	VhnswEdgeQuery edge_query;	/* if the index has sketches */
	struct VhnswKeep *keep;		/* what an insert remembers, else NULL */
	int64		wanted;			/* nearest elements that the caller needs to
								 * begin with; 0 = not known */
	int64		effort;			/* settled elements that end the first phase,
								 * if enough are expanded; 0 = all asked for */
	bool		content;		/* the first phase has ended early */
	MemoryContext context;		/* owns everything below */
	VhnswSeenTable seen;
	VhnswPool	pool;
	bool		forgot;			/* something seen is in the hash table only */
	int			npassed_over;
	int			passed_over_capacity;
	VhnswPoolKey *passed_over;	/* estimates that are not in the table yet,
								 * none below pool.limit */
	VhnswFound **found;			/* all there ever were, nfound of them */
	int			found_capacity;
	pairingheap *settled;		/* VhnswFound, lowest bound first */
	int64		nsettled;		/* ever put there */
	ItemPointerData nearest[VHNSW_NEAREST]; /* first rows of what was settled
											 * last, nearest first; the caller
											 * may empty this */
	int			nnearest;
	VhnswCandidate *entries;	/* not made candidates yet, in any order */
	uint32		nentries;
	int64		nfound;
	int64		nevaluated;		/* slots read for their code alone */
	int64		nexpanded;
	int64		nestimated;		/* neighbors, by their sketches */
} VhnswSearch;

extern VhnswSearch *VhnswSearchBegin(Relation index, const VhnswCache *cache,
									 VhnswQuery *query,
									 struct VhnswKeep *keep,
									 MemoryContext context);
extern bool VhnswSearchUntil(VhnswSearch *search, int64 nsettled,
							 int64 max_steps);
extern void VhnswFoundSet(VhnswFound *found, VhnswElement element,
						  const VhnswSlotData *slot);
extern bool VhnswSearchHasSettled(const VhnswSearch *search);
extern VhnswFound *VhnswSearchTake(VhnswSearch *search);
extern bool VhnswSearchHasTaken(VhnswSearch *search, VhnswElement element);

#endif							/* VHNSW_SEARCH_H */
