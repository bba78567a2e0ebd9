/*-------------------------------------------------------------------------
 *
 * dist_ddl.c
 *	  Statements about distributed tables reach every server or are refused.
 *
 * Two hooks see what happens to listed tables (see dist_cluster.h) and their
 * partitions:
 *
 * ProcessUtility, before the statement runs.  CREATE INDEX, DROP INDEX, DROP
 * TABLE, GRANT and REVOKE run here first and then, in the same transaction,
 * on all workers.  Here first, because a lock conflict with a session of
 * this server is then waited for before any worker is involved; and because
 * what goes to the workers is read back from the catalogs, with the names
 * that were chosen here, whatever the statement looked like.  Everything else
 * that would change the definition is refused.  TRUNCATE reaches the rows
 * through the foreign partitions; for VACUUM, ANALYZE and REINDEX see
 * dist_maintenance.c.
 *
 * Object access, when something is dropped: the net for what no statement
 * names (DROP SCHEMA ... CASCADE, DROP OWNED, DROP SERVER ... CASCADE), where
 * the workers would keep what disappears here.
 *
 * Neither does anything for a request from another server (vecdist.hop), nor
 * when vecdist.enable_ddl_propagation is off: that is how the definition is
 * changed by hand, here and with vecdist.run_on_workers on the workers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "distribution/dist_cluster.h"
#include "distribution/dist_config.h"
#include "distribution/dist_connection.h"
#include "distribution/dist_ddl.h"
#include "distribution/dist_maintenance.h"
#include "distribution/dist_placement.h"
#include "distribution/dist_tabledef.h"
#include "vecdist_compat.h"

/* What ProcessUtility gets, to pass it on. */
typedef struct Statement
{
	PlannedStmt *pstmt;
	const char *query_string;
	bool		read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *query_env;
	DestReceiver *dest;
	QueryCompletion *qc;
} Statement;

/* Privileges on a table before GRANT or REVOKE. */
typedef struct TablePrivileges
{
	Oid			relid;
	List	   *grantees;		/* role oids */
	List	   *grants;			/* GRANT statements that amount to them */
} TablePrivileges;

static ProcessUtility_hook_type next_process_utility = NULL;
static object_access_hook_type next_object_access = NULL;

/*
 * Tables that the running DROP TABLE drops on all servers, or NIL.  Points to
 * memory of the statement; reset when it ends in any way.
 */
static List *tables_being_dropped = NIL;

static void process_utility(PlannedStmt *pstmt, const char *queryString,
							bool readOnlyTree, ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *queryEnv,
							DestReceiver *dest, QueryCompletion *qc);
static void run_here(Statement *stmt);
static bool is_ours_to_watch(void);
static void create_index(Statement *stmt, IndexStmt *index);
static List *build_settings(void);
static Oid	new_index(Oid relid, List *before);
static List *index_list(Oid relid);
static void drop_objects(Statement *stmt, DropStmt *drop);
static void drop_here(Statement *stmt, List *targets);
static List *drop_targets(DropStmt *drop, List **names);
static void refuse_drop_of_extension(DropStmt *drop);
static void refuse_drop_of_parts(DropStmt *drop);
static void change_privileges(Statement *stmt, Node *node);
static bool may_change_privileges(Node *node, Oid relid);
static TablePrivileges *read_privileges(Oid relid);
static void send_privileges(const char *tag, TablePrivileges *before);
static bool equal_strings(List *a, List *b);
static void refuse_local_partition(CreateStmt *create);
static void refuse_reassign(ReassignOwnedStmt *reassign);
static void vacuum(Statement *stmt, VacuumStmt *vacuum_stmt);
static void reindex(Statement *stmt, ReindexStmt *reindex_stmt);
static void refuse_cluster(ClusterStmt *cluster);
static void refuse_alter(Node *node);
static RangeVar *altered_relation(Node *node);
static void refuse_change(Oid tableid, Node *node);
static void begin_propagation(const char *tag, Oid relid);
static Oid	resolve(RangeVar *name);
static Oid	listed_table_of(Oid relid);
static bool is_distributed_parent(Oid relid);
static void object_access(ObjectAccessType access, Oid class_id,
						  Oid object_id, int sub_id, void *arg);
