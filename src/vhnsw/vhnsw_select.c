/*-------------------------------------------------------------------------
 *
 * vhnsw_select.c
 *	  The neighbor selection heuristic of HNSW, with lists filled.
 *
 * Malkov and Yashunin, arXiv 1603.09320, algorithm 4: a candidate is kept if
 * it is nearer to the base than to any neighbor kept so far, so that links go
 * in different directions.  What remains free is filled with the nearest of
 * those rejected (README, "Where we differ from the paper").
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vhnsw/vhnsw_select.h"

static int
compare_links(const void *a, const void *b)
{
	const VhnswLink *la = a;
	const VhnswLink *lb = b;

	if (la->distance != lb->distance)
		return la->distance < lb->distance ? -1 : 1;
	return la->id < lb->id ? -1 : la->id > lb->id;
}

/* Nearest first; ties by number, so that builds are repeatable. */
void
VhnswSortLinks(VhnswLink *links, int n)
{
	qsort(links, n, sizeof(VhnswLink), compare_links);
}

/*
 * VhnswSelectLinks
 *		Choose neighbors from candidates sorted nearest first.
 *
 * Keeps at most 'max_selected' by the heuristic and then fills 'result', which
 * has room for 'max_total' and does not overlap the candidates, with the
 * nearest others.  Returns how many there are.
 */
int
VhnswSelectLinks(const VhnswLayout *layout, const VhnswLink *candidates, int n,
				 int max_selected, int max_total, VhnswLink *result)
{
	bool		stack_taken[1024];
	bool	   *taken = n <= lengthof(stack_taken) ?
	stack_taken : palloc_array(bool, n);
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		const VhnswLink *candidate = &candidates[i];

		taken[i] = count < max_selected;
		for (int j = 0; taken[i] && j < count; j++)
		{
			if (VhnswCodeDistance(layout, candidate->code,
								  result[j].code) < candidate->distance)
				taken[i] = false;
		}
		if (taken[i])
			result[count++] = *candidate;
	}
	for (int i = 0; i < n && count < max_total; i++)
	{
		if (!taken[i])
			result[count++] = candidates[i];
	}

	if (taken != stack_taken)
		pfree(taken);
	return count;
}
