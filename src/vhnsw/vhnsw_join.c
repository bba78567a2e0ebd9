/*-------------------------------------------------------------------------
 *
 * vhnsw_join.c
 *	  The nearest elements of every element, found by comparing all pairs in
 *	  leaves.
 *
 * Each element keeps the nearest it met in any leaf, and the nearest of its
 * class, one of 24 (of more where leaves are larger) that all elements are
 * divided into at random: its "far candidates".  The longer links that they
 * become keep the graph navigable.  What an element keeps are the smallest keys
 * of all pairs, whatever the order of leaves and pairs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/parallel.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/float.h"

#include "vhnsw/vhnsw_block.h"
#include "vhnsw/vhnsw_bucket.h"
#include "vhnsw/vhnsw_join.h"
#include "vhnsw/vhnsw_leaf.h"
#include "vhnsw/vhnsw_mutual.h"

/* So many new keys are put into a list one by one. */
#define FEW_KEYS 6

/* Guests of a leaf packed at a time. */
#define GUESTS_AT_ONCE 16

/* Members of a leaf on their way from memory while one is packed */
#define PREFETCHED 4

/*
 * Elements of the same of so many classes are far candidates of each other;
 * where leaves are larger, of more: see far_classes().
 */
#define FAR_CLASSES 24
#define MAX_FAR_CLASSES (FAR_CLASSES * VHNSW_LEAF_LIMIT / VHNSW_LEAF_SIZE)

/* Fibonacci hashing of element numbers, and a number that none has. */
#define HASH_FACTOR 2654435769U
#define NO_ELEMENT PG_UINT32_MAX

/* An element has the lock of this number, by its own. */
#define NUM_LOCKS 4096

/*
 * In a file, lists of so many elements are read and written together, if need
 * be, and have one lock, of so many.
 */
#define LISTS_AT_ONCE 32
#define NUM_FILE_LOCKS 512

/*
 * What guests have met in a leaf waits in buckets until it is merged: in chunks
 * of so many bytes, or what an entry takes, and of files that have together this
 * part of that of the lists.
 */
#define LATER_CHUNK_BYTES 2048
#define LATER_SHARE 2

/*
 * Of the locks that PostgreSQL knows, those of files that processes share;
 * names of our own would have to be preloaded.
 */
#define FILE_LOCK_TRANCHE LWTRANCHE_SHARED_TUPLESTORE

#define LocksBytes \
	Max(NUM_LOCKS * sizeof(slock_t), NUM_FILE_LOCKS * sizeof(LWLock))

/*
 * What a member of a leaf meets there for one of its lists, in no order.  It
 * takes twice as many keys as are wanted, to be cut rarely.
 */
typedef struct WorkList
{
	VhnswKey   *keys;
	int			count;
	int			places;			/* how many are wanted */
	float	   *limit;			/* farther ones are not */
} WorkList;

/* What a guest has met in a leaf: keys for its lists, to be merged later */
typedef struct Later
{
	uint32		id;
	uint16		near;			/* how many */
	uint16		far;
	VhnswKey	keys[FLEXIBLE_ARRAY_MEMBER];	/* near ones, then far ones */
} Later;

/* One of the two lists of an element, as all leaves share it. */
typedef struct SharedList
{
	VhnswKey   *keys;
	uint8	   *count;
	int			places;
	float	   *limit;			/* farther ones are not wanted; falls only */
	slock_t    *lock;			/* NULL if there are no workers */
	bool		once;			/* what is met is not listed yet */
} SharedList;

/*
 * Elements that are compared, and what they meet.  Where lists of one sort are
 * not wanted, their limits are below all distances.
 */
typedef struct Side
{
	const VhnswJoin *join;
	bool		wants_near;
	bool		wants_far;
	VhnswBlock *block;
	const uint32 *members;
	uint8	   *classes;		/* of each: class_of() */
	WorkList   *near;			/* likewise */
	WorkList   *far;
	float	   *near_limits;
	float	   *far_limits;
	VhnswKey   *room;
	VhnswKey   *file_room;		/* for LISTS_AT_ONCE elements, if keys are in
								 * a file */
} Side;

static int	far_classes(uint32 count);
static void empty_lists(VhnswJoin *join);
static void join_lists(const VhnswJoin *join, const VhnswLeaf *leaf,
					   VhnswBlockKind kind, bool near, bool far);
static void begin_side(Side *side, const VhnswJoin *join, VhnswBlockKind kind,
					   bool near, bool far, uint32 capacity, bool rows_only);
static void end_side(Side *side);
static void fill_side(Side *side, const uint32 *members, uint32 n);
static void prefetch_vector(const VhnswJoin *join, uint32 id);
static void merge_side(Side *side);
static void merge_side_in_file(Side *side);
static LWLock *file_lock(const VhnswJoin *join, uint32 id);
static void put_later(Side *side);
static void merge_later(const VhnswJoin *join);
static void merge_bucket(const VhnswJoin *join, uint32 bucket, VhnswKey *room);
static void merge_entry(const VhnswJoin *join, Later *entry, VhnswKey *keys);
static bool merge_element(Side *side, uint32 i, VhnswKey *keys);
static void join_guests(Side *residents, const uint32 *ids, uint32 n);
static void join_some(Side *residents, Side *guests, const uint32 *ids,
					  uint32 n);
