/*-------------------------------------------------------------------------
 *
 * vhnsw_build.c
 *	  CREATE INDEX and REINDEX.
 *
 *	1. sample blocks of the heap for the mean; then start workers
 *	2. scan the heap into an array of codes (vhnsw_load.c)
 *	3. link the elements in memory (vhnsw_graph_link.c)
 *	4. learn how to sketch neighbors (vhnsw_edge_build.c)
 *	5. write the pages (vhnsw_write.c); those of elements are logged
 *	6. log all other pages
 *
 * If the array exceeds maintenance_work_mem, steps 3 to 5 happen in the
 * middle of 2, and the rest of the heap goes in by page inserts.  Nothing is
 * logged then before step 6.  A crash at any point leaves an index that is not
 * valid, because the transaction has not committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "access/xloginsert.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "portability/instr_time.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_am.h"
#include "vhnsw/vhnsw_coders.h"
#include "vhnsw/vhnsw_edge_build.h"
#include "vhnsw/vhnsw_graph.h"
#include "vhnsw/vhnsw_graph_link.h"
#include "vhnsw/vhnsw_job.h"
#include "vhnsw/vhnsw_load.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_outside.h"
#include "vhnsw/vhnsw_tids.h"
#include "vhnsw/vhnsw_write.h"

/* Fixed, so that equal tables give equal indexes. */
#define ROTATION_SEED UINT64CONST(0x7665636469737401)

/* What is learned is learned from about this many rows, of so many blocks. */
#define SAMPLE_ROWS 5000
#define SAMPLE_BLOCKS 256

/* The length of sparse codes, which inserts cannot change. */
#define SAMPLE_FOR_LENGTH 1000	/* a smaller one makes them longer only */
#define WHOLE_CODES 0.98		/* share of vectors that are kept whole */
#define MIN_CODE_LENGTH 16		/* elements */

typedef struct BuildState
{
	Relation	heap;
	Relation	index;
	IndexInfo  *info;
	VhnswLayout layout;
	VhnswSpace	space;
	VhnswQuery	query;			/* reused for every row */
	VhnswCode  *code;			/* likewise */
	VhnswCrew  *crew;
	VhnswGraph *graph;			/* NULL once it is written */
	VhnswBatch *batch;			/* rows are put there; NULL if no workers */
	VhnswBatch *coding;			/* the batch before, which all make codes of */
	uint32		room;			/* of the graph, for the rows of both */
	VhnswOutside outside[VHNSW_OUTSIDE_LISTS];
	double	   *sums;			/* of the sample, if there shall be a mean */
	int		   *lengths;		/* of its sparse vectors */
	int64		sampled;
	int			sample_quota;	/* rows of the block that may still be taken */
	int64		sample_rows;	/* seen by the sample callback, perhaps more */
	BlockNumber sample_blocks;	/* where these were */
	int64		rows;			/* seen by the load callback */
	double		index_tuples;
	instr_time	start;
	VhnswBuildKind kind;		/* known when the graph is written */
	int			workers;		/* likewise */
	BlockNumber logged_first;	/* pages that are logged: from here */
	BlockNumber logged_end;		/* to before this */
	uint64		memory;			/* bytes, likewise */
	double		inserted;		/* rows, after that */
	MemoryContext context;
	MemoryContext graph_context;	/* deleted when the graph is written */
	MemoryContext tuple_context;	/* reset for every row */
} BuildState;

static void begin_build(BuildState *state, Relation heap, Relation index,
						IndexInfo *info);
static void check_column(VhnswValueType type, int dims,
						 const VhnswCoder *coder, int m, int code_bits);
static uint64 wanted_memory_mb(const BuildState *state);
static void learn(BuildState *state);
static void learn_code_length(BuildState *state);
static void begin_load(BuildState *state);
static void sample_callback(Relation index, ItemPointer tid, Datum *values,
							bool *isnull, bool alive, void *arg);
static void load_callback(Relation index, ItemPointer tid, Datum *values,
						  bool *isnull, bool alive, void *arg);
static void make_room(BuildState *state);
static void load_row(BuildState *state, ItemPointer tid, Datum datum,
					 bool isnull);
static void load_code(BuildState *state, VhnswVectorClass class,
					  const VhnswCode *code, ItemPointer tid);
static void turn_batches(BuildState *state);
static void load_batches(BuildState *state);
static void free_batches(BuildState *state);
static void keep_workers_that_fit(BuildState *state, uint64 rows);
static void plan(BuildState *state);
static void write_out(BuildState *state, bool all_rows);
static void keep_record(const BuildState *state);
static void log_rest(const BuildState *state);

