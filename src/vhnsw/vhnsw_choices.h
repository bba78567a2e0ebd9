/*-------------------------------------------------------------------------
 *
 * vhnsw_choices.h
 *	  Which leaves elements choose, and how large these become.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_CHOICES_H
#define VHNSW_CHOICES_H

#include "postgres.h"

#include "vhnsw/vhnsw_spill.h"

/* Residents that a leaf has on average, in all but large sets, and at most. */
#define VHNSW_LEAF_SIZE 250
#define VHNSW_LEAF_LIMIT 1000

/* Is a leaf with so many residents divided again? */
#define VhnswIsDivided(nresidents) ((nresidents) > VHNSW_LEAF_LIMIT)

/* The parts that elements are in, nearest first: of each 'overlap'. */
typedef struct VhnswChoices
{
	int			overlap;
	uint32	   *parts;
	VhnswSpill *spilled;		/* in place of parts, if not NULL */
} VhnswChoices;

static inline const uint32 *
VhnswChoicesOf(const VhnswChoices *choices, uint32 i)
{
	return choices->spilled ? VhnswSpillGet(choices->spilled, i) :
		choices->parts + (Size) i * choices->overlap;
}

#endif							/* VHNSW_CHOICES_H */
