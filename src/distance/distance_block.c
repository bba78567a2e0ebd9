/*-------------------------------------------------------------------------
 *
 * distance_block.c
 *	  Codes of 7 bits, and distances of four vectors from sixteen by them.
 *
 * Sums of products are of integers, and so the same in any order; what follows
 * is a fixed sequence of float operations for each pair.  So all versions give
 * the same bits, and a pair has the same distance in either role.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_block.h"

#include <math.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

static float largest_of(const float *x, int dim);
static float scale_of(const float *x, int dim, float largest);
static inline int code_of(float x, float largest);

/*
 * DistanceBlockFloats
 *		Make a row of 7-bit codes of any vector, 63 for its largest number.
 *
 * Returns their scale, and the sum of the codes.  What pads the row is not
 * written.
 */
float
DistanceBlockFloats(const float *x, int dim, uint8_t *row, int32_t *sum)
{
	float		largest = largest_of(x, dim);

	*sum = 0;
	for (int d = 0; d < dim; d++)
	{
		int			code = code_of(x[d], largest);

		row[d] = (uint8_t) (code + DISTANCE_ROW_OFFSET);
		*sum += code;
	}
	return scale_of(x, dim, largest);
}

/*
 * DistanceBlockRound
 *		Make of a vector the one that stands for it in a block.
 *
 * What is computed from it by floats is then what a block computes.
 */
void
DistanceBlockRound(float *x, int dim)
{
	float		largest = largest_of(x, dim);
	float		scale = scale_of(x, dim, largest);

	for (int d = 0; d < dim; d++)
		x[d] = scale * (float) code_of(x[d], largest);
}

static float
largest_of(const float *x, int dim)
{
	float		largest = 0;

	for (int d = 0; d < dim; d++)
		largest = fmaxf(largest, fabsf(x[d]));
	return largest;
}

/* What the codes are to be multiplied by, by least squares. */
static float
scale_of(const float *x, int dim, float largest)
{
	double		product = 0;
	int32_t		square = 0;

	for (int d = 0; d < dim; d++)
	{
		int			code = code_of(x[d], largest);

		product += (double) x[d] * code;
		square += code * code;
	}
	return square > 0 ? (float) (product / square) : 0;
}

/* Divided first: 63 / largest is infinite where numbers are subnormal. */
static inline int
code_of(float x, float largest)
{
	return largest > 0 ? (int) rintf(x / largest * DISTANCE_CODE_LIMIT) : 0;
}

/*
 * DistanceBlockRowScalar
 *		Make a row of 7-bit codes of 8-bit ones: 127 becomes 63, and nothing
 *		rounds beyond.
 *
 * What pads the row is not written.
 */
DistanceRowSums
DistanceBlockRowScalar(const int8_t *code, int dim, uint8_t *row)
{
	DistanceRowSums sums = {0, 0, 0};

	for (int d = 0; d < dim; d++)
	{
		int			short_code = (code[d] * 127 + 128) >> 8;

		row[d] = (uint8_t) (short_code + DISTANCE_ROW_OFFSET);
		sums.sum += short_code;
		sums.square += short_code * short_code;
		sums.product += short_code * code[d];
	}
	return sums;
}

/* Make the part of a panel that begins with this dimension of its rows. */
static void
end_panel(const uint8_t *rows, int row_bytes, int first, int8_t *panel)
{
	for (int j = 0; j < DISTANCE_PANEL; j++)
	{
		const uint8_t *row = rows + (uint64_t) j * (uint64_t) row_bytes;

		for (int d = first; d < row_bytes; d++)
			panel[DistancePanelByte(j, d)] = (int8_t) (row[d] - DISTANCE_ROW_OFFSET);
	}
}

/*
 * DistanceBlockPanelScalar
 *		Make a panel of DISTANCE_PANEL rows, which lie one after the other.
 */
void
DistanceBlockPanelScalar(const uint8_t *rows, int row_bytes, int8_t *panel)
{
	end_panel(rows, row_bytes, 0, panel);
}

