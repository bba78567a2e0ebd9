/*-------------------------------------------------------------------------
 *
 * dist_table.c
 *	  Making tables distributed, and their partitions.
 *
 * The same table is made on every server: on the coordinator it exists
 * already and gets foreign partitions; workers get its definition, each
 * partition as a table on one of them and as a foreign table on the others.
 *
 * Order of the steps in each function here: lock the cluster, then the table;
 * check everything, here and on all workers; create here (what fails is
 * cheapest to find out here); create on all workers at the same time.  All of
 * it is one transaction, committed in two phases.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "distribution/dist_centroid.h"
#include "distribution/dist_cluster.h"
#include "distribution/dist_connection.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_placement.h"
#include "distribution/dist_table.h"
#include "distribution/dist_tabledef.h"
#include "vecdist_compat.h"
#include "vecdist_debug.h"

#define PARTITIONS_PER_WORKER 4 /* by default: room to add workers later */
#define MAX_PARTITIONS 1024

/* The partitions that a new distributed table gets. */
typedef struct Layout
{
	int			npartitions;
	char	  **bounds;
	Oid		   *homes;			/* their workers */
} Layout;

VECDIST_FUNCTION_INFO_V1(vecdist_create_distributed_table);
VECDIST_FUNCTION_INFO_V1(vecdist_create_partition);
VECDIST_FUNCTION_INFO_V1(vecdist_drop_partition);

static void check_distributable(Relation rel);
static void check_columns(Relation rel);
static void check_constraints(Relation rel);
static void refuse_feature(Relation rel, const char *detail,
						   const char *hint) pg_attribute_noreturn();
static List *choose_workers(ArrayType *names);
static Oid	worker_by_name(const char *name);
static int	compare_worker_names(const ListCell *a, const ListCell *b);
static int	check_strategy(Relation rel, const char *wanted);
static Layout *lay_out(Relation rel, bool given, int partitions,
					   bool workers_given, List *workers, int set);
static Layout *lay_out_hash(bool given, int partitions, List *workers);
static Layout *lay_out_centroids(int set, List *workers);
static Layout *make_layout(int npartitions);
static void create_everywhere(Oid relid, const Layout *layout);
static DistRequest *ask_workers(DistScript *scripts, int nscripts,
								const char *sql);
static void check_environment(DistRequest *request);
static void append_text_array(StringInfo sql, List *items);
static List *index_names(Oid relid);
static List *type_names(Oid relid);
static List *role_names(Oid relid);
static Oid	create_local_partition(Oid parent, const char *schema,
								   const char *name, const char *bound,
								   const char *worker);

/*
 * vecdist.create_distributed_table(relation, partitions, workers, strategy)
 */
Datum
vecdist_create_distributed_table(PG_FUNCTION_ARGS)
{
	Oid			relid;
	Relation	rel;
	List	   *workers;
	Layout	   *layout;
	int			set;

	DistRequireCoordinator("vecdist.create_distributed_table()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("relation cannot be null"));
	relid = PG_GETARG_OID(0);

	DistLockCluster(RowExclusiveLock);
	rel = table_open(relid, AccessExclusiveLock);
	check_distributable(rel);
	set = check_strategy(rel, PG_ARGISNULL(3) ? NULL :
						 text_to_cstring(PG_GETARG_TEXT_PP(3)));
	workers = choose_workers(PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2));
	layout = lay_out(rel, !PG_ARGISNULL(1),
					 PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1),
					 !PG_ARGISNULL(2), workers, set);
	table_close(rel, NoLock);
	create_everywhere(relid, layout);
	PG_RETURN_VOID();
}

/*
 * vecdist.create_partition(relation, partition, bound, worker)
 *
 * The bound is evaluated here; workers get its value, so that an expression
 * such as CURRENT_DATE means the same on all of them.
 */
