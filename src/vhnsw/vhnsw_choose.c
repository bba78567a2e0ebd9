/*-------------------------------------------------------------------------
 *
 * vhnsw_choose.c
 *	  Choose the links of an index build among the candidates of a join.
 *
 *	1. Every element chooses links among its candidates, in different
 *	   directions, and keeps the rest behind them.
 *	2. It learns who chose it, and chooses again among those of both
 *	   directions; what is left of these, then the rest, fills its list.
 *
 * Keys turn into lists in place: an element's keys, then its links and the
 * rest, then its list.  See README, section "Blocked build".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_choose.h"
#include "vhnsw/vhnsw_cover.h"
#include "vhnsw/vhnsw_select.h"

/*
 * How much nearer to a chosen link than to the base a candidate must be to be
 * dropped, in squared distances, in both rounds of choosing: 1.1 and 1.05 in
 * distances.  For inner products see leave_elsewhere().
 */
#define FIRST_SLACK 1.21f
#define SECOND_SLACK 1.1f

/* Of the 2 m places of a list, links chosen before those of the others come. */
#define FirstLinks(layout) ((layout)->degree * 3 / 4)

/* Of these, links to the farthest candidates, if the nearest leave no places. */
#define FarLinks(layout) (FirstLinks(layout) / 4)

/* Incoming links that are chosen among; see nearest_incoming(). */
#define MAX_INCOMING 256

/* Elements whose links are chosen at a time. */
#define CHOSEN_AT_ONCE 128

/* Job: choose links, among the candidates or with those of others. */
typedef struct ChooseJob
{
	VhnswJoin	join;
	VhnswMemory incoming;		/* of the second choice */
	uint32		first;			/* whose they are: not before */
	uint32		end;			/* and before this */
	bool		in_pieces;		/* not of all at once */
} ChooseJob;

/* Room to choose the links of one element. */
typedef struct Chooser
{
	VhnswGraph *graph;
	VhnswJoin	join;
	bool		by_product;		/* the metric is the inner product, */
	bool		by_length;		/* of vectors of different lengths */
	bool		keeps_links;	/* the list goes behind the chosen links */
	const uint32 *starts;		/* of each element's incoming links, modulo
								 * 2^32 */
	uint32		base;			/* the first one's of the piece in work */
	const uint32 *incoming;		/* of the piece */
	VhnswKey	keys[VHNSW_MAX_KEY_PLACES + 2 * MAX_INCOMING];
	VhnswLink	links[VHNSW_MAX_KEY_PLACES + MAX_INCOMING];
	VhnswLink	chosen[VHNSW_MAX_KEY_PLACES];	/* of these, in work */
	int			nleft;			/* links that may still be chosen: */
	int			left[VHNSW_MAX_KEY_PLACES + MAX_INCOMING];	/* their numbers */
	const VhnswCode *left_codes[VHNSW_MAX_KEY_PLACES + MAX_INCOMING];
	int			turns[VHNSW_MAX_KEY_PLACES + MAX_INCOMING]; /* of those that were
															 * left; see
															 * leave_elsewhere() */
	uint32		chunk_first;	/* of the elements in work, and how many */
	uint32		chunk_count;
	VhnswKey   *chunk_keys;		/* theirs; copies, if keys are in a file */
	char	   *copies;			/* of the codes of links, and of the base,
								 * where codes do not stay; or NULL */
} Chooser;

static void begin_job(VhnswCrew *crew, VhnswJob job, ChooseJob *arg);
static Chooser *begin_chooser(VhnswCrew *crew, const ChooseJob *job);
static void begin_chunk(Chooser *chooser, uint32 first, uint32 end);
static void end_chunk(Chooser *chooser);
static const VhnswCode *keep_code(Chooser *chooser, int place, uint32 id);
static void make_keys(const VhnswGraph *graph, const VhnswCode *code,
					  const uint32 *ids, int n, VhnswKey *keys);
static int	links_of_keys(Chooser *chooser, int n);
static int	choose(Chooser *chooser, const VhnswCode *base, int n, int max,
				   int nfar, float slack);
static void leave_elsewhere(Chooser *chooser, const VhnswCode *base,
							int place, float slack);
static void choose_first(Chooser *chooser, uint32 id);
static void link_back(VhnswCrew *crew, ChooseJob *job);
static void lists_to_places(VhnswJoin *join);
static VhnswMemory collect_incoming(VhnswCrew *crew, const VhnswJoin *join,
									uint32 first, uint32 *end,
									uint32 max_links);
