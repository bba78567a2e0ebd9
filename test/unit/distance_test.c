/*-------------------------------------------------------------------------
 *
 * distance_test.c
 *	  Unit test of src/distance; needs no PostgreSQL.
 *
 * Proves, for every implementation this CPU can run:
 *
 *	- the scalar one gives known values, and stays within
 *	  DISTANCE_RELATIVE_ERROR of a sum in long double
 *	- every other gives the scalar one's bits (any NaN equals any NaN), at all
 *	  lengths 0..130 and some up to 16,000, at all alignments, with ordinary,
 *	  huge, subnormal, zero, infinite and NaN elements
 *	- none reads beyond the arrays: they end where an unreadable page begins
 *	- the self-test refuses a kernel that is wrong in one bit
 *
 * Build and run:
 *	cc -std=gnu99 -O2 -ffp-contract=off -Isrc test/unit/distance_test.c $(find src/distance -name "*.c") -lm
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef DISTANCE_HAVE_DOTPROD
#include <sys/auxv.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

#define MAX_DIM 16000
#define MAX_OFFSET 8

/* What the elements look like. */
typedef enum Pattern
{
	ORDINARY,					/* -1..1 */
	CONSTANT,					/* worst case of rounding: always one way */
	MIXED,						/* 1e-15..1e15, both signs */
	HUGE_SQUARES,				/* squares overflow */
	TINY_SQUARES,				/* subnormals and what squares to nothing */
	SIGNED_ZERO,
	WITH_INFINITY,				/* one element, anywhere */
	WITH_NAN,					/* one element, anywhere */
	NUM_PATTERNS
} Pattern;

static const char *const pattern_names[] = {
	"ordinary", "constant", "mixed", "huge", "tiny", "signed zero",
	"with infinity", "with NaN"
};

typedef struct Input
{
	const float *a;
	const float *b;
	const int8_t *codes_a;
	const int8_t *codes_b;
	int			dim;
	Pattern		pattern;
} Input;

static long num_checks = 0;
static int	num_failures = 0;
static uint64_t random_state = 20240607;

static uint32_t
random_bits(void)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t) (random_state >> 32);
}

/* -1..1 */
static float
random_float(void)
{
	return (float) (int32_t) random_bits() / 2147483648.0f;
}

static void
check(bool ok, const char *what, const char *kernels, const Input *input)
{
	num_checks++;
	if (ok)
		return;
	if (++num_failures <= 20)
		printf("FAILED: %s of %s, %s, %d dimensions\n", what, kernels,
			   input ? pattern_names[input->pattern] : "known value",
			   input ? input->dim : 0);
}

static bool
same(double x, double y)
{
	return (isnan(x) && isnan(y)) || memcmp(&x, &y, sizeof(x)) == 0;
}

/*
 * 'size' bytes that end, to the byte, where an unreadable page begins.
 */
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
element(Pattern pattern)
{
	float		x = random_float();

	switch (pattern)
	{
		case CONSTANT:
			return 0.1f;
		case MIXED:
			return ldexpf(x, (int) (random_bits() % 101) - 50);
		case HUGE_SQUARES:
			return x * 3.4e38f;
		case TINY_SQUARES:
			return ldexpf(x, -100 - (int) (random_bits() % 49));
		case SIGNED_ZERO:
			return x < 0 ? -0.0f : 0.0f;
		default:
			return x;
	}
}

static void
fill(Pattern pattern, float *a, float *b, int8_t *codes_a, int8_t *codes_b,
	 int dim)
{
	for (int i = 0; i < dim; i++)
	{
		a[i] = element(pattern);
		b[i] = pattern == CONSTANT ? -a[i] : element(pattern);
		codes_a[i] = pattern == CONSTANT ? -128 : (int8_t) random_bits();
		codes_b[i] = pattern == CONSTANT ? -128 : (int8_t) random_bits();
	}
	if (dim > 0 && pattern == WITH_INFINITY)
		a[random_bits() % dim] = INFINITY;
	if (dim > 0 && pattern == WITH_NAN)
		b[random_bits() % dim] = NAN;
}

/*
 * Unpacking is the inverse of packing, reads to the end of the array and no
 * farther, and writes what it should and nothing behind.
 */
