/*-------------------------------------------------------------------------
 *
 * vhnsw_custom.h
 *	  The custom scan "Vhnsw Scan": what its parts share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_CUSTOM_H
#define VHNSW_CUSTOM_H

#include "postgres.h"

#include "access/tableam.h"
#include "commands/explain.h"
#include "nodes/execnodes.h"
#include "nodes/extensible.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_answer.h"
#include "vhnsw/vhnsw_cost.h"
#include "vhnsw/vhnsw_settings.h"
#include "vhnsw/vhnsw_stream.h"
#include "vhnsw/vhnsw_tidset.h"
#include "vhnsw/vhnsw_toast.h"

#define VHNSW_CUSTOM_NAME "Vhnsw Scan"

/* Items of CustomScan.custom_private */
enum
{
	VHNSW_CUSTOM_INDEX,			/* list of its Oid */
	VHNSW_CUSTOM_COSTS			/* list of Float, VhnswCustomCosts */
};

/* Items of CustomScan.custom_exprs */
enum
{
	VHNSW_CUSTOM_DISTANCE,		/* column <operator> query */
	VHNSW_CUSTOM_QUERY
};

/* What the planner knows and the executor decides by. */
typedef struct VhnswCustomCosts
{
	Cost		table;			/* of reading the table, conditions included,
								 * distances not */
	Cost		bitmap;			/* of making the bitmap */
	double		matches;		/* rows in the bitmap */
	Cost		fetch;			/* of one row by TID, conditions included */
	Cost		row;			/* of one that passes, when it is read in
								 * order */
	double		passing;		/* share of the index that passes */
} VhnswCustomCosts;

#define VHNSW_CUSTOM_NCOSTS 6

/* Of more equal rows that were returned we do not know which they are. */
#define VHNSW_CUSTOM_TIES 16

typedef struct VhnswCustomState
{
	CustomScanState css;		/* must be first */

	/* For the lifetime of the executor */
	Relation	index;
	ExprState  *quals;			/* here, so that ExecScan() does not see them */
	ExprState  *distance;
	ExprState  *query;
	AttrNumber	vector_column;	/* stored out of line, perhaps; 0 = none */
	bool		returns_distance;	/* the target list has it */
	TupleTableSlot *known;		/* query and distance, for expressions */
	IndexFetchTableData *fetch;
	VhnswToastReader toast;		/* of vectors out of line */
	PlanState  *bitmap;			/* makes a TIDBitmap, or NULL */
	VhnswCustomCosts costs;
	MemoryContext context;		/* of a scan; reset at rescan */
	VhnswCounts counts;			/* of all searches that have ended */
	int64		ef;				/* of the last search */
	int64		settled_first;	/* by it, of these; 0 if there was none */
	VhnswFilterStrategy last_strategy;

	/* For one scan */
	bool		query_known;	/* in 'known', its memory in 'context' */
	bool		started;
	bool		exhausted;		/* the source has no more */
	VhnswFilterStrategy strategy;
	VhnswCounts search_counts;	/* without those of 'stream' */
	struct VhnswDemand *demand; /* NULL if nothing is known of it */
	VhnswStream *stream;		/* source, with SEARCH and BITMAP */
	VhnswStreamRow ahead;		/* its next row */
	bool		has_ahead;
	VhnswIndexSize size;
	VhnswTidSet *matches;		/* of the bitmap, or NULL */
	VhnswAnswer answer;
	int64		accepted;		/* rows put there */
	int64		taken;			/* rows of the stream */
	int64		next_look;		/* value of 'taken' to reconsider at */
	int64		emitted;
	VhnswDistance last_emitted; /* the farthest */
	int64		nties;			/* emitted as far away as that */
	ItemPointerData ties[VHNSW_CUSTOM_TIES];	/* the first of these */
	int64		passed;			/* rows read again that are no farther */
} VhnswCustomState;

/* vhnsw_custom_plan.c */
extern void VhnswCustomInit(void);

/* vhnsw_custom_exec.c */
extern Node *VhnswCustomCreateState(CustomScan *plan);

/* vhnsw_custom_choose.c */
extern void VhnswCustomMakeMatches(VhnswCustomState *state);
extern VhnswFilterStrategy VhnswCustomChoose(VhnswCustomState *state);
extern VhnswFilterStrategy VhnswCustomChooseAgain(VhnswCustomState *state);
extern bool VhnswCustomMayChange(const VhnswCustomState *state);
extern bool VhnswCustomCanBeginAnew(const VhnswCustomState *state);
extern bool VhnswCustomSweepIsDearer(const VhnswCustomState *state);
extern double VhnswCustomExpectedRows(const VhnswCustomState *state);

/* vhnsw_custom_expr.c */
extern void VhnswCustomInitExprs(VhnswCustomState *state, EState *estate);
extern void VhnswCustomKnowQuery(VhnswCustomState *state);
extern Datum VhnswCustomQuery(const VhnswCustomState *state, bool *isnull);
extern void VhnswCustomForgetQuery(VhnswCustomState *state);
extern VhnswDistance VhnswCustomDistance(VhnswCustomState *state,
										 TupleTableSlot *slot);
extern bool VhnswCustomBoundIsUnlucky(VhnswCustomState *state,
									  TupleTableSlot *slot,
									  VhnswDistance distance);
extern void VhnswCustomKnowDistance(VhnswCustomState *state,
									VhnswDistance distance);

/* vhnsw_custom_explain.c */
extern void VhnswCustomExplain(CustomScanState *css, List *ancestors,
							   ExplainState *es);

#endif							/* VHNSW_CUSTOM_H */
