/*-------------------------------------------------------------------------
 *
 * vhnsw_join.h
 *	  The nearest elements of every element, found by comparing all pairs in
 *	  leaves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_JOIN_H
#define VHNSW_JOIN_H

#include "postgres.h"

#include "storage/lwlock.h"
#include "storage/spin.h"

#include "vhnsw/vhnsw_graph.h"
#include "vhnsw/vhnsw_key.h"
#include "vhnsw/vhnsw_leaf.h"
#include "vhnsw/vhnsw_principal.h"

/*
 * Places for the nearest of all elements, and for those of the far candidates,
 * with lists of this degree.  Either are counted in a byte.
 */
#define VhnswNearPlaces(degree) Min(Max(degree, 32) * 3 / 2, PG_UINT8_MAX)
#define VhnswFarPlaces(degree) (Max(degree, 32) * 3 / 4)
#define VhnswKeyPlaces(degree) \
	(VhnswNearPlaces(degree) + VhnswFarPlaces(degree))
#define VHNSW_MAX_KEY_PLACES VhnswKeyPlaces(VHNSW_MAX_DEGREE)

/*
 * key_places keys for each element: near ones first, then far ones.
 *
 * 'lists' has keys and near_counts, as a graph wants its lists, into which
 * they turn; 'rest' what is needed before only.
 */
typedef struct VhnswJoin
{
	VhnswGraph *graph;
	Size		element_bytes;	/* what an element takes while pairs are
								 * compared, besides files */
	bool		once;			/* no pair is compared twice */
	bool		with_guests;	/* compare residents with guests of leaves;
								 * before, with each other */
	int			near_places;
	int			far_places;
	int			key_places;
	int			far_classes;	/* whose elements are far candidates of each
								 * other */
	VhnswKey   *keys;
	uint8	   *near_counts;
	uint8	   *far_counts;
	float	   *limits;			/* of each element's near and far list; read
								 * without a lock */
	slock_t    *locks;			/* of the lists of some elements each; NULL
								 * where nobody else is */
	LWLock	   *file_locks;		/* in place of them, if keys are in a file */
	uint32		bucket_elements;	/* then: how many have one of them */
	Size		later_chunk_bytes;	/* then, where guests' keys wait */
	uint64		later_file_bytes;	/* and how many a process lets wait */
	struct VhnswBuckets *later; /* a process's own: these keys, or NULL */
	struct VhnswMutual *mutual; /* likewise: pairs of the leaf in work that
								 * are compared in another; NULL if none */
	VhnswSpill *spilled;		/* in place of keys, if not NULL */
	VhnswSpillShape shape;		/* of that */
	VhnswMemory lists;
	VhnswMemory rest;
	VhnswPrincipal principal;	/* by which pairs are compared */
} VhnswJoin;

/* The keys of an element, to be read and outside of jobs. */
static inline VhnswKey *
VhnswJoinGetKeys(const VhnswJoin *join, uint32 id)
{
	if (unlikely(join->spilled != NULL))
		return VhnswSpillGet(join->spilled, id);
	return join->keys + (Size) id * join->key_places;
}

/* Of that, what is never in a file, but for near_counts. */
#define VhnswJoinRestBytes (2 * sizeof(float) + sizeof(uint8))

/* Memory of a join for one element, and its lists alone. */
#define VhnswJoinElementBytes(degree) \
	(VhnswKeyPlaces(degree) * sizeof(VhnswKey) + 2 * sizeof(float) + \
	 2 * sizeof(uint8))

extern Size VhnswJoinLeafBytes(const VhnswLayout *layout, uint64 count);
extern VhnswJoin *VhnswJoinCreate(VhnswCrew *crew,
								  const VhnswPrincipal *principal,
								  Size element_bytes);
extern void VhnswJoinWholeCodes(VhnswCrew *crew, VhnswJoin *join);
extern void VhnswAttachJoin(VhnswCrew *crew, VhnswJoin *join);
extern void VhnswJoinPlan(VhnswJoin *join);
extern void VhnswJoinShare(VhnswJoin *join);
extern void VhnswJoinFree(VhnswCrew *crew, VhnswJoin *join);
extern void VhnswJoinBegin(VhnswJoin *join);
extern void VhnswJoinLeaf(const VhnswLeaf *leaf, void *join);
extern void VhnswJoinEnd(VhnswJoin *join);

#endif							/* VHNSW_JOIN_H */
