/*-------------------------------------------------------------------------
 *
 * vhnsw_bits.c
 *	  Codes of bit strings for the Hamming and Jaccard distances.
 *
 * The code is the string itself, so what is computed from it is the distance,
 * by the same kernels as the operators'.  The norm is the number of bits set,
 * and the scale a hash, which both serve to tell elements apart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "vhnsw/vhnsw_code.h"

/* Only so many bits of a hash are an exact float4. */
#define HASH_BITS 24

static int
bits_code_bytes(int dims)
{
	return (dims + 7) / 8;
}

static double
bits_compare(VhnswMetric metric, const uint8 *a, const uint8 *b, int dims)
{
	if (metric == VHNSW_HAMMING)
		return DistanceHamming(a, b, bits_code_bytes(dims));
	return DistanceJaccard(a, b, bits_code_bytes(dims));
}

static VhnswVectorClass
bits_classify(VhnswMetric metric, const VhnswValue *value)
{
	return VHNSW_VECTOR_NORMAL;
}

static void
bits_prepare(VhnswQuery *query, const VhnswSpace *space,
			 const VhnswValue *value)
{
	query->bits = value->bits;
}

static void
bits_encode(const VhnswLayout *layout, const VhnswQuery *query,
			VhnswCode *code)
{
	int			bytes = bits_code_bytes(query->dims);
	uint8	   *zero = palloc0(bytes);

	memcpy(code->code, query->bits, bytes);
	code->norm = (float) DistanceHamming(query->bits, zero, bytes);
	code->scale = (float) (hash_bytes(query->bits, bytes) >> (32 - HASH_BITS));
	pfree(zero);
}

static float
bits_estimate(const VhnswQuery *query, VhnswCodeView view)
{
	return (float) bits_compare(query->metric, query->bits,
								(const uint8 *) view.code, query->dims);
}

static double
bits_bound(const VhnswQuery *query, VhnswCodeView view, float *estimate)
{
	double		distance = bits_compare(query->metric, query->bits,
										(const uint8 *) view.code, query->dims);

	*estimate = (float) distance;
	return distance;
}

static float
bits_distance(const VhnswLayout *layout, const VhnswCode *a,
			  const VhnswCode *b)
{
	return (float) bits_compare(layout->metric, (const uint8 *) a->code,
								(const uint8 *) b->code, layout->dims);
}

static double
bits_operator(VhnswMetric metric, const VhnswValue *a, const VhnswValue *b)
{
	return bits_compare(metric, a->bits, b->bits, a->dims);
}

/* Bits beyond the string are zero. */
static bool
bits_is_sane(const VhnswLayout *layout, VhnswCodeView view)
{
	int			unused = layout->dims % 8;
	int			bytes = bits_code_bytes(layout->dims);

	if (unused != 0 && (view.code[bytes - 1] & (0xFF >> unused)) != 0)
		return false;
	for (int i = bytes; i < layout->code_bytes; i++)
	{
		if (view.code[i] != 0)
			return false;
	}
	return true;
}

const VhnswCoder vhnsw_bits_coder = {
	.own_bits = 1,
	.code_bytes = bits_code_bytes,
	.classify = bits_classify,
	.prepare = bits_prepare,
	.encode = bits_encode,
	.estimate = bits_estimate,
	.bound = bits_bound,
	.distance = bits_distance,
	.operator = bits_operator,
	.is_sane = bits_is_sane,
};