static void relation_dropped(Oid relid, bool is_column);

void
DistDdlInit(void)
{
	DefineCustomBoolVariable("vecdist.enable_ddl_propagation",
							 "Statements about distributed tables reach all servers or are refused.",
							 "When off, they change this server only.",
							 &DistEnableDdlPropagation,
							 true,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	next_object_access = object_access_hook;
	object_access_hook = object_access;
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString,
				bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv,
				DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *node = pstmt->utilityStmt;
	Statement	stmt = {
		.pstmt = pstmt,
		.query_string = queryString,
		.read_only_tree = readOnlyTree,
		.context = context,
		.params = params,
		.query_env = queryEnv,
		.dest = dest,
		.qc = qc
	};

	if (context == PROCESS_UTILITY_SUBCOMMAND || !is_ours_to_watch())
	{
		run_here(&stmt);
		return;
	}
	switch (nodeTag(node))
	{
		case T_IndexStmt:
			create_index(&stmt, (IndexStmt *) node);
			return;
		case T_DropStmt:
			drop_objects(&stmt, (DropStmt *) node);
			return;
		case T_GrantStmt:
		case T_DropOwnedStmt:
			change_privileges(&stmt, node);
			return;
		case T_CreateStmt:
			refuse_local_partition((CreateStmt *) node);
			break;
		case T_ReassignOwnedStmt:
			refuse_reassign((ReassignOwnedStmt *) node);
			break;
		case T_VacuumStmt:
			vacuum(&stmt, (VacuumStmt *) node);
			return;
		case T_ReindexStmt:
			reindex(&stmt, (ReindexStmt *) node);
			return;
		case T_ClusterStmt:
			refuse_cluster((ClusterStmt *) node);
			break;
		default:
			refuse_alter(node);
			break;
	}
	run_here(&stmt);
}

/* Run a statement as if we were not here. */
static void
run_here(Statement *stmt)
{
	ProcessUtility_hook_type next = next_process_utility ?
	next_process_utility : standard_ProcessUtility;

	next(stmt->pstmt, stmt->query_string, stmt->read_only_tree, stmt->context,
		 stmt->params, stmt->query_env, stmt->dest, stmt->qc);
}

/*
 * Can the running statement concern us at all?  False also where catalogs
 * cannot be read, as for ROLLBACK in a failed transaction.
 */
static bool
is_ours_to_watch(void)
{
	return DistEnableDdlPropagation && DistHop == 0 &&
		!creating_extension && !IsBinaryUpgrade && IsTransactionState() &&
		OidIsValid(DistFdwOid());
}

/*
 * CREATE INDEX.  On a partition it is a matter of the server that holds it.
 */
static void
create_index(Statement *stmt, IndexStmt *index)
{
	Oid			relid = resolve(index->relation);
	List	   *before;
	Oid			indexid;

	/* Core has its own words for CONCURRENTLY on a partitioned table. */
	if (!is_distributed_parent(relid) || index->concurrent)
	{
		run_here(stmt);
		return;
	}
	begin_propagation("CREATE INDEX", relid);
	if (index->unique || index->excludeOpNames != NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot create a unique index on distributed table \"%s\"",
					   get_rel_name(relid)),
				errdetail("No single server can check uniqueness over all partitions."),
				errhint("Create unique indexes on the partitions, on their workers."));
	if (!index->relation->inh)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot create an index on distributed table \"%s\" without its partitions",
					   get_rel_name(relid)),
				errhint("Leave out ONLY."));

	before = index_list(relid);
	run_here(stmt);
	CommandCounterIncrement();
	indexid = new_index(relid, before);

	/* IF NOT EXISTS, and it does */
	if (!OidIsValid(indexid))
		return;
	DistRunOnAllWorkers(lappend(build_settings(), DistIndexStatement(indexid)));
}

/*
 * Statements that give workers, for this transaction, what the session has
 * set for building indexes.
 */
static List *
build_settings(void)
{
	static const char *const names[] =
	{"maintenance_work_mem", "max_parallel_maintenance_workers"};
	List	   *statements = NIL;

	for (int i = 0; i < lengthof(names); i++)
	{
		char	   *value = pstrdup(GetConfigOption(names[i], false, false));

		if (strcmp(value, GetConfigOptionResetString(names[i])) == 0)
			continue;
		statements = lappend(statements,
							 psprintf("SELECT pg_catalog.set_config('%s', %s, true)",
									  names[i], quote_literal_cstr(value)));
	}
	return statements;
}