/*
 * DistanceBlockDotsScalar
 *		dots[16 * i + j] = sum of row i times vector j of the panel.
 *
 * There are DISTANCE_ROWS rows, of any unsigned bytes, offsets included; codes
 * of the panel have 7 bits as always.
 */
void
DistanceBlockDotsScalar(const uint8_t *rows, const int8_t *panel,
						int row_bytes, int32_t *dots)
{
	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		for (int j = 0; j < DISTANCE_PANEL; j++)
		{
			int32_t		dot = 0;

			for (int d = 0; d < row_bytes; d++)
				dot += rows[i * row_bytes + d] * panel[DistancePanelByte(j, d)];
			dots[DISTANCE_PANEL * i + j] = dot;
		}
	}
}

/*
 * DistanceBlockNearScalar
 *		Distances of all pairs, and which of them are within a limit.
 *
 * distances[16 * i + j] becomes that of the i-th row and vector j of the panel.
 * Bit 16 * i + j of the result is set if it is not above the limit of either.
 */
uint64_t
DistanceBlockNearScalar(const DistanceRows *rows, const DistancePanel *panel,
						int row_bytes, float *distances)
{
	uint64_t	near = 0;

	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		const uint8_t *row = DistanceRowCodes(rows, i, row_bytes);
		uint32_t	number = rows->numbers[i];

		for (int j = 0; j < DISTANCE_PANEL; j++)
		{
			int32_t		dot = 0;
			float		distance;

			for (int d = 0; d < row_bytes; d++)
				dot += row[d] * panel->codes[DistancePanelByte(j, d)];
			dot -= DISTANCE_ROW_OFFSET * panel->sums[j];
			distance = (rows->addends[number] + panel->addends[j]) -
				(rows->factors[number] * panel->factors[j]) * (float) dot;
			distances[DISTANCE_PANEL * i + j] = distance;
			if (distance <= rows->limits[number] || distance <= panel->limits[j])
				near |= (uint64_t) 1 << (DISTANCE_PANEL * i + j);
		}
	}
	return near;
}

#if defined(__x86_64__) && defined(__GNUC__)

/*
 * Sums of several vectors are arrays.  They stay in registers only if loops over
 * them (DISTANCE_ROWS, 4) are unrolled, which GCC does not do at -O2 by itself;
 * through memory, comparing takes up to 2.6 times as long.
 */

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE static inline __attribute__((target("avx2"), always_inline))
#define AVX512_FEATURES "avx512f,avx512bw,avx512vl,avx512vnni"
#define AVX512 __attribute__((target(AVX512_FEATURES)))
#define AVX512_INLINE \
	static inline __attribute__((target(AVX512_FEATURES), always_inline))

AVX2_INLINE int32_t
sum_of_8(__m256i x)
{
	__m128i		sum = _mm_add_epi32(_mm256_castsi256_si128(x),
									_mm256_extracti128_si256(x, 1));

	sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
	return _mm_cvtsi128_si32(sum) + _mm_extract_epi32(sum, 1);
}

AVX2 DistanceRowSums
DistanceBlockRowAvx2(const int8_t *code, int dim, uint8_t *row)
{
	const		__m256i ones = _mm256_set1_epi16(1);
	__m256i		sum = _mm256_setzero_si256();
	__m256i		square = _mm256_setzero_si256();
	__m256i		product = _mm256_setzero_si256();
	DistanceRowSums sums;
	int			d;

	for (d = 0; d + 16 <= dim; d += 16)
	{
		__m256i		codes = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) (code + d)));
		__m256i		shorts =
		_mm256_srai_epi16(_mm256_add_epi16(_mm256_mullo_epi16(codes, _mm256_set1_epi16(127)),
										   _mm256_set1_epi16(128)), 8);
		__m256i		bytes = _mm256_add_epi16(shorts, _mm256_set1_epi16(DISTANCE_ROW_OFFSET));

		_mm_storeu_si128((__m128i *) (row + d),
						 _mm_packus_epi16(_mm256_castsi256_si128(bytes),
										  _mm256_extracti128_si256(bytes, 1)));
		sum = _mm256_add_epi32(sum, _mm256_madd_epi16(shorts, ones));
		square = _mm256_add_epi32(square, _mm256_madd_epi16(shorts, shorts));
		product = _mm256_add_epi32(product, _mm256_madd_epi16(shorts, codes));
	}
	sums = DistanceBlockRowScalar(code + d, dim - d, row + d);
	sums.sum += sum_of_8(sum);
	sums.square += sum_of_8(square);
	sums.product += sum_of_8(product);
	return sums;
}

