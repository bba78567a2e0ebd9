/*-------------------------------------------------------------------------
 *
 * vhnsw_write.c
 *	  Write the graph of an index build to pages.
 *
 * The pages follow each other without gaps: metapage, mean, basis of sketches,
 * entries, elements by number, TID cells.  So every place is known by
 * arithmetic before anything is written, and each page is written once; those
 * of the elements by whoever has time.  What may have to be read from a file is
 * put together in memory first: no page is locked while a file is read.
 *
 * If nothing will be inserted any more, pages of elements are logged as they
 * are written, by the same process.  The build logs all others at its end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xloginsert.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "vecdist_debug.h"
#include "vhnsw/vhnsw_meta.h"
#include "vhnsw/vhnsw_write.h"

#define FLOATS_PER_PAGE (VHNSW_PAGE_CAPACITY / sizeof(float4))

/* Element pages written at a time. */
#define PAGES_AT_ONCE 16

/* An element with more than one TID, and the first cell of the others. */
typedef struct DuplicateRun
{
	uint32		element;
	ItemPointerData cell;
} DuplicateRun;

/* Job: write the element pages. */
typedef struct WriteJob
{
	VhnswSketches sketches;
	VhnswListsShape lists;
	BlockNumber first_block;
	BlockNumber nblocks;
	bool		log;
	VhnswMemory runs;			/* by element */
	uint32		nruns;
} WriteJob;

typedef struct Writer
{
	Relation	index;
	VhnswGraph *graph;
	VhnswSketches *sketches;
	const VhnswLayout *layout;
	VhnswOutside *outside;		/* VHNSW_OUTSIDE_LISTS lists */
	BlockNumber mean_block;		/* 0 = none */
	BlockNumber mean_pages;
	BlockNumber pca_block;		/* 0 = none */
	BlockNumber pca_pages;
	BlockNumber entry_block;
	BlockNumber entry_pages;
	BlockNumber element_block;
	BlockNumber element_pages;
	BlockNumber cell_block;
	uint64		ncells;

	/* the page being written */
	Buffer		buffer;
	Page		page;

	uint64		next_cell;
	PGAlignedBlock image;		/* of a page of entries or cells so far */
} Writer;

static void plan_pages(Writer *writer, bool has_mean);
static VhnswMemory make_runs(Writer *writer, uint32 *nruns);
static Page begin_page(Writer *writer, VhnswPageKind kind, BlockNumber blkno);
static void end_page(Writer *writer);
static void write_meta(Writer *writer, uint64 seed);
static BlockNumber pages_for_floats(Size n);
static void write_floats(Writer *writer, VhnswPageKind kind,
						 BlockNumber first_page, const float *values, Size n);
static void write_entries(Writer *writer);
static void write_elements(Writer *writer, bool log);
static void write_element_page(Relation index, BlockNumber blkno,
							   const PGAlignedBlock *image, bool log);
static void write_cells(Writer *writer);
static void write_list(Writer *writer, uint32 owner,
					   const VhnswDuplicate *duplicates,
					   VhnswOutside *outside, uint64 n);
static void write_cell_page(Writer *writer);
static void write_image(Writer *writer, BlockNumber blkno);
static VhnswElement element_number(const Writer *writer, uint32 id);
static void cell_address(const Writer *writer, uint64 cell,
						 ItemPointer address);
static int	compare_duplicates(const VhnswDuplicate *a, const VhnswDuplicate *b);

#define ST_SORT sort_duplicates
#define ST_ELEMENT_TYPE VhnswDuplicate
#define ST_COMPARE(a, b) compare_duplicates(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define CellsFor(ntids) (((ntids) + VHNSW_TIDS_PER_CELL - 1) / VHNSW_TIDS_PER_CELL)

/*
 * VhnswWriteGraph
 *		Write a whole index into an empty relation.
 *
 * 'mean' may be NULL for zero; 'outside' has all lists outside the graph,
 * which are read.  With 'log' pages of elements are logged; *first and *end get the
 * numbers of the first and of the one after the last.
 */
