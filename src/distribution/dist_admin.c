/*-------------------------------------------------------------------------
 *
 * dist_admin.c
 *	  Workers: add, remove, run statements on them.
 *
 * Every server of the cluster has a foreign server object for every worker,
 * also for itself, so that statements about them are the same everywhere.
 * The coordinator alone changes this set; a worker knows that it is one, and
 * under which name, from vecdist.local_worker.
 *
 * add_worker creates its server object first and connects through it: the
 * checks use the very options that later requests use.  A failed check undoes
 * it with the transaction; on other servers nothing is created before all
 * checks have passed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "distribution/dist_centroid.h"
#include "distribution/dist_cluster.h"
#include "distribution/dist_config.h"
#include "distribution/dist_connection.h"
#include "distribution/dist_placement.h"
#include "distribution/dist_table.h"
#include "distribution/dist_tabledef.h"
#include "vecdist_compat.h"

/*
 * Facts that two servers must share to work together, in columns FACT_*.
 * The same text runs here and there, on any version and without our
 * extension.
 */
static const char *const facts_query =
"SELECT pg_catalog.current_setting('server_version_num')::int / 10000,"
" pg_catalog.getdatabaseencoding(),"
" pg_catalog.concat_ws(' ', d.datlocprovider::text, d.datcollate,"
"  d.datctype, pg_catalog.to_jsonb(d) ->> 'daticulocale',"
"  pg_catalog.to_jsonb(d) ->> 'datlocale'),"
" c.system_identifier, d.datname,"
" pg_catalog.current_setting('max_prepared_transactions'),"
" e.extversion, n.nspname"
" FROM pg_catalog.pg_control_system() c"
" JOIN pg_catalog.pg_database d"
"  ON d.datname = pg_catalog.current_database()"
" LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'vecdist'"
" LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace";

enum
{
	FACT_MAJOR_VERSION,
	FACT_ENCODING,
	FACT_LOCALE,
	FACT_SYSTEM_IDENTIFIER,
	FACT_DATABASE,
	FACT_MAX_PREPARED,
	FACT_EXTENSION_VERSION,
	FACT_EXTENSION_SCHEMA,
	NUM_FACTS
};

/* Which server is this? */
static const char *const identity_query =
"SELECT c.system_identifier, pg_catalog.current_database()"
" FROM pg_catalog.pg_control_system() c";

/* Is the candidate ready, and free?  Needs our extension there. */
static const char *const membership_query =
"SELECT vecdist.is_preloaded(),"
" (SELECT l.name FROM vecdist.local_worker l),"
" (SELECT pg_catalog.count(*) FROM vecdist.workers)";

VECDIST_FUNCTION_INFO_V1(vecdist_is_preloaded);
VECDIST_FUNCTION_INFO_V1(vecdist_add_worker);
VECDIST_FUNCTION_INFO_V1(vecdist_remove_worker);
VECDIST_FUNCTION_INFO_V1(vecdist_run_on_workers);
VECDIST_FUNCTION_INFO_V1(vecdist_define_worker);
VECDIST_FUNCTION_INFO_V1(vecdist_check_worker);
VECDIST_FUNCTION_INFO_V1(vecdist_forget_worker);
VECDIST_FUNCTION_INFO_V1(vecdist_leave_cluster);

static void check_nothing_prepared(void);
static void check_worker_name(const char *name);
static Oid	define_worker(const char *name, Datum server_options,
						  Datum mapping_options, bool has_mapping);
static Datum make_options(const char *const *names,
						  const char *const *values, int n);
static void check_candidate(DistConn *conn, const char *name);
static void get_local_facts(char **facts);
static void check_same_fact(const char *name, const char *what,
							const char *here, const char *there);
