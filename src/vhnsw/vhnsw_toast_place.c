/*-------------------------------------------------------------------------
 *
 * vhnsw_toast_place.c
 *	  Where values that are stored out of line begin.
 *
 * A backend remembers the TID of the first chunk of the values that it has
 * found last, in all TOAST tables.  What it remembers may be wrong at any time:
 * who goes there has to see whether the chunk is of the value.
 *
 * A table in which each value has one place, which it shares with others.
 * Values that were stored one after the other have places side by side, so
 * those of one table do not get into each other's way as long as there is room.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "vhnsw/vhnsw_toast_place.h"

/* 16 kB to begin with, 2 MB at most */
#define FIRST_BITS 10
#define MAX_BITS 17

typedef struct Place
{
	Oid			table;			/* invalid = nothing is here */
	Oid			value_id;
	ItemPointerData tid;
} Place;

static Place *places = NULL;
static int	bits = 0;			/* 2^bits places, */
static uint32 used = 0;			/* so many of them taken */

static Place *place_of(Oid table, Oid value_id);
static void make_room(int new_bits);

static Place *
place_of(Oid table, Oid value_id)
{
	return &places[(value_id + table * (uint32) 0x9E3779B9) &
				   (((uint32) 1 << bits) - 1)];
}

/* Where a value began when it was last read; false if that is not known. */
bool
VhnswToastPlaceGet(Oid table, Oid value_id, ItemPointer tid)
{
	const Place *place;

	if (places == NULL)
		return false;
	place = place_of(table, value_id);
	if (place->table != table || place->value_id != value_id)
		return false;
	*tid = place->tid;
	return true;
}

/* Remember where a value begins. */
void
VhnswToastPlaceNote(Oid table, Oid value_id, const ItemPointerData *tid)
{
	Place	   *place;

	if (places == NULL)
		make_room(FIRST_BITS);
	place = place_of(table, value_id);
	if (used > (uint32) 1 << (bits - 1) && bits < MAX_BITS)
	{
		make_room(bits + 1);
		place = place_of(table, value_id);
	}
	if (!OidIsValid(place->table))
		used++;
	place->table = table;
	place->value_id = value_id;
	place->tid = *tid;
}

/* Make the table as large, and keep what is in it. */
static void
make_room(int new_bits)
{
	Place	   *old = places;
	uint32		old_count = old ? (uint32) 1 << bits : 0;

	places = MemoryContextAllocZero(TopMemoryContext,
									sizeof(Place) << new_bits);
	bits = new_bits;
	for (uint32 i = 0; i < old_count; i++)
	{
		if (OidIsValid(old[i].table))
			*place_of(old[i].table, old[i].value_id) = old[i];
	}
	if (old)
		pfree(old);
}