/*
 * Put chunks d / 4 to d / 4 + 7 of eight rows into a panel whose first one is
 * 'panel': an 8 by 8 matrix of chunks is transposed.
 */
AVX2_INLINE void
put_8_chunks(const uint8_t *rows, int row_bytes, int8_t *panel)
{
	__m256i		row[8];
	__m256i		pairs[8];
	__m256i		fours[8];

#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
		row[i] = _mm256_sub_epi8(_mm256_loadu_si256((const __m256i *) (rows + (uint64_t) i * (uint64_t) row_bytes)),
								 _mm256_set1_epi8(DISTANCE_ROW_OFFSET));
#pragma GCC unroll 4
	for (int i = 0; i < 8; i += 2)
	{
		pairs[i] = _mm256_unpacklo_epi32(row[i], row[i + 1]);
		pairs[i + 1] = _mm256_unpackhi_epi32(row[i], row[i + 1]);
	}
#pragma GCC unroll 2
	for (int i = 0; i < 8; i += 4)
	{
		fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
		fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
		fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
		fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++)
	{
		_mm256_storeu_si256((__m256i *) (panel + i * 4 * DISTANCE_PANEL),
							_mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20));
		_mm256_storeu_si256((__m256i *) (panel + (i + 4) * 4 * DISTANCE_PANEL),
							_mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31));
	}
}

AVX2 void
DistanceBlockPanelAvx2(const uint8_t *rows, int row_bytes, int8_t *panel)
{
	int			d;

	for (d = 0; d + 32 <= row_bytes; d += 32)
	{
		put_8_chunks(rows + d, row_bytes, panel + d * DISTANCE_PANEL);
		put_8_chunks(rows + 8 * (uint64_t) row_bytes + d, row_bytes,
					 panel + d * DISTANCE_PANEL + 32);
	}
	end_panel(rows, row_bytes, d, panel);
}

AVX2_INLINE __m256i
four_bytes(const uint8_t *p)
{
	int32_t		word;

	__builtin_memcpy(&word, p, sizeof(word));
	return _mm256_set1_epi32(word);
}

/* sum + the products of two chunks; each pair of them is below 2^15 */
AVX2_INLINE __m256i
add_two_chunks(__m256i sum, const uint8_t *row, __m256i chunk0, __m256i chunk1)
{
	__m256i		products =
	_mm256_add_epi16(_mm256_maddubs_epi16(four_bytes(row), chunk0),
					 _mm256_maddubs_epi16(four_bytes(row + 4), chunk1));

	return _mm256_add_epi32(sum, _mm256_madd_epi16(products,
												   _mm256_set1_epi16(1)));
}

/* The second half of the work for eight vectors; returns their bits. */
AVX2_INLINE uint32_t
finish_8(const DistanceRows *rows, int i, const DistancePanel *panel, int j,
		 __m256i dots, float *distances)
{
	__m256i		offset = _mm256_slli_epi32(_mm256_loadu_si256((const __m256i *) (panel->sums + j)), 6);
	__m256		dot = _mm256_cvtepi32_ps(_mm256_sub_epi32(dots, offset));
	uint32_t	number = rows->numbers[i];
	__m256		factor = _mm256_mul_ps(_mm256_set1_ps(rows->factors[number]),
									   _mm256_loadu_ps(panel->factors + j));
	__m256		distance = _mm256_sub_ps(_mm256_add_ps(_mm256_set1_ps(rows->addends[number]),
													   _mm256_loadu_ps(panel->addends + j)),
										 _mm256_mul_ps(factor, dot));
	__m256		near = _mm256_or_ps(_mm256_cmp_ps(distance,
												  _mm256_set1_ps(rows->limits[number]),
												  _CMP_LE_OQ),
									_mm256_cmp_ps(distance,
												  _mm256_loadu_ps(panel->limits + j),
												  _CMP_LE_OQ));

	_mm256_storeu_ps(distances + DISTANCE_PANEL * i + j, distance);
	return _mm256_movemask_ps(near);
}

