/*-------------------------------------------------------------------------
 *
 * dist_topk.h
 *	  The distributed top-K scan: what its parts share.
 *
 *	dist_topk_plan.c	offers the scan to the planner
 *	dist_topk_above.c	window functions and DISTINCT over it
 *	dist_topk_prune.c	excludes partitions by the values of parameters
 *	dist_topk_exec.c	the executor's callbacks; merges and emits
 *	dist_topk_fetch.c	asks the servers
 *	dist_topk_stream.c	asks them in pieces, where K is not known
 *	dist_topk_explain.c	EXPLAIN
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_TOPK_H
#define DIST_TOPK_H

#include "postgres.h"

#include "commands/explain.h"
#include "fmgr.h"
#include "libpq-fe.h"
#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/pathnodes.h"
#include "portability/instr_time.h"
#include "utils/sortsupport.h"

#include "distribution/dist_connection.h"
#include "distribution/dist_merge.h"
#include "distribution/dist_placement.h"
#include "distribution/dist_probe.h"
#include "distribution/dist_search.h"
#include "distribution/dist_stats.h"
#include "distribution/dist_values.h"
#include "vecdist_compat.h"

/* From planner to executor: members of the list CustomScan.custom_private. */
enum
{
	DIST_TOPK_USER,				/* list of two OIDs: whose user mappings to
								 * use, 0 = the current user's; the table */
	DIST_TOPK_PARTITIONS,		/* list of OIDs of leaves, in the order that
								 * ties are resolved in */
	DIST_TOPK_DISTANCE,			/* String: text of the distance */
	DIST_TOPK_TIES,				/* String: text of further keys of ORDER BY,
								 * or NULL */
	DIST_TOPK_FILTER,			/* String: text of the condition, or NULL */
	DIST_TOPK_HASHED,			/* Boolean: rows are placed by hash */
	DIST_TOPK_STREAM,			/* String: why K is not known, or NULL */

	/* Further keys of ORDER BY: */
	DIST_TOPK_TIE_COLUMNS,		/* list of int: columns of the scan tuple */
	DIST_TOPK_TIE_OPERATORS,	/* list of OIDs of ordering operators */
	DIST_TOPK_TIE_NULLS_FIRST,	/* list of int */

	/* For a table placed by centroid, otherwise both NIL: */
	DIST_TOPK_PROBE,			/* list of five ints: set of centroids,
								 * DistProbeOrder, which of the values after
								 * DIST_TOPK_FIRST_PARAM is the query vector,
								 * DistProbe.exact, and DistProbe.is_half */
	DIST_TOPK_CELLS,			/* list of lists of int, as in DistProbe */
	DIST_TOPK_NO_PROBE,			/* String: why these are NIL, or NULL */

	DIST_TOPK_PRUNE				/* NIL, or what excludes partitions: Integer,
								 * index of the table when it was planned;
								 * PartitionPruneInfo */
};

/*
 * CustomScan.custom_exprs is a list of these, followed by the values of $1,
 * $2, ... in the texts.
 */
enum
{
	DIST_TOPK_LIMIT,
	DIST_TOPK_OFFSET,
	DIST_TOPK_FIRST_PARAM
};

/* Where a column of the scan tuple comes from. */
typedef enum DistTopKColumnKind
{
	DIST_TOPK_COLUMN_BINARY,	/* shipped in its type's binary form */
	DIST_TOPK_COLUMN_TEXT,		/* shipped in its type's text form */
	DIST_TOPK_COLUMN_TABLEOID,	/* known here */
	DIST_TOPK_COLUMN_ROW,		/* the whole row, made of other columns */
	DIST_TOPK_COLUMN_DISTANCE	/* shipped with every row */
} DistTopKColumnKind;

