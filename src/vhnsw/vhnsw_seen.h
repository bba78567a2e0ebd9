/*-------------------------------------------------------------------------
 *
 * vhnsw_seen.h
 *	  All elements that a search has met.
 *
 * A hash table with open addressing and linear probing.  A search looks up
 * every neighbor of what it expands, some thousand times for one query, which
 * is a quarter of its time.  Against simplehash, keeping the table half
 * empty, a multiplication as hash and no stored status save a third of that.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_SEEN_H
#define VHNSW_SEEN_H

#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "vhnsw/vhnsw_page.h"

typedef struct VhnswSeen
{
	VhnswElement element;		/* VHNSW_NO_ELEMENT = an empty place */
	float		estimate;		/* the lowest there was, until it is expanded */
	bool		expanded;
	bool		taken;			/* the caller of the search has got it */
} VhnswSeen;

typedef struct VhnswSeenTable
{
	int			bits;			/* places = 2^bits */
	uint64		count;
	VhnswSeen  *places;
	MemoryContext context;
} VhnswSeenTable;

/* Going over so many places takes less than a millisecond. */
#define VHNSW_SEEN_PER_CHECK 65536

#define VhnswSeenPlaces(table) (UINT64CONST(1) << (table)->bits)

static inline void
VhnswSeenInit(VhnswSeenTable *table, int bits, MemoryContext context)
{
	table->bits = bits;
	table->count = 0;
	table->context = context;
	table->places =
		MemoryContextAllocExtended(context,
								   VhnswSeenPlaces(table) * sizeof(VhnswSeen),
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* Where the search for an element begins. */
static inline uint64
VhnswSeenHome(const VhnswSeenTable *table, VhnswElement element)
{
	/* Fibonacci hashing: Knuth, "Sorting and Searching", 6.4 */
	return (element * UINT64CONST(0x9E3779B97F4A7C15)) >> (64 - table->bits);
}

/* The place of an element, or the empty one where it would stand. */
static inline VhnswSeen *
VhnswSeenProbe(const VhnswSeenTable *table, VhnswElement element)
{
	uint64		mask = VhnswSeenPlaces(table) - 1;
	uint64		i = VhnswSeenHome(table, element);

	while (table->places[i].element != element &&
		   table->places[i].element != VHNSW_NO_ELEMENT)
		i = (i + 1) & mask;
	return &table->places[i];
}

/* NULL if the element was not met. */
static inline VhnswSeen *
VhnswSeenLookup(const VhnswSeenTable *table, VhnswElement element)
{
	VhnswSeen  *seen = VhnswSeenProbe(table, element);

	return seen->element == VHNSW_NO_ELEMENT ? NULL : seen;
}

/*
 * Make room for n more elements.  Pointers into the table are void after it.
 */
static inline void
VhnswSeenReserve(VhnswSeenTable *table, int n)
{
	VhnswSeenTable old = *table;

	if (likely(2 * (table->count + n) <= VhnswSeenPlaces(table)))
		return;
	VhnswSeenInit(table, old.bits + 2, old.context);
	table->count = old.count;
	for (uint64 i = 0; i < VhnswSeenPlaces(&old); i++)
	{
		if (i % VHNSW_SEEN_PER_CHECK == 0)
			CHECK_FOR_INTERRUPTS();
		if (old.places[i].element != VHNSW_NO_ELEMENT)
			*VhnswSeenProbe(table, old.places[i].element) = old.places[i];
	}
	pfree(old.places);
}

#endif							/* VHNSW_SEEN_H */