AVX2 void
DistanceBlockDotsAvx2(const uint8_t *rows, const int8_t *panel, int row_bytes,
					  int32_t *dots)
{
	const		__m256i ones = _mm256_set1_epi16(1);

	for (int j = 0; j < DISTANCE_PANEL; j += 8)
	{
		__m256i		sums[DISTANCE_ROWS];

#pragma GCC unroll 4
		for (int i = 0; i < DISTANCE_ROWS; i++)
			sums[i] = _mm256_setzero_si256();
		for (int d = 0; d < row_bytes; d += 4)
		{
			__m256i		chunk =
			_mm256_loadu_si256((const __m256i *) (panel + d * DISTANCE_PANEL + 4 * j));

			/* 2 * 255 * 63 fits 16 bits, but twice that does not. */
#pragma GCC unroll 4
			for (int i = 0; i < DISTANCE_ROWS; i++)
			{
				__m256i		products =
				_mm256_maddubs_epi16(four_bytes(rows + (uint64_t) i * row_bytes + d),
									 chunk);

				sums[i] = _mm256_add_epi32(sums[i],
										   _mm256_madd_epi16(products, ones));
			}
		}
#pragma GCC unroll 4
		for (int i = 0; i < DISTANCE_ROWS; i++)
			_mm256_storeu_si256((__m256i *) (dots + DISTANCE_PANEL * i + j), sums[i]);
	}
}

AVX2 uint64_t
DistanceBlockNearAvx2(const DistanceRows *rows, const DistancePanel *panel,
					  int row_bytes, float *distances)
{
	uint64_t	near = 0;

	/* Two halves of the panel: eight sums would not leave registers enough. */
	for (int j = 0; j < DISTANCE_PANEL; j += 8)
	{
		const uint8_t *row[DISTANCE_ROWS];
		const int8_t *codes = panel->codes + 4 * j;
		__m256i		sums[DISTANCE_ROWS];

#pragma GCC unroll 4
		for (int i = 0; i < DISTANCE_ROWS; i++)
		{
			row[i] = DistanceRowCodes(rows, i, row_bytes);
			sums[i] = _mm256_setzero_si256();
		}
		for (int d = 0; d < row_bytes; d += 8)
		{
			__m256i		chunk0 = _mm256_loadu_si256((const __m256i *) codes);
			__m256i		chunk1 = _mm256_loadu_si256((const __m256i *) (codes + 4 * DISTANCE_PANEL));

#pragma GCC unroll 4
			for (int i = 0; i < DISTANCE_ROWS; i++)
				sums[i] = add_two_chunks(sums[i], row[i] + d, chunk0, chunk1);
			codes += 8 * DISTANCE_PANEL;
		}
#pragma GCC unroll 4
		for (int i = 0; i < DISTANCE_ROWS; i++)
			near |= (uint64_t) finish_8(rows, i, panel, j, sums[i], distances)
				<< (DISTANCE_PANEL * i + j);
	}
	return near;
}

/* Four bytes, repeated */
AVX512_INLINE __m512i
sixteen_times_4(const uint8_t *p)
{
	int32_t		word;

	__builtin_memcpy(&word, p, sizeof(word));
	return _mm512_set1_epi32(word);
}

