/*-------------------------------------------------------------------------
 *
 * distance.c
 *	  Choice of the distance kernels for this CPU, and the distances that are
 *	  quotients of what they count.
 *
 * A faster implementation is used only if the CPU says it can run it and it
 * then gives the bits of the scalar one (DistanceSelfTest): a CPU, emulator
 * or compiler that errs costs speed, never a wrong answer.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_block.h"
#include "distance/distance_edge.h"
#include "distance/distance_impl.h"

#include <math.h>
#include <string.h>
#ifdef DISTANCE_HAVE_AVX2
#include <cpuid.h>
#endif
#ifdef DISTANCE_HAVE_DOTPROD
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP			/* unknown to the C library of older systems */
#define HWCAP_ASIMDDP (1 << 20)
#endif
#endif

#define TEST_DIM 150			/* four rounds of lanes and a tail */

const DistanceKernels *distance_kernels = &distance_scalar_kernels;

typedef enum Verdict
{
	UNTESTED,
	RIGHT,
	REFUSED						/* by the CPU or the self-test */
} Verdict;

typedef struct Implementation
{
	const DistanceKernels *kernels;
	bool		(*cpu_can_run) (void);
	Verdict		verdict;
} Implementation;

static bool every_cpu(void);
#ifdef DISTANCE_HAVE_AVX2
static bool cpu_has_avx2(void);
#endif
#ifdef DISTANCE_HAVE_AVX512
static bool cpu_has_avx512(void);
static bool cpu_is_zen4(void);
#endif
#ifdef DISTANCE_HAVE_DOTPROD
static bool cpu_has_dotprod(void);
#endif
static bool is_usable(Implementation *implementation);

/* Fastest first; the last can always be used. */
static Implementation implementations[] = {
#ifdef DISTANCE_HAVE_AVX512
	{&distance_zen4_kernels, cpu_is_zen4, UNTESTED},
	{&distance_avx512_kernels, cpu_has_avx512, UNTESTED},
#endif
#ifdef DISTANCE_HAVE_AVX2
	{&distance_avx2_kernels, cpu_has_avx2, UNTESTED},
#endif
#ifdef DISTANCE_HAVE_NEON
#ifdef DISTANCE_HAVE_DOTPROD
	{&distance_dotprod_kernels, cpu_has_dotprod, UNTESTED},
#endif
	{&distance_neon_kernels, every_cpu, UNTESTED},
#endif
	{&distance_scalar_kernels, every_cpu, RIGHT}
};

#define NUM_IMPLEMENTATIONS ((int) (sizeof(implementations) / sizeof(implementations[0])))

static bool same_bits(double x, double y);
static bool same_results(const DistanceKernels *x, const DistanceKernels *y,
						 const float *a, const float *b,
						 const int8_t *codes_a, const int8_t *codes_b, int dim);
static bool same_dots(const DistanceKernels *x, const DistanceKernels *y,
					  const int8_t *a, const int8_t *b, int dim);
static bool same_transform(const DistanceKernels *x, const DistanceKernels *y,
						   const float *a);
static bool same_half_results(const DistanceKernels *x, const DistanceKernels *y,
							  const float *a, const float *b, int dim);
static bool same_unpacked(const DistanceKernels *x, const DistanceKernels *y,
						  const uint8_t *packed, int dim);
static bool same_edge_code(const DistanceKernels *x, const DistanceKernels *y,
						   const float *from, const float *to);
static bool same_edge_dots(const DistanceKernels *x, const DistanceKernels *y,
						   const int8_t *query);
static bool same_row(const DistanceKernels *x, const DistanceKernels *y,
					 const int8_t *code, int dim);
static bool same_block(const DistanceKernels *x, const DistanceKernels *y);
static bool same_block_dots(const DistanceKernels *x, const DistanceKernels *y,
							const uint8_t *rows, const int8_t *panel,
							int row_bytes);

/*
 * DistanceInit
 *		Use the fastest kernels that this CPU can run; called once, when the
 *		library is loaded.
 */
void
DistanceInit(void)
{
	distance_kernels = DistanceFind("auto");
}

/*
 * DistanceFind
 *		The kernels of this name, or the fastest for "auto"; NULL if there are
 *		none or this CPU cannot run them.
 */