/* Build callback: fill the index from the heap. */
IndexBuildResult *
vhnswbuild(Relation heap, Relation index, IndexInfo *info)
{
	BuildState	state;
	IndexBuildResult *result = palloc_object(IndexBuildResult);

	if (RelationGetNumberOfBlocks(index) != 0)
		elog(ERROR, "index \"%s\" already contains data",
			 RelationGetRelationName(index));

	begin_build(&state, heap, index, info);
	INSTR_TIME_SET_CURRENT(state.start);
	learn(&state);
	begin_load(&state);

	VhnswCrewPhase(VHNSW_PHASE_LOAD, 0);
	/* From the first block on, so that equal tables give equal indexes. */
	result->heap_tuples = table_index_build_scan(heap, index, info, false,
												 true, load_callback, &state,
												 NULL);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, state.rows);
	if (state.graph)
	{
		load_batches(&state);
		write_out(&state, true);
	}
	keep_record(&state);
	VD_DEBUG_POINT("vhnsw-build-pages");

	if (RelationNeedsWAL(index))
		log_rest(&state);
	VD_DEBUG_POINT("vhnsw-build-wal");

	result->index_tuples = state.index_tuples;
	MemoryContextDelete(state.context);
	return result;
}

/* Build callback for the init fork of an unlogged index: no rows. */
void
vhnswbuildempty(Relation index)
{
	BuildState	state;
	Buffer		buffer;
	Page		page;

	begin_build(&state, NULL, index, NULL);
	VhnswUntrainedSketches(&state.layout);
	buffer = VhnswExtend(index, INIT_FORKNUM);
	page = BufferGetPage(buffer);

	START_CRIT_SECTION();
	VhnswInitPage(page, VHNSW_PAGE_META, &state.layout);
	VhnswInitMeta(VhnswPageGetMeta(page), &state.layout, ROTATION_SEED);
	MarkBufferDirty(buffer);
	log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();

	VhnswReleasePage(buffer);
	MemoryContextDelete(state.context);
}

/* Check the definition of the index and prepare the state. */
static void
begin_build(BuildState *state, Relation heap, Relation index, IndexInfo *info)
{
	VhnswOptions *options = (VhnswOptions *) index->rd_options;
	int			dims = TupleDescAttr(index->rd_att, 0)->atttypmod;
	int			m = options ? options->m : VHNSW_DEFAULT_M;
	int			efc = options ? options->ef_construction :
	VHNSW_DEFAULT_EF_CONSTRUCTION;
	VhnswMetric metric = VhnswGetMetric(index);
	VhnswValueType type = VhnswGetValueType(index);
	VhnswStorage storage = options ? options->storage : VHNSW_STORAGE_AUTO;
	const VhnswCoder *coder = VhnswChooseCoder(metric, type, dims, m, storage,
											   options ? options->code_bits : 0);
	MemoryContext old_context;

	if (coder == NULL)
		elog(ERROR, "no codes for metric %d of type %s", metric,
			 VhnswValueTypeName(type));
	check_column(type, dims, coder, m, options ? options->code_bits : 0);

	memset(state, 0, sizeof(*state));
	state->heap = heap;
	state->index = index;
	state->info = info;
	state->context = AllocSetContextCreate(CurrentMemoryContext,
										   "vhnsw build",
										   ALLOCSET_DEFAULT_SIZES);
	state->tuple_context = AllocSetContextCreate(state->context,
												 "vhnsw build row",
												 ALLOCSET_DEFAULT_SIZES);
	state->graph_context = AllocSetContextCreate(state->context,
												 "vhnsw build graph",
												 ALLOCSET_DEFAULT_SIZES);
	state->layout.metric = metric;
	state->layout.coder = coder;
	state->layout.dims = dims;
	state->layout.m = m;
	state->layout.ef_construction = efc;
	state->layout.storage = storage;
	VhnswLayoutDerive(&state->layout);

	old_context = MemoryContextSwitchTo(state->context);
	state->space.type = VhnswGetValueType(index);
	state->space.metric = state->layout.metric;
	state->space.coder = state->layout.coder;
	state->space.dims = dims;
	if (state->layout.is_rotated)
	{
		float	   *signs = palloc_array(float, VHNSW_ROTATION_ROUNDS * dims);

		VhnswRotationSigns(ROTATION_SEED, dims, signs);
		state->space.signs = signs;
	}
	MemoryContextSwitchTo(old_context);
}

