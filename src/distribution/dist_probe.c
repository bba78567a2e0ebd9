/*-------------------------------------------------------------------------
 *
 * dist_probe.c
 *	  Which partitions of a table placed by centroid a search asks.
 *
 * Partitions are asked in the order of the distances of their centroids, by
 * the operator of the query.  What was not asked can be excluded afterwards
 * without knowing its rows: a row belongs to a partition because no other
 * centroid is nearer, so it lies beyond the border between its centroid and
 * any other one, and the query vector's distance to that border is a bound.
 * The partition's constraint guards this for every row at every moment, and
 * the centroids are frozen, so there is nothing to keep up to date.
 *
 * See README, section "Placement by centroid".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_cast.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "distance/distance.h"
#include "distribution/dist_centroid.h"
#include "distribution/dist_probe.h"
#include "types/halfvec.h"
#include "vecdist_debug.h"

/*
 * Placing a row compared two results of the fp32 kernels, each with this
 * error at most; so a row may lie on the wrong side of a border by that much.
 * The distance that ends an answer has half of it.
 */
#define PLACING_ERROR (2 * DISTANCE_RELATIVE_ERROR)

int			DistProbes = 0;

static bool find_order(Oid operator, DistProbeOrder *order);
static Node *strip_casts(Node *node, bool *rounded);
static bool is_vector_type(Oid type);
static Oid	schema_of_type(Oid type);
static double order_key(const DistProbe *probe, const DistCentroidSet *set,
						int centroid);
static void choose_rivals(DistProbe *probe, const DistCentroidSet *set);
static bool cell_is_farther(const DistProbe *probe,
							const DistCentroidSet *set, int cell, int rival,
							double distance);
static bool is_beyond_plane(const DistProbe *probe,
							const DistCentroidSet *set, int cell, int rival,
							double distance);
static bool is_beyond_angle(const DistProbe *probe,
							const DistCentroidSet *set, int cell, int rival,
							double distance);
static double squared_distance(const float *a, const float *b, int dim);

void
DistProbeInit(void)
{
	DefineCustomIntVariable("vecdist.probes",
							"How many partitions of a table placed by centroid a search asks.",
							"The nearest ones; 0 = all.",
							&DistProbes,
							0, 0, DIST_MAX_CENTROIDS,
							PGC_USERSET, GUC_EXPLAIN,
							NULL, NULL, NULL);
}

const char *
DistProbeMatch(OpExpr *distance, Node *operand, Node *placed_by,
			   DistProbeOrder *order, bool *exact)
{
	bool		rounded = false;
	bool		placed_rounded = false;

	if (!find_order(distance->opno, order))
		return "the operator is not one of <->, <#>, <=> and <+> on vector or halfvec";
	if (!equal(strip_casts(operand, &rounded),
			   strip_casts(placed_by, &placed_rounded)))
		return "rows are placed by something else than they are ordered by";
	*exact = rounded == placed_rounded;
	return NULL;
}

/* Does an operator on vectors order by one of the distances? */
static bool
find_order(Oid operator, DistProbeOrder *order)
{
	static const struct
	{
		const char *name;
		DistProbeOrder order;
	}			operators[] =
	{
		{"<->", DIST_PROBE_L2},
		{"<#>", DIST_PROBE_INNER_PRODUCT},
		{"<=>", DIST_PROBE_COSINE},
		{"<+>", DIST_PROBE_L1}
	};
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	bool		found = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_operator) GETSTRUCT(tuple);
	for (int i = 0; i < lengthof(operators) && !found; i++)
	{
		found = strcmp(NameStr(form->oprname), operators[i].name) == 0 &&
			form->oprleft == form->oprright &&
			is_vector_type(form->oprleft) &&
			form->oprnamespace == schema_of_type(form->oprleft);
		*order = operators[i].order;
	}
	ReleaseSysCache(tuple);
	return found;
}

/*
 * The expression below casts from vector and halfvec to vector, halfvec, or
 * one of them with a length.  A value that has another length is an error, so
 * only rounding to halfvec changes one: *rounded says whether there is such a
 * cast.
 */