const DistanceKernels *
DistanceFind(const char *name)
{
	bool		any = strcmp(name, "auto") == 0;

	for (int i = 0; i < NUM_IMPLEMENTATIONS; i++)
	{
		Implementation *candidate = &implementations[i];

		if ((any || strcmp(name, candidate->kernels->name) == 0) &&
			is_usable(candidate))
			return candidate->kernels;
	}
	return NULL;
}

static bool
is_usable(Implementation *implementation)
{
	if (implementation->verdict == UNTESTED)
		implementation->verdict = implementation->cpu_can_run() &&
			DistanceSelfTest(implementation->kernels) ? RIGHT : REFUSED;
	return implementation->verdict == RIGHT;
}

static bool
every_cpu(void)
{
	return true;
}

#ifdef DISTANCE_HAVE_AVX2
/* What the attributes in distance_avx2.c name */
static bool
cpu_has_avx2(void)
{
	unsigned int eax;
	unsigned int ebx;
	unsigned int ecx;
	unsigned int edx;

	/* Not every compiler's __builtin_cpu_supports() knows F16C. */
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
		__builtin_cpu_supports("popcnt") &&
		__get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C) != 0;
}
#endif

#ifdef DISTANCE_HAVE_AVX512
/* What those in distance_avx512.c name; some of its kernels are those of AVX2. */
static bool
cpu_has_avx512(void)
{
	return cpu_has_avx2() && __builtin_cpu_supports("avx512f") &&
		__builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl") &&
		__builtin_cpu_supports("avx512vnni") &&
		__builtin_cpu_supports("avx512vpopcntdq");
}

/* Family 19 of AMD has Zen 3, without AVX-512, and Zen 4. */
static bool
cpu_is_zen4(void)
{
	unsigned int eax;
	unsigned int ebx;
	unsigned int ecx;
	unsigned int edx;

	return cpu_has_avx512() && __builtin_cpu_is("amd") &&
		__get_cpuid(1, &eax, &ebx, &ecx, &edx) &&
		((eax >> 8 & 0xf) + (eax >> 20 & 0xff)) == 0x19;
}
#endif

#ifdef DISTANCE_HAVE_DOTPROD
/* Products of bytes, added by fours: an extension of ARMv8.2 */
static bool
cpu_has_dotprod(void)
{
	return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}
#endif

/*
 * DistanceSelfTest
 *		Do 'kernels' give the same bits as the scalar version on this CPU?
 *
 * Takes some fifty microseconds of each backend's start, so lengths grow by
 * steps that visit every kind of tail.  The unit test is the thorough one.
 */
bool
DistanceSelfTest(const DistanceKernels *kernels)
{
	float		a[TEST_DIM];
	float		b[TEST_DIM];
	int8_t		codes_a[TEST_DIM];
	int8_t		codes_b[TEST_DIM];
	uint32_t	state = 2463534242u;

	for (int i = 0; i < TEST_DIM; i++)
	{
		/* xorshift; small, large and mixed magnitudes, both signs */
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		a[i] = ldexpf((float) (int32_t) state, (int) (state % 19) - 40);
		b[i] = (float) (int16_t) (state >> 7) / 4096.0f;
		codes_a[i] = (int8_t) (state >> 11);
		codes_b[i] = (int8_t) (state >> 19);
	}

	for (int dim = 0; dim <= TEST_DIM; dim += (dim < 34 ? 1 : 29))
	{
		if (!same_results(kernels, &distance_scalar_kernels,
						  a, b, codes_a, codes_b, dim) ||
			!same_half_results(kernels, &distance_scalar_kernels, a, b, dim) ||
			!same_unpacked(kernels, &distance_scalar_kernels,
						   (const uint8_t *) codes_a, dim) ||
			!same_row(kernels, &distance_scalar_kernels, codes_a, dim))
			return false;
	}
	return same_transform(kernels, &distance_scalar_kernels, b) &&
		same_edge_code(kernels, &distance_scalar_kernels, a, b) &&
		same_edge_dots(kernels, &distance_scalar_kernels, codes_a) &&
		same_block(kernels, &distance_scalar_kernels);
}

static bool
same_bits(double x, double y)
{
	return memcmp(&x, &y, sizeof(double)) == 0;
}

