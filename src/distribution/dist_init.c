/*-------------------------------------------------------------------------
 *
 * dist_init.c
 *	  Settings and hooks of the distribution layer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "distribution/dist_config.h"
#include "distribution/dist_ddl.h"
#include "distribution/dist_fdw.h"
#include "distribution/dist_init.h"
#include "distribution/dist_limit.h"
#include "distribution/dist_probe.h"
#include "distribution/dist_reconnect.h"
#include "distribution/dist_stats.h"
#include "distribution/dist_topk.h"

void
DistInit(void)
{
	DistConfigInit();
	DistLimitInit();
	DistReconnectInit();
	DistStatsInit();
	DistCheckQueryInit();
	DistProbeInit();
	DistTopKInit();
	DistDdlInit();
}
