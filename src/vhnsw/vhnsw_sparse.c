/*-------------------------------------------------------------------------
 *
 * vhnsw_sparse.c
 *	  Codes of sparse vectors.
 *
 * A code has room for a number of non-zero elements that is fixed for the
 * index; of a vector with more, the largest in magnitude are kept.  They are
 * 16-bit multiples u of a scale s.  The residual is the norm of those left
 * out: the Euclidean one, or under L1 the sum of magnitudes.  See README,
 * sections "Codes" and "Bounds".
 *
 * In the proofs, S is the set of dimensions that the code has, x_S and x_R the
 * parts of a vector in S and outside of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "vhnsw/vhnsw_code.h"

#define LARGEST_UNIT 32767

/* Numbers of dimensions up to here fit 16 bits. */
#define NARROW_DIMS 65536

/*
 * Relative error of sums in double, ours and the operators' together: of up
 * to 32,000 terms each, every one of which adds up to 2^-53 of the sum.
 */
#define SUM_ERROR 1e-10

/* What storing a norm or residual as float4 changes, in a part and at least. */
#define STORED (4 * VHNSW_UNIT)
#define STORED_SUBNORMAL 1.5e-45

/*
 * A code.  'count' dimensions, rising, of 2 or 4 bytes each; then as many
 * multiples of the scale, of 2 bytes; then zeros.
 */
typedef struct SparseCode
{
	uint32		count;
	uint32		unused;
	char		data[FLEXIBLE_ARRAY_MEMBER];
} SparseCode;

#define SPARSE_HEADER ((int) offsetof(SparseCode, data))

/* The same, ready to be read. */
typedef struct SparseView
{
	int			count;
	const uint16 *narrow;		/* dimensions, one of these two */
	const uint32 *wide;
	const int16 *units;
} SparseView;

/* A non-zero element of a query, in a hash table with linear probing. */
typedef struct QueryTerm
{
	uint32		key;			/* dimension + 1; 0 = free */
	double		value;
} QueryTerm;

typedef struct VhnswSparseQuery
{
	DistanceSparse x;			/* the value */
	double		length;			/* that values are divided by: 1, or |q| */
	double		norm;			/* |q|, or |q|_1, after division */
	int			code_bytes;		/* of the index's codes */
	uint32		mask;			/* size of the table - 1 */
	QueryTerm  *terms;
} VhnswSparseQuery;

/* An element that might be kept. */
typedef struct Term
{
	float		magnitude;
	int			position;
} Term;

/* Bytes of one element of a code. */
static int
term_bytes(int dims)
{
	return (dims <= NARROW_DIMS ? sizeof(uint16) : sizeof(uint32)) +
		sizeof(int16);
}

/* How many elements a code has room for. */
static int
capacity(int dims, int code_bytes)
{
	return (code_bytes - SPARSE_HEADER) / term_bytes(dims);
}

/*
 * VhnswSparseCodeBytes
 *		Length of a code with room for so many non-zero elements.
 */
int
VhnswSparseCodeBytes(int dims, int count)
{
	return TYPEALIGN(8, SPARSE_HEADER + count * term_bytes(dims));
}

/* Codes come from pages that may be damaged: never read beyond their end. */
static SparseView
view_code(const int8 *bytes, int dims, int code_bytes)
{
	const SparseCode *code = (const SparseCode *) bytes;
	SparseView	view = {0};

	view.count = Min(code->count, (uint32) capacity(dims, code_bytes));
	if (dims <= NARROW_DIMS)
	{
		view.narrow = (const uint16 *) code->data;
		view.units = (const int16 *) (view.narrow + view.count);
	}
	else
	{
		view.wide = (const uint32 *) code->data;
		view.units = (const int16 *) (view.wide + view.count);
	}
	return view;
}

static inline uint32
view_dimension(const SparseView *view, int i)
{
	return view->narrow ? view->narrow[i] : view->wide[i];
}

static uint32
hash_dimension(uint32 dimension)
{
	uint32		hash = dimension * 0x9E3779B1;

	return hash ^ (hash >> 15);
}

/* The query's element in a dimension. */
static inline double
query_value(const VhnswSparseQuery *sparse, uint32 dimension)
{
	uint32		i = hash_dimension(dimension) & sparse->mask;

	while (sparse->terms[i].key != 0)
	{
		if (sparse->terms[i].key == dimension + 1)
			return sparse->terms[i].value;
		i = (i + 1) & sparse->mask;
	}
	return 0;
}

