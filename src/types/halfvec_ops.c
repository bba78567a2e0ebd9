/*-------------------------------------------------------------------------
 *
 * halfvec_ops.c
 *	  Comparison, arithmetic, parts and signs of halfvecs.
 *
 * Arithmetic is float4, rounded to half precision at the end.  Float4 has so
 * many more digits (24 >= 2 * 11 + 2) that this is the exact sum, difference
 * or product rounded once, as half-precision instructions give.  A result that
 * is too large, or a product that vanishes, is an error, as it is for vector.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "distance/distance.h"
#include "types/bit.h"
#include "types/halfvec.h"
#include "vecdist_compat.h"

#define CHUNK 512				/* elements that are floats at a time */

typedef void (*FloatOperation) (float *x, const float *y, int n);

VECDIST_FUNCTION_INFO_V1(halfvec_lt);
VECDIST_FUNCTION_INFO_V1(halfvec_le);
VECDIST_FUNCTION_INFO_V1(halfvec_eq);
VECDIST_FUNCTION_INFO_V1(halfvec_ne);
VECDIST_FUNCTION_INFO_V1(halfvec_ge);
VECDIST_FUNCTION_INFO_V1(halfvec_gt);
VECDIST_FUNCTION_INFO_V1(halfvec_cmp);
VECDIST_FUNCTION_INFO_V1(halfvec_add);
VECDIST_FUNCTION_INFO_V1(halfvec_sub);
VECDIST_FUNCTION_INFO_V1(halfvec_mul);
VECDIST_FUNCTION_INFO_V1(halfvec_concat);
VECDIST_FUNCTION_INFO_V1(halfvec_subvector);
VECDIST_FUNCTION_INFO_V1(halfvec_binary_quantize);
VECDIST_FUNCTION_INFO_V1(halfvec_spherical_distance);

static int	compare(FunctionCallInfo fcinfo);
static void operate(const Halfvec *a, const Halfvec *b, FloatOperation operation,
					Halfvec *result);
static void check_underflow(const Half *x, const Half *a, const Half *b, int dim);

/*
 * Order of the two arguments, as of words: by the first element that differs;
 * a halfvec comes before those it is the beginning of.  -0 equals 0.
 */
static int
compare(FunctionCallInfo fcinfo)
{
	Halfvec    *a = PG_GETARG_HALFVEC_P(0);
	Halfvec    *b = PG_GETARG_HALFVEC_P(1);
	int			dim = Min(a->dim, b->dim);
	int			result = a->dim - b->dim;

	for (int i = 0; i < dim; i++)
	{
		float		x;
		float		y;

		if (a->x[i] == b->x[i])
			continue;
		x = HalfToFloat(a->x[i]);
		y = HalfToFloat(b->x[i]);
		if (x != y)
		{
			result = x < y ? -1 : 1;
			break;
		}
	}

	/* Sorts call this without resetting memory. */
	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return result;
}

Datum
halfvec_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) < 0);
}

Datum
halfvec_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) <= 0);
}

Datum
halfvec_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) == 0);
}

Datum
halfvec_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) != 0);
}

Datum
halfvec_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) >= 0);
}

Datum
halfvec_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) > 0);
}

/* For the btree operator class: -1, 0 or 1. */
Datum
halfvec_cmp(PG_FUNCTION_ARGS)
{
	int			order = compare(fcinfo);

	PG_RETURN_INT32(order < 0 ? -1 : order > 0);
}

static void
add(float *x, const float *y, int n)
{
	for (int i = 0; i < n; i++)
		x[i] += y[i];
}

static void
subtract(float *x, const float *y, int n)
{
	for (int i = 0; i < n; i++)
		x[i] -= y[i];
}

static void
multiply(float *x, const float *y, int n)
{
	for (int i = 0; i < n; i++)
		x[i] *= y[i];
}

/*
 * Operator +; also the transition and combine function of sum(halfvec): an
 * aggregate's state is ours to change, which saves a copy of it for every row.
 */
Datum
halfvec_add(PG_FUNCTION_ARGS)
{
	Halfvec    *a = PG_GETARG_HALFVEC_P(0);
	Halfvec    *b = PG_GETARG_HALFVEC_P(1);
	Halfvec    *result;

	HalfvecCheckSameDim(a, b);
	result = AggCheckCallContext(fcinfo, NULL) ? a : HalfvecCreate(a->dim);
	operate(a, b, add, result);
	PG_RETURN_HALFVEC_P(result);
}