typedef struct DistTopKColumn
{
	DistTopKColumnKind kind;
	int			field;			/* its number among those that are shipped */
	FmgrInfo	input;			/* receive or input function */
	Oid			ioparam;
	int32		typmod;

	/* of a whole row: */
	TupleDesc	desc;
	int		   *attribute;		/* which column of the scan tuple each
								 * attribute is; -1: none, it was dropped */
} DistTopKColumn;

/* A key of ORDER BY behind the distance. */
typedef struct DistTopKTie
{
	int			column;			/* of the scan tuple */
	SortSupportData sort;
} DistTopKTie;

/* One value to send with every request. */
typedef struct DistTopKParam
{
	ExprState  *expr;
	Oid			type;
	DistValueWriter writer;

	/* of the current search */
	Datum		value;
	bool		isnull;
} DistTopKParam;

/* One partition to search, and what it answered. */
typedef struct DistTopKPartition
{
	DistPartition *place;

	/* of the current search */
	bool		asked;			/* else there is no answer, and no rows */
	DistSearchReport report;
	int			nrows;
	int			space;			/* rows allocated */
	DistMergeKey *keys;			/* of its rows, in the order they came */

	/* of a worker's: row i is row[i] of answer[i < nfirst ? 0 : 1] */
	int		   *row;
	PGresult   *answer[2];
	int			nfirst;			/* rows from answer[0], the first ones */

	/* of a partition that is searched here */
	HeapTuple  *tuples;
	TupleDesc	desc;			/* of these tuples */
} DistTopKPartition;

/* The partitions of one worker. */
typedef struct DistTopKWorker
{
	Oid			serverid;		/* InvalidOid: this server */
	char	   *name;			/* of the worker, or NULL */
	int			npartitions;
	int		   *partitions;		/* indexes into DistTopKState.partitions */

	/* of the current search */
	int			nasked;			/* partitions in the last message */
	int		   *asked;			/* and which */
	int64		first;			/* rows it was asked for at first */
	bool		rest;			/* and then for the rest */
	int			ntries;			/* servers asked */
	char	   *host;			/* host:port that answered, in search_context;
								 * NULL for this server */

	int64		nrequests;		/* messages sent, in all searches */
} DistTopKWorker;

/* One row, and where its columns are. */
typedef struct DistTopKSource
{
	DistMergeKey key;
	int			partition;		/* index into DistTopKState.partition */
	PGresult   *answer;			/* of a worker, or NULL */
	int			row;			/* of 'answer'; in a stream, also what orders
								 * rows of equal distance */
	HeapTuple	tuple;			/* found here */
	TupleDesc	desc;			/* of 'tuple' */
} DistTopKSource;

/* The parameters of a message, in libpq's terms. */
typedef struct DistTopKMessage
{
	int			n;
	const char **values;
	int		   *lengths;
	int		   *formats;
} DistTopKMessage;

typedef struct DistTopKStream DistTopKStream;

typedef struct DistTopKState
{
	CustomScanState css;

	/* Fixed for the life of the plan state, in the executor's context. */
	Oid			userid;			/* whose user mappings to use */
	Oid			table;			/* the partitioned table */
	char	   *distance;
	char	   *ties;			/* or NULL */
	char	   *filter;			/* or NULL */
	char	   *columns;		/* select list of what is shipped, or "" */
	bool		hashed;			/* rows are placed by hash */
	char	   *statement;		/* what is sent to workers */
	char	   *rest_statement; /* and in the second round */
	int			ncolumns;		/* of the scan tuple */
	DistTopKColumn *column;
	ExprState  *limit;
	ExprState  *offset;
	int			nparams;
	DistTopKParam *param;
	int			nties;			/* keys of ORDER BY behind the distance */
	DistTopKTie *tie;
	MemoryContext tie_context;	/* for values that are compared */
	int			npartitions;
	DistTopKPartition *partition;
	int			nremoved;		/* further ones of the plan, excluded */
	int			nworkers;
	DistTopKWorker *worker;
	DistProbe  *probe;			/* of a table placed by centroid, or NULL */
	char	   *why_no_probe;	/* of such a table; or NULL */
	int			probe_param;	/* the query vector among the parameters */

	/* The current search; its memory is in search_context. */
	MemoryContext search_context;
	bool		searched;
	int64		k;				/* LIMIT + OFFSET, or DIST_ALL_ROWS */
	List	   *settings;
	uint64		fingerprint;	/* of the settings */
	DistMerge	merge;
	DistSearchCounts counts;
	int			nasked;			/* partitions asked */
	int			nuncertain;		/* partitions not asked that may have rows of
								 * the answer */
	int			next;			/* next row of it to emit */

	int64		nsearches;		/* searches done, for EXPLAIN */
	int64		ndoubtful;		/* of these, with nuncertain > 0 */

	DistTopKStream *stream;		/* NULL: K is known */
	char	   *why_stream;
} DistTopKState;

