/*-------------------------------------------------------------------------
 *
 * distance_loops.h
 *	  The kernels that sum over 32 lanes, written once for all instruction
 *	  sets.
 *
 * A file for one instruction set defines the type Lanes, which holds the 32
 * lanes of the definition, what can be done with it, and LOOPS_TARGET and
 * LOOPS_INLINE, how functions name the instruction set.  Then it includes
 * this file, which gives it static functions lanes_l2_squared() and so on for
 * its table of kernels.  What it must have defined:
 *
 *	lanes_zero()						all lanes +0
 *	lanes_add(x, y), lanes_sub(x, y), lanes_mul(x, y), lanes_abs(x)
 *	lanes_scale(x, factor)				all lanes times a float
 *	lanes_sum(x)						sum_lanes() of distance_scalar.c
 *	lanes_load(p), lanes_load_half(p), lanes_load_int8(p)
 *										32 elements, as floats
 *	lanes_load_tail(p, n, before), lanes_load_half_tail(p, n, before),
 *	lanes_load_int8_tail(p, n, before)
 *										n elements, 0 < n < 32, and +0 in the
 *										other lanes; 'before' elements precede
 *										p and may be read
 *
 * A lane beyond the tail adds +0, which changes no sum.
 *
 * Every function is compiled for constant kinds of elements and terms, so
 * nothing of the choices below is left at run time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISTANCE_LOOPS_H
#define DISTANCE_LOOPS_H

#ifndef LOOPS_INLINE
#error "an instruction set includes this file after defining its lanes"
#endif

typedef enum ElementKind
{
	FLOATS,
	HALVES,
	CODES,						/* int8 */
	SCALED_CODES				/* int8, times Operand.scale */
} ElementKind;

typedef struct Operand
{
	ElementKind kind;
	const void *elements;
	float		scale;
} Operand;

/* What is added up of an element of each operand. */
typedef enum TermKind
{
	SQUARE_OF_DIFFERENCE,
	PRODUCT,
	ABSOLUTE_DIFFERENCE
} TermKind;

typedef struct CosineLanes
{
	Lanes		dot;
	Lanes		norm_a;
	Lanes		norm_b;
} CosineLanes;

LOOPS_INLINE Operand
make_operand(ElementKind kind, const void *elements, float scale)
{
	Operand		result;

	result.kind = kind;
	result.elements = elements;
	result.scale = scale;
	return result;
}

/* Elements i to i + 31 */
LOOPS_INLINE Lanes
load_round(Operand x, int i)
{
	const float *floats = (const float *) x.elements;
	const Half *halves = (const Half *) x.elements;
	const int8_t *codes = (const int8_t *) x.elements;

	switch (x.kind)
	{
		case FLOATS:
			return lanes_load(floats + i);
		case HALVES:
			return lanes_load_half(halves + i);
		case CODES:
			return lanes_load_int8(codes + i);
		default:
			return lanes_scale(lanes_load_int8(codes + i), x.scale);
	}
}

/* Elements i to i + n - 1 */
LOOPS_INLINE Lanes
load_tail(Operand x, int i, int n)
{
	const float *floats = (const float *) x.elements;
	const Half *halves = (const Half *) x.elements;
	const int8_t *codes = (const int8_t *) x.elements;

	switch (x.kind)
	{
		case FLOATS:
			return lanes_load_tail(floats + i, n, i);
		case HALVES:
			return lanes_load_half_tail(halves + i, n, i);
		case CODES:
			return lanes_load_int8_tail(codes + i, n, i);
		default:
			return lanes_scale(lanes_load_int8_tail(codes + i, n, i), x.scale);
	}
}

LOOPS_INLINE Lanes
add_term(Lanes sum, TermKind term, Lanes a, Lanes b)
{
	Lanes		difference;

	if (term == PRODUCT)
		return lanes_add(sum, lanes_mul(a, b));
	difference = lanes_sub(a, b);
	if (term == SQUARE_OF_DIFFERENCE)
		return lanes_add(sum, lanes_mul(difference, difference));
	return lanes_add(sum, lanes_abs(difference));
}

LOOPS_INLINE double
sum_of_terms(TermKind term, Operand a, Operand b, int dim)
{
	double		total = 0;

	for (int start = 0; start < dim; start += DISTANCE_BLOCK)
	{
		int			end = dim - start < DISTANCE_BLOCK ? dim : start + DISTANCE_BLOCK;
		Lanes		sum = lanes_zero();
		int			i;

		for (i = start; i + DISTANCE_LANES <= end; i += DISTANCE_LANES)
			sum = add_term(sum, term, load_round(a, i), load_round(b, i));
		if (i < end)
			sum = add_term(sum, term, load_tail(a, i, end - i),
						   load_tail(b, i, end - i));
		total += lanes_sum(sum);
	}
	return total;
}