static SharedList near_list(const VhnswJoin *join, uint32 id, VhnswKey *keys);
static SharedList far_list(const VhnswJoin *join, uint32 id, VhnswKey *keys);
static int	copy_list(const SharedList *shared, VhnswKey *keys);
static bool replace_list(const SharedList *shared,
						 const VhnswKey *old, int old_count,
						 const VhnswKey *keys, int count);
static inline void offer(WorkList *list, float distance, uint32 id);
static void cut_list(WorkList *list);
static void prefetch_lists(const VhnswJoin *join, uint32 id);
static bool merge_list(WorkList *list, const SharedList *shared);
static bool put_keys(const WorkList *list, const SharedList *shared);
static inline int place_of_largest(const VhnswKey *keys, int count);
static int	merge_keys(const WorkList *list, bool once,
					   const VhnswKey *keys, int count, VhnswKey *all);
static int	append_new_keys(const WorkList *list, const VhnswKey *keys,
							int count, VhnswKey *all);
static int	add_keys(const WorkList *list, const VhnswKey *keys, int count,
					 VhnswKey *all);
static void compare_residents(Side *side);
static void compare_guests(Side *residents, Side *guests);

/* Memory that comparing a leaf takes, in a graph of 'count' elements. */
Size
VhnswJoinLeafBytes(const VhnswLayout *layout, uint64 count)
{
	Size		n = Min(count, VHNSW_LEAF_LIMIT) + GUESTS_AT_ONCE;
	Size		list_bytes = VhnswKeyPlaces(layout->degree) * sizeof(VhnswKey);

	return VhnswBlockBytes(layout->dims, n) +
		n * (2 * list_bytes + 2 * sizeof(WorkList) + 2 * sizeof(float) +
			 sizeof(uint8)) +
		2 * LISTS_AT_ONCE * list_bytes + VhnswMutualBytes(count);
}

/*
 * VhnswJoinCreate
 *		Empty lists for all elements of a graph.
 *
 * If they are in a file, caches leave room for so many bytes for each element.
 */
VhnswJoin *
VhnswJoinCreate(VhnswCrew *crew, const VhnswPrincipal *principal,
				Size element_bytes)
{
	VhnswJoin  *join = palloc_object(VhnswJoin);
	VhnswGraph *graph = crew->graph;

	join->near_places = VhnswNearPlaces(graph->layout.degree);
	join->far_places = VhnswFarPlaces(graph->layout.degree);
	join->key_places = join->near_places + join->far_places;
	join->far_classes = far_classes(graph->count);
	join->element_bytes = element_bytes;
	join->once = false;
	join->with_guests = false;
	join->spilled = NULL;
	join->later = NULL;
	join->mutual = NULL;
	join->shape.spill = NULL;
	join->principal = *principal;
	if (graph->codes)
	{
		join->spilled = VhnswCrewCreateFile(crew, join->key_places *
											sizeof(VhnswKey), graph->count, 0);
		VhnswJoinShare(join);
	}
	join->lists =
		VhnswCrewAlloc(crew, VhnswGraphListBytes(graph->count,
												 join->spilled ? 0 :
												 2 * join->key_places));
	join->rest = VhnswCrewAlloc(crew, (Size) graph->count *
								(2 * sizeof(float) + sizeof(uint8)) +
								LocksBytes);
	VhnswAttachJoin(crew, join);
	empty_lists(join);
	for (int i = 0; join->locks && i < NUM_LOCKS; i++)
		SpinLockInit(&join->locks[i]);
	for (int i = 0; join->file_locks && i < NUM_FILE_LOCKS; i++)
		LWLockInitialize(&join->file_locks[i], FILE_LOCK_TRANCHE);
	return join;
}

/*
 * How many classes elements are divided into: the more an element meets in its
 * leaves, the more it takes to leave a far list places for other clusters.
 */
static int
far_classes(uint32 count)
{
	double		size = Min(VhnswLeafSize(count), VHNSW_LEAF_LIMIT);

	return (int) (FAR_CLASSES * size / VHNSW_LEAF_SIZE);
}

static void
empty_lists(VhnswJoin *join)
{
	Size		count = join->graph->count;

	for (Size i = 0; i < 2 * count; i++)
		join->limits[i] = FLT_MAX;
	memset(join->near_counts, 0, count);
	memset(join->far_counts, 0, count);
}

/* Begin again, and compare pairs by whole codes. */
void
VhnswJoinWholeCodes(VhnswCrew *crew, VhnswJoin *join)
{
	VhnswFreePrincipal(crew, &join->principal);
	empty_lists(join);
}