void
VhnswWriteGraph(Relation index, VhnswGraph *graph, VhnswSketches *sketches,
				uint64 seed, const float *mean, VhnswOutside *outside,
				bool log, BlockNumber *first, BlockNumber *end)
{
	Writer		writer = {.index = index,.graph = graph,.sketches = sketches,
	.layout = &sketches->layout,.outside = outside};

	sort_duplicates(graph->duplicates, graph->nduplicates);
	plan_pages(&writer, mean != NULL);
	write_meta(&writer, seed);
	if (mean)
		write_floats(&writer, VHNSW_PAGE_MEAN, writer.mean_block, mean,
					 writer.layout->dims);
	if (sketches->space.matrix)
		write_floats(&writer, VHNSW_PAGE_PCA, writer.pca_block,
					 sketches->space.matrix,
					 (Size) writer.layout->edge_dims * writer.layout->dims);
	write_entries(&writer);
	write_elements(&writer, log);
	write_cells(&writer);
	*first = writer.element_block;
	*end = writer.cell_block;
}

static int
compare_duplicates(const VhnswDuplicate *a, const VhnswDuplicate *b)
{
	if (a->element != b->element)
		return a->element < b->element ? -1 : 1;
	return ItemPointerCompare(unconstify(ItemPointerData *, &a->tid),
							  unconstify(ItemPointerData *, &b->tid));
}

/* How many duplicates, from number 'first' on, have the element of the first. */
static uint32
run_length(const VhnswGraph *graph, uint32 first)
{
	uint32		end = first;

	while (end < graph->nduplicates &&
		   graph->duplicates[end].element == graph->duplicates[first].element)
		end++;
	return end - first;
}

static void
plan_pages(Writer *writer, bool has_mean)
{
	const VhnswLayout *layout = writer->layout;
	VhnswGraph *graph = writer->graph;
	BlockNumber next = VHNSW_META_BLKNO + 1;
	uint64		element_pages;

	if (has_mean)
	{
		writer->mean_block = next;
		writer->mean_pages = pages_for_floats(layout->dims);
		next += writer->mean_pages;
	}
	if (writer->sketches->space.matrix)
	{
		writer->pca_block = next;
		writer->pca_pages = pages_for_floats((Size) layout->edge_dims *
											 layout->dims);
		next += writer->pca_pages;
	}
	writer->entry_block = next;
	writer->entry_pages =
		(graph->nentries + layout->entries_per_page - 1) /
		layout->entries_per_page;
	next += writer->entry_pages;

	writer->element_block = next;
	element_pages = ((uint64) graph->count + layout->slots_per_page - 1) /
		layout->slots_per_page;
	if (!VhnswBlockIsAddressable(layout, next + element_pages))
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("index \"%s\" cannot hold more elements",
					   RelationGetRelationName(writer->index)),
				errhint("Partition the table."));
	writer->element_pages = (BlockNumber) element_pages;
	writer->cell_block = next + writer->element_pages;

	for (uint32 i = 0; i < graph->nduplicates;)
	{
		uint32		n = run_length(graph, i);

		CHECK_FOR_INTERRUPTS();
		writer->ncells += CellsFor(n);
		i += n;
	}
	for (int i = 0; i < VHNSW_OUTSIDE_LISTS; i++)
		writer->ncells += CellsFor(writer->outside[i].count);
}

/* Start the page 'blkno', which must be the next of the relation. */
static Page
begin_page(Writer *writer, VhnswPageKind kind, BlockNumber blkno)
{
	CHECK_FOR_INTERRUPTS();
	writer->buffer = VhnswExtend(writer->index, MAIN_FORKNUM);
	if (BufferGetBlockNumber(writer->buffer) != blkno)
		elog(ERROR, "index page %u was written out of order", blkno);
	writer->page = BufferGetPage(writer->buffer);
	VhnswInitPage(writer->page, kind, writer->layout);
	return writer->page;
}

