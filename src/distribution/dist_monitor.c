/*-------------------------------------------------------------------------
 *
 * dist_monitor.c
 *	  What a session can see of its connections: vecdist.connections.
 *
 * Looks only; opens, checks and closes nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "distribution/dist_connection_private.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(vecdist_connections);

static const char *state_name(DistConn *conn);

/*
 * vecdist.connections()
 *		The connections of this session that are open or being opened, and
 *		those that were lost.
 */
Datum
vecdist_connections(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	slist_iter	iter;

	InitMaterializedSRF(fcinfo, 0);
	slist_foreach(iter, &DistConns)
	{
		DistConn   *conn = slist_container(DistConn, link, iter.cur);
		Datum		values[9] = {0};
		bool		nulls[9] = {false};

		values[0] = CStringGetTextDatum(conn->worker);
		values[1] = ObjectIdGetDatum(conn->userid);
		values[2] = BoolGetDatum(conn->target == DIST_TARGET_PRIMARY);
		values[3] = CStringGetTextDatum(state_name(conn));
		if (conn->pg != NULL && conn->host >= 0)
			values[4] = CStringGetTextDatum(DistConnHost(conn));
		else
			nulls[4] = true;
		if (conn->state == DIST_CONN_IDLE || conn->state == DIST_CONN_BUSY)
		{
			values[5] = BoolGetDatum(DistConnIsStandby(conn));
			values[6] = Int32GetDatum(PQbackendPID(conn->pg));
		}
		else
			nulls[5] = nulls[6] = true;
		values[7] = BoolGetDatum(conn->depth > 0);
		values[8] = Int32GetDatum(conn->nprepared);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static const char *
state_name(DistConn *conn)
{
	switch (conn->state)
	{
		case DIST_CONN_CLOSED:
			return "closed";
		case DIST_CONN_CONNECTING:
			return "connecting";
		case DIST_CONN_IDLE:
			return "idle";
		case DIST_CONN_BUSY:
			return "busy";
		case DIST_CONN_BROKEN:
			return "broken";
	}
	pg_unreachable();
}