/* Settings of this part, and its hook; called by DistInit. */
extern void DistTopKInit(void);

/*
 * dist_topk_above.c
 *
 * What is planned at a stage between the table and ORDER BY: the order it wants
 * of the rows, whether it may end the scan, and its path over a stream.
 */
extern List *DistTopKPathkeysAbove(PlannerInfo *root, UpperRelationKind stage);
extern bool DistTopKEndsAbove(PlannerInfo *root, UpperRelationKind stage);
extern void DistTopKAddAbove(PlannerInfo *root, UpperRelationKind stage,
							 Path *stream, RelOptInfo *output_rel);

/* dist_topk_prune.c; see the functions */
extern List *DistTopKPruneSteps(PlannerInfo *root, RelOptInfo *rel,
								int npartitions);
extern Bitmapset *DistTopKPrune(PlanState *node, List *steps,
								int npartitions);

/* dist_topk_exec.c */
extern const CustomScanMethods DistTopKScanMethods;

/*
 * dist_topk_answer.c
 *
 * DistTopKSetUpColumns finds out how the columns of the scan tuple travel, which
 * stays the same while the plan runs, and returns the columns of an answer, as
 * SQL defines them.
 *
 * DistTopKCountRows checks the form of an answer and returns the number of its
 * rows.  DistTopKReadRow reads partition and key of one, and counts it in
 * DistTopKPartition.nrows.  DistTopKReadReports reads the reports behind them.
 *
 * DistTopKReadColumn is the value of a column of the scan tuple, in the current
 * memory context or the row's.
 */
extern char *DistTopKSetUpColumns(DistTopKState *state);
extern int	DistTopKCountRows(DistTopKWorker *worker, PGresult *result);
extern void DistTopKReadRow(DistTopKState *state, DistTopKWorker *worker,
							PGresult *result, int row, DistTopKSource *source);
extern void DistTopKReadReports(DistTopKState *state, DistTopKWorker *worker,
								PGresult *result, int nrows);
extern DistMergeKey DistTopKKeyOfTuple(HeapTuple tuple, TupleDesc desc);
extern Datum DistTopKReadColumn(DistTopKState *state,
								const DistTopKSource *source, int number,
								bool *isnull);
extern void DistTopKBadAnswer(DistTopKWorker *worker) pg_attribute_noreturn();

/*
 * dist_topk_fetch.c
 *
 * DistTopKPrepare makes the texts that do not change while the plan runs, given
 * what DistTopKSetUpColumns returned; it talks to nobody.
 *
 * DistTopKFetch searches partitions for state->k rows, or the first of them, and
 * fills in their answers: the partitions for which 'ask' is set and which were
 * not asked before.  Called in search_context, with the values
 * of the parameters evaluated.  Raises an error if a partition cannot be
 * searched.
 *
 * DistTopKFetchRest asks those workers for the rest of which the certificate of
 * state->merge needs it.  Returns false if there are none.
 *
 * DistTopKGetColumn is the value of a column of the scan tuple for a row of
 * the answers, in the current memory context.
 */
