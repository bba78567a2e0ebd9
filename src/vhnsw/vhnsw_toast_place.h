/*-------------------------------------------------------------------------
 *
 * vhnsw_toast_place.h
 *	  Where values that are stored out of line begin.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_TOAST_PLACE_H
#define VHNSW_TOAST_PLACE_H

#include "postgres.h"

#include "storage/itemptr.h"

extern bool VhnswToastPlaceGet(Oid table, Oid value_id, ItemPointer tid);
extern void VhnswToastPlaceNote(Oid table, Oid value_id,
								const ItemPointerData *tid);

#endif							/* VHNSW_TOAST_PLACE_H */