static bool
same_results(const DistanceKernels *x, const DistanceKernels *y,
			 const float *a, const float *b,
			 const int8_t *codes_a, const int8_t *codes_b, int dim)
{
	DistanceCosineSums sums_x;
	DistanceCosineSums sums_y;
	const uint8_t *bits_a = (const uint8_t *) codes_a;
	const uint8_t *bits_b = (const uint8_t *) codes_b;
	DistanceBitCounts counts_x;
	DistanceBitCounts counts_y;

	x->cosine(a, b, dim, &sums_x);
	y->cosine(a, b, dim, &sums_y);
	x->jaccard(bits_a, bits_b, dim, &counts_x);
	y->jaccard(bits_a, bits_b, dim, &counts_y);

	return same_bits(sums_x.dot, sums_y.dot) &&
		same_bits(sums_x.norm_a_squared, sums_y.norm_a_squared) &&
		same_bits(sums_x.norm_b_squared, sums_y.norm_b_squared) &&
		same_bits(x->l2_squared(a, b, dim), y->l2_squared(a, b, dim)) &&
		same_bits(x->inner_product(a, b, dim), y->inner_product(a, b, dim)) &&
		same_bits(x->l1(a, b, dim), y->l1(a, b, dim)) &&
		same_bits(x->norm_squared(a, dim), y->norm_squared(a, dim)) &&
		same_bits(x->dot_float_int8(a, codes_b, dim),
				  y->dot_float_int8(a, codes_b, dim)) &&
		x->dot_int8(codes_a, codes_b, dim) ==
		y->dot_int8(codes_a, codes_b, dim) &&
		same_dots(x, y, codes_a, codes_b, dim) &&
		same_bits(x->l1_float_int8(a, codes_b, 0.3f, dim),
				  y->l1_float_int8(a, codes_b, 0.3f, dim)) &&
		same_bits(x->l1_int8(codes_a, 0.7f, codes_b, 0.3f, dim),
				  y->l1_int8(codes_a, 0.7f, codes_b, 0.3f, dim)) &&
		x->hamming(bits_a, bits_b, dim) == y->hamming(bits_a, bits_b, dim) &&
		counts_x.common == counts_y.common &&
		counts_x.total == counts_y.total;
}

/* One with five others, more than are computed at once */
static bool
same_dots(const DistanceKernels *x, const DistanceKernels *y,
		  const int8_t *a, const int8_t *b, int dim)
{
	const int8_t *others[5] = {b, a, a, b, b};
	int32_t		dots[2][5];

	x->dots_int8(a, others, 5, dim, dots[0]);
	y->dots_int8(a, others, 5, dim, dots[1]);
	return memcmp(dots[0], dots[1], sizeof(dots[0])) == 0;
}

/* Even and odd numbers of levels, and fewer than fill a register */
static bool
same_transform(const DistanceKernels *x, const DistanceKernels *y,
			   const float *a)
{
	for (int n = 1; n <= TEST_DIM; n *= 2)
	{
		float		results[2][TEST_DIM] = {{0}};

		memcpy(results[0], a, n * sizeof(float));
		memcpy(results[1], a, n * sizeof(float));
		x->hadamard(results[0], n);
		y->hadamard(results[1], n);
		if (memcmp(results[0], results[1], sizeof(results[0])) != 0)
			return false;
	}
	return true;
}

