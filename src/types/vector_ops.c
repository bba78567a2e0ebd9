/*-------------------------------------------------------------------------
 *
 * vector_ops.c
 *	  Comparison, arithmetic, parts and signs of vectors.
 *
 * Arithmetic is float4.  A result that is too large, or a product that
 * vanishes, is an error: a stored vector is finite, and a silent zero would
 * change directions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "distance/distance.h"
#include "types/bit.h"
#include "types/vector.h"
#include "types/vector_list.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(vector_lt);
VECDIST_FUNCTION_INFO_V1(vector_le);
VECDIST_FUNCTION_INFO_V1(vector_eq);
VECDIST_FUNCTION_INFO_V1(vector_ne);
VECDIST_FUNCTION_INFO_V1(vector_ge);
VECDIST_FUNCTION_INFO_V1(vector_gt);
VECDIST_FUNCTION_INFO_V1(vector_cmp);
VECDIST_FUNCTION_INFO_V1(vector_add);
VECDIST_FUNCTION_INFO_V1(vector_sub);
VECDIST_FUNCTION_INFO_V1(vector_mul);
VECDIST_FUNCTION_INFO_V1(vector_concat);
VECDIST_FUNCTION_INFO_V1(subvector);
VECDIST_FUNCTION_INFO_V1(binary_quantize);
VECDIST_FUNCTION_INFO_V1(vector_spherical_distance);

static int	compare(FunctionCallInfo fcinfo);
static Vector *create_result(FunctionCallInfo fcinfo, Vector *a);
static void check_sum(const float *x, int dim);
static void check_product(const float *x, const float *a, const float *b, int dim);

/*
 * Order of the two arguments, as of words: by the first element that differs;
 * a vector comes before those it is the beginning of.  -0 equals 0.
 */
static int
compare(FunctionCallInfo fcinfo)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	int			dim = Min(a->dim, b->dim);
	int			result = a->dim - b->dim;

	for (int i = 0; i < dim; i++)
	{
		if (a->x[i] != b->x[i])
		{
			result = a->x[i] < b->x[i] ? -1 : 1;
			break;
		}
	}

	/* Sorts call this without resetting memory. */
	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return result;
}

Datum
vector_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) < 0);
}

Datum
vector_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) <= 0);
}

Datum
vector_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) == 0);
}

Datum
vector_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) != 0);
}

Datum
vector_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) >= 0);
}

Datum
vector_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) > 0);
}

/* For the btree operator class: -1, 0 or 1. */
Datum
vector_cmp(PG_FUNCTION_ARGS)
{
	int			order = compare(fcinfo);

	PG_RETURN_INT32(order < 0 ? -1 : order > 0);
}

/* Operator +; also the transition and combine function of sum(vector). */
Datum
vector_add(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *result;
	int			dim = a->dim;

	VectorCheckSameDim(a, b);
	result = create_result(fcinfo, a);
	for (int i = 0; i < dim; i++)
		result->x[i] = a->x[i] + b->x[i];
	check_sum(result->x, dim);
	PG_RETURN_VECTOR_P(result);
}

/* Operator - */
Datum
vector_sub(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *result;
	int			dim = a->dim;

	VectorCheckSameDim(a, b);
	result = VectorCreate(dim);
	for (int i = 0; i < dim; i++)
		result->x[i] = a->x[i] - b->x[i];
	check_sum(result->x, dim);
	PG_RETURN_VECTOR_P(result);
}

/* Operator *, element by element. */
Datum
vector_mul(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *result;
	int			dim = a->dim;

	VectorCheckSameDim(a, b);
	result = VectorCreate(dim);
	for (int i = 0; i < dim; i++)
		result->x[i] = a->x[i] * b->x[i];
	check_product(result->x, a->x, b->x, dim);
	PG_RETURN_VECTOR_P(result);
}

/*
 * Where a + b goes: as an aggregate's state, a is ours to change, which saves
 * a copy of it for every row.
 */