/* Let a process know where the lists are. */
void
VhnswAttachJoin(VhnswCrew *crew, VhnswJoin *join)
{
	char	   *locks;

	join->graph = crew->graph;
	join->spilled = VhnswCrewFile(crew, &join->shape);
	join->keys = VhnswCrewAddress(crew, &join->lists);
	join->near_counts = (uint8 *)
		(join->keys + (join->spilled ? 0 :
					   (Size) crew->graph->count * join->key_places));
	join->limits = VhnswCrewAddress(crew, &join->rest);
	locks = (char *) (join->limits + 2 * (Size) crew->graph->count);
	join->far_counts = (uint8 *) (locks + LocksBytes);
	join->locks = crew->shared && !join->spilled ? (slock_t *) locks : NULL;
	join->file_locks = crew->shared && join->spilled ? (LWLock *) locks : NULL;
	VhnswAttachPrincipal(crew, &join->principal);
}

/*
 * VhnswJoinPlan
 *		Before leaves are compared: see how caches are shared, if keys are in a
 *		file.
 *
 * Keys for guests wait if that takes no more than half of what codes would have
 * in memory.
 */
void
VhnswJoinPlan(VhnswJoin *join)
{
	VhnswGraph *graph = join->graph;
	Size		list_bytes = join->key_places * sizeof(VhnswKey);
	Size		least_chunk = offsetof(Later, keys) + list_bytes +
	VHNSW_BUCKET_HEAD;
	Size		chunks[] = {Max(LATER_CHUNK_BYTES, least_chunk), least_chunk};
	Size		cache;

	if (join->spilled == NULL)
		return;
	cache = VhnswGraphCacheBytes(graph, join->element_bytes);
	if (join->principal.dims > 0)
		cache /= 4;
	join->bucket_elements = LISTS_AT_ONCE;
	join->later_chunk_bytes = 0;
	join->later_file_bytes = (uint64) graph->count * list_bytes / LATER_SHARE /
		(graph->crew->workers + 1);
	for (int i = 0; i < lengthof(chunks); i++)
	{
		/* So all chunks and the lists of a bucket take the same: the least. */
		Size		elements =
		TYPEALIGN(LISTS_AT_ONCE, (Size) sqrt((double) graph->count *
											 chunks[i] / list_bytes) + 1);
		Size		bytes = elements * list_bytes +
		VhnswBucketsBytes(graph->count / elements + 1, chunks[i]);

		if (bytes > cache / 2)
			continue;
		join->bucket_elements = (uint32) elements;
		join->later_chunk_bytes = chunks[i];
		cache -= bytes;
		break;
	}
	VhnswSpillResize(graph->codes, cache);
}

/* Before a job that changes keys: let it find those of a file. */
void
VhnswJoinShare(VhnswJoin *join)
{
	if (join->spilled == NULL)
		return;
	VhnswSpillForget(join->spilled);
	join->shape = VhnswSpillDescribe(join->spilled);
}

void
VhnswJoinFree(VhnswCrew *crew, VhnswJoin *join)
{
	VhnswCrewFree(crew, &join->lists);
	VhnswCrewFree(crew, &join->rest);
	if (join->spilled)
		VhnswSpillFree(join->spilled);
	pfree(join);
}

static inline int
class_of(const VhnswJoin *join, uint32 id)
{
	return murmurhash32(id) % join->far_classes;
}

/*
 * VhnswJoinLeaf
 *		Compare the residents of a leaf, with each other or with its guests, and
 *		improve the lists of both.
 *
 * Where lengths matter, what has a large product with everybody is in near
 * lists; what is near leads to short elements, which have it with nobody.
 */
void
VhnswJoinLeaf(const VhnswLeaf *leaf, void *arg)
{
	const VhnswJoin *join = arg;

	if (join->graph->lengths_matter)
	{
		join_lists(join, leaf, VHNSW_BLOCK_PRODUCT, true, false);
		join_lists(join, leaf, VHNSW_BLOCK_SQUARED, false, true);
	}
	else
		join_lists(join, leaf, VHNSW_BLOCK_SQUARED, true, true);
}

/* Do so for the near lists or for the far ones, or for both. */
static void
join_lists(const VhnswJoin *join, const VhnswLeaf *leaf, VhnswBlockKind kind,
		   bool near, bool far)
{
	uint32		num_guests = leaf->n - leaf->nresidents;
	Side		residents;

	if (join->with_guests && num_guests == 0)
		return;
	begin_side(&residents, join, kind, near, far, leaf->nresidents,
			   join->with_guests);
	fill_side(&residents, leaf->members, leaf->nresidents);
	if (join->with_guests)
		join_guests(&residents, leaf->members + leaf->nresidents, num_guests);
	else
		compare_residents(&residents);
	merge_side(&residents);
	end_side(&residents);
}

/*
 * Compare residents with n guests.  If only far candidates matter, those of one
 * class are compared together, so that most of the others need not be.
 */
