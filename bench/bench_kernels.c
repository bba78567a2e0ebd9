/*-------------------------------------------------------------------------
 *
 * bench_kernels.c
 *	  Nanoseconds per distance for every kernel of src/distance, beside what
 *	  this machine can do at best with the same bytes.
 *
 * One query is compared with many vectors, which lie in 16 kB (or are one, if
 * it is larger), where they stay in the first-level cache, or in MEMORY_BYTES,
 * read from front to back, where they never do.
 *
 * Two limits, with the widest instructions the CPU has, in as many independent
 * sums as keep it busy: "load" reads query and vector and does nothing with
 * them; "fma" is the inner product with fused multiply-add, in any order, as
 * a kernel would be that need not give the same bits everywhere.
 *
 * All versions of a row take turns within a round; figures are medians over the
 * rounds of CPU time.  Prints Markdown.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define CACHE_BYTES (16 * 1024)
#define MEMORY_BYTES (256 * 1024 * 1024)
#define ROUNDS 15
#define BYTES_PER_TURN (3 * 1024 * 1024)	/* in cache */

#define MAX_DIM 3072

/* Vectors that a kernel of many takes at once */
#define MANY 16

typedef enum Kernel
{
	VECTOR_L2, VECTOR_IP, VECTOR_COSINE, VECTOR_L1,
	HALF_L2, HALF_IP, HALF_COSINE, HALF_L1,
	BIT_HAMMING, BIT_JACCARD,
	FLOAT_CODE_IP, FLOAT_CODE_L1, CODE_IP, CODE_IPS, CODE_L1,
	NUM_KERNELS
} Kernel;

typedef struct KernelInfo
{
	const char *name;
	int			query_bits;		/* of an element */
	int			vector_bits;
	bool		has_fma;		/* there is an "fma" limit */
	bool		has_many;		/* takes many vectors at once */
} KernelInfo;

static const KernelInfo info[NUM_KERNELS] = {
	{"vector `<->`", 32, 32, true},
	{"vector `<#>`", 32, 32, true},
	{"vector `<=>`", 32, 32, false},
	{"vector `<+>`", 32, 32, false},
	{"halfvec `<->`", 16, 16, true},
	{"halfvec `<#>`", 16, 16, true},
	{"halfvec `<=>`", 16, 16, false},
	{"halfvec `<+>`", 16, 16, false},
	{"bit `<~>`", 1, 1, false},
	{"bit `<%>`", 1, 1, false},
	{"float x code, dot", 32, 8, false},
	{"float x code, L1", 32, 8, false},
	{"code x code, dot", 8, 8, false},
	{"code x codes, dots", 8, 8, false, true},
	{"code x code, L1", 8, 8, false},
};

/* Versions that take turns: implementations by name, then the limits. */
static const char *const level_names[] = {"scalar", "avx2", "avx512", "neon"};

#define NUM_LEVELS 4
#define LIMIT_LOAD NUM_LEVELS
#define LIMIT_FMA (NUM_LEVELS + 1)
#define NUM_VERSIONS (NUM_LEVELS + 2)

static volatile double sink;
static uint8_t *query;
static uint8_t *cached;
static uint8_t *memory;

/* ----------
 * Limits
 * ----------
 */

#ifdef __x86_64__

typedef double (*LoadLimit) (const uint8_t *a, int bytes_a, const uint8_t *b, int bytes_b);
typedef double (*FmaLimit) (const uint8_t *a, const uint8_t *b, int dim);

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,f16c")))

AVX512 static inline
__attribute__((always_inline)) __m512i
or_avx512(const uint8_t *p, int num_bytes)
{
	__m512i		x[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(),
	_mm512_setzero_si512(), _mm512_setzero_si512()};
	int			i;

	for (i = 0; i + 256 <= num_bytes; i += 256)
	{
		x[0] = _mm512_or_si512(x[0], _mm512_loadu_si512(p + i));
		x[1] = _mm512_or_si512(x[1], _mm512_loadu_si512(p + i + 64));
		x[2] = _mm512_or_si512(x[2], _mm512_loadu_si512(p + i + 128));
		x[3] = _mm512_or_si512(x[3], _mm512_loadu_si512(p + i + 192));
	}
	for (; i + 64 <= num_bytes; i += 64)
		x[0] = _mm512_or_si512(x[0], _mm512_loadu_si512(p + i));
	if (i < num_bytes)
		x[1] = _mm512_or_si512(x[1], _mm512_maskz_loadu_epi8(((__mmask64) 1 << (num_bytes - i)) - 1, p + i));
	return _mm512_or_si512(_mm512_or_si512(x[0], x[1]), _mm512_or_si512(x[2], x[3]));
}