static VhnswKey make_way_key(float distance, float length, uint32 id);
static void sort_dropped(Chooser *chooser, const VhnswCode *base, int first,
						 int n);
static int	nearest_incoming(Chooser *chooser, uint32 id, VhnswKey *keys);
static void choose_again(Chooser *chooser, uint32 id);

/*
 * Memory for the links that lead to an element, while all choose again at once
 */
Size
VhnswIncomingBytes(const VhnswLayout *layout)
{
	return (FirstLinks(layout) + 2) * sizeof(uint32);
}

/* Where the list of an element begins that stands behind its chosen links */
Size
VhnswListOffset(const VhnswLayout *layout)
{
	return FirstLinks(layout) * sizeof(VhnswKey);
}

/*
 * VhnswChooseLinks
 *		Turn the keys of a join into lists, and choose the entries.
 *
 * Entries are the leader's work while others choose links.  Lists are in the
 * first place of each element's keys, or at VhnswListOffset() if these are in
 * a file, with near_counts neighbors each.
 */
void
VhnswChooseLinks(VhnswCrew *crew, const VhnswJoin *join)
{
	ChooseJob	job = {.join = *join,.end = crew->graph->count};

	begin_job(crew, VHNSW_JOB_CHOOSE_FIRST, &job);
	VhnswChooseEntries(crew->graph);
	VhnswCrewFinish(crew);
	link_back(crew, &job);
}

static void
begin_job(VhnswCrew *crew, VhnswJob job, ChooseJob *arg)
{
	VhnswJoinShare(&arg->join);
	VhnswCrewBegin(crew, job, arg, sizeof(*arg),
				   (arg->end - arg->first + CHOSEN_AT_ONCE - 1) / CHOSEN_AT_ONCE);
}

static Chooser *
begin_chooser(VhnswCrew *crew, const ChooseJob *job)
{
	Chooser    *chooser = palloc_object(Chooser);

	chooser->graph = crew->graph;
	chooser->join = job->join;
	chooser->by_product = crew->graph->layout.metric == VHNSW_INNER_PRODUCT;
	chooser->by_length = crew->graph->lengths_matter;
	chooser->copies = NULL;
	if (crew->graph->codes)
		chooser->copies = palloc((lengthof(chooser->links) + 1) *
								 crew->graph->code_size);
	VhnswAttachJoin(crew, &chooser->join);
	if (chooser->join.spilled)
		chooser->chunk_keys = palloc(CHOSEN_AT_ONCE * chooser->join.key_places *
									 sizeof(VhnswKey));
	return chooser;
}

/* Take these elements in work. */
static void
begin_chunk(Chooser *chooser, uint32 first, uint32 end)
{
	const VhnswJoin *join = &chooser->join;

	chooser->chunk_first = first;
	chooser->chunk_count = end - first;
	if (join->spilled)
		VhnswSpillRead(join->spilled, first, end - first, chooser->chunk_keys);
	else
		chooser->chunk_keys = join->keys + (Size) first * join->key_places;
}

static void
end_chunk(Chooser *chooser)
{
	if (chooser->join.spilled)
		VhnswSpillWrite(chooser->join.spilled, chooser->chunk_first,
						chooser->chunk_count, chooser->chunk_keys);
}

/* The keys of one of them. */
static inline VhnswKey *
chunk_keys(const Chooser *chooser, uint32 id)
{
	return chooser->chunk_keys +
		(Size) (id - chooser->chunk_first) * chooser->join.key_places;
}

void
VhnswChooseFirstJob(VhnswCrew *crew, const void *arg)
{
	Chooser    *chooser = begin_chooser(crew, arg);
	uint32		chunk;

	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * CHOSEN_AT_ONCE;
		uint32		end = Min(first + CHOSEN_AT_ONCE, crew->graph->count);

		VhnswCrewReport(crew, first);
		VD_DEBUG_POINT("vhnsw-build-choose");
		begin_chunk(chooser, first, end);
		for (uint32 id = first; id < end; id++)
			choose_first(chooser, id);
		end_chunk(chooser);
	}
}