static void
check_unpack(const DistanceKernels *k, const Input *in)
{
	static const int8_t table[16] = {7, -7, 127, -128, 0, 1, 2, 3, -1, -2, -3, 50,
	-50, 100, -100, 99};
	static int8_t result[MAX_DIM + 1];
	int			half = (in->dim + 1) / 2;
	const uint8_t *packed = (const uint8_t *) in->codes_a + in->dim - half;
	bool		right = true;

	memset(result, 99, sizeof(result));
	k->unpack_nibbles(packed, table, result, in->dim);
	for (int i = 0; i < in->dim; i++)
	{
		int			nibble = i < half ? packed[i] % 16 : packed[i - half] / 16;

		right = right && result[i] == table[nibble];
	}
	check(right && result[in->dim] == 99, "unpack_nibbles", k->name, in);
}

/*
 * One code with each of many, of which the first is read to the end of the
 * array; nothing is written behind the products.
 */
static void
check_dots(const DistanceKernels *k, const Input *in)
{
	const int8_t *others[9] = {in->codes_b, in->codes_a, in->codes_b,
	in->codes_b, in->codes_a, in->codes_a, in->codes_a, in->codes_b, in->codes_a};

	for (int n = 0; n <= 9; n++)
	{
		int32_t		dots[10];
		bool		right = true;

		memset(dots, 77, sizeof(dots));
		k->dots_int8(in->codes_a, others, n, in->dim, dots);
		for (int i = 0; i < n; i++)
			right = right && dots[i] ==
				distance_scalar_kernels.dot_int8(in->codes_a, others[i], in->dim);
		check(right && dots[n] == 77 * 0x01010101, "dots_int8", k->name, in);
	}
}

static void
check_against_scalar(const DistanceKernels *k, const Input *in)
{
	const DistanceKernels *scalar = &distance_scalar_kernels;
	const uint8_t *bits_a = (const uint8_t *) in->codes_a;
	const uint8_t *bits_b = (const uint8_t *) in->codes_b;
	DistanceCosineSums x;
	DistanceCosineSums y;
	DistanceBitCounts counts_x;
	DistanceBitCounts counts_y;

	check(same(k->l2_squared(in->a, in->b, in->dim),
			   scalar->l2_squared(in->a, in->b, in->dim)),
		  "l2_squared", k->name, in);
	check(same(k->inner_product(in->a, in->b, in->dim),
			   scalar->inner_product(in->a, in->b, in->dim)),
		  "inner_product", k->name, in);
	check(same(k->l1(in->a, in->b, in->dim),
			   scalar->l1(in->a, in->b, in->dim)),
		  "l1", k->name, in);
	check(same(k->norm_squared(in->a, in->dim),
			   scalar->norm_squared(in->a, in->dim)),
		  "norm_squared", k->name, in);
	check(same(k->dot_float_int8(in->a, in->codes_b, in->dim),
			   scalar->dot_float_int8(in->a, in->codes_b, in->dim)),
		  "dot_float_int8", k->name, in);
	check(k->dot_int8(in->codes_a, in->codes_b, in->dim) ==
		  scalar->dot_int8(in->codes_a, in->codes_b, in->dim),
		  "dot_int8", k->name, in);
	check_dots(k, in);
	check(same(k->l1_float_int8(in->a, in->codes_b, 0.37f, in->dim),
			   scalar->l1_float_int8(in->a, in->codes_b, 0.37f, in->dim)),
		  "l1_float_int8", k->name, in);
	check(same(k->l1_int8(in->codes_a, 1e-3f, in->codes_b, 0.37f, in->dim),
			   scalar->l1_int8(in->codes_a, 1e-3f, in->codes_b, 0.37f, in->dim)),
		  "l1_int8", k->name, in);

	check_unpack(k, in);

	k->cosine(in->a, in->b, in->dim, &x);
	scalar->cosine(in->a, in->b, in->dim, &y);
	check(same(x.dot, y.dot) &&
		  same(x.norm_a_squared, y.norm_a_squared) &&
		  same(x.norm_b_squared, y.norm_b_squared),
		  "cosine", k->name, in);

	check(k->hamming(bits_a, bits_b, in->dim) ==
		  scalar->hamming(bits_a, bits_b, in->dim),
		  "hamming", k->name, in);
	k->jaccard(bits_a, bits_b, in->dim, &counts_x);
	scalar->jaccard(bits_a, bits_b, in->dim, &counts_y);
	check(counts_x.common == counts_y.common &&
		  counts_x.total == counts_y.total,
		  "jaccard", k->name, in);
}

static bool
near(double result, long double exact, long double sum_of_terms)
{
	return fabsl(result - exact) <= DISTANCE_RELATIVE_ERROR * sum_of_terms;
}

