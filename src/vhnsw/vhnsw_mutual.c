/*-------------------------------------------------------------------------
 *
 * vhnsw_mutual.c
 *	  Which pairs of a leaf are compared in another one.
 *
 * A guest of a leaf is compared with its residents.  If one of these is guest
 * in the other's own leaf, the pair meets there too, and of two neighbors most
 * are such guests of each other.  To compare them once is enough: in the leaf
 * with the smaller number.
 *
 * Elements are numbered in the order of their leaves, and guests of a leaf are
 * in the order of their numbers.  So those that come from one leaf lie
 * together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vhnsw/vhnsw_mutual.h"

struct VhnswMutual
{
	VhnswPartition partition;	/* with room of its own, if it is in a file */
	uint32		home;			/* the part that was looked at last: */
	VhnswLeaf	leaf;
	uint32	   *firsts;			/* the first resident of each part, and the
								 * end */
	uint32		part;			/* in work */
	uint16		elsewhere[VHNSW_LEAF_LIMIT];	/* for each of its residents */
};

static uint32 part_of(const VhnswMutual *mutual, uint32 id);
static const uint32 *first_from(const uint32 *ids, const uint32 *end, uint32 id);

/* Memory of a process for that, besides the members of a part */
Size
VhnswMutualBytes(uint64 count)
{
	return sizeof(VhnswMutual) +
		(count / VHNSW_LEAF_SIZE + 2) * sizeof(uint32);
}

/* For parts by which elements are numbered, in the current memory context */
VhnswMutual *
VhnswMutualCreate(const VhnswPartition *partition)
{
	VhnswMutual *mutual = palloc_object(VhnswMutual);

	mutual->partition = *partition;
	mutual->partition.members = VhnswPartitionRoom(partition);
	mutual->home = PG_UINT32_MAX;
	mutual->firsts = palloc_array(uint32, partition->nparts + 1);
	mutual->firsts[0] = 0;
	for (uint32 i = 0; i < partition->nparts; i++)
		mutual->firsts[i + 1] = mutual->firsts[i] + partition->nresidents[i];
	return mutual;
}

void
VhnswMutualFree(VhnswMutual *mutual)
{
	if (mutual->partition.spilled)
		pfree(mutual->partition.members);
	pfree(mutual->firsts);
	pfree(mutual);
}

/* Take a part in work, which is not divided again. */
void
VhnswMutualBegin(VhnswMutual *mutual, uint32 part)
{
	Assert(!VhnswIsDivided(mutual->partition.nresidents[part]));
	mutual->part = part;
}

/* The first resident of the part in work. */
uint32
VhnswMutualFirst(const VhnswMutual *mutual)
{
	return mutual->firsts[mutual->part];
}

/*
 * VhnswMutualElsewhere
 *		Which of n guests, in order, each resident of the part in work meets in
 *		the guest's own part, and is to be compared with there.
 *
 * The result is a number for each resident, by its number less that of the
 * first: bit i is for guest i.  It is good until the next call.
 *
 * In a part that is divided again not all meet.
 */
const uint16 *
VhnswMutualElsewhere(VhnswMutual *mutual, const uint32 *guests, int n)
{
	const VhnswPartition *partition = &mutual->partition;
	uint32		first = VhnswMutualFirst(mutual);
	uint32		last = mutual->firsts[mutual->part + 1] - 1;
	int			end;

	Assert(n <= VHNSW_MUTUAL_GUESTS);
	memset(mutual->elsewhere, 0, (last - first + 1) * sizeof(uint16));
	for (int i = 0; i < n; i = end)
	{
		uint32		home = part_of(mutual, guests[i]);
		const uint32 *visitor;
		const uint32 *end_visitor;
		uint16		bits;

		for (end = i + 1; end < n && guests[end] < mutual->firsts[home + 1] &&
			 guests[end] > guests[i]; end++)
			;
		if (home > mutual->part || VhnswIsDivided(partition->nresidents[home]))
			continue;
		if (home != mutual->home)
			mutual->leaf = VhnswPartitionLeaf(partition, home);
		mutual->home = home;
		bits = (uint16) ((1 << end) - (1 << i));
		end_visitor = mutual->leaf.members + mutual->leaf.n;
		for (visitor = first_from(mutual->leaf.members + mutual->leaf.nresidents,
								  end_visitor, first);
			 visitor < end_visitor && *visitor <= last; visitor++)
			mutual->elsewhere[*visitor - first] |= bits;
	}
	return mutual->elsewhere;
}

/* The part that an element is resident in. */
static uint32
part_of(const VhnswMutual *mutual, uint32 id)
{
	uint32		low = 0;
	uint32		high = mutual->partition.nparts;

	while (high - low > 1)
	{
		uint32		middle = low + (high - low) / 2;

		if (mutual->firsts[middle] <= id)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Of numbers in order, the first that is not below 'id'; or the end. */
static const uint32 *
first_from(const uint32 *ids, const uint32 *end, uint32 id)
{
	while (ids < end)
	{
		const uint32 *middle = ids + (end - ids) / 2;

		if (*middle < id)
			ids = middle + 1;
		else
			end = middle;
	}
	return ids;
}
