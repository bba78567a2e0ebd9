/*-------------------------------------------------------------------------
 *
 * vhnsw_layout.c
 *	  Where things are on the pages of an index, by its parameters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "distance/distance_edge.h"
#include "vhnsw/vhnsw_code.h"
#include "vhnsw/vhnsw_page.h"

/* A slot without its code. */
#define SLOT_BYTES(degree) \
	((int) (offsetof(VhnswSlotData, neighbors) + \
			(degree) * sizeof(VhnswElement)))

/* How many slots a page gets if nothing says how long codes should be. */
#define FREE_CODES_ON_A_PAGE 6

/*
 * VhnswLayoutDerive
 *		Derive the places of an index from its parameters.
 *
 * A list has 2m places, or 1.5 m in compact storage, rounded up to a multiple
 * of 8; fewer, but not below m, where a long code would not fit otherwise.
 * Where the coder leaves the length of codes open, layout->code_bytes is a
 * parameter, a multiple of 8, or 0 for the default.
 */
void
VhnswLayoutDerive(VhnswLayout *layout)
{
	layout->is_rotated = layout->coder->is_rotated;
	layout->is_direct = layout->coder->is_direct;
	layout->degree = TYPEALIGN(8, layout->storage == VHNSW_STORAGE_COMPACT ?
							   (3 * layout->m + 1) / 2 : 2 * layout->m);
	if (layout->coder->code_bytes)
		layout->code_bytes = TYPEALIGN(8, layout->coder->code_bytes(layout->dims));
	else if (layout->code_bytes == 0)
		layout->code_bytes = VhnswCodeBytesThatFit(layout,
												   FREE_CODES_ON_A_PAGE);
	while (SLOT_BYTES(layout->degree) + layout->code_bytes >
		   VHNSW_PAGE_CAPACITY && layout->degree - 8 >= layout->m)
		layout->degree -= 8;
	layout->code_offset = SLOT_BYTES(layout->degree);
	layout->edge_chunks = 0;
	if (layout->edge_dims > 0)
	{
		layout->edge_chunks = layout->edge_dims /
			DistanceEdgeChunkDims(layout->edge_bits);
		layout->code_offset += VHNSW_EDGE_FACTORS_SIZE(layout->degree) +
			layout->degree * layout->edge_chunks * DISTANCE_EDGE_PIECE;
	}
	layout->slot_size = layout->code_offset + layout->code_bytes;
	layout->slots_per_page = VHNSW_PAGE_CAPACITY / layout->slot_size;
	layout->entry_size = offsetof(VhnswEntryData, code) + layout->code_bytes;
	layout->entries_per_page = VHNSW_PAGE_CAPACITY / layout->entry_size;
}

/* The longest code of which so many fit a page, without sketches. */
int
VhnswCodeBytesThatFit(const VhnswLayout *layout, int slots_per_page)
{
	return TYPEALIGN_DOWN(8, VHNSW_PAGE_CAPACITY / slots_per_page) -
		SLOT_BYTES(layout->degree);
}

/* The longest code whose slot fits a page. */
int
VhnswMaxCodeBytes(int m)
{
	return TYPEALIGN_DOWN(8, VHNSW_PAGE_CAPACITY - SLOT_BYTES(TYPEALIGN(8, m)));
}
