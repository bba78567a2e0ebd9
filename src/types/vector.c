/*-------------------------------------------------------------------------
 *
 * vector.c
 *	  The type vector: checks, text and binary forms, type modifier.
 *
 * Formats, limits, SQLSTATEs and primary messages are pgvector's, because
 * clients, dumps and stored tables depend on them.  What vector shares with
 * halfvec stands in vector_list.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "libpq/pqformat.h"
#include "port/pg_bswap.h"
#include "utils/guc.h"

#include "distance/distance.h"
#include "types/vector.h"
#include "types/vector_list.h"
#include "vecdist_compat.h"

StaticAssertDecl(offsetof(Vector, x) == 8, "vector's elements start at byte 8 on disk");
StaticAssertDecl(VECTOR_MAX_DIM <= PG_INT16_MAX, "a dimension count fits int16");

VECDIST_FUNCTION_INFO_V1(vector_in);
VECDIST_FUNCTION_INFO_V1(vector_out);
VECDIST_FUNCTION_INFO_V1(vector_typmod_in);
VECDIST_FUNCTION_INFO_V1(vector_recv);
VECDIST_FUNCTION_INFO_V1(vector_send);

static char *simd_setting = NULL;

static bool check_simd(char **newval, void **extra, GucSource source);
static void assign_simd(const char *newval, void *extra);
static const char *show_simd(void);

const VectorListType vector_list_type = {
	.name = "vector",
	.max_dim = VECTOR_MAX_DIM,
	.range = "Elements are stored as type real, whose largest value is about 3.4e38.",
	.form = "a list of numbers in brackets, for example '[1,2.5,-3]'",
};

/*
 * VectorInit
 *		Set up the subsystem when the library is loaded.
 */
void
VectorInit(void)
{
	DistanceInit();

	/* Kernels differ in speed only, so anybody may change it at any time. */
	DefineCustomStringVariable("vecdist.simd",
							   "Instruction set for distances: auto, avx512, avx2, neon or scalar.",
							   "With auto, SHOW tells which one was chosen.",
							   &simd_setting,
							   "auto",
							   PGC_USERSET, 0,
							   check_simd, assign_simd, show_simd);
}

static bool
check_simd(char **newval, void **extra, GucSource source)
{
	if (DistanceFind(*newval) != NULL)
		return true;
	GUC_check_errdetail("This CPU and this build can use \"auto\"%s%s%s and \"scalar\".",
						DistanceFind("avx512") ? ", \"avx512\"" : "",
						DistanceFind("avx2") ? ", \"avx2\"" : "",
						DistanceFind("neon") ? ", \"neon\"" : "");
	return false;
}

static void
assign_simd(const char *newval, void *extra)
{
	distance_kernels = DistanceFind(newval);
}

static const char *
show_simd(void)
{
	return distance_kernels->name;
}

Vector *
VectorCreate(int dim)
{
	Vector	   *result = (Vector *) palloc0(VECTOR_SIZE(dim));

	Assert(dim >= 1 && dim <= VECTOR_MAX_DIM);
	SET_VARSIZE(result, VECTOR_SIZE(dim));
	result->dim = dim;
	return result;
}

void
VectorCheckDim(int dim)
{
	VectorListCheckDim(&vector_list_type, dim);
}

/*
 * VectorCheckTypmod
 *		Does a value with 'dim' dimensions fit a column of this modifier?
 */
void
VectorCheckTypmod(int32 typmod, int dim)
{
	if (typmod != -1 && typmod != dim)
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("expected %d dimensions, not %d", typmod, dim),
				errhint("Compute the value with the model that filled the column, or change the column's type."));
}

void
VectorCheckSameDim(const Vector *a, const Vector *b)
{
	if (unlikely(a->dim != b->dim))
		VectorListCheckSameDim(&vector_list_type, a->dim, b->dim);
}

/*
 * VectorCheckFinite
 *		Refuse NaN and infinities, which have no distance to anything.
 */
void
VectorCheckFinite(const float *x, int dim)
{
	for (int i = 0; i < dim; i++)
	{
		if (unlikely(!isfinite(x[i])))
			VectorListNotFinite(&vector_list_type, isnan(x[i]), i + 1);
	}
}

/* Text form to vector: [1,2.5,-3e-7]. */
Datum
vector_in(PG_FUNCTION_ARGS)
{
	const char *literal = PG_GETARG_CSTRING(0);
	int32		typmod = PG_GETARG_INT32(2);
	float		x[VECTOR_MAX_DIM];
	int			dim = VectorListParse(&vector_list_type, literal, x);
	Vector	   *result;

	VectorCheckTypmod(typmod, dim);
	VectorCheckFinite(x, dim);

	result = VectorCreate(dim);
	memcpy(result->x, x, sizeof(float) * dim);
	PG_RETURN_VECTOR_P(result);
}

Datum
vector_out(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	char	   *result = VectorListPrint(vector->x, vector->dim);

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_CSTRING(result);
}

Datum
vector_typmod_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(VectorListTypmodIn(&vector_list_type,
									   PG_GETARG_ARRAYTYPE_P(0)));
}

/* ----------
 * Binary form: int16 dim, int16 0, then dim times float4; network byte order.
 * ----------
 */

Datum
vector_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int32		typmod = PG_GETARG_INT32(2);
	int			dim = VectorListReceiveHeader(&vector_list_type, buf, typmod);
	Vector	   *result;

	result = VectorCreate(dim);
	pq_copymsgbytes(buf, (char *) result->x, sizeof(float) * dim);
#ifndef WORDS_BIGENDIAN
	for (int i = 0; i < dim; i++)
	{
		uint32		word;

		memcpy(&word, &result->x[i], sizeof(word));
		word = pg_ntoh32(word);
		memcpy(&result->x[i], &word, sizeof(word));
	}
#endif
	VectorCheckFinite(result->x, dim);
	PG_RETURN_VECTOR_P(result);
}

Datum
vector_send(PG_FUNCTION_ARGS)
{
	Vector	   *vector = PG_GETARG_VECTOR_P(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	enlargeStringInfo(&buf, VECTOR_SIZE(vector->dim));
	pq_sendint16(&buf, vector->dim);
	pq_sendint16(&buf, vector->unused);
	for (int i = 0; i < vector->dim; i++)
	{
		uint32		word;

		memcpy(&word, &vector->x[i], sizeof(word));
		pq_writeint32(&buf, word);
	}

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}
