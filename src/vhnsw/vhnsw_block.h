/*-------------------------------------------------------------------------
 *
 * vhnsw_block.h
 *	  Codes of many elements, packed to compare all with all.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_BLOCK_H
#define VHNSW_BLOCK_H

#include "postgres.h"

#include "distance/distance_block.h"
#include "vhnsw/vhnsw_code.h"

/* What comparing gives.  Blocks of two kinds may be compared as well. */
typedef enum VhnswBlockKind
{
	VHNSW_BLOCK_SQUARED,		/* squares of distances */
	VHNSW_BLOCK_PRODUCT,		/* negative inner products */
	VHNSW_BLOCK_DIRECTION		/* squares, as if all had length 1 */
} VhnswBlockKind;

/*
 * Vectors 0 .. count - 1 in both forms of distance_block.h.  Beyond them, to a
 * multiple of DISTANCE_PANEL, stand vectors at an infinite distance.  A block of
 * rows only has one of the forms, in half of the memory and of the time.
 */
typedef struct VhnswBlock
{
	VhnswBlockKind kind;
	int			dims;
	int			row_bytes;
	uint32		capacity;
	uint32		count;
	uint8	   *rows;			/* begin of the memory */
	float	   *addends;
	float	   *factors;
	int8	   *panels;			/* NULL in a block of rows only */
	int32	   *sums;			/* likewise */
} VhnswBlock;

/* One vector, to be added to blocks of its dimensions */
typedef struct VhnswBlockVector
{
	float		scale;
	float		norm;
	int32		sum;			/* of the row's codes */
	uint8		row[FLEXIBLE_ARRAY_MEMBER]; /* DistanceRowBytes() */
} VhnswBlockVector;

/* How many places 'count' vectors take. */
#define VhnswBlockPlaces(count) TYPEALIGN(DISTANCE_PANEL, count)

extern Size VhnswBlockBytes(int dims, uint32 capacity);
extern Size VhnswBlockRowsBytes(int dims, uint32 capacity);
extern void VhnswBlockInit(VhnswBlock *block, VhnswBlockKind kind, int dims,
						   uint32 capacity, void *memory);
extern void VhnswBlockInitRows(VhnswBlock *block, VhnswBlockKind kind,
							   int dims, uint32 capacity, void *memory);
extern VhnswBlock *VhnswBlockCreate(VhnswBlockKind kind, int dims,
									uint32 capacity);
extern VhnswBlock *VhnswBlockCreateRows(VhnswBlockKind kind, int dims,
										uint32 capacity);
extern void VhnswBlockFree(VhnswBlock *block);
extern void VhnswBlockReset(VhnswBlock *block);
extern void VhnswBlockAdd(VhnswBlock *block, const VhnswLayout *layout,
						  const VhnswCode *code);
extern void VhnswBlockAddFloats(VhnswBlock *block, const float *x);
extern void VhnswBlockPack(VhnswBlockVector *vector, const float *x, int dims,
						   float norm);
extern void VhnswBlockAddVector(VhnswBlock *block,
								const VhnswBlockVector *vector);
extern void VhnswBlockFinish(VhnswBlock *block);

static inline DistancePanel
VhnswBlockPanel(const VhnswBlock *columns, uint32 column, const float *limits)
{
	return (DistancePanel)
	{
		columns->panels + (Size) column * columns->row_bytes,
			columns->addends + column, columns->factors + column, limits,
			columns->sums + column
	};
}

/*
 * VhnswBlockCompare
 *		Distances of four rows of one block from a panel of another.
 *
 * 'row' and 'column' are the numbers of the first vectors; limits belong to
 * these.  As DistanceBlockNear().
 */
static inline uint64
VhnswBlockCompare(const VhnswBlock *rows, uint32 row, const float *row_limits,
				  const VhnswBlock *columns, uint32 column,
				  const float *column_limits, float *distances)
{
	DistanceRows r = {rows->rows + (Size) row * rows->row_bytes,
	rows->addends + row, rows->factors + row, row_limits, {0, 1, 2, 3}};
	DistancePanel p = VhnswBlockPanel(columns, column, column_limits);

	return DistanceBlockNear(&r, &p, rows->row_bytes, distances);
}

/* Likewise, of any four rows; 'row_limits' are those of all. */
static inline uint64
VhnswBlockCompareSome(const VhnswBlock *rows, const uint32 *numbers,
					  const float *row_limits, const VhnswBlock *columns,
					  uint32 column, const float *column_limits,
					  float *distances)
{
	DistanceRows r = {rows->rows, rows->addends, rows->factors, row_limits,
	{numbers[0], numbers[1], numbers[2], numbers[3]}};
	DistancePanel p = VhnswBlockPanel(columns, column, column_limits);

	return DistanceBlockNear(&r, &p, rows->row_bytes, distances);
}

#endif							/* VHNSW_BLOCK_H */