AVX512 static double
load_avx512(const uint8_t *a, int bytes_a, const uint8_t *b, int bytes_b)
{
	__m512i		x = _mm512_or_si512(or_avx512(a, bytes_a), or_avx512(b, bytes_b));

	return (double) _mm_cvtsi128_si32(_mm512_castsi512_si128(x));
}

AVX2 static inline
__attribute__((always_inline)) __m256i
or_avx2(const uint8_t *p, int num_bytes)
{
	__m256i		x[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(),
	_mm256_setzero_si256(), _mm256_setzero_si256()};
	int			i;

	for (i = 0; i + 128 <= num_bytes; i += 128)
	{
		for (int j = 0; j < 4; j++)
			x[j] = _mm256_or_si256(x[j], _mm256_loadu_si256((const __m256i *) (p + i + 32 * j)));
	}
	for (; i + 32 <= num_bytes; i += 32)
		x[0] = _mm256_or_si256(x[0], _mm256_loadu_si256((const __m256i *) (p + i)));
	for (; i < num_bytes; i++)
		x[1] = _mm256_or_si256(x[1], _mm256_set1_epi8((char) p[i]));
	return _mm256_or_si256(_mm256_or_si256(x[0], x[1]), _mm256_or_si256(x[2], x[3]));
}

AVX2 static double
load_avx2(const uint8_t *a, int bytes_a, const uint8_t *b, int bytes_b)
{
	__m256i		x = _mm256_or_si256(or_avx2(a, bytes_a), or_avx2(b, bytes_b));

	return (double) _mm_cvtsi128_si32(_mm256_castsi256_si128(x));
}

/* Dimensions of all sets but 100 are multiples of 32; its tail is 4. */
#define FMA_LIMIT(name, target, vector, width, zero, load, fmadd, add, reduce) \
target static double \
name(const uint8_t *bytes_a, const uint8_t *bytes_b, int dim) \
{ \
	const Element *a = (const Element *) bytes_a; \
	const Element *b = (const Element *) bytes_b; \
	vector		sum[4] = {zero(), zero(), zero(), zero()}; \
	float		rest = 0; \
	int			i; \
	\
	for (i = 0; i + 4 * (width) <= dim; i += 4 * (width)) \
	{ \
		sum[0] = fmadd(load(a + i), load(b + i), sum[0]); \
		sum[1] = fmadd(load(a + i + (width)), load(b + i + (width)), sum[1]); \
		sum[2] = fmadd(load(a + i + 2 * (width)), load(b + i + 2 * (width)), sum[2]); \
		sum[3] = fmadd(load(a + i + 3 * (width)), load(b + i + 3 * (width)), sum[3]); \
	} \
	for (; i + (width) <= dim; i += (width)) \
		sum[0] = fmadd(load(a + i), load(b + i), sum[0]); \
	for (; i < dim; i++) \
		rest += (float) a[i] * (float) b[i]; \
	return (double) (reduce(add(add(sum[0], sum[1]), add(sum[2], sum[3]))) + rest); \
}

AVX2 static inline float
reduce_avx2(__m256 v)
{
	__m128		four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#define load_half_avx512(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) (p)))
#define load_half_avx2(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (p)))

#define Element float
FMA_LIMIT(fma_avx512, AVX512, __m512, 16, _mm512_setzero_ps, _mm512_loadu_ps,
		  _mm512_fmadd_ps, _mm512_add_ps, _mm512_reduce_add_ps)
FMA_LIMIT(fma_avx2, AVX2, __m256, 8, _mm256_setzero_ps, _mm256_loadu_ps,
		  _mm256_fmadd_ps, _mm256_add_ps, reduce_avx2)
#undef Element
#define Element Half
FMA_LIMIT(fma_half_avx512, AVX512, __m512, 16, _mm512_setzero_ps, load_half_avx512,
		  _mm512_fmadd_ps, _mm512_add_ps, _mm512_reduce_add_ps)
FMA_LIMIT(fma_half_avx2, AVX2, __m256, 8, _mm256_setzero_ps, load_half_avx2,
		  _mm256_fmadd_ps, _mm256_add_ps, reduce_avx2)
#undef Element

static LoadLimit load_limit;
static FmaLimit fma_limit;
static FmaLimit fma_half_limit;

/* Returns false if this machine's limits cannot be measured. */
static bool
choose_limits(void)
{
	if (DistanceFind("avx512") != NULL)
	{
		load_limit = load_avx512;
		fma_limit = fma_avx512;
		fma_half_limit = fma_half_avx512;
	}
	else if (DistanceFind("avx2") != NULL && __builtin_cpu_supports("fma"))
	{
		load_limit = load_avx2;
		fma_limit = fma_avx2;
		fma_half_limit = fma_half_avx2;
	}
	return load_limit != NULL;
}

static double
call_limit(int version, Kernel kernel, const uint8_t *v, int dim)
{
	if (version == LIMIT_LOAD)
		return load_limit(query, (dim * info[kernel].query_bits + 7) / 8,
						  v, (dim * info[kernel].vector_bits + 7) / 8);
	return (info[kernel].query_bits == 16 ? fma_half_limit : fma_limit) (query, v, dim);
}

#else

static bool
choose_limits(void)
{
	return false;
}

static double
call_limit(int version, Kernel kernel, const uint8_t *v, int dim)
{
	return 0;
}

#endif

/* ----------
 * Measuring
 * ----------
 */

static double
cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
}

