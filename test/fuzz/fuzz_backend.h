/*-------------------------------------------------------------------------
 *
 * fuzz_backend.h
 *	  The few functions of the server that the types call, for fuzzing them
 *	  in a program of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_BACKEND_H
#define FUZZ_BACKEND_H

#include "fmgr.h"

/* What the stand-in of ArrayGetIntegerTypmods() finds behind the array. */
typedef struct FuzzTypmods
{
	int			n;
	int32		modifier[FLEXIBLE_ARRAY_MEMBER];
} FuzzTypmods;

/* Ends the program, for the fuzzer to keep the input. */
#define FUZZ_REQUIRE(condition) \
	((condition) ? (void) 0 : FuzzFail(#condition, __FILE__, __LINE__))
extern void FuzzFail(const char *condition, const char *file, int line) pg_attribute_noreturn();

/* Calls an SQL function; returns 0, or the SQLSTATE of the error it raised. */
extern int	FuzzCall(PGFunction function, Datum *result,
					 Datum arg0, Datum arg1, Datum arg2);

/* Frees what was allocated since it was last called. */
extern void FuzzReset(void);

#endif							/* FUZZ_BACKEND_H */
