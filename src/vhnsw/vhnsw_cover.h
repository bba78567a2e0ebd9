/*-------------------------------------------------------------------------
 *
 * vhnsw_cover.h
 *	  Choose entries so that what lies apart is found.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_COVER_H
#define VHNSW_COVER_H

#include "vhnsw/vhnsw_graph.h"

extern void VhnswChooseEntries(VhnswGraph *graph);

#endif							/* VHNSW_COVER_H */
