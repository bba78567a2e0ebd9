/*-------------------------------------------------------------------------
 *
 * edge_test.c
 *	  Unit test of the kernels for sketches; needs no PostgreSQL.
 *
 * Proves that every implementation this CPU can run gives the scalar sums, for
 * 1 and 2 bits, 0 to 64 chunks and 1 to 5 groups, at odd addresses, with random
 * and with extreme values, and that the scalar one sums what the layout says:
 * codes are put in one by one through DistanceEdgeByte().  Likewise that they
 * make the scalar codes of differences, and that these are what they should be.
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_edge.h"
#include "distance/distance_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHUNKS 64
#define MAX_GROUPS 5
#define MAX_NEIGHBORS (MAX_GROUPS * DISTANCE_EDGE_GROUP)
#define MAX_DIMS (MAX_CHUNKS * 32)

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

/* One size, with all kinds of values. */
static void
test_size(const DistanceKernels *kernels, int bits, int num_chunks,
		  int num_groups)
{
	static int8_t query_buffer[MAX_DIMS + 1];
	static uint8_t codes_buffer[MAX_GROUPS * MAX_CHUNKS * DISTANCE_EDGE_CHUNK + 1];
	static uint8_t values[MAX_NEIGHBORS][MAX_DIMS];
	int8_t	   *query = query_buffer + 1;
	uint8_t    *codes = codes_buffer + 1;
	int			dims = num_chunks * DistanceEdgeChunkDims(bits);

	for (int kind = 0; kind < 3; kind++)
	{
		int32_t		dots[MAX_NEIGHBORS];

		memset(codes, 0, sizeof(codes_buffer) - 1);
		for (int d = 0; d < dims; d++)
			query[d] = kind == 0 ? (int8_t) (next_random() % 255 - 127) :
				kind == 1 ? -127 : 127;
		for (int i = 0; i < num_groups * DISTANCE_EDGE_GROUP; i++)
		{
			for (int d = 0; d < dims; d++)
			{
				uint32_t	largest = (1u << bits) - 1;

				values[i][d] = kind == 0 ? next_random() & largest : largest;
				codes[DistanceEdgeByte(bits, num_chunks, i, d)] |=
					values[i][d] << DistanceEdgeShift(bits, d);
			}
		}

		kernels->edge_dots(query, codes, bits, num_chunks, num_groups, dots);
		for (int i = 0; i < num_groups * DISTANCE_EDGE_GROUP; i++)
		{
			int32_t		sum = 0;

			for (int d = 0; d < dims; d++)
				sum += query[d] * values[i][d];
			if (dots[i] != sum && failures++ < 20)
				printf("%s, %d bits, %d chunks, %d groups, values %d, neighbor %d: %d, not %d\n",
					   kernels->name, bits, num_chunks, num_groups, kind, i,
					   dots[i], sum);
		}
	}
}

/* Differences of random vectors, and of equal ones, become codes. */
static void
test_code(const DistanceKernels *kernels, int bits, int num_chunks, int kind)
{
	static float from_buffer[MAX_DIMS + 1];
	static float to_buffer[MAX_DIMS + 1];
	uint8_t		pieces[2][MAX_CHUNKS * DISTANCE_EDGE_PIECE + 1];
	float	   *from = from_buffer + 1;
	float	   *to = to_buffer + 1;
	DistanceEdgeSums sums[2];
	int			dims = num_chunks * DistanceEdgeChunkDims(bits);
	double		squares = 0;
	double		product = 0;
	double		from_product = 0;
	double		size = 0;

	for (int d = 0; d < dims; d++)
	{
		from[d] = ldexpf((float) (int32_t) next_random(), kind - 31);
		to[d] = next_random() % 8 == 0 || kind == 2 ? from[d] :
			ldexpf((float) (int32_t) next_random(), -30);
		squares += (double) (to[d] - from[d]) * (to[d] - from[d]);
	}
	memset(pieces, 0xA5, sizeof(pieces));
	sums[0] = kernels->edge_code(from, to, 0.98f, bits, num_chunks, pieces[0]);
	sums[1] = distance_scalar_kernels.edge_code(from, to, 0.98f, bits,
												num_chunks, pieces[1]);
	if ((memcmp(&sums[0], &sums[1], sizeof(sums[0])) != 0 ||
		 memcmp(pieces[0], pieces[1], sizeof(pieces[0])) != 0) &&
		failures++ < 20)
		printf("%s, %d bits, %d chunks: not the code of scalar\n",
			   kernels->name, bits, num_chunks);

	for (int d = 0; d < dims; d++)
	{
		float		w = to[d] - from[d];
		double		limit = 0.98 * sqrt(squares / dims);
		int			byte = d / DistanceEdgeChunkDims(bits) * DISTANCE_EDGE_PIECE + d % 4;
		int			field = pieces[0][byte] >> DistanceEdgeShift(bits, d) & ((1 << bits) - 1);
		int			u = 2 * field + 1 - (1 << bits);
		int			wanted = bits == 2 && fabs(w) > limit ? 3 : 1;

		wanted = w < 0 ? -wanted : wanted;
		if (u != wanted && fabs(fabs(w) - limit) > 1e-5 * limit &&
			failures++ < 20)
			printf("%s, %d bits, %d chunks, dimension %d: %d, not %d\n",
				   kernels->name, bits, num_chunks, d, u, wanted);
		product += (double) u * w;
		from_product += (double) u * from[d];
		size += fabs((double) u * w) + fabs((double) u * from[d]);
	}
	if ((fabs(sums[0].code_difference - product) > 1e-5 * size ||
		 fabs(sums[0].code_from - from_product) > 1e-5 * size ||
		 pieces[0][num_chunks * DISTANCE_EDGE_PIECE] != 0xA5) &&
		failures++ < 20)
		printf("%s, %d bits, %d chunks: sums %g and %g, not %g and %g\n",
			   kernels->name, bits, num_chunks, sums[0].code_difference,
			   sums[0].code_from, product, from_product);
}

int
main(void)
{
	const char *names[] = {"scalar", "avx2", "avx512", "neon"};
	int			tested = 0;

	DistanceInit();
	for (int i = 0; i < 4; i++)
	{
		const DistanceKernels *kernels = DistanceFind(names[i]);

		if (kernels == NULL)
			continue;
		tested++;
		for (int bits = 1; bits <= 2; bits++)
		{
			for (int num_chunks = 0; num_chunks <= MAX_CHUNKS; num_chunks++)
			{
				for (int num_groups = 1; num_groups <= MAX_GROUPS; num_groups++)
					test_size(kernels, bits, num_chunks, num_groups);
				for (int kind = 0; kind < 3; kind++)
					test_code(kernels, bits, num_chunks, kind);
			}
		}
	}
	printf("%d implementations, %d failures\n", tested, failures);
	return tested > 0 && failures == 0 ? 0 : 1;
}