Datum
vecdist_create_partition(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *bound = text_to_cstring(PG_GETARG_TEXT_PP(2));
	char	   *worker = text_to_cstring(PG_GETARG_TEXT_PP(3));
	char	   *schema;
	List	   *workers;
	Oid			home;
	DistScript *scripts;
	ListCell   *lc;

	DistRequireCoordinator("vecdist.create_partition()");
	DistLockCluster(RowExclusiveLock);
	if (!DistTableIsListed(relid))
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a distributed table",
					   get_rel_name(relid)),
				errhint("Make it one with vecdist.create_distributed_table."));
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("invalid partition name \"%s\"", name),
				errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1));
	LockRelationOid(relid, AccessExclusiveLock);
	schema = get_namespace_name(get_rel_namespace(relid));
	home = worker_by_name(worker);
	workers = DistWorkers();
	scripts = DistMakeScripts(workers);
	DistCheckNamesFree(scripts, list_length(workers), schema,
					   list_make1(name));

	bound = DistPartitionBound(create_local_partition(relid, schema, name,
													  bound, worker));
	foreach(lc, workers)
	{
		int			i = foreach_current_index(lc);

		scripts[i].statements = lfirst_oid(lc) == home ?
			DistLeafStatements(relid, schema, name, bound) :
			DistForeignLeafStatements(relid, schema, name, bound, worker,
									  NULL, NULL);
	}
	DistRunScripts(scripts, list_length(workers));
	PG_RETURN_VOID();
}

/*
 * vecdist.drop_partition(partition, force)
 *
 * "force" is for a worker that is lost for good with the partition.
 */
Datum
vecdist_drop_partition(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	bool		force = PG_GETARG_BOOL(1);
	Oid			root;
	DistPartition *partition;
	List	   *workers;
	DistScript *scripts;
	char	   *name;
	ListCell   *lc;

	DistRequireCoordinator("vecdist.drop_partition()");
	DistLockCluster(RowExclusiveLock);
	root = DistListedRoot(relid);
	if (!OidIsValid(root) || !DistIsForeignPartition(relid))
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a partition of a distributed table",
					   get_rel_name(relid)));
	partition = DistGetPartition(relid);
	name = DistRelationName(relid);
	DistRunLocally(list_make1(psprintf("DROP FOREIGN TABLE %s", name)));

	workers = DistWorkers();
	if (force)
		workers = list_delete_oid(workers, partition->serverid);
	scripts = DistMakeScripts(workers);
	foreach(lc, workers)
	{
		char	   *sql = psprintf("DROP FOREIGN TABLE %s", name);

		if (lfirst_oid(lc) == partition->serverid)
			sql = psprintf("DROP TABLE %s",
						   quote_qualified_identifier(partition->remote_schema,
													  partition->remote_name));
		scripts[foreach_current_index(lc)].statements = list_make1(sql);
	}
	DistRunScripts(scripts, list_length(workers));
	PG_RETURN_VOID();
}

char *
DistListStatement(Oid relid)
{
	return psprintf("INSERT INTO vecdist.distributed_table"
					" VALUES (%s::pg_catalog.regclass)",
					quote_literal_cstr(DistRelationName(relid)));
}

void
DistCheckNamesFree(DistScript *scripts, int nscripts, const char *schema,
				   List *names)
{
	StringInfoData sql;
	DistRequest *requests;

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "SELECT pg_catalog.min(c.relname::text)"
						   " FROM pg_catalog.pg_class c"
						   " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
						   " WHERE c.relname = ANY (");
	append_text_array(&sql, names);
	appendStringInfo(&sql, ") AND n.nspname = %s",
					 quote_literal_cstr(schema));
	requests = ask_workers(scripts, nscripts, sql.data);
	for (int i = 0; i < nscripts; i++)
		if (!PQgetisnull(requests[i].result, 0, 0))
			ereport(ERROR,
					errcode(ERRCODE_DUPLICATE_TABLE),
					errmsg("relation \"%s\" already exists on worker \"%s\"",
						   PQgetvalue(requests[i].result, 0, 0),
						   DistConnWorker(requests[i].conn)),
					errhint("Nothing was created.  Drop or rename it there, or choose other names."));
}

