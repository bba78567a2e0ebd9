/*-------------------------------------------------------------------------
 *
 * vhnsw_am.h
 *	  Callbacks and options of the vhnsw access method.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_AM_H
#define VHNSW_AM_H

#include "postgres.h"

#include "access/amapi.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"

#include "vhnsw/vhnsw_page.h"
#include "vhnsw/vhnsw_value.h"

#define VHNSW_DEFAULT_M 16
#define VHNSW_DEFAULT_EF_CONSTRUCTION 128
#define VHNSW_MIN_EF_CONSTRUCTION 4
#define VHNSW_MAX_EF_CONSTRUCTION 1000

/* Excludes inserts while vacuum passes from tombstones to repair. */
#define VHNSW_REPAIR_LOCK VHNSW_META_BLKNO

/* Support functions of an operator class: its VhnswMetric, VhnswValueType. */
#define VHNSW_METRIC_PROC 1
#define VHNSW_TYPE_PROC 2
#define VHNSW_NPROCS 2

/* Phases of CREATE INDEX, after PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE. */
#define VHNSW_PHASE_SAMPLE 2
#define VHNSW_PHASE_LOAD 3
#define VHNSW_PHASE_CLUSTER 4
#define VHNSW_PHASE_JOIN 5
#define VHNSW_PHASE_LINK 6
#define VHNSW_PHASE_SKETCH 7
#define VHNSW_PHASE_WRITE 8
#define VHNSW_PHASE_LOG 9

typedef struct VhnswOptions
{
	int32		vl_len_;		/* varlena header */
	int			m;
	int			ef_construction;
	VhnswStorage storage;
	int			code_bits;		/* 4, 8, or 0: as storage calls for */
} VhnswOptions;

/* vhnsw_opclass.c */
extern bool vhnswvalidate(Oid opclass);
extern VhnswMetric VhnswGetMetric(Relation index);
extern VhnswValueType VhnswGetValueType(Relation index);

/* vhnsw_build.c */
extern IndexBuildResult *vhnswbuild(Relation heap, Relation index,
									struct IndexInfo *info);
extern void vhnswbuildempty(Relation index);

/* vhnsw_insert.c */
extern bool vhnswinsert(Relation index, Datum *values, bool *isnull,
						ItemPointer tid, Relation heap,
						IndexUniqueCheck check_unique, bool index_unchanged,
						struct IndexInfo *info);
extern void VhnswInsertValue(Relation index, Datum datum, bool isnull,
							 ItemPointer tid, bool building);

/* vhnsw_scan.c */
extern IndexScanDesc vhnswbeginscan(Relation index, int nkeys, int norderbys);
extern void vhnswrescan(IndexScanDesc scan, ScanKey keys, int nkeys,
						ScanKey orderbys, int norderbys);
extern bool vhnswgettuple(IndexScanDesc scan, ScanDirection direction);
extern void vhnswendscan(IndexScanDesc scan);

/* vhnsw_vacuum.c */
extern IndexBulkDeleteResult *vhnswbulkdelete(IndexVacuumInfo *info,
											  IndexBulkDeleteResult *stats,
											  IndexBulkDeleteCallback callback,
											  void *callback_state);

/* vhnsw_repair.c */
extern IndexBulkDeleteResult *vhnswvacuumcleanup(IndexVacuumInfo *info,
												 IndexBulkDeleteResult *stats);

/* vhnsw_cost.c */
extern void vhnswcostestimate(PlannerInfo *root, IndexPath *path,
							  double loop_count, Cost *startup_cost,
							  Cost *total_cost, Selectivity *selectivity,
							  double *correlation, double *pages);

#endif							/* VHNSW_AM_H */
