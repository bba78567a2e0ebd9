/*-------------------------------------------------------------------------
 *
 * dist_copy.c
 *	  INSERT and COPY: rows streamed to the workers.
 *
 * Core routes each row to its leaf and hands it to us.  We write it at once in
 * COPY's wire format into the leaf's buffer.  A full buffer goes to the worker
 * as a burst of COPY data on the one connection we have to it; several leaves
 * of one worker take turns.  Nothing waits for a worker unless its socket is
 * full, or another leaf's turn comes, so all workers are busy at once.
 *
 *	row -> buffer of the leaf -> open COPY of the connection -> worker
 *
 * A COPY stays open until another leaf, or somebody else, wants the
 * connection.  Before the statement ends everything has been sent and
 * acknowledged (finish_statement).  Whoever reads or changes rows through us
 * in between calls DistFlushInserts() first, so that they see what a statement
 * around them has inserted (triggers, functions).
 *
 * Two things are not sent early:
 *
 *  - Rows for a leaf that the same statement reads.  Sent while the statement
 *	  runs they could be read by it, so they wait in a temporary file.
 *  - Rows of a statement of an outer subtransaction level: the worker would
 *	  forget them if the inner level is rolled back.
 *
 * An aborted transaction takes its connections' COPYs with it; all we have to
 * do then is to forget them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/buffile.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "distribution/dist_connection.h"
#include "distribution/dist_deparse.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_values.h"
#include "vecdist_compat.h"

/* Begin a burst when a leaf has this much ... */
#define BURST_BYTES			(512 * 1024)
/* ... go on with it in pieces of this size ... */
#define PIECE_BYTES			(64 * 1024)
/* ... and keep at most this much back, over all leaves. */
#define PENDING_BYTES		(64 * 1024 * 1024)

/* A connection and the leaves that take turns on it. */
typedef struct Channel
{
	Oid			serverid;
	Oid			userid;
	DistConn   *conn;
	dlist_head	inserts;		/* of InsertState */
	struct InsertState *open;	/* whose COPY is open, or NULL */
	SubTransactionId open_subid;	/* in which subtransaction it began */
} Channel;

/* One leaf of one running INSERT or COPY, in the query's memory context. */
typedef struct InsertState
{
	EState	   *estate;			/* the statement */
	DistPartition *partition;
	Channel    *channel;
	dlist_node	link;			/* in channel->inserts */
	MemoryContextCallback unlink;	/* takes it out */
	int			nestlevel;		/* subtransaction level of the statement */

	char	   *sql;			/* COPY ... FROM STDIN */
	bool		binary;
	int			ncolumns;
	AttrNumber *attnums;		/* columns to send */
	DistValueWriter *writers;	/* one for each */
	StringInfoData buffer;		/* rows not handed to the connection yet */
	bool		deferred;		/* the statement reads this leaf */
	BufFile    *spool;			/* rows of a deferred leaf, or NULL */
	bool		finished;
	MemoryContext row_context;	/* reset for each row */
} InsertState;

/* Channels of this transaction, in TopTransactionContext. */
static List *channels = NIL;

/* Bytes in all buffers. */
static Size pending_bytes = 0;

static const char copy_header[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0";
#define COPY_HEADER_BYTES 19
static const char copy_trailer[] = "\377\377";
#define COPY_TRAILER_BYTES 2

static void check_insert(ModifyTableState *mtstate, ResultRelInfo *rinfo);
static void refuse(Oid relid, const char *why) pg_attribute_noreturn();
static void begin_insert(ModifyTableState *mtstate, ResultRelInfo *rinfo);
static void init_columns(InsertState *insert, Relation rel);
static bool statement_reads(EState *estate, ResultRelInfo *rinfo);
static Channel *get_channel(Oid serverid, Oid userid);
static void unlink_insert(void *arg);
static void append_binary_row(InsertState *insert, TupleTableSlot *slot);
static void append_text_row(InsertState *insert, TupleTableSlot *slot);
static void append_escaped(StringInfo buf, const char *text);
static void buffer_grew(InsertState *insert, Size old_bytes);
static InsertState *largest_insert(void);
static void spool_buffer(InsertState *insert);
static void send_buffer(InsertState *insert);
static void open_copy(InsertState *insert);
static void send_spool(InsertState *insert);
static void clear_buffer(InsertState *insert);
static void end_copy(Channel *channel);
static void collect_copy(Channel *channel);
static void finish_callback(DistConn *conn, void *arg);
static void finish_statement(EState *estate);
static InsertState *next_unfinished(Channel *channel, EState *estate);
static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId mySubid,
							 SubTransactionId parentSubid, void *arg);

