/*-------------------------------------------------------------------------
 *
 * vhnsw_beam.c
 *	  Beam search in the graph of an index build.
 *
 * Distances come from codes.  (Searches of an index, in pages and with
 * sketches, are those of vhnsw_search.c.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "vhnsw/vhnsw_beam.h"
#include "vhnsw/vhnsw_meta.h"

/* Elements met are a few for each place of the pool, as a beginning. */
#define SEEN_PER_PLACE 32

/* Fibonacci hashing of element numbers, and a number that none has. */
#define HASH_FACTOR 2654435769U
#define NO_ELEMENT PG_UINT32_MAX

#define SeenBytes(beam) (sizeof(uint32) << (beam)->bits)

static uint32 *seen_place(const VhnswBeam *beam, uint32 id);
static void grow_seen(VhnswBeam *beam);
static bool add_entry(VhnswBeam *beam, float distance, uint32 id,
					  int *position);

/* Its searches keep the 'capacity' nearest elements. */
VhnswBeam *
VhnswBeamCreate(const VhnswGraph *graph, int capacity)
{
	VhnswBeam  *beam = palloc0_object(VhnswBeam);

	beam->graph = graph;
	beam->capacity = capacity;
	beam->entries = palloc_array(VhnswBeamEntry, capacity + 1);
	beam->bits = 8;
	while (1 << beam->bits < SEEN_PER_PLACE * capacity)
		beam->bits++;
	beam->seen = palloc(SeenBytes(beam));
	VhnswBeamReset(beam);
	return beam;
}

/* Forget all that was met. */
void
VhnswBeamReset(VhnswBeam *beam)
{
	beam->count = 0;
	beam->nseen = 0;
	memset(beam->seen, 0xFF, SeenBytes(beam));
}

/* Note that an element is met; false if it has been before. */
bool
VhnswBeamSee(VhnswBeam *beam, uint32 id)
{
	uint32	   *place = seen_place(beam, id);

	if (*place == id)
		return false;
	*place = id;
	if (++beam->nseen > UINT32_C(1) << (beam->bits - 1))
		grow_seen(beam);
	return true;
}

/* The place of an element, or the empty one where it would stand. */
static uint32 *
seen_place(const VhnswBeam *beam, uint32 id)
{
	uint32		mask = (UINT32_C(1) << beam->bits) - 1;
	uint32		i = (id * HASH_FACTOR) >> (32 - beam->bits);

	while (beam->seen[i] != id && beam->seen[i] != NO_ELEMENT)
		i = (i + 1) & mask;
	return &beam->seen[i];
}

static void
grow_seen(VhnswBeam *beam)
{
	uint32	   *old = beam->seen;
	uint32		old_places = UINT32_C(1) << beam->bits;

	beam->bits += 2;
	beam->seen = palloc_extended(SeenBytes(beam), MCXT_ALLOC_HUGE);
	memset(beam->seen, 0xFF, SeenBytes(beam));
	for (uint32 i = 0; i < old_places; i++)
	{
		if (old[i] != NO_ELEMENT)
			*seen_place(beam, old[i]) = old[i];
	}
	pfree(old);
}

/*
 * VhnswBeamSearch
 *		Find the elements nearest to a code, by links from the starts.
 *
 * 'code' and the codes of the starts stay where they are, also where those of
 * elements do not.
 */
void
VhnswBeamSearch(VhnswBeam *beam, const VhnswCode *code, const uint32 *starts,
				const VhnswCode **start_codes, uint32 nstarts)
{
	const VhnswGraph *graph = beam->graph;
	uint32		unseen[PG_UINT8_MAX];
	float		distances[Max(VHNSW_MAX_ENTRIES, PG_UINT8_MAX)];
	int			next = 0;
	int			position;

	Assert(nstarts <= VHNSW_MAX_ENTRIES);
	VhnswBeamReset(beam);
	VhnswCodeDistances(&graph->layout, code, start_codes, nstarts, distances);
	for (uint32 i = 0; i < nstarts; i++)
	{
		VhnswBeamSee(beam, starts[i]);
		add_entry(beam, distances[i], starts[i], &position);
	}

	while (next < beam->count)
	{
		VhnswBeamEntry *entry = &beam->entries[next];
		const uint32 *ids;
		int			n;
		int			nunseen = 0;
		int			nearest = next + 1;

		if (entry->expanded)
		{
			next++;
			continue;
		}
		entry->expanded = true;
		ids = VhnswGraphGetIds(graph, entry->id);
		n = graph->list_counts[entry->id];
		for (int i = 0; i < n; i++)
		{
			if (VhnswBeamSee(beam, ids[i]))
				unseen[nunseen++] = ids[i];
		}
		VhnswGraphDistances(graph, code, unseen, nunseen, distances);
		for (int i = 0; i < nunseen; i++)
		{
			if (add_entry(beam, distances[i], unseen[i], &position))
				nearest = Min(nearest, position);
		}
		next = Min(next + 1, nearest);
	}
}

/*
 * Insert into the sorted pool, unless it is full of nearer elements.
 * *position becomes the place it took.
 */
static bool
add_entry(VhnswBeam *beam, float distance, uint32 id, int *position)
{
	VhnswBeamEntry *entries = beam->entries;
	int			low = 0;
	int			high = beam->count;

	if (beam->count == beam->capacity &&
		distance >= entries[beam->count - 1].distance)
		return false;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (entries[middle].distance <= distance)
			low = middle + 1;
		else
			high = middle;
	}
	if (beam->count < beam->capacity)
		beam->count++;
	memmove(&entries[low + 1], &entries[low],
			(beam->count - 1 - low) * sizeof(VhnswBeamEntry));
	entries[low] = (VhnswBeamEntry)
	{
		distance, id, false
	};
	*position = low;
	return true;
}
