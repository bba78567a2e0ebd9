/*-------------------------------------------------------------------------
 *
 * bench_pg_client.c
 *	  Answers blocks of queries through one connection, with little overhead.
 *
 *	bench_pg_client CONNINFO QUERIES.fbin OPERATOR K EF_SETTING
 *
 * The query is prepared once and gets its vector in binary form.  Commands
 * come as lines on standard input, and each is answered by one line (the
 * protocol of bench_hnswlib_client.cpp too):
 *
 *	ef N			search effort			ok
 *	server			who does the work		process id, 0 for the client itself
 *	run FIRST N		answer N queries		N times: microseconds:id,id,... and a space
 *
 * The table is items (id integer, v vector).
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

typedef struct Queries
{
	uint32_t	count;
	uint32_t	dim;
	char	   *values;			/* in the type's binary form, side by side */
	size_t		value_size;
} Queries;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "bench_pg_client: %s: %s\n", what, why);
	exit(1);
}

static double
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* Read the file and bring all queries into the binary form of type vector. */
static Queries
read_queries(const char *path)
{
	Queries		queries;
	uint32_t	header[2];
	float	   *row;
	FILE	   *file = fopen(path, "rb");

	if (file == NULL || fread(header, sizeof(header), 1, file) != 1)
		die(path, "cannot read");
	queries.count = header[0];
	queries.dim = header[1];
	queries.value_size = 4 + 4 * (size_t) queries.dim;
	queries.values = malloc(queries.count * queries.value_size);
	row = malloc(4 * (size_t) queries.dim);
	if (queries.values == NULL || row == NULL)
		die(path, "out of memory");

	for (uint32_t i = 0; i < queries.count; i++)
	{
		char	   *value = queries.values + i * queries.value_size;
		uint16_t	dim = htons((uint16_t) queries.dim);

		if (fread(row, 4, queries.dim, file) != queries.dim)
			die(path, "ends too early");
		memcpy(value, &dim, 2);
		memset(value + 2, 0, 2);
		for (uint32_t j = 0; j < queries.dim; j++)
		{
			uint32_t	word;

			memcpy(&word, &row[j], 4);
			word = htonl(word);
			memcpy(value + 4 + 4 * j, &word, 4);
		}
	}
	free(row);
	fclose(file);
	return queries;
}

/* Result of a statement that must succeed; the caller clears it. */
static PGresult *
expect(PGconn *conn, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		die("query failed", PQerrorMessage(conn));
	return result;
}

static void
prepare(PGconn *conn, const char *operator, const char *k)
{
	char		sql[200];
	PGresult   *result;
	Oid			type;

	result = expect(conn, PQexec(conn, "SELECT 'vector'::regtype::oid"));
	type = (Oid) strtoul(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);

	snprintf(sql, sizeof(sql), "SELECT id FROM items ORDER BY v %s $1 LIMIT %s",
			 operator, k);
	PQclear(expect(conn, PQprepare(conn, "search", sql, 1, &type)));
}

static void
run(PGconn *conn, const Queries *queries, uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++)
	{
		const char *value = queries->values + (i % queries->count) * queries->value_size;
		int			length = (int) queries->value_size;
		int			format = 1;
		double		start = now_us();
		PGresult   *result = PQexecPrepared(conn, "search", 1, &value, &length,
											&format, 1);
		double		elapsed = now_us() - start;

		expect(conn, result);
		printf("%.1f:", elapsed);
		for (int row = 0; row < PQntuples(result); row++)
		{
			uint32_t	id;

			memcpy(&id, PQgetvalue(result, row, 0), 4);
			printf("%s%u", row > 0 ? "," : "", ntohl(id));
		}
		putchar(' ');
		PQclear(result);
	}
	putchar('\n');
}

int
main(int argc, char **argv)
{
	PGconn	   *conn;
	Queries		queries;
	char		line[200];

	if (argc != 6)
		die("usage", "CONNINFO QUERIES.fbin OPERATOR K EF_SETTING");
	queries = read_queries(argv[2]);
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		die("cannot connect", PQerrorMessage(conn));
	PQclear(expect(conn, PQexec(conn, "SET plan_cache_mode = force_generic_plan")));
	prepare(conn, argv[3], argv[4]);

	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		char		sql[200];
		int			ef;
		uint32_t	first;
		uint32_t	count;

		if (sscanf(line, "ef %d", &ef) == 1)
		{
			snprintf(sql, sizeof(sql), "SET %s = %d", argv[5], ef);
			PQclear(expect(conn, PQexec(conn, sql)));
			puts("ok");
		}
		else if (strcmp(line, "server\n") == 0)
			printf("%d\n", PQbackendPID(conn));
		else if (sscanf(line, "run %u %u", &first, &count) == 2)
			run(conn, &queries, first, count);
		else
			die("not a command", line);
		fflush(stdout);
	}
	PQfinish(conn);
	return 0;
}