static VhnswVectorClass
sparse_classify(VhnswMetric metric, const VhnswValue *value)
{
	float		largest = 0;

	for (int i = 0; i < value->sparse.n; i++)
		largest = Max(largest, fabsf(value->sparse.x[i]));

	if (largest > VHNSW_LARGEST_COMPONENT)
		return VHNSW_VECTOR_EXTREME;
	return metric == VHNSW_COSINE && largest == 0 ?
		VHNSW_VECTOR_ZERO : VHNSW_VECTOR_NORMAL;
}

/* Normalize (cosine), and make a table of the elements. */
static void
sparse_prepare(VhnswQuery *query, const VhnswSpace *space,
			   const VhnswValue *value)
{
	VhnswSparseQuery *sparse = palloc0_object(VhnswSparseQuery);
	uint32		size = 4;
	double		sum = 0;

	query->sparse = sparse;
	sparse->x = value->sparse;
	sparse->code_bytes = space->code_bytes;
	sparse->length = 1;
	if (space->metric == VHNSW_COSINE)
		sparse->length = sqrt(DistanceNormSquared(value->sparse.x, value->sparse.n));

	while (size < 2 * (uint32) value->sparse.n)
		size *= 2;
	sparse->mask = size - 1;
	sparse->terms = palloc0_array(QueryTerm, size);
	for (int k = 0; k < value->sparse.n; k++)
	{
		double		x = value->sparse.x[k] / sparse->length;
		uint32		dimension = value->sparse.index[k];
		uint32		i = hash_dimension(dimension) & sparse->mask;

		while (sparse->terms[i].key != 0)
			i = (i + 1) & sparse->mask;
		sparse->terms[i].key = dimension + 1;
		sparse->terms[i].value = x;
		sum += space->metric == VHNSW_L1 ? fabs(x) : x * x;
	}
	sparse->norm = space->metric == VHNSW_L1 ? sum : sqrt(sum);
}

/* The largest first; of equal ones the first. */
static int
compare_terms(const void *a, const void *b)
{
	const Term *ta = a;
	const Term *tb = b;

	if (ta->magnitude != tb->magnitude)
		return ta->magnitude > tb->magnitude ? -1 : 1;
	return ta->position < tb->position ? -1 : 1;
}

/* Mark the elements that are kept: at most 'room', the largest. */
static bool *
choose_terms(const VhnswSparseQuery *sparse, int room)
{
	bool	   *kept = palloc0_array(bool, sparse->x.n + 1);
	Term	   *terms;

	if (sparse->x.n <= room)
	{
		memset(kept, true, sparse->x.n);
		return kept;
	}
	terms = palloc_array(Term, sparse->x.n);
	for (int k = 0; k < sparse->x.n; k++)
	{
		terms[k].magnitude = fabsf(sparse->x.x[k]);
		terms[k].position = k;
	}
	qsort(terms, sparse->x.n, sizeof(Term), compare_terms);
	for (int k = 0; k < room; k++)
		kept[terms[k].position] = true;
	pfree(terms);
	return kept;
}

static void
sparse_encode(const VhnswLayout *layout, const VhnswQuery *query,
			  VhnswCode *code)
{
	const VhnswSparseQuery *sparse = query->sparse;
	SparseCode *result = (SparseCode *) code->code;
	int			room = capacity(layout->dims, layout->code_bytes);
	bool	   *kept;
	double		largest = 0;
	double		rest = 0;
	int			n = 0;
	int16	   *units;

	for (int k = 0; k < sparse->x.n; k++)
		largest = Max(largest, fabs(sparse->x.x[k] / sparse->length));

	/* What is shorter has no digits to spare: nothing is kept. */
	if (largest < VHNSW_SMALLEST_NORM)
		room = 0;
	else
		code->scale = (float) (largest / LARGEST_UNIT);

	kept = choose_terms(sparse, room);
	result->count = Min(sparse->x.n, room);
	units = (int16 *) (result->data +
					   result->count * (term_bytes(layout->dims) - sizeof(int16)));
	for (int k = 0; k < sparse->x.n; k++)
	{
		double		x = sparse->x.x[k] / sparse->length;

		if (!kept[k])
		{
			rest += layout->metric == VHNSW_L1 ? fabs(x) : x * x;
			continue;
		}
		if (layout->dims <= NARROW_DIMS)
			((uint16 *) result->data)[n] = (uint16) sparse->x.index[k];
		else
			((uint32 *) result->data)[n] = (uint32) sparse->x.index[k];
		units[n++] = (int16) rint(x / code->scale);
	}
	pfree(kept);

	if (layout->metric != VHNSW_L1)
		rest = sqrt(rest);
	code->norm = (float) sparse->norm;
	code->residual = VhnswRoundUp(rest * (1 + SUM_ERROR));
}

