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

/* All bits are zero. */
extern VarBit *BitCreate(int num_bits);

#endif							/* BIT_H */
