/*-------------------------------------------------------------------------
 *
 * half_test.c
 *	  Unit test of the half-precision part of src/distance; needs no
 *	  PostgreSQL.
 *
 * Proves:
 *
 *	- every half becomes the float of the same value, and every float (a fixed
 *	  sample of all bit patterns, and all around the middle of two halves) the
 *	  nearest half, ties to even, by a definition written with rint()
 *	- every implementation this CPU can run converts to the same bits
 *	- every distance has the bits of the scalar float kernel on the elements
 *	  as floats, at all lengths 0..130 and some up to 16,000, at all
 *	  alignments, with ordinary, largest, subnormal and zero elements; and with
 *	  infinities and NaN (any NaN equals any NaN)
 *	- none reads or writes beyond the arrays: they end where an unreadable page
 *	  begins
 *	- the self-test refuses a conversion that is wrong in one bit
 *
 * Build and run:
 *	cc -std=gnu99 -O2 -Isrc test/unit/half_test.c $(find src/distance -name "*.c") -lm
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_DIM 16000
#define MAX_OFFSET 8
#define NUM_HALVES 65536

/* A name that is not compiled in or not for this CPU is skipped. */
static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};

#define NUM_NAMES ((int) (sizeof(names) / sizeof(names[0])))

static const DistanceKernels *tested[NUM_NAMES + 1];
static int	ntested;

/* What the elements look like. */
typedef enum Pattern
{
	ORDINARY,					/* -1..1 */
	LARGEST,					/* of both signs */
	SUBNORMAL,
	ANY_FINITE,
	ANY_BITS,					/* with infinities and NaN */
	NUM_PATTERNS
} Pattern;

static const char *const pattern_names[] = {
	"ordinary", "largest", "subnormal", "any finite", "any bits"
};

static long num_checks = 0;
static int	num_failures = 0;
static uint64_t random_state = 20240608;

static uint32_t
random_bits(void)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t) (random_state >> 32);
}

static void
check(bool ok, const char *what, const char *kernels, const char *input, long number)
{
	num_checks++;
	if (!ok && ++num_failures <= 20)
		printf("FAILED: %s of %s, %s %ld\n", what, kernels, input, number);
}

static bool
same(double x, double y)
{
	return (isnan(x) && isnan(y)) || memcmp(&x, &y, sizeof(x)) == 0;
}

static float
float_of_bits(uint32_t bits)
{
	float		result;

	memcpy(&result, &bits, sizeof(result));
	return result;
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

/* ----------
 * Conversion of one number
 * ----------
 */

/* The value of a half that is not NaN, by the definition of the format. */
static double
value_of(Half half)
{
	int			exponent = half >> 10 & 31;
	int			mantissa = half & 1023;
	double		magnitude;

	if (exponent == 31)
		magnitude = INFINITY;
	else if (exponent == 0)
		magnitude = ldexp(mantissa, -24);
	else
		magnitude = ldexp(1024 + mantissa, exponent - 25);
	return (half & 0x8000) ? -magnitude : magnitude;
}

/* The value of the half nearest to a number that is not NaN. */
static double
nearest(float value)
{
	int			exponent;
	double		quantum;
	double		result;

	if (isinf(value))
		return value;
	frexp(value, &exponent);
	quantum = ldexp(1, exponent - 11 > -24 ? exponent - 11 : -24);
	result = rint(value / quantum) * quantum;
	if (fabs(result) >= 65536)
		return copysign(INFINITY, value);
	return copysign(result, value);
}

static void
check_from_float(uint32_t bits)
{
	float		value = float_of_bits(bits);
	Half		half = HalfFromFloat(value);

	if (isnan(value))
		check(HalfIsNan(half) && (half >> 15) == (bits >> 31),
			  "HalfFromFloat", "scalar", "NaN of bits", bits);
	else
		check(same(value_of(half), nearest(value)),
			  "HalfFromFloat", "scalar", "float of bits", bits);
}

static void
test_one_number(void)
{
	for (int i = 0; i < NUM_HALVES; i++)
	{
		Half		half = (Half) i;
		float		value = HalfToFloat(half);
		bool		is_nan = (i & 0x7fff) > 0x7c00;
		uint32_t	bits;

		check(HalfIsNan(half) == is_nan &&
			  HalfIsFinite(half) == ((i & 0x7c00) != 0x7c00) &&
			  HalfIsZero(half) == (i == 0 || i == 0x8000),
			  "kind", "scalar", "half", i);
		if (is_nan)
		{
			check(isnan(value) && (signbit(value) != 0) == (i >> 15),
				  "HalfToFloat", "scalar", "half", i);
			continue;
		}
		check(same(value, value_of(half)), "HalfToFloat", "scalar", "half", i);
		check(HalfFromFloat(value) == half, "round trip", "scalar", "half", i);

		/* the middle to the next half away from zero, and its neighbors */
		if (!HalfIsFinite(half))
			continue;
		value = (float) ((value_of(half) +
						  ((i & 0x7fff) == 0x7bff ? copysign(65536, value) :
						   value_of(half + 1))) / 2);
		memcpy(&bits, &value, sizeof(bits));
		check_from_float(bits - 1);
		check_from_float(bits);
		check_from_float(bits + 1);
	}

	for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 1021)
		check_from_float((uint32_t) bits);
}