static void check_membership(DistConn *conn, const char *name);
static void announce_worker(Oid new_worker, List *others);
static void check_reachable(Oid new_worker, List *others);
static char *check_worker_call(DistRequest *identity);
static void send_definition(DistConn *conn, Oid serverid);
static char *array_as_text(Datum array);
static void send_tables(Oid new_worker);
static List *leaf_names(Oid relid);
static void check_no_partitions(Oid serverid, const char *name);
static void drop_worker(const char *name);
static char *set_search_path(const char *value);
static List *split_statements(const char *sql);
static void check_statement(Node *stmt);
static bool changes_identity(VariableSetStmt *stmt);
static void return_results(ReturnSetInfo *rsinfo, DistRequest *request);
static char *row_as_text(PGresult *result, int row);

Datum
vecdist_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(DistPreloaded());
}

/*
 * vecdist.add_worker(name, hosts, dbname, user, password)
 */
Datum
vecdist_add_worker(PG_FUNCTION_ARGS)
{
	static const char *const server_names[] = {"hosts", "dbname"};
	static const char *const mapping_names[] = {"user", "password"};
	const char *args[5];
	List	   *others;
	Oid			serverid;

	DistRequireCoordinator("vecdist.add_worker()");
	for (int i = 0; i < lengthof(args); i++)
		args[i] = PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
	if (args[0] == NULL || args[1] == NULL)
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("name and hosts of a worker cannot be null"));
	check_worker_name(args[0]);

	DistLockCluster(ShareRowExclusiveLock);
	others = DistWorkers();
	serverid = define_worker(args[0],
							 make_options(server_names, &args[1], 2),
							 make_options(mapping_names, &args[3], 2), true);
	check_candidate(DistConnGet(serverid, GetUserId(), DIST_TARGET_PRIMARY),
					args[0]);
	announce_worker(serverid, others);
	check_reachable(serverid, others);
	send_tables(serverid);
	PG_RETURN_VOID();
}

/*
 * vecdist.remove_worker(name, force)
 *
 * The worker forgets the cluster in the same transaction, unless it is said
 * to be lost for good ("force").
 */
Datum
vecdist_remove_worker(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		force = PG_GETARG_BOOL(1);
	ForeignServer *server;
	List	   *others;
	DistScript *scripts;
	char	   *forget;

	DistRequireCoordinator("vecdist.remove_worker()");
	DistLockCluster(ShareRowExclusiveLock);
	server = GetForeignServerByName(name, true);
	if (server == NULL || server->fdwid != DistFdwOid())
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("worker \"%s\" does not exist", name));
	check_no_partitions(server->serverid, name);

	others = list_delete_oid(DistWorkers(), server->serverid);
	scripts = DistMakeScripts(others);
	forget = psprintf("SELECT vecdist.forget_worker(%s)",
					  quote_literal_cstr(name));
	for (int i = 0; i < list_length(others); i++)
		scripts[i].statements = list_make1(forget);
	DistRunScripts(scripts, list_length(others));
	if (!force)
	{
		scripts = DistMakeScripts(list_make1_oid(server->serverid));
		scripts[0].statements = list_make1("SELECT vecdist.leave_cluster()");
		DistRunScripts(scripts, 1);
	}
	drop_worker(name);

	/* leave_cluster has made sure that these are about the past. */
	DistRunLocally(list_make1(psprintf("DELETE FROM vecdist.dist_transaction"
									   " WHERE server = %u",
									   server->serverid)));
	PG_RETURN_VOID();
}

/*
 * vecdist.run_on_workers(sql)
 *
 * Each statement of the text runs on all workers at the same time, one after
 * the other, under the caller's search_path.  Only the last one's result is
 * returned.
 */