static void
join_guests(Side *residents, const uint32 *ids, uint32 n)
{
	const VhnswJoin *join = residents->join;
	int			nclasses = residents->wants_near ? 1 : join->far_classes;
	uint32		some[GUESTS_AT_ONCE];
	uint32		count = 0;
	Side		guests;

	begin_side(&guests, join, residents->block->kind,
			   residents->wants_near, residents->wants_far, GUESTS_AT_ONCE,
			   false);
	for (int class = 0; class < nclasses; class++)
	{
		for (uint32 i = 0; i < n; i++)
		{
			if (nclasses > 1 && class_of(join, ids[i]) != class)
				continue;
			some[count++] = ids[i];
			if (count < GUESTS_AT_ONCE)
				continue;
			join_some(residents, &guests, some, count);
			count = 0;
		}
	}
	if (count > 0)
		join_some(residents, &guests, some, count);
	end_side(&guests);
}

/* Do so with a few. */
static void
join_some(Side *residents, Side *guests, const uint32 *ids, uint32 n)
{
	fill_side(guests, ids, n);
	compare_guests(residents, guests);
	if (residents->join->later)
		put_later(guests);
	else
		merge_side(guests);
}

/* Prepare for at most 'capacity' elements at a time. */
static void
begin_side(Side *side, const VhnswJoin *join, VhnswBlockKind kind, bool near,
		   bool far, uint32 capacity, bool rows_only)
{
	Size		places = VhnswBlockPlaces((Size) capacity);
	int			dims = join->principal.dims > 0 ? join->principal.dims :
	join->graph->layout.dims;
	VhnswKey   *room = palloc_extended((Size) capacity * 2 * join->key_places *
									   sizeof(VhnswKey), MCXT_ALLOC_HUGE);

	side->join = join;
	side->wants_near = near;
	side->wants_far = far;
	side->block = rows_only ?
		VhnswBlockCreateRows(kind, dims, capacity) :
		VhnswBlockCreate(kind, dims, capacity);
	side->classes = palloc0_array(uint8, places);
	side->near = palloc_array(WorkList, capacity);
	side->far = palloc_array(WorkList, capacity);
	side->near_limits = palloc_array(float, places);
	side->far_limits = palloc_array(float, places);
	side->room = room;
	side->file_room = join->spilled ?
		palloc(LISTS_AT_ONCE * join->key_places * sizeof(VhnswKey)) : NULL;
	for (uint32 i = 0; i < capacity; i++)
	{
		side->near[i] = (WorkList)
		{
			room, 0, join->near_places, &side->near_limits[i]
		};
		room += 2 * join->near_places;
		side->far[i] = (WorkList)
		{
			room, 0, join->far_places, &side->far_limits[i]
		};
		room += 2 * join->far_places;
	}
}

static void
end_side(Side *side)
{
	pfree(side->room);
	if (side->file_room)
		pfree(side->file_room);
	pfree(side->classes);
	pfree(side->near);
	pfree(side->far);
	pfree(side->near_limits);
	pfree(side->far_limits);
	VhnswBlockFree(side->block);
}

/* Take these elements. */
static void
fill_side(Side *side, const uint32 *members, uint32 n)
{
	const VhnswJoin *join = side->join;
	uint32		places = VhnswBlockPlaces(n);

	side->members = members;
	VhnswBlockReset(side->block);
	for (uint32 i = 0; i < n; i++)
	{
		const float *limits = join->limits + 2 * (Size) members[i];

		if (i + PREFETCHED < n)
		{
			prefetch_vector(join, members[i + PREFETCHED]);
			__builtin_prefetch(join->limits + 2 * (Size) members[i + PREFETCHED]);
		}
		if (join->principal.dims > 0)
			VhnswBlockAddVector(side->block,
								VhnswPrincipalGet(&join->principal, members[i]));
		else
			VhnswBlockAdd(side->block, &join->graph->layout,
						  VhnswGraphGetCode(join->graph, members[i]));
		side->classes[i] = class_of(side->join, members[i]);
		side->near[i].count = side->far[i].count = 0;
		side->near_limits[i] = side->wants_near ? limits[0] :
			-get_float4_infinity();
		side->far_limits[i] = side->wants_far ? limits[1] :
			-get_float4_infinity();
	}
	VhnswBlockFinish(side->block);
	for (uint32 i = n; i < places; i++)
		side->near_limits[i] = side->far_limits[i] = -get_float4_infinity();
}

/* Bring near what of an element is compared. */
static void
prefetch_vector(const VhnswJoin *join, uint32 id)
{
	if (join->principal.dims > 0)
		VhnswPrincipalPrefetch(&join->principal, id);
	else
		VhnswGraphPrefetchCode(join->graph, id);
}

/* Merge what elements have met into the lists that all leaves share. */
static void
merge_side(Side *side)
{
	const VhnswJoin *join = side->join;
	uint32		n = side->block->count;

	if (join->spilled)
	{
		merge_side_in_file(side);
		return;
	}
	for (uint32 i = 0; i < n; i++)
	{
		uint32		id = side->members[i];

		if (i + 2 < n && side->near[i + 2].count + side->far[i + 2].count > 0)
			prefetch_lists(join, side->members[i + 2]);
		(void) merge_element(side, i,
							 join->keys + (Size) id * join->key_places);
	}
}