static Node *
strip_casts(Node *node, bool *rounded)
{
	while (IsA(node, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) node;
		Node	   *arg = call->args != NIL ? linitial(call->args) : NULL;
		Oid			from = arg != NULL ? exprType(arg) : InvalidOid;
		HeapTuple	tuple;
		bool		is_cast;

		if (!is_vector_type(from) || !is_vector_type(call->funcresulttype))
			break;
		tuple = SearchSysCache2(CASTSOURCETARGET, ObjectIdGetDatum(from),
								ObjectIdGetDatum(call->funcresulttype));
		is_cast = HeapTupleIsValid(tuple) &&
			((Form_pg_cast) GETSTRUCT(tuple))->castfunc == call->funcid;
		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (!is_cast)
			break;
		if (call->funcresulttype != from &&
			call->funcresulttype != DistVectorType())
			*rounded = true;
		node = arg;
	}
	return node;
}

static bool
is_vector_type(Oid type)
{
	return OidIsValid(type) &&
		(type == DistVectorType() || DistProbeIsHalf(type));
}

bool
DistProbeIsHalf(Oid type)
{
	return type == GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
								   CStringGetDatum("halfvec"),
								   ObjectIdGetDatum(schema_of_type(DistVectorType())));
}

static Oid
schema_of_type(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid			result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	result = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
	ReleaseSysCache(tuple);
	return result;
}

const Vector *
DistProbeVector(const DistProbe *probe, Datum value)
{
	const Halfvec *half;
	Vector	   *result;

	if (!probe->is_half)
		return DatumGetVector(value);
	half = DatumGetHalfvec(value);
	result = VectorCreate(half->dim);
	distance_kernels->half_to_float(half->x, result->x, half->dim);
	return result;
}

void
DistProbeChoose(DistProbe *probe, int n, bool *asked)
{
	const DistCentroidSet *set = DistGetCentroidSet(probe->set);
	double	   *key = palloc(sizeof(double) * Max(probe->npartitions, 1));
	bool		comparable = probe->query->dim == set->dim;

	probe->nrivals = 0;
	if (comparable)
		choose_rivals(probe, set);
	for (int i = 0; i < probe->npartitions; i++)
	{
		ListCell   *lc;

		asked[i] = probe->cells[i] == NIL || !comparable;
		key[i] = get_float8_infinity();
		if (asked[i])
			continue;
		foreach(lc, probe->cells[i])
		{
			double		k = order_key(probe, set, lfirst_int(lc));

			if (lc == list_head(probe->cells[i]) || k < key[i])
				key[i] = k;
		}
	}
	while (n-- > 0)
	{
		int			nearest = -1;

		for (int i = 0; i < probe->npartitions; i++)
			if (!asked[i] && (nearest < 0 || key[i] < key[nearest]))
				nearest = i;
		if (nearest < 0)
			break;
		asked[nearest] = true;
	}
	pfree(key);
}

/* Orders centroids as the operator of the query orders rows. */
static double
order_key(const DistProbe *probe, const DistCentroidSet *set, int centroid)
{
	const float *q = probe->query->x;
	const float *c = DIST_CENTROID(set, centroid);
	DistanceCosineSums sums;
	double		result = 0;

	switch (probe->order)
	{
		case DIST_PROBE_L2:
			result = distance_kernels->l2_squared(q, c, set->dim);
			break;
		case DIST_PROBE_INNER_PRODUCT:
			result = -distance_kernels->inner_product(q, c, set->dim);
			break;
		case DIST_PROBE_COSINE:
			distance_kernels->cosine(q, c, set->dim, &sums);
			result = -sums.dot / sqrt(sums.norm_b_squared);
			break;
		case DIST_PROBE_L1:
			result = distance_kernels->l1(q, c, set->dim);
			break;
	}
	return isnan(result) ? get_float8_infinity() : result;
}

bool
DistProbeExcludes(const DistProbe *probe, int partition, double distance)
{
	const DistCentroidSet *set = DistGetCentroidSet(probe->set);
	ListCell   *lc;

	/*
	 * A border says something about distances of its own metric only, and of
	 * the values that placed the rows.
	 */
	if (probe->cells[partition] == NIL || !isfinite(distance) ||
		!probe->exact ||
		probe->order != (set->cosine ? DIST_PROBE_COSINE : DIST_PROBE_L2))
		return false;

	foreach(lc, probe->cells[partition])
	{
		bool		farther = false;

		for (int i = 0; i < probe->nrivals && !farther; i++)
			farther = probe->rivals[i] != lfirst_int(lc) &&
				cell_is_farther(probe, set, lfirst_int(lc),
								probe->rivals[i], distance);
		if (!farther)
			return false;
	}
	return true;
}