static Vector *
create_result(FunctionCallInfo fcinfo, Vector *a)
{
	return AggCheckCallContext(fcinfo, NULL) ? a : VectorCreate(a->dim);
}

/*
 * An error if a sum left the range of float4.  Here and below there is no
 * early exit, so that compilers vectorize the first loop.
 */
static void
check_sum(const float *x, int dim)
{
	int			num_infinite = 0;

	for (int i = 0; i < dim; i++)
		num_infinite += fabsf(x[i]) > FLT_MAX;
	if (likely(num_infinite == 0))
		return;

	for (int i = 0; i < dim; i++)
	{
		if (isinf(x[i]))
			VectorListOutOfRange(true, i + 1);
	}
}

/* The same of x = a * b, and if it is zero while neither factor is. */
static void
check_product(const float *x, const float *a, const float *b, int dim)
{
	int			num_wrong = 0;

	for (int i = 0; i < dim; i++)
		num_wrong += (fabsf(x[i]) > FLT_MAX) |
			((x[i] == 0) & (a[i] != 0) & (b[i] != 0));
	if (likely(num_wrong == 0))
		return;

	for (int i = 0; i < dim; i++)
	{
		if (isinf(x[i]))
			VectorListOutOfRange(true, i + 1);
		if (x[i] == 0 && a[i] != 0 && b[i] != 0)
			VectorListOutOfRange(false, i + 1);
	}
}

/* Operator || */
Datum
vector_concat(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	int			dim = a->dim + b->dim;
	Vector	   *result;

	VectorCheckDim(dim);
	result = VectorCreate(dim);
	memcpy(result->x, a->x, sizeof(float) * a->dim);
	memcpy(result->x + a->dim, b->x, sizeof(float) * b->dim);
	PG_RETURN_VECTOR_P(result);
}

/* Elements start to start + count - 1, as far as they exist. */
Datum
subvector(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	int			first;
	int			dim = VectorListClampRange(&vector_list_type, vector->dim,
										   PG_GETARG_INT32(1),
										   PG_GETARG_INT32(2), &first);
	Vector	   *result = VectorCreate(dim);

	memcpy(result->x, vector->x + first, sizeof(float) * dim);
	PG_RETURN_VECTOR_P(result);
}

/* One bit per element: is it greater than zero? */
Datum
binary_quantize(PG_FUNCTION_ARGS)
{
	static const int place_value[BITS_PER_BYTE] = {128, 64, 32, 16, 8, 4, 2, 1};
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	const float *x = vector->x;
	int			dim = vector->dim;
	VarBit	   *result = BitCreate(dim);
	bits8	   *bits = VARBITS(result);
	int			i;

	/* Compilers vectorize a sum of place values, but not shifts. */
	for (i = 0; i + BITS_PER_BYTE <= dim; i += BITS_PER_BYTE)
	{
		int			byte = 0;

		for (int j = 0; j < BITS_PER_BYTE; j++)
			byte += x[i + j] > 0 ? place_value[j] : 0;
		bits[i / BITS_PER_BYTE] = byte;
	}
	for (; i < dim; i++)
		bits[i / BITS_PER_BYTE] |= (x[i] > 0) << (7 - i % BITS_PER_BYTE);
	PG_RETURN_VARBIT_P(result);
}

/*
 * Angle between two vectors of length 1, divided by pi; lengths are not
 * checked, and an inner product beyond -1 to 1 counts as that.
 */
Datum
vector_spherical_distance(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	double		cosine;

	VectorCheckSameDim(a, b);
	cosine = DistanceInnerProduct(a->x, b->x, a->dim);

	/* NaN, from sums that overflow both ways, passes both tests. */
	if (cosine > 1)
		cosine = 1;
	else if (cosine < -1)
		cosine = -1;
	PG_RETURN_FLOAT8(acos(cosine) / M_PI);
}
