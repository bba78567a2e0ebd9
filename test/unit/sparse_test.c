/*-------------------------------------------------------------------------
 *
 * sparse_test.c
 *	  Unit test of distances between sparse vectors; needs no PostgreSQL.
 *
 * Proves, for lists of 0 to 60 elements and some of thousands, that share no
 * index, some or all, with ordinary, largest and subnormal elements:
 *
 *	- every distance has the bits of the sum over all dimensions in double
 *	- it is the same with the arguments exchanged
 *	- nothing beyond the lists is read: they end where an unreadable page begins
 *
 * Build and run:
 *	cc -std=gnu99 -O2 -Isrc test/unit/sparse_test.c $(find src/distance -name "*.c") -lm
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_impl.h"
#include "distance/distance_sparse.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_N 5000
#define MAX_DIM 20000

/* What the elements look like. */
typedef enum Pattern
{
	ORDINARY,					/* -1..1 */
	LARGEST,					/* of both signs */
	SUBNORMAL,
	NUM_PATTERNS
} Pattern;

typedef double (*Distance) (const DistanceSparse *a, const DistanceSparse *b);

static long num_checks = 0;
static int	num_failures = 0;
static uint64_t random_state = 20241109;

static uint32_t
random_bits(void)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t) (random_state >> 32);
}

/* 'size' bytes that end, to the byte, where an unreadable page begins. */
static void *
allocate_before_guard(size_t size)
{
	size_t		page = sysconf(_SC_PAGESIZE);
	size_t		length = (size + page - 1) / page * page;
	char	   *start = mmap(NULL, length + page, PROT_READ | PROT_WRITE,
							 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (start == MAP_FAILED || mprotect(start + length, page, PROT_NONE) != 0)
	{
		perror("mmap");
		exit(2);
	}
	return start + length - size;
}

static float
random_element(Pattern pattern)
{
	float		sign = random_bits() & 1 ? 1 : -1;

	switch (pattern)
	{
		case LARGEST:
			return sign * 3.4e38f;
		case SUBNORMAL:
			return sign * ldexpf(1 + random_bits() % 1000, -149);
		default:
			return sign * (1 + random_bits() % 65536) / 65536.0f;
	}
}

/*
 * Fill 'result', whose arrays end at index_end and x_end, with n elements of
 * 'dim' dimensions.
 */
static void
make_list(DistanceSparse *result, int32_t *index_end, float *x_end, int n,
		  int dim, Pattern pattern)
{
	int32_t    *index = index_end - n;
	float	   *x = x_end - n;
	int			filled = 0;

	/* each index with the probability that gives n of them */
	for (int i = 0; i < dim; i++)
	{
		if (random_bits() % (dim - i) < (uint32_t) (n - filled))
		{
			index[filled] = i;
			x[filled++] = random_element(pattern);
		}
	}
	result->n = n;
	result->index = index;
	result->x = x;
}

static void
spread(const DistanceSparse *list, double *dense, int dim)
{
	memset(dense, 0, sizeof(double) * dim);
	for (int i = 0; i < list->n; i++)
		dense[list->index[i]] = list->x[i];
}

static void
check(const char *name, Distance distance, const DistanceSparse *a,
	  const DistanceSparse *b, double expected)
{
	double		forward = distance(a, b);
	double		backward = distance(b, a);

	num_checks++;
	if (isnan(expected) ? isnan(forward) && isnan(backward) :
		memcmp(&forward, &expected, sizeof(double)) == 0 &&
		memcmp(&backward, &expected, sizeof(double)) == 0)
		return;
	if (++num_failures <= 20)
		printf("FAILED: %s of %d and %d elements: %.17g and %.17g, not %.17g\n",
			   name, a->n, b->n, forward, backward, expected);
}

static void
test_pair(const DistanceSparse *a, const DistanceSparse *b, int dim)
{
	static double x[MAX_DIM];
	static double y[MAX_DIM];
	double		l2 = 0;
	double		ip = 0;
	double		l1 = 0;
	double		cosine;

	spread(a, x, dim);
	spread(b, y, dim);
	for (int i = 0; i < dim; i++)
	{
		l2 += (x[i] - y[i]) * (x[i] - y[i]);
		ip += x[i] * y[i];
		l1 += fabs(x[i] - y[i]);
	}
	check("l2 squared", DistanceSparseL2Squared, a, b, l2);
	check("inner product", DistanceSparseInnerProduct, a, b, ip);
	check("l1", DistanceSparseL1, a, b, l1);

	cosine = ip / sqrt(DistanceNormSquared(a->x, a->n) *
					   DistanceNormSquared(b->x, b->n));
	if (cosine > 1)
		cosine = 1;
	else if (cosine < -1)
		cosine = -1;
	check("cosine", DistanceSparseCosine, a, b, 1 - cosine);
}

int
main(void)
{
	static const int lengths[] = {0, 1, 2, 3, 7, 20, 60, 1000, MAX_N};
	static const int dims[] = {60, 400, MAX_DIM};
	const int	num_lengths = sizeof(lengths) / sizeof(lengths[0]);
	const int	num_dims = sizeof(dims) / sizeof(dims[0]);
	int32_t    *index_end[2];
	float	   *x_end[2];

	for (int i = 0; i < 2; i++)
	{
		index_end[i] = (int32_t *) allocate_before_guard(sizeof(int32_t) * MAX_N) + MAX_N;
		x_end[i] = (float *) allocate_before_guard(sizeof(float) * MAX_N) + MAX_N;
	}
	DistanceInit();

	for (int d = 0; d < num_dims; d++)
	{
		for (int i = 0; i < num_lengths * num_lengths * NUM_PATTERNS; i++)
		{
			DistanceSparse a;
			DistanceSparse b;
			int			n_a = lengths[i / NUM_PATTERNS % num_lengths];
			int			n_b = lengths[i / NUM_PATTERNS / num_lengths];

			if (n_a > dims[d] || n_b > dims[d])
				continue;
			make_list(&a, index_end[0], x_end[0], n_a, dims[d], i % NUM_PATTERNS);
			make_list(&b, index_end[1], x_end[1], n_b, dims[d], i % NUM_PATTERNS);
			test_pair(&a, &b, dims[d]);
			test_pair(&a, &a, dims[d]);
		}
	}

	printf("%ld checks, %d failures\n", num_checks, num_failures);
	return num_failures > 0 || num_checks == 0;
}
