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
#include "vhnsw/vhnsw_meta.h"

/* Evaluating an element in the graph: half a microsecond. */
#define GRAPH_EVALUATION (50 * cpu_operator_cost)

/* In a pass over the pages, beside the pages themselves. */
#define SWEEP_EVALUATION (10 * cpu_operator_cost)

/* For each byte of the code */
#define CODE_BYTE (0.01 * cpu_operator_cost)

/* Share of a list that was not seen before. */
#define FRESH_NEIGHBORS 0.6

typedef struct ScanCost
{
	double		elements;
	double		pages;
	VhnswLayout layout;
} ScanCost;

static void get_layout(Oid index_oid, VhnswLayout *layout);
static double wanted_rows(PlannerInfo *root, IndexPath *path);
static Cost sweep_cost(const ScanCost *index);
static Cost search_cost(const ScanCost *index, double rows, double ef);

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
	ScanCost	index;
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

	index.elements = Max(path->indexinfo->tuples, 1);
	index.pages = Max(path->indexinfo->pages, 1);
	get_layout(path->indexinfo->indexoid, &index.layout);

	rows = wanted_rows(root, path);
	ef = Max(vhnsw_ef_search, root->limit_tuples);
	*startup_cost = search_cost(&index, rows, ef);
	*total_cost = *startup_cost +
		Max(search_cost(&index, index.elements, ef) - *startup_cost, 0) +
		index.elements * cpu_index_tuple_cost;
	*selectivity = 1;
}

static void
get_layout(Oid index_oid, VhnswLayout *layout)
{
	/* The planner holds a lock. */
	Relation	index = index_open(index_oid, NoLock);

	*layout = VhnswGetCache(index)->layout;
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
		return vhnsw_ef_search;
	passing = rel->rows / Max(rel->tuples, 1);
	passing = Max(Min(passing, 1), 1e-9);
	return Min(root->limit_tuples / passing, Max(rel->tuples, 1));
}

/* Read all pages in order. */
static Cost
sweep_cost(const ScanCost *index)
{
	return index->pages * seq_page_cost + index->elements *
		(SWEEP_EVALUATION + index->layout.code_bytes * CODE_BYTE);
}

/*
 * Search until so many rows are reported; see vhnsw_scan.c for the rules.
 */
static Cost
search_cost(const ScanCost *index, double rows, double ef)
{
	double		settled = Max(ef, Min(3 * rows - 2 * ef, 2 * rows));
	double		evaluated = Min(settled * index->layout.degree *
								FRESH_NEIGHBORS, index->elements);
	double		evaluation = GRAPH_EVALUATION + index->layout.code_bytes * CODE_BYTE;
	double		cached = effective_cache_size;
	Cost		cost = 0;

	if (ef >= index->elements / 8)
		return sweep_cost(index);
	if (rows > ef && evaluated > index->elements / 8)
	{
		evaluated = index->elements / 8;
		cost += sweep_cost(index);
	}
	cost += evaluated * evaluation;
	if (index->pages > cached)
		cost += evaluated * (1 - cached / index->pages) * random_page_cost;
	return cost;
}
