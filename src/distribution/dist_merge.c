/*-------------------------------------------------------------------------
 *
 * dist_merge.c
 *	  Merge the answers of partitions, and prove that nothing is missing.
 *
 * Each partition sent a prefix of its own ordered answer.  A row that it
 * withheld comes after its last row.  So if the K-th row of the merged answer
 * does not come after the last row of any partition that has more, no
 * withheld row can belong to the answer.  That is all the certificate says;
 * it is computed from the rows that came, not from what was asked for, and
 * holds for any placement of rows and any number asked of a partition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "utils/float.h"

#include "distribution/dist_merge.h"
#include "vecdist_debug.h"

/* State of a merge in progress */
typedef struct MergeState
{
	const DistMerge *merge;
	DistMergeRow *heads;		/* next unread row of each input */
} MergeState;

static int	compare_rows(const DistMerge *merge, const DistMergeRow *a,
						 const DistMergeRow *b);
static int	compare_heads(Datum a, Datum b, void *arg);

void
DistMergeTopK(DistMerge *merge)
{
	MergeState	state;
	binaryheap *heap;
	int64		total = 0;

	state.merge = merge;
	state.heads = palloc0(sizeof(DistMergeRow) * Max(merge->ninputs, 1));
	heap = binaryheap_allocate(Max(merge->ninputs, 1), compare_heads, &state);
	for (int i = 0; i < merge->ninputs; i++)
	{
		state.heads[i].input = i;
		total += merge->inputs[i].nkeys;
		if (merge->inputs[i].nkeys > 0)
			binaryheap_add_unordered(heap, Int32GetDatum(i));
	}
	binaryheap_build(heap);

	merge->nrows = 0;
	merge->rows = palloc_extended(mul_size(sizeof(DistMergeRow),
										   Min(merge->k, total)),
								  MCXT_ALLOC_HUGE);
	while (merge->nrows < merge->k && !binaryheap_empty(heap))
	{
		int			input = DatumGetInt32(binaryheap_first(heap));

		merge->rows[merge->nrows++] = state.heads[input];
		if (++state.heads[input].pos < merge->inputs[input].nkeys)
			binaryheap_replace_first(heap, Int32GetDatum(input));
		else
			(void) binaryheap_remove_first(heap);
		CHECK_FOR_INTERRUPTS();
	}

	binaryheap_free(heap);
	pfree(state.heads);
}

char *
DistMergeCertify(const DistMerge *merge)
{
	/* Nobody withholds a row of an empty answer. */
	if (merge->k <= 0)
		return NULL;

	for (int i = 0; i < merge->ninputs; i++)
	{
		char	   *gap = DistMergeFindGap(merge, i);

		if (gap != NULL)
			return gap;
	}
	return NULL;
}

char *
DistMergeFindGap(const DistMerge *merge, int index)
{
	const DistMergeInput *input = &merge->inputs[index];
	DistMergeRow row = {.input = index};
	DistMergeRow next = {.input = index};
	const DistMergeRow *last;

	if (input->skipped)
		return NULL;
	if (!input->echoed)
		return psprintf("Partition \"%s\" did not search with the number of rows and the settings it was sent.",
						input->name);

	for (; row.pos + 1 < input->nkeys; row.pos++)
	{
		next.pos = row.pos + 1;
		if (compare_rows(merge, &row, &next) > 0)
			return psprintf("Partition \"%s\" returned its rows out of order.",
							input->name);
	}

	if (input->exhausted ||
		(VD_MISTAKE("dist-count-rows") && merge->nrows >= merge->k))
		return NULL;
	if (merge->nrows < merge->k)
		return psprintf("Partition \"%s\" has rows that it did not return, and the answer is short.",
						input->name);

	/*
	 * Whatever it withheld is farther than its bound, or comes after 'row',
	 * the last that it returned.
	 */
	last = &merge->rows[merge->nrows - 1];
	if (input->bounded ?
		DistMergeCompareKeys(&input->bound,
							 &merge->inputs[last->input].keys[last->pos]) < 0 :
		input->nkeys == 0 || compare_rows(merge, &row, last) < 0)
		return psprintf("Partition \"%s\" may have rows nearer than the last of the answer.",
						input->name);
	return NULL;
}

/* The order of the answer.  No two rows are equal. */
static int
compare_rows(const DistMerge *merge, const DistMergeRow *a,
			 const DistMergeRow *b)
{
	int			cmp = DistMergeCompareKeys(&merge->inputs[a->input].keys[a->pos],
										   &merge->inputs[b->input].keys[b->pos]);

	if (cmp == 0 && merge->compare_ties != NULL)
		cmp = merge->compare_ties(a, b, merge->arg);
	if (cmp == 0)
		cmp = a->input - b->input;
	if (cmp == 0)
		cmp = a->pos - b->pos;
	return cmp;
}

int
DistMergeCompareKeys(const DistMergeKey *a, const DistMergeKey *b)
{
	if (a->isnull || b->isnull)
		return (int) a->isnull - (int) b->isnull;
	if (VD_MISTAKE("dist-larger-first"))
		return float8_cmp_internal(b->distance, a->distance);
	if (VD_MISTAKE("dist-nan-first") && isnan(a->distance) != isnan(b->distance))
		return (int) isnan(b->distance) - (int) isnan(a->distance);
	return float8_cmp_internal(a->distance, b->distance);
}

/* binaryheap keeps the greatest first; we want the first row. */
static int
compare_heads(Datum a, Datum b, void *arg)
{
	const MergeState *state = arg;

	return -compare_rows(state->merge, &state->heads[DatumGetInt32(a)],
						 &state->heads[DatumGetInt32(b)]);
}
