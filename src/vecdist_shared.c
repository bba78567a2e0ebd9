/*-------------------------------------------------------------------------
 *
 * vecdist_shared.c
 *	  Shared memory for those parts of the library that need some.
 *
 * Shared memory is given out while the server starts, so only a preloaded
 * library gets it.  Each part has a piece, and a lock to protect it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "vecdist_compat.h"
#include "vecdist_shared.h"

static VecdistShared *requested = NULL;
static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;

static void request_shared_memory(void);
static void attach_shared_memory(void);

void
VecdistRequestShared(VecdistShared *shared)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	if (requested == NULL)
	{
		previous_shmem_request = shmem_request_hook;
		shmem_request_hook = request_shared_memory;
		previous_shmem_startup = shmem_startup_hook;
		shmem_startup_hook = attach_shared_memory;
	}
	shared->next = requested;
	requested = shared;
}

static void
request_shared_memory(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	for (VecdistShared *shared = requested; shared != NULL; shared = shared->next)
	{
		RequestAddinShmemSpace(shared->size());
		RequestNamedLWLockTranche(shared->name, 1);
	}
}

static void
attach_shared_memory(void)
{
	if (previous_shmem_startup)
		previous_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (VecdistShared *shared = requested; shared != NULL; shared = shared->next)
	{
		shared->lock = &(GetNamedLWLockTranche(shared->name))->lock;
		shared->attach();
	}
	LWLockRelease(AddinShmemInitLock);
}

HTAB *
VecdistSharedHash(const VecdistShared *shared, long max_entries, Size keysize,
				  Size entrysize)
{
	HASHCTL		control = {.keysize = keysize,.entrysize = entrysize};

	return ShmemInitHash(shared->name, max_entries, max_entries, &control,
						 HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}
