/*-------------------------------------------------------------------------
 *
 * halfvec.h
 *	  The type halfvec: layout and what other subsystems need of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALFVEC_H
#define HALFVEC_H

#include "fmgr.h"

#include "distance/distance_half.h"
#include "types/vector.h"
#include "types/vector_list.h"

#define HALFVEC_MAX_DIM VECTOR_MAX_DIM

/*
 * On disk and in memory, equal to pgvector's.  At least one dimension; every
 * element is finite.
 */
typedef struct Halfvec
{
	int32		vl_len_;		/* varlena header */
	int16		dim;
	int16		unused;			/* 0 */
	Half		x[FLEXIBLE_ARRAY_MEMBER];
} Halfvec;

#define HALFVEC_SIZE(dim) (offsetof(Halfvec, x) + sizeof(Half) * (dim))

/* Detoasts; the result is aligned and may be a copy. */
#define DatumGetHalfvec(datum) ((Halfvec *) PG_DETOAST_DATUM(datum))
#define PG_GETARG_HALFVEC_P(n) DatumGetHalfvec(PG_GETARG_DATUM(n))
#define PG_RETURN_HALFVEC_P(halfvec) PG_RETURN_POINTER(halfvec)

extern const VectorListType halfvec_list_type;

/* All elements are zero; dim is in range. */
extern Halfvec *HalfvecCreate(int dim);

/* Raises the errors of the SQL level for what cannot be rounded to a half. */
extern Halfvec *HalfvecFromFloats(const float *x, int dim);

/* These raise the errors of the SQL level and return if all is well. */
extern void HalfvecCheckSameDim(const Halfvec *a, const Halfvec *b);
extern void HalfvecCheckFinite(const Half *x, int dim);

#endif							/* HALFVEC_H */