/*
 * Where query and vector both have elements: for L2, inner product and cosine
 * the sum of products; for L1 what their magnitudes exceed the distance by,
 * so that |q| + |x| less this is the distance.
 */
static double
common_part(VhnswMetric metric, double q, double x)
{
	if (metric != VHNSW_L1)
		return q * x;
	return fabs(q) + fabs(x) - fabs(q - x);
}

static float
estimate_from(VhnswMetric metric, double q_norm, double x_norm, double common)
{
	switch (metric)
	{
		case VHNSW_INNER_PRODUCT:
			return (float) -common;
		case VHNSW_L1:
			return (float) (q_norm + x_norm - common);
		default:
			return (float) (q_norm * q_norm + x_norm * x_norm - 2 * common);
	}
}

/* As if the elements left out met nothing in the query. */
static float
sparse_estimate(const VhnswQuery *query, VhnswCodeView view)
{
	const VhnswSparseQuery *sparse = query->sparse;
	SparseView	code = view_code(view.code, query->dims, sparse->code_bytes);
	double		common = 0;

	for (int i = 0; i < code.count; i++)
	{
		double		q = query_value(sparse, view_dimension(&code, i));

		if (q != 0)
			common += common_part(query->metric, q,
								  (double) view.scale * code.units[i]);
	}
	return estimate_from(query->metric, sparse->norm, view.norm, common);
}

/* What a query and a code have in S. */
typedef struct Overlap
{
	double		common;			/* common_part(), summed up */
	double		difference;		/* |q_S - s u|^2, or L1 */
	double		q_squares;		/* |q_S|^2 */
	double		q_magnitudes;	/* |q_S|_1 */
} Overlap;

static void
compare_in_code(const VhnswQuery *query, const VhnswCodeView *view,
				const SparseView *code, Overlap *overlap)
{
	memset(overlap, 0, sizeof(*overlap));
	for (int i = 0; i < code->count; i++)
	{
		double		q = query_value(query->sparse, view_dimension(code, i));
		double		x = (double) view->scale * code->units[i];

		if (query->metric == VHNSW_L1)
			overlap->difference += fabs(q - x);
		else
			overlap->difference += (q - x) * (q - x);
		if (q == 0)
			continue;
		overlap->common += common_part(query->metric, q, x);
		overlap->q_squares += q * q;
		overlap->q_magnitudes += fabs(q);
	}
}

/* Bounds of |q_R|: the norm of the query less what it has in S. */
static void
norm_outside(const VhnswQuery *query, const Overlap *overlap, double *low,
			 double *high)
{
	double		norm = query->sparse->norm;
	double		rest;

	if (query->metric == VHNSW_L1)
	{
		rest = norm - overlap->q_magnitudes;
		*low = Max(rest - SUM_ERROR * norm, 0);
		*high = Max(rest, 0) + SUM_ERROR * norm;
	}
	else
	{
		rest = norm * norm - overlap->q_squares;
		*low = sqrt(Max(rest - SUM_ERROR * norm * norm, 0));
		*high = sqrt(Max(rest, 0) + SUM_ERROR * norm * norm);
	}
}

/* How far two norms are apart at least, one of which lies between two. */
static double
gap(double low, double high, double residual)
{
	double		least = residual * (1 - STORED) - STORED_SUBNORMAL;

	if (low > residual)
		return low - residual;
	return least > high ? least - high : 0;
}