Datum
vecdist_run_on_workers(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	List	   *statements;
	List	   *workers;
	DistScript *scripts;
	DistRequest *requests;
	int			nworkers;

	DistRequireCoordinator("vecdist.run_on_workers()");
	InitMaterializedSRF(fcinfo, 0);
	statements = split_statements(sql);
	DistLockCluster(RowExclusiveLock);
	workers = DistWorkers();
	nworkers = list_length(workers);
	if (nworkers == 0)
		return (Datum) 0;

	scripts = DistMakeScripts(workers);
	requests = palloc0(sizeof(DistRequest) * nworkers);
	for (int i = 0; i < nworkers; i++)
	{
		scripts[i].statements =
			list_make1(set_search_path(GetConfigOption("search_path", false,
													   false)));
		scripts[i].statements =
			list_concat(scripts[i].statements,
						list_copy_head(statements,
									   list_length(statements) - 1));
		requests[i].conn = scripts[i].conn;
		requests[i].sql = llast(statements);
		requests[i].flags = DIST_REQ_WRITE;

		/* The statements may be SET, SET ROLE, LISTEN and the like. */
		DistConnRetire(scripts[i].conn);
	}
	DistRunScripts(scripts, nworkers);
	DistExecute(requests, nworkers, -1, 0);

	/* Later statements of this transaction count on the connection's own. */
	for (int i = 0; i < nworkers; i++)
		scripts[i].statements = list_make1(set_search_path("pg_catalog"));
	DistRunScripts(scripts, nworkers);

	for (int i = 0; i < nworkers; i++)
		return_results((ReturnSetInfo *) fcinfo->resultinfo, &requests[i]);
	return (Datum) 0;
}

/*
 * vecdist.define_worker(name, server_options, mapping_options)
 */
Datum
vecdist_define_worker(PG_FUNCTION_ARGS)
{
	char	   *name;
	bool		has_mapping = !PG_ARGISNULL(2);

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("name and options of a worker cannot be null"));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_worker_name(name);
	(void) define_worker(name, PG_GETARG_DATUM(1),
						 has_mapping ? PG_GETARG_DATUM(2) : (Datum) 0,
						 has_mapping);
	PG_RETURN_VOID();
}

/*
 * vecdist.check_worker(name, system_identifier, dbname)
 *
 * Do the hosts of a worker lead to the same server from here as from the
 * coordinator?
 */
Datum
vecdist_check_worker(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *system_identifier = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *dbname = text_to_cstring(PG_GETARG_TEXT_PP(2));
	ForeignServer *server = GetForeignServerByName(name, false);
	DistRequest request = {.sql = identity_query};

	request.conn = DistConnGet(server->serverid, GetUserId(),
							   DIST_TARGET_PRIMARY);
	DistExecute(&request, 1, DistNodeTimeout, 0);
	if (strcmp(PQgetvalue(request.result, 0, 0), system_identifier) != 0 ||
		strcmp(PQgetvalue(request.result, 0, 1), dbname) != 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("hosts of worker \"%s\" are not the same server everywhere",
					   name),
				errdetail("From worker \"%s\" they lead to another one than from the coordinator.",
						  DistLocalWorker()),
				errhint("Name hosts by addresses that every server of the cluster can reach."));
	PG_RETURN_VOID();
}

/*
 * vecdist.forget_worker(name)
 */
Datum
vecdist_forget_worker(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ForeignServer *server = GetForeignServerByName(name, true);

	/* Gone already, by hand: what we were to reach. */
	if (server == NULL || server->fdwid != DistFdwOid())
		PG_RETURN_VOID();
	check_no_partitions(server->serverid, name);
	drop_worker(name);
	PG_RETURN_VOID();
}

/*
 * vecdist.leave_cluster()
 *
 * Distributed tables are dropped here: this server holds none of their rows,
 * which is checked.  So is that no prepared transaction waits for the
 * coordinator, which could not reach us any more.
 */
Datum
vecdist_leave_cluster(PG_FUNCTION_ARGS)
{
	List	   *statements = NIL;
	ListCell   *lc;

	if (DistLocalWorker() == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("this server is not a worker"));
	check_nothing_prepared();
	foreach(lc, DistListedTables())
	{
		Oid			relid = lfirst_oid(lc);
		ListCell   *leaf;

		foreach(leaf, DistPartitions(relid, AccessShareLock))
		{
			DistPartition *partition = lfirst(leaf);

			if (!OidIsValid(partition->serverid))
				ereport(ERROR,
						errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("partition \"%s\" lives on this server",
							   partition->remote_name));
		}
		statements = lappend(statements, psprintf("DROP TABLE %s",
												  DistRelationName(relid)));
	}
	DistRunLocally(statements);
	DistForgetCentroids();
	foreach(lc, DistWorkers())
		drop_worker(GetForeignServer(lfirst_oid(lc))->servername);
	DistRunLocally(list_make1("DELETE FROM vecdist.local_worker"));
	PG_RETURN_VOID();
}