void
VhnswChooseAgainJob(VhnswCrew *crew, const void *arg)
{
	const ChooseJob *job = arg;
	Chooser    *chooser = begin_chooser(crew, job);
	uint32		chunk;

	chooser->keeps_links = job->in_pieces;
	chooser->starts = VhnswCrewAddress(crew, &job->incoming);
	chooser->base = chooser->starts[job->first];
	chooser->incoming = chooser->starts + crew->graph->count + 2;
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = job->first + chunk * CHOSEN_AT_ONCE;
		uint32		end = Min(first + CHOSEN_AT_ONCE, job->end);

		VhnswCrewReport(crew, (int64) crew->graph->count + first);
		VD_DEBUG_POINT("vhnsw-build-choose-again");
		begin_chunk(chooser, first, end);
		for (uint32 id = first; id < end; id++)
			choose_again(chooser, id);
		end_chunk(chooser);
	}
}

/* The code of an element, which stays in this place. */
static const VhnswCode *
keep_code(Chooser *chooser, int place, uint32 id)
{
	return VhnswGraphKeepCode(chooser->graph, id, chooser->copies, place);
}

/* Keys of n elements by their distances from a code */
static void
make_keys(const VhnswGraph *graph, const VhnswCode *code, const uint32 *ids,
		  int n, VhnswKey *keys)
{
	float		distances[Max(VHNSW_MAX_KEY_PLACES, MAX_INCOMING)];

	Assert(n <= lengthof(distances));
	VhnswGraphDistances(graph, code, ids, n, distances);
	for (int i = 0; i < n; i++)
		keys[i] = VhnswMakeKey(distances[i], ids[i]);
}

/* Sort the chooser's n keys and make links of them; returns how many differ. */
static int
links_of_keys(Chooser *chooser, int n)
{
	n = VhnswSortKeys(chooser->keys, n);
	for (int i = 0; i < n; i++)
	{
		VhnswLink  *link = &chooser->links[i];

		link->id = VhnswKeyId(chooser->keys[i]);
		link->distance = VhnswKeyDistance(chooser->keys[i]);
		link->code = keep_code(chooser, i, link->id);
	}
	return n;
}

/*
 * Put those of the chooser's n links first that point in different directions,
 * at most 'max': from the nearest on and, if that gives max - nfar of them,
 * from the farthest on.  The others follow, by distance.  Returns how many are
 * chosen.
 */
static int
choose(Chooser *chooser, const VhnswCode *base, int n, int max, int nfar,
	   float slack)
{
	VhnswLink  *links = chooser->links;
	bool		taken[VHNSW_MAX_KEY_PLACES + MAX_INCOMING] = {0};
	int			count = 0;
	int			end = n;

	chooser->nleft = n;
	for (int i = 0; i < n; i++)
	{
		chooser->left[i] = i;
		chooser->left_codes[i] = links[i].code;
	}
	while (chooser->nleft > 0 && count < max)
	{
		int			place = count < max - nfar ? 0 : chooser->nleft - 1;
		int			i = chooser->left[place];

		taken[i] = true;
		chooser->chosen[count++] = links[i];
		if (count < max)
			leave_elsewhere(chooser, base, place, slack);
	}

	/* From the end on, nothing is overwritten that is still to be moved. */
	for (int i = n - 1; i >= 0; i--)
	{
		if (taken[i])
			continue;
		links[--end] = links[i];
		chooser->turns[end] = chooser->turns[i];
	}
	memcpy(links, chooser->chosen, count * sizeof(VhnswLink));
	return count;
}

/*
 * Of what is left to choose from, leave those links of the base that are not
 * much nearer to the one at a place, the first or the last, which is chosen.
 *
 * The turn of the nearest that does not stay is 1, of the next one 2, and so on.
 *
 * Negative products become comparable to squared distances by adding the
 * square of a length: that of the base or of the candidate, the smaller one.
 */
static void
leave_elsewhere(Chooser *chooser, const VhnswCode *base, int place,
				float slack)
{
	const VhnswCode *chosen = chooser->left_codes[place];
	int			first = place == 0 ? 1 : 0;
	int			end = first + chooser->nleft - 1;
	int			nleft = 0;
	float		distances[lengthof(chooser->links)];

	VhnswCodeDistances(&chooser->graph->layout, chosen,
					   chooser->left_codes + first, end - first,
					   distances + first);

	/* Which ones leave cannot be predicted, so there is no branch for it. */
	for (int i = first; i < end; i++)
	{
		const VhnswCode *code = chooser->left_codes[i];
		int			number = chooser->left[i];
		float		origin = 0;

		if (chooser->by_product)
		{
			float		length = Min(code->norm, base->norm);

			origin = length * length;
		}
		chooser->turns[number] = i - first - nleft + 1;
		chooser->left[nleft] = number;
		chooser->left_codes[nleft] = code;
		nleft += slack * (origin + distances[i]) >=
			origin + chooser->links[number].distance;
	}
	chooser->nleft = nleft;
}

