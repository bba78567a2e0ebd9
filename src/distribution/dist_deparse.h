/*-------------------------------------------------------------------------
 *
 * dist_deparse.h
 *	  Which expressions a worker may evaluate, and their text.
 *
 * Text comes from core's ruleutils under search_path = pg_catalog; the
 * symmetric layout makes names mean the same everywhere.  Values that exist
 * only here (parameters, results of subplans, columns of other tables) are
 * replaced by numbered parameters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_DEPARSE_H
#define DIST_DEPARSE_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pathnodes.h"

#include "distribution/dist_placement.h"

/*
 * May a worker evaluate 'expr', an expression over columns of relation
 * 'relid' (range table index 'varno') and values it gets as parameters?
 * True for trees of built-in or our own immutable functions and operators,
 * with default or column collation; PARAM_EXTERN and PARAM_EXEC Params, Vars
 * of other relations and what can be computed here before the scan (now())
 * are values to send.  If not, *why is set to a reason for EXPLAIN (why may
 * be NULL).  Locks: the caller holds one on 'relid'.
 *
 * The answer knows nothing of row security.  The worker may evaluate the
 * quals it gets in any order, so whoever pushes one must make sure that
 * restriction_is_securely_promotable() holds for its RestrictInfo.
 */
extern bool DistIsShippable(Expr *expr, Index varno, Oid relid,
							const char **why);

/*
 * Text of 'expr' for the worker, columns qualified with 'alias'.  Each
 * subexpression that is a value to send is appended to *params (equal() ones
 * once) and printed as "$n", n counting from first_param; with_casts adds
 * "::type" to each so that the worker need not guess.  'expr' is shippable.
 * Result in the current memory context.
 */
extern char *DistDeparseExpr(Expr *expr, Index varno, Oid relid,
							 const char *alias, List **params,
							 int first_param, bool with_casts);

/*
 * Settings under which the text form of a value, and names in the text of an
 * expression, mean the same on every server.  Use the result with
 * AtEOXact_GUC(true, ...) to go back.
 */
extern int	DistPushTextSettings(void);

/* Schema-qualified, quoted name of a type as every server spells it. */
extern char *DistTypeName(Oid typid, int32 typmod);

/*
 * Do values of this type have the same binary form on every server?  Not so
 * for arrays and rows of types whose OIDs differ between servers.
 */
extern bool DistTypeIsBinarySafe(Oid typid);

/* Alias of the remote table in the statements we write. */
#define DIST_ALIAS "t"

/* Append the quoted remote name of a partition. */
extern void DistAppendRemoteName(StringInfo buf,
								 const DistPartition *partition);

/*
 * Append " WHERE ..." with the quals, shippable expressions over relation
 * 'varno', whose OID is 'relid'.  See DistDeparseExpr for *params.
 */
extern void DistAppendWhere(StringInfo buf, List *quals, Index varno,
							Oid relid, List **params);

#endif							/* DIST_DEPARSE_H */
