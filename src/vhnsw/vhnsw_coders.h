/*-------------------------------------------------------------------------
 *
 * vhnsw_coders.h
 *	  Which kind of codes an index has.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_CODERS_H
#define VHNSW_CODERS_H

#include "postgres.h"

#include "vhnsw/vhnsw_code.h"

extern const VhnswCoder *VhnswGetCoder(VhnswMetric metric, int own_bits);
extern bool VhnswCoderIsPossible(VhnswMetric metric, VhnswValueType type,
								 int dims, int own_bits);
extern const VhnswCoder *VhnswChooseCoder(VhnswMetric metric,
										  VhnswValueType type, int dims, int m,
										  VhnswStorage storage, int own_bits);

#endif							/* VHNSW_CODERS_H */
