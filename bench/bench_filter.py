"""Searches with a filter: which way they go, what that costs, what they find.

Run by "make bench-filter" (README.md here has a table it made).  The query is

    SELECT id FROM items WHERE category = $2 ORDER BY v <-> $1 LIMIT 10

with categories of 50, 10, 1, 0.1 and 0.01 % of the rows, which are drawn at
random, or are those nearest to the query vector, or those farthest from it;
with a btree on the column and without.  Other rows are in other categories of
the same size.  Each is answered in four ways, in turn:

    ours        as planned
    exact       as planned without the vector index
    search      by a search that takes the neighbors one by one, to the end
    unfiltered  a search without the condition, for comparison

"Ratio" is that of ours to the better of exact and search, by CPU time of the
server's process: all pages are in memory, so on an idle machine that is the
time.  A figure is the mean over the queries of medians over the rounds.

Variables, with their defaults (and those of bench_server.py):

    ROWS=100000  DIMS=128  SPECTRUM=clustered    generated vectors; see
                                                 bench_generate.py
    VECTORS=              instead, a file of base vectors (bench_data.py)
    QUERIES=3  ROUNDS=5
    PLAN=auto             plan_cache_mode; each query is run 6 times before
    OPTIONS=              of the index, as in WITH (...)
    CPU=0                 the one on which client and server work
"""

import json
import math
import os
import statistics

import numpy

import bench_data
import bench_generate
import bench_single
from bench_server import number, option, private_server, say

K = 10
PASS = 1                # the category that is asked for
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
KINDS = ("random", "nearest", "farthest")
RUNS_BEFORE = 6         # from then on a plan may be generic

FILTERED = "SELECT id FROM items WHERE {column} = $2 ORDER BY v {operator} $1 LIMIT 10"
WAYS = {
    "ours": (FILTERED, ""),
    "exact": (FILTERED, "SET enable_indexscan = off"),
    "search": (FILTERED, "SET enable_seqscan = off; SET enable_sort = off;"
                         " SET enable_bitmapscan = off; SET vhnsw.filter_strategy = search"),
    "unfiltered": ("SELECT id FROM items ORDER BY v {operator} $1 LIMIT 10", ""),
}


def load_data():
    queries = number("QUERIES", 3)
    if option("VECTORS"):
        return bench_data.load(option("VECTORS"), number("ROWS"), queries,
                               metric=option("METRIC") or None)
    rows, dims = number("ROWS", 100000), number("DIMS", 128)
    spectrum = option("SPECTRUM", "clustered")
    base = bench_generate.make(rows, dims, spectrum, 1)
    asked = bench_generate.make(rows, dims, spectrum, 2)[:queries]
    return bench_data.DataSet("%s-%d" % (spectrum, dims), base, asked, None, "l2")