static void
check_nothing_prepared(void)
{
	bool		found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT FROM pg_catalog.pg_prepared_xacts"
					" WHERE database = pg_catalog.current_database()"
					" AND pg_catalog.starts_with(gid, 'vecdist_')",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read prepared transactions");
	found = SPI_processed > 0;
	SPI_finish();
	if (found)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("there are prepared transactions of the cluster on this server"),
				errhint("Run on the coordinator: SELECT * FROM vecdist.recover_prepared_transactions()"));
}

static void
check_worker_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("invalid worker name \"%s\"", name),
				errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1));
	if (GetForeignServerByName(name, true) != NULL)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("server \"%s\" already exists", name),
				errhint("Choose another name for the worker."));
}

/*
 * Create the foreign server of a worker and the current user's mapping for it
 * on this server.  The statements are handed to core as parse trees: as text,
 * an error's context would show the password.
 */
static Oid
define_worker(const char *name, Datum server_options, Datum mapping_options,
			  bool has_mapping)
{
	CreateForeignServerStmt *server = makeNode(CreateForeignServerStmt);
	CreateUserMappingStmt *mapping = makeNode(CreateUserMappingStmt);
	ObjectAddress address;

	server->servername = pstrdup(name);
	server->fdwname = "vecdist_fdw";
	server->options = untransformRelOptions(server_options);
	address = CreateForeignServer(server);
	CommandCounterIncrement();

	if (has_mapping)
	{
		mapping->user = makeNode(RoleSpec);
		mapping->user->roletype = ROLESPEC_CURRENT_USER;
		mapping->user->location = -1;
		mapping->servername = pstrdup(name);
		mapping->options = untransformRelOptions(mapping_options);
		(void) CreateUserMapping(mapping);
		CommandCounterIncrement();
	}
	return address.objectId;
}