LOOPS_INLINE CosineLanes
add_cosine_terms(CosineLanes sums, Lanes a, Lanes b)
{
	sums.dot = lanes_add(sums.dot, lanes_mul(a, b));
	sums.norm_a = lanes_add(sums.norm_a, lanes_mul(a, a));
	sums.norm_b = lanes_add(sums.norm_b, lanes_mul(b, b));
	return sums;
}

LOOPS_INLINE DistanceCosineSums
sums_for_cosine(Operand a, Operand b, int dim)
{
	DistanceCosineSums total = {0, 0, 0};

	for (int start = 0; start < dim; start += DISTANCE_BLOCK)
	{
		int			end = dim - start < DISTANCE_BLOCK ? dim : start + DISTANCE_BLOCK;
		CosineLanes sums;
		int			i;

		sums.dot = sums.norm_a = sums.norm_b = lanes_zero();
		for (i = start; i + DISTANCE_LANES <= end; i += DISTANCE_LANES)
			sums = add_cosine_terms(sums, load_round(a, i), load_round(b, i));
		if (i < end)
			sums = add_cosine_terms(sums, load_tail(a, i, end - i),
									load_tail(b, i, end - i));
		total.dot += lanes_sum(sums.dot);
		total.norm_a_squared += lanes_sum(sums.norm_a);
		total.norm_b_squared += lanes_sum(sums.norm_b);
	}
	return total;
}

/* ----------
 * Kernels
 * ----------
 */

LOOPS_TARGET static double
lanes_l2_squared(const float *a, const float *b, int dim)
{
	return sum_of_terms(SQUARE_OF_DIFFERENCE, make_operand(FLOATS, a, 1),
						make_operand(FLOATS, b, 1), dim);
}

LOOPS_TARGET static double
lanes_inner_product(const float *a, const float *b, int dim)
{
	return sum_of_terms(PRODUCT, make_operand(FLOATS, a, 1),
						make_operand(FLOATS, b, 1), dim);
}

LOOPS_TARGET static double
lanes_l1(const float *a, const float *b, int dim)
{
	return sum_of_terms(ABSOLUTE_DIFFERENCE, make_operand(FLOATS, a, 1),
						make_operand(FLOATS, b, 1), dim);
}

LOOPS_TARGET static void
lanes_cosine(const float *a, const float *b, int dim, DistanceCosineSums *sums)
{
	*sums = sums_for_cosine(make_operand(FLOATS, a, 1),
							make_operand(FLOATS, b, 1), dim);
}

LOOPS_TARGET static double
lanes_half_l2_squared(const Half *a, const Half *b, int dim)
{
	return sum_of_terms(SQUARE_OF_DIFFERENCE, make_operand(HALVES, a, 1),
						make_operand(HALVES, b, 1), dim);
}

LOOPS_TARGET static double
lanes_half_inner_product(const Half *a, const Half *b, int dim)
{
	return sum_of_terms(PRODUCT, make_operand(HALVES, a, 1),
						make_operand(HALVES, b, 1), dim);
}

LOOPS_TARGET static double
lanes_half_l1(const Half *a, const Half *b, int dim)
{
	return sum_of_terms(ABSOLUTE_DIFFERENCE, make_operand(HALVES, a, 1),
						make_operand(HALVES, b, 1), dim);
}

LOOPS_TARGET static void
lanes_half_cosine(const Half *a, const Half *b, int dim,
				  DistanceCosineSums *sums)
{
	*sums = sums_for_cosine(make_operand(HALVES, a, 1),
							make_operand(HALVES, b, 1), dim);
}

LOOPS_TARGET static double
lanes_dot_float_int8(const float *a, const int8_t *b, int dim)
{
	return sum_of_terms(PRODUCT, make_operand(FLOATS, a, 1),
						make_operand(CODES, b, 1), dim);
}

LOOPS_TARGET static double
lanes_l1_float_int8(const float *a, const int8_t *b, float scale, int dim)
{
	return sum_of_terms(ABSOLUTE_DIFFERENCE, make_operand(FLOATS, a, 1),
						make_operand(SCALED_CODES, b, scale), dim);
}

LOOPS_TARGET static double
lanes_l1_int8(const int8_t *a, float scale_a, const int8_t *b, float scale_b,
			  int dim)
{
	return sum_of_terms(ABSOLUTE_DIFFERENCE,
						make_operand(SCALED_CODES, a, scale_a),
						make_operand(SCALED_CODES, b, scale_b), dim);
}

#endif							/* DISTANCE_LOOPS_H */