/*
 * DistBeginForeignModify
 *		An INSERT names the leaf itself.
 */
void
DistBeginForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
					   List *fdw_private, int subplan_index, int eflags)
{
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	check_insert(mtstate, rinfo);
	begin_insert(mtstate, rinfo);
}

/*
 * DistBeginForeignInsert
 *		The first row of an INSERT, COPY or UPDATE is routed to a leaf.
 */
void
DistBeginForeignInsert(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	check_insert(mtstate, rinfo);
	begin_insert(mtstate, rinfo);
}

/*
 * Refuse what DistCheckQuery() could not see: COPY, and leaves that differ
 * from the partitioned table.
 */
static void
check_insert(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	Oid			relid = RelationGetRelid(rinfo->ri_RelationDesc);
	ResultRelInfo *root = rinfo->ri_RootResultRelInfo ?
	rinfo->ri_RootResultRelInfo : rinfo;

	if (mtstate->operation != CMD_INSERT)
		refuse(relid, "A row cannot move to another partition.");
	if (mtstate->ps.plan != NULL &&
		((ModifyTable *) mtstate->ps.plan)->onConflictAction != ONCONFLICT_NONE)
		refuse(relid, "It has an ON CONFLICT clause.");
	if (rinfo->ri_projectReturning != NULL)
		refuse(relid, "It has a RETURNING list.");
	if (rinfo->ri_WithCheckOptions != NIL)
		refuse(relid, "New rows have to pass WITH CHECK OPTION or row security.");
	if (mtstate->mt_transition_capture != NULL ||
		DistHasRowTrigger(rinfo->ri_RelationDesc, CMD_INSERT))
		refuse(relid, "Triggers have to see each row.");

	/* COPY does not tell which columns it has values for. */
	if (mtstate->ps.plan == NULL &&
		DistHasSequenceDefault(root->ri_RelationDesc))
		refuse(relid, "COPY may take values of a sequence, which are not unique in the cluster.");
}

static void
refuse(Oid relid, const char *why)
{
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("cannot insert into partition \"%s\" of a worker this way",
				   get_rel_name(relid)),
			errdetail_internal("%s", why),
			errhint("Use a plain INSERT or COPY."));
}

static void
begin_insert(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	static bool registered = false;
	EState	   *estate = mtstate->ps.state;
	Relation	rel = rinfo->ri_RelationDesc;
	MemoryContext oldcontext;
	InsertState *insert;

	if (!registered)
	{
		RegisterXactCallback(xact_callback, NULL);
		RegisterSubXactCallback(subxact_callback, NULL);
		registered = true;
	}

	oldcontext = MemoryContextSwitchTo(estate->es_query_cxt);
	insert = palloc0(sizeof(InsertState));
	insert->estate = estate;
	insert->partition = DistGetPartition(RelationGetRelid(rel));
	insert->nestlevel = GetCurrentTransactionNestLevel();
	insert->deferred = statement_reads(estate, rinfo);
	init_columns(insert, rel);
	initStringInfo(&insert->buffer);
	insert->row_context = AllocSetContextCreate(estate->es_query_cxt,
												"vecdist insert row",
												ALLOCSET_DEFAULT_SIZES);

	insert->channel = get_channel(insert->partition->serverid,
								  VecdistInsertUser(rinfo, estate));
	dlist_push_tail(&insert->channel->inserts, &insert->link);
	insert->unlink.func = unlink_insert;
	insert->unlink.arg = insert;
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &insert->unlink);
	MemoryContextSwitchTo(oldcontext);

	rinfo->ri_FdwState = insert;
}

/*
 * Choose the columns to send, and how.  The worker computes generated columns
 * itself; all others go, because their defaults were evaluated here.
 */
