/*-------------------------------------------------------------------------
 *
 * vhnsw.c
 *	  The vhnsw index access method: handler, options, settings, validation.
 *
 * Read README first.  Then, in this order: vhnsw_page.h (what is on disk),
 * vhnsw_code.c (values as codes, bounds), vhnsw_search.c (the beam search),
 * vhnsw_stream.c, vhnsw_scan.c, vhnsw_custom_exec.c and its neighbors,
 * vhnsw_insert.c, vhnsw_lists.c, vhnsw_build.c, vhnsw_vacuum.c,
 * vhnsw_repair.c, vhnsw_check.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/amvalidate.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "commands/progress.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "vecdist_compat.h"
#include "vecdist_fallback.h"
#include "vhnsw/vhnsw.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_custom.h"
#include "vhnsw/vhnsw_demand.h"
#include "vhnsw/vhnsw_stats.h"

VECDIST_FUNCTION_INFO_V1(vhnswhandler);
VECDIST_FUNCTION_INFO_V1(vhnsw_l2_metric);
VECDIST_FUNCTION_INFO_V1(vhnsw_inner_product_metric);
VECDIST_FUNCTION_INFO_V1(vhnsw_cosine_metric);
VECDIST_FUNCTION_INFO_V1(vhnsw_l1_metric);
VECDIST_FUNCTION_INFO_V1(vhnsw_hamming_metric);
VECDIST_FUNCTION_INFO_V1(vhnsw_jaccard_metric);
VECDIST_FUNCTION_INFO_V1(vhnsw_vector_type);
VECDIST_FUNCTION_INFO_V1(vhnsw_halfvec_type);
VECDIST_FUNCTION_INFO_V1(vhnsw_bit_type);
VECDIST_FUNCTION_INFO_V1(vhnsw_sparsevec_type);
VECDIST_FUNCTION_INFO_V1(vhnsw_refuse_ivfflat);

#define MIN_SCAN_MEM 1
#define MAX_SCAN_MEM 1000

static int	ef_search = VHNSW_DEFAULT_EF_SEARCH;
static int	iterative_scan = VHNSW_ITERATIVE_STRICT;
int			vhnsw_build_method = VHNSW_BUILD_AUTO;
double		vhnsw_gamma = 0;
static double scan_mem_multiplier = 1;
static int	max_scan_tuples = 0;

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

static const struct config_enum_entry iterative_scan_values[] = {
	{"off", VHNSW_ITERATIVE_OFF, false},
	{"relaxed_order", VHNSW_ITERATIVE_RELAXED, false},
	{"strict_order", VHNSW_ITERATIVE_STRICT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry build_method_values[] = {
	{"auto", VHNSW_BUILD_AUTO, false},
	{"search", VHNSW_BUILD_SEARCH, false},
	{"blocked", VHNSW_BUILD_BLOCKED, false},
	{NULL, 0, false}
};

static int	int_setting(const char *name, int ours, int min, int max);
static void invalid_fallback(const char *name, const char *value,
							 const char *range) pg_attribute_noreturn();
static bytea *vhnswoptions(Datum reloptions, bool validate);
static char *vhnswbuildphasename(int64 phase);
static bool vhnswvalidate(Oid opclass);
static bool validate_operator(Form_pg_amop operator, const char *family);
static bool validate_procedure(Form_pg_amproc procedure, const char *family);

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

	DefineCustomIntVariable("vhnsw.ef_search",
							"Elements that a search of a vhnsw index settles at least.",
							"The LIMIT of the query counts if it is larger.",
							&ef_search,
							VHNSW_DEFAULT_EF_SEARCH,
							VHNSW_MIN_EF_SEARCH, VHNSW_MAX_EF_SEARCH,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("vhnsw.iterative_scan",
							 "How a scan of a vhnsw index goes on when more rows are wanted.",
							 NULL,
							 &iterative_scan,
							 VHNSW_ITERATIVE_STRICT, iterative_scan_values,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("vhnsw.gamma",
							 "How much farther than the nearest rows a search of a vhnsw index looks.",
							 "With a LIMIT and no filter, the search ends when all it has not looked at is farther than the last row wanted by this share, even if ef is not reached.  0 turns this off.",
							 &vhnsw_gamma,
							 0, 0, 10,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("vhnsw.max_scan_tuples",
							"Elements that a search of a vhnsw index visits before it ends, although more rows are wanted.",
							"ef of them are found in any case.  0 means no limit.",
							&max_scan_tuples,
							0, 0, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("vhnsw.scan_mem_multiplier",
							 "How many times work_mem a scan of a vhnsw index may take.",
							 NULL,
							 &scan_mem_multiplier,
							 1, MIN_SCAN_MEM, MAX_SCAN_MEM,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("vhnsw.build_method",
							 "How CREATE INDEX finds the neighbors of elements.",
							 "By searching for each, or by comparing all pairs in overlapping clusters; \"auto\" chooses.",
							 &vhnsw_build_method,
							 VHNSW_BUILD_AUTO, build_method_values,
							 PGC_USERSET, GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);
	VhnswDemandInit();
	VhnswCustomInit();
	VhnswStatsInit();

	MarkGUCPrefixReserved("vhnsw");
}

/*
 * The settings that a search goes by: ours, or pgvector's where only those
 * were set.  The latter are strings that we check here, as pgvector would have
 * when they were set.
 */