/* The sums of products of four rows with the vectors of a panel */
AVX512_INLINE void
dots_of_4(const uint8_t *const *rows, const int8_t *codes, int row_bytes,
		  __m512i * sums)
{
	__m512i		sums1[DISTANCE_ROWS];

	/*
	 * Two sums for each row, of even and of odd chunks: with one, most of the
	 * time would be spent waiting for the sum before.
	 */
#pragma GCC unroll 4
	for (int i = 0; i < DISTANCE_ROWS; i++)
		sums[i] = sums1[i] = _mm512_setzero_si512();
	for (int d = 0; d < row_bytes; d += 8)
	{
		__m512i		chunk0 = _mm512_loadu_si512(codes);
		__m512i		chunk1 = _mm512_loadu_si512(codes + 4 * DISTANCE_PANEL);

#pragma GCC unroll 4
		for (int i = 0; i < DISTANCE_ROWS; i++)
		{
			const uint8_t *p = rows[i] + d;

			sums[i] = _mm512_dpbusd_epi32(sums[i], sixteen_times_4(p), chunk0);
			sums1[i] = _mm512_dpbusd_epi32(sums1[i], sixteen_times_4(p + 4),
										   chunk1);
		}
		codes += 8 * DISTANCE_PANEL;
	}
#pragma GCC unroll 4
	for (int i = 0; i < DISTANCE_ROWS; i++)
		sums[i] = _mm512_add_epi32(sums[i], sums1[i]);
}

AVX512 void
DistanceBlockDotsAvx512(const uint8_t *rows, const int8_t *panel,
						int row_bytes, int32_t *dots)
{
	const uint8_t *row[DISTANCE_ROWS];
	__m512i		sums[DISTANCE_ROWS];

#pragma GCC unroll 4
	for (int i = 0; i < DISTANCE_ROWS; i++)
		row[i] = rows + (uint64_t) i * row_bytes;
	dots_of_4(row, panel, row_bytes, sums);
#pragma GCC unroll 4
	for (int i = 0; i < DISTANCE_ROWS; i++)
		_mm512_storeu_si512(dots + DISTANCE_PANEL * i, sums[i]);
}

AVX512 uint64_t
DistanceBlockNearAvx512(const DistanceRows *rows, const DistancePanel *panel,
						int row_bytes, float *distances)
{
	__m512i		offset = _mm512_slli_epi32(_mm512_loadu_si512(panel->sums), 6);
	__m512		addends = _mm512_loadu_ps(panel->addends);
	__m512		factors = _mm512_loadu_ps(panel->factors);
	__m512		limits = _mm512_loadu_ps(panel->limits);
	const uint8_t *row[DISTANCE_ROWS];
	__m512i		sums[DISTANCE_ROWS];
	uint64_t	near = 0;

#pragma GCC unroll 4
	for (int i = 0; i < DISTANCE_ROWS; i++)
		row[i] = DistanceRowCodes(rows, i, row_bytes);
	dots_of_4(row, panel->codes, row_bytes, sums);
#pragma GCC unroll 4
	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		uint32_t	number = rows->numbers[i];
		__m512		dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[i], offset));
		__m512		distance =
		_mm512_sub_ps(_mm512_add_ps(_mm512_set1_ps(rows->addends[number]), addends),
					  _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(rows->factors[number]),
												  factors), dot));
		uint32_t	bits =
		_mm512_cmp_ps_mask(distance, _mm512_set1_ps(rows->limits[number]),
						   _CMP_LE_OQ) |
		_mm512_cmp_ps_mask(distance, limits, _CMP_LE_OQ);

		_mm512_storeu_ps(distances + DISTANCE_PANEL * i, distance);
		near |= (uint64_t) bits << (DISTANCE_PANEL * i);
	}
	return near;
}

#elif defined(__aarch64__)

/*
 * Only what has no more features than its caller can be inlined.  That of
 * DISTANCE_DOTPROD may lack some that the file is compiled for, such as crypto;
 * so these ask for no other than intrinsics do.
 */
