/*-------------------------------------------------------------------------
 *
 * vecdist_shared.h
 *	  Shared memory for those parts of the library that need some.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDIST_SHARED_H
#define VECDIST_SHARED_H

#include "postgres.h"

#include "storage/lwlock.h"
#include "utils/hsearch.h"

/* What a part asks for; it has to stay where it is. */
typedef struct VecdistShared
{
	const char *name;			/* of the memory, and of its lock's tranche */
	Size		(*size) (void);
	void		(*attach) (void);	/* called in each process that starts with
									 * the memory, under AddinShmemInitLock */
	LWLock	   *lock;			/* set before 'attach' is called; NULL until
								 * then, and if the library is not preloaded */
	struct VecdistShared *next;
} VecdistShared;

/* Called while the library is loaded; does nothing if it is not preloaded. */
extern void VecdistRequestShared(VecdistShared *shared);

/*
 * A hash table of fixed size in shared memory, for 'attach', and its size.  Keys
 * are compared as bytes.
 */
extern HTAB *VecdistSharedHash(const VecdistShared *shared, long max_entries,
							   Size keysize, Size entrysize);

#endif							/* VECDIST_SHARED_H */