/*
 * Each kept element is a multiple of s but for s/2: so |x_S - s u| is at most
 * sqrt(n) s/2, or n s/2 under L1.  Of x_R only the norm is known, and of q_R
 * too, from that of q less q_S.
 *
 *	L2:		|q - x|^2 >= (|q_S - s u| - |x_S - s u|)^2 + (|q_R| - |x_R|)^2
 *	L1:		|q - x| >= |q_S - s u| - |x_S - s u| + ||q_R| - |x_R||
 *	<q,x>:	<q_S, s u> + |q_S|_1 s/2 + |q_R| |x_R| at most
 *
 * All sums, the operators' too, are in double; what they err by is covered by
 * SUM_ERROR, which matters where |q_R| comes from a difference.
 */
static double
sparse_bound(const VhnswQuery *query, VhnswCodeView view, float *estimate)
{
	const VhnswSparseQuery *sparse = query->sparse;
	SparseView	code = view_code(view.code, query->dims, sparse->code_bytes);
	double		half_unit = 0.5 * view.scale * (1 + SUM_ERROR);
	double		residual = view.residual;
	Overlap		overlap;
	double		low;
	double		high;
	double		product;

	compare_in_code(query, &view, &code, &overlap);
	norm_outside(query, &overlap, &low, &high);
	*estimate = estimate_from(query->metric, sparse->norm, view.norm,
							  overlap.common);

	if (query->metric == VHNSW_L1)
		return (Max(overlap.difference - code.count * half_unit, 0) +
				gap(low, high, residual)) * (1 - SUM_ERROR);
	if (query->metric == VHNSW_L2)
	{
		double		inside = sqrt(overlap.difference) -
		sqrt(code.count) * half_unit;
		double		outside = gap(low, high, residual);

		inside = Max(inside, 0);
		return sqrt(inside * inside + outside * outside) * (1 - SUM_ERROR);
	}

	product = overlap.common + overlap.q_magnitudes * half_unit +
		high * residual;
	if (query->metric == VHNSW_INNER_PRODUCT)
		return -(product + SUM_ERROR * sparse->norm *
				 (view.norm * (1 + STORED) + STORED_SUBNORMAL));
	return Max(1 - product - SUM_ERROR, 0); /* cosine: lengths are 1 */
}

/* The same from two codes, whose dimensions rise. */
static float
sparse_distance(const VhnswLayout *layout, const VhnswCode *a,
				const VhnswCode *b)
{
	SparseView	va = view_code(a->code, layout->dims, layout->code_bytes);
	SparseView	vb = view_code(b->code, layout->dims, layout->code_bytes);
	double		common = 0;
	int			i = 0;
	int			j = 0;

	while (i < va.count && j < vb.count)
	{
		uint32		da = view_dimension(&va, i);
		uint32		db = view_dimension(&vb, j);

		if (da == db)
			common += common_part(layout->metric,
								  (double) a->scale * va.units[i],
								  (double) b->scale * vb.units[j]);
		i += da <= db;
		j += db <= da;
	}
	return estimate_from(layout->metric, a->norm, b->norm, common);
}

static double
sparse_operator(VhnswMetric metric, const VhnswValue *a, const VhnswValue *b)
{
	switch (metric)
	{
		case VHNSW_L2:
			return sqrt(DistanceSparseL2Squared(&a->sparse, &b->sparse));
		case VHNSW_L1:
			return DistanceSparseL1(&a->sparse, &b->sparse);
		case VHNSW_INNER_PRODUCT:
			return -DistanceSparseInnerProduct(&a->sparse, &b->sparse);
		case VHNSW_COSINE:
			return DistanceSparseCosine(&a->sparse, &b->sparse);
		default:
			pg_unreachable();
	}
}

/* Dimensions rise and exist. */
static bool
sparse_is_sane(const VhnswLayout *layout, VhnswCodeView view)
{
	SparseView	code = view_code(view.code, layout->dims, layout->code_bytes);

	if (((const SparseCode *) view.code)->count != code.count ||
		((const SparseCode *) view.code)->unused != 0)
		return false;
	for (int i = 0; i < code.count; i++)
	{
		if (view_dimension(&code, i) >= layout->dims ||
			(i > 0 && view_dimension(&code, i) <= view_dimension(&code, i - 1)))
			return false;
	}
	return true;
}

const VhnswCoder vhnsw_sparse_coder = {
	.own_bits = 16,
	.classify = sparse_classify,
	.prepare = sparse_prepare,
	.encode = sparse_encode,
	.estimate = sparse_estimate,
	.bound = sparse_bound,
	.distance = sparse_distance,
	.operator = sparse_operator,
	.is_sane = sparse_is_sane,
};