#ifdef DISTANCE_HAVE_DOTPROD
#define NEON_INLINE \
	static inline __attribute__((target("+nothing+simd"), always_inline))
#else
#define NEON_INLINE static inline __attribute__((always_inline))
#endif

/* Registers for one number of each vector of a panel */
#define QUARTERS (DISTANCE_PANEL / 4)

/* Turning this bit over takes 128 from an unsigned byte, which is signed then. */
#define SIGN 0x80

/* Four bytes, repeated, with some bits turned over */
NEON_INLINE int8x16_t
four_times_4(const uint8_t *p, uint8_t flip)
{
	uint32_t	word;

	__builtin_memcpy(&word, p, sizeof(word));
	return vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(word)),
										vdupq_n_u8(flip)));
}

/*
 * The sums of products of one row with the vectors of a panel.  Products fit 16
 * bits, two of them are added to 32.
 */
NEON_INLINE void
dots_of_row(const uint8_t *row, uint8_t flip, const int8_t *codes,
			int row_bytes, int32x4_t * sums)
{
	int32x4_t	halves[2 * QUARTERS];	/* of two vectors, and of each, of two
										 * dimensions and of the two others */

#pragma GCC unroll 8
	for (int j = 0; j < 2 * QUARTERS; j++)
		halves[j] = vdupq_n_s32(0);
	for (int d = 0; d < row_bytes; d += 4)
	{
		int8x16_t	word = four_times_4(row + d, flip);

#pragma GCC unroll 4
		for (int j = 0; j < QUARTERS; j++)
		{
			int8x16_t	chunk = vld1q_s8(codes + d * DISTANCE_PANEL + 16 * j);

			halves[2 * j] = vpadalq_s16(halves[2 * j],
										vmull_s8(vget_low_s8(chunk),
												 vget_low_s8(word)));
			halves[2 * j + 1] = vpadalq_s16(halves[2 * j + 1],
											vmull_high_s8(chunk, word));
		}
	}
#pragma GCC unroll 4
	for (int j = 0; j < QUARTERS; j++)
		sums[j] = vpaddq_s32(halves[2 * j], halves[2 * j + 1]);
}

/* 128 times the sums of the codes of each vector, which turned bits have taken */
NEON_INLINE void
surpluses(const int8_t *codes, int row_bytes, int32x4_t * result)
{
	for (int j = 0; j < QUARTERS; j++)
	{
		int32x4_t	sum = vdupq_n_s32(0);

		for (int d = 0; d < row_bytes; d += 4)
			sum = vpadalq_s16(sum, vpaddlq_s8(vld1q_s8(codes + d * DISTANCE_PANEL +
													   16 * j)));
		result[j] = vshlq_n_s32(sum, 7);
	}
}

/* The second half of the work for one row; returns its bits. */
NEON_INLINE uint64_t
finish_row(const DistanceRows *rows, int i, const DistancePanel *panel,
		   const int32x4_t * sums, float *distances)
{
	const		uint32x4_t bits = {1, 2, 4, 8};
	uint32_t	number = rows->numbers[i];
	uint64_t	near = 0;

	for (int j = 0; j < QUARTERS; j++)
	{
		int			v = 4 * j;
		int32x4_t	dot = vsubq_s32(sums[j], vshlq_n_s32(vld1q_s32(panel->sums + v), 6));
		float32x4_t factor = vmulq_f32(vdupq_n_f32(rows->factors[number]),
									   vld1q_f32(panel->factors + v));
		float32x4_t distance =
		vsubq_f32(vaddq_f32(vdupq_n_f32(rows->addends[number]),
							vld1q_f32(panel->addends + v)),
				  vmulq_f32(factor, vcvtq_f32_s32(dot)));
		uint32x4_t	within =
		vorrq_u32(vcleq_f32(distance, vdupq_n_f32(rows->limits[number])),
				  vcleq_f32(distance, vld1q_f32(panel->limits + v)));

		vst1q_f32(distances + DISTANCE_PANEL * i + v, distance);
		near |= (uint64_t) vaddvq_u32(vandq_u32(within, bits)) << v;
	}
	return near << (DISTANCE_PANEL * i);
}