/* The index that a table has now and had not before, or InvalidOid. */
static Oid
new_index(Oid relid, List *before)
{
	List	   *created = list_difference_oid(index_list(relid), before);

	return created == NIL ? InvalidOid : linitial_oid(created);
}

static List *
index_list(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *result = RelationGetIndexList(rel);

	table_close(rel, NoLock);
	return result;
}

/*
 * DROP TABLE and DROP INDEX.  Tables and indexes that are not distributed may
 * stand in the same statement; the workers hear of the others only.
 */
static void
drop_objects(Statement *stmt, DropStmt *drop)
{
	List	   *names = NIL;
	List	   *targets;
	const char *kind = drop->removeType == OBJECT_INDEX ? "INDEX" : "TABLE";
	StringInfoData sql;
	ListCell   *lc;

	if (drop->removeType == OBJECT_EXTENSION)
		refuse_drop_of_extension(drop);
	refuse_drop_of_parts(drop);
	targets = drop_targets(drop, &names);
	if (targets == NIL)
	{
		run_here(stmt);
		return;
	}
	begin_propagation(psprintf("DROP %s", kind), linitial_oid(targets));

	drop_here(stmt, targets);

	/* IF EXISTS: what a worker has lost already needs no error. */
	initStringInfo(&sql);
	appendStringInfo(&sql, "DROP %s IF EXISTS ", kind);
	foreach(lc, names)
		appendStringInfo(&sql, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 (char *) lfirst(lc));
	if (drop->behavior == DROP_CASCADE)
		appendStringInfoString(&sql, " CASCADE");
	DistRunOnAllWorkers(list_make1(sql.data));
}

/*
 * Run DROP, with 'targets' going the right way.  An event trigger may drop
 * something else meanwhile, hence the saved value.
 */
static pg_noinline void
drop_here(Statement *stmt, List *targets)
{
	List	   *outer = tables_being_dropped;

	PG_TRY();
	{
		tables_being_dropped = targets;
		run_here(stmt);
	}
	PG_FINALLY();
	{
		tables_being_dropped = outer;
	}
	PG_END_TRY();
}

/*
 * Which objects of a DROP TABLE are distributed tables, which of a DROP INDEX
 * are indexes of distributed tables?  *names gets their names for the
 * workers.
 */
static List *
drop_targets(DropStmt *drop, List **names)
{
	List	   *targets = NIL;
	ListCell   *lc;

	if (drop->removeType != OBJECT_TABLE && drop->removeType != OBJECT_INDEX)
		return NIL;
	foreach(lc, drop->objects)
	{
		Oid			relid = resolve(makeRangeVarFromNameList(lfirst(lc)));

		if (!OidIsValid(relid))
			continue;
		if (drop->removeType == OBJECT_TABLE ? !DistTableIsListed(relid) :
			!is_distributed_parent(IndexGetRelation(relid, true)))
			continue;
		targets = lappend_oid(targets, relid);
		*names = lappend(*names, DistRelationName(relid));
	}
	return targets;
}

/*
 * DROP EXTENSION would drop the list of distributed tables before the tables,
 * out of sight of object_access.
 */
static void
refuse_drop_of_extension(DropStmt *drop)
{
	List	   *tables = DistListedTables();
	ListCell   *lc;

	foreach(lc, drop->objects)
		if (tables != NIL && strcmp(strVal(lfirst(lc)), "vecdist") == 0)
		ereport(ERROR,
				errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				errmsg("cannot drop extension \"vecdist\" because there are distributed tables"),
				errdetail("One of them is %s.",
						  DistRelationName(linitial_oid(tables))),
				errhint("Drop the distributed tables first."));
}