/*
 * Likewise, if lists are in a file: those that lie near each other are read,
 * merged and written together, while nobody else does so.
 */
static void
merge_side_in_file(Side *side)
{
	const VhnswJoin *join = side->join;
	uint32		n = side->block->count;
	uint32		end;

	for (uint32 i = 0; i < n; i = end)
	{
		uint32		group = side->members[i] / LISTS_AT_ONCE;
		uint32		first = PG_UINT32_MAX;
		uint32		last = 0;
		LWLock	   *lock = file_lock(join, side->members[i]);
		bool		changed = false;

		for (end = i; end < n && side->members[end] / LISTS_AT_ONCE == group;
			 end++)
		{
			if (side->near[end].count + side->far[end].count == 0)
				continue;
			first = Min(first, side->members[end]);
			last = Max(last, side->members[end]);
		}
		if (first > last)
			continue;

		if (lock)
			LWLockAcquire(lock, LW_EXCLUSIVE);
		VhnswSpillRead(join->spilled, first, last - first + 1, side->file_room);
		for (uint32 j = i; j < end; j++)
		{
			if (side->near[j].count + side->far[j].count > 0)
				changed |= merge_element(side, j, side->file_room +
										 (Size) (side->members[j] - first) *
										 join->key_places);
		}
		if (changed)
			VhnswSpillWrite(join->spilled, first, last - first + 1,
							side->file_room);
		if (lock)
			LWLockRelease(lock);
	}
}

/* The lock of a bucket, if there is anybody else */
static LWLock *
file_lock(const VhnswJoin *join, uint32 id)
{
	return join->file_locks ?
		&join->file_locks[id / join->bucket_elements % NUM_FILE_LOCKS] : NULL;
}

/*
 * VhnswJoinBegin
 *		Prepare to join leaves, of one kind, in this process.
 *
 * Guests of a leaf are residents of many others.  To read, merge and write
 * their lists each time would take most of the time in files.  So they wait
 * until each list gets what several leaves have to say.
 */
void
VhnswJoinBegin(VhnswJoin *join)
{
	const VhnswGraph *graph = join->graph;

	if (join->spilled && join->with_guests && join->later_chunk_bytes > 0)
		join->later = VhnswBucketsCreate(graph->count / join->bucket_elements + 1,
										 join->later_chunk_bytes);
}

/* Merge what waits; the end of VhnswJoinBegin(). */
void
VhnswJoinEnd(VhnswJoin *join)
{
	if (join->later == NULL)
		return;
	merge_later(join);
	VhnswBucketsFree(join->later);
	join->later = NULL;
}

/* Let what elements have met wait. */
static void
put_later(Side *side)
{
	const VhnswJoin *join = side->join;

	for (uint32 i = 0; i < side->block->count; i++)
	{
		uint32		id = side->members[i];
		WorkList   *near = &side->near[i];
		WorkList   *far = &side->far[i];
		Later	   *entry;

		if (near->count + far->count == 0)
			continue;
		cut_list(near);
		cut_list(far);
		entry = VhnswBucketsAdd(join->later, id / join->bucket_elements,
								offsetof(Later, keys) +
								(near->count + far->count) * sizeof(VhnswKey));
		entry->id = id;
		entry->near = near->count;
		entry->far = far->count;
		memcpy(entry->keys, near->keys, near->count * sizeof(VhnswKey));
		memcpy(entry->keys + near->count, far->keys,
			   far->count * sizeof(VhnswKey));
	}
	if (VhnswBucketsFileBytes(join->later) > join->later_file_bytes)
		merge_later(join);
}

/* Merge all that waits.  Processes begin at different places. */
static void
merge_later(const VhnswJoin *join)
{
	uint32		nbuckets = join->graph->count / join->bucket_elements + 1;
	uint32		first = nbuckets * (uint32) ((ParallelWorkerNumber + 1) % 8) / 8;
	VhnswKey   *room = palloc(join->bucket_elements * join->key_places *
							  sizeof(VhnswKey));

	for (uint32 i = 0; i < nbuckets; i++)
	{
		CHECK_FOR_INTERRUPTS();
		merge_bucket(join, (first + i) % nbuckets, room);
	}
	pfree(room);
}

/* Likewise, for the elements of a bucket, whose lists have room there. */
static void
merge_bucket(const VhnswJoin *join, uint32 bucket, VhnswKey *room)
{
	uint32		first = bucket * join->bucket_elements;
	uint32		n = Min(join->graph->count - first, join->bucket_elements);
	LWLock	   *lock;
	Size		size;
	char	   *entries = VhnswBucketsTake(join->later, bucket, &size);

	if (entries == NULL)
		return;
	lock = file_lock(join, first);
	if (lock)
		LWLockAcquire(lock, LW_EXCLUSIVE);
	VhnswSpillRead(join->spilled, first, n, room);
	do
	{
		for (Size done = 0; done < size;)
		{
			Later	   *entry = (Later *) (entries + done);

			merge_entry(join, entry, room + (Size) (entry->id - first) *
						join->key_places);
			done += offsetof(Later, keys) +
				(entry->near + entry->far) * sizeof(VhnswKey);
		}
		entries = VhnswBucketsTake(join->later, bucket, &size);
	} while (entries);
	VhnswSpillWrite(join->spilled, first, n, room);
	if (lock)
		LWLockRelease(lock);
}