int
VhnswEfSearch(void)
{
	return int_setting("vhnsw.ef_search", ef_search,
					   VHNSW_MIN_EF_SEARCH, VHNSW_MAX_EF_SEARCH);
}

/* 0 = no limit, which pgvector does not have. */
int
VhnswMaxScanTuples(void)
{
	return int_setting("vhnsw.max_scan_tuples", max_scan_tuples, 1, INT_MAX);
}

VhnswIterativeScan
VhnswIterativeScanMode(void)
{
	const char *value = VecdistFallbackValue("vhnsw.iterative_scan");

	if (value == NULL)
		return iterative_scan;
	for (const struct config_enum_entry *entry = iterative_scan_values; entry->name; entry++)
	{
		if (pg_strcasecmp(value, entry->name) == 0)
			return entry->val;
	}
	invalid_fallback("hnsw.iterative_scan", value,
					 "It is one of off, relaxed_order, strict_order.");
}

/* In bytes.  Beyond it a scan goes on by reading the whole index in order. */
Size
VhnswScanMemory(void)
{
	const char *value = VecdistFallbackValue("vhnsw.scan_mem_multiplier");
	double		multiplier = scan_mem_multiplier;

	if (value != NULL &&
		(!parse_real(value, &multiplier, 0, NULL) ||
		 !(multiplier >= MIN_SCAN_MEM && multiplier <= MAX_SCAN_MEM)))
		invalid_fallback("hnsw.scan_mem_multiplier", value,
						 psprintf("It is a number from %d to %d.",
								  MIN_SCAN_MEM, MAX_SCAN_MEM));
	return (Size) (work_mem * 1024.0 * multiplier);
}

/* Our setting 'name' has this value; pgvector's has this range. */
static int
int_setting(const char *name, int ours, int min, int max)
{
	const char *value = VecdistFallbackValue(name);
	int			result;

	if (value == NULL)
		return ours;
	if (!parse_int(value, &result, 0, NULL) || result < min || result > max)
		invalid_fallback(name + 1, value,
						 psprintf("It is an integer from %d to %d.", min, max));
	return result;
}

static void
invalid_fallback(const char *name, const char *value, const char *range)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid value for parameter \"%s\": \"%s\"", name, value),
			errdetail("It stands in for \"v%s\", which is not set.", name),
			errhint("%s", range));
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

Datum
vhnsw_l2_metric(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_L2);
}

Datum
vhnsw_inner_product_metric(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_INNER_PRODUCT);
}

Datum
vhnsw_cosine_metric(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_COSINE);
}

Datum
vhnsw_l1_metric(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_L1);
}

Datum
vhnsw_hamming_metric(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_HAMMING);
}

Datum
vhnsw_jaccard_metric(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_JACCARD);
}

Datum
vhnsw_vector_type(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_VECTOR);
}

Datum
vhnsw_halfvec_type(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_HALFVEC);
}

Datum
vhnsw_bit_type(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_BIT);
}

Datum
vhnsw_sparsevec_type(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VHNSW_SPARSEVEC);
}

/* What the operator class of an index measures. */
VhnswMetric
VhnswGetMetric(Relation index)
{
	FmgrInfo   *procedure = index_getprocinfo(index, 1, VHNSW_METRIC_PROC);

	return DatumGetInt32(FunctionCall0Coll(procedure, InvalidOid));
}

/* What type of values an index is over. */
VhnswValueType
VhnswGetValueType(Relation index)
{
	FmgrInfo   *procedure = index_getprocinfo(index, 1, VHNSW_TYPE_PROC);

	return DatumGetInt32(FunctionCall0Coll(procedure, InvalidOid));
}