/* The stated accuracy, for elements that neither overflow nor underflow. */
static void
check_accuracy(const DistanceKernels *k, const Input *in)
{
	long double l2 = 0;
	long double l1 = 0;
	long double dot = 0;
	long double dot_terms = 0;
	long double norm = 0;
	long double mixed = 0;
	long double mixed_terms = 0;
	long double mixed_l1 = 0;
	long double mixed_l1_products = 0;
	long double codes_l1 = 0;
	long double codes_l1_products = 0;
	const float scale = 0.37f;
	int64_t		codes = 0;
	uint64_t	different = 0;
	uint64_t	common = 0;
	uint64_t	total = 0;
	DistanceBitCounts counts;

	for (int i = 0; i < in->dim; i++)
	{
		long double a = in->a[i];
		long double b = in->b[i];

		l2 += (a - b) * (a - b);
		l1 += fabsl(a - b);
		dot += a * b;
		dot_terms += fabsl(a * b);
		norm += a * a;
		mixed += a * in->codes_b[i];
		mixed_terms += fabsl(a * in->codes_b[i]);
		mixed_l1 += fabsl(a - (long double) scale * in->codes_b[i]);
		mixed_l1_products += fabsl((long double) scale * in->codes_b[i]);
		codes_l1 += fabsl((long double) scale * (in->codes_a[i] - in->codes_b[i]));
		codes_l1_products += fabsl((long double) scale * in->codes_a[i]) +
			fabsl((long double) scale * in->codes_b[i]);
		codes += in->codes_a[i] * in->codes_b[i];
		for (int bit = 0; bit < 8; bit++)
		{
			int			bit_a = (in->codes_a[i] >> bit) & 1;
			int			bit_b = (in->codes_b[i] >> bit) & 1;

			different += bit_a != bit_b;
			common += bit_a && bit_b;
			total += bit_a || bit_b;
		}
	}

	check(near(k->l2_squared(in->a, in->b, in->dim), l2, l2),
		  "accuracy of l2_squared", k->name, in);
	check(near(k->l1(in->a, in->b, in->dim), l1, l1),
		  "accuracy of l1", k->name, in);
	check(near(k->inner_product(in->a, in->b, in->dim), dot, dot_terms),
		  "accuracy of inner_product", k->name, in);
	check(fabsl(k->norm_squared(in->a, in->dim) - norm) <= 1e-12L * norm,
		  "accuracy of norm_squared", k->name, in);
	check(near(k->dot_float_int8(in->a, in->codes_b, in->dim),
			   mixed, mixed_terms),
		  "accuracy of dot_float_int8", k->name, in);
	check(k->dot_int8(in->codes_a, in->codes_b, in->dim) == codes,
		  "value of dot_int8", k->name, in);
	check(fabsl(k->l1_float_int8(in->a, in->codes_b, scale, in->dim) - mixed_l1) <=
		  DISTANCE_RELATIVE_ERROR * mixed_l1 + 1.001L / (1 << 24) * mixed_l1_products,
		  "accuracy of l1_float_int8", k->name, in);
	check(fabsl(k->l1_int8(in->codes_a, scale, in->codes_b, scale, in->dim) - codes_l1) <=
		  DISTANCE_RELATIVE_ERROR * codes_l1 + 1.001L / (1 << 24) * codes_l1_products,
		  "accuracy of l1_int8", k->name, in);

	k->jaccard((const uint8_t *) in->codes_a, (const uint8_t *) in->codes_b,
			   in->dim, &counts);
	check(counts.common == common && counts.total == total,
		  "value of jaccard", k->name, in);
	check(k->hamming((const uint8_t *) in->codes_a,
					 (const uint8_t *) in->codes_b, in->dim) == different,
		  "value of hamming", k->name, in);
}

static void
test_length(int dim, int offset)
{
	size_t		room = dim + offset;
	float	   *a = allocate_before_guard(room * sizeof(float));
	float	   *b = allocate_before_guard(dim * sizeof(float));
	int8_t	   *codes_a = allocate_before_guard(room);
	int8_t	   *codes_b = allocate_before_guard(dim);
	static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};

	for (Pattern pattern = 0; pattern < NUM_PATTERNS; pattern++)
	{
		Input		in = {a, b, codes_a, codes_b, dim, pattern};

		fill(pattern, a, b, codes_a, codes_b, dim);
		for (int i = 0; i < 4; i++)
		{
			const DistanceKernels *kernels = DistanceFind(names[i]);

			if (kernels == NULL)
				continue;
			check_against_scalar(kernels, &in);
			if (pattern == ORDINARY || pattern == CONSTANT || pattern == MIXED)
				check_accuracy(kernels, &in);
		}
	}
}

