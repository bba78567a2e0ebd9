/*-------------------------------------------------------------------------
 *
 * vhnsw_code.c
 *	  Values as codes: what all kinds of codes have in common.
 *
 * A metric and a type of values make a space; a VhnswCoder turns the values of
 * a space into codes and proves bounds from them (README, section "Codes").
 * The rest of vhnsw sees three numbers and bytes of a fixed length.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "vhnsw/vhnsw_code.h"

/* Loops over so many values are done by vector instructions. */
#define LANES 8

/* The most dimensions whose code fits a page with lists of m places. */
int
VhnswMaxDims(const VhnswCoder *coder, int m)
{
	int			room = VhnswMaxCodeBytes(m);
	int			low = 0;
	int			high = VHNSW_MAX_DIMS;

	if (coder->code_bytes == NULL)
		return VHNSW_MAX_SPARSE_DIMS;
	while (low < high)
	{
		int			middle = (low + high + 1) / 2;

		if (coder->code_bytes(middle) <= room)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* The largest magnitude of n numbers. */
float
VhnswLargestOf(const float *x, int n)
{
	float		largest[LANES] = {0};
	int			i;

	for (i = 0; i + LANES <= n; i += LANES)
	{
		for (int j = 0; j < LANES; j++)
			largest[j] = Max(largest[j], fabsf(x[i + j]));
	}
	for (; i < n; i++)
		largest[0] = Max(largest[0], fabsf(x[i]));
	for (int j = 1; j < LANES; j++)
		largest[0] = Max(largest[0], largest[j]);
	return largest[0];
}

/*
 * VhnswQueryInit
 *		Prepare a value for comparing it with codes, or for becoming one.
 *
 * query->vector_class says where it belongs.  What the query points to is
 * allocated in the current context, or is the value itself, which must outlive
 * the query.
 */
void
VhnswQueryInit(VhnswQuery *query, const VhnswSpace *space,
			   const VhnswValue *value)
{
	query->metric = space->metric;
	query->coder = space->coder;
	query->is_direct = space->coder->is_direct;
	query->likely = false;
	query->dims = space->dims;
	query->vector_class = space->coder->classify(space->metric, value);
	if (query->vector_class == VHNSW_VECTOR_NORMAL)
		space->coder->prepare(query, space, value);
}

/*
 * VhnswQueryWantLikely
 *		Let bounds be likely where what is proven is far lower.
 *
 * For callers to whom a bound that is too high is no error.  Afterwards
 * query->likely says whether bounds may be.
 */
void
VhnswQueryWantLikely(VhnswQuery *query)
{
	query->likely = query->coder->has_likely_bounds;
}

/*
 * VhnswEncode
 *		The code of a prepared value, which must be of class NORMAL.
 */
void
VhnswEncode(const VhnswLayout *layout, const VhnswQuery *query,
			VhnswCode *code)
{
	memset(code, 0, VhnswCodeSize(layout));
	query->coder->encode(layout, query, code);
}

/*
 * VhnswCodeDistances
 *		VhnswCodeDistance() between one code and each of n others.
 */
void
VhnswCodeDistances(const VhnswLayout *layout, const VhnswCode *code,
				   const VhnswCode *const *others, int n, float *distances)
{
	const int8 *numbers[VHNSW_CODES_AT_ONCE];
	int32		dots[VHNSW_CODES_AT_ONCE];

	if (!layout->is_direct)
	{
		for (int i = 0; i < n; i++)
			distances[i] = VhnswCodeDistance(layout, code, others[i]);
		return;
	}
	for (int done = 0; done < n; done += VHNSW_CODES_AT_ONCE)
	{
		int			count = Min(n - done, VHNSW_CODES_AT_ONCE);

		for (int i = 0; i < count; i++)
			numbers[i] = others[done + i]->code;
		DistanceDotsInt8(code->code, numbers, count, layout->dims, dots);
		for (int i = 0; i < count; i++)
			distances[done + i] = VhnswDistanceOfDot(layout, code,
													 others[done + i], dots[i]);
	}
}

/* Length of a code of 8-bit numbers. */
int
VhnswByteForEach(int dims)
{
	return dims;
}

/* Does a code of 8-bit numbers have none that is not used? */
bool
VhnswBytesAreSane(const VhnswLayout *layout, VhnswCodeView view)
{
	for (int i = 0; i < layout->dims; i++)
	{
		if (view.code[i] == -128)
			return false;
	}
	return true;
}

/* The code of a slot in the form that arithmetic uses. */
void
VhnswSlotCopyCode(const VhnswLayout *layout, VhnswSlot slot, VhnswCode *code)
{
	code->scale = slot->scale;
	code->norm = slot->norm;
	code->residual = slot->residual;
	code->unused = 0;
	memcpy(code->code, VhnswSlotGetCode(layout, slot), layout->code_bytes);
}

/* Write the code of a new element. */
void
VhnswSlotSetCode(const VhnswLayout *layout, VhnswSlot slot,
				 const VhnswCode *code)
{
	slot->scale = code->scale;
	slot->norm = code->norm;
	slot->residual = code->residual;
	memcpy(VhnswSlotGetCode(layout, slot), code->code, layout->code_bytes);
}

/* Is this the code of a slot, bit by bit? */
bool
VhnswSlotHasCode(const VhnswLayout *layout, VhnswSlot slot,
				 const VhnswCode *code)
{
	return memcmp(&slot->scale, &code->scale, sizeof(float4)) == 0 &&
		memcmp(&slot->norm, &code->norm, sizeof(float4)) == 0 &&
		memcmp(&slot->residual, &code->residual, sizeof(float4)) == 0 &&
		memcmp(VhnswSlotGetCode(layout, slot), code->code,
			   layout->code_bytes) == 0;
}
