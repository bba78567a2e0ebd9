/*-------------------------------------------------------------------------
 *
 * vhnsw_custom_choose.c
 *	  The way of a Vhnsw Scan to the nearest rows that pass, chosen by cost.
 *
 * Once when the scan starts, by what the planner knows, and again while a
 * search goes on, by what it has found.  See README, "Filters".  Nothing is
 * changed here, but that a bitmap is made where its size decides.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/rel.h"

#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_custom.h"
#include "vhnsw/vhnsw_demand.h"

/* Rows that are probably wanted if nobody says how many */
#define SOME_ROWS 10

/* With more rows for each place of the index most rows are equal. */
#define ROWS_PER_ELEMENT 8

/* It may change when the search has cost this part of the other way. */
#define SHARE_TO_CHANGE 4

static double wanted_rows(const VhnswCustomState *state);
static VhnswFilterStrategy choose_with_matches(VhnswCustomState *state);
static double matches_passing(const VhnswCustomState *state);
static double rows_matching(const VhnswCustomState *state, double taken);
static double rows_in_bitmap(const VhnswCustomState *state, double passing);
static double rows_to_take(const VhnswCustomState *state);
static Cost table_cost(const VhnswCustomState *state, double passing);
static Cost search_cost(const VhnswCustomState *state, double taken,
						double fetched);

/*
 * VhnswCustomChoose
 *		The way to the wanted rows that costs least, as far as is known.
 *
 * What share of the rows pass is an estimate, and whether those near the query
 * do is not known at all.  So if it would cost little, compared to the other
 * ways, to find that they do, a search tries; VhnswCustomChooseAgain() sees to
 * the rest.  Only if the number of rows wanted is known: else the first are
 * returned before that, and from then on a change comes late.
 */
VhnswFilterStrategy
VhnswCustomChoose(VhnswCustomState *state)
{
	double		wanted = wanted_rows(state);
	double		taken;
	Cost		search;
	Cost		matches;
	Cost		table;
	bool		unordered;

	(void) VhnswCustomQuery(state, &unordered);
	if (unordered ||
		VhnswIterativeScanMode() == VHNSW_ITERATIVE_OFF ||
		(state->quals == NULL && !VhnswDemandIsAll(state->demand)))
		return VHNSW_FILTER_SEARCH;

	switch (vhnsw_filter_strategy)
	{
		case VHNSW_FILTER_AUTO:
			break;
		case VHNSW_FILTER_BITMAP:
		case VHNSW_FILTER_MATCHES:
			return state->bitmap ? vhnsw_filter_strategy : VHNSW_FILTER_SEARCH;
		default:
			return vhnsw_filter_strategy;
	}

	taken = Min(wanted / Max(state->costs.passing, 1e-9),
				state->size.elements);
	search = search_cost(state, taken, taken);
	matches = state->costs.bitmap + state->costs.matches * state->costs.fetch;
	table = table_cost(state, state->costs.passing);
	if (VhnswDemandRows(state->demand) >= 0 &&
		search_cost(state, wanted, wanted) * SHARE_TO_CHANGE <=
		(state->bitmap ? Min(matches, table) : table))
		return VHNSW_FILTER_SEARCH;
	if (state->bitmap && Min(search, table) >
		Min(state->costs.bitmap +
			search_cost(state, taken, rows_matching(state, taken)), matches))
		return choose_with_matches(state);
	return search <= table ?
		VHNSW_FILTER_SEARCH : VHNSW_FILTER_EXACT;
}

/* The same, with the number of matching rows known from the bitmap. */
static VhnswFilterStrategy
choose_with_matches(VhnswCustomState *state)
{
	double		taken;
	Cost		search;
	Cost		all;

	VhnswCustomMakeMatches(state);
	taken = rows_to_take(state);
	search = search_cost(state, taken, rows_matching(state, taken));
	all = state->matches->count * state->costs.fetch;
	return all <= search ? VHNSW_FILTER_MATCHES : VHNSW_FILTER_BITMAP;
}

/* Ask the other indexes which rows they match, if that is not known. */
void
VhnswCustomMakeMatches(VhnswCustomState *state)
{
	MemoryContext old_context;
	TIDBitmap  *bitmap;

	if (state->matches)
		return;
	bitmap = (TIDBitmap *) MultiExecProcNode(state->bitmap);
	if (bitmap == NULL || !IsA(bitmap, TIDBitmap))
		elog(ERROR, "unrecognized result from subplan");
	old_context = MemoryContextSwitchTo(state->context);
	state->matches = VhnswTidSetMake(bitmap);
	MemoryContextSwitchTo(old_context);
	tbm_free(bitmap);
}

/* How many rows will probably be read. */
static double
wanted_rows(const VhnswCustomState *state)
{
	int64		rows = VhnswDemandRows(state->demand);

	if (VhnswDemandIsAll(state->demand))
		return state->size.elements;
	return rows >= 0 ? Max(rows, 1) : SOME_ROWS;
}

/* What share of the rows that match probably passes the other conditions. */
static double
matches_passing(const VhnswCustomState *state)
{
	double		share = state->costs.passing * state->size.elements /
	Max(state->costs.matches, 1);

	return Min(Max(share, 1e-9), 1);
}

/* How many of the rows that are taken match, and have to be fetched. */
static double
rows_matching(const VhnswCustomState *state, double taken)
{
	return Min(wanted_rows(state) / matches_passing(state), taken);
}

/*
 * How many rows the bitmap probably has, if this share of them all passes: as
 * many as pass at least, and perhaps fewer than the planner thought.
 */
static double
rows_in_bitmap(const VhnswCustomState *state, double passing)
{
	double		pass = passing * state->size.elements;

	return Max(pass, Min(state->costs.matches,
						 pass / matches_passing(state)));
}

