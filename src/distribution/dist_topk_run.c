/*-------------------------------------------------------------------------
 *
 * dist_topk_run.c
 *	  What a distributed top-K scan does whichever way its rows come.
 *
 * They come all at once (dist_topk_exec.c) or in pieces (dist_topk_stream.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "portability/instr_time.h"

#include "distribution/dist_topk.h"

void
DistTopKEvaluateParams(DistTopKState *state)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;

	for (int i = 0; i < state->nparams; i++)
	{
		DistTopKParam *param = &state->param[i];

		param->value = ExecEvalExpr(param->expr, econtext, &param->isnull);
	}
}

int
DistTopKProbes(DistTopKState *state)
{
	const DistTopKParam *param = &state->param[state->probe_param];

	if (state->probe == NULL || DistProbes == 0 || param->isnull)
		return 0;
	state->probe->query = DistProbeVector(state->probe, param->value);
	return DistProbes;
}

/* Did the partition search with the K and the settings it was sent? */
bool
DistTopKIsEchoed(const DistTopKState *state,
				 const DistTopKPartition *partition)
{
	return partition->report.k == state->k &&
		partition->report.settings == state->fingerprint;
}

int
DistTopKCountUncertain(DistTopKState *state, const DistMergeKey *last)
{
	int			result = 0;

	for (int i = 0; i < state->npartitions; i++)
		if (!state->partition[i].asked &&
			(last->isnull ||
			 !DistProbeExcludes(state->probe, i, last->distance)))
			result++;
	return result;
}

void
DistTopKNotCertified(DistTopKState *state, const char *why)
{
	state->counts.not_certified = 1;
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("answer of a distributed search may be incomplete"),
			errdetail_internal("%s", why),
			errhint("Check that all servers run the same version of vecdist, and check the partition's index."));
}

void
DistTopKCount(DistTopKState *state, int searches, instr_time start)
{
	DistSearchCounts *counts = &state->counts;
	instr_time	time;

	INSTR_TIME_SET_CURRENT(time);
	INSTR_TIME_SUBTRACT(time, start);
	counts->searches = searches;
	counts->total_time = counts->max_time = INSTR_TIME_GET_MILLISEC(time);
	DistStatsCount(state->table, counts);
}
