/*-------------------------------------------------------------------------
 *
 * full_disk.c
 *	  A disk of limited size, for servers that load this before libc.
 *
 * FULL_DISK names a file of a FullDisk, which a test writes and all processes
 * of the server share.  Files whose path contains 'below' get so many bytes
 * all together; the write that exceeds them is a short one, and from then on
 * none succeeds, until the test makes room.  Whether a write is to a place that
 * the file has already is not asked.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct FullDisk
{
	int64_t		left;			/* bytes */
	char		below[120];		/* part of a path; empty: nowhere */
} FullDisk;

static FullDisk *disk = NULL;

__attribute__((constructor)) static void
find_disk(void)
{
	const char *path = getenv("FULL_DISK");
	int			fd = path ? open(path, O_RDWR) : -1;
	void	   *memory;

	if (fd < 0)
		return;
	memory = mmap(NULL, sizeof(FullDisk), PROT_READ | PROT_WRITE, MAP_SHARED,
				  fd, 0);
	if (memory != MAP_FAILED)
		disk = memory;
	close(fd);
}

/* How many of these bytes of a file the disk still has room for */
static size_t
take_room(int fd, size_t wanted)
{
	char		link[64];
	char		path[4096];
	ssize_t		length;
	int64_t		left;

	if (disk == NULL || disk->below[0] == '\0')
		return wanted;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return wanted;
	path[length] = '\0';
	if (strstr(path, disk->below) == NULL)
		return wanted;
	left = __atomic_fetch_sub(&disk->left, (int64_t) wanted, __ATOMIC_SEQ_CST);
	if (left < 0)
		return 0;
	return (uint64_t) left < wanted ? (size_t) left : wanted;
}

ssize_t
pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	static ssize_t (*real) (int, const void *, size_t, off_t) = NULL;
	size_t		room = take_room(fd, size);

	if (real == NULL)
		*(void **) &real = dlsym(RTLD_NEXT, "pwrite");
	if (room == 0 && size > 0)
	{
		errno = ENOSPC;
		return -1;
	}
	return real(fd, buffer, room, offset);
}

int
posix_fallocate(int fd, off_t offset, off_t size)
{
	static int	(*real) (int, off_t, off_t) = NULL;

	if (real == NULL)
		*(void **) &real = dlsym(RTLD_NEXT, "posix_fallocate");
	if (take_room(fd, (size_t) size) < (size_t) size)
		return ENOSPC;
	return real(fd, offset, size);
}
