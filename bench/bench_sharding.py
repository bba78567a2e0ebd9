"""Strategies of sharding: recall, work and balance.

Run by "make bench-sharding" (docs/operations/sharding.md has a table it made).
The same vectors in 1, 4, 8, 16 partitions, placed by hash and by centroid, on
two workers: databases of one server, because work is counted, not timed.  For
each:

    recall    of the 10 nearest, at the default ef of every partition's search
    elements  visited by the indexes of all partitions asked, for each query
    rows      that came from the workers, for each query
    proved    share of the answers that EXPLAIN calls certified
    radius    share that a radius for each partition (the largest distance of
              its rows from the centroid) would prove; L2 only
    largest   partition, in multiples of the mean
    insert    milliseconds of INSERT ... SELECT without index for a thousand rows,
              the least of three

Variables, with their defaults:

    VECTORS=../shared/data/...    base file of a data set; default: generated
    ROWS=20000  QUERIES=100  PARTITIONS='1 4 8 16'  PROBES='1 2 4 8 0'
"""

import os

import numpy

import bench_data
from bench_server import number, option, private_server, say

K = 10
OPERATORS = {"l2": ("<->", "vector_l2_ops"), "cosine": ("<=>", "vector_cosine_ops"),
             "ip": ("<#>", "vector_ip_ops")}

SETUP = """
CREATE TABLE queries (id integer, v vector);
CREATE TABLE nearest (query integer, id integer);
CREATE TABLE rows (id integer, v vector);
CREATE FUNCTION run(tab text, op text, probes integer,
    OUT recall float8, OUT proved float8, OUT sent float8) LANGUAGE plpgsql AS $$
DECLARE
    q record;
    sql text;
    found integer[];
    plan json;
    n integer := 0;
BEGIN
    PERFORM set_config('vecdist.probes', probes::text, true);
    recall := 0; proved := 0; sent := 0;
    FOR q IN SELECT * FROM queries LOOP
        sql := format('SELECT id FROM %I ORDER BY v %s %L LIMIT 10', tab, op, q.v);
        EXECUTE format('SELECT array_agg(id) FROM (%s) s', sql) INTO found;
        EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || sql INTO plan;
        recall := recall + (SELECT count(*) FROM nearest
            WHERE query = q.id AND id = ANY (found));
        proved := proved + (plan::text ~ '"Merge Certified": "yes')::integer;
        sent := sent + (SELECT sum((m)[1]::integer) FROM regexp_matches(plan::text,
            '"Rows": (\\d+)', 'g') m);
        n := n + 1;
    END LOOP;
    recall := recall / (n * 10); proved := proved / n; sent := sent / n;
END
$$;
"""

VISITED = """
SELECT coalesce(sum(result::bigint), 0) FROM vecdist.run_on_workers($$
    SELECT sum((vhnsw_stats(i.indexrelid)).expanded)
    FROM vecdist.partitions p JOIN pg_index i ON i.indrelid = p.partition
    WHERE p.relation = '%s'::regclass AND p.bytes IS NOT NULL $$)
"""


def generated(rows, num_queries):
    """Clusters of unequal size in 64 dimensions, with a decaying spectrum."""
    generator = numpy.random.default_rng(7)
    scale = 1 / numpy.sqrt(1 + numpy.arange(64))
    centers = generator.standard_normal((100, 64)) * scale * 2
    weights = generator.dirichlet(numpy.ones(100))

    def draw(n):
        return (centers[generator.choice(100, n, p=weights)]
                + generator.standard_normal((n, 64)) * scale).astype("f4")

    base, queries = draw(rows), draw(num_queries)
    return bench_data.DataSet("generated", base, queries,
                              bench_data.exact_neighbors(base, queries, K, "l2"), "l2")


def text(vector):
    return "[" + ",".join("%.9g" % x for x in vector) + "]"


def load(server, data):
    """The coordinator "c" with its workers, and the plain tables."""
    for database in ("c", "w1", "w2"):
        server.sql("postgres", "CREATE DATABASE " + database)
        server.sql(database, "CREATE EXTENSION vecdist")
    port = server.sql("c", "SHOW port")[0]
    for worker in ("w1", "w2"):
        server.sql("c", "SELECT vecdist.add_worker('%s', '%s:%s', '%s')"
                   % (worker, server.scratch, port, worker))
    server.sql("c", SETUP)
    out = os.path.join(server.scratch, "rows")
    bench_data.write_copy(out, data.base)
    os.chmod(out, 0o644)
    server.sql("c", "COPY rows FROM '%s' (FORMAT binary)" % out)
    bench_data.write_copy(out, data.queries)
    server.sql("c", "COPY queries FROM '%s' (FORMAT binary)" % out)
    with open(out, "w", encoding="ascii") as file:
        for query, rows in enumerate(data.neighbors[:, :K]):
            file.writelines("%d\t%d\n" % (query, row) for row in rows)
    server.sql("c", "COPY nearest FROM '%s'" % out)