/* Conversion in both directions and the kernels on what it gave. */
static bool
same_half_results(const DistanceKernels *x, const DistanceKernels *y,
				  const float *a, const float *b, int dim)
{
	DistanceCosineSums sums_x;
	DistanceCosineSums sums_y;
	Half		half_a[2][TEST_DIM] = {{0}};
	Half		half_b[TEST_DIM];
	float		back[2][TEST_DIM] = {{0}};

	x->float_to_half(a, half_a[0], dim);
	y->float_to_half(a, half_a[1], dim);
	x->half_to_float(half_a[0], back[0], dim);
	y->half_to_float(half_a[1], back[1], dim);
	if (memcmp(half_a[0], half_a[1], sizeof(half_a[0])) != 0 ||
		memcmp(back[0], back[1], sizeof(back[0])) != 0)
		return false;

	y->float_to_half(b, half_b, dim);
	x->half_cosine(half_a[0], half_b, dim, &sums_x);
	y->half_cosine(half_a[0], half_b, dim, &sums_y);

	return same_bits(sums_x.dot, sums_y.dot) &&
		same_bits(sums_x.norm_a_squared, sums_y.norm_a_squared) &&
		same_bits(sums_x.norm_b_squared, sums_y.norm_b_squared) &&
		same_bits(x->half_l2_squared(half_a[0], half_b, dim),
				  y->half_l2_squared(half_a[0], half_b, dim)) &&
		same_bits(x->half_inner_product(half_a[0], half_b, dim),
				  y->half_inner_product(half_a[0], half_b, dim)) &&
		same_bits(x->half_l1(half_a[0], half_b, dim),
				  y->half_l1(half_a[0], half_b, dim)) &&
		same_bits(x->half_norm_squared(half_b, dim),
				  y->half_norm_squared(half_b, dim));
}

static bool
same_unpacked(const DistanceKernels *x, const DistanceKernels *y,
			  const uint8_t *packed, int dim)
{
	static const int8_t table[16] = {0, 1, -2, 3, -5, 8, -13, 21, -34, 55, -89,
	127, -128, 100, -100, 50};
	int8_t		results[2][TEST_DIM] = {{0}};

	x->unpack_nibbles(packed, table, results[0], dim);
	y->unpack_nibbles(packed, table, results[1], dim);
	return memcmp(results[0], results[1], sizeof(results[0])) == 0;
}

/* Two chunks, with 1 bit and with 2 */
static bool
same_edge_code(const DistanceKernels *x, const DistanceKernels *y,
			   const float *from, const float *to)
{
	for (int bits = 1; bits <= 2; bits++)
	{
		uint8_t		pieces[2][2 * DISTANCE_EDGE_PIECE];
		DistanceEdgeSums sums_x = x->edge_code(from, to, 0.9f, bits, 2,
											   pieces[0]);
		DistanceEdgeSums sums_y = y->edge_code(from, to, 0.9f, bits, 2,
											   pieces[1]);

		if (memcmp(&sums_x, &sums_y, sizeof(sums_x)) != 0 ||
			memcmp(pieces[0], pieces[1], sizeof(pieces[0])) != 0)
			return false;
	}
	return true;
}

/* Two groups, with the largest sums that are possible in one of them. */
static bool
same_edge_dots(const DistanceKernels *x, const DistanceKernels *y,
			   const int8_t *query)
{
	enum
	{
	chunks = TEST_DIM / DistanceEdgeChunkDims(1)};
	uint8_t		codes[2 * chunks * DISTANCE_EDGE_CHUNK];

	for (int i = 0; i < (int) sizeof(codes); i++)
		codes[i] = i % 7 < 3 ? 0xff : (uint8_t) (i * 37);
	for (int bits = 1; bits <= 2; bits++)
	{
		int32_t		dots[2][2 * DISTANCE_EDGE_GROUP];

		x->edge_dots(query, codes, bits, chunks, 2, dots[0]);
		y->edge_dots(query, codes, bits, chunks, 2, dots[1]);
		if (memcmp(dots[0], dots[1], sizeof(dots[0])) != 0)
			return false;
	}
	return true;
}

static bool
same_row(const DistanceKernels *x, const DistanceKernels *y,
		 const int8_t *code, int dim)
{
	uint8_t		rows[2][TEST_DIM] = {{0}};
	DistanceRowSums sums_x = x->block_row(code, dim, rows[0]);
	DistanceRowSums sums_y = y->block_row(code, dim, rows[1]);

	return sums_x.sum == sums_y.sum && sums_x.square == sums_y.square &&
		sums_x.product == sums_y.product &&
		memcmp(rows[0], rows[1], sizeof(rows[0])) == 0;
}