static void
end_page(Writer *writer)
{
	MarkBufferDirty(writer->buffer);
	VhnswReleasePage(writer->buffer);
	writer->buffer = InvalidBuffer;
}

static VhnswElement
element_number(const Writer *writer, uint32 id)
{
	return VhnswMakeElement(writer->layout, writer->element_block, 0) + id;
}

static void
cell_address(const Writer *writer, uint64 cell, ItemPointer address)
{
	ItemPointerSet(address,
				   writer->cell_block + cell / VHNSW_CELLS_PER_PAGE,
				   cell % VHNSW_CELLS_PER_PAGE + 1);
}

static void
write_meta(Writer *writer, uint64 seed)
{
	VhnswGraph *graph = writer->graph;
	Page		page = begin_page(writer, VHNSW_PAGE_META, VHNSW_META_BLKNO);
	VhnswMetaPage meta = VhnswPageGetMeta(page);
	uint64		cell = writer->ncells;

	VhnswInitMeta(meta, writer->layout, seed);
	meta->mean_block = writer->mean_block;
	meta->pca_block = writer->pca_block;
	meta->edge_energy = writer->sketches->energy;
	meta->list_recall = graph->list_recall;
	meta->searches_found = graph->searches_found;
	meta->weak_searches_found = graph->weak_searches_found;
	meta->entry_block = writer->entry_pages > 0 ? writer->entry_block : 0;
	meta->entry_count = graph->nentries;
	meta->elements = graph->count;

	/* The lists outside are written last, in the order of their numbers. */
	for (int i = VHNSW_OUTSIDE_LISTS - 1; i >= 0; i--)
	{
		uint64		n = CellsFor(writer->outside[i].count);

		cell -= n;
		if (n > 0)
			cell_address(writer, cell, &meta->outside[i]);
	}
	if (writer->ncells % VHNSW_CELLS_PER_PAGE != 0)
		meta->free_cells = writer->cell_block +
			writer->ncells / VHNSW_CELLS_PER_PAGE;
	end_page(writer);
}

static BlockNumber
pages_for_floats(Size n)
{
	return (BlockNumber) ((n + FLOATS_PER_PAGE - 1) / FLOATS_PER_PAGE);
}

/* Write n values as a chain of pages. */
static void
write_floats(Writer *writer, VhnswPageKind kind, BlockNumber first_page,
			 const float *values, Size n)
{
	BlockNumber blkno = first_page;

	for (Size done = 0; done < n; done += FLOATS_PER_PAGE)
	{
		Page		page = begin_page(writer, kind, blkno++);

		memset(PageGetContents(page), 0, VHNSW_PAGE_CAPACITY);
		memcpy(PageGetContents(page), values + done,
			   Min(n - done, FLOATS_PER_PAGE) * sizeof(float));
		if (done + FLOATS_PER_PAGE < n)
			VhnswPageGetOpaque(page)->next = blkno;
		end_page(writer);
	}
}

static void
write_entries(Writer *writer)
{
	const VhnswLayout *layout = writer->layout;
	VhnswGraph *graph = writer->graph;
	uint32		done = 0;

	for (BlockNumber i = 0; i < writer->entry_pages; i++)
	{
		Page		page = writer->image.data;

		VhnswInitPage(page, VHNSW_PAGE_ENTRY, layout);
		for (int j = 0;
			 j < layout->entries_per_page && done < graph->nentries;
			 j++, done++)
		{
			uint32		id = graph->order[done];

			VhnswFillEntry(layout, VhnswPageGetEntry(layout, page, j),
						   element_number(writer, id), 0,
						   VhnswGraphGetCode(graph, id));
		}
		if (i + 1 < writer->entry_pages)
			VhnswPageGetOpaque(page)->next = writer->entry_block + i + 1;
		write_image(writer, writer->entry_block + i);
	}
}

