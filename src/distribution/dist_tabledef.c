/*-------------------------------------------------------------------------
 *
 * dist_tabledef.c
 *	  The statements that make a table's definition on another server.
 *
 * Expressions, partition keys and indexes are printed by core's ruleutils.
 * It leaves out the schema of what the search_path finds; each function here
 * that others call therefore works under search_path = pg_catalog, where
 * only built-in names stay bare.
 *
 * Not reproduced: comments, extended statistics, publications (they are local
 * matters of each server), and what create_distributed_table refuses.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/toast_compression.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "distribution/dist_placement.h"
#include "distribution/dist_tabledef.h"
#include "vecdist_compat.h"

static List *shell_partitions(Oid relid);
static List *subpartitioned_statements(Oid parent, Oid relid,
									   const char *bound);
static int	begin_qualified_names(void);
static void append_columns(StringInfo sql, Relation rel);
static void append_column(StringInfo sql, Relation rel,
						  Form_pg_attribute att);
static void append_checks(StringInfo sql, Relation rel);
static List *storage_statements(Relation rel);
static List *access_statements(Oid relid, const char *target,
							   const char *alias);
static List *policy_statements(Oid relid, const char *target,
							   const char *alias);
static char *policy_statement(Form_pg_policy policy, ArrayType *roles,
							  const char *qual, const char *check,
							  const char *target);
static char *policy_expression(Relation catalog, HeapTuple tuple, int attno,
							   Oid relid, const char *alias);
static List *grant_statements(List *stmts, Acl *acl, const char *column,
							  const char *target);
static char *privilege_list(AclMode modes, const char *column);
static List *acl_grantees(List *roles, Acl *acl);
static Acl *relation_acl(Oid relid);
static const char *grantee_name(Oid roleid);
static const char *owner_name(Oid relid);

char *
DistRelationName(Oid relid)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	char	   *name = get_rel_name(relid);

	if (schema == NULL || name == NULL)
		elog(ERROR, "cache lookup failed for relation %u", relid);
	return quote_qualified_identifier(schema, name);
}

Oid
DistRelationOwner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

List *
DistSchemaStatements(Oid nspid)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID,
										ObjectIdGetDatum(nspid));
	Form_pg_namespace nsp;
	List	   *stmts;
	Datum		acl;
	bool		isnull;
	const char *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema %u", nspid);
	nsp = (Form_pg_namespace) GETSTRUCT(tuple);
	name = pstrdup(quote_identifier(NameStr(nsp->nspname)));

	stmts = list_make1(psprintf("CREATE SCHEMA IF NOT EXISTS %s AUTHORIZATION %s", name,
								quote_identifier(GetUserNameFromId(nsp->nspowner, false))));
	acl = SysCacheGetAttr(NAMESPACEOID, tuple, Anum_pg_namespace_nspacl,
						  &isnull);
	if (!isnull)
		stmts = grant_statements(stmts, DatumGetAclPCopy(acl), NULL,
								 psprintf("SCHEMA %s", name));
	ReleaseSysCache(tuple);
	return stmts;
}

List *
DistTableStatements(Oid relid)
{
	int			nestlevel = begin_qualified_names();
	Relation	rel = table_open(relid, NoLock);
	char	   *target = DistRelationName(relid);
	StringInfoData sql;
	List	   *stmts;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", target);
	append_columns(&sql, rel);
	append_checks(&sql, rel);
	appendStringInfo(&sql, ") PARTITION BY %s",
					 TextDatumGetCString(DirectFunctionCall1(pg_get_partkeydef,
															 ObjectIdGetDatum(relid))));
	stmts = list_make1(sql.data);
	stmts = list_concat(stmts, storage_statements(rel));
	stmts = list_concat(stmts, access_statements(relid, target,
												 RelationGetRelationName(rel)));
	table_close(rel, NoLock);
	AtEOXact_GUC(true, nestlevel);
	return stmts;
}

List *
DistLeafStatements(Oid parent, const char *schema, const char *name,
				   const char *bound)
{
	int			nestlevel = begin_qualified_names();
	char	   *target = quote_qualified_identifier(schema, name);
	List	   *stmts;

	stmts = list_make1(psprintf("CREATE TABLE %s PARTITION OF %s %s",
								target, DistRelationName(parent), bound));
	stmts = list_concat(stmts, access_statements(parent, target, name));
	AtEOXact_GUC(true, nestlevel);
	return stmts;
}

/*
 * Ordinary roles get no privileges on the foreign leaf: they reach the rows
 * through the parent, whose privileges and policies apply.
 */