static void
init_columns(InsertState *insert, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const char *separator = "(";
	StringInfoData sql;

	insert->attnums = palloc(sizeof(AttrNumber) * Max(desc->natts, 1));
	insert->writers = palloc0(sizeof(DistValueWriter) * Max(desc->natts, 1));
	insert->binary = true;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "COPY ");
	DistAppendRemoteName(&sql, insert->partition);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (attr->attisdropped || attr->attgenerated)
			continue;
		insert->attnums[insert->ncolumns++] = attr->attnum;
		insert->binary &= DistTypeIsBinarySafe(attr->atttypid);
		appendStringInfo(&sql, "%s%s", separator,
						 quote_identifier(NameStr(attr->attname)));
		separator = ", ";
	}
	if (insert->ncolumns == 0)
		refuse(RelationGetRelid(rel), "It has no column to send.");
	for (int i = 0; i < insert->ncolumns; i++)
		DistInitValueWriter(&insert->writers[i],
							TupleDescAttr(desc, insert->attnums[i] - 1)->atttypid,
							insert->binary);
	appendStringInfo(&sql, ") FROM STDIN%s",
					 insert->binary ? " (FORMAT binary)" : "");
	insert->sql = sql.data;
}

/* Does the statement also read the leaf that it inserts into? */
static bool
statement_reads(EState *estate, ResultRelInfo *rinfo)
{
	Oid			relid = RelationGetRelid(rinfo->ri_RelationDesc);
	Index		rti = 0;
	ListCell   *lc;

	foreach(lc, estate->es_range_table)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rti++;
		if (rte->rtekind == RTE_RELATION && rte->relid == relid &&
			rti != rinfo->ri_RangeTableIndex)
			return true;
	}
	return false;
}

static Channel *
get_channel(Oid serverid, Oid userid)
{
	MemoryContext oldcontext;
	Channel    *channel;
	ListCell   *lc;

	foreach(lc, channels)
	{
		channel = (Channel *) lfirst(lc);
		if (channel->serverid == serverid && channel->userid == userid)
			return channel;
	}

	oldcontext = MemoryContextSwitchTo(TopTransactionContext);
	channel = palloc0(sizeof(Channel));
	channel->serverid = serverid;
	channel->userid = userid;
	channel->conn = DistConnGet(serverid, userid, DIST_TARGET_PRIMARY);
	dlist_init(&channel->inserts);
	channels = lappend(channels, channel);
	MemoryContextSwitchTo(oldcontext);
	return channel;
}

/*
 * Called as the query's memory goes away.  After an error rows may be left.
 * The channel is gone already if the transaction has ended.
 */
static void
unlink_insert(void *arg)
{
	InsertState *insert = (InsertState *) arg;

	if (insert->channel == NULL)
		return;
	pending_bytes -= insert->buffer.len;
	if (insert->channel->open == insert)
		insert->channel->open = NULL;
	dlist_delete(&insert->link);
}

/*
 * DistExecForeignInsert
 *		Take one row.
 */
TupleTableSlot *
DistExecForeignInsert(EState *estate, ResultRelInfo *rinfo,
					  TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	InsertState *insert = (InsertState *) rinfo->ri_FdwState;
	Size		old_bytes = insert->buffer.len;
	MemoryContext oldcontext;

	slot_getallattrs(slot);
	MemoryContextReset(insert->row_context);
	oldcontext = MemoryContextSwitchTo(insert->row_context);
	if (insert->binary)
		append_binary_row(insert, slot);
	else
		append_text_row(insert, slot);
	MemoryContextSwitchTo(oldcontext);

	buffer_grew(insert, old_bytes);
	return slot;
}

static void
append_binary_row(InsertState *insert, TupleTableSlot *slot)
{
	StringInfo	buf = &insert->buffer;
	uint16		ncolumns = pg_hton16((uint16) insert->ncolumns);

	appendBinaryStringInfo(buf, (char *) &ncolumns, sizeof(ncolumns));
	for (int i = 0; i < insert->ncolumns; i++)
	{
		int			attr = insert->attnums[i] - 1;
		bytea	   *bytes;
		uint32		length;

		if (slot->tts_isnull[attr])
		{
			length = pg_hton32((uint32) -1);
			appendBinaryStringInfo(buf, (char *) &length, sizeof(length));
			continue;
		}
		bytes = SendFunctionCall(&insert->writers[i].function,
								 slot->tts_values[attr]);
		length = pg_hton32((uint32) (VARSIZE(bytes) - VARHDRSZ));
		appendBinaryStringInfo(buf, (char *) &length, sizeof(length));
		appendBinaryStringInfo(buf, VARDATA(bytes), VARSIZE(bytes) - VARHDRSZ);
	}
}

