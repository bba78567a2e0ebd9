/*-------------------------------------------------------------------------
 *
 * vhnsw_settings.c
 *	  The settings of vhnsw: what the user has set, for all others to read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "vecdist_fallback.h"
#include "vhnsw/vhnsw_settings.h"

#define MIN_SCAN_MEM 1
#define MAX_SCAN_MEM 1000

int			vhnsw_build_method = VHNSW_BUILD_AUTO;
bool		vhnsw_enable_scan = true;
int			vhnsw_filter_strategy = VHNSW_FILTER_AUTO;
double		vhnsw_gamma = 0;
static int	ef_search = VHNSW_DEFAULT_EF_SEARCH;
static int	iterative_scan = VHNSW_ITERATIVE_STRICT;
static double scan_mem_multiplier = 1;
static int	max_scan_tuples = 0;

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

static const struct config_enum_entry filter_strategy_values[] = {
	{"auto", VHNSW_FILTER_AUTO, false},
	{"search", VHNSW_FILTER_SEARCH, false},
	{"bitmap", VHNSW_FILTER_BITMAP, false},
	{"matches", VHNSW_FILTER_MATCHES, false},
	{"exact", VHNSW_FILTER_EXACT, false},
	{NULL, 0, false}
};

static int	int_setting(const char *name, int ours, int min, int max);
static void invalid_fallback(const char *name, const char *value,
							 const char *range) pg_attribute_noreturn();

/* Called once, when the library is loaded. */
void
VhnswSettingsInit(void)
{
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
	DefineCustomBoolVariable("vhnsw.enable_scan",
							 "Enables the planner's use of Vhnsw Scan plans.",
							 "Without it index scans are used.",
							 &vhnsw_enable_scan,
							 true,
							 PGC_USERSET, GUC_EXPLAIN, NULL, NULL, NULL);
	DefineCustomEnumVariable("vhnsw.filter_strategy",
							 "How a Vhnsw Scan finds the rows that pass its filter.",
							 "For tests: other values than auto do not adapt to what is found.",
							 &vhnsw_filter_strategy,
							 VHNSW_FILTER_AUTO, filter_strategy_values,
							 PGC_USERSET, GUC_EXPLAIN, NULL, NULL, NULL);

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
