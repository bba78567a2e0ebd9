/*-------------------------------------------------------------------------
 *
 * vhnsw_load.c
 *	  Make codes of the rows of an index build, with the help of workers.
 *
 * One process reads the table, because elements are numbered in its order.
 * But fetching what is out of line, decompressing and coding can be done in
 * any order: the leader puts values as they stand in the rows into a batch, all
 * make their codes, and the leader takes these in the order of the rows.  There
 * are two batches, so that workers are busy while the leader reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_coders.h"
#include "vhnsw/vhnsw_load.h"

/* Rows of a batch, if their values have room in so many bytes. */
#define MAX_ROWS 512
#define VALUE_BYTES (512 * 1024)

/* And if their codes take no more than this. */
#define CODE_BYTES (512 * 1024)

/* Rows that are coded at a time. */
#define CODED_AT_ONCE 8

typedef struct BatchRow
{
	ItemPointerData tid;
	VhnswVectorClass vector_class;
	uint32		offset;			/* of the value */
} BatchRow;

/* Job: make the codes of a batch. */
typedef struct EncodeJob
{
	VhnswMemory memory;
	uint32		places;
	uint32		count;
	VhnswLayout layout;			/* without coder, which is elsewhere in others */
	VhnswSpace	space;			/* likewise, and without its arrays */
	int			own_bits;		/* of the coder */
	bool		has_mean;
} EncodeJob;

struct VhnswBatch
{
	VhnswCrew  *crew;
	EncodeJob	job;
	BatchRow   *rows;
	char	   *codes;
	char	   *values;
	Size		value_bytes;	/* taken */
};

/* The parts of a batch's memory, in this order. */
typedef struct BatchParts
{
	float	   *mean;
	float	   *signs;
	BatchRow   *rows;
	char	   *codes;
	char	   *values;
} BatchParts;

static uint32 batch_places(const VhnswLayout *layout);
static void find_parts(const EncodeJob *job, void *memory, BatchParts *parts);

/*
 * VhnswEncodeDatum
 *		Make a code of a row's value, if it is of class NORMAL.
 *
 * 'query' is room, which need not be initialized.  What is allocated belongs
 * to the current context.  Raises an error if the value does not fit the
 * column.
 */
VhnswVectorClass
VhnswEncodeDatum(const VhnswLayout *layout, const VhnswSpace *space,
				 VhnswQuery *query, Datum datum, VhnswCode *code)
{
	VhnswValue	value;

	VhnswValueGet(space->type, datum, &value);
	VhnswValueCheckColumn(space->type, layout->dims, &value);
	VhnswQueryInit(query, space, &value);
	if (query->vector_class == VHNSW_VECTOR_NORMAL)
		VhnswEncode(layout, query, code);
	return query->vector_class;
}

static uint32
batch_places(const VhnswLayout *layout)
{
	return (uint32) Min(MAX_ROWS, CODE_BYTES / VhnswCodeSize(layout));
}

/* Memory that a batch takes. */
Size
VhnswBatchBytes(const VhnswLayout *layout)
{
	Size		floats = layout->is_rotated ?
	(VHNSW_ROTATION_ROUNDS + 1) * layout->dims : 0;

	/* Only the dimensions of sparse vectors and bit strings are no measure. */
	if (layout->coder->has_mean)
		floats = Max(floats, layout->dims);
	return MAXALIGN(floats * sizeof(float)) +
		MAXALIGN(batch_places(layout) * sizeof(BatchRow)) +
		batch_places(layout) * MAXALIGN(VhnswCodeSize(layout)) + VALUE_BYTES;
}

/* An empty batch; memory that is not shared comes from the current context. */
VhnswBatch *
VhnswBatchCreate(VhnswCrew *crew, const VhnswLayout *layout,
				 const VhnswSpace *space)
{
	VhnswBatch *batch = palloc0_object(VhnswBatch);
	EncodeJob  *job = &batch->job;
	BatchParts	parts;

	batch->crew = crew;
	job->memory = VhnswCrewAlloc(crew, VhnswBatchBytes(layout));
	job->places = batch_places(layout);
	job->layout = *layout;
	job->space = *space;
	job->own_bits = layout->coder->own_bits;
	job->has_mean = space->mean != NULL;
	find_parts(job, job->memory.address, &parts);
	if (space->mean)
		memcpy(parts.mean, space->mean, layout->dims * sizeof(float));
	if (space->signs)
		memcpy(parts.signs, space->signs,
			   VHNSW_ROTATION_ROUNDS * layout->dims * sizeof(float));
	batch->rows = parts.rows;
	batch->codes = parts.codes;
	batch->values = parts.values;
	return batch;
}

