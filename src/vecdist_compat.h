/*-------------------------------------------------------------------------
 *
 * vecdist_compat.h
 *	  Differences between the PostgreSQL versions we build for (15 to 18).
 *
 * The only place that asks for PG_VERSION_NUM.  The rest of the source is
 * written for the newest spelling; older servers get it from here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDIST_COMPAT_H
#define VECDIST_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "vecdist needs PostgreSQL 15 or newer"
#endif

/*
 * We compile with hidden visibility.  From 16 on PGDLLEXPORT makes a symbol
 * visible; on 15 it is empty.
 */
#if PG_VERSION_NUM < 160000
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

#include "fmgr.h"
#if PG_VERSION_NUM >= 180000
#include "nodes/pathnodes.h"
#include "optimizer/paths.h"
#endif

/* 16 has one function for all kinds of objects. */
#if PG_VERSION_NUM < 160000
#define object_ownercheck(classid, objectid, roleid) \
	((void) (classid), pg_class_ownercheck(objectid, roleid))
#endif

/* 16 calls the place of a relation's file a locator. */
#if PG_VERSION_NUM >= 160000
#define RelationGetLocator(relation) ((relation)->rd_locator)
#else
#define RelFileLocator RelFileNode
#define RelFileLocatorEquals(a, b) RelFileNodeEquals(a, b)
#define RelationGetLocator(relation) ((relation)->rd_node)
#endif

/* 16 has smgrzeroextend(). */
#define VECDIST_HAS_ZERO_EXTEND (PG_VERSION_NUM >= 160000)

/*
 * A snapshot for reading a TOAST table (access/toast_internals.h).  Before 18
 * it is made in room of the caller, who makes it anew for each value.
 */
#if PG_VERSION_NUM >= 180000
#define VecdistToastSnapshot(room) ((void) (room), get_toast_snapshot())
#else
#define VecdistToastSnapshot(room) (init_toast_snapshot(room), (room))
#endif

/* 18 has pg_noreturn instead, which stands in front of a declaration. */
#if PG_VERSION_NUM >= 180000
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/*
 * Steps that exclude partitions when a plan starts are a node of the plan before
 * 18; since then core keeps them in a list that only its own nodes can use.
 */
#define VECDIST_CAN_PRUNE_AT_START (PG_VERSION_NUM < 180000)