/*
 * The arrays of one length, the first of each pair 'offset' elements away
 * from the other's alignment.  Mappings are few and small: never freed.
 */
static void
test_lengths(void)
{
	static const int long_dims[] = {255, 384, 768, 1000, 1023, 1024, 1025,
	1536, 2047, 2048, 2049, 3000, 4096, 8191, MAX_DIM};

	for (int dim = 0; dim <= 130; dim++)
		for (int offset = 0; offset < MAX_OFFSET; offset++)
			test_length(dim, offset);
	for (size_t i = 0; i < sizeof(long_dims) / sizeof(int); i++)
		test_length(long_dims[i], (int) (i % MAX_OFFSET));
}

/* Sums small enough to be done by hand, exact in every order. */
static void
test_known_values(const DistanceKernels *k)
{
	float		a[40];
	float		b[40];
	int8_t		codes[40];
	DistanceCosineSums sums;

	for (int i = 0; i < 40; i++)
	{
		a[i] = (float) i;		/* 0..39 */
		b[i] = -1;
		codes[i] = 2;
	}
	k->cosine(a, b, 40, &sums);

	check(k->l2_squared(a, b, 40) == 22140, "l2_squared", k->name, NULL);
	check(k->inner_product(a, b, 40) == -780, "inner_product", k->name, NULL);
	check(k->l1(a, b, 40) == 820, "l1", k->name, NULL);
	check(k->norm_squared(a, 40) == 20540, "norm_squared", k->name, NULL);
	check(k->dot_float_int8(a, codes, 40) == 1560, "dot_float_int8", k->name, NULL);
	check(k->dot_int8(codes, codes, 40) == 160, "dot_int8", k->name, NULL);
	check(k->l1_float_int8(a, codes, 0.5f, 40) == 742, "l1_float_int8", k->name, NULL);
	check(k->l1_int8(codes, 0.5f, codes, 2, 40) == 120, "l1_int8", k->name, NULL);
	check(sums.dot == -780 && sums.norm_a_squared == 20540 &&
		  sums.norm_b_squared == 40, "cosine", k->name, NULL);
}

/* Value i of a Hadamard transform of n values */
static double
transformed(const float *x, int n, int i)
{
	double		sum = 0;

	for (int j = 0; j < n; j++)
		sum += __builtin_parity(i & j) ? -x[j] : x[j];
	return sum / sqrt((double) n);
}

/* Of every length, at different alignments */
static void
test_hadamard(const DistanceKernels *k)
{
	for (int n = 1; n <= 16384; n *= 2)
	{
		for (int offset = 0; offset < MAX_OFFSET; offset++)
		{
			float	   *x = allocate_before_guard((n + offset) * sizeof(float));
			float	   *y = allocate_before_guard(n * sizeof(float));
			float	   *original = allocate_before_guard(n * sizeof(float));

			for (int i = 0; i < n; i++)
				x[i] = y[i] = original[i] = offset == 0 ? (float) (i % 3) - 1 :
					ldexpf(random_float(), (int) (random_bits() % 40));
			k->hadamard(x, n);
			distance_scalar_kernels.hadamard(y, n);
			check(memcmp(x, y, n * sizeof(float)) == 0, "hadamard", k->name,
				  NULL);
			for (int i = 0; i < n && offset == 0; i += 1 + n / 512)
				check(fabs(x[i] - transformed(original, n, i)) <=
					  1e-6 * sqrt((double) n), "value of hadamard", k->name,
					  NULL);
		}
	}
}

/* The longest that is exact, with the largest products. */
static void
test_largest_code_sum(const DistanceKernels *k)
{
	enum
	{
	longest = 131071};
	static int8_t low[longest];
	static int8_t high[longest];
	const int8_t *others[4] = {low, high, high, low};
	int32_t		dots[4];

	memset(low, -128, longest);
	memset(high, 127, longest);
	check(k->dot_int8(low, low, longest) == longest * 16384, "largest dot_int8",
		  k->name, NULL);
	check(k->dot_int8(low, high, longest) == longest * -16256, "least dot_int8",
		  k->name, NULL);
	check(k->dot_int8(high, low, longest) == longest * -16256, "least dot_int8",
		  k->name, NULL);
	k->dots_int8(low, others, 4, longest, dots);
	check(dots[0] == longest * 16384 && dots[1] == longest * -16256 &&
		  dots[2] == longest * -16256 && dots[3] == longest * 16384,
		  "largest dots_int8", k->name, NULL);
	k->dots_int8(high, others, 2, longest, dots);
	check(dots[0] == longest * -16256 && dots[1] == longest * 16129,
		  "least dots_int8", k->name, NULL);
}

