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
 * The table is items (id integer, v vector).  Other statements than the search
 * for its nearest rows:
 *
 *	sql STATEMENT	run it					its values
 *	prepare N QUERY	what to run from now on, with the integer $2 = N
 *					ok
 *	cancel N US		answer query N, cancel after so many microseconds
 *					microseconds that ending took, and of them the server's
 *					CPU time; or - if it was done before
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
	uint32_t	number;			/* $2, in network byte order */
} Queries;

/* What the prepared query is run with */
typedef struct Parameters
{
	const char *values[2];
	int			lengths[2];
	int			formats[2];
} Parameters;

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

static Parameters
parameters_of(const Queries *queries, uint32_t i)
{
	Parameters	p = {
		{queries->values + (i % queries->count) * queries->value_size,
		(const char *) &queries->number},
		{(int) queries->value_size, sizeof(queries->number)},
		{1, 1},
	};

	return p;
}

/* Make "search" this query, whose $1 is a vector. */
static void
prepare(PGconn *conn, const char *sql)
{
	PGresult   *result;
	Oid			types[2];

	result = expect(conn, PQexec(conn, "SELECT 'vector'::regtype::oid"));
	types[0] = (Oid) strtoul(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);

	PQclear(PQexec(conn, "DEALLOCATE search"));
	types[1] = 23;				/* int4 */
	PQclear(expect(conn, PQprepare(conn, "search", sql, 2, types)));
}

static void
prepare_search(PGconn *conn, const char *operator, const char *k)
{
	char		sql[200];

	snprintf(sql, sizeof(sql), "SELECT id FROM items ORDER BY v %s $1 LIMIT %s",
			 operator, k);
	prepare(conn, sql);
}

/* Run any statement, and print its values in one line. */
static void
run_sql(PGconn *conn, const char *sql)
{
	PGresult   *result = expect(conn, PQexec(conn, sql));

	for (int row = 0; row < PQntuples(result); row++)
	{
		for (const char *c = PQgetvalue(result, row, 0); *c != '\0'; c++)
			putchar(*c == '\n' ? ' ' : *c);
		putchar(' ');
	}
	putchar('\n');
	PQclear(result);
}

/* CPU time of another process */
static double
cpu_of_us(int pid)
{
	struct timespec t;
	clockid_t	clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
		die("cannot read CPU time", "of the server's process");
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* Cancel a query after a while, and print how long its end took. */
static void
cancel(PGconn *conn, const Queries *queries, uint32_t number, uint32_t after_us)
{
	Parameters	p = parameters_of(queries, number);
	struct timespec pause = {after_us / 1000000, after_us % 1000000 * 1000};
	PGcancel   *request = PQgetCancel(conn);
	PGresult   *result;
	char		error[256];
	double		start;
	double		cpu;
	int			canceled = 0;

	if (!PQsendQueryPrepared(conn, "search", 2, p.values, p.lengths, p.formats, 1))
		die("cannot send", PQerrorMessage(conn));
	nanosleep(&pause, NULL);
	start = now_us();
	cpu = cpu_of_us(PQbackendPID(conn));
	if (!PQcancel(request, error, sizeof(error)))
		die("cannot cancel", error);
	while ((result = PQgetResult(conn)) != NULL)
	{
		const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

		if (sqlstate != NULL && strcmp(sqlstate, "57014") == 0)
			canceled = 1;
		else
			expect(conn, result);
		PQclear(result);
	}
	if (canceled)
		printf("%.1f %.1f\n", now_us() - start, cpu_of_us(PQbackendPID(conn)) - cpu);
	else
		puts("-");
	PQfreeCancel(request);
}

static void
run(PGconn *conn, const Queries *queries, uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++)
	{
		Parameters	p = parameters_of(queries, i);
		double		start = now_us();
		PGresult   *result = PQexecPrepared(conn, "search", 2, p.values, p.lengths,
											p.formats, 1);
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
	char	   *line = NULL;
	size_t		line_size = 0;

	if (argc != 6)
		die("usage", "CONNINFO QUERIES.fbin OPERATOR K EF_SETTING");
	queries = read_queries(argv[2]);
	queries.number = 0;
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		die("cannot connect", PQerrorMessage(conn));
	PQclear(expect(conn, PQexec(conn, "SET plan_cache_mode = force_generic_plan")));
	prepare_search(conn, argv[3], argv[4]);

	while (getline(&line, &line_size, stdin) > 0)
	{
		char		sql[200];
		int			ef;
		uint32_t	first;
		uint32_t	count;
		int			start;

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
		else if (sscanf(line, "cancel %u %u", &first, &count) == 2)
			cancel(conn, &queries, first, count);
		else if (strncmp(line, "sql ", 4) == 0)
			run_sql(conn, line + 4);
		else if (sscanf(line, "prepare %u %n", &first, &start) == 1)
		{
			queries.number = htonl(first);
			prepare(conn, line + start);
			puts("ok");
		}
		else
			die("not a command", line);
		fflush(stdout);
	}
	free(line);
	PQfinish(conn);
	return 0;
}