/* How many rows of the stream it probably takes, if so many match. */
static double
rows_to_take(const VhnswCustomState *state)
{
	double		wanted = wanted_rows(state);
	double		rows = wanted * state->size.elements /
	Max(state->matches->count * matches_passing(state), 1);

	if (state->taken > 0)
		rows = Max(rows, wanted * state->taken / (state->accepted + 1.0));
	return Min(rows, state->size.elements);
}

/*
 * VhnswCustomExpectedRows
 *		How many rows of a stream it probably takes; 0 if that is not known.
 */
double
VhnswCustomExpectedRows(const VhnswCustomState *state)
{
	if (VhnswDemandIsAll(state->demand))
		return state->size.elements;
	if (state->matches)
		return rows_to_take(state);
	if (state->quals && VhnswDemandRows(state->demand) < 0)
		return SOME_ROWS / Max(state->costs.passing, 1e-9);
	return 0;
}

/*
 * VhnswCustomMayChange
 *		May another way be taken?
 *
 * Not if the rows that are wanted are the nearest, and their number is known:
 * nothing finds those sooner.  Nor with a limit on what a search visits: who
 * sets one wants an end, not another way to go on.
 */
bool
VhnswCustomMayChange(const VhnswCustomState *state)
{
	bool		exactly;

	(void) VhnswDemandRemaining(state->demand, &exactly);
	return vhnsw_filter_strategy == VHNSW_FILTER_AUTO &&
		(state->quals != NULL || !exactly) && VhnswCustomCanBeginAnew(state) &&
		state->stream->search != NULL && state->stream->max_visits == 0 &&
		VhnswIterativeScanMode() != VHNSW_ITERATIVE_OFF;
}

/*
 * VhnswCustomCanBeginAnew
 *		Can a source that has all rows take over?
 *
 * It must leave out what was returned: what is nearer than the last row, and
 * those equally near.
 */
bool
VhnswCustomCanBeginAnew(const VhnswCustomState *state)
{
	return state->emitted == 0 ||
		(VhnswIterativeScanMode() != VHNSW_ITERATIVE_RELAXED &&
		 state->nties <= VHNSW_CUSTOM_TIES);
}

/*
 * VhnswCustomChooseAgain
 *		The way to go on; the one it is on, or another.
 *
 * The search has taken many rows, or visited many elements for the next.
 * Would another way have come further?
 *
 * If the rows that pass go on to be as rare as they were so far, and to cost
 * as much more than foreseen, we know what is still to come.  A change is made
 * when that is more than what the other way costs, and the search has spent a
 * share of that; or all of it, whatever is to come.  So the sum is at most
 * twice the better of the two, whatever the data are like.
 */
VhnswFilterStrategy
VhnswCustomChooseAgain(VhnswCustomState *state)
{
	double		wanted = wanted_rows(state);
	double		rate;
	double		taken;
	Cost		spent;
	Cost		foreseen;
	Cost		expected;
	Cost		other;

	spent = VhnswSearchedCost(&state->size, state->stream->search, state->ef) +
		state->search_counts.fetches * state->costs.fetch;
	foreseen = search_cost(state, state->stream->nreported,
						   state->search_counts.fetches);
	rate = Min((state->accepted + 1.0) / Max(state->taken, 1), 1);
	taken = wanted / rate;
	expected = search_cost(state, taken, state->matches ?
						   rows_matching(state, taken) : taken) *
		Max(spent / foreseen, 1);
	if (state->matches)
		other = state->matches->count * state->costs.fetch;
	else if (state->bitmap)
		other = state->costs.bitmap +
			Min(rows_in_bitmap(state, rate) * state->costs.fetch,
				expected - (taken - rows_matching(state, taken)) *
				state->costs.fetch);
	else
		other = table_cost(state, rate);

	/* Only their proof is missing, or nobody knows how many are wanted. */
	if (state->accepted >= wanted || state->emitted > 0)
		expected = 0;

	if (spent <= (expected > other ? other / SHARE_TO_CHANGE : other))
		return state->strategy;
	if (state->matches)
		return VHNSW_FILTER_MATCHES;
	if (state->bitmap)
		return choose_with_matches(state);
	return VHNSW_FILTER_EXACT;
}

/*
 * VhnswCustomSweepIsDearer
 *		Would reading everything cost less than sweeping the index, and
 *		fetching the rows it takes?
 *
 * Not if most rows are equal, and the index is small for the table.
 */
bool
VhnswCustomSweepIsDearer(const VhnswCustomState *state)
{
	double		wanted = wanted_rows(state);
	double		passing = state->costs.passing;
	Cost		sweep;

	if (state->stream->elements * ROWS_PER_ELEMENT <=
		state->css.ss.ss_currentRelation->rd_rel->reltuples)
		return false;
	if (state->matches)
		return true;
	if (state->taken > 0)
		passing = Min((state->accepted + 1.0) / state->taken, 1);
	sweep = VhnswSweepCost(&state->size) + state->costs.fetch *
		Min(wanted / Max(passing, 1e-9), state->size.elements);
	return table_cost(state, passing) < sweep;
}

/* What reading the table costs if this share of the rows pass. */
static Cost
table_cost(const VhnswCustomState *state, double passing)
{
	return state->costs.table +
		passing * state->size.elements * state->costs.row;
}

/* What a search costs that takes so many elements and fetches so many rows. */
static Cost
search_cost(const VhnswCustomState *state, double taken, double fetched)
{
	taken = Min(taken, state->size.elements);
	fetched = Min(fetched, state->size.elements);
	return VhnswSearchCost(&state->size, taken, state->ef,
						   state->quals != NULL) +
		fetched * state->costs.fetch;
}