/* One block, with the largest sums that are possible for rows of either kind. */
static bool
same_block(const DistanceKernels *x, const DistanceKernels *y)
{
	enum
	{
	row_bytes = 24, panel_row_bytes = 40};
	uint8_t		row_codes[DISTANCE_ROWS * row_bytes];
	uint8_t		byte_codes[DISTANCE_ROWS * row_bytes];
	int8_t		panel_codes[DISTANCE_PANEL * row_bytes];
	float		floats[3][DISTANCE_PANEL];
	int32_t		sums[DISTANCE_PANEL];
	float		distances[2][DISTANCE_ROWS * DISTANCE_PANEL];
	DistanceRows rows = {row_codes, floats[0], floats[1], floats[2],
	{0, 3, 1, 2}};
	DistancePanel panel = {panel_codes, floats[0], floats[1], floats[2], sums};
	uint8_t		panel_rows[DISTANCE_PANEL * panel_row_bytes];
	int8_t		panels[2][DISTANCE_PANEL * panel_row_bytes];

	for (int i = 0; i < (int) sizeof(panel_rows); i++)
		panel_rows[i] = i * 37 % 127 + 1;
	x->block_panel(panel_rows, panel_row_bytes, panels[0]);
	y->block_panel(panel_rows, panel_row_bytes, panels[1]);
	for (int i = 0; i < (int) sizeof(row_codes); i++)
	{
		row_codes[i] = i < row_bytes ? 127 : i * 37 % 127 + 1;
		byte_codes[i] = i < row_bytes ? 255 : i * 37 % 256;
	}
	for (int i = 0; i < (int) sizeof(panel_codes); i++)
		panel_codes[i] = i % 64 < 4 ? 63 : i % 64 < 8 ? -63 : i * 29 % 127 - 63;
	for (int i = 0; i < DISTANCE_PANEL; i++)
	{
		floats[0][i] = (float) i * 1000;
		floats[1][i] = 0.1f * (float) i;
		floats[2][i] = (float) i * 1700 - 20000;
		sums[i] = i * 77 - 600;
	}
	return same_block_dots(x, y, row_codes, panel_codes, row_bytes) &&
		same_block_dots(x, y, byte_codes, panel_codes, row_bytes) &&
		memcmp(panels[0], panels[1], sizeof(panels[0])) == 0 &&
		x->block_near(&rows, &panel, row_bytes, distances[0]) ==
		y->block_near(&rows, &panel, row_bytes, distances[1]) &&
		memcmp(distances[0], distances[1], sizeof(distances[0])) == 0;
}

static bool
same_block_dots(const DistanceKernels *x, const DistanceKernels *y,
				const uint8_t *rows, const int8_t *panel, int row_bytes)
{
	int32_t		dots[2][DISTANCE_ROWS * DISTANCE_PANEL];

	x->block_dots(rows, panel, row_bytes, dots[0]);
	y->block_dots(rows, panel, row_bytes, dots[1]);
	return memcmp(dots[0], dots[1], sizeof(dots[0])) == 0;
}

/*
 * DistanceCosine
 *		1 - cosine of the angle between a and b, in [0, 2].
 *
 * NaN if either vector has length zero, or if the sums overflow.
 */
double
DistanceCosine(const float *a, const float *b, int dim)
{
	DistanceCosineSums sums;

	distance_kernels->cosine(a, b, dim, &sums);
	return DistanceCosineOf(&sums);
}

/*
 * DistanceHalfCosine
 *		The same for half precision, whose sums never overflow.
 */
double
DistanceHalfCosine(const Half *a, const Half *b, int dim)
{
	DistanceCosineSums sums;

	distance_kernels->half_cosine(a, b, dim, &sums);
	return DistanceCosineOf(&sums);
}

/* The cosine distance, from its sums; for all types of vectors. */
double
DistanceCosineOf(const DistanceCosineSums *sums)
{
	double		similarity = sums->dot /
	sqrt(sums->norm_a_squared * sums->norm_b_squared);

	/* Rounding may leave the range by some 1e-7; NaN passes both tests. */
	if (similarity > 1)
		similarity = 1;
	else if (similarity < -1)
		similarity = -1;
	return 1 - similarity;
}

/*
 * DistanceJaccard
 *		1 - the share of bits set in both among those set in either.
 *
 * 1, as far as can be, if no bit is set.
 */
double
DistanceJaccard(const uint8_t *a, const uint8_t *b, int num_bytes)
{
	DistanceBitCounts counts;

	distance_kernels->jaccard(a, b, num_bytes, &counts);
	if (counts.common == 0)
		return 1;
	return 1 - (double) counts.common / (double) counts.total;
}