/* Options as catalogs keep them, 'name=value', from those that are given. */
static Datum
make_options(const char *const *names, const char *const *values, int n)
{
	Datum		items[4];
	int			nitems = 0;

	Assert(n <= lengthof(items));
	for (int i = 0; i < n; i++)
		if (values[i] != NULL)
			items[nitems++] = CStringGetTextDatum(psprintf("%s=%s", names[i],
														   values[i]));
	return PointerGetDatum(construct_array(items, nitems, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/*
 * May the server at the other end join?  It is reached by the first statement
 * on the connection.
 */
static void
check_candidate(DistConn *conn, const char *name)
{
	DistRequest request = {.conn = conn,.sql = facts_query};
	char	   *here[NUM_FACTS];
	char	   *there[NUM_FACTS];

	get_local_facts(here);
	DistExecute(&request, 1, DistNodeTimeout, 0);
	for (int i = 0; i < NUM_FACTS; i++)
		there[i] = PQgetisnull(request.result, 0, i) ? NULL :
			pstrdup(PQgetvalue(request.result, 0, i));

	if (strcmp(here[FACT_SYSTEM_IDENTIFIER], there[FACT_SYSTEM_IDENTIFIER]) == 0 &&
		strcmp(here[FACT_DATABASE], there[FACT_DATABASE]) == 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("worker \"%s\" is this server", name),
				errhint("Name the hosts of another server."));
	check_same_fact(name, "PostgreSQL major version",
					here[FACT_MAJOR_VERSION], there[FACT_MAJOR_VERSION]);
	check_same_fact(name, "server encoding",
					here[FACT_ENCODING], there[FACT_ENCODING]);
	check_same_fact(name, "locale of the database",
					here[FACT_LOCALE], there[FACT_LOCALE]);
	if (there[FACT_EXTENSION_VERSION] == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("extension \"vecdist\" does not exist on worker \"%s\"",
					   name),
				errhint("Run there, in database \"%s\": CREATE EXTENSION vecdist SCHEMA %s VERSION '%s'",
						there[FACT_DATABASE],
						quote_identifier(here[FACT_EXTENSION_SCHEMA]),
						here[FACT_EXTENSION_VERSION]));
	check_same_fact(name, "version of extension \"vecdist\"",
					here[FACT_EXTENSION_VERSION],
					there[FACT_EXTENSION_VERSION]);
	check_same_fact(name, "schema of extension \"vecdist\"",
					here[FACT_EXTENSION_SCHEMA],
					there[FACT_EXTENSION_SCHEMA]);
	check_membership(conn, name);
	if (strcmp(there[FACT_MAX_PREPARED], "0") == 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("max_prepared_transactions is 0 on worker \"%s\"",
					   name),
				errdetail("Transactions over several servers commit in two phases."),
				errhint("Set max_prepared_transactions there to at least max_connections and restart that server."));
}

static void
get_local_facts(char **facts)
{
	MemoryContext context = CurrentMemoryContext;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(facts_query, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read facts of this server");
	for (int i = 0; i < NUM_FACTS; i++)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, i + 1);

		facts[i] = value == NULL ? NULL : MemoryContextStrdup(context, value);
	}
	SPI_finish();
}

static void
check_same_fact(const char *name, const char *what, const char *here,
				const char *there)
{
	if (strcmp(here, there) != 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("%s differs on worker \"%s\"", what, name),
				errdetail("Here it is \"%s\", there \"%s\".", here, there),
				errhint("All servers of a cluster must agree in it."));
}

static void
check_membership(DistConn *conn, const char *name)
{
	DistRequest request = {.conn = conn,.sql = membership_query};

	DistExecute(&request, 1, DistNodeTimeout, 0);
	if (strcmp(PQgetvalue(request.result, 0, 0), "t") != 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("vecdist is not loaded at server start on worker \"%s\"",
					   name),
				errhint("Put \"shared_preload_libraries = 'vecdist'\" into postgresql.conf there and restart that server."));
	if (!PQgetisnull(request.result, 0, 1))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("server of worker \"%s\" already belongs to a cluster",
					   name),
				errdetail("It is worker \"%s\" there.",
						  PQgetvalue(request.result, 0, 1)),
				errhint("If that cluster no longer exists, run there: SELECT vecdist.leave_cluster()"));
	if (strcmp(PQgetvalue(request.result, 0, 2), "0") != 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("server of worker \"%s\" already belongs to a cluster",
					   name),
				errdetail("It has workers of its own."),
				errhint("Drop its foreign servers of vecdist_fdw first."));
}

/*
 * Tell the new worker its name and all workers, and the others of it.
 */
static void
announce_worker(Oid new_worker, List *others)
{
	DistConn   *conn = DistConnGet(new_worker, GetUserId(),
								   DIST_TARGET_PRIMARY);
	ForeignServer *server = GetForeignServer(new_worker);
	ListCell   *lc;

	DistExec(conn, psprintf("INSERT INTO vecdist.local_worker VALUES (%s)",
							quote_literal_cstr(server->servername)),
			 NULL, DIST_REQ_WRITE);
	send_definition(conn, new_worker);
	foreach(lc, others)
	{
		Oid			other = lfirst_oid(lc);

		send_definition(conn, other);
		send_definition(DistConnGet(other, GetUserId(), DIST_TARGET_PRIMARY),
						new_worker);
	}
}

/*
 * Have the new worker and each of the others connect to one another: any of
 * them can be asked for rows of any other.
 */
static void
check_reachable(Oid new_worker, List *others)
{
	List	   *all = lcons_oid(new_worker, list_copy(others));
	int			n = list_length(all);
	DistRequest *identities = palloc0(sizeof(DistRequest) * n);
	DistScript *scripts = DistMakeScripts(all);

	for (int i = 0; i < n; i++)
	{
		identities[i].conn = scripts[i].conn;
		identities[i].sql = identity_query;
	}
	DistExecute(identities, n, DistNodeTimeout, 0);

	for (int i = 1; i < n; i++)
	{
		scripts[0].statements = lappend(scripts[0].statements,
										check_worker_call(&identities[i]));
		scripts[i].statements = list_make1(check_worker_call(&identities[0]));
	}
	DistRunScripts(scripts, n);
}

/* A call of check_worker for the worker that answered identity_query. */
static char *
check_worker_call(DistRequest *identity)
{
	return psprintf("SELECT vecdist.check_worker(%s, %s, %s)",
					quote_literal_cstr(DistConnWorker(identity->conn)),
					quote_literal_cstr(PQgetvalue(identity->result, 0, 0)),
					quote_literal_cstr(PQgetvalue(identity->result, 0, 1)));
}

/* Have a server define a worker with the options it has here. */
static void
send_definition(DistConn *conn, Oid serverid)
{
	const char *values[3] = {NULL, NULL, NULL};
	DistParams	params = {.n = 3,.values = values};
	HeapTuple	tuple = SearchSysCache1(FOREIGNSERVEROID,
										ObjectIdGetDatum(serverid));
	Datum		options;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for foreign server %u", serverid);
	values[0] = GetForeignServer(serverid)->servername;
	options = SysCacheGetAttr(FOREIGNSERVEROID, tuple,
							  Anum_pg_foreign_server_srvoptions, &isnull);
	values[1] = isnull ? "{}" : array_as_text(options);
	ReleaseSysCache(tuple);

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
							ObjectIdGetDatum(GetUserId()),
							ObjectIdGetDatum(serverid));
	if (HeapTupleIsValid(tuple))
	{
		options = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
								  Anum_pg_user_mapping_umoptions, &isnull);
		values[2] = isnull ? "{}" : array_as_text(options);
		ReleaseSysCache(tuple);
	}
	DistExec(conn, "SELECT vecdist.define_worker($1, $2, $3)", &params,
			 DIST_REQ_WRITE);
}

