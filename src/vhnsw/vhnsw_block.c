/*-------------------------------------------------------------------------
 *
 * vhnsw_block.c
 *	  Codes of many elements, packed to compare all with all.
 *
 * The 8 bits of a code, or of the levels that 4 bits stand for, become 7
 * (distance_block.h says why), with a scale of their own by least squares.
 * Lists found with them are as good: what they hold is ordered again by the
 * codes themselves before neighbors are chosen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"

#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_nibbles.h"

static uint8 *next_row(const VhnswBlock *block);
static void finish_row(VhnswBlock *block, int32 sum, float scale, float norm);

/* Memory that a block takes. */
Size
VhnswBlockBytes(int dims, uint32 capacity)
{
	return VhnswBlockPlaces((Size) capacity) *
		(2 * DistanceRowBytes(dims) + 2 * sizeof(float) + sizeof(int32));
}

/* Likewise, of rows only. */
Size
VhnswBlockRowsBytes(int dims, uint32 capacity)
{
	return VhnswBlockPlaces((Size) capacity) *
		(DistanceRowBytes(dims) + 2 * sizeof(float));
}

/*
 * VhnswBlockInit
 *		Make a block of VhnswBlockBytes() of memory.
 *
 * It is empty; but if the memory is that of a finished block, of the same
 * sizes, the caller may set its count.
 */
void
VhnswBlockInit(VhnswBlock *block, VhnswBlockKind kind, int dims,
			   uint32 capacity, void *memory)
{
	Size		places = VhnswBlockPlaces((Size) capacity);

	VhnswBlockInitRows(block, kind, dims, capacity, memory);
	block->panels = (int8 *) memory + VhnswBlockRowsBytes(dims, capacity);
	block->sums = (int32 *) (block->panels + places * block->row_bytes);
}

/* Likewise a block of rows only, of VhnswBlockRowsBytes() of memory. */
void
VhnswBlockInitRows(VhnswBlock *block, VhnswBlockKind kind, int dims,
				   uint32 capacity, void *memory)
{
	Size		places = VhnswBlockPlaces((Size) capacity);

	block->kind = kind;
	block->dims = dims;
	block->row_bytes = DistanceRowBytes(dims);
	block->capacity = capacity;
	block->count = 0;
	block->rows = memory;
	block->addends = (float *) (block->rows + places * block->row_bytes);
	block->factors = block->addends + places;
	block->panels = NULL;
	block->sums = NULL;
}

/* An empty block in the current memory context. */
VhnswBlock *
VhnswBlockCreate(VhnswBlockKind kind, int dims, uint32 capacity)
{
	VhnswBlock *block = palloc_object(VhnswBlock);

	VhnswBlockInit(block, kind, dims, capacity,
				   palloc_extended(VhnswBlockBytes(dims, capacity),
								   MCXT_ALLOC_HUGE));
	return block;
}

VhnswBlock *
VhnswBlockCreateRows(VhnswBlockKind kind, int dims, uint32 capacity)
{
	VhnswBlock *block = palloc_object(VhnswBlock);

	VhnswBlockInitRows(block, kind, dims, capacity,
					   palloc_extended(VhnswBlockRowsBytes(dims, capacity),
									   MCXT_ALLOC_HUGE));
	return block;
}

void
VhnswBlockFree(VhnswBlock *block)
{
	pfree(block->rows);
	pfree(block);
}

void
VhnswBlockReset(VhnswBlock *block)
{
	block->count = 0;
}

/* Add a code of vhnsw_rotated.c. */
void
VhnswBlockAdd(VhnswBlock *block, const VhnswLayout *layout,
			  const VhnswCode *code)
{
	VhnswUnpacked room;
	const int8 *u = VhnswRotatedNumbers(code, layout->is_direct, block->dims,
										&room);
	DistanceRowSums sums = DistanceBlockRow(u, block->dims, next_row(block));
	float		scale = 0;

	if (sums.square > 0)
		scale = code->scale * (float) sums.product / (float) sums.square;
	finish_row(block, sums.sum, scale, code->norm);
}

/* Add any vector. */
void
VhnswBlockAddFloats(VhnswBlock *block, const float *x)
{
	double		norm_squared = DistanceNormSquared(x, block->dims);
	int32		sum;
	float		scale = DistanceBlockFloats(x, block->dims, next_row(block), &sum);

	finish_row(block, sum, scale, (float) sqrt(norm_squared));
}

/* Make what VhnswBlockAddVector() adds, with a length that may not be that of x. */
void
VhnswBlockPack(VhnswBlockVector *vector, const float *x, int dims, float norm)
{
	vector->scale = DistanceBlockFloats(x, dims, vector->row, &vector->sum);
	vector->norm = norm;
}

void
VhnswBlockAddVector(VhnswBlock *block, const VhnswBlockVector *vector)
{
	memcpy(next_row(block), vector->row, block->dims);
	finish_row(block, vector->sum, vector->scale, vector->norm);
}

static uint8 *
next_row(const VhnswBlock *block)
{
	Assert(block->count < VhnswBlockPlaces(block->capacity));
	return block->rows + (Size) block->count * block->row_bytes;
}

/* Count the next row, whose codes have been written and have this sum. */
static void
finish_row(VhnswBlock *block, int32 sum, float scale, float norm)
{
	uint8	   *row = next_row(block);
	uint32		number = block->count++;

	memset(row + block->dims, DISTANCE_ROW_OFFSET,
		   block->row_bytes - block->dims);
	if (block->panels)
	{
		Size		panel = (Size) (number / DISTANCE_PANEL) * DISTANCE_PANEL *
		block->row_bytes;

		/* Others may be filling other panels of the same memory. */
		block->sums[number] = sum;
		if (block->count % DISTANCE_PANEL == 0)
			DistanceBlockPanel(block->rows + panel, block->row_bytes,
							   block->panels + panel);
	}

	switch (block->kind)
	{
		case VHNSW_BLOCK_SQUARED:
			block->addends[number] = norm * norm;
			block->factors[number] = (float) M_SQRT2 * scale;
			break;
		case VHNSW_BLOCK_PRODUCT:
			block->addends[number] = 0;
			block->factors[number] = scale;
			break;
		case VHNSW_BLOCK_DIRECTION:
			block->addends[number] = norm > 0 ? 1 : 0;
			block->factors[number] = norm > 0 ?
				(float) M_SQRT2 * scale / norm : 0;
			break;
	}
}

/* Call this when all vectors are added, before comparing. */
void
VhnswBlockFinish(VhnswBlock *block)
{
	uint32		count = block->count;

	while (block->count < VhnswBlockPlaces(count))
	{
		memset(next_row(block), DISTANCE_ROW_OFFSET, block->dims);
		finish_row(block, 0, 0, 0);
		block->addends[block->count - 1] = get_float4_infinity();
	}
	block->count = count;
}
