/*-------------------------------------------------------------------------
 *
 * dist_fdw.h
 *	  What the files of the foreign data wrapper share.
 *
 * dist_fdw.c plans, dist_scan.c reads, dist_modify.c updates and deletes,
 * dist_copy.c inserts, dist_analyze.c samples.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_FDW_H
#define DIST_FDW_H

#include "postgres.h"

#include "foreign/fdwapi.h"
#include "lib/stringinfo.h"
#include "nodes/pathnodes.h"

#include "distribution/dist_placement.h"

/* Members of fdw_private of a ForeignScan that reads. */
enum DistScanPrivate
{
	DIST_SCAN_SQL,				/* String: the statement, without LIMIT */
	DIST_SCAN_ATTNUMS,			/* IntList: the attributes it returns */
	DIST_SCAN_FETCH_ALL,		/* Integer: rows worth asking for at once,
								 * without a cursor; 0 = use a cursor */
	DIST_SCAN_FLAGS,			/* Integer: as below */
	DIST_SCAN_PARENT,			/* Integer: range table index of the leaf less
								 * that of the table it belongs to */
	DIST_SCAN_REMARK			/* String: see DistSetScanRemark, or NULL */
};

#define DIST_SCAN_LOCKS_ROWS	0x01	/* has a FOR UPDATE or the like */
#define DIST_SCAN_ALL_ROWS		0x02	/* all rows are wanted */
#define DIST_SCAN_TOGETHER		0x04	/* so are rows of all other leaves */

/*
 * Let EXPLAIN of a leaf's scan say why the top-K scan is not used.  The text
 * must live as long as planning does.
 */
extern void DistSetScanRemark(RelOptInfo *leaf, const char *why);

/* dist_scan.c */
extern void DistBeginForeignScan(ForeignScanState *node, int eflags);
extern TupleTableSlot *DistIterateForeignScan(ForeignScanState *node);
extern void DistReScanForeignScan(ForeignScanState *node);
extern void DistEndForeignScan(ForeignScanState *node);
extern void DistExplainForeignScan(ForeignScanState *node,
								   struct ExplainState *es);

/* dist_modify.c */
extern bool DistPlanDirectModify(PlannerInfo *root, ModifyTable *plan,
								 Index resultRelation, int subplan_index);
extern List *DistPlanForeignModify(PlannerInfo *root, ModifyTable *plan,
								   Index resultRelation, int subplan_index);
extern void DistUseDirectModify(PlannedStmt *stmt);
extern void DistBeginDirectModify(ForeignScanState *node, int eflags);
extern TupleTableSlot *DistIterateDirectModify(ForeignScanState *node);
extern void DistEndDirectModify(ForeignScanState *node);
extern void DistExplainDirectModify(ForeignScanState *node,
									struct ExplainState *es);
extern TupleTableSlot *DistExecForeignUpdateOrDelete(EState *estate,
													 ResultRelInfo *rinfo,
													 TupleTableSlot *slot,
													 TupleTableSlot *planSlot);
extern void DistExecForeignTruncate(List *rels, DropBehavior behavior,
									bool restart_seqs);

/* dist_copy.c */
extern void DistBeginForeignModify(ModifyTableState *mtstate,
								   ResultRelInfo *rinfo, List *fdw_private,
								   int subplan_index, int eflags);
extern void DistBeginForeignInsert(ModifyTableState *mtstate,
								   ResultRelInfo *rinfo);
extern TupleTableSlot *DistExecForeignInsert(EState *estate,
											 ResultRelInfo *rinfo,
											 TupleTableSlot *slot,
											 TupleTableSlot *planSlot);
extern void DistEndForeignInsert(EState *estate, ResultRelInfo *rinfo);

/*
 * Send rows that running INSERT statements of this backend hold back, and
 * wait for the workers to take them.  Call it before reading or changing a
 * distributed table: the statement around may have inserted what has to be
 * seen.  Costs nothing if there are none.
 */
extern void DistFlushInserts(void);

/* dist_check_query.c */

/*
 * Install the planner hook that refuses what distributed tables do not do,
 * and calls DistUseDirectModify.
 */
extern void DistCheckQueryInit(void);

/* dist_trigger.c */
extern bool DistHasRowTrigger(Relation rel, CmdType operation);
extern bool DistHasSequenceDefault(Relation rel);
extern bool DistIsFromSequence(Relation rel, AttrNumber attnum);
extern bool DistUsesSequence(Node *node);

/* dist_analyze.c */
extern bool DistAnalyzeForeignTable(Relation relation,
									AcquireSampleRowsFunc *func,
									BlockNumber *totalpages);

#endif							/* DIST_FDW_H */
