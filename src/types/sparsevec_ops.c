/*-------------------------------------------------------------------------
 *
 * sparsevec_ops.c
 *	  Comparison of sparsevecs.
 *
 * The order is that of the same values as vectors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "types/sparsevec.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(sparsevec_lt);
VECDIST_FUNCTION_INFO_V1(sparsevec_le);
VECDIST_FUNCTION_INFO_V1(sparsevec_eq);
VECDIST_FUNCTION_INFO_V1(sparsevec_ne);
VECDIST_FUNCTION_INFO_V1(sparsevec_ge);
VECDIST_FUNCTION_INFO_V1(sparsevec_gt);
VECDIST_FUNCTION_INFO_V1(sparsevec_cmp);

static int	compare(FunctionCallInfo fcinfo);
static int	compare_elements(const Sparsevec *a, const Sparsevec *b);

/* Order of the two arguments: negative, 0 or positive. */
static int
compare(FunctionCallInfo fcinfo)
{
	Sparsevec  *a = PG_GETARG_SPARSEVEC_P(0);
	Sparsevec  *b = PG_GETARG_SPARSEVEC_P(1);
	int			result = compare_elements(a, b);

	/* Sorts call this without resetting memory. */
	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return result;
}

/*
 * As of words: by the first element that differs; a sparsevec comes before
 * those it is the beginning of.
 */
static int
compare_elements(const Sparsevec *a, const Sparsevec *b)
{
	int			dim = Min(a->dim, b->dim);
	int			i = 0;
	int			j = 0;

	for (;;)
	{
		/* One that has no more elements is zero to the end of the other. */
		int			index_a = i < a->nnz ? a->indices[i] : dim;
		int			index_b = j < b->nnz ? b->indices[j] : dim;
		int			index = Min(index_a, index_b);
		float		x = 0;
		float		y = 0;

		if (index >= dim)
			break;
		if (index_a == index)
			x = SPARSEVEC_X(a)[i++];
		if (index_b == index)
			y = SPARSEVEC_X(b)[j++];
		if (x != y)
			return x < y ? -1 : 1;
	}
	return a->dim - b->dim;
}

Datum
sparsevec_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) < 0);
}

Datum
sparsevec_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) <= 0);
}

Datum
sparsevec_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) == 0);
}

Datum
sparsevec_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) != 0);
}

Datum
sparsevec_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) >= 0);
}

Datum
sparsevec_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) > 0);
}

/* For the btree operator class: -1, 0 or 1. */
Datum
sparsevec_cmp(PG_FUNCTION_ARGS)
{
	int			order = compare(fcinfo);

	PG_RETURN_INT32(order < 0 ? -1 : order > 0);
}