static void
find_parts(const EncodeJob *job, void *memory, BatchParts *parts)
{
	const VhnswLayout *layout = &job->layout;
	float	   *floats = memory;

	parts->mean = floats;
	floats += job->has_mean ? layout->dims : 0;
	parts->signs = floats;
	floats += layout->is_rotated ? VHNSW_ROTATION_ROUNDS * layout->dims : 0;
	parts->rows = (BatchRow *)
		((char *) memory + MAXALIGN((char *) floats - (char *) memory));
	parts->codes = (char *) parts->rows +
		MAXALIGN(job->places * sizeof(BatchRow));
	parts->values = parts->codes + job->places * MAXALIGN(VhnswCodeSize(layout));
}

/*
 * VhnswBatchPut
 *		Add a row's value, as it is.
 *
 * Returns false, and does nothing, if there is no room for it.  A value that
 * has none in an empty batch is for the caller to encode.
 */
bool
VhnswBatchPut(VhnswBatch *batch, ItemPointer tid, Datum datum)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(datum);
	BatchRow   *row = &batch->rows[batch->job.count];
	Size		size;

	/* What points into this process's memory means nothing to others. */
	if (VARATT_IS_EXTERNAL(value) && !VARATT_IS_EXTERNAL_ONDISK(value))
		value = pg_detoast_datum(value);
	size = VARSIZE_ANY(value);
	if (batch->job.count == batch->job.places ||
		batch->value_bytes + size > VALUE_BYTES)
		return false;

	row->tid = *tid;
	row->offset = (uint32) batch->value_bytes;
	memcpy(batch->values + row->offset, value, size);
	batch->value_bytes += MAXALIGN(size);
	batch->job.count++;
	return true;
}

uint32
VhnswBatchCount(const VhnswBatch *batch)
{
	return batch->job.count;
}

uint32
VhnswBatchPlaces(const VhnswBatch *batch)
{
	return batch->job.places;
}

/* Let workers begin to make the codes of all rows. */
void
VhnswBatchBegin(VhnswBatch *batch)
{
	if (batch->job.count > 0)
		VhnswCrewBegin(batch->crew, VHNSW_JOB_ENCODE, &batch->job,
					   sizeof(EncodeJob),
					   (batch->job.count + CODED_AT_ONCE - 1) / CODED_AT_ONCE);
}

/* Help them, after VhnswBatchBegin(), until all codes are made. */
void
VhnswBatchFinish(VhnswBatch *batch)
{
	if (batch->job.count > 0)
		VhnswCrewFinish(batch->crew);
}

void
VhnswEncodeJob(VhnswCrew *crew, const void *arg)
{
	EncodeJob	job = *(const EncodeJob *) arg;
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext,
													  "vhnsw job row",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(row_context);
	BatchParts	parts;
	VhnswQuery	query = {0};
	uint32		chunk;

	find_parts(&job, VhnswCrewAddress(crew, &job.memory), &parts);
	job.layout.coder = VhnswGetCoder(job.layout.metric, job.own_bits);
	job.space.coder = job.layout.coder;
	job.space.mean = job.has_mean ? parts.mean : NULL;
	job.space.signs = job.layout.is_rotated ? parts.signs : NULL;
	while (VhnswCrewNext(crew, &chunk))
	{
		uint32		first = chunk * CODED_AT_ONCE;
		uint32		end = Min(first + CODED_AT_ONCE, job.count);

		for (uint32 i = first; i < end; i++)
		{
			BatchRow   *row = &parts.rows[i];
			char	   *code = parts.codes +
			i * MAXALIGN(VhnswCodeSize(&job.layout));

			row->vector_class =
				VhnswEncodeDatum(&job.layout, &job.space, &query,
								 PointerGetDatum(parts.values + row->offset),
								 (VhnswCode *) code);
			MemoryContextReset(row_context);
		}
	}
	MemoryContextSwitchTo(old_context);
}

/* What has become of a row. */
VhnswVectorClass
VhnswBatchGet(const VhnswBatch *batch, uint32 number, ItemPointer *tid,
			  const VhnswCode **code)
{
	BatchRow   *row = &batch->rows[number];

	*tid = &row->tid;
	*code = (const VhnswCode *)
		(batch->codes + number * MAXALIGN(VhnswCodeSize(&batch->job.layout)));
	return row->vector_class;
}

void
VhnswBatchReset(VhnswBatch *batch)
{
	batch->job.count = 0;
	batch->value_bytes = 0;
}

void
VhnswBatchFree(VhnswBatch *batch)
{
	VhnswCrewFree(batch->crew, &batch->job.memory);
	pfree(batch);
}
