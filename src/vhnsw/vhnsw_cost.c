/*-------------------------------------------------------------------------
 *
 * vhnsw_cost.c
 *	  What a scan of a vhnsw index costs.
 *
 * Nearly all of the work happens before the first row: a search settles ef
 * elements, or as many as LIMIT and the filter make necessary.  So that is
 * the startup cost, and the rest of the way, to the last row of the table, is
 * the run cost.  In units of the planner one microsecond is about a quarter
 * (a sequential scan of rows with 128 dimensions inline costs 0.08 and takes
 * 0.33 microseconds a row).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/float.h"
#include "utils/selfuncs.h"

#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_cost.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_nibbles.h"
#include "vhnsw/vhnsw_settings.h"

/* Preparing a query: 10 microseconds */
#define QUERY (1000 * cpu_operator_cost)

/*
 * Expanding an element whose neighbors have sketches: half a microsecond, and
 * as much again for each 500 candidates among which the neighbors get a place.
 * Microseconds with ef = 40, 100, 200, 400, 1000 on 60,000 photos: 0.7, 0.7,
 * 0.7, 1.0, 1.5; on 50,000 clustered vectors: 0.6, 0.8, 0.9, 1.0, 1.3.
 */
#define EXPANSION (50 * cpu_operator_cost)
#define CANDIDATES 500

/*
 * The same in a search that goes on beyond the nearest: candidates that were
 * forgotten are looked for again, and again.  Microseconds for each of 200, 400,
 * 800 visits on the same photos: 1.8, 2.3, 2.7, a fetched row for every third
 * included, on a machine with other work.
 */
#define GOING_ON (150 * cpu_operator_cost)

/* Evaluating an element in the graph: half a microsecond */
#define EVALUATION (50 * cpu_operator_cost)

/* In a pass over the pages: evaluating, and sorting by bound */
#define SWEEP_EVALUATION (60 * cpu_operator_cost)

/* A page that is read in order and found in memory, and a row on it */
#define CACHED_PAGE (60 * cpu_operator_cost)
#define TABLE_ROW (4 * cpu_operator_cost)

/* Computing the distance of a row, and sorting by it */
#define ROW (20 * cpu_operator_cost)

/* Fetching it by its TID, instead of reading on */
#define HEAP_FETCH (40 * cpu_operator_cost)

/* For each byte of a code, and each dimension of a vector in a row */
#define CODE_BYTE (0.01 * cpu_operator_cost)
#define ROW_DIMENSION (0.04 * cpu_operator_cost)

/* If the vector is stored out of line, as those beyond this length are */
#define TOASTED_ROW (300 * cpu_operator_cost)
#define INLINE_DIMS 490

/* Share of the lists of what is settled that was not seen before. */
#define FRESH_NEIGHBORS 0.6

static double wanted_rows(PlannerInfo *root, IndexPath *path);
static double uncached(double pages);
static Cost visits_cost(const VhnswIndexSize *index, double expanded,
						double evaluated, double ef);

/*
 * vhnswcostestimate
 *		Cost callback.
 *
 * Without ORDER BY distance the index is no way to read the table.
 */
void
vhnswcostestimate(PlannerInfo *root, IndexPath *path, double loop_count,
				  Cost *startup_cost, Cost *total_cost,
				  Selectivity *selectivity, double *correlation,
				  double *pages)
{
	VhnswIndexSize index;
	double		rows;
	double		ef;

	*correlation = 0;
	*pages = path->indexinfo->pages;
	if (path->indexorderbys == NIL)
	{
		*startup_cost = get_float8_infinity();
		*total_cost = get_float8_infinity();
		*selectivity = 0;
		return;
	}

	VhnswGetIndexSize(path->indexinfo->indexoid, path->indexinfo->pages,
					  path->indexinfo->tuples, &index);
	rows = wanted_rows(root, path);
	ef = VhnswEfFor(&index.layout, root->limit_tuples);
	*startup_cost = VhnswSearchCost(&index, rows, ef, false);
	*total_cost = *startup_cost +
		Max(VhnswSearchCost(&index, index.elements, ef, false) - *startup_cost, 0) +
		index.elements * cpu_index_tuple_cost;
	*selectivity = 1;
}

/*
 * VhnswEfFor
 *		The ef of a search of which so many rows are wanted, 0 or less if that is
 *		not known.
 *
 * A row is proven when something is settled whose bound is not below it.  So
 * some more than are wanted have to be settled; if the first phase does not
 * do so, a second one costs as much again.  Medians in microseconds on words
 * and captions, with 10 rows and ef = 10, 14, 20: 183, 82, 82 and 128, 92, 97;
 * with 100 rows and ef = 100, 120, 130, 150: 1561, 900, 556, 521 and 1158,
 * 512, 546, 639.
 *
 * Bounds of 4-bit codes are lower, and twice as many elements have to be looked
 * at (vhnsw_rotated.c).
 *
 * A search that ends after ef rows (iterative_scan = off) has no second phase,
 * and proves by its end.  Who asks for it may have a faster and coarser answer.
 */
int64
VhnswEfFor(const VhnswLayout *layout, double rows)
{
	double		ef = VhnswEfSearch();

	if (rows > 0)
	{
		if (VhnswIterativeScanMode() != VHNSW_ITERATIVE_OFF)
		{
			rows += 3 * sqrt(rows);
			if (layout->is_rotated && !layout->is_direct)
				rows *= 2;
		}
		ef = Max(ef, ceil(rows));
	}
	return (int64) Min(ef, (double) (PG_INT64_MAX / 2));
}