static void
append_text_row(InsertState *insert, TupleTableSlot *slot)
{
	StringInfo	buf = &insert->buffer;
	int			nestlevel = DistPushTextSettings();

	for (int i = 0; i < insert->ncolumns; i++)
	{
		int			attr = insert->attnums[i] - 1;

		if (i > 0)
			appendStringInfoChar(buf, '\t');
		if (slot->tts_isnull[attr])
			appendStringInfoString(buf, "\\N");
		else
			append_escaped(buf,
						   OutputFunctionCall(&insert->writers[i].function,
											  slot->tts_values[attr]));
	}
	appendStringInfoChar(buf, '\n');
	AtEOXact_GUC(true, nestlevel);
}

/* Append a value in COPY's text format. */
static void
append_escaped(StringInfo buf, const char *text)
{
	for (const char *p = text; *p; p++)
	{
		switch (*p)
		{
			case '\\':
				appendStringInfoString(buf, "\\\\");
				break;
			case '\n':
				appendStringInfoString(buf, "\\n");
				break;
			case '\r':
				appendStringInfoString(buf, "\\r");
				break;
			case '\t':
				appendStringInfoString(buf, "\\t");
				break;
			default:
				appendStringInfoCharMacro(buf, *p);
				break;
		}
	}
}

/* A row was added: pass on what has become too much. */
static void
buffer_grew(InsertState *insert, Size old_bytes)
{
	Size		limit = BURST_BYTES;

	pending_bytes += insert->buffer.len - old_bytes;
	if (insert->channel->open == insert)
		limit = PIECE_BYTES;

	if (insert->buffer.len >= limit)
	{
		if (insert->deferred)
			spool_buffer(insert);
		else
			send_buffer(insert);
	}
	while (pending_bytes > PENDING_BYTES)
	{
		InsertState *largest = largest_insert();

		if (largest == NULL)
			break;
		if (largest->deferred)
			spool_buffer(largest);
		else
			send_buffer(largest);
	}
}

/* The leaf with the largest buffer that may be sent now. */
static InsertState *
largest_insert(void)
{
	InsertState *largest = NULL;
	ListCell   *lc;

	foreach(lc, channels)
	{
		Channel    *channel = (Channel *) lfirst(lc);
		dlist_iter	iter;

		dlist_foreach(iter, &channel->inserts)
		{
			InsertState *insert = dlist_container(InsertState, link, iter.cur);

			if (insert->buffer.len > 0 &&
				insert->nestlevel == GetCurrentTransactionNestLevel() &&
				(largest == NULL || insert->buffer.len > largest->buffer.len))
				largest = insert;
		}
	}
	return largest;
}

/* Move the buffer of a deferred leaf into its temporary file. */
static void
spool_buffer(InsertState *insert)
{
	if (insert->spool == NULL)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(insert->estate->es_query_cxt);

		insert->spool = BufFileCreateTemp(false);
		MemoryContextSwitchTo(oldcontext);
	}
	BufFileWrite(insert->spool, insert->buffer.data, insert->buffer.len);
	clear_buffer(insert);
}

/* Hand the buffer over to the leaf's COPY, which is opened if need be. */
static void
send_buffer(InsertState *insert)
{
	Channel    *channel = insert->channel;

	Assert(insert->nestlevel == GetCurrentTransactionNestLevel());
	if (channel->open != insert)
		open_copy(insert);
	DistConnPutCopyData(channel->conn, insert->buffer.data,
						insert->buffer.len);
	clear_buffer(insert);
}

/*
 * Open the COPY of a leaf.  Whatever else is open on the connection, another
 * leaf's COPY usually, is finished by DistConnStart through its callback.
 */
static void
open_copy(InsertState *insert)
{
	Channel    *channel = insert->channel;

	DistConnStart(channel->conn, insert->sql, NULL, DIST_REQ_WRITE);
	DistConnSetFinish(channel->conn, finish_callback, channel);
	channel->open = insert;
	channel->open_subid = GetCurrentSubTransactionId();
	if (insert->binary)
		DistConnPutCopyData(channel->conn, copy_header, COPY_HEADER_BYTES);
}