static char *
array_as_text(Datum array)
{
	Oid			output;
	bool		isvarlena;

	getTypeOutputInfo(TEXTARRAYOID, &output, &isvarlena);
	return OidOutputFunctionCall(output, array);
}

/* Create the sets of centroids and the distributed tables on a new worker. */
static void
send_tables(Oid new_worker)
{
	DistScript *script = DistMakeScripts(list_make1_oid(new_worker));
	ListCell   *lc;

	script->statements = DistCentroidStatements();
	foreach(lc, DistListedTables())
	{
		Oid			relid = lfirst_oid(lc);

		/* The cluster lock keeps statements of ours away; this, all others. */
		LockRelationOid(relid, ShareUpdateExclusiveLock);
		DistCheckTableFits(script, 1, relid, leaf_names(relid));
		script->statements = list_concat(script->statements,
										 DistShellStatements(relid));
		script->statements = lappend(script->statements,
									 DistListStatement(relid));
	}
	DistRunScripts(script, 1);
}

/* Names of all partitions in the table's own schema. */
static List *
leaf_names(Oid relid)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Oid			child = lfirst_oid(lc);

		if (child != relid &&
			get_rel_namespace(child) == get_rel_namespace(relid))
			names = lappend(names, get_rel_name(child));
	}
	return names;
}

