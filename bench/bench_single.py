"""Recall against queries per second on one server: vhnsw and its peers.

Run by "make bench-single" (see README.md here for a table it made).  All
systems search the same rows, in the same run, one client each, in turn: a
block of queries at every setting of every system, then the next block.  So
whatever else the machine does falls on all of them.  A figure is the median
over the blocks of all rounds.

Peers that are not there are named and left out:

    pgvector    from PGVECTOR, a .tar.zst laid over a copied installation;
                else one in ../shared/peers; else the server's own
    hnswlib     Debian's libhnswlib-dev, called from C++, one thread

Variables, with their defaults:

    VECTORS=../shared/data   directory with data sets, or one file of base vectors
    SETS=                 names of data sets in it (default: all)
    METRIC=               l2, cosine or ip (default: what the answers say)
    ROWS= QUERIES=        take only the first ones (default: all)
    SYSTEMS='vhnsw vhnsw-off pgvector hnswlib'
                          vhnsw-off: the index of vhnsw, which comes before it,
                          with vhnsw.iterative_scan = off, as pgvector's default
    EF='10 20 40 80 160 320'    K=10    ROUNDS=3
    M=16  EF_CONSTRUCTION=      construction (default: each system's own, and
                                200 for hnswlib)
    BUILD_WORKERS=0       processes that help to build an index, and threads of
                          hnswlib beside its first: a large set is ready sooner,
                          and searches are compared all the same
    STORAGE=              storage of the column (default: the type's, external)
    OPTIONS=              further options of vhnsw's index, as in WITH (...)
    SHARED_BUFFERS=1GB  MAINTENANCE_WORK_MEM=1GB
    CPU=0                 the one on which client and server work
    SVG=                  directory for a curve of each set
"""

import glob
import math
import os
import statistics
import subprocess
import sys
import time

import bench_data
import bench_plot
from bench_server import ROOT, number, option, private_server, say

BLOCK = 200
OPERATORS = {"l2": "<->", "cosine": "<=>", "ip": "<#>"}
EXTENSIONS = {"vhnsw": "vecdist", "pgvector": "vector"}
METHODS = {"vhnsw": "vhnsw", "pgvector": "hnsw"}
EF_SETTINGS = {"vhnsw": "vhnsw.ef_search", "pgvector": "hnsw.ef_search"}


class Skipped(Exception):
    """A system that cannot take part, with the reason."""


# ----------------------------------------------------------------------
# The systems
# ----------------------------------------------------------------------

class System:
    """Something that has built its index and answers blocks of queries."""

    def __init__(self, name):
        self.name = name
        self.client = None
        self.processes = []             # that work for a query
        self.build_cpu = None           # seconds
        self.index_bytes = None

    def start_client(self, command):
        # pylint: disable=consider-using-with
        self.client = subprocess.Popen(command, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)

    def find_processes(self):
        server = int(self.ask("server"))
        self.processes = [self.client.pid] + ([server] if server else [])
        for process in self.processes:
            os.sched_setaffinity(process, [number("CPU", 0)])

    def ask(self, command):
        self.client.stdin.write(command + "\n")
        self.client.stdin.flush()
        return self.answer()

    def answer(self):
        line = self.client.stdout.readline()
        if not line:
            raise RuntimeError("the client of %s has died" % self.name)
        return line

    def run(self, ef, first, count):
        """Times and CPU time in microseconds, and the row numbers found."""
        self.ask("ef %d" % ef)
        times = []
        answers = []
        before = cpu_us(self.processes)
        line = self.ask("run %d %d" % (first, count))
        cpu = cpu_us(self.processes) - before
        for item in line.split():
            elapsed, _, rows = item.partition(":")
            times.append(float(elapsed))
            answers.append([int(row) for row in rows.split(",") if row])
        return times, cpu, answers

    def close(self):
        if self.client is not None:
            self.client.stdin.close()
            self.client.wait()
            self.client.stdout.close()