void
DistCheckTableFits(DistScript *scripts, int nscripts, Oid relid,
				   List *leaf_names)
{
	Oid			nspid = get_rel_namespace(relid);
	StringInfoData sql;
	DistRequest *requests;

	DistCheckNamesFree(scripts, nscripts, get_namespace_name(nspid),
					   list_concat(index_names(relid),
								   lcons(get_rel_name(relid), leaf_names)));

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "SELECT (SELECT pg_catalog.min(r) FROM pg_catalog.unnest(");
	append_text_array(&sql, role_names(relid));
	appendStringInfoString(&sql,
						   ") r WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles"
						   " WHERE rolname = r)),"
						   " (SELECT pg_catalog.min(t) FROM pg_catalog.unnest(");
	append_text_array(&sql, type_names(relid));
	appendStringInfo(&sql,
					 ") t WHERE pg_catalog.to_regtype(t) IS NULL),"
					 " pg_catalog.to_regnamespace(%s) IS NULL",
					 quote_literal_cstr(quote_identifier(get_namespace_name(nspid))));
	requests = ask_workers(scripts, nscripts, sql.data);
	for (int i = 0; i < nscripts; i++)
	{
		check_environment(&requests[i]);
		if (strcmp(PQgetvalue(requests[i].result, 0, 2), "t") == 0)
			scripts[i].statements = list_concat(scripts[i].statements,
												DistSchemaStatements(nspid));
	}
}

/*
 * Refuse what the workers could not have, or what would not mean on several
 * servers what it means on one.
 */
static void
check_distributable(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	const char *name = RelationGetRelationName(rel);

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a partitioned table", name),
				errhint("Create it with PARTITION BY, for example PARTITION BY HASH (id)."));
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, name);
	if (DistTableIsListed(relid))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("table \"%s\" is distributed already", name));
	if (rel->rd_rel->relispartition)
		refuse_feature(rel, "It is a partition of another table.",
					   "Distribute the table at the top.");
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		refuse_feature(rel, "It is temporary or unlogged.", NULL);
	if (OidIsValid(rel->rd_rel->reloftype))
		refuse_feature(rel, "It is a typed table.",
					   "Create it with a list of columns.");
	if (rel->rd_rel->relhasrules)
		refuse_feature(rel, "It has rules.", NULL);
	if (rel->trigdesc != NULL)
		refuse_feature(rel, "It has triggers or is part of a foreign key.",
					   NULL);
	if (find_inheritance_children(relid, NoLock) != NIL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("table \"%s\" has partitions already", name),
				errhint("Make it distributed first, then add partitions, then copy rows into it."));
	check_columns(rel);
	check_constraints(rel);
}

static void
check_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (DistIsFromSequence(rel, att->attnum))
			refuse_feature(rel,
						   psprintf("Column \"%s\" takes values from a sequence, which each server would count by itself.",
									NameStr(att->attname)),
						   "Use values made by the application, or uuid with DEFAULT gen_random_uuid().");
	}
}

/* Core has no unique index over foreign partitions, nor keys that need one. */
static void
check_constraints(Relation rel)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisunique ||
			index->rd_index->indisexclusion)
			refuse_feature(rel,
						   psprintf("Index \"%s\" is unique over all partitions, which no single server can check.",
									RelationGetRelationName(index)),
						   "Drop the constraint or index; after distributing, create unique indexes on the partitions on their workers.");
		index_close(index, AccessShareLock);
	}
	if (RelationGetFKeyList(rel) != NIL)
		refuse_feature(rel, "It has foreign keys.", "Drop the foreign keys.");
}

static void
refuse_feature(Relation rel, const char *detail, const char *hint)
{
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("cannot distribute table \"%s\"",
				   RelationGetRelationName(rel)),
			errdetail("%s", detail),
			hint != NULL ? errhint("%s", hint) : 0);
}