def make_table(server, data, strategy, partitions):
    """Returns the milliseconds that inserting a thousand rows took, and the
    id of the centroid set."""
    key, number_of, centroids = "HASH (id)", ", %d" % partitions, None
    if strategy == "centroid":
        metric = "l2" if data.metric == "l2" else "cosine"
        centroids = server.sql("c", "SELECT vecdist.train_centroids('%d', 'SELECT v FROM rows', %d, '%s')"
                               % (partitions, partitions, metric))[0]
        key, number_of = "LIST (vecdist.nearest_centroid(v, %s))" % centroids, ""
    server.sql("c", "DROP TABLE IF EXISTS items",
               "CREATE TABLE items (id integer, v vector(%d)) PARTITION BY %s"
               % (data.base.shape[1], key),
               "SELECT vecdist.create_distributed_table('items'%s)" % number_of)
    times = []
    for _ in range(3):
        plan = server.sql("c", "TRUNCATE items",
                          "EXPLAIN (ANALYZE, TIMING OFF) INSERT INTO items SELECT * FROM rows")
        times += [float(line.split()[2]) for line in plan if line.startswith("Execution Time")]
    server.sql("c", "CREATE INDEX ON items USING vhnsw (v %s)" % OPERATORS[data.metric][1],
               "ANALYZE items")
    return min(times) / len(data.base) * 1000, centroids


def proved_by_radius(server, data, centroids, probes):
    """The share of queries for which a radius would prove the answer."""
    lines = server.sql("c", "SELECT unnest(centroids) FROM vecdist.centroid_set WHERE id = "
                       + centroids)
    c = numpy.array([[float(x) for x in line.strip("[]").split(",")] for line in lines], "f4")
    near = numpy.sqrt(square(data.base, c))
    cell = near.argmin(axis=1)
    radius = numpy.array([near[cell == i, i].max(initial=0) for i in range(len(c))])
    proved = 0
    for q in data.queries:
        to_c = numpy.sqrt(square(q[None], c))[0]
        asked = to_c.argsort()[:probes]
        d = numpy.sort(numpy.sqrt(square(q[None], data.base[numpy.isin(cell, asked)])))[0]
        others = numpy.delete(numpy.arange(len(c)), asked)
        proved += len(d) >= K and bool((to_c[others] - radius[others] > d[K - 1]).all())
    return proved / len(data.queries)


def square(a, b):
    return numpy.maximum((a.astype("f8") ** 2).sum(1)[:, None]
                         + (b.astype("f8") ** 2).sum(1) - 2 * a.astype("f8") @ b.T, 0)


def measure(server, data, strategy, partitions, probes_list):
    insert, centroids = make_table(server, data, strategy, partitions)
    sizes = [int(x) for x in server.sql("c", "SELECT count(*) FROM items GROUP BY tableoid")]
    balance = max(sizes) / (len(data.base) / partitions)
    for probes in probes_list:
        before = int(server.sql("c", VISITED % "items")[0])
        recall, proved, sent = server.sql(
            "c", "SELECT recall, proved, sent FROM run('items', '%s', %d)"
            % (OPERATORS[data.metric][0], probes))[0].split("|")
        visited = int(server.sql("c", VISITED % "items")[0]) - before
        radius = ""
        if centroids and probes and data.metric == "l2":
            radius = "%.0f %%" % (100 * proved_by_radius(server, data, centroids, probes))
        print("| %s | %d | %s | %.3f | %.0f | %.0f | %.0f %% | %s | %.2f | %.4f |"
              % (strategy, partitions, probes or "all", float(recall),
                 visited / (2 * len(data.queries)), float(sent), 100 * float(proved),
                 radius, balance, insert), flush=True)


def main():
    rows, num_queries = number("ROWS", 20000), number("QUERIES", 100)
    path = option("VECTORS")
    data = (bench_data.load(path, rows, num_queries, K) if path
            else generated(rows, num_queries))
    with private_server("shared_preload_libraries = 'vecdist'",
                        "max_prepared_transactions = 20") as server:
        load(server, data)
        print("%s\n" % data)
        print("| strategy | partitions | probes | recall | elements | rows | proved | radius | largest | insert, ms |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for partitions in [int(x) for x in option("PARTITIONS", "1 4 8 16").split()]:
            say("%d partitions" % partitions)
            measure(server, data, "hash", partitions, [0])
            if partitions > 1:
                measure(server, data, "centroid", partitions,
                        [p for p in map(int, option("PROBES", "1 2 4 8 0").split())
                         if p < partitions])


if __name__ == "__main__":
    main()