/* DROP POLICY, TRIGGER and RULE: their names end with the object's own. */
static void
refuse_drop_of_parts(DropStmt *drop)
{
	ListCell   *lc;

	if (drop->removeType != OBJECT_POLICY &&
		drop->removeType != OBJECT_TRIGGER && drop->removeType != OBJECT_RULE)
		return;
	foreach(lc, drop->objects)
	{
		List	   *name = list_truncate(list_copy(lfirst(lc)),
										 list_length(lfirst(lc)) - 1);
		Oid			relid = resolve(makeRangeVarFromNameList(name));
		Oid			tableid = listed_table_of(relid);

		if (OidIsValid(tableid))
			refuse_change(tableid, (Node *) drop);
	}
}

/*
 * GRANT and REVOKE on tables, and DROP OWNED, which revokes.  The workers get
 * the outcome, not the statement: what it changed here is set anew there, on
 * the table and on the partitions that live there.
 */
static void
change_privileges(Statement *stmt, Node *node)
{
	List	   *before = NIL;
	ListCell   *lc;

	foreach(lc, DistListedTables())
		if (may_change_privileges(node, lfirst_oid(lc)))
		before = lappend(before, read_privileges(lfirst_oid(lc)));
	run_here(stmt);
	if (before == NIL)
		return;

	CommandCounterIncrement();
	foreach(lc, before)
		send_privileges(CreateCommandName(node), lfirst(lc));
}

/* Can a statement change the privileges on a table? */
static bool
may_change_privileges(Node *node, Oid relid)
{
	GrantStmt  *grant;
	ListCell   *lc;

	if (!IsA(node, GrantStmt))
		return true;
	grant = (GrantStmt *) node;
	if (grant->objtype != OBJECT_TABLE)
		return false;
	foreach(lc, grant->objects)
	{
		if (grant->targtype == ACL_TARGET_OBJECT &&
			resolve(lfirst_node(RangeVar, lc)) == relid)
			return true;
		if (grant->targtype == ACL_TARGET_ALL_IN_SCHEMA &&
			get_namespace_oid(strVal(lfirst(lc)), true) == get_rel_namespace(relid))
			return true;
	}
	return false;
}

static TablePrivileges *
read_privileges(Oid relid)
{
	TablePrivileges *result = palloc(sizeof(TablePrivileges));

	LockRelationOid(relid, AccessShareLock);
	result->relid = relid;
	result->grantees = DistPrivilegeGrantees(relid);
	result->grants = DistPrivilegeStatements(relid, "table", NIL);
	return result;
}

/*
 * Bring the workers up to date if the privileges on a table are not what they
 * were "before".
 */
static void
send_privileges(const char *tag, TablePrivileges *before)
{
	TablePrivileges *after = read_privileges(before->relid);
	List	   *grantees;
	List	   *workers;
	DistScript *scripts;
	List	   *on_table;
	ListCell   *lc;

	if (equal_strings(before->grants, after->grants))
		return;
	begin_propagation(tag, before->relid);
	if (!object_ownercheck(RelationRelationId, before->relid, GetUserId()))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("only the owner can change privileges on distributed table \"%s\"",
					   get_rel_name(before->relid)));

	grantees = list_concat_unique_oid(before->grantees, after->grantees);
	workers = DistWorkers();
	scripts = DistMakeScripts(workers);
	on_table = DistPrivilegeStatements(before->relid,
									   DistRelationName(before->relid),
									   grantees);
	for (int i = 0; i < list_length(workers); i++)
		scripts[i].statements = list_copy(on_table);
	foreach(lc, DistPartitions(before->relid, AccessShareLock))
	{
		DistPartition *leaf = lfirst(lc);

		for (int i = 0; i < list_length(workers); i++)
			if (list_nth_oid(workers, i) == leaf->serverid)
				scripts[i].statements =
					list_concat(scripts[i].statements,
								DistPrivilegeStatements(before->relid,
														quote_qualified_identifier(leaf->remote_schema,
																				   leaf->remote_name),
														grantees));
	}
	DistRunScripts(scripts, list_length(workers));
}

static bool
equal_strings(List *a, List *b)
{
	ListCell   *ca,
			   *cb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(ca, a, cb, b)
		if (strcmp(lfirst(ca), lfirst(cb)) != 0)
		return false;
	return true;
}

/*
 * Refuse a partition that would live on the coordinator: workers have no way
 * to its rows, and a search that a worker answers would silently miss them.
 */
