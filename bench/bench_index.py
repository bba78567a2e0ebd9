"""What building an index costs, and how good the graph is.

Run by "make bench-index".  Every system and method builds the same rows in a
private server; a figure is of one build.

    vhnsw blocked, vhnsw search    vhnsw.build_method; ef_construction 200 for
                                   search, as the reference of quality
    pgvector                       m = 16, ef_construction = 64

Columns: rows, allowed maintenance_work_mem and parallel workers; CPU seconds of
all processes and wall time of CREATE INDEX, the most memory they had (see
bench_memory.py), bytes of the index and of its WAL, and for vhnsw the elements
expanded for one query at recall@10 of 0.95 and 0.99 (interpolated between
values of ef; left out with QUERIES=0).

Variables: as bench_single.py, but

    SYSTEMS='blocked search pgvector'
    ROWS=  MEMORY=1GB  WORKERS=0
                one or several numbers of rows, values of maintenance_work_mem
                (there is no MAINTENANCE_WORK_MEM) and numbers of parallel
                workers; every system is built with each
    SVG=        directory for NAME-build-rows.svg and NAME-build-memory.svg, CPU
                seconds against what has several values
"""

import itertools
import math
import os
import subprocess
import sys

import bench_data
import bench_memory
import bench_plot
import bench_single
from bench_server import ROOT, number, option, private_server, say
from bench_single import OPERATORS

METHODS = {
    "blocked": ("vecdist", "vhnsw", "", "vhnsw.build_method = blocked"),
    "search": ("vecdist", "vhnsw", ", ef_construction = 200",
               "vhnsw.build_method = search"),
    "pgvector": ("vector", "hnsw", "", None),
}
EFS = (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 640)