/* ----------
 * Kernels
 * ----------
 */

static void
test_conversion_of_arrays(const DistanceKernels *k)
{
	const DistanceKernels *scalar = &distance_scalar_kernels;
	static Half halves[NUM_HALVES];
	static Half results[2][NUM_HALVES];
	static float floats[2][NUM_HALVES];

	for (int i = 0; i < NUM_HALVES; i++)
		halves[i] = (Half) i;
	k->half_to_float(halves, floats[0], NUM_HALVES);
	scalar->half_to_float(halves, floats[1], NUM_HALVES);
	check(memcmp(floats[0], floats[1], sizeof(floats[0])) == 0,
		  "half_to_float", k->name, "all halves", 0);

	for (int round = 0; round < 100; round++)
	{
		for (int i = 0; i < NUM_HALVES; i++)
		{
			uint32_t	bits = random_bits();

			/* every second one in the range of halves */
			if (i % 2 == 0)
				bits = (bits & 0x87ffffff) + 0x32000000 + (bits >> 31 << 24);
			floats[0][i] = float_of_bits(bits);
		}
		k->float_to_half(floats[0], results[0], NUM_HALVES);
		scalar->float_to_half(floats[0], results[1], NUM_HALVES);
		check(memcmp(results[0], results[1], sizeof(results[0])) == 0,
			  "float_to_half", k->name, "round", round);
	}
}

static Half
element(Pattern pattern)
{
	Half		half = (Half) random_bits();

	switch (pattern)
	{
		case ORDINARY:
			return HalfFromFloat((float) (int16_t) half / 32768.0f);
		case LARGEST:
			return (half & 0x8000) | 0x7bff;
		case SUBNORMAL:
			return half & 0x83ff;
		case ANY_FINITE:
			return HalfIsFinite(half) ? half : 0;
		default:
			return half;
	}
}

static void
check_kernels(const DistanceKernels *k, const Half *a, const Half *b,
			  float *float_a, float *float_b, Half *half_result, int dim,
			  const char *pattern)
{
	const DistanceKernels *scalar = &distance_scalar_kernels;
	DistanceCosineSums x;
	DistanceCosineSums y;
	bool		converted = true;

	k->half_to_float(a, float_a, dim);
	k->half_to_float(b, float_b, dim);
	k->float_to_half(float_a, half_result, dim);
	for (int i = 0; i < dim; i++)
	{
		float		expected = HalfToFloat(a[i]);

		if (memcmp(&float_a[i], &expected, sizeof(float)) != 0 ||
			half_result[i] != HalfFromFloat(expected))
			converted = false;
	}
	check(converted, "conversion", k->name, pattern, dim);

	check(same(k->half_l2_squared(a, b, dim),
			   scalar->l2_squared(float_a, float_b, dim)),
		  "half_l2_squared", k->name, pattern, dim);
	check(same(k->half_inner_product(a, b, dim),
			   scalar->inner_product(float_a, float_b, dim)),
		  "half_inner_product", k->name, pattern, dim);
	check(same(k->half_l1(a, b, dim), scalar->l1(float_a, float_b, dim)),
		  "half_l1", k->name, pattern, dim);
	check(same(k->half_norm_squared(a, dim),
			   scalar->norm_squared(float_a, dim)),
		  "half_norm_squared", k->name, pattern, dim);

	k->half_cosine(a, b, dim, &x);
	scalar->cosine(float_a, float_b, dim, &y);
	check(same(x.dot, y.dot) &&
		  same(x.norm_a_squared, y.norm_a_squared) &&
		  same(x.norm_b_squared, y.norm_b_squared),
		  "half_cosine", k->name, pattern, dim);
}