List *
DistForeignLeafStatements(Oid parent, const char *schema, const char *name,
						  const char *bound, const char *worker,
						  const char *remote_schema, const char *remote_name)
{
	char	   *target = quote_qualified_identifier(schema, name);
	char	   *options = "";

	/* Naming both is right where only one differs. */
	if ((remote_schema != NULL && strcmp(remote_schema, schema) != 0) ||
		(remote_name != NULL && strcmp(remote_name, name) != 0))
		options = psprintf(" OPTIONS (schema_name %s, table_name %s)",
						   quote_literal_cstr(remote_schema),
						   quote_literal_cstr(remote_name));
	return list_make2(psprintf("CREATE FOREIGN TABLE %s PARTITION OF %s %s"
							   " SERVER %s%s", target,
							   DistRelationName(parent), bound,
							   quote_identifier(worker), options),
					  psprintf("ALTER FOREIGN TABLE %s OWNER TO %s", target,
							   owner_name(parent)));
}

List *
DistShellStatements(Oid relid)
{
	List	   *stmts = DistTableStatements(relid);

	stmts = list_concat(stmts, shell_partitions(relid));
	return list_concat(stmts, DistTableIndexStatements(relid));
}

/*
 * CREATE statements for everything below a partitioned table, depth first.
 */
static List *
shell_partitions(Oid relid)
{
	List	   *stmts = NIL;
	ListCell   *lc;

	check_stack_depth();
	foreach(lc, find_inheritance_children(relid, AccessShareLock))
	{
		Oid			child = lfirst_oid(lc);
		char	   *schema = get_namespace_name(get_rel_namespace(child));
		char	   *name = get_rel_name(child);
		char	   *bound = DistPartitionBound(child);
		DistPartition *leaf;

		if (get_rel_relkind(child) == RELKIND_PARTITIONED_TABLE)
		{
			stmts = list_concat(stmts, subpartitioned_statements(relid, child,
																 bound));
			stmts = list_concat(stmts, shell_partitions(child));
			continue;
		}
		leaf = DistGetPartition(child);
		if (!OidIsValid(leaf->serverid))
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("partition \"%s\" of distributed table \"%s\" lives on the coordinator",
						   name, get_rel_name(relid)),
					errdetail("Workers cannot reach it there."),
					errhint("Move its rows to a partition on a worker."));
		stmts = list_concat(stmts,
							DistForeignLeafStatements(relid, schema, name,
													  bound, leaf->worker,
													  leaf->remote_schema,
													  leaf->remote_name));
	}
	return stmts;
}

/* A partition that is itself partitioned. */
static List *
subpartitioned_statements(Oid parent, Oid relid, const char *bound)
{
	int			nestlevel = begin_qualified_names();
	char	   *target = DistRelationName(relid);
	char	   *key = TextDatumGetCString(DirectFunctionCall1(pg_get_partkeydef,
															  ObjectIdGetDatum(relid)));
	List	   *stmts;

	stmts = list_make1(psprintf("CREATE TABLE %s PARTITION OF %s %s PARTITION BY %s",
								target, DistRelationName(parent), bound, key));
	stmts = list_concat(stmts, access_statements(relid, target,
												 get_rel_name(relid)));
	AtEOXact_GUC(true, nestlevel);
	return stmts;
}

/*
 * pg_get_indexdef would print ON ONLY for a partitioned index; this is the
 * form ALTER TABLE uses to make an index again, with all its children.
 */
char *
DistIndexStatement(Oid indexid)
{
	int			nestlevel = begin_qualified_names();
	char	   *sql = pg_get_indexdef_string(indexid);

	AtEOXact_GUC(true, nestlevel);
	return sql;
}

List *
DistTableIndexStatements(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	List	   *stmts = NIL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
		stmts = lappend(stmts, DistIndexStatement(lfirst_oid(lc)));
	table_close(rel, NoLock);
	return stmts;
}