/*
 * VhnswEffortFor
 *		How many settled elements end the search for so many rows, if their
 *		proof can do with what was expanded on the way; 0 if not before ef.
 *
 * The setting itself counts where it is below its default and not below the
 * rows: who lowers it wants it to be quicker.  Elements beyond, up to ef, are
 * taken from those that were expanded and are farther.  With the default a
 * large LIMIT keeps its recall.
 */
int64
VhnswEffortFor(int64 rows)
{
	int			effort = VhnswEfSearch();

	return effort >= rows && effort < VHNSW_DEFAULT_EF_SEARCH ? effort : 0;
}

/* Describe an index that the caller, or the planner, has locked. */
void
VhnswGetIndexSize(Oid index_oid, double pages, double elements,
				  VhnswIndexSize *size)
{
	Relation	index = index_open(index_oid, NoLock);

	size->pages = Max(pages, 1);
	size->elements = Max(elements, 1);
	size->layout = VhnswGetCache(index)->layout;
	index_close(index, NoLock);
}

/*
 * How many rows of the index it probably takes to fill the LIMIT, given the
 * selectivity of the conditions that are checked afterwards.
 */
static double
wanted_rows(PlannerInfo *root, IndexPath *path)
{
	RelOptInfo *rel = path->indexinfo->rel;
	double		passing;

	if (root->limit_tuples <= 0)
		return VhnswEfSearch();
	passing = rel->rows / Max(rel->tuples, 1);
	passing = Max(Min(passing, 1), 1e-9);
	return Min(root->limit_tuples / passing, Max(rel->tuples, 1));
}

/* Share of the pages of a relation that is not in memory. */
static double
uncached(double pages)
{
	return pages > effective_cache_size ? 1 - effective_cache_size / pages : 0;
}

/* How much there is to compute: bytes, or half bytes. */
static int
code_numbers(const VhnswIndexSize *index)
{
	return index->layout.code_bytes *
		(index->layout.coder->own_bits == VHNSW_NIBBLE_BITS ? 2 : 1);
}

/* Read all pages in order. */
Cost
VhnswSweepCost(const VhnswIndexSize *index)
{
	return QUERY + index->pages *
		(CACHED_PAGE + uncached(index->pages) * seq_page_cost) +
		index->elements *
		(SWEEP_EVALUATION + code_numbers(index) * CODE_BYTE);
}

/*
 * Search until so many rows are reported; see vhnsw_stream.c for the rules.
 *
 * On the way to the nearest, and of what turns out to be farther, about as many
 * elements as ef are expanded without being settled.
 */
Cost
VhnswSearchCost(const VhnswIndexSize *index, double rows, double ef,
				bool filtered)
{
	double		settled = VhnswSettledBefore(rows, ef, filtered);
	double		expanded = settled + ef;
	double		evaluated = 0;
	double		share = 1;
	Cost		cost = QUERY;

	if (index->layout.edge_dims == 0)
		evaluated = Min(settled * index->layout.degree * FRESH_NEIGHBORS,
						index->elements);
	if (1.25 * ef >= index->elements / 8)
		return VhnswSweepCost(index);
	if (settled > ef && expanded + evaluated > index->elements / 8)
	{
		share = index->elements / 8 / (expanded + evaluated);
		cost += VhnswSweepCost(index);
	}
	expanded *= share;
	evaluated *= share;
	return cost + visits_cost(index, expanded, evaluated, ef);
}

/* What a search has cost that has done so much, fetching rows aside. */
Cost
VhnswSearchedCost(const VhnswIndexSize *index, const VhnswSearch *search,
				  double ef)
{
	return QUERY + visits_cost(index, search->nexpanded, search->nevaluated,
							   ef);
}

/* Visits to elements: those that ef takes, and of a search that goes on */
static Cost
visits_cost(const VhnswIndexSize *index, double expanded, double evaluated,
			double ef)
{
	double		first = Min(expanded, 2 * ef);

	return first * EXPANSION * (1 + ef / CANDIDATES) +
		(expanded - first) * GOING_ON +
		evaluated * EVALUATION +
		(expanded + evaluated) * (code_numbers(index) * CODE_BYTE +
								  uncached(index->pages) * random_page_cost);
}

/* Read the table in order, without conditions and distances. */
Cost
VhnswTableCost(double pages, double rows)
{
	return pages * (CACHED_PAGE + uncached(pages) * seq_page_cost) +
		rows * TABLE_ROW;
}

/* Fetch one row of the table by its TID, and use it. */
Cost
VhnswFetchCost(const VhnswIndexSize *index, double heap_pages)
{
	return HEAP_FETCH + uncached(heap_pages) * random_page_cost +
		VhnswRowCost(index);
}

/*
 * Compute the distance of a row at hand, and sort it.
 *
 * The length of a code says how much there is to compute: dimensions may be a
 * thousand million that are zero, or single bits.
 */
Cost
VhnswRowCost(const VhnswIndexSize *index)
{
	Cost		cost = ROW + code_numbers(index) * ROW_DIMENSION;

	if (code_numbers(index) > INLINE_DIMS)
		cost += TOASTED_ROW;
	return cost;
}