static void
write_elements(Writer *writer, bool log)
{
	VhnswGraph *graph = writer->graph;
	VhnswCrew  *crew = graph->crew;
	WriteJob	job = {.sketches = *writer->sketches,
		.lists = VhnswGraphDescribeLists(graph),
		.first_block = writer->element_block,
		.nblocks = writer->element_pages,
	.log = log};

	if (job.nblocks == 0)
		return;
	job.runs = make_runs(writer, &job.nruns);
	VhnswExtendBy(writer->index, job.nblocks);
	VhnswCrewRun(crew, VHNSW_JOB_WRITE, &job, sizeof(job),
				 (job.nblocks + PAGES_AT_ONCE - 1) / PAGES_AT_ONCE);
	VhnswCrewReport(crew, graph->count);
	VhnswCrewFree(crew, &job.runs);
}

/* Where the cells of elements will be that have any. */
static VhnswMemory
make_runs(Writer *writer, uint32 *nruns)
{
	VhnswGraph *graph = writer->graph;
	VhnswMemory memory;
	DuplicateRun *runs;
	uint64		cell = 0;

	*nruns = 0;
	for (uint32 i = 0; i < graph->nduplicates; i += run_length(graph, i))
	{
		CHECK_FOR_INTERRUPTS();
		(*nruns)++;
	}
	memory = VhnswCrewAlloc(graph->crew, *nruns * sizeof(DuplicateRun));
	runs = memory.address;
	for (uint32 i = 0; i < graph->nduplicates;)
	{
		uint32		n = run_length(graph, i);

		CHECK_FOR_INTERRUPTS();
		runs->element = graph->duplicates[i].element;
		cell_address(writer, cell, &runs->cell);
		runs++;
		cell += CellsFor(n);
		i += n;
	}
	return memory;
}

static void
fill_slot(VhnswGraph *graph, VhnswSketches *sketches, VhnswSlot slot,
		  uint32 id, VhnswElement first)
{
	const uint32 *ids = VhnswGraphGetIds(graph, id);

	slot->flags = VHNSW_SLOT_LIVE;
	slot->nneighbors = graph->list_counts[id];
	slot->heaptid = *VhnswGraphGetTid(graph, id);
	VhnswSlotSetCode(&sketches->layout, slot, VhnswGraphGetCode(graph, id));
	for (int i = 0; i < slot->nneighbors; i++)
		slot->neighbors[i] = first + ids[i];
	if (sketches->layout.edge_dims > 0)
		VhnswSketchNeighbors(sketches, graph, id, slot);
}

/* The first run of an element with at least this number. */
static const DuplicateRun *
find_run(const DuplicateRun *runs, uint32 nruns, uint32 element)
{
	while (nruns > 0)
	{
		uint32		half = nruns / 2;

		if (runs[half].element < element)
		{
			runs += half + 1;
			nruns -= half + 1;
		}
		else
			nruns = half;
	}
	return runs;
}

void
VhnswWriteJob(VhnswCrew *crew, const void *arg)
{
	WriteJob	job = *(const WriteJob *) arg;
	VhnswGraph *graph = crew->graph;
	const VhnswLayout *layout = &job.sketches.layout;
	VhnswElement first;
	const DuplicateRun *runs = VhnswCrewAddress(crew, &job.runs);
	const DuplicateRun *end = runs + job.nruns;
	uint32		chunk;

	VhnswAttachSketches(crew, &job.sketches);
	VhnswGraphAttachLists(crew, &job.lists);
	first = VhnswMakeElement(layout, job.first_block, 0);
	while (VhnswCrewNext(crew, &chunk))
	{
		BlockNumber page_number = chunk * PAGES_AT_ONCE;
		BlockNumber last = Min(page_number + PAGES_AT_ONCE, job.nblocks);
		uint32		id = page_number * layout->slots_per_page;
		const DuplicateRun *run = find_run(runs, job.nruns, id);

		VhnswCrewReport(crew, id);
		VD_DEBUG_POINT("vhnsw-build-write");
		for (; page_number < last; page_number++)
		{
			PGAlignedBlock image;

			VhnswInitPage(image.data, VHNSW_PAGE_ELEMENT, layout);
			for (int i = 0; i < layout->slots_per_page && id < graph->count;
				 i++, id++)
			{
				VhnswSlot	slot = VhnswPageGetSlot(layout, image.data, i);

				fill_slot(graph, &job.sketches, slot, id, first);
				if (run < end && run->element == id)
					slot->tids = run++->cell;
			}
			write_element_page(crew->index, job.first_block + page_number,
							   &image, job.log);
		}
	}
}

