/*-------------------------------------------------------------------------
 *
 * dist_report.c
 *	  How one partition was searched, as it travels between servers.
 *
 * A JSON object, so that servers of neighboring versions understand each
 * other: a reader ignores what it does not know.  Everything the certificate
 * rests on must be there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/pg_lsn.h"

#include "distribution/dist_merge.h"
#include "distribution/dist_search.h"

static void append_string(StringInfo buf, const char *value);
static void read_bound(Jsonb *object, DistSearchReport *report);
static JsonbValue *get_field(Jsonb *json, const char *name,
							 enum jbvType type);
static int64 get_int64(Jsonb *json, const char *name);
static char *string_of_value(const JsonbValue *value);
static List *get_strings(Jsonb *json, const char *name);

char *
DistSearchReportToJson(const DistSearchReport *report)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"k\": ");
	if (report->k == DIST_ALL_ROWS)
		appendStringInfoString(&buf, "null");
	else
		appendStringInfo(&buf, INT64_FORMAT, report->k);
	appendStringInfo(&buf, ", \"rows\": " INT64_FORMAT ", \"exhausted\": %s",
					 report->nrows, report->exhausted ? "true" : "false");
	if (report->bounded)
	{
		appendStringInfoString(&buf, ", \"bound\": ");
		append_string(&buf, report->bound.isnull ? NULL :
					  float8out_internal(report->bound.distance));
	}
	appendStringInfoString(&buf, ", \"index\": ");
	append_string(&buf, report->index);
	appendStringInfo(&buf, ", \"ef\": %d, \"standby\": %s, \"lsn\": \"%X/%X\"",
					 report->ef, report->standby ? "true" : "false",
					 LSN_FORMAT_ARGS(report->lsn));
	appendStringInfoString(&buf, ", \"settings\": [");
	foreach(lc, report->settings)
	{
		if (foreach_current_index(lc) > 0)
			appendStringInfoString(&buf, ", ");
		append_string(&buf, lfirst(lc));
	}
	appendStringInfoString(&buf, "]}");
	return buf.data;
}

static void
append_string(StringInfo buf, const char *value)
{
	if (value == NULL)
		appendStringInfoString(buf, "null");
	else
		escape_json(buf, value);
}

void
DistSearchReportFromJson(const char *json, DistSearchReport *report)
{
	Jsonb	   *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															CStringGetDatum(json)));
	JsonbValue *value;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				errcode(ERRCODE_PROTOCOL_VIOLATION),
				errmsg("report of a distributed search is not a JSON object"));

	value = get_field(object, "k", jbvNull);
	report->k = value != NULL ? DIST_ALL_ROWS : get_int64(object, "k");
	report->nrows = get_int64(object, "rows");
	value = get_field(object, "exhausted", jbvBool);
	report->exhausted = value != NULL && value->val.boolean;
	read_bound(object, report);
	value = get_field(object, "index", jbvString);
	report->index = value ? string_of_value(value) : NULL;
	report->ef = (int) get_int64(object, "ef");
	value = get_field(object, "standby", jbvBool);
	report->standby = value != NULL && value->val.boolean;
	value = get_field(object, "lsn", jbvString);
	report->lsn = value ?
		DatumGetLSN(DirectFunctionCall1(pg_lsn_in,
										CStringGetDatum(string_of_value(value)))) :
		InvalidXLogRecPtr;
	report->settings = get_strings(object, "settings");
}

/* The bound is a string, because JSON's numbers lack NaN and infinity. */
static void
read_bound(Jsonb *object, DistSearchReport *report)
{
	JsonbValue *value = get_field(object, "bound", jbvString);

	report->bound.isnull = value == NULL;
	report->bounded = value != NULL ||
		get_field(object, "bound", jbvNull) != NULL;
	if (value != NULL)
		report->bound.distance =
			float8in_internal(string_of_value(value), NULL,
							  "double precision", string_of_value(value));
}

/* A field of the wanted type, or NULL. */
static JsonbValue *
get_field(Jsonb *json, const char *name, enum jbvType type)
{
	JsonbValue *value = getKeyJsonValueFromContainer(&json->root, name,
													 strlen(name), NULL);

	return value != NULL && value->type == type ? value : NULL;
}

/* A whole number that must be there. */
static int64
get_int64(Jsonb *json, const char *name)
{
	JsonbValue *value = get_field(json, name, jbvNumeric);

	if (value == NULL)
		ereport(ERROR,
				errcode(ERRCODE_PROTOCOL_VIOLATION),
				errmsg("report of a distributed search lacks the number \"%s\"",
					   name));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8,
											 NumericGetDatum(value->val.numeric)));
}

static char *
string_of_value(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* The strings of an array; an empty list if there is none. */
static List *
get_strings(Jsonb *json, const char *name)
{
	JsonbValue *array = get_field(json, name, jbvBinary);
	List	   *result = NIL;

	if (array == NULL || !JsonContainerIsArray(array->val.binary.data))
		return NIL;
	for (uint32 i = 0; i < JsonContainerSize(array->val.binary.data); i++)
	{
		JsonbValue *elem =
		getIthJsonbValueFromContainer(array->val.binary.data, i);

		if (elem->type == jbvString)
			result = lappend(result, string_of_value(elem));
	}
	return result;
}
