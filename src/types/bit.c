/*-------------------------------------------------------------------------
 *
 * bit.c
 *	  Distances between bit strings of PostgreSQL's types bit and varbit.
 *
 * PostgreSQL keeps the unused bits of the last byte at zero, so whole bytes
 * are compared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "distance/distance.h"
#include "types/bit.h"
#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(hamming_distance);
VECDIST_FUNCTION_INFO_V1(jaccard_distance);

VarBit *
BitCreate(int num_bits)
{
	int			size = VARBITTOTALLEN(num_bits);
	VarBit	   *result = (VarBit *) palloc0(size);

	SET_VARSIZE(result, size);
	VARBITLEN(result) = num_bits;
	return result;
}

void
BitCheckSameLength(int length_a, int length_b)
{
	if (unlikely(length_a != length_b))
		ereport(ERROR,
				errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("different bit lengths %d and %d", length_a, length_b),
				errdetail("Both bit strings must have the same number of bits."));
}

/* Operator <~> */
Datum
hamming_distance(PG_FUNCTION_ARGS)
{
	VarBit	   *a = PG_GETARG_VARBIT_P(0);
	VarBit	   *b = PG_GETARG_VARBIT_P(1);

	BitCheckSameLength(VARBITLEN(a), VARBITLEN(b));
	PG_RETURN_FLOAT8(DistanceHamming(VARBITS(a), VARBITS(b), VARBITBYTES(a)));
}

/* Operator <%> */
Datum
jaccard_distance(PG_FUNCTION_ARGS)
{
	VarBit	   *a = PG_GETARG_VARBIT_P(0);
	VarBit	   *b = PG_GETARG_VARBIT_P(1);

	BitCheckSameLength(VARBITLEN(a), VARBITLEN(b));
	PG_RETURN_FLOAT8(DistanceJaccard(VARBITS(a), VARBITS(b), VARBITBYTES(a)));
}
