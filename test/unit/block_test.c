/*-------------------------------------------------------------------------
 *
 * block_test.c
 *	  unit test of the kernels for blocks; needs no PostgreSQL.
 *
 * Proves that every implementation this CPU can run gives the scalar bits, for
 * any rows of 0 to 1,024 bytes, at odd addresses, with random and with extreme
 * codes, and that the scalar distances are those of the codes.  Likewise that it
 * makes these rows of 8-bit codes, panels of rows, and the sums of rows of any bytes.  And that
 * rows of floats are as exact for the smallest numbers as for the largest.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_block.h"
#include "distance/distance_impl.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_DIMS 1024
#define PAIRS (DISTANCE_ROWS * DISTANCE_PANEL)

static int	failures = 0;
static uint32_t state = 2463534242u;

static uint32_t
next_random(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static int
random_code(int kind)
{
	if (kind == 0)
		return (int) (next_random() % 127) - DISTANCE_CODE_LIMIT;
	return kind == 1 || next_random() % 2 == 0 ?
		DISTANCE_CODE_LIMIT : -DISTANCE_CODE_LIMIT;
}

/* One length, with codes that are random (0), the largest (1), extreme (2). */
static void
test_size(const DistanceKernels *kernels, int row_bytes, int kind)
{
	static const uint32_t numbers[DISTANCE_ROWS] = {5, 2, 0, 3};
	static uint8_t row_buffer[6 * MAX_DIMS + 1];
	static int8_t panel_buffer[DISTANCE_PANEL * MAX_DIMS + 1];
	static int	a[DISTANCE_ROWS][MAX_DIMS];
	static int	b[DISTANCE_PANEL][MAX_DIMS];
	float		floats[3][DISTANCE_PANEL];
	int32_t		sums[DISTANCE_PANEL] = {0};
	float		distances[2][PAIRS];
	DistanceRows rows = {row_buffer + 1, floats[0], floats[1], floats[2],
	{numbers[0], numbers[1], numbers[2], numbers[3]}};
	DistancePanel panel = {panel_buffer + 1, floats[0], floats[1], floats[2], sums};
	int32_t		dots[PAIRS];
	uint64_t	near[2];

	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		for (int d = 0; d < row_bytes; d++)
		{
			a[i][d] = random_code(kind);
			row_buffer[1 + numbers[i] * row_bytes + d] =
				(uint8_t) (a[i][d] + DISTANCE_ROW_OFFSET);
		}
	}
	for (int j = 0; j < DISTANCE_PANEL; j++)
	{
		for (int d = 0; d < row_bytes; d++)
		{
			b[j][d] = random_code(kind);
			panel_buffer[1 + DistancePanelByte(j, d)] = (int8_t) b[j][d];
			sums[j] += b[j][d];
		}
		floats[0][j] = (float) (next_random() % 100000);
		floats[1][j] = 1.0f / (float) (next_random() % 1000 + 1);
		floats[2][j] = (float) (next_random() % 150000);
	}
	floats[0][DISTANCE_PANEL - 1] = INFINITY;
	floats[2][DISTANCE_PANEL - 2] = -INFINITY;

	near[0] = kernels->block_near(&rows, &panel, row_bytes, distances[0]);
	near[1] = distance_scalar_kernels.block_near(&rows, &panel, row_bytes,
												 distances[1]);
	if ((near[0] != near[1] ||
		 memcmp(distances[0], distances[1], sizeof(distances[0])) != 0) &&
		failures++ < 20)
		printf("%s, %d bytes, codes %d: not the bits of scalar\n",
			   kernels->name, row_bytes, kind);

	/* The same panel with rows of any bytes */
	for (int i = 0; i < DISTANCE_ROWS * row_bytes; i++)
		row_buffer[1 + i] = kind == 0 ? (uint8_t) next_random() :
			kind == 1 ? 255 : row_buffer[1 + i] / 64 * 255;
	kernels->block_dots(row_buffer + 1, panel.codes, row_bytes, dots);
	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		for (int j = 0; j < DISTANCE_PANEL; j++)
		{
			int			dot = 0;

			for (int d = 0; d < row_bytes; d++)
				dot += row_buffer[1 + i * row_bytes + d] * b[j][d];
			if (dots[i * DISTANCE_PANEL + j] != dot && failures++ < 20)
				printf("%s, %d bytes, codes %d: sum %d, not %d\n", kernels->name,
					   row_bytes, kind, dots[i * DISTANCE_PANEL + j], dot);
		}
	}

	for (int i = 0; i < DISTANCE_ROWS; i++)
	{
		for (int j = 0; j < DISTANCE_PANEL; j++)
		{
			int			pair = i * DISTANCE_PANEL + j;
			int			dot = 0;
			float		distance;
			int			is_near;

			for (int d = 0; d < row_bytes; d++)
				dot += a[i][d] * b[j][d];
			distance = floats[0][numbers[i]] + floats[0][j] -
				floats[1][numbers[i]] * floats[1][j] * (float) dot;
			is_near = distance <= floats[2][numbers[i]] || distance <= floats[2][j];
			if ((distance != distances[0][pair] ||
				 (int) (near[0] >> pair & 1) != is_near) && failures++ < 20)
				printf("%s, %d bytes, codes %d, pair %d: %g, not %g\n",
					   kernels->name, row_bytes, kind, pair,
					   distances[0][pair], distance);
		}
	}
}

