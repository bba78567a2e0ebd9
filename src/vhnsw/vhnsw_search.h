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
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_page.h"
#include "vhnsw/vhnsw_tids.h"

/* An element that was evaluated. */
typedef struct VhnswSeen
{
	pairingheap_node link;		/* in the frontier, until expanded */
	double		estimate;		/* of its distance from the query */
	VhnswElement element;
	uint8		version;
	bool		live;
	bool		expanded;
	bool		reported;		/* for the caller */
	uint16		named;			/* expanded elements that list it */

	/* only with VHNSW_SEARCH_KEEP */
	uint8		nneighbors;
	VhnswCode  *code;
	VhnswElement *neighbors;	/* if expanded */
} VhnswSeen;

/*
 * A live element that was expanded: a candidate for the answer.  TID, version
 * and bound were read under one lock.
 */
typedef struct VhnswFound
{
	pairingheap_node link;		/* in a heap of the search, then the caller's */
	double		estimate;
	double		bound;			/* in units of the operator */
	VhnswElement element;
	uint8		version;
	bool		has_list;		/* more TIDs than this */
	ItemPointerData heaptid;
	VhnswFingerprint fingerprint;
	VhnswSeen  *seen;
} VhnswFound;

typedef struct VhnswSearch
{
	Relation	index;
	VhnswLayout layout;
	VhnswQuery *query;
	int			flags;			/* VHNSW_SEARCH_KEEP */
	MemoryContext context;		/* owns everything below */
	struct seen_hash *seen;
	pairingheap *frontier;		/* VhnswSeen, nearest first */
	pairingheap *far;			/* VhnswFound behind the frontier, nearest
								 * first */
	pairingheap *near;			/* VhnswFound before it, farthest first */
	int64		nnear;
	pairingheap *settled;		/* VhnswFound, lowest bound first */
	int64		nsettled;		/* ever put there */
	VhnswElement *entries;		/* not evaluated yet */
	uint32		nentries;
	int64		nevaluated;
	int64		nexpanded;
} VhnswSearch;

/* Keep codes and lists of what is seen, and the counts of VhnswSeen.named. */
#define VHNSW_SEARCH_KEEP 0x01

extern VhnswSearch *VhnswSearchBegin(Relation index, const VhnswCache *cache,
									 VhnswQuery *query, int flags,
									 MemoryContext context);
extern bool VhnswSearchStep(VhnswSearch *search);
extern bool VhnswSearchUntil(VhnswSearch *search, int64 nsettled,
							 int64 max_steps);
extern VhnswSeen *VhnswSearchLookup(VhnswSearch *search,
									VhnswElement element);

#define VhnswSearchNextFound(search) \
	((search)->settled->ph_root == NULL ? NULL : \
	 pairingheap_container(VhnswFound, link, \
						   pairingheap_first((search)->settled)))

#endif							/* VHNSW_SEARCH_H */
