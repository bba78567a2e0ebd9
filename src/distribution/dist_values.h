/*-------------------------------------------------------------------------
 *
 * dist_values.h
 *	  Values on their way to a worker and back.
 *
 * Binary where DistTypeIsBinarySafe() says that the form is the same on every
 * server, else text under the settings of DistPushTextSettings().
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_VALUES_H
#define DIST_VALUES_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"
#include "nodes/execnodes.h"

#include "distribution/dist_connection.h"

/* How values of one type are written. */
typedef struct DistValueWriter
{
	FmgrInfo	function;		/* the type's send or output function */
	bool		binary;
} DistValueWriter;

/* How rows of a PGresult are read; made by DistMakeRowReader. */
typedef struct DistRowReader DistRowReader;

/* The parameters of a statement; made by DistMakeParams. */
typedef struct DistParamState DistParamState;

/*
 * Prepare to write values of a type, in binary if 'binary' and the type
 * allows it.  What the writer points to is in the current memory context.
 */
extern void DistInitValueWriter(DistValueWriter *writer, Oid typid,
								bool binary);

/*
 * Prepare to evaluate parameters, a list of Expr.  'parent' is the plan node
 * that the expressions belong to.  Result in the current memory context.
 */
extern DistParamState *DistMakeParams(List *exprs, PlanState *parent);

/*
 * Evaluate the parameters.  The result is valid until the next call; NULL if
 * there are none.
 */
extern const DistParams *DistEvalParams(DistParamState *params,
										ExprContext *econtext);

/*
 * Prepare to read rows whose i-th column is the attribute attnums[i] (a list
 * of int) of 'desc'; the item pointer may be among them.  Result in the
 * current memory context.
 */
extern DistRowReader *DistMakeRowReader(TupleDesc desc, List *attnums);

/* Must the rows be asked for in binary? */
extern bool DistRowReaderIsBinary(const DistRowReader *reader);

/*
 * Read one row of a result.  Columns that were not asked for become NULL.
 * *tid is set if the item pointer was asked for.  Values are in the current
 * memory context.
 */
extern void DistReadRow(DistRowReader *reader, PGresult *result, int row,
						Datum *values, bool *isnull, ItemPointer tid);

#endif							/* DIST_VALUES_H */