static bytea *
vhnswoptions(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(VhnswOptions, m)},
		{"ef_construction", RELOPT_TYPE_INT,
		offsetof(VhnswOptions, ef_construction)},
		{"storage", RELOPT_TYPE_ENUM, offsetof(VhnswOptions, storage)},
		{"code_bits", RELOPT_TYPE_ENUM, offsetof(VhnswOptions, code_bits)},
	};

	return (bytea *) build_reloptions(reloptions, validate, option_kind,
									  sizeof(VhnswOptions), table,
									  lengthof(table));
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

/*
 * Check an operator class: one ordering operator that returns float8, and the
 * functions that name metric and type.
 */
static bool
vhnswvalidate(Oid opclass)
{
	HeapTuple	class_tuple = SearchSysCache1(CLAOID,
											  ObjectIdGetDatum(opclass));
	HeapTuple	family_tuple;
	Form_pg_opclass class;
	Oid			family;
	const char *family_name;
	CatCList   *operators;
	CatCList   *procedures;
	bool		has_procedure[VHNSW_NPROCS + 1] = {false};
	bool		valid = true;

	if (!HeapTupleIsValid(class_tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	class = (Form_pg_opclass) GETSTRUCT(class_tuple);
	family = class->opcfamily;
	family_tuple = SearchSysCache1(OPFAMILYOID, ObjectIdGetDatum(family));
	if (!HeapTupleIsValid(family_tuple))
		elog(ERROR, "cache lookup failed for operator family %u", family);
	family_name = NameStr(((Form_pg_opfamily) GETSTRUCT(family_tuple))->opfname);

	operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(family));
	for (int i = 0; i < operators->n_members; i++)
	{
		HeapTuple	tuple = &operators->members[i]->tuple;

		valid &= validate_operator((Form_pg_amop) GETSTRUCT(tuple),
								   family_name);
	}
	ReleaseCatCacheList(operators);

	procedures = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(family));
	for (int i = 0; i < procedures->n_members; i++)
	{
		HeapTuple	tuple = &procedures->members[i]->tuple;
		Form_pg_amproc procedure = (Form_pg_amproc) GETSTRUCT(tuple);

		valid &= validate_procedure(procedure, family_name);
		if (procedure->amproclefttype == class->opcintype &&
			procedure->amprocnum >= 1 && procedure->amprocnum <= VHNSW_NPROCS)
			has_procedure[procedure->amprocnum] = true;
	}
	ReleaseCatCacheList(procedures);

	for (int i = 1; i <= VHNSW_NPROCS; i++)
	{
		if (has_procedure[i])
			continue;
		ereport(INFO,
				errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				errmsg("operator class \"%s\" of access method vhnsw is missing support function %d",
					   NameStr(class->opcname), i));
		valid = false;
	}
	ReleaseSysCache(family_tuple);
	ReleaseSysCache(class_tuple);
	return valid;
}

static bool
validate_operator(Form_pg_amop operator, const char *family)
{
	bool		valid = true;

	if (operator->amopstrategy != 1)
	{
		ereport(INFO,
				errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				errmsg("operator family \"%s\" of access method vhnsw contains operator %s with invalid strategy number %d",
					   family, format_operator(operator->amopopr),
					   operator->amopstrategy));
		valid = false;
	}
	if (operator->amoppurpose != AMOP_ORDER ||
		!opfamily_can_sort_type(operator->amopsortfamily, FLOAT8OID))
	{
		ereport(INFO,
				errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				errmsg("operator family \"%s\" of access method vhnsw contains invalid ORDER BY specification for operator %s",
					   family, format_operator(operator->amopopr)));
		valid = false;
	}
	if (!check_amop_signature(operator->amopopr, FLOAT8OID,
							  operator->amoplefttype,
							  operator->amoprighttype))
	{
		ereport(INFO,
				errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				errmsg("operator family \"%s\" of access method vhnsw contains operator %s with wrong signature",
					   family, format_operator(operator->amopopr)));
		valid = false;
	}
	return valid;
}

static bool
validate_procedure(Form_pg_amproc procedure, const char *family)
{
	bool		valid = true;

	if (procedure->amprocnum < 1 || procedure->amprocnum > VHNSW_NPROCS)
	{
		ereport(INFO,
				errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				errmsg("operator family \"%s\" of access method vhnsw contains function %s with invalid support number %d",
					   family, format_procedure(procedure->amproc),
					   procedure->amprocnum));
		valid = false;
	}
	else if (!check_amproc_signature(procedure->amproc, INT4OID, true, 0, 0))
	{
		ereport(INFO,
				errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				errmsg("operator family \"%s\" of access method vhnsw contains function %s with wrong signature for support number %d",
					   family, format_procedure(procedure->amproc),
					   procedure->amprocnum));
		valid = false;
	}
	return valid;
}
