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

#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "utils/float.h"

#include "distribution/dist_merge.h"

/* State of a merge: how far each input has been read. */
typedef struct MergeState
{
	const DistMergeInput *inputs;
	int		   *next;			/* next unread row of each input */
} MergeState;

static int	compare_keys(const DistMergeKey *a, const DistMergeKey *b);
static int	compare_heads(Datum a, Datum b, void *arg);
static const char *find_gap(const DistMergeInput *input, int index,
							const DistMergeInput *inputs, bool complete,
							const DistMergeRow *last);

int
DistMergeTopK(const DistMergeInput *inputs, int ninputs, int64 k,
			  DistMergeRow **rows)
{
	MergeState	state;
	binaryheap *heap;
	int64		total = 0;
	int			nrows = 0;

	state.inputs = inputs;
	state.next = palloc0(sizeof(int) * Max(ninputs, 1));
	heap = binaryheap_allocate(Max(ninputs, 1), compare_heads, &state);
	for (int i = 0; i < ninputs; i++)
	{
		total += inputs[i].nkeys;
		if (inputs[i].nkeys > 0)
			binaryheap_add_unordered(heap, Int32GetDatum(i));
	}
	binaryheap_build(heap);

	*rows = palloc_extended(mul_size(sizeof(DistMergeRow), Min(k, total)),
							MCXT_ALLOC_HUGE);
	while (nrows < k && !binaryheap_empty(heap))
	{
		int			input = DatumGetInt32(binaryheap_first(heap));

		(*rows)[nrows].input = input;
		(*rows)[nrows].pos = state.next[input]++;
		nrows++;
		if (state.next[input] < inputs[input].nkeys)
			binaryheap_replace_first(heap, Int32GetDatum(input));
		else
			(void) binaryheap_remove_first(heap);
		CHECK_FOR_INTERRUPTS();
	}

	binaryheap_free(heap);
	pfree(state.next);
	return nrows;
}

bool
DistMergeCertify(const DistMergeInput *inputs, int ninputs, int64 k,
				 const DistMergeRow *rows, int nrows, const char **reason)
{
	bool		complete = nrows >= k;
	const DistMergeRow *last = nrows > 0 ? &rows[nrows - 1] : NULL;

	/* Nobody withholds a row of an empty answer. */
	if (k <= 0)
		return true;

	for (int i = 0; i < ninputs; i++)
	{
		const char *gap = find_gap(&inputs[i], i, inputs, complete, last);

		if (gap != NULL)
		{
			*reason = gap;
			return false;
		}
	}
	return true;
}

/*
 * Why could this input have withheld a row of the answer?  NULL if it could
 * not.  'complete' says that the answer has K rows, 'last' is its last row.
 */
static const char *
find_gap(const DistMergeInput *input, int index,
		 const DistMergeInput *inputs, bool complete, const DistMergeRow *last)
{
	int			cmp;

	if (!input->echoed)
		return psprintf("Partition \"%s\" did not search with the number of rows and the settings it was sent.",
						input->name);
	for (int i = 1; i < input->nkeys; i++)
	{
		if (compare_keys(&input->keys[i - 1], &input->keys[i]) > 0)
			return psprintf("Partition \"%s\" returned its rows out of order.",
							input->name);
	}
	if (input->exhausted)
		return NULL;
	if (input->nkeys == 0 || !complete)
		return psprintf("Partition \"%s\" has rows that it did not return, and the answer is short.",
						input->name);

	/*
	 * Of two rows with the same distance the one of the earlier partition
	 * comes first, so equality of distances alone does not decide.
	 */
	cmp = compare_keys(&input->keys[input->nkeys - 1],
					   &inputs[last->input].keys[last->pos]);
	if (cmp < 0 || (cmp == 0 && index < last->input))
		return psprintf("Partition \"%s\" may have rows nearer than the last of the answer.",
						input->name);
	return NULL;
}

/* btree's order of float8, NULLS LAST */
static int
compare_keys(const DistMergeKey *a, const DistMergeKey *b)
{
	if (a->isnull || b->isnull)
		return (int) a->isnull - (int) b->isnull;
	return float8_cmp_internal(a->distance, b->distance);
}

/* binaryheap keeps the greatest first; we want the first row. */
static int
compare_heads(Datum a, Datum b, void *arg)
{
	const MergeState *state = arg;
	int			ia = DatumGetInt32(a);
	int			ib = DatumGetInt32(b);
	int			cmp;

	cmp = compare_keys(&state->inputs[ia].keys[state->next[ia]],
					   &state->inputs[ib].keys[state->next[ib]]);
	if (cmp == 0)
		cmp = ia < ib ? -1 : 1;
	return -cmp;
}