/*
 * Choose links from the near and the far list.  They take their places, the
 * rest of the candidates follow, by distance.
 *
 * The nearest of the rest take the places that are left: the first choice is
 * also what others learn who is near them, and where the factor drops much,
 * many elements would be in no list but a few.
 */
static void
choose_first(Chooser *chooser, uint32 id)
{
	const VhnswGraph *graph = chooser->graph;
	const VhnswLayout *layout = &graph->layout;
	const VhnswCode *code = keep_code(chooser, lengthof(chooser->links), id);
	VhnswJoin  *join = &chooser->join;
	VhnswKey   *keys = chunk_keys(chooser, id);
	VhnswLink  *links = chooser->links;
	uint32		ids[VHNSW_MAX_KEY_PLACES];
	int			n = join->near_counts[id];
	int			chosen;

	memcpy(chooser->keys, keys, n * sizeof(VhnswKey));
	memcpy(chooser->keys + n, keys + join->near_places,
		   join->far_counts[id] * sizeof(VhnswKey));
	n += join->far_counts[id];

	/* What is in both lists is dropped when keys are sorted. */
	for (int i = 0; i < n; i++)
		ids[i] = VhnswKeyId(chooser->keys[i]);
	make_keys(graph, code, ids, n, chooser->keys);
	n = links_of_keys(chooser, n);
	(void) choose(chooser, code, n, FirstLinks(layout), FarLinks(layout),
				  FIRST_SLACK);
	chosen = Min(n, FirstLinks(layout));
	for (int i = 0; i < n; i++)
		keys[i] = VhnswMakeKey(links[i].distance, links[i].id);

	/* From here on: how many are chosen, and how many are not. */
	join->near_counts[id] = chosen;
	join->far_counts[id] = Min(n - chosen, PG_UINT8_MAX);
}

/*
 * Let every element choose again, among those that chose it too: all at once
 * or, if the graph is in files, as many as memory has incoming links for.  If
 * there may be more than numbers of 32 bits, it is not all at once either.
 */
static void
link_back(VhnswCrew *crew, ChooseJob *job)
{
	VhnswGraph *graph = crew->graph;
	VhnswJoin  *join = &job->join;
	uint64		most = (uint64) graph->count * FirstLinks(&graph->layout);
	bool		many = VD_PRETEND("vhnsw-many-links");
	Size		max_links = many ? most / 3 : PG_UINT32_MAX;

	job->in_pieces = join->spilled || most > max_links;
	if (join->spilled)
	{
		Size		cache = VhnswGraphCacheBytes(graph, 3 * sizeof(uint32) +
												 sizeof(uint8) + VhnswJoinRestBytes);

		VhnswSpillResize(graph->codes, cache / 16 * 9);
		VhnswSpillResize(join->spilled, cache / 16);
		max_links = Min(max_links, (Size) (crew->workers + 1) *
						(cache / 8 * 3) / sizeof(uint32));
	}
	for (job->first = 0; job->first < graph->count; job->first = job->end)
	{
		job->end = graph->count;
		job->incoming = collect_incoming(crew, join, job->first, &job->end,
										 (uint32) max_links);
		begin_job(crew, VHNSW_JOB_CHOOSE_AGAIN, job);
		VhnswCrewFinish(crew);
		VhnswCrewFree(crew, &job->incoming);

		/* The next ones may not have room in its place. */
		if (join->spilled)
			VhnswSpillGiveBack();
	}
	VhnswCrewReport(crew, 2 * (int64) graph->count);
	if (job->in_pieces)
	{
		memcpy(join->near_counts, join->far_counts, graph->count);
		if (!join->spilled)
			lists_to_places(join);
	}
}