/* Operator - */
Datum
halfvec_sub(PG_FUNCTION_ARGS)
{
	Halfvec    *a = PG_GETARG_HALFVEC_P(0);
	Halfvec    *b = PG_GETARG_HALFVEC_P(1);
	Halfvec    *result;

	HalfvecCheckSameDim(a, b);
	result = HalfvecCreate(a->dim);
	operate(a, b, subtract, result);
	PG_RETURN_HALFVEC_P(result);
}

/* Operator *, element by element. */
Datum
halfvec_mul(PG_FUNCTION_ARGS)
{
	Halfvec    *a = PG_GETARG_HALFVEC_P(0);
	Halfvec    *b = PG_GETARG_HALFVEC_P(1);
	Halfvec    *result;

	HalfvecCheckSameDim(a, b);
	result = HalfvecCreate(a->dim);
	operate(a, b, multiply, result);
	check_underflow(result->x, a->x, b->x, a->dim);
	PG_RETURN_HALFVEC_P(result);
}

/*
 * Combine the elements of a and b, of the same length, into 'result', which
 * may be one of them.  An error if one leaves the range of half precision.
 */
static void
operate(const Halfvec *a, const Halfvec *b, FloatOperation operation,
		Halfvec *result)
{
	float		x[CHUNK];
	float		y[CHUNK];

	for (int start = 0; start < a->dim; start += CHUNK)
	{
		int			n = Min(CHUNK, a->dim - start);

		DistanceHalfToFloat(a->x + start, x, n);
		DistanceHalfToFloat(b->x + start, y, n);
		operation(x, y, n);
		DistanceFloatToHalf(x, result->x + start, n);
	}

	for (int i = 0; i < result->dim; i++)
	{
		if (unlikely(!HalfIsFinite(result->x[i])))
			VectorListOutOfRange(true, i + 1);
	}
}

/* An error if x = a * b is zero and neither factor is. */
static void
check_underflow(const Half *x, const Half *a, const Half *b, int dim)
{
	for (int i = 0; i < dim; i++)
	{
		if (unlikely(HalfIsZero(x[i])) && !HalfIsZero(a[i]) && !HalfIsZero(b[i]))
			VectorListOutOfRange(false, i + 1);
	}
}

/* Operator || */
Datum
halfvec_concat(PG_FUNCTION_ARGS)
{
	Halfvec    *a = PG_GETARG_HALFVEC_P(0);
	Halfvec    *b = PG_GETARG_HALFVEC_P(1);
	int			dim = a->dim + b->dim;
	Halfvec    *result;

	VectorListCheckDim(&halfvec_list_type, dim);
	result = HalfvecCreate(dim);
	memcpy(result->x, a->x, sizeof(Half) * a->dim);
	memcpy(result->x + a->dim, b->x, sizeof(Half) * b->dim);
	PG_RETURN_HALFVEC_P(result);
}

/* Elements start to start + count - 1, as far as they exist. */
Datum
halfvec_subvector(PG_FUNCTION_ARGS)
{
	Halfvec    *halfvec = PG_GETARG_HALFVEC_P(0);
	int			first;
	int			dim = VectorListClampRange(&halfvec_list_type, halfvec->dim,
										   PG_GETARG_INT32(1),
										   PG_GETARG_INT32(2), &first);
	Halfvec    *result = HalfvecCreate(dim);

	memcpy(result->x, halfvec->x + first, sizeof(Half) * dim);
	PG_RETURN_HALFVEC_P(result);
}

/* One bit per element: is it greater than zero? */
Datum
halfvec_binary_quantize(PG_FUNCTION_ARGS)
{
	Halfvec    *halfvec = PG_GETARG_HALFVEC_P(0);
	VarBit	   *result = BitCreate(halfvec->dim);
	bits8	   *bits = VARBITS(result);

	/* As a signed integer, a half is positive when its value is. */
	for (int i = 0; i < halfvec->dim; i++)
		bits[i / BITS_PER_BYTE] |= ((int16) halfvec->x[i] > 0) << (7 - i % BITS_PER_BYTE);
	PG_RETURN_VARBIT_P(result);
}

/*
 * Angle between two halfvecs of length 1, divided by pi; lengths are not
 * checked, and an inner product beyond -1 to 1 counts as that.
 */
Datum
halfvec_spherical_distance(PG_FUNCTION_ARGS)
{
	Halfvec    *a = PG_GETARG_HALFVEC_P(0);
	Halfvec    *b = PG_GETARG_HALFVEC_P(1);
	double		cosine;

	HalfvecCheckSameDim(a, b);
	cosine = DistanceHalfInnerProduct(a->x, b->x, a->dim);
	if (cosine > 1)
		cosine = 1;
	else if (cosine < -1)
		cosine = -1;
	PG_RETURN_FLOAT8(acos(cosine) / M_PI);
}
