/*-------------------------------------------------------------------------
 *
 * bench_hnswlib_client.cpp
 *	  hnswlib in memory: the yardstick without a database.
 *
 *	bench_hnswlib_client BASE.fbin QUERIES.fbin METRIC K M EF_CONSTRUCTION
 *		THREADS INDEX
 *
 * Builds the index in so many threads, stores it in the file INDEX, and prints
 * one line with the CPU seconds of the build.  Then it answers the commands
 * that are described in bench_pg_client.c, in one thread.  Cosine is the inner
 * product of normalized vectors.
 *
 *-------------------------------------------------------------------------
 */
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <hnswlib/hnswlib.h>

struct Matrix
{
	uint32_t	rows = 0;
	uint32_t	dim = 0;
	std::vector<float> x;

	float	   *row(size_t i) { return x.data() + i * dim; }
};

static Matrix
read_fbin(const char *path)
{
	Matrix		m;
	uint32_t	header[2];
	FILE	   *file = fopen(path, "rb");

	if (file == nullptr || fread(header, sizeof(header), 1, file) != 1)
	{
		fprintf(stderr, "bench_hnswlib_client: cannot read %s\n", path);
		exit(1);
	}
	m.rows = header[0];
	m.dim = header[1];
	m.x.resize((size_t) m.rows * m.dim);
	if (fread(m.x.data(), 4, m.x.size(), file) != m.x.size())
	{
		fprintf(stderr, "bench_hnswlib_client: %s ends too early\n", path);
		exit(1);
	}
	fclose(file);
	return m;
}

static void
normalize(Matrix &m)
{
	for (size_t i = 0; i < m.rows; i++)
	{
		double		sum = 0;

		for (uint32_t j = 0; j < m.dim; j++)
			sum += (double) m.row(i)[j] * m.row(i)[j];
		if (sum > 0)
			for (uint32_t j = 0; j < m.dim; j++)
				m.row(i)[j] /= std::sqrt(sum);
	}
}

static void
build(hnswlib::HierarchicalNSW<float> &index, Matrix &base, int threads)
{
	std::vector<std::thread> others;
	std::atomic<size_t> next(1);
	auto		work = [&] {
		for (size_t i; (i = next++) < base.rows;)
			index.addPoint(base.row(i), i);
	};

	/* The others need one to begin with. */
	if (base.rows > 0)
		index.addPoint(base.row(0), 0);
	for (int i = 1; i < threads; i++)
		others.emplace_back(work);
	work();
	for (auto &other : others)
		other.join();
}

static void
run(hnswlib::HierarchicalNSW<float> &index, Matrix &queries, size_t k,
	uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++)
	{
		auto		start = std::chrono::steady_clock::now();
		auto		found = index.searchKnn(queries.row(i % queries.rows), k);
		std::chrono::duration<double, std::micro> elapsed =
			std::chrono::steady_clock::now() - start;

		printf("%.1f:", elapsed.count());
		while (!found.empty())
		{
			printf("%zu", (size_t) found.top().second);
			found.pop();
			if (!found.empty())
				putchar(',');
		}
		putchar(' ');
	}
	putchar('\n');
}

int
main(int argc, char **argv)
{
	if (argc != 9)
	{
		fprintf(stderr, "usage: %s BASE.fbin QUERIES.fbin METRIC K M EF_CONSTRUCTION"
				" THREADS INDEX\n",
				argv[0]);
		return 2;
	}

	Matrix		base = read_fbin(argv[1]);
	Matrix		queries = read_fbin(argv[2]);
	std::string metric = argv[3];
	size_t		k = atoi(argv[4]);
	std::unique_ptr<hnswlib::SpaceInterface<float>> space;

	if (metric == "cosine")
	{
		normalize(base);
		normalize(queries);
	}
	if (metric == "l2")
		space.reset(new hnswlib::L2Space(base.dim));
	else
		space.reset(new hnswlib::InnerProductSpace(base.dim));

	clock_t		start = clock();
	hnswlib::HierarchicalNSW<float> index(space.get(), base.rows, atoi(argv[5]),
										  atoi(argv[6]));

	build(index, base, atoi(argv[7]));
	printf("%.2f\n", (double) (clock() - start) / CLOCKS_PER_SEC);
	fflush(stdout);
	index.saveIndex(argv[8]);

	char		line[200];

	while (fgets(line, sizeof(line), stdin) != nullptr)
	{
		int			ef;
		uint32_t	first;
		uint32_t	count;

		if (sscanf(line, "ef %d", &ef) == 1)
		{
			index.setEf(ef);
			puts("ok");
		}
		else if (std::string(line) == "server\n")
			puts("0");
		else if (sscanf(line, "run %u %u", &first, &count) == 2)
			run(index, queries, k, first, count);
		else
			return 2;
		fflush(stdout);
	}
	return 0;
}
