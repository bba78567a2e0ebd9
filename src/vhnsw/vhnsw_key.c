/*-------------------------------------------------------------------------
 *
 * vhnsw_key.c
 *	  Sort elements by distance, and select the nearest.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vhnsw/vhnsw_key.h"

/* So many keys are sorted by merging. */
#define FEW_TO_SORT 256

#define ST_SORT sort_keys
#define ST_ELEMENT_TYPE VhnswKey
#define ST_COMPARE(a, b) (*(a) < *(b) ? -1 : *(a) > *(b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_ids
#define ST_ELEMENT_TYPE uint32
#define ST_COMPARE(a, b) (*(a) < *(b) ? -1 : *(a) > *(b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static inline void
sort_2(VhnswKey *a, VhnswKey *b)
{
	VhnswKey	smaller = Min(*a, *b);

	*b = Max(*a, *b);
	*a = smaller;
}

/* Merge the sorted keys before and from 'second' on. */
static inline void
merge_runs(const VhnswKey *first, const VhnswKey *second, const VhnswKey *end,
		   VhnswKey *result)
{
	const VhnswKey *first_end = second;

	while (first < first_end && second < end)
	{
		bool		is_second = *second < *first;

		*result++ = Min(*first, *second);
		first += !is_second;
		second += is_second;
	}
	while (first < first_end)
		*result++ = *first++;
	while (second < end)
		*result++ = *second++;
}

/*
 * Sort at most FEW_TO_SORT keys by merging runs, which begin with four.  Which
 * of two is smaller cannot be predicted, so there is no branch for it.
 */
static void
sort_few_keys(VhnswKey *keys, int n)
{
	VhnswKey	room[FEW_TO_SORT];
	VhnswKey   *from = keys;
	VhnswKey   *to = room;
	int			sorted;

	for (sorted = 0; sorted + 4 <= n; sorted += 4)
	{
		VhnswKey   *run = keys + sorted;

		sort_2(&run[0], &run[1]);
		sort_2(&run[2], &run[3]);
		sort_2(&run[0], &run[2]);
		sort_2(&run[1], &run[3]);
		sort_2(&run[1], &run[2]);
	}
	sort_keys(keys + sorted, n - sorted);
	for (int length = 4; length < n; length *= 2)
	{
		VhnswKey   *swap = from;

		for (int first = 0; first < n; first += 2 * length)
			merge_runs(from + first, from + Min(first + length, n),
					   from + Min(first + 2 * length, n), to + first);
		from = to;
		to = swap;
	}
	if (from != keys)
		memcpy(keys, from, n * sizeof(VhnswKey));
}

/*
 * VhnswSortKeys
 *		Sort keys and drop repeated ones; returns how many are left.
 */
int
VhnswSortKeys(VhnswKey *keys, int n)
{
	int			count = 0;

	if (n <= FEW_TO_SORT)
		sort_few_keys(keys, n);
	else
		sort_keys(keys, n);
	for (int i = 0; i < n; i++)
	{
		if (count == 0 || keys[i] != keys[count - 1])
			keys[count++] = keys[i];
	}
	return count;
}

/*
 * VhnswSelectKeys
 *		Put the k smallest of n different keys first, in no order.
 *
 * This is Hoare's selection.  Which side of the pivot a key belongs to cannot be
 * predicted, so the partition has no branch for it.
 */
void
VhnswSelectKeys(VhnswKey *keys, int n, int k)
{
	int			low = 0;
	int			high = n;

	Assert(k > 0 && k <= n);
	while (low < k && k < high)
	{
		VhnswKey	first = keys[low];
		VhnswKey	middle = keys[(low + high) / 2];
		VhnswKey	last = keys[high - 1];
		VhnswKey	pivot = Max(Min(first, middle),
								Min(Max(first, middle), last));
		int			end = low;

		/* Of three or more, one is below their median. */
		if (high - low == 2)
			pivot = Max(first, last);
		for (int i = low; i < high; i++)
		{
			VhnswKey	key = keys[i];

			keys[i] = keys[end];
			keys[end] = key;
			end += key < pivot;
		}
		Assert(end > low);		/* as no two keys are equal */
		if (k <= end)
			high = end;
		else
			low = end;
	}
}

/*
 * VhnswSortIds
 *		Sort numbers of elements.
 */
void
VhnswSortIds(uint32 *ids, uint32 n)
{
	sort_ids(ids, n);
}