static double
call_kernel(const DistanceKernels *k, Kernel kernel, const uint8_t *v, int dim)
{
	const float *query_floats = (const float *) query;
	const int8_t *query_codes = (const int8_t *) query;
	const int8_t *codes = (const int8_t *) v;
	int			num_bytes = (dim + 7) / 8;
	DistanceCosineSums sums;
	DistanceBitCounts counts;

	switch (kernel)
	{
		case VECTOR_L2:
			return k->l2_squared(query_floats, (const float *) v, dim);
		case VECTOR_IP:
			return k->inner_product(query_floats, (const float *) v, dim);
		case VECTOR_COSINE:
			k->cosine(query_floats, (const float *) v, dim, &sums);
			return sums.dot;
		case VECTOR_L1:
			return k->l1(query_floats, (const float *) v, dim);
		case HALF_L2:
			return k->half_l2_squared((const Half *) query, (const Half *) v, dim);
		case HALF_IP:
			return k->half_inner_product((const Half *) query, (const Half *) v, dim);
		case HALF_COSINE:
			k->half_cosine((const Half *) query, (const Half *) v, dim, &sums);
			return sums.dot;
		case HALF_L1:
			return k->half_l1((const Half *) query, (const Half *) v, dim);
		case BIT_HAMMING:
			return (double) k->hamming(query, v, num_bytes);
		case BIT_JACCARD:
			k->jaccard(query, v, num_bytes, &counts);
			return (double) counts.common;
		case FLOAT_CODE_IP:
			return k->dot_float_int8(query_floats, codes, dim);
		case FLOAT_CODE_L1:
			return k->l1_float_int8(query_floats, codes, 0.01f, dim);
		case CODE_IP:
			return k->dot_int8(query_codes, codes, dim);
		default:
			return k->l1_int8(query_codes, 0.01f, codes, 0.02f, dim);
	}
}

/* Likewise, of n vectors at once */
static double
call_kernel_of_many(const DistanceKernels *k, const uint8_t *v, int stride,
					int n, int dim)
{
	const int8_t *codes[MANY];
	int32_t		dots[MANY];

	for (int i = 0; i < n; i++)
		codes[i] = (const int8_t *) v + (long) i * stride;
	k->dots_int8((const int8_t *) query, codes, n, dim, dots);
	return dots[0];
}

/* ns per distance, over 'passes' passes through 'num' vectors */
static double
time_turn(int version, Kernel kernel, const uint8_t *vectors, int stride,
		  long num, long passes, int dim)
{
	const DistanceKernels *k = version < NUM_LEVELS ?
	DistanceFind(level_names[version]) : NULL;
	double		sum = 0;
	double		start = cpu_seconds();

	for (long pass = 0; pass < passes; pass++)
	{
		for (long i = 0; i < num; i++)
		{
			const uint8_t *v = vectors + i * stride;

			if (k != NULL && info[kernel].has_many)
			{
				int			n = num - i < MANY ? (int) (num - i) : MANY;

				sum += call_kernel_of_many(k, v, stride, n, dim);
				i += n - 1;
				continue;
			}
			sum += k != NULL ? call_kernel(k, kernel, v, dim) :
				call_limit(version, kernel, v, dim);
		}
	}
	sink = sum;
	return (cpu_seconds() - start) * 1e9 / (double) (num * passes);
}

static int
compare_doubles(const void *x, const void *y)
{
	double		a = *(const double *) x;
	double		b = *(const double *) y;

	return (a > b) - (a < b);
}

static double
median(double *values, int n)
{
	qsort(values, n, sizeof(double), compare_doubles);
	return values[n / 2];
}

static void
print_cell(bool present, double ns)
{
	if (present)
		printf(" %.*f |", ns < 10 ? 1 : 0, ns);
	else
		printf(" - |");
}