/* Send what a deferred leaf has in its temporary file. */
static void
send_spool(InsertState *insert)
{
	char	   *piece = palloc(PIECE_BYTES);
	size_t		length;

	if (BufFileSeek(insert->spool, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not rewind temporary file of inserted rows"));
	if (insert->channel->open != insert)
		open_copy(insert);
	while ((length = BufFileRead(insert->spool, piece, PIECE_BYTES)) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		DistConnPutCopyData(insert->channel->conn, piece, length);
	}
	BufFileClose(insert->spool);
	insert->spool = NULL;
	pfree(piece);
}

static void
clear_buffer(InsertState *insert)
{
	pending_bytes -= insert->buffer.len;
	resetStringInfo(&insert->buffer);
}

/*
 * Tell the worker that the open COPY has no more rows.  An error leaves no
 * COPY open.
 */
static void
end_copy(Channel *channel)
{
	InsertState *insert = channel->open;

	channel->open = NULL;
	DistConnSetFinish(channel->conn, NULL, NULL);
	if (insert->binary)
		DistConnPutCopyData(channel->conn, copy_trailer, COPY_TRAILER_BYTES);
	DistConnPutCopyEnd(channel->conn);
}

/* Wait for the worker's answer to a COPY that was ended. */
static void
collect_copy(Channel *channel)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "vecdist COPY result",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);

	while (DistConnResult(channel->conn, -1) != NULL)
		;
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(context);
}

/* Somebody needs the connection. */
static void
finish_callback(DistConn *conn, void *arg)
{
	Channel    *channel = (Channel *) arg;

	end_copy(channel);
	collect_copy(channel);
}

/*
 * DistFlushInserts
 *		Let the workers have all rows that were inserted so far.
 */
void
DistFlushInserts(void)
{
	ListCell   *lc;

	foreach(lc, channels)
	{
		Channel    *channel = (Channel *) lfirst(lc);
		dlist_iter	iter;

		dlist_foreach(iter, &channel->inserts)
		{
			InsertState *insert = dlist_container(InsertState, link, iter.cur);

			if (insert->buffer.len > 0 && !insert->deferred &&
				insert->nestlevel == GetCurrentTransactionNestLevel())
				send_buffer(insert);
		}
		if (channel->open != NULL)
			finish_callback(channel->conn, channel);
	}
}

/*
 * DistEndForeignInsert
 *		One leaf of a statement, and with it the statement, ends.
 */
void
DistEndForeignInsert(EState *estate, ResultRelInfo *rinfo)
{
	InsertState *insert = (InsertState *) rinfo->ri_FdwState;

	if (insert != NULL && !insert->finished)
		finish_statement(estate);
}

/*
 * Send everything that the leaves of a statement still have, and wait until
 * the workers have taken it.  In each round every connection gets one leaf's
 * COPY to its end, so that the workers finish at the same time.
 */
static void
finish_statement(EState *estate)
{
	bool		any;

	do
	{
		List	   *ended = NIL;
		ListCell   *lc;

		any = false;
		foreach(lc, channels)
		{
			Channel    *channel = (Channel *) lfirst(lc);
			InsertState *insert = next_unfinished(channel, estate);

			if (insert == NULL)
				continue;
			any = true;
			if (insert->spool != NULL)
				send_spool(insert);
			if (insert->buffer.len > 0)
				send_buffer(insert);
			insert->finished = true;
			if (channel->open == insert)
			{
				end_copy(channel);
				ended = lappend(ended, channel);
			}
		}
		foreach(lc, ended)
			collect_copy((Channel *) lfirst(lc));
	} while (any);
}

/* A leaf of the statement to be finished next; the one with an open COPY. */
static InsertState *
next_unfinished(Channel *channel, EState *estate)
{
	InsertState *result = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &channel->inserts)
	{
		InsertState *insert = dlist_container(InsertState, link, iter.cur);

		if (insert->estate != estate || insert->finished)
			continue;
		if (channel->open == insert)
			return insert;
		if (result == NULL)
			result = insert;
	}
	return result;
}

/*
 * The transaction ends, and the memory of the channels with it.  Statements
 * that failed are still linked to them.
 */
static void
xact_callback(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;

	foreach(lc, channels)
	{
		dlist_iter	iter;

		dlist_foreach(iter, &((Channel *) lfirst(lc))->inserts)
			dlist_container(InsertState, link, iter.cur)->channel = NULL;
	}
	channels = NIL;
	pending_bytes = 0;
}

/*
 * A COPY begun in a subtransaction is its parent's when that commits, and gone
 * from the connection when it aborts.
 */
static void
subxact_callback(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;

	foreach(lc, channels)
	{
		Channel    *channel = (Channel *) lfirst(lc);

		if (channel->open == NULL || channel->open_subid != mySubid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			channel->open_subid = parentSubid;
		else
			channel->open = NULL;
	}
}