/*
 * Oids of the named workers, or of all (NULL), ordered by name.
 */
static List *
choose_workers(ArrayType *names)
{
	List	   *workers = NIL;
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;

	if (names == NULL)
		workers = DistWorkers();
	else
	{
		deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elems,
						  &nulls, &nelems);
		for (int i = 0; i < nelems; i++)
		{
			Oid			worker;

			if (nulls[i])
				ereport(ERROR,
						errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("name of a worker cannot be null"));
			worker = worker_by_name(TextDatumGetCString(elems[i]));
			if (list_member_oid(workers, worker))
				ereport(ERROR,
						errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("worker \"%s\" is named twice",
							   TextDatumGetCString(elems[i])));
			workers = lappend_oid(workers, worker);
		}
		list_sort(workers, compare_worker_names);
	}
	if (workers == NIL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("there are no workers"),
				errhint("Add one: SELECT vecdist.add_worker('w1', 'host:port');"));
	return workers;
}

static Oid
worker_by_name(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL || server->fdwid != DistFdwOid())
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("worker \"%s\" does not exist", name),
				errhint("The view vecdist.workers lists the workers."));
	return server->serverid;
}

static int
compare_worker_names(const ListCell *a, const ListCell *b)
{
	return strcmp(GetForeignServer(lfirst_oid(a))->servername,
				  GetForeignServer(lfirst_oid(b))->servername);
}

/*
 * The partition key decides the strategy; where one was named, see that it is
 * the same.  Returns the set of centroids that places rows, or 0.
 */
static int
check_strategy(Relation rel, const char *wanted)
{
	int			set = DistPlacingSet(rel);
	const char *is = "hash";

	if (set != 0)
		is = "centroid";
	else if (RelationGetPartitionKey(rel)->strategy == PARTITION_STRATEGY_LIST)
		is = "list";
	else if (RelationGetPartitionKey(rel)->strategy == PARTITION_STRATEGY_RANGE)
		is = "range";
	if (wanted == NULL || strcmp(wanted, is) == 0)
		return set;

	if (strcmp(wanted, "hash") != 0 && strcmp(wanted, "list") != 0 &&
		strcmp(wanted, "range") != 0 && strcmp(wanted, "centroid") != 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid strategy \"%s\"", wanted),
				errhint("Strategies are hash, list, range and centroid."));
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("table \"%s\" is partitioned by %s, not by %s",
				   RelationGetRelationName(rel), is, wanted),
			strcmp(wanted, "centroid") == 0 ?
			errhint("Make centroids with vecdist.train_centroids, and the table with PARTITION BY LIST (vecdist.nearest_centroid(embedding, <id of the set>)).") :
			errhint("The partition key decides: PARTITION BY %s (...).",
					strcmp(wanted, "hash") == 0 ? "HASH" :
					strcmp(wanted, "list") == 0 ? "LIST" : "RANGE"));
	return 0;					/* keep compiler quiet */
}

/*
 * Which partitions to create now: none of a table partitioned by ranges or
 * lists, whose bounds only the user knows.
 */
static Layout *
lay_out(Relation rel, bool given, int partitions, bool workers_given,
		List *workers, int set)
{
	if (set != 0)
	{
		if (given)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("number of partitions cannot be given for placement by centroid"),
					errdetail("Each centroid has a partition."));
		return lay_out_centroids(set, workers);
	}
	if (RelationGetPartitionKey(rel)->strategy == PARTITION_STRATEGY_HASH)
		return lay_out_hash(given, partitions, workers);
	if (given || workers_given)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("partitions and workers can be given for hash partitioning only"),
				errhint("Add partitions with vecdist.create_partition, naming bound and worker."));
	return make_layout(0);
}