class Build:
    """One index: what it cost, and what its graph is worth."""

    def __init__(self, server, name, memory, workers, data, copy):
        self.server = server
        self.name = name
        self.workers = workers
        self.rows = len(data.base)
        self.memory = memory
        self.memory_mb = int(server.sql(
            "postgres", "SELECT pg_size_bytes('%s') / 1024 / 1024" % memory)[0])
        extension, access_method, options, setting = METHODS[name]
        self.title = "%s, %s" % (data.name, data.metric)
        server.sql("postgres", "DROP DATABASE IF EXISTS bench",
                   "CREATE DATABASE bench")
        server.sql("bench", "CREATE EXTENSION " + extension,
                   "CREATE TABLE items (id integer, v vector(%d))"
                   " WITH (parallel_workers = %d)" % (data.base.shape[1], workers),
                   "COPY items FROM '%s' (FORMAT binary)" % copy,
                   "VACUUM (ANALYZE, FREEZE) items", "CHECKPOINT")
        state = (bench_single.CPU_OF_SESSION + " || '|' ||"
                 " pg_current_wal_insert_lsn() - '0/0' || '|' ||"
                 " extract(epoch FROM clock_timestamp())")
        statements = ["SET max_parallel_maintenance_workers = %d" % workers,
                      "SET maintenance_work_mem = '%s'" % memory]
        if setting:
            statements.append("SET " + setting)
        with bench_memory.Peak(server.postmaster()) as peak:
            before, after = server.sql(
                "bench", *statements, state,
                "CREATE INDEX items_v ON items USING %s (v vector_%s_ops) WITH (m = 16%s)"
                % (access_method, data.metric, options), state)
        self.peak = peak.bytes
        before, after = before.rsplit("|", 2), after.rsplit("|", 2)
        self.cpu = bench_single.session_seconds(after[0]) - \
            bench_single.session_seconds(before[0])
        self.wal = int(after[1]) - int(before[1])
        self.wall = float(after[2]) - float(before[2])
        self.size = int(server.sql("bench", "SELECT pg_relation_size('items_v')")[0])
        self.expansions = {}
        if access_method == "vhnsw" and len(data.queries) > 0:
            self.measure(data)

    def measure(self, data):
        """Expansions at the levels of recall."""
        meter = bench_data.RecallMeter(data, 10)
        points = []
        literals = ["[" + ",".join(repr(float(x)) for x in query) + "]"
                    for query in data.queries]
        for ef in EFS:
            statements = ["SET enable_seqscan = off", "SET vhnsw.ef_search = %d" % ef]
            statements.append("\n".join(
                ["PREPARE q AS SELECT string_agg(id::text, ',') FROM (SELECT id FROM items"
                 " ORDER BY v %s $1 LIMIT 10) x;" % OPERATORS[data.metric]] +
                ["EXECUTE q('%s');" % literal for literal in literals] +
                ["SELECT scans || ',' || expanded FROM vhnsw_session_stats();"]))
            lines = self.run_file(statements)
            searches, expanded = lines[-1].split(",")
            answers = [[int(x) for x in line.split(",")] for line in lines[:-1]]
            points.append((meter.recall(0, answers),
                           int(expanded) / int(searches)))
            if points[-1][0] > 0.995:
                break
        say("  " + "  ".join("%.4f:%.1f" % p for p in points))
        for target in (0.95, 0.99):
            self.expansions[target] = at_recall(points, target)

    def run_file(self, statements):
        path = os.path.join(self.server.scratch, "queries.sql")
        with open(path, "w", encoding="ascii") as file:
            file.write(";\n".join(statements) + ";\n")
        done = subprocess.run(
            [os.path.join(self.server.bin, "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1",
             "-d", self.server.conninfo("bench"), "-f", path],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.split("\n")[:-1]


def at_recall(points, target):
    for (r0, e0), (r1, e1) in zip(points, points[1:]):
        if r0 <= target < r1:
            share = math.log((1 - r0) / (1 - target)) / math.log(
                (1 - r0) / max(1 - r1, 1e-6))
            return e0 * (e1 / e0) ** share
    return None


def figure(value):
    return "-" if value is None else "%.1f" % value


def make_builds(server, path):
    """Build every system with all values of the variables."""
    for rows in option("ROWS").split() or [None]:
        data = bench_data.load(path, rows and int(rows), number("QUERIES"),
                               metric=option("METRIC") or None)
        say("%s" % data)
        copy = os.path.join(server.scratch, "base.copy")
        bench_data.write_copy(copy, data.base)
        os.chmod(copy, 0o644)
        for system, memory, workers in itertools.product(
                option("SYSTEMS", "blocked search pgvector").split(),
                option("MEMORY", "1GB").split(), option("WORKERS", "0").split()):
            yield Build(server, system, memory, int(workers), data, copy)


def report(builds):
    """Print the last build, with a head before the first."""
    build = builds[-1]
    if len(builds) == 1:
        print("\n#### %s\n" % build.title)
        print("| build | rows | allowed | workers | CPU, s | wall, s | peak, MB |"
              " index, MB | WAL, MB | expansions at 0.95 | at 0.99 |")
        print("|---|" + "---:|" * 10)
    print("| %s | %d | %s | %d | %.1f | %.1f | %.1f | %.1f | %.1f | %s | %s |" % (
        build.name, build.rows, build.memory, build.workers, build.cpu, build.wall,
        build.peak / 1e6, build.size / 1e6, build.wal / 1e6,
        figure(build.expansions.get(0.95)), figure(build.expansions.get(0.99))),
          flush=True)


def draw(directory, name, builds):
    """A figure for rows and for memory, if there are several."""
    varied = [key for key in ("rows", "memory", "workers")
              if len({getattr(build, key) for build in builds}) > 1]
    for across, place, label in (
            ("rows", "rows", "rows"),
            ("memory", "memory_mb", "maintenance_work_mem, MB")):
        if across not in varied:
            continue
        curves = {}
        for build in builds:
            curve = ", ".join([build.name] + ["%s %s" % (key, getattr(build, key))
                                              for key in varied if key != across])
            curves.setdefault(curve, []).append((getattr(build, place), build.cpu))
        bench_plot.write_log_svg(
            os.path.join(directory, "%s-build-%s.svg" % (name, across)),
            "%s: building an index" % builds[0].title, curves, label, "CPU, s")


def main():
    source = option("VECTORS", os.path.join(ROOT, "../shared/data"))
    found = bench_data.list_sets(source)
    with private_server() as server:
        for name in option("SETS").split() or sorted(found):
            builds = []
            for build in make_builds(server, found[name]):
                builds.append(build)
                report(builds)
                if option("SVG"):       # now, should a long run be ended early
                    draw(option("SVG"), name, builds)


if __name__ == "__main__":
    sys.exit(main())
