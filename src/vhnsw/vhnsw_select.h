/*-------------------------------------------------------------------------
 *
 * vhnsw_select.h
 *	  Which of many candidates become neighbors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_SELECT_H
#define VHNSW_SELECT_H

#include "postgres.h"

#include "vhnsw/vhnsw_code.h"

/* A candidate for the neighbor list of some base element. */
typedef struct VhnswLink
{
	float		distance;		/* from the base */
	uint32		id;				/* element number, or the caller's own */
	const VhnswCode *code;
} VhnswLink;

extern void VhnswSortLinks(VhnswLink *links, int n);
extern int	VhnswSelectLinks(const VhnswLayout *layout,
							 const VhnswLink *candidates, int n,
							 int max_selected, int max_total,
							 VhnswLink *result);

#endif							/* VHNSW_SELECT_H */
