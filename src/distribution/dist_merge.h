/*-------------------------------------------------------------------------
 *
 * dist_merge.h
 *	  Merge the answers of partitions, and prove that nothing is missing.
 *
 * Pure computation over arrays: no executor, no connections.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_MERGE_H
#define DIST_MERGE_H

#include "postgres.h"

/* As a number of rows: no limit. */
#define DIST_ALL_ROWS	PG_INT64_MAX

/* What the merge knows of one row. */
typedef struct DistMergeKey
{
	float8		distance;		/* undefined if isnull */
	bool		isnull;
} DistMergeKey;

/* The answer of one partition. */
typedef struct DistMergeInput
{
	const char *name;			/* of the partition, for reasons */
	bool		echoed;			/* it repeated K and the settings as sent */
	bool		exhausted;		/* it says there are no more rows than these */
	int			nkeys;
	const DistMergeKey *keys;	/* in the order the rows came */
} DistMergeInput;

/* One row of the merged answer: a row of an input. */
typedef struct DistMergeRow
{
	int			input;
	int			pos;
} DistMergeRow;

/*
 * DistMergeTopK
 *		The first k rows of all inputs together.
 *
 * The order is (distance, input, pos), distances compared as btree compares
 * float8 with NULLS LAST: NaN after all numbers, NULL after NaN.  It depends
 * on nothing but the inputs, so that ties come out the same in every run.
 *
 * Returns the number of rows; *rows is allocated in the current context.
 */
extern int	DistMergeTopK(const DistMergeInput *inputs, int ninputs, int64 k,
						  DistMergeRow **rows);

/*
 * DistMergeCertify
 *		Is the merged answer what merging all rows of all partitions gives?
 *
 * 'rows' is what DistMergeTopK returned for the same inputs and k.  If not
 * certain, *reason says why, in the current context.  See README, section
 * "Search".
 */
extern bool DistMergeCertify(const DistMergeInput *inputs, int ninputs,
							 int64 k, const DistMergeRow *rows, int nrows,
							 const char **reason);

#endif							/* DIST_MERGE_H */