class PostgresSystem(System):
    """An extension of the server, in a database of its own."""

    def __init__(self, name, server, data, files):
        super().__init__(name)
        self.server = server
        self.database = name
        extension = EXTENSIONS[name]
        control = os.path.join(server.scratch, "inst")
        if not glob.glob(control + "/**/extension/%s.control" % extension,
                         recursive=True):
            raise Skipped("%s is not installed" % name)

        server.sql("postgres", "DROP DATABASE IF EXISTS bench_" + name,
                   "CREATE DATABASE bench_" + name)
        self.sql("CREATE EXTENSION " + extension)
        if not self.sql("SELECT 1 FROM pg_opclass JOIN pg_am ON opcmethod = pg_am.oid"
                        " WHERE amname = '%s' AND opcname = 'vector_%s_ops'"
                        % (METHODS[name], data.metric)):
            raise Skipped("%s has no index for %s" % (name, data.metric))
        self.load(data, files)
        self.build(data)
        self.connect(data, files, "")
        self.check_plan(data)

    def connect(self, data, files, options):
        self.start_client([client_program("bench_pg_client"),
                           self.server.conninfo("bench_" + self.database) + options,
                           files.queries, OPERATORS[data.metric],
                           str(number("K", 10)), EF_SETTINGS[self.database]])
        self.find_processes()

    def sql(self, *statements):
        return self.server.sql("bench_" + self.name, *statements)

    def load(self, data, files):
        self.sql("CREATE TABLE items (id integer, v vector(%d))" % data.base.shape[1])
        if option("STORAGE"):
            self.sql("ALTER TABLE items ALTER v SET STORAGE " + option("STORAGE"))
        self.sql("COPY items FROM '%s' (FORMAT binary)" % files.copy)
        self.sql("VACUUM (ANALYZE, FREEZE) items")
        self.sql("CHECKPOINT")

    def build(self, data):
        options = ["m = %d" % number("M", 16)]
        if number("EF_CONSTRUCTION"):
            options.append("ef_construction = %d" % number("EF_CONSTRUCTION"))
        if self.name == "vhnsw" and option("OPTIONS"):
            options.append(option("OPTIONS"))
        workers = number("BUILD_WORKERS", 0)
        before, after = self.sql(
            "SET max_parallel_maintenance_workers = %d" % workers,
            "ALTER TABLE items SET (parallel_workers = %d)" % workers,
            CPU_OF_SESSION,
            "CREATE INDEX items_v ON items USING %s (v vector_%s_ops) WITH (%s)"
            % (METHODS[self.name], data.metric, ", ".join(options)),
            CPU_OF_SESSION,
            "ALTER TABLE items RESET (parallel_workers)")
        self.build_cpu = session_seconds(after) - session_seconds(before)
        self.index_bytes = int(self.sql("SELECT pg_relation_size('items_v')")[0])

    def check_plan(self, data):
        query = "[" + ",".join(repr(float(x)) for x in data.queries[0]) + "]"
        plan = self.sql("EXPLAIN SELECT id FROM items ORDER BY v %s '%s' LIMIT %d"
                        % (OPERATORS[data.metric], query, number("K", 10)))
        if not any("items_v" in line for line in plan):
            say("%s: the planner does not use the index" % self.name)


class EarlyEnd(PostgresSystem):
    """The index of vhnsw, searched until ef elements are found and no further."""

    def __init__(self, systems, data, files):
        # pylint: disable=super-init-not-called
        vhnsw = [system for system in systems if system.name == "vhnsw"]
        if not vhnsw:
            raise Skipped("vhnsw-off needs vhnsw before it")
        System.__init__(self, "vhnsw-off")
        self.server = vhnsw[0].server
        self.database = "vhnsw"
        self.connect(data, files, " options='-c vhnsw.iterative_scan=off'")


class HnswlibSystem(System):
    def __init__(self, data, files):
        super().__init__("hnswlib")
        program = client_program("bench_hnswlib_client")
        if not os.path.exists(program):
            raise Skipped("hnswlib: libhnswlib-dev or a C++ compiler is missing")
        index = os.path.join(files.directory, "hnswlib")
        self.start_client([program, files.base, files.queries, data.metric,
                           str(number("K", 10)), str(number("M", 16)),
                           str(number("EF_CONSTRUCTION", 200)),
                           str(1 + number("BUILD_WORKERS", 0)), index])
        self.build_cpu = float(self.answer())
        self.find_processes()           # answered when the index is stored
        self.index_bytes = os.path.getsize(index)
        os.unlink(index)


