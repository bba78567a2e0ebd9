/*-------------------------------------------------------------------------
 *
 * bit.h
 *	  Bit strings of PostgreSQL's own type, as our functions make them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BIT_H
#define BIT_H

#include "utils/varbit.h"

/* Raises the error of the SQL level for different lengths. */
extern void BitCheckSameLength(int length_a, int length_b);

/* All bits are zero. */
extern VarBit *BitCreate(int num_bits);

#endif							/* BIT_H */