static void
merge_entry(const VhnswJoin *join, Later *entry, VhnswKey *keys)
{
	float		limits[2];
	WorkList	near = {entry->keys, entry->near, join->near_places, &limits[0]};
	WorkList	far = {entry->keys + entry->near, entry->far, join->far_places,
	&limits[1]};

	if (near.count > 0)
	{
		SharedList	shared = near_list(join, entry->id, keys);

		(void) merge_list(&near, &shared);
	}
	if (far.count > 0)
	{
		SharedList	shared = far_list(join, entry->id, keys);

		(void) merge_list(&far, &shared);
	}
}

/* Merge the lists of a member into its keys; returns whether they change. */
static bool
merge_element(Side *side, uint32 i, VhnswKey *keys)
{
	const VhnswJoin *join = side->join;
	bool		changed = false;

	if (side->near[i].count > 0)
	{
		SharedList	shared = near_list(join, side->members[i], keys);

		changed |= merge_list(&side->near[i], &shared);
	}
	if (side->far[i].count > 0)
	{
		SharedList	shared = far_list(join, side->members[i], keys);

		changed |= merge_list(&side->far[i], &shared);
	}
	return changed;
}

static SharedList
near_list(const VhnswJoin *join, uint32 id, VhnswKey *keys)
{
	return (SharedList)
	{
		keys, &join->near_counts[id],
			join->near_places, &join->limits[2 * (Size) id],
			join->locks ? &join->locks[id % NUM_LOCKS] : NULL, join->once
	};
}

static SharedList
far_list(const VhnswJoin *join, uint32 id, VhnswKey *keys)
{
	return (SharedList)
	{
		keys + join->near_places, &join->far_counts[id],
			join->far_places, &join->limits[2 * (Size) id + 1],
			join->locks ? &join->locks[id % NUM_LOCKS] : NULL, join->once
	};
}

/* For these lengths the compiler's own copy starts too slowly. */
static inline void
copy_keys(VhnswKey *to, const VhnswKey *from, int n)
{
	int			i;

	for (i = 0; i + 4 <= n; i += 4)
		memcpy(to + i, from + i, 4 * sizeof(VhnswKey));
	for (; i < n; i++)
		to[i] = from[i];
}

/*
 * Another process may have a leaf with the same element in work.  Locks are
 * held while keys are copied or compared, and no longer.
 */
static int
copy_list(const SharedList *shared, VhnswKey *keys)
{
	int			count;

	if (shared->lock)
		SpinLockAcquire(shared->lock);
	count = *shared->count;
	copy_keys(keys, shared->keys, count);
	if (shared->lock)
		SpinLockRelease(shared->lock);
	return count;
}

/* Replace a list if it is still the old one.  A full one has a limit. */
static bool
replace_list(const SharedList *shared, const VhnswKey *old, int old_count,
			 const VhnswKey *keys, int count)
{
	float		limit = FLT_MAX;
	bool		unchanged;

	if (count == shared->places)
		limit = VhnswKeyDistance(VhnswLargestKey(keys, count));
	if (shared->lock)
		SpinLockAcquire(shared->lock);
	unchanged = shared->lock == NULL ||
		(*shared->count == old_count &&
		 memcmp(shared->keys, old, old_count * sizeof(VhnswKey)) == 0);
	if (unchanged)
	{
		copy_keys(shared->keys, keys, count);
		*shared->count = count;
		*shared->limit = limit;
	}
	if (shared->lock)
		SpinLockRelease(shared->lock);
	return unchanged;
}

/* Whether it is wanted cannot be predicted, so there is no branch for it. */
static inline void
offer(WorkList *list, float distance, uint32 id)
{
	list->keys[list->count] = VhnswMakeKey(distance, id);
	list->count += distance <= *list->limit;
	if (list->count == 2 * list->places)
		cut_list(list);
}

/* Keep the nearest, as many as are wanted. */
static void
cut_list(WorkList *list)
{
	if (list->count < list->places)
		return;
	VhnswSelectKeys(list->keys, list->count, list->places);
	list->count = list->places;
	*list->limit = VhnswKeyDistance(VhnswLargestKey(list->keys, list->count));
}

/* Most lists of a leaf lie apart, and are not in the processor's cache. */
static void
prefetch_lists(const VhnswJoin *join, uint32 id)
{
	const char *keys = (const char *) VhnswJoinGetKeys(join, id);

	for (int i = 0; i < join->key_places * sizeof(VhnswKey);
		 i += PG_CACHE_LINE_SIZE / 2)
		__builtin_prefetch(keys + i);
}