/* Zen 4 has kernels of its own under the name "avx512". */
static void
choose_tested(void)
{
	for (int i = 0; i < NUM_NAMES; i++)
	{
		const DistanceKernels *kernels = DistanceFind(names[i]);

		if (kernels != NULL)
			tested[ntested++] = kernels;
#ifdef DISTANCE_HAVE_AVX512
		if (kernels == &distance_zen4_kernels)
			tested[ntested++] = &distance_avx512_kernels;
#endif
	}
}

static void
test_length(int dim, int offset)
{
	size_t		room = dim + offset;
	Half	   *a = allocate_before_guard(room * sizeof(Half));
	Half	   *b = allocate_before_guard(dim * sizeof(Half));
	Half	   *half_result = allocate_before_guard(dim * sizeof(Half));
	float	   *float_a = allocate_before_guard(dim * sizeof(float));
	float	   *float_b = allocate_before_guard(dim * sizeof(float));

	for (Pattern pattern = 0; pattern < NUM_PATTERNS; pattern++)
	{
		for (int i = 0; i < dim; i++)
		{
			a[i] = element(pattern);
			b[i] = element(pattern);
		}
		for (int i = 0; i < ntested; i++)
			check_kernels(tested[i], a, b, float_a, float_b, half_result,
						  dim, pattern_names[pattern]);
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

static void
test_cosine_distance(void)
{
	Half		zero[2] = {0, 0};
	Half		a[2] = {0x3c00, 0x4000};	/* 1, 2 */
	Half		opposite[2] = {0xc000, 0xc400}; /* -2, -4 */
	Half		orthogonal[2] = {0x4000, 0xbc00};	/* 2, -1 */

	check(isnan(DistanceHalfCosine(a, zero, 2)), "cosine distance", "auto", "zero", 2);
	check(DistanceHalfCosine(a, a, 2) == 0, "cosine distance", "auto", "itself", 2);
	check(DistanceHalfCosine(a, opposite, 2) == 2, "cosine distance", "auto", "opposite", 2);
	check(DistanceHalfCosine(a, orthogonal, 2) == 1, "cosine distance", "auto", "orthogonal", 2);
}

static void
wrong_in_last_bit(const float *a, Half *result, int dim)
{
	distance_scalar_kernels.float_to_half(a, result, dim);
	if (dim == 33)
		result[32] ^= 1;
}

static void
test_self_test(void)
{
	DistanceKernels wrong = distance_scalar_kernels;

	check(DistanceSelfTest(&wrong), "self-test", "scalar", "the right kernel", 0);
	wrong.float_to_half = wrong_in_last_bit;
	check(!DistanceSelfTest(&wrong), "self-test", "scalar", "a wrong kernel", 0);
}

int
main(void)
{
	DistanceInit();
	printf("chosen on this CPU: %s\n", distance_kernels->name);

	choose_tested();
	test_one_number();
	for (int i = 0; i < ntested; i++)
		test_conversion_of_arrays(tested[i]);
	test_lengths();
	test_cosine_distance();
	test_self_test();

	printf("%ld checks, %d failed\n", num_checks, num_failures);
	return num_failures == 0 ? 0 : 1;
}
