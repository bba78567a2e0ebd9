/*-------------------------------------------------------------------------
 *
 * dist_cluster.c
 *	  This server's part in the cluster, and statements that run on all of it.
 *
 * Two small tables hold what core's catalogs cannot: vecdist.local_worker
 * names the worker that this server is, vecdist.distributed_table lists the
 * tables whose definition the cluster keeps equal everywhere.  Both are
 * ordinary tables of the extension, so standbys and dumps have them; they are
 * read and written here without privilege checks, on behalf of statements
 * that were checked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "distribution/dist_cluster.h"
#include "distribution/dist_config.h"
#include "distribution/dist_placement.h"

#define SCHEMA_NAME "vecdist"
#define LIST_NAME "distributed_table"
#define LOCAL_NAME "local_worker"

bool		DistEnableDdlPropagation = true;

static SysScanDesc begin_list_scan(Relation list, Oid relid);

bool
DistTableIsListed(Oid relid)
{
	Oid			listid = DistOwnTable(LIST_NAME);
	Relation	list;
	SysScanDesc scan;
	bool		found;

	if (!OidIsValid(listid) ||
		get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return false;
	list = table_open(listid, AccessShareLock);
	scan = begin_list_scan(list, relid);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(list, AccessShareLock);
	return found;
}

void
DistListTable(Oid relid)
{
	Relation	list = table_open(DistOwnTable(LIST_NAME), RowExclusiveLock);
	Datum		values[1] = {ObjectIdGetDatum(relid)};
	bool		nulls[1] = {false};

	CatalogTupleInsert(list, heap_form_tuple(RelationGetDescr(list), values,
											 nulls));
	table_close(list, NoLock);
	CommandCounterIncrement();
}

void
DistUnlistTable(Oid relid)
{
	Relation	list = table_open(DistOwnTable(LIST_NAME), RowExclusiveLock);
	SysScanDesc scan = begin_list_scan(list, relid);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(list, &tuple->t_self);
	systable_endscan(scan);
	table_close(list, NoLock);
}

List *
DistListedTables(void)
{
	Oid			listid = DistOwnTable(LIST_NAME);
	List	   *result = NIL;
	Relation	list;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(listid))
		return NIL;
	list = table_open(listid, AccessShareLock);
	scan = begin_list_scan(list, InvalidOid);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Oid			relid = DatumGetObjectId(heap_getattr(tuple, 1,
														  RelationGetDescr(list),
														  &isnull));

		/* A row may outlive its table where the library was not loaded. */
		if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
			result = lappend_oid(result, relid);
	}
	systable_endscan(scan);
	table_close(list, AccessShareLock);
	return result;
}

Oid
DistListedRoot(Oid relid)
{
	List	   *ancestors;
	Oid			root;

	if (!get_rel_relispartition(relid))
		return DistTableIsListed(relid) ? relid : InvalidOid;
	ancestors = get_partition_ancestors(relid);
	if (ancestors == NIL)
		return InvalidOid;		/* a concurrent DETACH got there first */
	root = llast_oid(ancestors);
	return DistTableIsListed(root) ? root : InvalidOid;
}

char *
DistLocalWorker(void)
{
	Oid			localid = DistOwnTable(LOCAL_NAME);
	char	   *name = NULL;
	Relation	local;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(localid))
		return NULL;
	local = table_open(localid, AccessShareLock);
	scan = systable_beginscan(local, InvalidOid, false, NULL, 0, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, 1, RelationGetDescr(local),
										 &isnull);

		name = TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(local, AccessShareLock);
	return name;
}

void
DistRequireCoordinator(const char *funcname)
{
	char	   *worker;

	PreventCommandIfReadOnly(funcname);
	DistRequirePreload();
	worker = DistLocalWorker();
	if (worker != NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot run %s on a worker", funcname),
				errdetail("This server is worker \"%s\" of its cluster.",
						  worker),
				errhint("Connect to the coordinator."));
	if (DistHop > 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot run %s for another server", funcname),
				errhint("Connect to the coordinator."));
}

void
DistLockCluster(LOCKMODE lockmode)
{
	LockRelationOid(DistOwnTable(LIST_NAME), lockmode);
}

DistScript *
DistMakeScripts(List *serverids)
{
	DistScript *scripts = palloc0(sizeof(DistScript) *
								  Max(list_length(serverids), 1));
	ListCell   *lc;

	foreach(lc, serverids)
		scripts[foreach_current_index(lc)].conn =
		DistConnGet(lfirst_oid(lc), GetUserId(), DIST_TARGET_PRIMARY);
	return scripts;
}

void
DistRunScripts(DistScript *scripts, int nscripts)
{
	DistRequest *requests = palloc(sizeof(DistRequest) * Max(nscripts, 1));
	MemoryContext step_context = AllocSetContextCreate(CurrentMemoryContext,
													   "results of a script step",
													   ALLOCSET_SMALL_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(step_context);

	for (int step = 0;; step++)
	{
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(step_context);
		for (int i = 0; i < nscripts; i++)
		{
			if (step >= list_length(scripts[i].statements))
				continue;
			memset(&requests[n], 0, sizeof(DistRequest));
			requests[n].conn = scripts[i].conn;
			requests[n].sql = list_nth(scripts[i].statements, step);
			requests[n].flags = DIST_REQ_WRITE;
			n++;
		}
		if (n == 0)
			break;
		DistExecute(requests, n, -1, 0);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(step_context);
}

void
DistRunOnAllWorkers(List *statements)
{
	List	   *workers = DistWorkers();
	DistScript *scripts = DistMakeScripts(workers);

	for (int i = 0; i < list_length(workers); i++)
		scripts[i].statements = statements;
	DistRunScripts(scripts, list_length(workers));
}

void
DistRunLocally(List *statements)
{
	int			nestlevel = NewGUCNestLevel();
	ListCell   *lc;

	(void) set_config_option("vecdist.enable_ddl_propagation", "off",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);

	/* Not the user's statements, so no notices about what cascades. */
	if (client_min_messages < WARNING)
		(void) set_config_option("client_min_messages", "warning",
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	foreach(lc, statements)
	{
		const char *sql = lfirst(lc);
		int			rc = SPI_execute(sql, false, 0);

		if (rc < 0)
			elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
	}
	SPI_finish();
	AtEOXact_GUC(true, nestlevel);
}

/*
 * Oid of one of our tables, InvalidOid where the extension is not created:
 * without it, the schema and tables of these names would be somebody else's.
 */
Oid
DistOwnTable(const char *name)
{
	Oid			nspid;

	if (!OidIsValid(DistFdwOid()))
		return InvalidOid;
	nspid = get_namespace_oid(SCHEMA_NAME, true);
	return OidIsValid(nspid) ? get_relname_relid(name, nspid) : InvalidOid;
}

/*
 * Scan the list for one table, or all of it for InvalidOid.  It has a few
 * rows, so no index is used.
 */
static SysScanDesc
begin_list_scan(Relation list, Oid relid)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	return systable_beginscan(list, InvalidOid, false, NULL,
							  OidIsValid(relid) ? 1 : 0, &key);
}