/* As PG_FUNCTION_INFO_V1, with the function itself exported on 15 as well. */
#define VECDIST_FUNCTION_INFO_V1(funcname) \
	extern PGDLLEXPORT Datum funcname(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(funcname)

/*
 * 17 ties wait event sets to resource owners; ours outlive transactions, so
 * they have none.
 */
#if PG_VERSION_NUM >= 170000
#define VecdistCreateWaitEventSet(context, nevents) \
	CreateWaitEventSet(NULL, nevents)
#else
#define VecdistCreateWaitEventSet(context, nevents) \
	CreateWaitEventSet(context, nevents)
#endif

/* What pg_stat_activity shows while we wait for workers. */
#define VECDIST_WAIT_EVENT PG_WAIT_EXTENSION

/* 18 keeps what callbacks of EXPLAIN need in headers of their own. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

/* All settings (utils/guc_tables.h); 16 returns their number with them. */
#if PG_VERSION_NUM < 160000
#define VecdistGetGucVariables(num) \
	(*(num) = GetNumConfigOptions(), get_guc_variables())
#else
#define VecdistGetGucVariables(num) get_guc_variables(num)
#endif

/*
 * Planning and running foreign scans.  The functions that these macros call
 * are declared in optimizer/pathnode.h, nodes/execnodes.h and miscadmin.h.
 */
#if PG_VERSION_NUM >= 180000
#define VecdistCreateForeignScanPath(root, rel, rows, startup, total, keys, outer) \
	create_foreignscan_path(root, rel, NULL, rows, 0, startup, total, keys, \
							outer, NULL, NIL, NIL)
#elif PG_VERSION_NUM >= 170000
#define VecdistCreateForeignScanPath(root, rel, rows, startup, total, keys, outer) \
	create_foreignscan_path(root, rel, NULL, rows, startup, total, keys, \
							outer, NULL, NIL, NIL)
#else
#define VecdistCreateForeignScanPath(root, rel, rows, startup, total, keys, outer) \
	create_foreignscan_path(root, rel, NULL, rows, startup, total, keys, \
							outer, NULL, NIL)
#endif

/*
 * Visit the members of an equivalence class that belong to 'relids'.  From 18
 * on those of partitions are kept apart.
 */
#if PG_VERSION_NUM >= 180000
#define VecdistForeachMember(lc, ec, relids) \
	foreach(lc, VecdistMembers(ec, relids))
static inline List *
VecdistMembers(EquivalenceClass *ec, Relids relids)
{
	EquivalenceMemberIterator it;
	EquivalenceMember *em;
	List	   *result = NIL;

	setup_eclass_member_iterator(&it, ec, relids);
	while ((em = eclass_member_iterator_next(&it)) != NULL)
		result = lappend(result, em);
	return result;
}
#else
#define VecdistForeachMember(lc, ec, relids) foreach(lc, (ec)->ec_members)
#endif

/* The role whose privileges a scan of one relation, or an insert, runs with. */
#if PG_VERSION_NUM >= 160000
#define VecdistScanUser(plan, estate) \
	(OidIsValid((plan)->checkAsUser) ? (plan)->checkAsUser : GetUserId())
#define VecdistInsertUser(rinfo, estate) \
	ExecGetResultRelCheckAsUser(rinfo, estate)
#else
#define VecdistScanUser(plan, estate) \
	VecdistRangeTableUser(exec_rt_fetch((plan)->scan.scanrelid, estate))
#define VecdistInsertUser(rinfo, estate) \
	((rinfo)->ri_RangeTableIndex > 0 ? \
	 VecdistRangeTableUser(exec_rt_fetch((rinfo)->ri_RangeTableIndex, estate)) : \
	 (rinfo)->ri_RootResultRelInfo != NULL && \
	 (rinfo)->ri_RootResultRelInfo->ri_RangeTableIndex > 0 ? \
	 VecdistRangeTableUser(exec_rt_fetch((rinfo)->ri_RootResultRelInfo->ri_RangeTableIndex, estate)) : \
	 GetUserId())
#define VecdistRangeTableUser(rte) \
	(OidIsValid((rte)->checkAsUser) ? (rte)->checkAsUser : GetUserId())
#endif

#if PG_VERSION_NUM < 170000
#define AmAutoVacuumWorkerProcess() IsAutoVacuumWorkerProcess()
#endif

/* 17 numbers backends from 0 and calls the type another name. */
#if PG_VERSION_NUM >= 170000
#include "storage/procnumber.h"
#define VecdistBackendNumber ProcNumber
#define VecdistMyBackendNumber MyProcNumber
#else
#include "storage/backendid.h"
#define VecdistBackendNumber BackendId
#define VecdistMyBackendNumber MyBackendId
#endif

/* 18 tells vacuum_delay_point() whether ANALYZE is running. */
#if PG_VERSION_NUM >= 180000
#define VacuumDelayPoint() vacuum_delay_point(false)
#else
#define VacuumDelayPoint() vacuum_delay_point()
#endif

/*
 * Walk over a bitmap of TIDs page by page.  *count is -1 for a page whose TIDs
 * were forgotten, else the number of 'offsets', which has room for those of a
 * page.  18 unpacks them only on request.
 */
#include "access/htup_details.h"
#include "nodes/tidbitmap.h"
#if PG_VERSION_NUM >= 180000
typedef TBMPrivateIterator * VecdistBitmapReader;

#define VecdistBitmapBegin(reader, bitmap) \
	(*(reader) = tbm_begin_private_iterate(bitmap))
#define VecdistBitmapEnd(reader) tbm_end_private_iterate(*(reader))
static inline bool
VecdistBitmapNext(VecdistBitmapReader *reader, BlockNumber *block,
				  OffsetNumber *offsets, int *count)
{
	TBMIterateResult page;

	if (!tbm_private_iterate(*reader, &page))
		return false;
	*block = page.blockno;
	*count = page.lossy ? -1 :
		tbm_extract_page_tuple(&page, offsets, MaxHeapTuplesPerPage);
	return true;
}
#else
typedef TBMIterator *VecdistBitmapReader;

#define VecdistBitmapBegin(reader, bitmap) \
	(*(reader) = tbm_begin_iterate(bitmap))
#define VecdistBitmapEnd(reader) tbm_end_iterate(*(reader))
static inline bool
VecdistBitmapNext(VecdistBitmapReader *reader, BlockNumber *block,
				  OffsetNumber *offsets, int *count)
{
	TBMIterateResult *page = tbm_iterate(*reader);

	if (page == NULL)
		return false;
	*block = page->blockno;
	*count = page->ntuples;
	if (page->ntuples > 0)
		memcpy(offsets, page->offsets, page->ntuples * sizeof(OffsetNumber));
	return true;
}
#endif

/*
 * From 17 on a window's condition that ends it ("row_number() <= 10") belongs to
 * the path, not to the window.  We make no such path there.
 */
#if PG_VERSION_NUM >= 170000
#define VecdistRunCondition(window) NIL
#define VecdistCreateWindowAggPath(root, rel, path, target, functions, window) \
	NULL
#else
#define VecdistRunCondition(window) ((window)->runCondition)
#define VecdistCreateWindowAggPath(root, rel, path, target, functions, window) \
	((Path *) create_windowagg_path(root, rel, path, target, functions, window, \
									NIL, true))
#endif

#endif							/* VECDIST_COMPAT_H */
