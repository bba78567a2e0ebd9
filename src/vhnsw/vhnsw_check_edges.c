/*-------------------------------------------------------------------------
 *
 * vhnsw_check_edges.c
 *	  Is every sketch that of the neighbor it stands beside (I12)?
 *
 * A sketch estimates distances, and has the full length of its edge, so that
 * the estimate for the neighbor itself is right: its distance from itself.
 * That is tested, because a sketch made from projections in half precision, as
 * in a build, does not have the same bits as one made by an insert.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_check.h"
#include "vhnsw/vhnsw_edge.h"
#include "vhnsw/vhnsw_lists.h"
#include "vhnsw/vhnsw_meta.h"

/* What rounding of projections and factors may do, with a good margin. */
#define ROUNDING (1.0 / 512)

/* The distance of the smallest numbers in half precision. */
#define HALF_STEP (1.0 / (1 << 24))

/* An estimate that is off by a tenth of the edge is not of this edge. */
#define TOLERANCE 0.1

typedef struct EdgeCheck
{
	VhnswCheck *check;
	VhnswEdgeSpace space;		/* its matrix is a copy */
	VhnswSlot	slot;			/* of the element */
	VhnswSlot	neighbor_slot;
	VhnswCode  *code;
	VhnswCode  *neighbor_code;
	float	   *z;				/* projection of the neighbor */
	VhnswEdge  *edge;
} EdgeCheck;

static void copy_space(EdgeCheck *state);
static void check_element(EdgeCheck *state, VhnswElement element);
static bool edge_is_wrong(EdgeCheck *state, int place);
static double product_with(const EdgeCheck *state);

/*
 * VhnswCheckEdges
 *		Compare all sketches with the codes of the neighbors.
 */
void
VhnswCheckEdges(VhnswCheck *check)
{
	const VhnswLayout *layout = &check->layout;
	EdgeCheck	state = {.check = check};

	if (layout->edge_dims == 0)
		return;
	copy_space(&state);
	state.slot = palloc(layout->slot_size);
	state.neighbor_slot = palloc(layout->slot_size);
	state.code = palloc(VhnswCodeSize(layout));
	state.neighbor_code = palloc(VhnswCodeSize(layout));
	state.z = palloc_array(float, layout->edge_dims);
	state.edge = palloc(VhnswEdgeSize(layout));

	for (uint64 element = layout->slots_per_page;
		 element < check->walk->nplaces; element++)
	{
		CHECK_FOR_INTERRUPTS();
		VD_DEBUG_POINT("vhnsw-check-sketches");
		if (VhnswGetBit(check->used, element))
			check_element(&state, (VhnswElement) element);
	}
}

/* The cache may go while pages are read. */
static void
copy_space(EdgeCheck *state)
{
	Size		size;
	float	   *matrix;

	state->space = VhnswGetCache(state->check->index)->edges;
	if (state->space.matrix == NULL)
		return;
	size = mul_size(mul_size(state->space.dims, state->space.source_dims),
					sizeof(float));
	matrix = palloc_extended(size, MCXT_ALLOC_HUGE);
	memcpy(matrix, state->space.matrix, size);
	state->space.matrix = matrix;
}

/*
 * The sketches of one live element.  What looks wrong may have been changed
 * between reading the element and the neighbor, so it is looked at again.
 */
static void
check_element(EdgeCheck *state, VhnswElement element)
{
	VhnswCheck *check = state->check;
	const VhnswLayout *layout = &check->layout;
	int			n;

	if (!VhnswWalkReadSlot(check->walk, element, state->slot) ||
		(state->slot->flags & VHNSW_SLOT_LIVE) == 0)
		return;
	n = VhnswSlotNeighborCount(layout, state->slot);
	for (int i = 0; i < n; i++)
	{
		VhnswElement neighbor = state->slot->neighbors[i];

		if (!edge_is_wrong(state, i))
			continue;
		if (!VhnswWalkReadSlot(check->walk, element, state->slot) ||
			(state->slot->flags & VHNSW_SLOT_LIVE) == 0)
			return;
		n = VhnswSlotNeighborCount(layout, state->slot);
		if (i < n && state->slot->neighbors[i] == neighbor &&
			edge_is_wrong(state, i))
		{
			VhnswCheckReport(check, VHNSW_DAMAGE, "I12",
							 VhnswElementBlock(layout, element),
							 VhnswElementSlot(layout, element),
							 "the sketch of neighbor number %d is not that of the neighbor",
							 i + 1);
			return;
		}
	}
}

/* Does the sketch give a wrong distance of the neighbor from itself? */
static bool
edge_is_wrong(EdgeCheck *state, int place)
{
	VhnswCheck *check = state->check;
	const VhnswLayout *layout = &check->layout;
	const VhnswEdge *edge = state->edge;
	double		distance;
	double		length_squared;
	double		product;
	double		error;
	double		norms;
	double		scale;
	double		rounding;

	if (!VhnswWalkReadSlot(check->walk, state->slot->neighbors[place],
						   state->neighbor_slot))
		return false;
	VhnswSlotCopyCode(layout, state->slot, state->code);
	VhnswSlotCopyCode(layout, state->neighbor_slot, state->neighbor_code);
	VhnswEdgeProjectCode(&state->space, state->neighbor_code, state->z);
	VhnswEdgeGet(layout, state->slot, place, state->edge);

	distance = VhnswCodeDistance(layout, state->code,
								 state->neighbor_code);
	length_squared = distance;
	product = product_with(state);
	error = distance + edge->a + edge->s * product;
	if (layout->metric == VHNSW_INNER_PRODUCT)
	{
		double		norm = state->code->norm;
		double		neighbor_norm = state->neighbor_code->norm;

		/* As VhnswEdgeEncode() has it: negative, perhaps */
		length_squared = norm * norm + neighbor_norm * neighbor_norm +
			2 * distance;
		error += neighbor_norm * neighbor_norm;
	}

	/* The projections' rounding is relative to norms, the factors' also to L. */
	norms = (double) state->code->norm + state->neighbor_code->norm;
	scale = state->slot->edge_scale;
	rounding = ROUNDING * (fabs(edge->a) + fabs(distance)) +
		3 * sqrt(layout->edge_dims) * norms *
		(ROUNDING * fabs(edge->s) + HALF_STEP * scale) +
		HALF_STEP * scale * scale + 1e-5 * norms * norms;

	/* Its projection vanished: it counts as being where the element is. */
	if (edge->s == 0)
		rounding += 2 * fabs(length_squared);
	return !(fabs(error) <= TOLERANCE * fabs(length_squared) + rounding);
}

/* <u, z> for the code in the sketch */
static double
product_with(const EdgeCheck *state)
{
	int			bits = state->space.bits;
	int			largest = (1 << bits) - 1;
	double		product = 0;

	for (int i = 0; i < state->space.dims; i++)
	{
		int			code =
		state->edge->piece[i / DistanceEdgeChunkDims(bits) *
						   DISTANCE_EDGE_PIECE + i % 4] >>
		DistanceEdgeShift(bits, i) & largest;

		product += (2 * code - largest) * (double) state->z[i];
	}
	return product;
}