/* Find the centroids nearest to the query vector. */
static void
choose_rivals(DistProbe *probe, const DistCentroidSet *set)
{
	double		keys[DIST_PROBE_RIVALS];
	int			n = 0;

	for (int c = 0; c < set->n; c++)
	{
		double		key = order_key(probe, set, c);
		int			i;

		if (n < DIST_PROBE_RIVALS)
			n++;
		else if (key >= keys[n - 1])
			continue;
		for (i = n - 1; i > 0 && keys[i - 1] > key; i--)
		{
			keys[i] = keys[i - 1];
			probe->rivals[i] = probe->rivals[i - 1];
		}
		keys[i] = key;
		probe->rivals[i] = c;
	}
	probe->nrivals = n;
}

static bool
cell_is_farther(const DistProbe *probe, const DistCentroidSet *set, int cell,
				int rival, double distance)
{
	/* A cell number that the set does not have: of a row there is no proof. */
	if (cell < 0 || cell >= set->n)
		return false;
	return set->cosine ?
		is_beyond_angle(probe, set, cell, rival, distance) :
		is_beyond_plane(probe, set, cell, rival, distance);
}

/*
 * L2.  With f(x) = |x - cell|^2 - |x - rival|^2, a row x has f(x) <= error,
 * and f falls by at most 2 |cell - rival| for each unit of way.  So a row is
 * at least (f(query) - error) / (2 |cell - rival|) away.  The error grows with
 * the row's distances from both centroids, which for a row not farther than
 * 'distance' are bounded; such a row is what must not exist.
 */
static bool
is_beyond_plane(const DistProbe *probe, const DistCentroidSet *set, int cell,
				int rival, double distance)
{
	const float *q = probe->query->x;
	const float *c = DIST_CENTROID(set, cell);
	const float *r = DIST_CENTROID(set, rival);
	double		to_cell = squared_distance(q, c, set->dim);
	double		reach = distance * (1 + PLACING_ERROR);
	double		to_rival;
	double		between;
	double		error;

	/* The centroid is on its own side of the border. */
	if (sqrt(to_cell) <= reach)
		return false;
	if (VD_MISTAKE("dist-center-bound"))
		return true;
	to_rival = squared_distance(q, r, set->dim);
	between = sqrt(squared_distance(c, r, set->dim));
	error = PLACING_ERROR *
		(pow(reach + sqrt(to_cell), 2) + pow(reach + sqrt(to_rival), 2));
	return (to_cell - to_rival - error) / (2 * between) > reach;
}

/*
 * Cosine.  Let u be the unit vector from cell to rival.  A row's direction x
 * has x.u <= error, the query vector's has s = q.u; if s > error, the angle
 * between them is at least asin(s) - asin(error).
 */
static bool
is_beyond_angle(const DistProbe *probe, const DistCentroidSet *set, int cell,
				int rival, double distance)
{
	const float *q = probe->query->x;
	const float *c = DIST_CENTROID(set, cell);
	const float *r = DIST_CENTROID(set, rival);
	double		between = sqrt(squared_distance(c, r, set->dim));
	double		norm = 0;
	double		s = 0;
	double		error;
	double		nearest;

	for (int i = 0; i < set->dim; i++)
	{
		norm += (double) q[i] * q[i];
		s += ((double) r[i] - c[i]) * q[i];
	}
	s /= sqrt(norm) * between;

	/* Centroids have length 1 up to rounding. */
	error = 1.01 * PLACING_ERROR / between;
	if (!(s > error) || !(error < 1))
		return false;
	s = Min(s, 1);
	nearest = 1 - cos(asin(s) - asin(error));
	return nearest > distance + 2 * PLACING_ERROR;
}

static double
squared_distance(const float *a, const float *b, int dim)
{
	double		sum = 0;

	for (int i = 0; i < dim; i++)
	{
		double		d = (double) a[i] - b[i];

		sum += d * d;
	}
	return sum;
}
