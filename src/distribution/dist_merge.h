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
	bool		skipped;		/* it was not asked; the caller says what that
								 * means */
	bool		echoed;			/* it repeated K and the settings as sent */
	bool		exhausted;		/* it says there are no more rows than these */
	bool		bounded;		/* it says that all others are farther than
								 * 'bound' */
	DistMergeKey bound;
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
 * Compares two rows of equal distance by what else the query orders by; like
 * strcmp.
 */
typedef int (*DistMergeCompareTies) (const DistMergeRow *a,
									 const DistMergeRow *b, void *arg);

typedef struct DistMerge
{
	int			ninputs;
	const DistMergeInput *inputs;
	int64		k;				/* rows wanted, or DIST_ALL_ROWS */
	DistMergeCompareTies compare_ties;	/* or NULL */
	void	   *arg;			/* for compare_ties */

	/* result of DistMergeTopK */
	int			nrows;
	DistMergeRow *rows;
} DistMerge;

/*
 * DistMergeTopK
 *		The first k rows of all inputs together.
 *
 * The order is (distance, what else the query orders by, input, pos),
 * distances compared as btree compares float8 with NULLS LAST: NaN after all
 * numbers, NULL after NaN.  It depends on nothing but the inputs, so that ties
 * come out the same in every run.
 *
 * The result is allocated in the current context.
 */
extern void DistMergeTopK(DistMerge *merge);

/*
 * DistMergeCertify
 *		Is the merged answer what merging all rows of all partitions gives?
 *
 * To be called after DistMergeTopK.  Returns NULL if it is, or a sentence that
 * says why it may not be, in the current context.  See README, section
 * "Search".
 */
extern char *DistMergeCertify(const DistMerge *merge);

/* The same for one input: why could it have withheld a row of the answer? */
extern char *DistMergeFindGap(const DistMerge *merge, int input);

/* btree's order of float8, NULLS LAST; like strcmp */
extern int	DistMergeCompareKeys(const DistMergeKey *a,
								 const DistMergeKey *b);

#endif							/* DIST_MERGE_H */
