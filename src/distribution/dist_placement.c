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
	HeapTuple	tuple = SearchSysCache1(FOREIGNTABLEREL, ObjectIdGetDatum(relid));
	Oid			server;
	Oid			fdwid = InvalidOid;

	if (!HeapTupleIsValid(tuple))
		return false;
	server = ((Form_pg_foreign_table) GETSTRUCT(tuple))->ftserver;
	ReleaseSysCache(tuple);

	tuple = SearchSysCache1(FOREIGNSERVEROID, ObjectIdGetDatum(server));
	if (HeapTupleIsValid(tuple))
	{
		fdwid = ((Form_pg_foreign_server) GETSTRUCT(tuple))->srvfdw;
		ReleaseSysCache(tuple);
	}
	return OidIsValid(fdwid) && fdwid == DistFdwOid();
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

	if (DistIsForeignPartition(relid))
	{
		ForeignTable *table = GetForeignTable(relid);
		char	   *schema = DistGetOption(table->options, "schema_name");
		char	   *name = DistGetOption(table->options, "table_name");

		result->serverid = table->serverid;
		result->worker = GetForeignServer(table->serverid)->servername;
		if (schema != NULL)
			result->remote_schema = schema;
		if (name != NULL)
			result->remote_name = name;
	}
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