/* Move lists to where chosen links were that are not needed any more. */
static void
lists_to_places(VhnswJoin *join)
{
	const VhnswGraph *graph = join->graph;

	for (uint32 id = 0; id < graph->count; id++)
	{
		char	   *keys = (char *) VhnswJoinGetKeys(join, id);

		if (id % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		memmove(keys, keys + VhnswListOffset(&graph->layout),
				join->near_counts[id] * sizeof(uint32));
	}
}

/*
 * Sort the chosen links by the elements they lead to, those from 'first' to
 * '*end': the places where the links of each start, two more than there are
 * elements, then the links.  If there are more than 'max_links', '*end' gets
 * nearer, but not than one element after 'first'.
 *
 * Places are counted from the first element of all, modulo 2^32: the difference
 * of two within these links, or of one element, is a number of links.
 */
static VhnswMemory
collect_incoming(VhnswCrew *crew, const VhnswJoin *join, uint32 first,
				 uint32 *end, uint32 max_links)
{
	uint32		count = crew->graph->count;
	Size		starts_size = ((Size) count + 2) * sizeof(uint32);
	uint64		total = 0;
	uint32		base;
	VhnswMemory memory;
	uint32	   *starts = palloc_extended(starts_size, MCXT_ALLOC_HUGE |
										 MCXT_ALLOC_ZERO);
	uint32	   *next;
	uint32	   *incoming;

	/* Counted two places on, starts move into place. */
	for (uint32 id = 0; id < count; id++)
	{
		const VhnswKey *keys = VhnswJoinGetKeys(join, id);

		if (id % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < join->near_counts[id]; i++)
			starts[VhnswKeyId(keys[i]) + 2]++;
	}
	for (uint32 id = first; id < *end; id++)
	{
		if (id % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		if (total + starts[id + 2] > max_links && id > first)
			*end = id;
		else
			total += starts[id + 2];
	}
	if (VD_PRETEND("vhnsw-many-links"))
		starts[0] = starts[1] = 0 - count * FirstLinks(&crew->graph->layout) / 2;
	for (uint32 id = 2; id < count + 2; id++)
	{
		if (id % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		starts[id] += starts[id - 1];
	}

	memory = VhnswCrewAlloc(crew, starts_size + total * sizeof(uint32));
	memcpy(memory.address, starts, starts_size);
	pfree(starts);
	starts = memory.address;
	next = starts + 1;
	base = next[first];
	incoming = starts + count + 2;
	for (uint32 id = 0; id < count; id++)
	{
		const VhnswKey *keys = VhnswJoinGetKeys(join, id);

		if (id % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < join->near_counts[id]; i++)
		{
			uint32		to = VhnswKeyId(keys[i]);
			uint32		place = next[to]++;

			if (to >= first && to < *end)
				incoming[(uint32) (place - base)] = id;
		}
	}
	return memory;
}

/*
 * A key that orders the elements which lead to others, under inner product: by
 * the product with the base, divided by the square root of their length.
 *
 * A long element has chosen others as long, and is chosen by hundreds.  Of
 * these, the longest are in the lists of all; the way to the others is what
 * points where they do.  But by angle alone the places would go to the shortest
 * where lengths differ much, and these answer nothing.
 */
static VhnswKey
make_way_key(float distance, float length, uint32 id)
{
	return VhnswMakeKey(length > 0 ? distance / sqrtf(length) : 0, id);
}

/*
 * Keys, in order, of the places of n links that are dropped, from a first one:
 * by their squared distance from the base (half of it under inner product)
 * times their turn among what the same link drops; where lengths matter, by
 * make_way_key().
 *
 * What one link drops lies where that leads.  The nearest of all would mostly
 * be what a few of them drop; but by turn alone many would be of far clusters,
 * which one link each leads to.
 */
static void
sort_dropped(Chooser *chooser, const VhnswCode *base, int first, int n)
{
	float		origin = chooser->by_product ? base->norm * base->norm : 0;

	for (int i = 0; i < n; i++)
	{
		const VhnswLink *link = &chooser->links[first + i];

		chooser->keys[i] = chooser->by_length ?
			make_way_key(link->distance, link->code->norm, first + i) :
			VhnswMakeKey(Max(origin + link->distance, 0) *
						 chooser->turns[first + i], first + i);
	}
	(void) VhnswSortKeys(chooser->keys, n);
}

/*
 * Keys of the elements that have chosen this one, at most MAX_INCOMING, in no
 * order: the nearest or, where lengths matter, the first by make_way_key().
 * There is room for twice as many.
 */
static int
nearest_incoming(Chooser *chooser, uint32 id, VhnswKey *keys)
{
	const VhnswGraph *graph = chooser->graph;
	const VhnswCode *code = keep_code(chooser, lengthof(chooser->links), id);
	const uint32 *incoming = chooser->incoming +
	(uint32) (chooser->starts[id] - chooser->base);
	uint32		left = chooser->starts[id + 1] - chooser->starts[id];
	bool		by_ways = chooser->by_length && left > MAX_INCOMING;
	int			n = 0;

	while (left > 0)
	{
		uint32		count = Min(left, MAX_INCOMING);

		CHECK_FOR_INTERRUPTS();
		make_keys(graph, code, incoming, count, keys + n);
		for (uint32 i = 0; by_ways && i < count; i++)
			keys[n + i] = make_way_key(VhnswKeyDistance(keys[n + i]),
									   VhnswGraphGetCode(graph, incoming[i])->norm,
									   incoming[i]);
		incoming += count;
		left -= count;
		n += count;
		if (n > MAX_INCOMING)
		{
			VhnswSelectKeys(keys, n, MAX_INCOMING);
			n = MAX_INCOMING;
		}
	}
	if (by_ways)
	{
		uint32		ids[MAX_INCOMING];

		for (int i = 0; i < n; i++)
			ids[i] = VhnswKeyId(keys[i]);
		make_keys(graph, code, ids, n, keys);
	}
	return n;
}

static bool
is_listed(const uint32 *ids, int n, uint32 id)
{
	bool		found = false;

	for (int i = 0; i < n; i++)
		found |= ids[i] == id;
	return found;
}

/*
 * Choose among the chosen links of both directions, and fill the list, which
 * takes the place of the keys.
 */
static void
choose_again(Chooser *chooser, uint32 id)
{
	const VhnswGraph *graph = chooser->graph;
	const VhnswLayout *layout = &graph->layout;
	const VhnswCode *code = keep_code(chooser, lengthof(chooser->links), id);
	VhnswJoin  *join = &chooser->join;
	VhnswKey   *keys = chunk_keys(chooser, id);
	VhnswLink  *links = chooser->links;
	int			degree = layout->degree;
	int			n = join->near_counts[id];
	int			rest = join->far_counts[id];
	int			chosen;
	int			count;
	uint32		selected[VHNSW_MAX_KEY_PLACES];
	float		distances[VHNSW_MAX_KEY_PLACES];

	memcpy(chooser->keys, keys, n * sizeof(VhnswKey));
	n += nearest_incoming(chooser, id, chooser->keys + n);
	n = links_of_keys(chooser, n);
	chosen = choose(chooser, code, n,
					chooser->by_length ? degree * 3 / 4 : degree, 0,
					SECOND_SLACK);
	count = chosen;
	for (int i = 0; i < count; i++)
	{
		selected[i] = links[i].id;
		distances[i] = links[i].distance;
	}

	/*
	 * Fill with what this choice drops, then with the nearest of those that
	 * nobody has chosen.
	 */
	if (count < degree)
	{
		const VhnswKey *rest_keys = keys + join->near_counts[id];

		sort_dropped(chooser, code, chosen, n - chosen);
		for (int i = 0; i < n - chosen && count < degree; i++)
		{
			const VhnswLink *link = &links[VhnswKeyId(chooser->keys[i])];

			selected[count] = link->id;
			distances[count++] = link->distance;
		}
		for (int i = 0; i < rest && count < degree; i++)
		{
			if (is_listed(selected, count, VhnswKeyId(rest_keys[i])))
				continue;
			selected[count] = VhnswKeyId(rest_keys[i]);
			distances[count++] = VhnswKeyDistance(rest_keys[i]);
		}
	}

	/*
	 * From here on: a list.  In pieces, links that others still have to be
	 * told of stay before it, and, for files, distances follow.
	 */
	if (chooser->keeps_links)
	{
		char	   *list = (char *) keys + VhnswListOffset(layout);

		memcpy(list, selected, count * sizeof(uint32));
		memcpy(list + degree * sizeof(uint32), distances,
			   count * sizeof(float));
		join->far_counts[id] = count;
	}
	else
	{
		memcpy(keys, selected, count * sizeof(uint32));
		join->near_counts[id] = count;
	}
}