List *
DistPrivilegeStatements(Oid relid, const char *target, List *grantees)
{
	List	   *stmts = NIL;
	StringInfoData roles;
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	const char *table = psprintf("TABLE %s", target);
	Acl		   *acl = relation_acl(relid);
	ListCell   *lc;

	/* Revoking on a table takes the privileges on its columns along. */
	initStringInfo(&roles);
	foreach(lc, grantees)
		appendStringInfo(&roles, "%s%s", roles.len > 0 ? ", " : "",
						 grantee_name(lfirst_oid(lc)));
	if (grantees != NIL)
		stmts = list_make1(psprintf("REVOKE ALL ON %s FROM %s CASCADE", table,
									roles.data));
	if (acl == NULL)
		acl = acldefault(OBJECT_TABLE, rel->rd_rel->relowner);
	stmts = grant_statements(stmts, acl, NULL, table);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		HeapTuple	tuple;
		Datum		attacl;
		bool		isnull;

		if (att->attisdropped)
			continue;
		tuple = SearchSysCacheAttNum(relid, att->attnum);
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for column %d of relation %u",
				 att->attnum, relid);
		attacl = SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attacl,
								 &isnull);
		if (!isnull)
			stmts = grant_statements(stmts, DatumGetAclPCopy(attacl),
									 NameStr(att->attname), table);
		ReleaseSysCache(tuple);
	}
	table_close(rel, NoLock);
	return stmts;
}

List *
DistPrivilegeGrantees(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *roles = acl_grantees(NIL, relation_acl(relid));

	roles = list_append_unique_oid(roles, rel->rd_rel->relowner);
	for (int i = 0; i < desc->natts; i++)
	{
		HeapTuple	tuple = SearchSysCacheAttNum(relid, i + 1);
		Datum		attacl;
		bool		isnull;

		if (!HeapTupleIsValid(tuple))
			continue;
		attacl = SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attacl,
								 &isnull);
		if (!isnull)
			roles = acl_grantees(roles, DatumGetAclPCopy(attacl));
		ReleaseSysCache(tuple);
	}
	table_close(rel, NoLock);
	return roles;
}

char *
DistPartitionBound(Oid relid)
{
	int			nestlevel = begin_qualified_names();
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Datum		bound;
	bool		isnull;
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	bound = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound,
							&isnull);
	if (isnull)
		elog(ERROR, "relation %u is not a partition", relid);
	result = TextDatumGetCString(DirectFunctionCall2(pg_get_expr, bound,
													 ObjectIdGetDatum(relid)));
	ReleaseSysCache(tuple);
	AtEOXact_GUC(true, nestlevel);
	return result;
}

/*
 * From here to AtEOXact_GUC with the result, ruleutils qualifies every name
 * that is not built in.
 */
static int
begin_qualified_names(void)
{
	int			nestlevel = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nestlevel;
}

static void
append_columns(StringInfo sql, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const char *separator = "";

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		appendStringInfoString(sql, separator);
		append_column(sql, rel, att);
		separator = ", ";
	}
}

static void
append_column(StringInfo sql, Relation rel, Form_pg_attribute att)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	appendStringInfo(sql, "%s %s", quote_identifier(NameStr(att->attname)),
					 format_type_extended(att->atttypid, att->atttypmod,
										  FORMAT_TYPE_TYPEMOD_GIVEN |
										  FORMAT_TYPE_FORCE_QUALIFY));
	if (CompressionMethodIsValid(att->attcompression))
		appendStringInfo(sql, " COMPRESSION %s",
						 GetCompressionMethodName(att->attcompression));
	if (OidIsValid(att->attcollation) &&
		att->attcollation != get_typcollation(att->atttypid))
		appendStringInfo(sql, " COLLATE %s",
						 generate_collation_name(att->attcollation));

	for (int i = 0; att->atthasdef && i < constr->num_defval; i++)
	{
		List	   *context;
		char	   *expr;

		if (constr->defval[i].adnum != att->attnum)
			continue;
		context = deparse_context_for(RelationGetRelationName(rel),
									  RelationGetRelid(rel));
		expr = deparse_expression(stringToNode(constr->defval[i].adbin),
								  context, false, false);
		if (att->attgenerated == ATTRIBUTE_GENERATED_STORED)
			appendStringInfo(sql, " GENERATED ALWAYS AS (%s) STORED", expr);
		else if (att->attgenerated != '\0')
			appendStringInfo(sql, " GENERATED ALWAYS AS (%s)", expr);
		else
			appendStringInfo(sql, " DEFAULT %s", expr);
	}
	if (att->attnotnull)
		appendStringInfoString(sql, " NOT NULL");
}