def client_program(name):
    return os.path.join(ROOT, "build/bench", name)


def cpu_us(processes):
    """CPU time the processes have used so far."""
    total = 0
    for pid in processes:
        with open("/proc/%d/schedstat" % pid, encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1000


# What session_seconds() reads, as one line
CPU_OF_SESSION = ("SELECT rtrim(pg_read_file('/proc/' || pg_backend_pid() || '/stat'), chr(10))"
                  " || '|' || rtrim(pg_read_file('/proc/' || trim(split_part("
                  "pg_read_file('postmaster.pid'), chr(10), 1)) || '/stat'), chr(10))")


def session_seconds(state):
    """CPU time of a session and of all workers of the server that have ended."""
    session, _, postmaster = state.partition("|")
    return sum(stat_times(session)[:2]) + sum(stat_times(postmaster)[2:])


def stat_times(stat):
    """User and system time of a process, and of its children that have ended, in
    the text of /proc/PID/stat."""
    return [int(field) / os.sysconf("SC_CLK_TCK")
            for field in stat.rpartition(")")[2].split()[11:15]]


class Files:
    """The data set as the clients and the server want it."""

    def __init__(self, directory, data):
        self.directory = directory
        self.base = os.path.join(directory, "base.fbin")
        self.queries = os.path.join(directory, "queries.fbin")
        self.copy = os.path.join(directory, "base.copy")
        bench_data.write_fbin(self.base, data.base)
        bench_data.write_fbin(self.queries, data.queries)
        bench_data.write_copy(self.copy, data.base)
        os.chmod(self.copy, 0o644)


# ----------------------------------------------------------------------
# Measuring
# ----------------------------------------------------------------------

class Point:
    """One system at one ef: what its blocks of queries gave."""

    def __init__(self):
        self.blocks = []        # (queries/s, median time, CPU time, recall)

    def add_block(self, times, cpu, recall):
        self.blocks.append((1e6 * len(times) / sum(times),
                            statistics.median(times), cpu / len(times), recall))

    @property
    def qps(self):
        return statistics.median(block[0] for block in self.blocks)

    @property
    def p50(self):
        return statistics.median(block[1] for block in self.blocks)

    @property
    def cpu(self):
        return statistics.median(block[2] for block in self.blocks)

    @property
    def recall(self):
        return statistics.fmean(block[3] for block in self.blocks)


def measure(data, systems):
    """{(system name, ef): Point}, all systems and settings in turn."""
    efs = [int(ef) for ef in option("EF", "10 20 40 80 160 320").split()]
    meter = bench_data.RecallMeter(data, number("K", 10))
    points = {(system.name, ef): Point() for system in systems for ef in efs}
    size = min(BLOCK, len(data.queries))
    blocks = [(first, size)             # equal ones; a remainder is left out
              for first in range(0, len(data.queries) - size + 1, size)]

    for system in systems:              # warm up
        for first, count in blocks:
            system.run(efs[-1], first, count)
    for round_number in range(number("ROUNDS", 3)):
        say("%s: round %d" % (data.name, round_number + 1))
        for first, count in blocks:
            for system in systems:
                for ef in efs:
                    times, cpu, answers = system.run(ef, first, count)
                    points[system.name, ef].add_block(
                        times, cpu, meter.recall(first, answers))
    return points


def at_recall(points, system, recall, figure):
    """A figure at a recall, between the two nearest settings."""
    line = sorted((point.recall, math.log(getattr(point, figure)))
                  for (name, _), point in points.items() if name == system)
    for (r0, f0), (r1, f1) in zip(line, line[1:]):
        if r0 < recall <= r1:
            return math.exp(f0 + (f1 - f0) * (recall - r0) / (r1 - r0))
    if line and line[0][0] >= recall:   # even the least effort is more
        return math.exp(line[0][1])
    return None


def report(data, systems, points):
    k = number("K", 10)
    print("\n### %s\n" % data)
    print("| system | build, CPU s | index, MB |\n|---|---:|---:|")
    for system in systems:
        if system.build_cpu is None:    # the index of another one
            continue
        print("| %s | %.1f | %.1f |" % (system.name, system.build_cpu,
                                        system.index_bytes / 1e6))

    print("\n| system | ef | recall@%d | queries/s | p50, us | CPU, us |" % k)
    print("|---|---:|---:|---:|---:|---:|")
    for (name, ef), point in points.items():
        print("| %s | %d | %.4f | %.0f | %.0f | %.0f |"
              % (name, ef, point.recall, point.qps, point.p50, point.cpu))

    print("\n| at recall@%d |" % k + "".join(
        " %s: queries/s | CPU, us |" % system.name for system in systems))
    print("|---|" + "---:|---:|" * len(systems))
    for recall in (0.9, 0.95, 0.99):
        cells = []
        for system in systems:
            for figure in ("qps", "cpu"):
                value = at_recall(points, system.name, recall, figure)
                cells.append(" %.0f |" % value if value else " - |")
        print("| %.2f |" % recall + "".join(cells))
    report_ratios(systems, points)
    if option("SVG"):
        bench_plot.write_recall_svg(
            os.path.join(option("SVG"), data.name + ".svg"), str(data),
            {system.name: [(point.recall, point.p50)
                           for (name, _), point in points.items() if name == system.name]
             for system in systems})
    sys.stdout.flush()


def report_ratios(systems, points):
    """How ours compare with the others, by median times."""
    ours = [system.name for system in systems if system.name.startswith("vhnsw")]
    others = [system.name for system in systems if system.name not in ours]
    print("\n| at recall@%d |" % number("K", 10) + "".join(
        " %s: times faster than %s |" % (name, other) for name in ours for other in others))
    print("|---|" + "---:|" * (len(ours) * len(others)))
    for recall in (0.9, 0.95, 0.99):
        cells = []
        for name in ours:
            own = at_recall(points, name, recall, "p50")
            for other in others:
                theirs = at_recall(points, other, recall, "p50")
                cells.append(" %.1f |" % (theirs / own) if own and theirs else " - |")
        print("| %.2f |" % recall + "".join(cells))


def make_systems(server, data, files):
    systems = []
    for name in option("SYSTEMS", "vhnsw vhnsw-off pgvector hnswlib").split():
        start = time.monotonic()
        try:
            if name == "hnswlib":
                systems.append(HnswlibSystem(data, files))
            elif name == "vhnsw-off":
                systems.append(EarlyEnd(systems, data, files))
            elif name in EXTENSIONS:
                systems.append(PostgresSystem(name, server, data, files))
            else:
                raise SystemExit("no such system: " + name)
            say("%s: %s is ready after %.0f s"
                % (data.name, name, time.monotonic() - start))
        except Skipped as reason:
            say("left out: %s" % reason)
    return systems


def chosen_files():
    """Files of base vectors to measure; exits politely if there are none."""
    path = option("VECTORS", os.path.join(ROOT, "../shared/data"))
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        say("no data: %s does not exist; set VECTORS (see bench/README.md)" % path)
        sys.exit(0)
    found = bench_data.list_sets(path)
    names = option("SETS").split() or sorted(found)
    missing = [name for name in names if name not in found]
    if missing:
        raise SystemExit("not in %s: %s; there are: %s"
                         % (path, " ".join(missing), " ".join(sorted(found))))
    return [found[name] for name in names]


def main():
    files_of_sets = chosen_files()
    if not files_of_sets:
        say("no data sets there; see bench/README.md for the forms")
        return
    with private_server() as server:
        for path in files_of_sets:
            systems = []
            try:
                data = bench_data.load(path, number("ROWS"), number("QUERIES"),
                                       metric=option("METRIC") or None)
                say(str(data))
                systems = make_systems(server, data, Files(server.scratch, data))
                if systems:
                    report(data, systems, measure(data, systems))
            except bench_data.Unreadable as reason:
                say("left out: %s" % reason)
            finally:
                for system in systems:
                    system.close()


if __name__ == "__main__":
    main()
