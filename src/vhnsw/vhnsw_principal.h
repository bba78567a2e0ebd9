/*-------------------------------------------------------------------------
 *
 * vhnsw_principal.h
 *	  Elements in the few dimensions in which they vary most.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_PRINCIPAL_H
#define VHNSW_PRINCIPAL_H

#include "postgres.h"

#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_graph.h"

/* Of all elements, if there are dimensions; in memory or in a file. */
typedef struct VhnswPrincipal
{
	int			dims;			/* 0 = whole codes are compared */
	Size		record_bytes;
	VhnswMemory memory;
	char	   *records;
	VhnswSpill *spilled;		/* in place of records, if not NULL */
	VhnswSpillShape shape;		/* of that */
} VhnswPrincipal;

/* To be added to a block */
static inline const VhnswBlockVector *
VhnswPrincipalGet(const VhnswPrincipal *principal, uint32 id)
{
	if (unlikely(principal->spilled != NULL))
		return VhnswSpillGet(principal->spilled, id);
	return (const VhnswBlockVector *)
		(principal->records + (Size) id * principal->record_bytes);
}

static inline void
VhnswPrincipalPrefetch(const VhnswPrincipal *principal, uint32 id)
{
	if (principal->spilled == NULL)
		VhnswPrefetch(VhnswPrincipalGet(principal, id), principal->record_bytes);
}

extern Size VhnswPrincipalElementBytes(const VhnswLayout *layout);
extern Size VhnswPrincipalLearnedBytes(const VhnswLayout *layout);
extern bool VhnswWantsPrincipal(const VhnswLayout *layout, uint64 count);
extern void VhnswMakePrincipal(VhnswGraph *graph,
							   VhnswPrincipal *principal,
							   Size element_bytes);
extern void VhnswAttachPrincipal(VhnswCrew *crew, VhnswPrincipal *principal);
extern void VhnswFreePrincipal(VhnswCrew *crew, VhnswPrincipal *principal);
extern void VhnswPrincipalJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_PRINCIPAL_H */