class Filters:
    """The columns of categories, and the rows that a query should find."""

    def __init__(self, data):
        self.columns = {}       # name: category of each row
        self.distances = []     # of each query to all rows
        random = numpy.random.default_rng(5)
        rows = len(data.base)
        for query in range(len(data.queries)):
            far = numpy.concatenate([
                bench_data.distances(data.queries[query:query + 1], part[None], data.metric)[0]
                for part in numpy.array_split(data.base, max(1, rows // 10000))])
            self.distances.append(far)
            order = numpy.argsort(far, kind="stable")
            for kind in KINDS:
                for share in SHARES:
                    name = self.column(kind, share, query)
                    if name not in self.columns:
                        n = max(1, round(rows * share))
                        passing = {"random": random.permutation(rows)[:n],
                                   "nearest": order[:n], "farthest": order[-n:]}[kind]
                        self.columns[name] = self.categories(random, rows, share, passing)

    @staticmethod
    def column(kind, share, query):
        name = "%s_%d" % (kind, SHARES.index(share))
        return name if kind == "random" else "%s_%d" % (name, query)

    @staticmethod
    def categories(random, rows, share, passing):
        result = random.integers(PASS + 1, max(round(1 / share), PASS + 1) + 1, size=rows)
        result[passing] = PASS
        return result

    def recall(self, column, query, found):
        """Share of the rows that should be found; None if their number is wrong."""
        passes = self.columns[column] == PASS
        far = self.distances[query]
        wanted = min(K, int(passes.sum()))
        if len(set(found)) != wanted or not passes[found].all():
            return None
        limit = numpy.partition(far[passes], wanted - 1)[wanted - 1]
        return float((far[found] <= limit + 1e-6 * abs(limit)).sum()) / wanted


class Way(bench_single.System):
    """A session that answers queries in one way."""

    def __init__(self, name, server, files, operator):
        super().__init__(name)
        self.query, self.settings = WAYS[name]
        self.operator = operator
        self.start_client([bench_single.client_program("bench_pg_client"),
                           server.conninfo("filter"), files.queries, operator, str(K),
                           "vhnsw.ef_search"])
        self.find_processes()
        self.ask("sql SET plan_cache_mode = %s; SET max_parallel_workers_per_gather = 0; %s"
                 % (option("PLAN", "auto"), self.settings))

    def prepare(self, column, query):
        sql = self.query.format(column=column, operator=self.operator)
        self.ask("prepare %d %s" % (PASS, sql))
        for _ in range(RUNS_BEFORE):
            self.once(query)

    def once(self, query):
        """Time and CPU time in milliseconds, and the rows found."""
        before = bench_single.cpu_us(self.processes[1:])
        elapsed, _, rows = self.ask("run %d 1" % query).strip().partition(":")
        cpu = bench_single.cpu_us(self.processes[1:]) - before
        return float(elapsed) / 1000, cpu / 1000, [int(row) for row in rows.split(",") if row]

    def plan(self, vector):
        """What was done, in a word or two."""
        literal = "[" + ",".join("%.9g" % x for x in vector) + "]"
        answer = self.ask("sql EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON)"
                          " EXECUTE search('%s', %d)" % (literal, PASS))
        node = json.loads(answer)[0]["Plan"]
        while "Custom Plan Provider" not in node and "Plans" in node:
            if node["Node Type"] in ("Bitmap Heap Scan", "Index Scan"):
                break
            node = node["Plans"][0]
        if "Strategy" not in node:
            return node["Node Type"].lower()
        return node["Strategy"] + (" after search" if node["Elements Visited"] > 0
                                   and node["Strategy"] not in ("search", "bitmap") else "")


class Case:
    """A share and a kind, answered in all ways."""

    def __init__(self):
        self.times = {way: [] for way in WAYS}      # means over queries: wall, CPU
        self.recalls = {way: [] for way in WAYS}
        self.plans = []

    def run(self, data, filters, ways, kind, share):
        for query in range(len(data.queries)):
            column = filters.column(kind, share, query)
            samples = {way.name: [] for way in ways}
            for way in ways:
                way.prepare(column, query)
                if way.name == "ours":
                    self.plans.append(way.plan(data.queries[query]))
            for _ in range(number("ROUNDS", 5)):
                for way in ways:
                    samples[way.name].append(way.once(query))
            for way in ways:
                self.times[way.name].append([
                    statistics.median(sample[i] for sample in samples[way.name]) for i in (0, 1)])
                if way.name != "unfiltered":
                    self.recalls[way.name].append(
                        filters.recall(column, query, samples[way.name][0][2]))

    def mean(self, way, which):
        return statistics.fmean(times[which] for times in self.times[way])

    def recall(self, way):
        recalls = self.recalls[way]
        return math.nan if None in recalls else statistics.fmean(recalls)

    @property
    def ratio(self):
        return self.mean("ours", 1) / min(self.mean("exact", 1), self.mean("search", 1))


def load(server, data, files, filters):
    columns = list(filters.columns)
    marks = os.path.join(server.scratch, "marks")
    numpy.savetxt(marks, numpy.column_stack([numpy.arange(len(data.base))]
                                            + [filters.columns[name] for name in columns]),
                  fmt="%d")
    os.chmod(marks, 0o644)
    server.sql("postgres", "CREATE DATABASE filter")
    server.sql(
        "filter", "CREATE EXTENSION vecdist",
        "CREATE TABLE loaded (id integer, v vector(%d))" % data.base.shape[1],
        "COPY loaded FROM '%s' (FORMAT binary)" % files.copy,
        "CREATE TABLE marks (id integer, %s)"
        % ", ".join(name + " smallint" for name in columns),
        "COPY marks FROM '%s' (DELIMITER ' ')" % marks,
        "CREATE TABLE items AS SELECT l.v, m.* FROM loaded l JOIN marks m USING (id) ORDER BY id",
        "DROP TABLE loaded, marks",
        "CREATE INDEX ON items USING vhnsw (v vector_%s_ops)%s"
        % (data.metric, " WITH (%s)" % option("OPTIONS") if option("OPTIONS") else ""),
        "VACUUM (ANALYZE, FREEZE) items", "CHECKPOINT")


def report(data, cases):
    print("\n### %s; ms of time and of CPU\n" % data)
    print("| passing rows | btree | way | recall | ours | ours, CPU | exact, CPU | search, CPU"
          " (recall) | unfiltered, CPU | ratio |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for (kind, share, btree), case in cases.items():
        print("| %s %g %% | %s | %s | %.2f | %.3f | %.3f | %.3f | %.3f (%.2f) | %.3f | %.2f |"
              % (kind, share * 100, btree, ", ".join(sorted(set(case.plans))),
                 case.recall("ours"), case.mean("ours", 0), case.mean("ours", 1),
                 case.mean("exact", 1), case.mean("search", 1), case.recall("search"),
                 case.mean("unfiltered", 1), case.ratio))
    print("\nOf %d: more than 2 times the better one: %d; recall below 0.95: %d;"
          " other rows than pass, or another number of them: %d"
          % (len(cases), sum(case.ratio > 2 for case in cases.values()),
             sum(case.recall("ours") < 0.95 for case in cases.values()),
             sum(math.isnan(case.recall("ours")) for case in cases.values())))


def main():
    data = load_data()
    operator = bench_single.OPERATORS[data.metric]
    say(str(data))
    filters = Filters(data)
    ways = []
    cases = {}
    with private_server() as server:
        files = bench_single.Files(server.scratch, data)
        load(server, data, files, filters)
        try:
            ways = [Way(name, server, files, operator) for name in WAYS]
            for btree in ("no", "yes"):
                if btree == "yes":
                    server.sql("filter", *["CREATE INDEX ON items (%s)" % column
                                           for column in filters.columns], "VACUUM items")
                for kind in KINDS:
                    for share in SHARES:
                        say("%s %g %%, btree: %s" % (kind, share * 100, btree))
                        case = cases[kind, share, btree] = Case()
                        case.run(data, filters, ways, kind, share)
        finally:
            for way in ways:
                way.close()
    report(data, cases)


if __name__ == "__main__":
    main()
