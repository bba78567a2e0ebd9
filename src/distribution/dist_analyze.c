/*-------------------------------------------------------------------------
 *
 * dist_analyze.c
 *	  ANALYZE of a foreign partition: a sample taken by its worker.
 *
 * As core does for a table of its own, the worker looks at about as many
 * blocks as rows are wanted (TABLESAMPLE SYSTEM) and picks rows from these at
 * random.  Only the rows of the sample travel.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "distribution/dist_connection.h"
#include "distribution/dist_deparse.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_values.h"

/* Rows asked for in one turn; with wide vectors some megabytes. */
#define FETCH_ROWS 500

static int	acquire_sample_rows(Relation rel, int elevel, HeapTuple *rows,
								int targrows, double *totalrows,
								double *totaldeadrows);
static void get_remote_size(Relation rel, double *rows, double *pages);
static List *append_sample_query(StringInfo sql, Relation rel, double rows,
								 double pages, int targrows);
static int	read_rows(Relation rel, DistRowReader *reader, PGresult *result,
					  HeapTuple *rows, int room);
static DistConn *owner_connection(Relation rel);

bool
DistAnalyzeForeignTable(Relation relation, AcquireSampleRowsFunc *func,
						BlockNumber *totalpages)
{
	double		rows;
	double		pages;

	get_remote_size(relation, &rows, &pages);
	*totalpages = (BlockNumber) pages;
	*func = acquire_sample_rows;
	return true;
}

static int
acquire_sample_rows(Relation rel, int elevel, HeapTuple *rows, int targrows,
					double *totalrows, double *totaldeadrows)
{
	DistConn   *conn = owner_connection(rel);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "vecdist sample",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext;
	DistRowReader *reader;
	StringInfoData sql;
	double		pages;
	int			nrows = 0;
	int			nread;

	get_remote_size(rel, totalrows, &pages);
	*totaldeadrows = 0;			/* the worker's VACUUM knows them */

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "DECLARE vecdist_sample NO SCROLL CURSOR FOR ");
	reader = DistMakeRowReader(RelationGetDescr(rel),
							   append_sample_query(&sql, rel, *totalrows,
												   pages, targrows));
	(void) DistExec(conn, sql.data, NULL, DIST_REQ_XACT);
	do
	{
		PGresult   *result;

		MemoryContextReset(context);
		oldcontext = MemoryContextSwitchTo(context);
		result = DistExec(conn, psprintf("FETCH %d FROM vecdist_sample",
										 FETCH_ROWS), NULL,
						  DIST_REQ_XACT |
						  (DistRowReaderIsBinary(reader) ? DIST_REQ_BINARY : 0));
		MemoryContextSwitchTo(oldcontext);
		nread = PQntuples(result);
		nrows += read_rows(rel, reader, result, rows + nrows,
						   targrows - nrows);
	} while (nread == FETCH_ROWS && nrows < targrows);
	(void) DistExec(conn, "CLOSE vecdist_sample", NULL, DIST_REQ_XACT);
	MemoryContextDelete(context);

	ereport(elevel,
			errmsg("\"%s\": sample of %d rows out of about %.0f from worker \"%s\"",
				   RelationGetRelationName(rel), nrows, *totalrows,
				   DistConnWorker(conn)));
	return nrows;
}

/*
 * Rows and pages of the worker's table.  Its own estimate of rows is scaled to
 * the present size, as planners do; without one the rows are counted.
 */
static void
get_remote_size(Relation rel, double *rows, double *pages)
{
	DistPartition *partition = DistGetPartition(RelationGetRelid(rel));
	DistConn   *conn = owner_connection(rel);
	StringInfoData name;
	PGresult   *result;
	double		reltuples;
	double		relpages;

	initStringInfo(&name);
	DistAppendRemoteName(&name, partition);
	result = DistExec(conn,
					  psprintf("SELECT reltuples, relpages, "
							   "pg_relation_size(oid) / current_setting('block_size')::int8 "
							   "FROM pg_class WHERE oid = %s::regclass",
							   quote_literal_cstr(name.data)),
					  NULL, 0);
	if (PQntuples(result) != 1)
		elog(ERROR, "worker \"%s\" has no statistics of %s",
			 DistConnWorker(conn), name.data);
	reltuples = atof(PQgetvalue(result, 0, 0));
	relpages = atof(PQgetvalue(result, 0, 1));
	*pages = atof(PQgetvalue(result, 0, 2));
	if (reltuples > 0 && relpages > 0)
	{
		*rows = rint(reltuples / relpages * *pages);
		return;
	}
	result = DistExec(conn, psprintf("SELECT count(*) FROM %s", name.data),
					  NULL, 0);
	*rows = atof(PQgetvalue(result, 0, 0));
}

/*
 * Append the query for a sample of about 'targrows' rows.  Returns the numbers
 * of its columns.
 */
static List *
append_sample_query(StringInfo sql, Relation rel, double rows, double pages,
					int targrows)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *attnums = NIL;
	const char *separator = "SELECT ";
	double		blocks = Min(1.0, targrows / Max(pages, 1.0));
	double		picked = Min(1.0, targrows / Max(rows * blocks, 1.0));

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (attr->attisdropped)
			continue;
		appendStringInfo(sql, "%s%s", separator,
						 quote_identifier(NameStr(attr->attname)));
		separator = ", ";
		attnums = lappend_int(attnums, attr->attnum);
	}
	if (attnums == NIL)
		appendStringInfoString(sql, "SELECT NULL");
	appendStringInfoString(sql, " FROM ");
	DistAppendRemoteName(sql, DistGetPartition(RelationGetRelid(rel)));
	if (blocks < 1.0)
		appendStringInfo(sql, " TABLESAMPLE SYSTEM (%.6f)", blocks * 100.0);
	if (picked < 1.0)
		appendStringInfo(sql, " WHERE random() < %.9f", picked);
	appendStringInfo(sql, " LIMIT %d", targrows);
	return attnums;
}

/* Make tuples, in the current memory context, of at most 'room' rows. */
static int
read_rows(Relation rel, DistRowReader *reader, PGresult *result,
		  HeapTuple *rows, int room)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	bool	   *isnull = palloc(sizeof(bool) * Max(desc->natts, 1));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "vecdist sample row",
												  ALLOCSET_DEFAULT_SIZES);
	int			nrows = Min(PQntuples(result), room);

	for (int i = 0; i < nrows; i++)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(context);
		ItemPointerData tid;

		vacuum_delay_point();
		DistReadRow(reader, result, i, values, isnull, &tid);
		MemoryContextSwitchTo(oldcontext);
		rows[i] = heap_form_tuple(desc, values, isnull);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	pfree(values);
	pfree(isnull);
	return nrows;
}

/* ANALYZE runs as the owner of the table. */
static DistConn *
owner_connection(Relation rel)
{
	return DistConnGet(DistGetPartition(RelationGetRelid(rel))->serverid,
					   rel->rd_rel->relowner, DIST_TARGET_PRIMARY);
}