/* Raise an error if such a column cannot be indexed by these codes. */
static void
check_column(VhnswValueType type, int dims, const VhnswCoder *coder, int m,
			 int code_bits)
{
	int			max_dims = VhnswMaxDims(coder, m);

	if (dims < 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("column does not have dimensions"),
				errhint("Declare the column as %s(n), or index an expression cast to %s(n).",
						VhnswValueTypeName(type), VhnswValueTypeName(type)));
	if (code_bits != 0 &&
		VhnswOwnBits(type) != vhnsw_rotated_coder.own_bits)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("option \"code_bits\" is not for columns of type %s",
					   VhnswValueTypeName(type)),
				errdetail("It says what is kept of each dimension of a vector or halfvec."));
	if (dims > max_dims)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("column cannot have more than %d dimensions for vhnsw index",
					   max_dims),
				code_bits == vhnsw_rotated_coder.own_bits ?
				errdetail("With m = %d an element of %d dimensions of %d bits does not fit a page.",
						  m, dims, code_bits) :
				errdetail("With m = %d an element of %d dimensions does not fit a page.",
						  m, dims),
				code_bits == vhnsw_rotated_coder.own_bits ?
				errhint("Leave out the option code_bits, or index fewer dimensions.") :
				dims <= VhnswMaxDims(coder, VHNSW_MIN_M) ?
				errhint("Set a smaller m, or index fewer dimensions.") :
				errhint("Index fewer dimensions."));
}

/*
 * Learn the mean of the vectors (of their directions, for cosine), or how long
 * codes of sparse vectors should be, from blocks spread evenly over the heap.
 * A poor sample costs precision, nothing else.
 */
static void
learn(BuildState *state)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(state->heap);
	BlockNumber num_blocks;
	int			dims = state->layout.dims;

	/* Inner products are taken from the origin. */
	if (state->space.coder->has_mean &&
		state->layout.metric != VHNSW_INNER_PRODUCT)
		state->sums = MemoryContextAllocZero(state->context,
											 dims * sizeof(double));
	else if (state->space.coder->code_bytes == NULL)
		state->lengths = MemoryContextAlloc(state->context,
											(SAMPLE_ROWS + SAMPLE_BLOCKS) *
											sizeof(int));
	else
		return;
	if (nblocks == 0)
		return;

	VhnswCrewPhase(VHNSW_PHASE_SAMPLE, 0);
	num_blocks = Min(nblocks, SAMPLE_BLOCKS);
	for (BlockNumber i = 0; i < num_blocks; i++)
	{
		BlockNumber blkno = (BlockNumber) ((uint64) nblocks * i / num_blocks);

		state->sample_quota = (int) ((SAMPLE_ROWS + num_blocks - 1) / num_blocks);
		table_index_build_range_scan(state->heap, state->index, state->info,
									 false, false, false, blkno, 1,
									 sample_callback, state, NULL);
		state->sample_blocks++;
	}
	if (state->sampled == 0)
		return;

	if (state->sums)
	{
		float	   *mean = MemoryContextAlloc(state->context,
											  dims * sizeof(float));

		for (int i = 0; i < dims; i++)
			mean[i] = (float) (state->sums[i] / state->sampled);
		state->space.mean = mean;
	}
	else
		learn_code_length(state);
}