/* A panel of rows at an odd address, and nothing beyond it */
static void
test_panel(const DistanceKernels *kernels, int row_bytes)
{
	static uint8_t rows[DISTANCE_PANEL * MAX_DIMS + 1];
	static int8_t panel[DISTANCE_PANEL * MAX_DIMS + 2];

	for (int i = 1; i <= DISTANCE_PANEL * row_bytes; i++)
		rows[i] = (uint8_t) (random_code(0) + DISTANCE_ROW_OFFSET);
	memset(panel, 0x5A, sizeof(panel));
	kernels->block_panel(rows + 1, row_bytes, panel + 1);
	for (int j = 0; j < DISTANCE_PANEL; j++)
	{
		for (int d = 0; d < row_bytes; d++)
		{
			int			code = rows[1 + j * row_bytes + d] - DISTANCE_ROW_OFFSET;
			int			other = panel[1 + DistancePanelByte(j, d)];

			if (code != other && failures++ < 20)
				printf("%s, panel of %d bytes, vector %d: %d became %d\n",
					   kernels->name, row_bytes, j, code, other);
		}
	}
	if ((panel[0] != 0x5A || panel[1 + DISTANCE_PANEL * row_bytes] != 0x5A) &&
		failures++ < 20)
		printf("%s, panel of %d bytes: more was written\n", kernels->name,
			   row_bytes);
}

/* Rows of all 8-bit codes, of one length, and nothing beyond it */
static void
test_row(const DistanceKernels *kernels, int dim, int kind)
{
	static int8_t codes[MAX_DIMS + 1];
	uint8_t		row[MAX_DIMS + 2];
	DistanceRowSums wanted = {0, 0, 0};
	DistanceRowSums sums;

	memset(row, 0xA5, sizeof(row));
	for (int d = 1; d <= dim; d++)
		codes[d] = kind == 0 ? (int8_t) (next_random() % 255 - 127) :
			kind == 1 ? 127 : -127;
	sums = kernels->block_row(codes + 1, dim, row + 1);
	for (int d = 1; d <= dim; d++)
	{
		int			code = (int) floor(codes[d] * 127.0 / 256 + 0.5);

		wanted.sum += code;
		wanted.square += code * code;
		wanted.product += code * codes[d];
		if ((row[d] != code + DISTANCE_ROW_OFFSET ||
			 code < -DISTANCE_CODE_LIMIT || code > DISTANCE_CODE_LIMIT) &&
			failures++ < 20)
			printf("%s, %d dimensions, code %d became %d, not %d\n",
				   kernels->name, dim, codes[d],
				   row[d] - DISTANCE_ROW_OFFSET, code);
	}
	if ((sums.sum != wanted.sum || sums.square != wanted.square ||
		 sums.product != wanted.product || row[dim + 1] != 0xA5) &&
		failures++ < 20)
		printf("%s, %d dimensions, codes %d: sums of a row\n",
			   kernels->name, dim, kind);
}

