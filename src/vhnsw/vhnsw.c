/*-------------------------------------------------------------------------
 *
 * vhnsw.c
 *	  The vhnsw index access method: its handler and its options.
 *
 * Read README first, which has all files in reading order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/reloptions.h"
#include "commands/progress.h"
#include "commands/vacuum.h"
#include "miscadmin.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_custom.h"
#include "vhnsw/vhnsw_demand.h"
#include "vhnsw/vhnsw_settings.h"
#include "vhnsw/vhnsw_stats.h"

VECDIST_FUNCTION_INFO_V1(vhnswhandler);
VECDIST_FUNCTION_INFO_V1(vhnsw_refuse_ivfflat);

static relopt_enum_elt_def storage_values[] = {
	{"auto", VHNSW_STORAGE_AUTO},
	{"fast", VHNSW_STORAGE_FAST},
	{"compact", VHNSW_STORAGE_COMPACT},
	{"tiny", VHNSW_STORAGE_TINY},
	{NULL, 0}
};

static relopt_enum_elt_def code_bits_values[] = {
	{"auto", 0},
	{"4", 4},
	{"8", 8},
	{NULL, 0}
};

static relopt_kind option_kind;

static bytea *vhnswoptions(Datum reloptions, bool validate);
static char *vhnswbuildphasename(int64 phase);

/*
 * VhnswInit
 *		Called once, when the library is loaded.
 */
void
VhnswInit(void)
{
	option_kind = add_reloption_kind();
	add_int_reloption(option_kind, "m",
					  "Neighbors chosen for each new element; lists have twice as many places",
					  VHNSW_DEFAULT_M, VHNSW_MIN_M, VHNSW_MAX_M,
					  AccessExclusiveLock);
	add_int_reloption(option_kind, "ef_construction",
					  "Candidates among which the neighbors of a new element are chosen",
					  VHNSW_DEFAULT_EF_CONSTRUCTION,
					  VHNSW_MIN_EF_CONSTRUCTION, VHNSW_MAX_EF_CONSTRUCTION,
					  AccessExclusiveLock);
	add_enum_reloption(option_kind, "storage",
					   "Size of sketches and lists",
					   storage_values, VHNSW_STORAGE_AUTO,
					   "Valid values are \"auto\", \"fast\", \"compact\" and \"tiny\".",
					   AccessExclusiveLock);
	add_enum_reloption(option_kind, "code_bits",
					   "Bits that an element keeps of each dimension of its vector",
					   code_bits_values, 0,
					   "Valid values are \"auto\", \"4\" and \"8\".",
					   AccessExclusiveLock);

	VhnswSettingsInit();
	VhnswDemandInit();
	VhnswCustomInit();
	VhnswStatsInit();
}

/*
 * ivfflathandler, of the extension vector that stands in for pgvector's
 *		Refuse CREATE INDEX ... USING ivfflat, and say what to write.
 */
Datum
vhnsw_refuse_ivfflat(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("access method \"ivfflat\" is not supported"),
			errdetail("vecdist has one kind of index for vectors, vhnsw."),
			errhint("Write USING hnsw or USING vhnsw, with the same operator class and without the option \"lists\"."));
}

/* Tells PostgreSQL what the access method can do. */
Datum
vhnswhandler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *am = makeNode(IndexAmRoutine);

	am->amstrategies = 0;
	am->amsupport = VHNSW_NPROCS;
	am->amcanorderbyop = true;
	am->amoptionalkey = true;
	am->amusemaintenanceworkmem = true;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL |
		VACUUM_OPTION_PARALLEL_CLEANUP;
	am->amkeytype = InvalidOid;

	am->ambuild = vhnswbuild;
	am->ambuildempty = vhnswbuildempty;
	am->aminsert = vhnswinsert;
	am->ambulkdelete = vhnswbulkdelete;
	am->amvacuumcleanup = vhnswvacuumcleanup;
	am->amcostestimate = vhnswcostestimate;
	am->amoptions = vhnswoptions;
	am->ambuildphasename = vhnswbuildphasename;
	am->amvalidate = vhnswvalidate;
	am->ambeginscan = vhnswbeginscan;
	am->amrescan = vhnswrescan;
	am->amgettuple = vhnswgettuple;
	am->amendscan = vhnswendscan;

	PG_RETURN_POINTER(am);
}

/*
 * What two options say together is looked at here, too: when an index, or the
 * parent of some, is created or altered, and not when one of before is built
 * anew, nor when pg_upgrade defines it again.
 */
static bytea *
vhnswoptions(Datum reloptions, bool validate)
{
	VhnswOptions *options;
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(VhnswOptions, m)},
		{"ef_construction", RELOPT_TYPE_INT,
		offsetof(VhnswOptions, ef_construction)},
		{"storage", RELOPT_TYPE_ENUM, offsetof(VhnswOptions, storage)},
		{"code_bits", RELOPT_TYPE_ENUM, offsetof(VhnswOptions, code_bits)},
	};

	options = build_reloptions(reloptions, validate, option_kind,
							   sizeof(VhnswOptions), table, lengthof(table));
	if (validate && !IsBinaryUpgrade && options &&
		options->ef_construction < 2 * options->m)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("ef_construction must be greater than or equal to 2 * m"),
				errdetail("ef_construction is %d, m is %d.",
						  options->ef_construction, options->m),
				errhint("Set ef_construction to %d or more, or a smaller m.",
						2 * options->m));
	return (bytea *) options;
}

static char *
vhnswbuildphasename(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case VHNSW_PHASE_SAMPLE:
			return "sampling";
		case VHNSW_PHASE_LOAD:
			return "loading tuples";
		case VHNSW_PHASE_CLUSTER:
			return "clustering";
		case VHNSW_PHASE_JOIN:
			return "computing neighbors";
		case VHNSW_PHASE_LINK:
			return "linking lists";
		case VHNSW_PHASE_SKETCH:
			return "learning sketches";
		case VHNSW_PHASE_WRITE:
			return "writing pages";
		case VHNSW_PHASE_LOG:
			return "writing WAL";
		default:
			return NULL;
	}
}