/* Partitions by hash go to the workers in turn. */
static Layout *
lay_out_hash(bool given, int partitions, List *workers)
{
	Layout	   *layout;

	if (!given)
		partitions = PARTITIONS_PER_WORKER * list_length(workers);
	if (partitions < 1 || partitions > MAX_PARTITIONS)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("number of partitions must be between 1 and %d",
					   MAX_PARTITIONS));
	layout = make_layout(partitions);
	for (int p = 0; p < partitions; p++)
	{
		layout->bounds[p] = psprintf("FOR VALUES WITH (modulus %d, remainder %d)",
									 partitions, p);
		layout->homes[p] = list_nth_oid(workers, p % list_length(workers));
	}
	return layout;
}

/*
 * A partition for each centroid; rows without a vector belong to the first.
 * What had most rows in the sample is placed first, each on the worker that
 * has least by then.
 */
static Layout *
lay_out_centroids(int set, List *workers)
{
	const DistCentroidSet *centroids = DistGetCentroidSet(set);
	int			n = centroids->n;
	int			nworkers = list_length(workers);
	Layout	   *layout = make_layout(n);
	int64	   *load = palloc0(sizeof(int64) * nworkers);
	int64	   *rows = palloc(sizeof(int64) * n);

	/* A partition without sampled rows still counts as one. */
	for (int p = 0; p < n; p++)
	{
		rows[p] = centroids->sampled == NULL ? 1 :
			Max(centroids->sampled[p], 1);
		layout->bounds[p] = psprintf(p == 0 ? "FOR VALUES IN (%d, NULL)" :
									 "FOR VALUES IN (%d)", p);
	}
	for (int step = 0; step < n; step++)
	{
		int			largest = -1;
		int			home = 0;

		for (int p = 0; p < n; p++)
			if (!OidIsValid(layout->homes[p]) &&
				(largest < 0 || rows[p] > rows[largest]))
				largest = p;
		for (int w = 1; w < nworkers; w++)
			if (load[w] < load[home])
				home = w;
		layout->homes[largest] = list_nth_oid(workers, home);
		load[home] += rows[largest];
	}
	return layout;
}

static Layout *
make_layout(int npartitions)
{
	Layout	   *layout = palloc(sizeof(Layout));

	layout->npartitions = npartitions;
	layout->bounds = palloc0(sizeof(char *) * Max(npartitions, 1));
	layout->homes = palloc0(sizeof(Oid) * Max(npartitions, 1));
	return layout;
}

/* Create the table on all workers, with the partitions of the layout. */
static void
create_everywhere(Oid relid, const Layout *layout)
{
	List	   *workers = DistWorkers();
	int			nworkers = list_length(workers);
	DistScript *scripts = DistMakeScripts(workers);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	List	   *names = NIL;
	List	   *local = NIL;

	for (int p = 0; p < layout->npartitions; p++)
	{
		char	   *name = makeObjectName(get_rel_name(relid),
										  psprintf("%d", p), NULL);

		if (OidIsValid(get_relname_relid(name, get_rel_namespace(relid))))
			ereport(ERROR,
					errcode(ERRCODE_DUPLICATE_TABLE),
					errmsg("relation \"%s\" already exists", name),
					errhint("The partitions are named after the table, with a number at the end."));
		names = lappend(names, name);
	}
	DistCheckTableFits(scripts, nworkers, relid, list_copy(names));

	for (int i = 0; i < nworkers; i++)
		scripts[i].statements = list_concat(scripts[i].statements,
											DistTableStatements(relid));
	for (int p = 0; p < layout->npartitions; p++)
	{
		Oid			home = layout->homes[p];
		char	   *name = list_nth(names, p);
		char	   *bound = layout->bounds[p];
		List	   *foreign = DistForeignLeafStatements(relid, schema, name,
														bound,
														GetForeignServer(home)->servername,
														NULL, NULL);
		List	   *leaf = DistLeafStatements(relid, schema, name, bound);

		local = list_concat(local, foreign);
		for (int i = 0; i < nworkers; i++)
			scripts[i].statements =
				list_concat(scripts[i].statements,
							list_nth_oid(workers, i) == home ? leaf : foreign);
	}
	for (int i = 0; i < nworkers; i++)
	{
		scripts[i].statements = list_concat(scripts[i].statements,
											DistTableIndexStatements(relid));
		scripts[i].statements = lappend(scripts[i].statements,
										DistListStatement(relid));
	}
	DistRunLocally(local);
	DistListTable(relid);
	VD_DEBUG_POINT("dist-table-created-here");
	DistRunScripts(scripts, nworkers);
	VD_DEBUG_POINT("dist-table-created-on-workers");
}

