/*-------------------------------------------------------------------------
 *
 * vhnsw_nibbles.c
 *	  Codes of 4 bits for a dimension: their packed form.
 *
 * See README, section "Codes".  What the numbers mean is the business of
 * vhnsw_rotated.c and vhnsw_l1.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vhnsw/vhnsw_nibbles.h"

/* Length of a packed code. */
int
VhnswNibbleForEach(int dims)
{
	return (dims + 1) / 2;
}

/* The inverse of unpacking; of each number the lower four bits count. */
void
VhnswPackNibbles(const int8 *nibbles, int dims, int8 *packed)
{
	int			half = (dims + 1) / 2;

	for (int i = 0; i < half; i++)
	{
		int			high = half + i < dims ? nibbles[half + i] : 0;

		packed[i] = (int8) ((high & 0xF) << 4 | (nibbles[i] & 0xF));
	}
}

/* Is zero what is not used? */
bool
VhnswNibblesAreSane(const VhnswLayout *layout, VhnswCodeView view)
{
	int			used = VhnswNibbleForEach(layout->dims);

	if (layout->dims % 2 != 0 && (view.code[used - 1] & 0xF0) != 0)
		return false;
	for (int i = used; i < layout->code_bytes; i++)
	{
		if (view.code[i] != 0)
			return false;
	}
	return true;
}
