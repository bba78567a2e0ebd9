/*-------------------------------------------------------------------------
 *
 * vhnsw_bucket.c
 *	  Entries that are sorted into buckets, in a temporary file.
 *
 * The entries of a bucket are added one after the other, of all buckets in any
 * order.  Each bucket has a chunk in memory, which is written behind those of
 * others when it is full, with the number of the one before it.  So a bucket is
 * read from its last chunk back to the first.  When all have been read the file
 * is used anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "vhnsw/vhnsw_bucket.h"
#include "vhnsw/vhnsw_spill.h"

#define NO_CHUNK PG_UINT32_MAX

/* The head of a chunk.  Entries follow. */
typedef struct Chunk
{
	uint32		before;			/* the one written before, or NO_CHUNK */
	uint32		used;			/* bytes of entries */
} Chunk;

StaticAssertDecl(sizeof(Chunk) == VHNSW_BUCKET_HEAD, "head of a chunk");

struct VhnswBuckets
{
	uint32		nbuckets;
	Size		chunk_bytes;
	char	   *memory;			/* a chunk of each bucket, and one more */
	uint32		nwritten;		/* chunks of the file */
	uint32		nkept;			/* of them, not yet taken */
	VhnswSpill *file;
};

#define ChunkOf(buckets, bucket) \
	((Chunk *) ((buckets)->memory + (bucket) * (buckets)->chunk_bytes))

/* Memory that they take. */
Size
VhnswBucketsBytes(uint32 nbuckets, Size chunk_bytes)
{
	return ((Size) nbuckets + 1) * chunk_bytes;
}

/*
 * VhnswBucketsCreate
 *		Empty buckets, in the current context; their file is of this process
 *		alone.
 *
 * 'chunk_bytes' is a multiple of MAXIMUM_ALIGNOF.
 */
VhnswBuckets *
VhnswBucketsCreate(uint32 nbuckets, Size chunk_bytes)
{
	VhnswBuckets *buckets = palloc_object(VhnswBuckets);

	buckets->nbuckets = nbuckets;
	buckets->chunk_bytes = chunk_bytes;
	buckets->memory = palloc_extended(VhnswBucketsBytes(nbuckets, chunk_bytes),
									  MCXT_ALLOC_HUGE);
	buckets->nwritten = buckets->nkept = 0;
	buckets->file = VhnswSpillCreate(NULL, 0, chunk_bytes, 0, 0);
	for (uint32 i = 0; i < nbuckets; i++)
		*ChunkOf(buckets, i) = (Chunk)
	{
		NO_CHUNK, 0
	};
	return buckets;
}

/*
 * VhnswBucketsAdd
 *		Room for an entry of 'size' bytes, which the caller fills at once.
 *
 * It begins at a multiple of MAXIMUM_ALIGNOF if all sizes are such.
 */
void *
VhnswBucketsAdd(VhnswBuckets *buckets, uint32 bucket, Size size)
{
	Chunk	   *chunk = ChunkOf(buckets, bucket);
	char	   *entry;

	Assert(bucket < buckets->nbuckets);
	Assert(sizeof(Chunk) + size <= buckets->chunk_bytes);
	if (sizeof(Chunk) + chunk->used + size > buckets->chunk_bytes)
	{
		VhnswSpillWrite(buckets->file, buckets->nwritten, 1, chunk);
		*chunk = (Chunk)
		{
			buckets->nwritten++, 0
		};
		buckets->nkept++;
	}
	entry = (char *) (chunk + 1) + chunk->used;
	chunk->used += size;
	return entry;
}

/* How long the file is. */
uint64
VhnswBucketsFileBytes(const VhnswBuckets *buckets)
{
	return (uint64) buckets->nwritten * buckets->chunk_bytes;
}

/*
 * VhnswBucketsTake
 *		Entries of a bucket, *size bytes, which leave it; NULL if it is empty.
 *
 * They stay where they are until the next call for any bucket.
 */
char *
VhnswBucketsTake(VhnswBuckets *buckets, uint32 bucket, Size *size)
{
	Chunk	   *chunk = ChunkOf(buckets, bucket);
	Chunk	   *taken = ChunkOf(buckets, buckets->nbuckets);

	if (chunk->used > 0)
	{
		memcpy(taken, chunk, sizeof(Chunk) + chunk->used);
		chunk->used = 0;
	}
	else if (chunk->before != NO_CHUNK)
	{
		VhnswSpillRead(buckets->file, chunk->before, 1, taken);
		chunk->before = taken->before;
		if (--buckets->nkept == 0)
			buckets->nwritten = 0;
	}
	else
		return NULL;
	*size = taken->used;
	return (char *) (taken + 1);
}

void
VhnswBucketsFree(VhnswBuckets *buckets)
{
	VhnswSpillFree(buckets->file);
	pfree(buckets->memory);
	pfree(buckets);
}
