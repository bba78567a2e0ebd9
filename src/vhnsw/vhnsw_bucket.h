/*-------------------------------------------------------------------------
 *
 * vhnsw_bucket.h
 *	  Entries that are sorted into buckets, in a temporary file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_BUCKET_H
#define VHNSW_BUCKET_H

#include "postgres.h"

typedef struct VhnswBuckets VhnswBuckets;

/* What a chunk has besides entries */
#define VHNSW_BUCKET_HEAD MAXALIGN(2 * sizeof(uint32))

extern Size VhnswBucketsBytes(uint32 nbuckets, Size chunk_bytes);
extern VhnswBuckets *VhnswBucketsCreate(uint32 nbuckets, Size chunk_bytes);
extern void *VhnswBucketsAdd(VhnswBuckets *buckets, uint32 bucket, Size size);
extern uint64 VhnswBucketsFileBytes(const VhnswBuckets *buckets);
extern char *VhnswBucketsTake(VhnswBuckets *buckets, uint32 bucket,
							  Size *size);
extern void VhnswBucketsFree(VhnswBuckets *buckets);

#endif							/* VHNSW_BUCKET_H */
