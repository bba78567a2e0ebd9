/*-------------------------------------------------------------------------
 *
 * dist_search.h
 *	  Search partitions on the server that holds them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_SEARCH_H
#define DIST_SEARCH_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "access/xlogdefs.h"
#include "executor/spi.h"
#include "nodes/pg_list.h"

#include "distribution/dist_merge.h"

/* What the partition is called in the texts of a search. */
#define DIST_SEARCH_ALIAS	"t"

/* What to search for; the same for all partitions of a request. */
typedef struct DistSearch
{
	const char *columns;		/* select list, "" for none */
	const char *filter;			/* condition, or NULL */
	const char *distance;		/* what to order by, of type float8 */
	const char *ties;			/* further ORDER BY keys, or NULL */
	int64		k;				/* rows wanted, or DIST_ALL_ROWS */
	bool		stream;			/* few of all rows are likely to be read */
	List	   *settings;		/* of char *, "name=value" */

	/* Values of $1, $2, ... in the texts above */
	int			nparams;
	Oid		   *param_types;
	Datum	   *param_values;
	char	   *param_nulls;	/* as SPI has them: 'n' or ' ' */
} DistSearch;

/* How one partition was searched. */
typedef struct DistSearchReport
{
	/* the same for all partitions of a run */
	int64		k;				/* as in the request */
	uint64		settings;		/* fingerprint of the request's settings, as
								 * they were in effect */
	bool		standby;		/* this server was a standby */
	XLogRecPtr	lsn;			/* replayed there, or written if a primary */
	DistMergeKey bound;			/* for those that are bounded */

	/* the partition's own */
	int64		nrows;			/* rows returned so far */
	bool		exhausted;		/* the partition has no further rows */
	bool		bounded;		/* all further rows are farther than 'bound' */
	char	   *index;			/* the vhnsw index used, NULL: exact scan */
	int			ef;				/* breadth of the index search, else 0 */
} DistSearchReport;

/*
 * Gets the rows in order of distance, each of the wanted columns followed by
 * the distance.  'part' is the partition's number, 'pos' the row's number in
 * it, from 0.  The tuple is gone when the callback returns.
 */
typedef void (*DistSearchCallback) (int part, int pos, HeapTuple tuple,
									TupleDesc desc, void *arg);

typedef struct DistSearchRun DistSearchRun;

/*
 * DistSearchOpen
 *		Begin to search partitions, named by qualified and quoted names.
 *
 * Runs under the active snapshot, each partition with the rights and row
 * security of a role of its own, or of the current one if 'users' is NULL.
 * The run lives until DistSearchClose or the end of the transaction; its
 * portals end with the current subtransaction if that aborts.
 *
 * The search's settings stay in effect until the first DistSearchFetch or
 * DistSearchNext returns, which has to come next: nothing that connects SPI and
 * leaves it connected, or sets settings, may come in between.
 */
extern DistSearchRun *DistSearchOpen(const DistSearch *search, int npartitions,
									 char **partitions, const Oid *users);

/*
 * DistSearchFetch
 *		Return the nearest rows that were not returned yet.
 *
 * Ends when 'nrows' rows were returned since DistSearchOpen and no other ties
 * with the last of them, when all others are farther than *bound (if not
 * NULL), or when there are no more.  Returns false, without having returned a
 * row, if the portals are gone.
 */
extern bool DistSearchFetch(DistSearchRun *run, int64 nrows,
							const DistMergeKey *bound,
							DistSearchCallback row, void *arg);

/*
 * DistSearchNext
 *		Return the next 'nrows' rows, or all if there are fewer.
 *
 * They come in order of (distance, part, pos), where portals keep to the order.
 * Returns false, without having returned a row, if the portals are gone.
 */
extern bool DistSearchNext(DistSearchRun *run, int64 nrows,
						   DistSearchCallback row, void *arg);

/*
 * A run may be given a number, not 0, under which the same role finds it again
 * as long as it lives: NULL if it does not.
 */
extern void DistSearchSetNumber(DistSearchRun *run, int64 number, Oid owner);
extern DistSearchRun *DistSearchFind(int64 number, Oid owner);
extern int	DistSearchCountPartitions(DistSearchRun *run);

/*
 * How a partition was searched so far, and what that has in common with all
 * others of the run; valid until the run is closed.
 */
extern const DistSearchReport *DistSearchGetReport(DistSearchRun *run,
												   int part);
extern const DistSearchReport *DistSearchGetCommonReport(DistSearchRun *run);

/* What the rows of all partitions look like. */
extern TupleDesc DistSearchGetDesc(DistSearchRun *run);

extern void DistSearchClose(DistSearchRun *run);

/* dist_search_query.c */
extern char *DistSearchQuery(const DistSearch *search, const char *partition);

/*
 * DistSearchPlan is the plan for such a query, kept for the next search.  Called
 * with an open SPI connection and the search's settings in effect.  The result
 * is valid until the next call.
 *
 * 'key' is what DistSearchPlanKey has made of the search, for all partitions.
 */
typedef struct DistSearchKey
{
	char	   *data;
	int			len;
	uint64		hash;
} DistSearchKey;

extern DistSearchKey DistSearchPlanKey(const DistSearch *search);
extern SPIPlanPtr DistSearchPlan(const DistSearch *search,
								 const DistSearchKey *key,
								 const char *partition);

/*
 * The reports of a run as they travel, and back: 'reports' points to the 'n'
 * to fill in.  Raises an error if the bytes are not such reports.
 */
extern bytea *DistSearchReportsToBytes(DistSearchRun *run);
extern void DistSearchReportsFromBytes(char *data, int len, int n,
									   DistSearchReport **reports);

#endif							/* DIST_SEARCH_H */
