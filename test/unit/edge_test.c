/*-------------------------------------------------------------------------
 *
 * edge_test.c
 *	  Unit test of the kernels for sketches; needs no PostgreSQL.
 *
 * Proves that every implementation this CPU can run gives the scalar sums, for
 * 1 and 2 bits, 0 to 64 chunks and 1 to 5 groups, at odd addresses, with random
 * and with extreme values, and that the scalar one sums what the layout says:
 * codes are put in one by one through DistanceEdgeByte().
 *
 *-------------------------------------------------------------------------
 */
#include "distance/distance_edge.h"
#include "distance/distance_impl.h"

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
			}
		}
	}
	printf("%d implementations, %d failures\n", tested, failures);
	return tested > 0 && failures == 0 ? 0 : 1;
}