static int
compare_lengths(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

/*
 * Choose the length of sparse codes: nearly all vectors are kept whole, and
 * slots fill their page.
 */
static void
learn_code_length(BuildState *state)
{
	VhnswLayout *layout = &state->layout;
	int			slots_per_page;
	int			length;
	int			code_bytes;

	qsort(state->lengths, state->sampled, sizeof(int), compare_lengths);
	length = state->lengths[(int) (WHOLE_CODES * (state->sampled - 1))];
	code_bytes = VhnswSparseCodeBytes(layout->dims,
									  Max(length, MIN_CODE_LENGTH));

	/* A small table says little of what will be inserted. */
	if (state->sampled < SAMPLE_FOR_LENGTH)
		code_bytes = Max(code_bytes, layout->code_bytes);

	slots_per_page = VHNSW_PAGE_CAPACITY / offsetof(VhnswSlotData, neighbors);
	while (slots_per_page > 1 &&
		   VhnswCodeBytesThatFit(layout, slots_per_page) < code_bytes)
		slots_per_page--;
	layout->code_bytes = VhnswCodeBytesThatFit(layout, slots_per_page);
	VhnswLayoutDerive(layout);
}

/* Prepare for rows, once everything is learned that places depend on. */
static void
begin_load(BuildState *state)
{
	MemoryContext old_context;

	state->space.code_bytes = state->layout.code_bytes;
	state->code = MemoryContextAlloc(state->context,
									 VhnswCodeSize(&state->layout));
	old_context = MemoryContextSwitchTo(state->graph_context);
	state->crew = VhnswCrewCreate(state->heap, state->index,
								  &vhnsw_build_duties);
	state->graph = VhnswGraphCreate(&state->layout, state->crew,
									(uint64) maintenance_work_mem * 1024,
									state->graph_context);

	/* Memory is asked for with each row: pages are not laid out each time. */
	state->graph->learning_bytes = VhnswLearningBytes(&state->layout);
	plan(state);
	VhnswCrewLaunch(state->crew, state->info->ii_Concurrent);
	if (state->crew->workers > 0)
	{
		state->batch = VhnswBatchCreate(state->crew, &state->layout,
										&state->space);
		state->coding = VhnswBatchCreate(state->crew, &state->layout,
										 &state->space);
	}
	MemoryContextSwitchTo(old_context);
}

static void
add_to_sums(BuildState *state, const VhnswValue *value)
{
	double		length = 1;

	if (state->layout.metric == VHNSW_COSINE)
		length = sqrt(DistanceNormSquared(value->x, value->dims));
	for (int i = 0; i < value->dims; i++)
		state->sums[i] += value->x[i] / length;
}

static void
sample_callback(Relation index, ItemPointer tid, Datum *values, bool *isnull,
				bool alive, void *arg)
{
	BuildState *state = arg;
	MemoryContext old_context;
	VhnswValue	value;

	state->sample_rows++;
	if (isnull[0] || state->sample_quota == 0)
		return;
	state->sample_quota--;

	old_context = MemoryContextSwitchTo(state->tuple_context);
	VhnswValueGet(state->space.type, values[0], &value);
	if (state->space.coder->classify(state->layout.metric, &value) ==
		VHNSW_VECTOR_NORMAL)
	{
		if (state->sums)
			add_to_sums(state, &value);
		else
			state->lengths[state->sampled] = value.sparse.n;
		state->sampled++;
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(state->tuple_context);
}

static void
load_callback(Relation index, ItemPointer tid, Datum *values, bool *isnull,
			  bool alive, void *arg)
{
	BuildState *state = arg;
	MemoryContext old_context;

	if (state->graph)
		make_room(state);
	old_context = MemoryContextSwitchTo(state->tuple_context);
	if (state->graph)
		load_row(state, tid, values[0], isnull[0]);
	else
	{
		VhnswInsertValue(index, values[0], isnull[0], tid, true);
		state->inserted++;
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(state->tuple_context);

	state->index_tuples++;
	state->rows++;
	if (state->rows % 128 == 0)
	{
		pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE,
									 state->rows);
		VD_DEBUG_POINT("vhnsw-build-load");
	}
}

/*
 * See to it that the graph has room for one more row, beside those of the
 * batches: the first that has none makes it go to files, or be written.
 */
static void
make_room(BuildState *state)
{
	uint32		waiting = 0;
	uint32		wanted = 1;
	uint64		wanted_mb;

	if (state->batch)
	{
		waiting = VhnswBatchCount(state->batch) +
			VhnswBatchCount(state->coding);
		if (waiting < state->room)
			return;
		wanted += VHNSW_BATCHES * VhnswBatchPlaces(state->batch);
	}
	state->room = VhnswGraphRoom(state->graph, wanted);
	if (waiting >= state->room && waiting > 0)
	{
		load_batches(state);
		waiting = 0;
		state->room = VhnswGraphRoom(state->graph, wanted);
	}
	if (waiting < state->room)
		return;

	if (VhnswGraphMaySpill(state->graph))
	{
		ereport(DEBUG1,
				errmsg_internal("graph of index \"%s\" goes to temporary files after %lld rows",
								RelationGetRelationName(state->index),
								(long long) state->rows));
		VhnswGraphSpill(state->graph);
	}
	if (state->graph->codes)
	{
		keep_workers_that_fit(state, (uint64) state->graph->count + 1);
		state->room = VhnswGraphRoom(state->graph, wanted);
	}
	if (state->room > 0)
		return;
	wanted_mb = wanted_memory_mb(state);
	ereport(NOTICE,
			errmsg("graph of index \"%s\" exceeds maintenance_work_mem after %lld rows",
				   RelationGetRelationName(state->index),
				   (long long) state->rows),
			errdetail("The remaining rows are inserted page by page, which takes longer."),
			wanted_mb > maintenance_work_mem / 1024 ?
			errhint("Set maintenance_work_mem to %llu MB or more.",
					(unsigned long long) wanted_mb) :
			errhint("Increase maintenance_work_mem."));
	write_out(state, false);
	VhnswCrewPhase(VHNSW_PHASE_LOAD, 0);
}

/* Put one row into the batch, the graph, or a list outside. */
static void
load_row(BuildState *state, ItemPointer tid, Datum datum, bool isnull)
{
	if (isnull)
	{
		MemoryContext old_context = MemoryContextSwitchTo(state->context);

		VhnswOutsideAdd(&state->outside[VHNSW_LIST_NULL], tid);
		MemoryContextSwitchTo(old_context);
		return;
	}
	if (state->batch)
	{
		if (VhnswBatchPut(state->batch, tid, datum))
			return;
		turn_batches(state);
		if (VhnswBatchPut(state->batch, tid, datum))
			return;
		load_batches(state);
		state->room--;
	}
	load_code(state, VhnswEncodeDatum(&state->layout, &state->space,
									  &state->query, datum, state->code),
			  state->code, tid);
}

/* Put an encoded row into the graph, or into a list outside. */
static void
load_code(BuildState *state, VhnswVectorClass class, const VhnswCode *code,
		  ItemPointer tid)
{
	MemoryContext old_context = MemoryContextSwitchTo(state->context);

	switch (class)
	{
		case VHNSW_VECTOR_NORMAL:
			VhnswGraphAdd(state->graph, code, tid);
			break;
		case VHNSW_VECTOR_ZERO:
			VhnswOutsideAdd(&state->outside[VHNSW_LIST_ZERO], tid);
			break;
		case VHNSW_VECTOR_EXTREME:
			VhnswOutsideAdd(&state->outside[VHNSW_LIST_EXTREME], tid);
			break;
	}
	MemoryContextSwitchTo(old_context);
}

/*
 * Load the rows of the batch before, whose codes are made then, while workers
 * begin with those of the batch that is full.
 */
static void
turn_batches(BuildState *state)
{
	VhnswBatch *coded = state->coding;
	uint32		count = VhnswBatchCount(coded);

	VhnswBatchFinish(coded);
	VhnswBatchBegin(state->batch);
	state->coding = state->batch;
	state->batch = coded;
	for (uint32 i = 0; i < count; i++)
	{
		ItemPointer tid;
		const VhnswCode *code;
		VhnswVectorClass class = VhnswBatchGet(coded, i, &tid, &code);

		load_code(state, class, code, tid);
	}
	VhnswBatchReset(coded);
	state->room -= count;
}

/* Load all rows of the batches, if there are any. */
static void
load_batches(BuildState *state)
{
	if (state->batch == NULL)
		return;
	for (int i = 0; i < VHNSW_BATCHES; i++)
		turn_batches(state);
}

/* Both are empty. */
static void
free_batches(BuildState *state)
{
	if (state->batch == NULL)
		return;
	VhnswBatchFree(state->batch);
	VhnswBatchFree(state->coding);
	state->batch = state->coding = NULL;
}

/* How many rows there are to index, by the sample or else by statistics. */
static double
estimate_rows(const BuildState *state)
{
	BlockNumber pages;
	double		tuples;
	double		all_visible;

	if (state->sample_blocks > 0)
		return (double) state->sample_rows / state->sample_blocks *
			RelationGetNumberOfBlocks(state->heap);
	estimate_rel_size(state->heap, NULL, &pages, &tuples, &all_visible);
	return tuples;
}

/* What maintenance_work_mem would have room for all rows, in MB */
static uint64
wanted_memory_mb(const BuildState *state)
{
	double		rows = estimate_rows(state);
	uint64		count = (uint64) Min(Max(rows, state->rows), PG_UINT32_MAX);

	return VhnswGraphMemoryWithoutFiles(state->graph, count) / (1024 * 1024) + 1;
}

/* For files; batches are empty. */
static void
keep_workers_that_fit(BuildState *state, uint64 rows)
{
	VhnswGraphDropWorkers(state->graph, rows);
	if (state->crew->workers == 0)
		free_batches(state);
}

/* See how many workers a build can have, and say what it is expected to take. */
static void
plan(BuildState *state)
{
	const VhnswGraph *graph = state->graph;
	uint64		rows = (uint64) Min(Max(estimate_rows(state), 1), PG_UINT32_MAX);
	uint64		bytes = VhnswGraphMemory(graph, rows);

	if (bytes > graph->memory_limit && VhnswGraphFitsWithFiles(graph, rows, 0))
		keep_workers_that_fit(state, rows);
	ereport(DEBUG1,
			errmsg_internal("index \"%s\" is planned for %llu rows, %llu bytes each, %llu kB of %d kB, %s, with %d workers",
							RelationGetRelationName(state->index),
							(unsigned long long) rows,
							(unsigned long long) (bytes / rows),
							(unsigned long long) (bytes + 1023) / 1024,
							maintenance_work_mem,
							bytes <= graph->memory_limit ? "in memory" :
							VhnswGraphFitsWithFiles(graph, rows,
													state->crew->workers) ?
							"in temporary files" : "the last ones page by page",
							state->crew->workers));
}

/*
 * Link what is in memory and write it.  If these are not all rows, the others
 * are inserted into pages, so that none can be logged yet.
 */
static void
write_out(BuildState *state, bool all_rows)
{
	MemoryContext old_context = MemoryContextSwitchTo(state->graph_context);
	bool		log = all_rows && RelationNeedsWAL(state->index);
	VhnswSketches *sketches;
	BlockNumber first;
	BlockNumber end;

	/* In files, caches take what remains. */
	state->memory = state->graph->codes ? state->graph->memory_limit :
		VhnswGraphMemory(state->graph, state->graph->count);
	ereport(DEBUG1,
			errmsg_internal("graph of index \"%s\" has %u elements and takes at most %llu kB of %d kB",
							RelationGetRelationName(state->index),
							state->graph->count,
							(unsigned long long) (state->memory + 1023) / 1024,
							maintenance_work_mem));
	free_batches(state);
	VhnswGraphEndLoad(state->graph);
	VhnswGraphShare(state->graph);
	VhnswGraphLink(state->graph, RelationGetRelationName(state->index));
	VhnswCrewPhase(VHNSW_PHASE_SKETCH, state->graph->count);
	sketches = VhnswMakeSketches(state->graph,
								 RelationGetRelationName(state->index));
	VhnswCrewPhase(VHNSW_PHASE_WRITE, state->graph->count);
	VhnswWriteGraph(state->index, state->graph, sketches, ROTATION_SEED,
					state->space.mean, state->outside, log, &first, &end);
	if (log)
	{
		state->logged_first = first;
		state->logged_end = end;
	}
	for (int i = 0; i < VHNSW_OUTSIDE_LISTS; i++)
		VhnswOutsideFree(&state->outside[i]);
	if (sketches->spilled)
		VhnswSpillFree(sketches->spilled);
	state->kind = state->graph->kind;
	state->workers = state->crew->workers;
	VhnswGraphCloseFiles(state->graph);
	VhnswCrewTell(state->crew);
	VhnswCrewDismiss(state->crew);
	MemoryContextSwitchTo(old_context);

	MemoryContextDelete(state->graph_context);
	state->graph = NULL;
}

/* Let the metapage tell how the index was built. */
static void
keep_record(const BuildState *state)
{
	instr_time	time;
	Buffer		buffer;
	VhnswMetaPage meta;

	INSTR_TIME_SET_CURRENT(time);
	INSTR_TIME_SUBTRACT(time, state->start);
	buffer = VhnswGetPage(state->index, VHNSW_META_BLKNO, VHNSW_PAGE_META,
						  BUFFER_LOCK_EXCLUSIVE);
	meta = VhnswPageGetMeta(BufferGetPage(buffer));
	meta->build_kind = state->kind;
	meta->build_workers = state->workers;
	meta->build_memory = (uint32) Min((state->memory + 1023) / 1024,
									  PG_UINT32_MAX);
	meta->build_inserted = state->inserted;
	meta->build_seconds = (float4) INSTR_TIME_GET_DOUBLE(time);
	MarkBufferDirty(buffer);
	VhnswReleasePage(buffer);
}

/* Log the pages that are not logged yet: few, unless rows were inserted. */
static void
log_rest(const BuildState *state)
{
	VhnswCrewPhase(VHNSW_PHASE_LOG, 0);
	log_newpage_range(state->index, MAIN_FORKNUM, 0, state->logged_first, true);
	log_newpage_range(state->index, MAIN_FORKNUM, state->logged_end,
					  RelationGetNumberOfBlocks(state->index), true);
}