static void
append_checks(StringInfo sql, Relation rel)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true,
							  NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT(tuple);

		if (con->contype != CONSTRAINT_CHECK)
			continue;
		appendStringInfo(sql, ", CONSTRAINT %s %s",
						 quote_identifier(NameStr(con->conname)),
						 TextDatumGetCString(DirectFunctionCall1(pg_get_constraintdef,
																 ObjectIdGetDatum(con->oid))));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* Where columns are stored, if not as their type says; leaves inherit it. */
static List *
storage_statements(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *stmts = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *storage;

		if (att->attisdropped ||
			att->attstorage == get_typstorage(att->atttypid))
			continue;
		switch (att->attstorage)
		{
			case TYPSTORAGE_PLAIN:
				storage = "PLAIN";
				break;
			case TYPSTORAGE_EXTERNAL:
				storage = "EXTERNAL";
				break;
			case TYPSTORAGE_EXTENDED:
				storage = "EXTENDED";
				break;
			default:
				storage = "MAIN";
				break;
		}
		stmts = lappend(stmts,
						psprintf("ALTER TABLE %s ALTER COLUMN %s SET STORAGE %s",
								 DistRelationName(RelationGetRelid(rel)),
								 quote_identifier(NameStr(att->attname)),
								 storage));
	}
	return stmts;
}

/*
 * Who may do what: owner, row-level security and privileges of 'relid' for
 * the table "target".  'alias' is target's name without schema, by which
 * subqueries in policies refer to it.
 */
static List *
access_statements(Oid relid, const char *target, const char *alias)
{
	Relation	rel = table_open(relid, NoLock);
	List	   *stmts;

	stmts = policy_statements(relid, target, alias);
	if (rel->rd_rel->relrowsecurity)
		stmts = lappend(stmts, psprintf("ALTER TABLE %s ENABLE ROW LEVEL SECURITY",
										target));
	if (rel->rd_rel->relforcerowsecurity)
		stmts = lappend(stmts, psprintf("ALTER TABLE %s FORCE ROW LEVEL SECURITY",
										target));
	stmts = lappend(stmts, psprintf("ALTER TABLE %s OWNER TO %s", target,
									owner_name(relid)));

	/* Default privileges of the other server must not add to the table's. */
	stmts = list_concat(stmts,
						DistPrivilegeStatements(relid, target,
												list_make2_oid(InvalidOid,
															   rel->rd_rel->relowner)));
	table_close(rel, NoLock);
	return stmts;
}

static List *
policy_statements(Oid relid, const char *target, const char *alias)
{
	Relation	catalog = table_open(PolicyRelationId, AccessShareLock);
	List	   *stmts = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, PolicyPolrelidPolnameIndexId, true,
							  NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum		roles;
		bool		isnull;
		char	   *qual;
		char	   *check;

		roles = heap_getattr(tuple, Anum_pg_policy_polroles,
							 RelationGetDescr(catalog), &isnull);
		Assert(!isnull);
		qual = policy_expression(catalog, tuple, Anum_pg_policy_polqual,
								 relid, alias);
		check = policy_expression(catalog, tuple, Anum_pg_policy_polwithcheck,
								  relid, alias);
		stmts = lappend(stmts,
						policy_statement((Form_pg_policy) GETSTRUCT(tuple),
										 DatumGetArrayTypeP(roles),
										 qual, check, target));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return stmts;
}

