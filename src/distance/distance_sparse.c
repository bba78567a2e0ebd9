/*-------------------------------------------------------------------------
 *
 * distance_sparse.c
 *	  Distances between sparse vectors, in plain C on every CPU.
 *
 * Each is one walk over two ascending lists of indices.  Which list moves on
 * depends on the data, so the walk has no branch on it: a wrong guess costs
 * more than computing with a zero.  It is not done with SIMD instructions,
 * which cannot merge lists of unknown overlap faster than that.
 *
 * Terms are differences or products in double, summed in one double in the
 * order of indices: every CPU gives the same bits, no term rounds to float,
 * and results are finite for all finite elements.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "distance/distance_impl.h"
#include "distance/distance_sparse.h"

/* x if 'wanted', else 0: by a mask, since compilers would branch. */
static inline double
element_if(float x, bool wanted)
{
	uint32_t	bits;

	memcpy(&bits, &x, sizeof(bits));
	bits &= -(uint32_t) wanted;
	memcpy(&x, &bits, sizeof(x));
	return x;
}

/*
 * The walk: calls TERM(x, y) for every index that occurs in one of the lists,
 * with the elements there, in ascending order.
 */
#define FOR_EITHER(a, b, TERM) \
	do { \
		int			i = 0; \
		int			j = 0; \
		\
		while (i < (a)->n && j < (b)->n) \
		{ \
			int32_t		index_a = (a)->index[i]; \
			int32_t		index_b = (b)->index[j]; \
			double		x = element_if((a)->x[i], index_a <= index_b); \
			double		y = element_if((b)->x[j], index_b <= index_a); \
			\
			TERM(x, y); \
			i += index_a <= index_b; \
			j += index_b <= index_a; \
		} \
		for (; i < (a)->n; i++) \
			TERM((double) (a)->x[i], 0.0); \
		for (; j < (b)->n; j++) \
			TERM(0.0, (double) (b)->x[j]); \
	} while (0)

double
DistanceSparseL2Squared(const DistanceSparse *a, const DistanceSparse *b)
{
	double		total = 0;

#define ADD_SQUARE(x, y) (total += ((x) - (y)) * ((x) - (y)))
	FOR_EITHER(a, b, ADD_SQUARE);
	return total;
}

double
DistanceSparseL1(const DistanceSparse *a, const DistanceSparse *b)
{
	double		total = 0;

#define ADD_ABSOLUTE(x, y) (total += fabs((x) - (y)))
	FOR_EITHER(a, b, ADD_ABSOLUTE);
	return total;
}

/* Only indices in both lists count. */
double
DistanceSparseInnerProduct(const DistanceSparse *a, const DistanceSparse *b)
{
	double		total = 0;
	int			i = 0;
	int			j = 0;

	while (i < a->n && j < b->n)
	{
		int32_t		index_a = a->index[i];
		int32_t		index_b = b->index[j];
		double		x = element_if(a->x[i], index_a == index_b);

		total += x * b->x[j];
		i += index_a <= index_b;
		j += index_b <= index_a;
	}
	return total;
}

/* In [0, 2]; NaN if either vector is zero. */
double
DistanceSparseCosine(const DistanceSparse *a, const DistanceSparse *b)
{
	DistanceCosineSums sums;

	sums.dot = DistanceSparseInnerProduct(a, b);
	sums.norm_a_squared = DistanceNormSquared(a->x, a->n);
	sums.norm_b_squared = DistanceNormSquared(b->x, b->n);
	return DistanceCosineOf(&sums);
}
