/*-------------------------------------------------------------------------
 *
 * dist_placement.c
 *	  Where the partitions of a table live: the native provider.
 *
 * A leaf that is a foreign table of vecdist_fdw lives on that table's server;
 * every other leaf lives here.  There is no state of our own: catalogs and
 * relcache are asked each time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "distribution/dist_options.h"
#include "distribution/dist_placement.h"

#define FDW_NAME "vecdist_fdw"

static bool find_worker(DistPartition *place, bool details);
static void take_names(DistPartition *place, List *options);
static List *collect_leaves(Oid relid, LOCKMODE lockmode, List *leaves);
static int	compare_servers_by_name(const ListCell *a, const ListCell *b);

Oid
DistFdwOid(void)
{
	return get_foreign_data_wrapper_oid(FDW_NAME, true);
}

bool
DistIsForeignPartition(Oid relid)
{
	DistPartition place = {.relid = relid};

	return find_worker(&place, false);
}

/*
 * Fill in the worker that a partition lives on, and what it is called there if
 * it has another name.  With 'details' false, only say whether there is one.
 * Looks into the caches itself: a search does this for each partition.
 */
static bool
find_worker(DistPartition *place, bool details)
{
	HeapTuple	table = SearchSysCache1(FOREIGNTABLEREL,
										ObjectIdGetDatum(place->relid));
	HeapTuple	server;
	Form_pg_foreign_server form;
	bool		found;
	bool		isnull;

	if (!HeapTupleIsValid(table))
		return false;
	server = SearchSysCache1(FOREIGNSERVEROID,
							 ObjectIdGetDatum(((Form_pg_foreign_table) GETSTRUCT(table))->ftserver));
	if (!HeapTupleIsValid(server))
	{
		ReleaseSysCache(table);
		return false;
	}
	form = (Form_pg_foreign_server) GETSTRUCT(server);
	found = form->srvfdw == DistFdwOid();
	if (found && details)
	{
		Datum		options = SysCacheGetAttr(FOREIGNTABLEREL, table,
											  Anum_pg_foreign_table_ftoptions,
											  &isnull);

		place->serverid = form->oid;
		place->worker = pstrdup(NameStr(form->srvname));
		if (!isnull)
			take_names(place, untransformRelOptions(options));
	}
	ReleaseSysCache(server);
	ReleaseSysCache(table);
	return found;
}

/* The names that options give to the table on its worker. */
static void
take_names(DistPartition *place, List *options)
{
	char	   *schema = DistGetOption(options, "schema_name");
	char	   *name = DistGetOption(options, "table_name");

	if (schema != NULL)
		place->remote_schema = schema;
	if (name != NULL)
		place->remote_name = name;
}

bool
DistIsDistributed(Oid relid)
{
	List	   *children;
	ListCell   *lc;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE ||
		!OidIsValid(DistFdwOid()))
		return false;

	children = find_all_inheritors(relid, NoLock, NULL);
	foreach(lc, children)
		if (DistIsForeignPartition(lfirst_oid(lc)))
		return true;
	return false;
}

List *
DistPartitions(Oid relid, LOCKMODE lockmode)
{
	return collect_leaves(relid, lockmode, NIL);
}

/*
 * Append the leaves below a partitioned table to 'leaves', depth first and
 * in the order of their bounds.  Every table below is locked in 'lockmode';
 * 'relid' itself is locked by the caller.
 */
static List *
collect_leaves(Oid relid, LOCKMODE lockmode, List *leaves)
{
	Relation	parent;
	PartitionDesc desc;
	int			nparts;
	Oid		   *oids;

	check_stack_depth();

	/* The descriptor dies with the relcache reference: copy what we need. */
	parent = table_open(relid, NoLock);
	desc = RelationGetPartitionDesc(parent, true);
	nparts = desc->nparts;
	oids = palloc(sizeof(Oid) * Max(nparts, 1));
	memcpy(oids, desc->oids, sizeof(Oid) * nparts);
	table_close(parent, NoLock);

	for (int i = 0; i < nparts; i++)
	{
		if (lockmode != NoLock)
			LockRelationOid(oids[i], lockmode);
		if (get_rel_relkind(oids[i]) == RELKIND_PARTITIONED_TABLE)
			leaves = collect_leaves(oids[i], lockmode, leaves);
		else
			leaves = lappend(leaves, DistGetPartition(oids[i]));
	}
	pfree(oids);
	return leaves;
}

DistPartition *
DistGetPartition(Oid relid)
{
	DistPartition *result = palloc0(sizeof(DistPartition));

	result->relid = relid;
	result->remote_schema = get_namespace_name(get_rel_namespace(relid));
	result->remote_name = get_rel_name(relid);
	if (result->remote_name == NULL || result->remote_schema == NULL)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation with OID %u does not exist", relid));

	(void) find_worker(result, true);
	return result;
}

List *
DistWorkers(void)
{
	Oid			fdwid = DistFdwOid();
	List	   *servers = NIL;
	List	   *result = NIL;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	ListCell   *lc;

	if (!OidIsValid(fdwid))
		return NIL;

	rel = table_open(ForeignServerRelationId, AccessShareLock);
	scan = systable_beginscan(rel, ForeignServerNameIndexId, true, NULL,
							  0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tuple);

		if (form->srvfdw == fdwid)
			servers = lappend(servers, GetForeignServer(form->oid));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	list_sort(servers, compare_servers_by_name);
	foreach(lc, servers)
		result = lappend_oid(result, ((ForeignServer *) lfirst(lc))->serverid);
	return result;
}

static int
compare_servers_by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(((ForeignServer *) lfirst(a))->servername,
				  ((ForeignServer *) lfirst(b))->servername);
}