static char *
policy_statement(Form_pg_policy policy, ArrayType *roles, const char *qual,
				 const char *check, const char *target)
{
	StringInfoData sql;
	const char *command;
	Oid		   *oids = (Oid *) ARR_DATA_PTR(roles);

	switch (policy->polcmd)
	{
		case ACL_SELECT_CHR:
			command = "SELECT";
			break;
		case ACL_INSERT_CHR:
			command = "INSERT";
			break;
		case ACL_UPDATE_CHR:
			command = "UPDATE";
			break;
		case ACL_DELETE_CHR:
			command = "DELETE";
			break;
		default:
			command = "ALL";
			break;
	}
	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE POLICY %s ON %s AS %s FOR %s TO ",
					 quote_identifier(NameStr(policy->polname)), target,
					 policy->polpermissive ? "PERMISSIVE" : "RESTRICTIVE",
					 command);
	for (int i = 0; i < ARR_DIMS(roles)[0]; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 grantee_name(oids[i]));
	if (qual != NULL)
		appendStringInfo(&sql, " USING (%s)", qual);
	if (check != NULL)
		appendStringInfo(&sql, " WITH CHECK (%s)", check);
	return sql.data;
}

static char *
policy_expression(Relation catalog, HeapTuple tuple, int attno, Oid relid,
				  const char *alias)
{
	bool		isnull;
	Datum		expr = heap_getattr(tuple, attno, RelationGetDescr(catalog),
									&isnull);

	if (isnull)
		return NULL;
	return deparse_expression(stringToNode(TextDatumGetCString(expr)),
							  deparse_context_for(alias, relid), false, false);
}

/*
 * GRANT what 'acl' holds on 'target' ("TABLE t" or "SCHEMA s"), or on one of
 * its columns.  The grantor becomes the owner: who granted what on to whom is
 * not reproduced.
 */
static List *
grant_statements(List *stmts, Acl *acl, const char *column,
				 const char *target)
{
	AclItem    *items = ACL_DAT(acl);

	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		AclMode		goptions = ACLITEM_GET_GOPTIONS(items[i]);
		AclMode		plain = ACLITEM_GET_PRIVS(items[i]) & ~goptions;
		const char *grantee = grantee_name(items[i].ai_grantee);

		if (plain != 0)
			stmts = lappend(stmts, psprintf("GRANT %s ON %s TO %s",
											privilege_list(plain, column),
											target, grantee));
		if (goptions != 0)
			stmts = lappend(stmts, psprintf("GRANT %s ON %s TO %s"
											" WITH GRANT OPTION",
											privilege_list(goptions, column),
											target, grantee));
	}
	return stmts;
}

/* "SELECT, UPDATE", or with a column "SELECT (c), UPDATE (c)" */
static char *
privilege_list(AclMode modes, const char *column)
{
	static const struct
	{
		AclMode		mode;
		const char *name;
	}			privileges[] =
	{
		{ACL_SELECT, "SELECT"},
		{ACL_INSERT, "INSERT"},
		{ACL_UPDATE, "UPDATE"},
		{ACL_DELETE, "DELETE"},
		{ACL_TRUNCATE, "TRUNCATE"},
		{ACL_REFERENCES, "REFERENCES"},
		{ACL_TRIGGER, "TRIGGER"},
#ifdef ACL_MAINTAIN
		{ACL_MAINTAIN, "MAINTAIN"},
#endif
		{ACL_USAGE, "USAGE"},
		{ACL_CREATE, "CREATE"},
	};
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < lengthof(privileges); i++)
	{
		if ((modes & privileges[i].mode) == 0)
			continue;
		appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
						 privileges[i].name);
		if (column != NULL)
			appendStringInfo(&list, " (%s)", quote_identifier(column));
	}
	return list.data;
}

static List *
acl_grantees(List *roles, Acl *acl)
{
	for (int i = 0; acl != NULL && i < ACL_NUM(acl); i++)
		roles = list_append_unique_oid(roles, ACL_DAT(acl)[i].ai_grantee);
	return roles;
}

/* The privileges stored for a table; NULL where they are the default ones. */
static Acl *
relation_acl(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Datum		datum;
	bool		isnull;
	Acl		   *acl = NULL;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	datum = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (!isnull)
		acl = DatumGetAclPCopy(datum);
	ReleaseSysCache(tuple);
	return acl;
}

static const char *
grantee_name(Oid roleid)
{
	if (!OidIsValid(roleid))
		return "PUBLIC";
	return pstrdup(quote_identifier(GetUserNameFromId(roleid, false)));
}

static const char *
owner_name(Oid relid)
{
	return grantee_name(DistRelationOwner(relid));
}