static void
check_no_partitions(Oid serverid, const char *name)
{
	Relation	rel = table_open(ForeignTableRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0,
										  NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_table table = (Form_pg_foreign_table) GETSTRUCT(tuple);

		if (table->ftserver == serverid)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("worker \"%s\" holds partitions", name),
					errdetail("One of them is \"%s\".",
							  get_rel_name(table->ftrelid)),
					errhint("The view vecdist.partitions lists them; drop them with vecdist.drop_partition, or their tables."));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Drop the server object of a worker with all user mappings.  The caller has
 * checked that no foreign table needs it, so nothing else can go along.
 */
static void
drop_worker(const char *name)
{
	DistRunLocally(list_make1(psprintf("DROP SERVER %s CASCADE",
									   quote_identifier(name))));
}

/* A statement that sets the search_path until the transaction ends. */
static char *
set_search_path(const char *value)
{
	return psprintf("SELECT pg_catalog.set_config('search_path', %s, true)",
					quote_literal_cstr(value));
}

/* The statements of a text, those refused that would break the connection. */
static List *
split_statements(const char *sql)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, raw_parser(sql, RAW_PARSE_DEFAULT))
	{
		RawStmt    *raw = lfirst_node(RawStmt, lc);

		check_statement(raw->stmt);
		result = lappend(result,
						 raw->stmt_len == 0 ?
						 pstrdup(sql + raw->stmt_location) :
						 pnstrdup(sql + raw->stmt_location, raw->stmt_len));
	}
	if (result == NIL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("there is no statement to run"));
	return result;
}

/*
 * A connection serves many commands, and its transaction is ours.  Statements
 * that end the transaction or change what later commands on the connection
 * rely on are refused.
 */
static void
check_statement(Node *stmt)
{
	bool		refuse;

	switch (nodeTag(stmt))
	{
		case T_TransactionStmt:
		case T_DiscardStmt:
		case T_DeallocateStmt:
		case T_ClosePortalStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
		case T_ConstraintsSetStmt:
			refuse = true;
			break;
		case T_VariableSetStmt:
			refuse = !((VariableSetStmt *) stmt)->is_local ||
				changes_identity((VariableSetStmt *) stmt);
			break;
		case T_CopyStmt:
			refuse = ((CopyStmt *) stmt)->filename == NULL;
			break;
		default:
			refuse = false;
			break;
	}
	if (refuse)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("this statement cannot be run on workers"),
				errdetail("It would change the transaction or the session that later commands use."),
				errhint("Connect to the worker to run it there."));
}

/* SET ROLE and SET SESSION AUTHORIZATION are settings to the parser. */
static bool
changes_identity(VariableSetStmt *stmt)
{
	return stmt->name != NULL &&
		(strcmp(stmt->name, "role") == 0 ||
		 strcmp(stmt->name, "session_authorization") == 0);
}

/*
 * One output row for each row of the worker's answer, or one with the command
 * tag where it has none.
 */
static void
return_results(ReturnSetInfo *rsinfo, DistRequest *request)
{
	Datum		values[2];
	bool		nulls[2] = {false, false};
	int			nrows = PQntuples(request->result);

	values[0] = CStringGetTextDatum(DistConnWorker(request->conn));
	for (int row = 0; row < Max(nrows, 1); row++)
	{
		char	   *text = nrows == 0 ? PQcmdStatus(request->result) :
		row_as_text(request->result, row);

		nulls[1] = text == NULL;
		values[1] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
}

/* A single column's value, or several columns as a row is written. */
static char *
row_as_text(PGresult *result, int row)
{
	int			ncolumns = PQnfields(result);
	StringInfoData buf;

	if (ncolumns == 1)
		return PQgetisnull(result, row, 0) ? NULL : PQgetvalue(result, row, 0);

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '(');
	for (int i = 0; i < ncolumns; i++)
	{
		const char *value = PQgetvalue(result, row, i);

		if (i > 0)
			appendStringInfoChar(&buf, ',');
		if (PQgetisnull(result, row, i))
			continue;
		if (value[0] != '\0' && strpbrk(value, "\"\\(), \t\n\r\v\f") == NULL)
		{
			appendStringInfoString(&buf, value);
			continue;
		}
		appendStringInfoChar(&buf, '"');
		for (; *value != '\0'; value++)
		{
			if (*value == '"' || *value == '\\')
				appendStringInfoChar(&buf, *value);
			appendStringInfoChar(&buf, *value);
		}
		appendStringInfoChar(&buf, '"');
	}
	appendStringInfoChar(&buf, ')');
	return buf.data;
}
