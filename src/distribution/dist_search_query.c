/*-------------------------------------------------------------------------
 *
 * dist_search_query.c
 *	  The text of the query that a search runs on a partition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "distribution/dist_search.h"
#include "vecdist_debug.h"

/* What the distance is called: unlike any column */
#define DISTANCE_NAME		"\"vecdist distance\""

static void append_nearest_rows(StringInfo sql, const DistSearch *search,
								const char *columns, const char *partition);

/*
 * DistSearchQuery
 *		The query that is run on a partition.
 *
 * With further keys behind the distance no index gives the order.  But it
 * gives the k nearest rows and all that tie with the last of them, and sorting
 * these is enough.
 */
char *
DistSearchQuery(const DistSearch *search, const char *partition)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (search->ties == NULL)
	{
		append_nearest_rows(&sql, search, search->columns, partition);
		if (search->k != DIST_ALL_ROWS)
			appendStringInfo(&sql, " LIMIT " INT64_FORMAT, search->k);
		return sql.data;
	}

	appendStringInfo(&sql, "SELECT %s%s%s.%s FROM (", search->columns,
					 search->columns[0] ? ", " : "",
					 DIST_SEARCH_ALIAS, DISTANCE_NAME);
	append_nearest_rows(&sql, search, DIST_SEARCH_ALIAS ".*", partition);
	if (search->k != DIST_ALL_ROWS)
		appendStringInfo(&sql, " FETCH FIRST " INT64_FORMAT " ROWS WITH TIES",
						 search->k);
	appendStringInfo(&sql, ") AS %s ORDER BY %s.%s, %s", DIST_SEARCH_ALIAS,
					 DIST_SEARCH_ALIAS, DISTANCE_NAME, search->ties);
	if (search->k != DIST_ALL_ROWS)
		appendStringInfo(&sql, " LIMIT " INT64_FORMAT, search->k);
	return sql.data;
}

/* Rows of the partition in order of distance, which is their last column. */
static void
append_nearest_rows(StringInfo sql, const DistSearch *search,
					const char *columns, const char *partition)
{
	if (VD_MISTAKE("dist-filter-late"))
		partition = psprintf("(SELECT * FROM %s AS %s ORDER BY %s LIMIT "
							 INT64_FORMAT ")", partition, DIST_SEARCH_ALIAS,
							 search->distance, search->k);
	appendStringInfo(sql, "SELECT %s%s%s AS %s FROM %s AS %s", columns,
					 columns[0] ? ", " : "", search->distance, DISTANCE_NAME,
					 partition, DIST_SEARCH_ALIAS);
	if (search->filter != NULL)
		appendStringInfo(sql, " WHERE %s", search->filter);
	if (!VD_MISTAKE("dist-rows-unordered"))
		appendStringInfo(sql, " ORDER BY %s", search->distance);
}