static void
test_cosine_distance(void)
{
	float		zero[3] = {0, 0, 0};
	float		a[3] = {1, 2, 3};
	float		longer[3] = {1.1f, 2.2f, 3.3f};
	float		opposite[3] = {-1.1f, -2.2f, -3.3f};
	float		orthogonal[3] = {3, 0, -1};

	check(isnan(DistanceCosine(a, zero, 3)), "cosine distance", "zero", NULL);
	check(DistanceCosine(a, a, 3) == 0, "cosine distance", "itself", NULL);
	check(DistanceCosine(a, longer, 3) >= 0 && DistanceCosine(a, longer, 3) < 1e-6,
		  "cosine distance", "parallel", NULL);
	check(DistanceCosine(a, opposite, 3) <= 2 &&
		  DistanceCosine(a, opposite, 3) > 2 - 1e-6,
		  "cosine distance", "opposite", NULL);
	check(DistanceCosine(a, orthogonal, 3) == 1, "cosine distance", "orthogonal", NULL);
}

static void
test_jaccard_distance(void)
{
	uint8_t		zero[3] = {0, 0, 0};
	uint8_t		a[3] = {0xf0, 0, 0x80};
	uint8_t		b[3] = {0xc0, 0, 0x40};

	check(DistanceJaccard(a, a, 3) == 0, "jaccard distance", "itself", NULL);
	check(DistanceJaccard(a, b, 3) == 1 - 2.0 / 6, "jaccard distance", "a third", NULL);
	check(DistanceJaccard(a, zero, 3) == 1, "jaccard distance", "zero", NULL);
	check(DistanceJaccard(zero, zero, 3) == 1, "jaccard distance", "both zero", NULL);
	check(DistanceJaccard(a, b, 0) == 1, "jaccard distance", "empty", NULL);
}

static double
wrong_in_last_bit(const float *a, const float *b, int dim)
{
	double		right = distance_scalar_kernels.inner_product(a, b, dim);

	return dim == 33 ? nextafter(right, INFINITY) : right;
}

static void
test_choice(void)
{
	DistanceKernels wrong = distance_scalar_kernels;

	check(DistanceFind("scalar") == &distance_scalar_kernels, "choice", "scalar", NULL);
	check(DistanceFind("auto") == distance_kernels, "choice", "auto", NULL);
	check(DistanceFind("quantum") == NULL, "choice", "a name not known", NULL);

	check(DistanceSelfTest(&wrong), "self-test", "the right kernel", NULL);
	wrong.inner_product = wrong_in_last_bit;
	check(!DistanceSelfTest(&wrong), "self-test", "a wrong kernel", NULL);
}

int
main(void)
{
	DistanceInit();
	printf("chosen on this CPU: %s\n", distance_kernels->name);
#ifdef DISTANCE_HAVE_AVX2
	if (__builtin_cpu_supports("avx2"))
		check(DistanceFind("avx2") != NULL, "self-test", "avx2", NULL);
	else
		printf("this CPU has no AVX2: not tested\n");
#endif
#ifdef DISTANCE_HAVE_AVX512
	if (__builtin_cpu_supports("avx512vpopcntdq"))
		check(DistanceFind("avx512") != NULL, "self-test", "avx512", NULL);
	else
		printf("this CPU has no AVX-512 with VPOPCNTDQ: not tested\n");
#endif
#ifdef DISTANCE_HAVE_NEON
	check(DistanceSelfTest(&distance_neon_kernels), "self-test", "neon", NULL);
#endif
#ifdef DISTANCE_HAVE_DOTPROD
	if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP)
		check(DistanceFind("neon") == &distance_dotprod_kernels, "self-test",
			  "neon with dotprod", NULL);
	else
		printf("this CPU has no dotprod: not tested\n");
#endif

	test_known_values(&distance_scalar_kernels);
	test_known_values(distance_kernels);
	test_hadamard(&distance_scalar_kernels);
	test_hadamard(distance_kernels);
	if (DistanceFind("avx2"))
		test_hadamard(DistanceFind("avx2"));
	test_largest_code_sum(&distance_scalar_kernels);
	test_largest_code_sum(distance_kernels);
	test_cosine_distance();
	test_jaccard_distance();
	test_choice();
	test_lengths();

	printf("%ld checks, %d failed\n", num_checks, num_failures);
	return num_failures == 0 ? 0 : 1;
}