/*
 * Rows of floats whose largest is this: each code is off by half a unit at the
 * most, and rounded floats are what codes and scale stand for, and stay so.
 */
static void
test_floats(int dim, float largest)
{
	static float x[MAX_DIMS];
	static float rounded[MAX_DIMS];
	uint8_t		row[MAX_DIMS + 1];
	uint8_t		again[MAX_DIMS];
	int32_t		sum;
	int32_t		wanted = 0;
	float		scale;

	for (int d = 0; d < dim; d++)
		x[d] = (float) ((double) largest * ((int) (next_random() % 2001) - 1000) / 1000);
	x[next_random() % dim] = -largest;
	memcpy(rounded, x, sizeof(x));
	row[dim] = 0xA5;

	scale = DistanceBlockFloats(x, dim, row, &sum);
	DistanceBlockRound(rounded, dim);
	DistanceBlockFloats(rounded, dim, again, &wanted);
	if (largest > 63 * FLT_MIN && memcmp(row, again, dim) != 0 && failures++ < 20)
		printf("%d floats up to %g: rounded ones have other codes\n", dim, largest);

	wanted = 0;
	for (int d = 0; d < dim; d++)
	{
		int			code = row[d] - DISTANCE_ROW_OFFSET;
		double		exact = largest > 0 ?
		(double) x[d] / largest * DISTANCE_CODE_LIMIT : 0;

		wanted += code;
		if ((fabs(code - exact) > 0.50001 ||
			 rounded[d] != scale * (float) code) && failures++ < 20)
			printf("%d floats up to %g: %g has code %d, not %g, and became %g\n",
				   dim, largest, x[d], code, exact, rounded[d]);
	}
	if ((sum != wanted || row[dim] != 0xA5) && failures++ < 20)
		printf("%d floats up to %g: sum %d, not %d\n", dim, largest, sum, wanted);
}

int
main(void)
{
	const char *names[] = {"scalar", "avx2", "avx512", "neon"};
	const float largest[] = {FLT_MAX / 2, 1, 1e-36f, 2e-37f, 1.8e-37f, 1e-38f, 1e-39f,
	1e-40f, 1e-43f, 1e-45f, 0};
	int			tested = 0;

	DistanceInit();
	for (int i = 0; i < 4; i++)
	{
		const DistanceKernels *kernels = DistanceFind(names[i]);

		if (kernels == NULL)
			continue;
		tested++;
		for (int kind = 0; kind < 3; kind++)
		{
			for (int bytes = 0; bytes <= MAX_DIMS; bytes += bytes < 200 ? 8 : 200)
				test_size(kernels, bytes, kind);
			test_size(kernels, MAX_DIMS, kind);
			for (int bytes = 0; bytes <= MAX_DIMS; bytes += 8)
				test_panel(kernels, bytes);
			for (int dim = 0; dim <= MAX_DIMS; dim += dim < 70 ? 1 : 53)
				test_row(kernels, dim, kind);
		}
	}
	for (int i = 0; i < (int) (sizeof(largest) / sizeof(largest[0])); i++)
	{
		for (int dim = 1; dim <= MAX_DIMS; dim += dim < 40 ? 1 : 164)
			test_floats(dim, largest[i]);
	}
	printf("%d implementations, %d failures\n", tested, failures);
	return tested > 0 && failures == 0 ? 0 : 1;
}