static void
refuse_local_partition(CreateStmt *create)
{
	Oid			tableid;

	/* A partition that is partitioned again has no rows. */
	if (create->partbound == NULL || create->partspec != NULL ||
		DistLocalWorker() != NULL)
		return;
	tableid = listed_table_of(resolve(linitial_node(RangeVar,
													create->inhRelations)));
	if (OidIsValid(tableid))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot create a partition of distributed table \"%s\" on the coordinator",
					   get_rel_name(tableid)),
				errhint("Use vecdist.create_partition, which creates it on a worker."));
}

/* Refuse REASSIGN OWNED by which distributed tables change their owner. */
static void
refuse_reassign(ReassignOwnedStmt *reassign)
{
	ListCell   *table;
	ListCell   *role;

	foreach(table, DistListedTables())
		foreach(role, reassign->roles)
		if (DistRelationOwner(lfirst_oid(table)) ==
			get_rolespec_oid(lfirst(role), true))
		refuse_change(lfirst_oid(table), (Node *) reassign);
}

/*
 * VACUUM and ANALYZE: workers do their part, what is left is for us.
 */
static void
vacuum(Statement *stmt, VacuumStmt *vacuum_stmt)
{
	MemoryContext context = CurrentMemoryContext;
	bool		ours;
	List	   *rest;
	ListCell   *lc;

	rest = DistVacuumOnWorkers(vacuum_stmt,
							   stmt->context == PROCESS_UTILITY_TOPLEVEL,
							   &ours);
	if (!ours)
	{
		run_here(stmt);
		return;
	}
	foreach(lc, rest)
	{
		Statement	part = *stmt;

		part.pstmt = copyObject(stmt->pstmt);
		part.pstmt->utilityStmt = lfirst(lc);
		run_here(&part);

		/* It may have ended the transaction, and its memory with it. */
		MemoryContextSwitchTo(context);
	}
}

/*
 * REINDEX of a distributed table or one of its indexes: core's part here is
 * to check privileges and that there is no transaction block, because on the
 * coordinator there is nothing to build.  On a worker it is what lives there.
 */
static void
reindex(Statement *stmt, ReindexStmt *reindex_stmt)
{
	Oid			relid = reindex_stmt->relation == NULL ? InvalidOid :
	resolve(reindex_stmt->relation);
	char		relkind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';
	bool		everywhere =
	(relkind == RELKIND_PARTITIONED_TABLE ||
	 relkind == RELKIND_PARTITIONED_INDEX) &&
	DistLocalWorker() == NULL && OidIsValid(listed_table_of(relid));

	run_here(stmt);
	if (everywhere)
		DistReindexOnWorkers(reindex_stmt, relid);
}

/*
 * Refuse CLUSTER of a distributed table on a server that holds none of its
 * rows: core would skip all partitions and report success.
 */
static void
refuse_cluster(ClusterStmt *cluster)
{
	Oid			tableid;

	if (cluster->relation == NULL || DistLocalWorker() != NULL)
		return;
	tableid = listed_table_of(resolve(cluster->relation));
	if (OidIsValid(tableid))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("%s is not supported on distributed table \"%s\"",
					   CreateCommandName((Node *) cluster),
					   get_rel_name(tableid)),
				errhint("Run it on each worker, for the partitions there."));
}

/* Refuse what changes a definition in a way we do not carry to the workers. */
static void
refuse_alter(Node *node)
{
	RangeVar   *name = altered_relation(node);
	Oid			tableid = name == NULL ? InvalidOid :
	listed_table_of(resolve(name));

	if (OidIsValid(tableid))
		refuse_change(tableid, node);
	if (IsA(node, RenameStmt) &&
		((RenameStmt *) node)->renameType == OBJECT_SCHEMA)
	{
		Oid			nspid = get_namespace_oid(((RenameStmt *) node)->subname,
											  true);
		ListCell   *lc;

		foreach(lc, DistListedTables())
			if (get_rel_namespace(lfirst_oid(lc)) == nspid)
			refuse_change(lfirst_oid(lc), node);
	}
}

/*
 * The relation that a statement of those we refuse is about; NULL for other
 * statements.
 */
