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
	int64		k;				/* as in the request */
	List	   *settings;		/* the request's, as they were in effect */
	int64		nrows;			/* rows returned */
	bool		exhausted;		/* the partition has no further rows */
	char	   *index;			/* the vhnsw index used, NULL: exact scan */
	int			ef;				/* breadth of the index search, else 0 */
	bool		standby;		/* this server was a standby */
	XLogRecPtr	lsn;			/* replayed there, or written if a primary */
} DistSearchReport;

/*
 * Gets the rows in order of distance, each of the wanted columns followed by
 * the distance.  The tuple is gone when the callback returns.
 */
typedef void (*DistSearchCallback) (HeapTuple tuple, TupleDesc desc,
									void *arg);

/*
 * DistSearchPartition
 *		Search one partition, named by a qualified and quoted name.
 *
 * Runs under the active snapshot with the rights and row security of the
 * current user, and with the request's settings.  Memory of 'report' is
 * allocated in the current context.
 */
extern void DistSearchPartition(const DistSearch *search,
								const char *partition,
								DistSearchCallback row, void *arg,
								DistSearchReport *report);

/* The query that DistSearchPartition runs. */
extern char *DistSearchQuery(const DistSearch *search, const char *partition);

/*
 * The plan for such a query, kept for the next search.  Called with an open
 * SPI connection and the search's settings in effect.  The result is valid
 * until the next call.
 */
extern SPIPlanPtr DistSearchPlan(const DistSearch *search, const char *query);

/* Reports travel as JSON objects. */
extern char *DistSearchReportToJson(const DistSearchReport *report);
extern void DistSearchReportFromJson(const char *json,
									 DistSearchReport *report);

#endif							/* DIST_SEARCH_H */
