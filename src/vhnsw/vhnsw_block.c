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

/* Loops over so many values are done by vector instructions. */
#define STRIDE 16

static void shorten(const int8 *code, int dims, int8 *codes);
static void put_codes(VhnswBlock *block, const int8 *codes, float scale,
					  float norm);
static void put_panel(VhnswBlock *block, uint32 number, const int8 *codes);

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
	int			dims = block->dims;
	const int8 *u = VhnswRotatedNumbers(code, layout->is_direct, dims, &room);
	int8		codes[VHNSW_MAX_BLOCK_DIMS];
	int32		square;
	float		scale = 0;

	shorten(u, dims, codes);
	square = DistanceDotInt8(codes, codes, dims);
	if (square > 0)
		scale = code->scale *
			(float) DistanceDotInt8(u, codes, dims) / (float) square;
	put_codes(block, codes, scale, code->norm);
}

/* Make 7 bits of 8: 127 becomes 63, and nothing rounds beyond. */
static void
shorten(const int8 *code, int dims, int8 *codes)
{
	int			i = 0;

	for (; i + STRIDE <= dims; i += STRIDE)
	{
		for (int j = 0; j < STRIDE; j++)
			codes[i + j] = (int8) ((int16) (code[i + j] * 127 + 128) >> 8);
	}
	for (; i < dims; i++)
		codes[i] = (int8) ((code[i] * 127 + 128) >> 8);
}

/* Add any vector. */
void
VhnswBlockAddFloats(VhnswBlock *block, const float *x)
{
	int			dims = block->dims;
	int8		codes[VHNSW_MAX_BLOCK_DIMS];
	double		norm_squared = DistanceNormSquared(x, dims);
	double		product = 0;
	float		largest = 0;
	int32		square;

	for (int i = 0; i < dims; i++)
		largest = Max(largest, fabsf(x[i]));
	for (int i = 0; i < dims; i++)
		codes[i] = largest > 0 ?
			(int8) rintf(x[i] / largest * DISTANCE_CODE_LIMIT) : 0;
	for (int i = 0; i < dims; i++)
		product += (double) x[i] * codes[i];
	square = DistanceDotInt8(codes, codes, dims);
	put_codes(block, codes, square > 0 ? (float) (product / square) : 0,
			  (float) sqrt(norm_squared));
}

static void
put_codes(VhnswBlock *block, const int8 *codes, float scale, float norm)
{
	uint32		number = block->count++;
	uint8	   *row = block->rows + (Size) number * block->row_bytes;
	int			i = 0;

	Assert(number < VhnswBlockPlaces(block->capacity));
	for (; i + STRIDE <= block->dims; i += STRIDE)
	{
		for (int j = 0; j < STRIDE; j++)
			row[i + j] = (uint8) (codes[i + j] + DISTANCE_ROW_OFFSET);
	}
	for (; i < block->dims; i++)
		row[i] = (uint8) (codes[i] + DISTANCE_ROW_OFFSET);
	for (; i < block->row_bytes; i++)
		row[i] = DISTANCE_ROW_OFFSET;
	if (block->panels)
		put_panel(block, number, codes);

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

/* Put the other form into its place. */
static void
put_panel(VhnswBlock *block, uint32 number, const int8 *codes)
{
	int8	   *panel = block->panels +
	(Size) (number / DISTANCE_PANEL * DISTANCE_PANEL) * block->row_bytes +
	DistancePanelByte(number % DISTANCE_PANEL, 0);
	int8		chunk[8];
	int32		sum = 0;

	for (int i = 0; i < block->dims; i++)
		sum += codes[i];
	for (int i = 0; i < block->row_bytes; i += 4)
	{
		if (i + 4 <= block->dims)
			memcpy(panel + i * DISTANCE_PANEL, codes + i, 4);
		else
		{
			memset(chunk, 0, sizeof(chunk));
			memcpy(chunk, codes + i, Max(block->dims - i, 0));
			memcpy(panel + i * DISTANCE_PANEL, chunk, 4);
		}
	}
	block->sums[number] = sum;
}

/* Call this when all vectors are added, before comparing. */
void
VhnswBlockFinish(VhnswBlock *block)
{
	uint32		count = block->count;
	int8		codes[VHNSW_MAX_BLOCK_DIMS];

	memset(codes, 0, block->dims);
	while (block->count < VhnswBlockPlaces(count))
	{
		put_codes(block, codes, 0, 0);
		block->addends[block->count - 1] = get_float4_infinity();
	}
	block->count = count;
}
