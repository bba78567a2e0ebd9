/*-------------------------------------------------------------------------
 *
 * vhnsw_choose.h
 *	  Choose the links of an index build among the candidates of a join.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_CHOOSE_H
#define VHNSW_CHOOSE_H

#include "postgres.h"

#include "vhnsw/vhnsw_join.h"

extern Size VhnswIncomingBytes(const VhnswLayout *layout);
extern Size VhnswListOffset(const VhnswLayout *layout);
extern void VhnswChooseLinks(VhnswCrew *crew, const VhnswJoin *join);
extern void VhnswChooseFirstJob(VhnswCrew *crew, const void *arg);
extern void VhnswChooseAgainJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_CHOOSE_H */
