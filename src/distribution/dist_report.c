/*-------------------------------------------------------------------------
 *
 * dist_report.c
 *	  How the partitions of a server were searched, as it travels.
 *
 * One string of bytes for all partitions of an answer, see README, section
 * "Reports".  Everything the certificate rests on is in it; what does not have
 * the expected form is an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq/pqformat.h"

#include "distribution/dist_search.h"

#define REPORT_VERSION		1

/* Flags of the answer */
#define ANSWER_STANDBY		0x01
#define ANSWER_BOUND_NULL	0x02

/* Flags of a partition */
#define PARTITION_EXHAUSTED 0x01
#define PARTITION_BOUNDED	0x02

static void send_partition(StringInfo buf, const DistSearchReport *report);
static void receive_partition(StringInfo buf, DistSearchReport *report);

bytea *
DistSearchReportsToBytes(DistSearchRun *run)
{
	DistSearchReport common = *DistSearchGetCommonReport(run);
	int			n = DistSearchCountPartitions(run);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendbyte(&buf, REPORT_VERSION);
	pq_sendbyte(&buf, (common.standby ? ANSWER_STANDBY : 0) |
				(common.bound.isnull ? ANSWER_BOUND_NULL : 0));
	pq_sendint32(&buf, n);
	pq_sendint64(&buf, common.k);
	pq_sendint64(&buf, common.settings);
	pq_sendint64(&buf, common.lsn);
	pq_sendfloat8(&buf, common.bound.distance);
	for (int i = 0; i < n; i++)
		send_partition(&buf, DistSearchGetReport(run, i));
	return pq_endtypsend(&buf);
}

static void
send_partition(StringInfo buf, const DistSearchReport *report)
{
	const char *index = report->index != NULL ? report->index : "";

	StaticAssertStmt(NAMEDATALEN <= 256, "length of a name fits into a byte");
	pq_sendint64(buf, report->nrows);
	pq_sendbyte(buf, (report->exhausted ? PARTITION_EXHAUSTED : 0) |
				(report->bounded ? PARTITION_BOUNDED : 0));
	pq_sendint32(buf, report->ef);
	pq_sendbyte(buf, strlen(index));
	pq_sendbytes(buf, index, strlen(index));
}

void
DistSearchReportsFromBytes(char *data, int len, int n,
						   DistSearchReport **reports)
{
	DistSearchReport common = {0};
	StringInfoData buf;
	int			version;
	int			flags;
	int			nsent;

	buf.data = data;
	buf.len = buf.maxlen = len;
	buf.cursor = 0;
	version = pq_getmsgbyte(&buf);
	if (version != REPORT_VERSION)
		ereport(ERROR,
				errcode(ERRCODE_PROTOCOL_VIOLATION),
				errmsg("report of a distributed search has version %d, expected %d",
					   version, REPORT_VERSION),
				errhint("Check that all servers run the same version of vecdist."));
	flags = pq_getmsgbyte(&buf);
	nsent = pq_getmsgint(&buf, 4);
	if (nsent != n)
		ereport(ERROR,
				errcode(ERRCODE_PROTOCOL_VIOLATION),
				errmsg("report of a distributed search is of %d partitions, expected %d",
					   nsent, n));

	common.standby = (flags & ANSWER_STANDBY) != 0;
	common.bound.isnull = (flags & ANSWER_BOUND_NULL) != 0;
	common.k = pq_getmsgint64(&buf);
	common.settings = pq_getmsgint64(&buf);
	common.lsn = pq_getmsgint64(&buf);
	common.bound.distance = pq_getmsgfloat8(&buf);
	for (int i = 0; i < n; i++)
	{
		*reports[i] = common;
		receive_partition(&buf, reports[i]);
	}
	pq_getmsgend(&buf);
}

/* Fills in what is the partition's own. */
static void
receive_partition(StringInfo buf, DistSearchReport *report)
{
	int			flags;
	int			len;

	report->nrows = pq_getmsgint64(buf);
	flags = pq_getmsgbyte(buf);
	report->exhausted = (flags & PARTITION_EXHAUSTED) != 0;
	report->bounded = (flags & PARTITION_BOUNDED) != 0;
	report->ef = pq_getmsgint(buf, 4);
	len = pq_getmsgbyte(buf);
	report->index = len > 0 ? pnstrdup(pq_getmsgbytes(buf, len), len) : NULL;
}
