/*-------------------------------------------------------------------------
 *
 * vhnsw_opclass.c
 *	  The operator classes of vhnsw: what they measure, of which values.
 *
 * Each names its metric and its type of values by support functions, so that
 * an index knows them without knowing operators.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amvalidate.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "vecdist_compat.h"
#include "vhnsw/vhnsw_am.h"

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

static bool validate_operator(Form_pg_amop operator, const char *family);
static bool validate_procedure(Form_pg_amproc procedure, const char *family);

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

/*
 * Check an operator class: one ordering operator that returns float8, and the
 * functions that name metric and type.
 */
bool
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