/* Ask the workers of some scripts the same, all at once. */
static DistRequest *
ask_workers(DistScript *scripts, int nscripts, const char *sql)
{
	DistRequest *requests = palloc0(sizeof(DistRequest) * Max(nscripts, 1));

	for (int i = 0; i < nscripts; i++)
	{
		requests[i].conn = scripts[i].conn;
		requests[i].sql = sql;
	}
	DistExecute(requests, nscripts, -1, 0);
	return requests;
}

static void
check_environment(DistRequest *request)
{
	const char *worker = DistConnWorker(request->conn);

	if (!PQgetisnull(request->result, 0, 0))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("role \"%s\" does not exist on worker \"%s\"",
					   PQgetvalue(request->result, 0, 0), worker),
				errdetail("It owns the table or has privileges on it."),
				errhint("Create it on all workers: SELECT * FROM vecdist.run_on_workers('CREATE ROLE %s')",
						quote_identifier(PQgetvalue(request->result, 0, 0))));
	if (!PQgetisnull(request->result, 0, 1))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("type %s does not exist on worker \"%s\"",
					   PQgetvalue(request->result, 0, 1), worker),
				errhint("Create it on all workers with vecdist.run_on_workers."));
}

static void
append_text_array(StringInfo sql, List *items)
{
	ListCell   *lc;

	appendStringInfoString(sql, "ARRAY[");
	foreach(lc, items)
		appendStringInfo(sql, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 quote_literal_cstr(lfirst(lc)));
	appendStringInfoString(sql, "]::text[]");
}

static List *
index_names(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
		names = lappend(names, get_rel_name(lfirst_oid(lc)));
	table_close(rel, NoLock);
	return names;
}

/* Types of the columns, as every server spells them. */
static List *
type_names(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *names = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			names = lappend(names, format_type_be_qualified(att->atttypid));
	}
	table_close(rel, NoLock);
	return names;
}

/* Roles that the definition of a table names. */
static List *
role_names(Oid relid)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, DistPrivilegeGrantees(relid))
		if (OidIsValid(lfirst_oid(lc)))
		names = lappend(names, GetUserNameFromId(lfirst_oid(lc), false));
	return names;
}

/*
 * Create a foreign partition here; the bound is the user's text, so see to it
 * that it is nothing else than a bound.
 */
static Oid
create_local_partition(Oid parent, const char *schema, const char *name,
					   const char *bound, const char *worker)
{
	List	   *statements = DistForeignLeafStatements(parent, schema, name,
													   bound, worker,
													   NULL, NULL);
	List	   *parsed = raw_parser(linitial(statements), RAW_PARSE_DEFAULT);
	Node	   *stmt = linitial_node(RawStmt, parsed)->stmt;

	if (list_length(parsed) != 1 || !IsA(stmt, CreateForeignTableStmt) ||
		strcmp(((CreateForeignTableStmt *) stmt)->servername, worker) != 0)
		ereport(ERROR,
				errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("invalid partition bound \"%s\"", bound),
				errhint("Write it as in CREATE TABLE ... PARTITION OF: FOR VALUES FROM (1) TO (10), FOR VALUES IN (1, 2), or DEFAULT."));
	DistRunLocally(statements);
	CommandCounterIncrement();
	return get_relname_relid(name, get_namespace_oid(schema, false));
}