/* What a crash leaves is no index yet, whichever pages are logged. */
static void
write_element_page(Relation index, BlockNumber blkno,
				   const PGAlignedBlock *image, bool log)
{
	Buffer		buffer = VhnswNewPage(index, blkno);

	START_CRIT_SECTION();
	memcpy(BufferGetPage(buffer), image->data, BLCKSZ);
	MarkBufferDirty(buffer);
	if (log)
		log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
	VhnswReleasePage(buffer);
}

static void
write_cells(Writer *writer)
{
	VhnswGraph *graph = writer->graph;

	for (uint32 i = 0; i < graph->nduplicates;)
	{
		uint32		n = run_length(graph, i);

		write_list(writer, element_number(writer, graph->duplicates[i].element),
				   &graph->duplicates[i], NULL, n);
		i += n;
	}
	for (int i = 0; i < VHNSW_OUTSIDE_LISTS; i++)
	{
		VhnswOutside *list = &writer->outside[i];

		VhnswOutsideRewind(list);
		write_list(writer, VhnswOutsideOwner(i), NULL, list, list->count);
	}

	if (writer->next_cell % VHNSW_CELLS_PER_PAGE != 0)
	{
		/* The last page is not full. */
		VhnswPageGetOpaque(writer->image.data)->flags |=
			VHNSW_PAGE_HAS_FREE_CELLS;
		write_cell_page(writer);
	}
}

/*
 * Write n TIDs as cells: of duplicates, or of a list outside, which may be in a
 * file.
 */
static void
write_list(Writer *writer, uint32 owner, const VhnswDuplicate *duplicates,
		   VhnswOutside *outside, uint64 n)
{
	uint64		ncells = CellsFor(n);

	for (uint64 i = 0; i < ncells; i++)
	{
		uint64		number = writer->next_cell++;
		VhnswCell	cell;

		if (number % VHNSW_CELLS_PER_PAGE == 0)
			VhnswInitPage(writer->image.data, VHNSW_PAGE_TIDS, writer->layout);
		cell = VhnswPageGetCell(writer->image.data,
								number % VHNSW_CELLS_PER_PAGE + 1);
		cell->owner = owner;
		cell->sequence = (uint32) (ncells - i);
		cell->ntids = Min(n - i * VHNSW_TIDS_PER_CELL, VHNSW_TIDS_PER_CELL);
		for (int j = 0; j < cell->ntids; j++)
			cell->tids[j] = outside ? VhnswOutsideNext(outside) :
				(duplicates++)->tid;
		if (i + 1 < ncells)
			cell_address(writer, number + 1, &cell->next);
		if (writer->next_cell % VHNSW_CELLS_PER_PAGE == 0)
			write_cell_page(writer);
	}
}

/* Write the page of the latest cell. */
static void
write_cell_page(Writer *writer)
{
	BlockNumber blkno = writer->cell_block +
	(writer->next_cell - 1) / VHNSW_CELLS_PER_PAGE;

	write_image(writer, blkno);
}

/* Write the page that was put together in memory. */
static void
write_image(Writer *writer, BlockNumber blkno)
{
	VhnswPageKind kind = VhnswPageGetOpaque(writer->image.data)->kind;

	memcpy(begin_page(writer, kind, blkno), writer->image.data, BLCKSZ);
	end_page(writer);
}