extern void DistTopKPrepare(DistTopKState *state, const char *answer);
extern void DistTopKFetch(DistTopKState *state, const bool *ask);
extern bool DistTopKFetchRest(DistTopKState *state);
extern Datum DistTopKGetColumn(DistTopKState *state, const DistMergeRow *row,
							   int column, bool *isnull);

/*
 * Also for streams.
 *
 * DistTopKNewMessage makes a message whose first 'nfixed' parameters are left to
 * the caller; those of the search follow, and have these types in a statement
 * by DistTopKAppendParams.
 *
 * DistTopKMayAskAnother: may another server of the group answer a request that
 * failed?
 *
 * DistTopKOpenOwn begins the search of partitions on this server, with the
 * snapshot that is active.
 */
extern DistTopKMessage *DistTopKNewMessage(int nfixed, DistTopKState *state);
extern DistParams *DistTopKMessageParams(const DistTopKMessage *message);
extern void DistTopKAppendParams(StringInfo sql, DistTopKState *state,
								 int first);
extern char *DistTopKTextArray(List *strings);
extern char *DistTopKPartitionNames(DistTopKState *state,
									DistTopKWorker *worker);
extern DistSearchRun *DistTopKOpenOwn(DistTopKState *state,
									  DistTopKWorker *worker, bool stream);
extern void DistTopKKeepOwnReports(DistTopKState *state,
								   DistTopKWorker *worker, DistSearchRun *run);
extern bool DistTopKMayAskAnother(DistTopKWorker *worker,
								  const DistRequest *request);
extern void DistTopKWorkerFailed(DistTopKState *state, DistTopKWorker *worker,
								 ErrorData *error) pg_attribute_noreturn();

/* dist_topk_run.c */
extern void DistTopKEvaluateParams(DistTopKState *state);

/*
 * How many partitions the search asks first, by vecdist.probes; 0: all.  If not
 * all, state->probe is ready for DistProbeChoose.
 */
extern int	DistTopKProbes(DistTopKState *state);

/*
 * How many partitions that were not asked may have rows that are not farther
 * than 'last', the last one of the answer (NULL if there is none)?
 */
extern int	DistTopKCountUncertain(DistTopKState *state,
								   const DistMergeKey *last);
extern bool DistTopKIsEchoed(const DistTopKState *state,
							 const DistTopKPartition *partition);
extern void DistTopKNotCertified(DistTopKState *state,
								 const char *why) pg_attribute_noreturn();

/* Add state->counts, of so many searches, to vecdist.stat_search. */
extern void DistTopKCount(DistTopKState *state, int searches,
						  instr_time start);

/*
 * dist_topk_stream.c
 *
 * Begin, rescan and end belong to the callbacks of the same names; 'answer' is
 * that of DistTopKSetUpColumns.  DistTopKStreamNext stores the next row into the
 * scan slot, or returns false with an empty slot.
 */
typedef struct DistTopKStreamCounts
{
	int64		nrounds;		/* turns, all servers at the same time */
	int64		nfetched;		/* rows that came */
	int64		nlate;			/* left out, because found too late */
	int			nuncertain;		/* partitions not asked that may have rows
								 * before the last one */
} DistTopKStreamCounts;

extern void DistTopKStreamBegin(DistTopKState *state, const char *answer,
								int eflags);
extern bool DistTopKStreamNext(DistTopKState *state, TupleTableSlot *slot);
extern void DistTopKStreamRescan(DistTopKState *state, bool changed);
extern void DistTopKStreamEnd(DistTopKState *state);
extern void DistTopKStreamStats(DistTopKState *state,
								DistTopKStreamCounts *counts);

/* Text of the query that each partition runs, for EXPLAIN. */
extern char *DistTopKQueryText(DistTopKState *state);

/* dist_topk_explain.c */
extern void DistTopKExplain(CustomScanState *node, List *ancestors,
							ExplainState *es);

#endif							/* DIST_TOPK_H */