void
DistanceBlockDotsNeon(const uint8_t *rows, const int8_t *panel, int row_bytes,
					  int32_t *dots)
{
	int32x4_t	surplus[QUARTERS];

	surpluses(panel, row_bytes, surplus);
	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		int32x4_t	sums[QUARTERS];

		dots_of_row(rows + (uint64_t) i * row_bytes, SIGN, panel, row_bytes, sums);
		for (int j = 0; j < QUARTERS; j++)
			vst1q_s32(dots + DISTANCE_PANEL * i + 4 * j,
					  vaddq_s32(sums[j], surplus[j]));
	}
}

/* Codes of 7 bits are signed bytes as they are. */
uint64_t
DistanceBlockNearNeon(const DistanceRows *rows, const DistancePanel *panel,
					  int row_bytes, float *distances)
{
	uint64_t	near = 0;

	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		int32x4_t	sums[QUARTERS];

		dots_of_row(DistanceRowCodes(rows, i, row_bytes), 0, panel->codes,
					row_bytes, sums);
		near |= finish_row(rows, i, panel, sums, distances);
	}
	return near;
}

#ifdef DISTANCE_HAVE_DOTPROD

#define DOTPROD_INLINE \
	DISTANCE_DOTPROD static inline __attribute__((always_inline))

/* As dots_of_row(), of four rows */
DOTPROD_INLINE void
dots_of_4(const uint8_t *const *rows, uint8_t flip, const int8_t *codes,
		  int row_bytes, int32x4_t * sums)
{
#pragma GCC unroll 16
	for (int j = 0; j < DISTANCE_ROWS * QUARTERS; j++)
		sums[j] = vdupq_n_s32(0);
	for (int d = 0; d < row_bytes; d += 4)
	{
#pragma GCC unroll 4
		for (int i = 0; i < DISTANCE_ROWS; i++)
		{
			int8x16_t	word = four_times_4(rows[i] + d, flip);

#pragma GCC unroll 4
			for (int j = 0; j < QUARTERS; j++)
				sums[i * QUARTERS + j] =
					vdotq_s32(sums[i * QUARTERS + j],
							  vld1q_s8(codes + d * DISTANCE_PANEL + 16 * j), word);
		}
	}
}

DISTANCE_DOTPROD void
DistanceBlockDotsDotprod(const uint8_t *rows, const int8_t *panel,
						 int row_bytes, int32_t *dots)
{
	const uint8_t *row[DISTANCE_ROWS];
	int32x4_t	surplus[QUARTERS];
	int32x4_t	sums[DISTANCE_ROWS * QUARTERS];

	for (int i = 0; i < DISTANCE_ROWS; i++)
		row[i] = rows + (uint64_t) i * row_bytes;
	surpluses(panel, row_bytes, surplus);
	dots_of_4(row, SIGN, panel, row_bytes, sums);
	for (int i = 0; i < DISTANCE_ROWS * QUARTERS; i++)
		vst1q_s32(dots + 4 * i, vaddq_s32(sums[i], surplus[i % QUARTERS]));
}

DISTANCE_DOTPROD uint64_t
DistanceBlockNearDotprod(const DistanceRows *rows, const DistancePanel *panel,
						 int row_bytes, float *distances)
{
	const uint8_t *row[DISTANCE_ROWS];
	int32x4_t	sums[DISTANCE_ROWS * QUARTERS];
	uint64_t	near = 0;

	for (int i = 0; i < DISTANCE_ROWS; i++)
		row[i] = DistanceRowCodes(rows, i, row_bytes);
	dots_of_4(row, 0, panel->codes, row_bytes, sums);
	for (int i = 0; i < DISTANCE_ROWS; i++)
		near |= finish_row(rows, i, panel, sums + i * QUARTERS, distances);
	return near;
}

#endif							/* DISTANCE_HAVE_DOTPROD */

#endif