static RangeVar *
altered_relation(Node *node)
{
	switch (nodeTag(node))
	{
		case T_AlterTableStmt:
			return ((AlterTableStmt *) node)->relation;
		case T_RenameStmt:
			return ((RenameStmt *) node)->relation;
		case T_AlterObjectSchemaStmt:
			return ((AlterObjectSchemaStmt *) node)->relation;
		case T_AlterObjectDependsStmt:
			return ((AlterObjectDependsStmt *) node)->relation;
		case T_CreateTrigStmt:
			return ((CreateTrigStmt *) node)->relation;
		case T_CreatePolicyStmt:
			return ((CreatePolicyStmt *) node)->table;
		case T_AlterPolicyStmt:
			return ((AlterPolicyStmt *) node)->table;
		case T_RuleStmt:
			return ((RuleStmt *) node)->relation;
		default:
			return NULL;
	}
}

static void
refuse_change(Oid tableid, Node *node)
{
	bool		is_worker = DistLocalWorker() != NULL;

	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("%s is not supported on distributed table \"%s\"",
				   CreateCommandName(node), get_rel_name(tableid)),
			errdetail("The table has the same definition on all servers of the cluster."),
			is_worker ?
			errhint("Connect to the coordinator to change it.") :
			errhint("In one transaction, run the statement on all workers with vecdist.run_on_workers and, after SET LOCAL vecdist.enable_ddl_propagation = off, here."));
}

/*
 * Before a statement about a distributed table is sent to all workers: are we
 * the server that may do so?  Then no worker comes or goes until it is done.
 */
static void
begin_propagation(const char *tag, Oid relid)
{
	char	   *worker = DistLocalWorker();

	if (worker != NULL)
	{
		Oid			tableid = listed_table_of(relid);

		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot run %s on distributed table \"%s\" on a worker",
					   tag, get_rel_name(tableid)),
				errdetail("This server is worker \"%s\" of its cluster.",
						  worker),
				errhint("Connect to the coordinator."));
	}
	DistLockCluster(RowExclusiveLock);
}

/* What a name means now, InvalidOid if nothing; takes no lock. */
static Oid
resolve(RangeVar *name)
{
	return RangeVarGetRelid(name, NoLock, true);
}

/* The listed table that a relation or the table of an index belongs to. */
static Oid
listed_table_of(Oid relid)
{
	char		relkind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

	if (relkind == RELKIND_INDEX || relkind == RELKIND_PARTITIONED_INDEX)
		relid = IndexGetRelation(relid, true);
	return OidIsValid(relid) ? DistListedRoot(relid) : InvalidOid;
}

/*
 * Is a relation a distributed table, or a partition of one that is
 * partitioned again?  Both exist as such on all servers.
 */
static bool
is_distributed_parent(Oid relid)
{
	return OidIsValid(relid) &&
		get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE &&
		OidIsValid(DistListedRoot(relid));
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (next_object_access)
		next_object_access(access, class_id, object_id, sub_id, arg);
	if (access == OAT_DROP && class_id == RelationRelationId)
		relation_dropped(object_id, sub_id != 0);
}

/*
 * A relation or one of its columns is about to be dropped.  A table leaves
 * the list; nothing of a distributed table goes by other ways than those that
 * tell the workers.
 */
static void
relation_dropped(Oid relid, bool is_column)
{
	char		relkind = get_rel_relkind(relid);
	Oid			root;

	if (relkind != RELKIND_PARTITIONED_TABLE && relkind != RELKIND_RELATION &&
		relkind != RELKIND_FOREIGN_TABLE)
		return;
	root = DistListedRoot(relid);
	if (!OidIsValid(root))
		return;

	if (is_ours_to_watch() && !list_member_oid(tables_being_dropped, root))
	{
		if (is_column || relid == root)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("cannot drop %sdistributed table \"%s\" along with other objects",
						   is_column ? "a column of " : "",
						   get_rel_name(root)),
					errhint("Drop the distributed tables first: DROP TABLE %s.",
							DistRelationName(root)));
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot drop partition \"%s\" of distributed table \"%s\"",
					   get_rel_name(relid), get_rel_name(root)),
				errhint("Drop the partition with vecdist.drop_partition, on the coordinator, or all of the table with DROP TABLE %s.",
						DistRelationName(root)));
	}
	if (relid == root && !is_column)
		DistUnlistTable(root);
}