/* Merge a list into the one that all leaves share; returns whether that changes. */
static bool
merge_list(WorkList *list, const SharedList *shared)
{
	VhnswKey	old[VHNSW_MAX_KEY_PLACES];
	VhnswKey	all[2 * VHNSW_MAX_KEY_PLACES];
	int			old_count;
	int			count;

	if (shared->once && list->count <= FEW_KEYS)
		return put_keys(list, shared);
	cut_list(list);
	do
	{
		old_count = copy_list(shared, old);
		count = merge_keys(list, shared->once, old, old_count, all);
	} while (!replace_list(shared, old, old_count, all, count));
	return count != old_count || memcmp(all, old, count * sizeof(VhnswKey)) != 0;
}

/*
 * Likewise, if the list is short and has no key that is there already: each is
 * put in the place of the largest.
 */
static bool
put_keys(const WorkList *list, const SharedList *shared)
{
	VhnswKey   *keys = shared->keys;
	int			count;
	int			last;
	bool		changed = false;

	if (shared->lock)
		SpinLockAcquire(shared->lock);
	count = *shared->count;
	last = place_of_largest(keys, count);
	for (int i = 0; i < list->count; i++)
	{
		VhnswKey	key = list->keys[i];

		if (count < shared->places)
			keys[count++] = key;
		else if (key < keys[last])
			keys[last] = key;
		else
			continue;
		last = place_of_largest(keys, count);
		changed = true;
	}
	*shared->count = count;
	if (count == shared->places)
		*shared->limit = VhnswKeyDistance(keys[last]);
	if (shared->lock)
		SpinLockRelease(shared->lock);
	return changed;
}

/* Two at a time, as each step waits for the one before. */
static inline int
place_of_largest(const VhnswKey *keys, int count)
{
	VhnswKey	largest[2] = {0, 0};
	int			place[2] = {0, 0};
	int			i;

	for (i = 0; i + 2 <= count; i += 2)
	{
		place[0] = keys[i] > largest[0] ? i : place[0];
		largest[0] = Max(keys[i], largest[0]);
		place[1] = keys[i + 1] > largest[1] ? i + 1 : place[1];
		largest[1] = Max(keys[i + 1], largest[1]);
	}
	if (i < count && keys[i] > largest[0])
	{
		place[0] = i;
		largest[0] = keys[i];
	}
	return largest[0] > largest[1] ? place[0] : place[1];
}

/*
 * Put the nearest of a list and of 'count' keys into 'all', and return how
 * many there are.  Unless pairs meet once, most of what a leaf has to say may be
 * known from another.
 */
static int
merge_keys(const WorkList *list, bool once, const VhnswKey *keys, int count,
		   VhnswKey *all)
{
	int			n = count + list->count;

	if (list->count <= FEW_KEYS && !once)
		return add_keys(list, keys, count, all);
	copy_keys(all, keys, count);
	if (once)
		copy_keys(all + count, list->keys, list->count);
	else
		n = append_new_keys(list, keys, count, all);
	if (n > list->places)
	{
		VhnswSelectKeys(all, n, list->places);
		n = list->places;
	}
	return n;
}

/* Append what is not among these keys; returns how many there are then. */
static int
append_new_keys(const WorkList *list, const VhnswKey *keys, int count,
				VhnswKey *all)
{
	uint32		known[4 * VHNSW_MAX_KEY_PLACES];
	uint32		mask = pg_nextpower2_32(2 * Max(count, 1)) - 1;
	int			n = count;

	memset(known, 0xFF, (mask + 1) * sizeof(uint32));
	for (int i = 0; i < count; i++)
	{
		uint32		place = VhnswKeyId(keys[i]) * HASH_FACTOR >> 16 & mask;

		while (known[place] != NO_ELEMENT)
			place = (place + 1) & mask;
		known[place] = VhnswKeyId(keys[i]);
	}
	for (int i = 0; i < list->count; i++)
	{
		uint32		id = VhnswKeyId(list->keys[i]);
		uint32		place = id * HASH_FACTOR >> 16 & mask;

		while (known[place] != id && known[place] != NO_ELEMENT)
			place = (place + 1) & mask;
		if (known[place] == NO_ELEMENT)
			all[n++] = list->keys[i];
	}
	return n;
}

/* As merge_keys(), if the list is short: one key after the other. */
static int
add_keys(const WorkList *list, const VhnswKey *keys, int count, VhnswKey *all)
{
	copy_keys(all, keys, count);
	for (int i = 0; i < list->count; i++)
	{
		VhnswKey	key = list->keys[i];
		VhnswKey	largest = 0;
		bool		is_known = false;
		int			last = 0;

		/* A pair has the same distance wherever it is compared. */
		for (int j = 0; j < count; j++)
			is_known |= all[j] == key;
		if (is_known)
			continue;
		if (count < list->places)
		{
			all[count++] = key;
			continue;
		}
		for (int j = 0; j < count; j++)
		{
			last = all[j] > largest ? j : last;
			largest = Max(largest, all[j]);
		}
		all[last] = Min(largest, key);
	}
	return count;
}

