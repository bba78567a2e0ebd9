/*-------------------------------------------------------------------------
 *
 * vhnsw_coders.c
 *	  Which kind of codes an index has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vhnsw/vhnsw_coders.h"
#include "vhnsw/vhnsw_nibbles.h"

/* Small storage has codes of 4 bits for vectors of more dimensions. */
#define MANY_DIMS 64

/*
 * VhnswGetCoder
 *		The coder of codes with so many bits for a dimension.
 *
 * Returns NULL if there is none; the arguments may come from a damaged page.
 */
const VhnswCoder *
VhnswGetCoder(VhnswMetric metric, int own_bits)
{
	const VhnswCoder *coder = NULL;

	if (own_bits == vhnsw_sparse_coder.own_bits)
		return metric >= VHNSW_L2 && metric <= VHNSW_L1 ?
			&vhnsw_sparse_coder : NULL;
	switch (metric)
	{
		case VHNSW_L2:
		case VHNSW_INNER_PRODUCT:
		case VHNSW_COSINE:
			coder = own_bits == VHNSW_NIBBLE_BITS ?
				&vhnsw_rotated_nibble_coder : &vhnsw_rotated_coder;
			break;
		case VHNSW_L1:
			coder = own_bits == VHNSW_NIBBLE_BITS ?
				&vhnsw_l1_nibble_coder : &vhnsw_l1_coder;
			break;
		case VHNSW_HAMMING:
		case VHNSW_JACCARD:
			coder = &vhnsw_bits_coder;
			break;
	}
	return coder && coder->own_bits == own_bits ? coder : NULL;
}

/*
 * VhnswCoderIsPossible
 *		May an index have codes with so many bits for a dimension?
 *
 * Four bits instead of eight only where they make codes shorter.  So the size
 * of slots tells if one is taken for the other.
 */
bool
VhnswCoderIsPossible(VhnswMetric metric, VhnswValueType type, int dims,
					 int own_bits)
{
	if (VhnswGetCoder(metric, own_bits) == NULL)
		return false;
	if (own_bits == VhnswOwnBits(type))
		return true;
	return own_bits == VHNSW_NIBBLE_BITS &&
		VhnswOwnBits(type) == vhnsw_rotated_coder.own_bits &&
		TYPEALIGN(8, VhnswNibbleForEach(dims)) <
		TYPEALIGN(8, VhnswByteForEach(dims));
}

/*
 * VhnswChooseCoder
 *		The coder of a new index.
 *
 * 'own_bits' is what its option says, 0 if nothing.  Codes of 4 bits are for
 * storage that is to be small, and where 8 bits do not fit a page.  Not under
 * L1, where there are no sketches that could do with less exact codes; and not
 * of few dimensions, which are small beside their links.
 *
 * Returns NULL if the metric is not for the type.
 */
const VhnswCoder *
VhnswChooseCoder(VhnswMetric metric, VhnswValueType type, int dims, int m,
				 VhnswStorage storage, int own_bits)
{
	const VhnswCoder *coder = VhnswGetCoder(metric, VhnswOwnBits(type));
	bool		is_small = storage == VHNSW_STORAGE_COMPACT ||
	storage == VHNSW_STORAGE_TINY;

	if (coder == NULL ||
		!VhnswCoderIsPossible(metric, type, dims, VHNSW_NIBBLE_BITS))
		return coder;
	if (own_bits == 0)
	{
		own_bits = coder->own_bits;
		if (dims > VhnswMaxDims(coder, m) ||
			(is_small && coder->is_rotated && dims > MANY_DIMS))
			own_bits = VHNSW_NIBBLE_BITS;
	}
	return VhnswGetCoder(metric, own_bits);
}