/* One row: all versions in cache, the fastest and the load limit in memory. */
static void
measure(Kernel kernel, int dim, bool has_limits)
{
	static double ns[NUM_VERSIONS][ROUNDS];
	static double from_memory[2][ROUNDS];
	int			stride = (dim * info[kernel].vector_bits + 7) / 8;
	long		num = stride > CACHE_BYTES ? 1 : CACHE_BYTES / stride;
	long		passes = BYTES_PER_TURN / (num * stride) + 1;
	bool		present[NUM_VERSIONS];
	double		result[NUM_VERSIONS];
	int			fastest = 0;
	double		limit;

	for (int v = 0; v < NUM_LEVELS; v++)
	{
		present[v] = DistanceFind(level_names[v]) != NULL;
		if (DistanceFind(level_names[v]) == distance_kernels)
			fastest = v;
	}
	present[LIMIT_LOAD] = has_limits;
	present[LIMIT_FMA] = has_limits && info[kernel].has_fma;

	for (int round = 0; round < ROUNDS; round++)
	{
		for (int v = 0; v < NUM_VERSIONS; v++)
		{
			/* the scalar version is slow and not what this is about */
			if (present[v])
				ns[v][round] = time_turn(v, kernel, cached, stride, num,
										 v == 0 ? passes / 8 + 1 : passes, dim);
		}
	}
	/* Reading all memory takes long: a third of the rounds. */
	for (int round = 0; round < ROUNDS / 3; round++)
	{
		long		num_far = MEMORY_BYTES / stride;

		from_memory[0][round] = time_turn(fastest, kernel, memory, stride,
										  num_far, 1, dim);
		if (has_limits)
			from_memory[1][round] = time_turn(LIMIT_LOAD, kernel, memory, stride,
											  num_far, 1, dim);
	}

	printf("| %s | %d |", info[kernel].name, dim);
	for (int v = 0; v < NUM_VERSIONS; v++)
	{
		if (present[v])
			result[v] = median(ns[v], ROUNDS);
		if (v < NUM_LEVELS ? present[v] : true)
			print_cell(present[v], present[v] ? result[v] : 0);
	}
	if (has_limits)
	{
		limit = result[LIMIT_LOAD];
		if (present[LIMIT_FMA] && result[LIMIT_FMA] > limit)
			limit = result[LIMIT_FMA];
		printf(" %.0f %% |", 100 * limit / result[fastest]);
	}
	else
		printf(" - |");
	print_cell(true, median(from_memory[0], ROUNDS / 3));
	print_cell(has_limits, has_limits ? median(from_memory[1], ROUNDS / 3) : 0);
	printf("\n");
	fflush(stdout);
}

static void
fill_with_floats(uint8_t *bytes, long num_bytes)
{
	float	   *x = (float *) bytes;

	/* as halves, codes and bits these are ordinary numbers as well */
	for (long i = 0; i < num_bytes / 4; i++)
		x[i] = (float) ((i * 7919) % 2001 - 1000) / 1000.0f;
}

int
main(int argc, char **argv)
{
	static const int dims[] = {32, 100, 128, 384, 768, 1536, MAX_DIM};
	bool		has_limits;

	DistanceInit();
	has_limits = choose_limits();
	query = malloc(4 * MAX_DIM);
	cached = malloc(CACHE_BYTES);
	memory = malloc(MEMORY_BYTES);
	if (query == NULL || cached == NULL || memory == NULL)
	{
		fprintf(stderr, "out of memory\n");
		return 1;
	}
	fill_with_floats(query, 4 * MAX_DIM);
	fill_with_floats(cached, CACHE_BYTES);
	fill_with_floats(memory, MEMORY_BYTES);

	printf("| ns per distance | dimensions |");
	for (int v = 0; v < NUM_LEVELS; v++)
	{
		if (DistanceFind(level_names[v]) != NULL)
			printf(" %s |", level_names[v]);
	}
	printf(" load limit | fma limit | of the limit | from memory | its load limit |\n|---|---:|");
	for (int v = 0; v < NUM_LEVELS; v++)
	{
		if (DistanceFind(level_names[v]) != NULL)
			printf("---:|");
	}
	printf("---:|---:|---:|---:|---:|\n");

	/* Names of kernels may be given to measure these alone. */
	for (int kernel = 0; kernel < NUM_KERNELS; kernel++)
	{
		bool		chosen = argc == 1;

		for (int i = 1; i < argc; i++)
			chosen = chosen || strstr(info[kernel].name, argv[i]) != NULL;
		if (!chosen)
			continue;
		for (size_t i = 0; i < sizeof(dims) / sizeof(int); i++)
			measure((Kernel) kernel, dims[i], has_limits);
	}
	return 0;
}
