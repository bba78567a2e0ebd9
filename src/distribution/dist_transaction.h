/*-------------------------------------------------------------------------
 *
 * dist_transaction.h
 *	  Ends of remote transactions: savepoints, commit in one or two phases.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_TRANSACTION_H
#define DIST_TRANSACTION_H

#include "postgres.h"

/* Register the transaction callbacks.  Called once, with the first use of a
 * connection in this backend. */
extern void DistTransactionInit(void);

#endif							/* DIST_TRANSACTION_H */