/* For each class: bits of those vectors of a panel that are of it */
static void
panel_classes(const Side *side, uint32 column, uint16 *classes)
{
	uint32		n = Min(side->block->count - column, DISTANCE_PANEL);

	memset(classes, 0, MAX_FAR_CLASSES * sizeof(uint16));
	for (uint32 i = 0; side->wants_far && i < n; i++)
		classes[side->classes[column + i]] |= 1 << i;
}

/*
 * Compare four rows of a side with a panel of another, or of the same, with
 * these classes.  'wanted' has bits of the pairs that matter, as
 * DistanceBlockNear(): what one element of such a pair learns, the other learns
 * too.
 */
static inline void
compare_some(Side *rows, const uint32 *numbers, Side *columns, uint32 column,
			 const uint16 *classes, uint64 wanted)
{
	float		distances[DISTANCE_ROWS * DISTANCE_PANEL];
	uint64		near = VhnswBlockCompareSome(rows->block, numbers,
											 rows->near_limits,
											 columns->block, column,
											 columns->near_limits + column,
											 distances) & wanted;
	uint64		far = 0;

	while (near != 0)
	{
		int			bit = pg_rightmost_one_pos64(near);
		uint32		a = numbers[bit / DISTANCE_PANEL];
		uint32		b = column + bit % DISTANCE_PANEL;

		near &= near - 1;
		offer(&rows->near[a], distances[bit], columns->members[b]);
		offer(&columns->near[b], distances[bit], rows->members[a]);
	}

	/* Limits of far lists are wider, but they concern few pairs. */
	for (int i = 0; i < DISTANCE_ROWS; i++)
		far |= (uint64) classes[rows->classes[numbers[i]]] <<
			(DISTANCE_PANEL * i);
	far &= wanted;
	while (far != 0)
	{
		int			bit = pg_rightmost_one_pos64(far);
		uint32		a = numbers[bit / DISTANCE_PANEL];
		uint32		b = column + bit % DISTANCE_PANEL;

		far &= far - 1;
		if (distances[bit] > rows->far_limits[a] &&
			distances[bit] > columns->far_limits[b])
			continue;
		offer(&rows->far[a], distances[bit], columns->members[b]);
		offer(&columns->far[b], distances[bit], rows->members[a]);
	}
}

/* Bits of the first n vectors of a panel, for one row */
static inline uint64
panel_bits(uint32 n)
{
	return ((uint64) 1 << Min(n, DISTANCE_PANEL)) - 1;
}

/* Compare residents with each other. */
static void
compare_residents(Side *side)
{
	uint32		count = side->block->count;

	for (uint32 column = 0; column < count; column += DISTANCE_PANEL)
	{
		uint32		end = Min(count, column + DISTANCE_PANEL);
		uint16		classes[MAX_FAR_CLASSES];

		CHECK_FOR_INTERRUPTS();
		panel_classes(side, column, classes);
		for (uint32 row = 0; row < end; row += DISTANCE_ROWS)
		{
			uint32		numbers[DISTANCE_ROWS];
			uint64		wanted = 0;

			/* Each pair once: columns behind the row */
			for (int i = 0; i < DISTANCE_ROWS; i++)
			{
				uint32		before = row + i >= column ? row + i + 1 - column : 0;

				numbers[i] = row + i;
				if (row + i < count)
					wanted |= (panel_bits(count - column) &
							   ~panel_bits(before)) << (DISTANCE_PANEL * i);
			}
			compare_some(side, numbers, side, column, classes, wanted);
		}
	}
}

/*
 * Compare residents with a panel of guests, but for pairs that are compared in
 * another leaf.
 */
static void
compare_guests(Side *residents, Side *guests)
{
	const VhnswJoin *join = residents->join;
	uint32		count = residents->block->count;
	uint16		all = (uint16) panel_bits(guests->block->count);
	const uint16 *elsewhere = join->mutual ?
	VhnswMutualElsewhere(join->mutual, guests->members, guests->block->count) :
	NULL;
	uint32		first = elsewhere ? VhnswMutualFirst(join->mutual) : 0;
	uint32		numbers[VHNSW_LEAF_LIMIT + DISTANCE_ROWS];
	uint16		wanted[VHNSW_LEAF_LIMIT + DISTANCE_ROWS];
	uint32		n = 0;
	uint16		classes[MAX_FAR_CLASSES];

	CHECK_FOR_INTERRUPTS();
	panel_classes(guests, 0, classes);
	for (uint32 i = 0; i < count; i++)
	{
		numbers[n] = i;
		wanted[n] = elsewhere ?
			all & ~elsewhere[residents->members[i] - first] : all;
		if (!residents->wants_near)
			wanted[n] &= classes[residents->classes[i]];
		n += wanted[n] != 0;
	}
	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		numbers[n + i] = 0;
		wanted[n + i] = 0;
	}
	for (uint32 i = 0; i < n; i += DISTANCE_ROWS)
	{
		uint64		bits = 0;

		for (int j = 0; j < DISTANCE_ROWS; j++)
			bits |= (uint64) wanted[i + j] << (DISTANCE_PANEL * j);
		compare_some(residents, numbers + i, guests, 0, classes, bits);
	}
}
