"""How long a search goes on after it was canceled.

Run by "make bench-cancel" (README.md here has a table it made).  Each kind of
search that can be long is run many times and canceled at a random moment; the
time from sending the cancel (a connection of its own) to the error is taken,
and the CPU time that the server's process has used meanwhile, which says on a
busy machine how much it still did.  What had ended before is not counted.  Rows
of the second table are stored out of line.  The first lines are core's: what a
cancel takes at least, and with its own sort.

Variables, with their defaults (and those of bench_server.py):

    ROWS=100000  DIMS=128          generated vectors
    LONG_ROWS=20000  LONG_DIMS=768 those of the second table
    CANCELS=100                    of each kind
    SEED=1                         of the moments
"""

import os
import random
import statistics

import bench_data
import bench_generate
import bench_single
from bench_server import number, private_server, say

FORCED = "SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off"
NONE_PASS = "SELECT id FROM {t} WHERE id % 1000000 = -$2 ORDER BY v <-> $1 LIMIT 10"
ALL_MATCH = "SELECT id FROM {t} WHERE half = $2 ORDER BY v <-> $1 LIMIT 10"
KINDS = (
    ("core: pg_sleep(0.2)", "", "SELECT pg_sleep(0.2)"),
    ("core: all rows, sorted", "SET enable_indexscan = off",
     "SELECT id FROM {t} ORDER BY v <-> $1"),
    ("search, LIMIT 10000", FORCED,
     "SELECT id FROM {t} ORDER BY v <-> $1 LIMIT 10000"),
    ("search that no row passes", "SET vhnsw.filter_strategy = search; " + FORCED,
     NONE_PASS),
    ("search changed to reading the table", FORCED, NONE_PASS),
    ("index scan that no row passes", "SET vhnsw.enable_scan = off; " + FORCED,
     NONE_PASS),
    ("no LIMIT: sweep", FORCED, "SELECT id FROM {t} ORDER BY v <-> $1"),
    ("no LIMIT, index scan: sweep", "SET vhnsw.enable_scan = off; " + FORCED,
     "SELECT id FROM {t} ORDER BY v <-> $1"),
    ("matches, half of the rows", "SET vhnsw.filter_strategy = matches; " + FORCED, ALL_MATCH),
    ("bitmap, LIMIT 10000", "SET vhnsw.filter_strategy = bitmap; " + FORCED,
     ALL_MATCH.replace("LIMIT 10", "LIMIT 10000")),
    ("exact", "SET vhnsw.filter_strategy = exact; " + FORCED, ALL_MATCH),
)


def load(server, table, base):
    bench_data.load_table(server, "cancel", "loaded", base)
    server.sql(
        "cancel", "CREATE TABLE %s AS SELECT id, id %% 2 AS half, v FROM loaded" % table,
        "DROP TABLE loaded", "CREATE INDEX ON %s (half)" % table,
        "CREATE INDEX ON %s USING vhnsw (v vector_l2_ops)" % table,
        "VACUUM (ANALYZE, FREEZE) %s" % table, "CHECKPOINT")


def measure(server, queries, settings, query, moments):
    """Milliseconds of a query that is not canceled, and of the ends of the others:
    time and CPU time."""
    client = bench_single.System("client")
    client.start_client([bench_single.client_program("bench_pg_client"),
                         server.conninfo("cancel"), queries, "<->", "10", "vhnsw.ef_search"])
    client.ask("sql " + (settings or "SELECT 1"))
    client.ask("prepare 1 " + query)
    whole = statistics.median(float(client.ask("run 0 1").partition(":")[0]) for _ in range(5))
    times = []
    cpu = []
    for number_of in range(number("CANCELS", 100)):
        answer = client.ask("cancel %d %d" % (number_of, moments.random() * whole)).strip()
        if answer != "-":
            elapsed, used = answer.split()
            times.append(float(elapsed) / 1000)
            cpu.append(float(used) / 1000)
    client.close()
    return whole / 1000, sorted(times), sorted(cpu)


def main():
    moments = random.Random(number("SEED", 1))
    with private_server() as server:
        server.sql("postgres", "CREATE DATABASE cancel")
        server.sql("cancel", "CREATE EXTENSION vecdist")
        tables = []
        for table, rows, dims in (
                ("items", number("ROWS", 100000), number("DIMS", 128)),
                ("long", number("LONG_ROWS", 20000), number("LONG_DIMS", 768))):
            say("table of %d x %d" % (rows, dims))
            load(server, table, bench_generate.make(rows, dims, "decaying", 1))
            queries = os.path.join(server.scratch, table + ".fbin")
            bench_data.write_fbin(queries, bench_generate.make(rows, dims, "decaying", 2)[:100])
            tables.append((table, "%d x %d" % (rows, dims), queries))

        print("| rows | search | without a cancel, ms | canceled | median, ms | p99, ms"
              " | longest, ms | CPU: median, ms | longest, ms |")
        print("|---|---|" + "---:|" * 7)
        for table, size, queries in tables:
            for name, settings, query in KINDS:
                whole, times, cpu = measure(server, queries, settings, query.format(t=table),
                                            moments)
                if times:
                    print("| %s | %s | %.1f | %d | %.2f | %.2f | %.2f | %.2f | %.2f |"
                          % (size, name, whole, len(times), statistics.median(times),
                             times[int(0.99 * (len(times) - 1))], times[-1],
                             statistics.median(cpu), cpu[-1]), flush=True)


if __name__ == "__main__":
    main()
