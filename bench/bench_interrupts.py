"""How long index builds and checks go on between two looks for interrupts.

Run by "make bench-interrupts".  While a statement runs, its process and its
parallel workers are asked again and again to log their memory contexts, which
they do where they would see a cancel: so one run looks everywhere, and need not
be canceled.  Told are, for each phase, the longest CPU time that a process used
from the question to the answer, and the longest time, which on a busy machine
says little; what the kernel does meanwhile, such as giving memory, counts.

Variables, with their defaults (and those of bench_server.py):

    ROWS=300000  DIMS=128  SPECTRUM=decaying   generated vectors
    SHORT=1000000          rows of 4 dimensions, which repeat each other
    SEARCHED=30000         rows that are linked by searching
    STATEMENTS=            a regular expression: only those whose name it matches
    LIMIT_MS=              on an answer that takes more CPU time, show where the
                           process was, by gdb
"""

import os
import re
import subprocess
import sys
import time

import numpy

import bench_data
import bench_generate
from bench_server import number, option, private_server, say

IN_MEMORY = "SET maintenance_work_mem = '4GB'"
IN_FILES = "SET maintenance_work_mem = '%dMB'"
WORKERS = "SET max_parallel_maintenance_workers = %d"
BUILD = "CREATE INDEX i ON %s USING vhnsw (v vector_%s_ops)"

# Name, table, and statements of which the last is watched.  What does not build
# the index finds it there, of this table.
STATEMENTS = (
    ("in memory", "items", IN_MEMORY, BUILD % ("items", "l2")),
    ("in memory, 2 workers", "items", IN_MEMORY, WORKERS % 2, BUILD % ("items", "l2")),
    ("REINDEX CONCURRENTLY", "items", IN_MEMORY, WORKERS % 2, "REINDEX INDEX CONCURRENTLY i"),
    ("vhnsw_check", "items", "SELECT count(*) FROM vhnsw_check('i')"),
    ("vhnsw_check, with the table", "items", "SELECT count(*) FROM vhnsw_check('i', true)"),
    ("vhnsw_info", "items", "SELECT count(*) FROM vhnsw_info('i')"),
    ("in files", "items", IN_FILES % 30, BUILD % ("items", "l2")),
    ("in files, 2 workers", "items", IN_FILES % 40, WORKERS % 2, BUILD % ("items", "l2")),
    ("inner product", "items", IN_MEMORY, BUILD % ("items", "ip")),
    ("inner product, in files", "items", IN_FILES % 50, BUILD % ("items", "ip")),
    ("duplicates", "short", IN_MEMORY, BUILD % ("short", "l2")),
    ("duplicates, vhnsw_check", "short", "SELECT count(*) FROM vhnsw_check('i', true)"),
    ("duplicates, in files", "short", IN_FILES % 10, BUILD % ("short", "l2")),
    ("by searching", "few", IN_MEMORY, BUILD % ("few", "l1")),
    ("page by page", "few", IN_FILES % 2, "SET vhnsw.build_method = search", BUILD % ("few", "l2")),
    ("VACUUM", "changed", "DELETE FROM changed WHERE id % 3 = 0", IN_MEMORY,
     "VACUUM (INDEX_CLEANUP on) changed"),
)


class Session:
    """A psql that answers one line for each query."""

    def __init__(self, server):
        self.psql = subprocess.Popen(
            [os.path.join(server.bin, "psql"), "-XqAt", "-d", server.conninfo("interrupts")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(self, query):
        self.psql.stdin.write(query + ";\n\\echo\n")
        self.psql.stdin.flush()
        lines = iter(self.psql.stdout.readline, "\n")
        return [line.rstrip("\n").split("|") for line in lines]

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()


class Log:
    """What the server has logged since it was last looked at."""

    def __init__(self, server):
        self.file = open(server.data + ".log", "rb")
        self.skip()

    def skip(self):
        self.file.seek(0, os.SEEK_END)
        self.text = b""

    def has(self, text):
        self.text += self.file.read()
        return text in self.text


def cpu_ms(process):
    """What a process has used, or None if it has ended."""
    try:
        with open("/proc/%d/schedstat" % process, encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e6
    except OSError:
        return None


def show_stack(process):
    """Where a process is, unless it is elsewhere by now."""
    subprocess.run(["gdb", "-p", str(process), "-batch", "-ex", "bt 16"],
                   stdout=sys.stderr, stderr=subprocess.DEVNULL, check=False)


def answer(process, session, log, limit):
    """CPU and other milliseconds until a process answers; None if it ends before."""
    before = cpu_ms(process)
    start = time.monotonic()
    session.ask("SELECT pg_log_backend_memory_contexts(%d)" % process)
    took = None
    while not log.has(b"Grand total: "):
        now = cpu_ms(process)
        if now is None or before is None:
            return None
        if took is None and log.has(b"logging memory contexts of PID %d\n" % process):
            took = now - before, 1000 * (time.monotonic() - start)
        elif took is None and limit and now - before > limit:
            show_stack(process)
            limit = 0
        time.sleep(0.001)
    now = cpu_ms(process)
    if took is None and now is not None:
        took = now - before, 1000 * (time.monotonic() - start)

    # While it logs, and for a moment after, a process ignores other questions.
    end = time.monotonic() + 0.1
    while now is not None and (cpu_ms(process) or now) < now + 1 and time.monotonic() < end:
        time.sleep(0.001)
    return took


def watch(server, statements, session, log):
    """Phase -> [answers, longest CPU time, longest time], of the last statement."""
    command = [os.path.join(server.bin, "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d",
               server.conninfo("interrupts") + " application_name=watched"]
    for statement in statements:
        command += ["-c", statement]
    found = {}
    limit = number("LIMIT_MS", 0)
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while running.poll() is None:
            rows = session.ask(
                "WITH leader AS (SELECT pid, query FROM pg_stat_activity WHERE"
                " application_name = 'watched' AND backend_type = 'client backend'"
                " AND state = 'active')"
                " SELECT a.pid, coalesce(replace(phase, 'building index: ', ''), ''), l.query"
                " FROM leader l JOIN pg_stat_activity a ON l.pid IN (a.pid, a.leader_pid)"
                " LEFT JOIN pg_stat_progress_create_index p ON p.pid = l.pid"
                " ORDER BY random() LIMIT 1")
            if not rows or not rows[0][2].startswith(statements[-1]):
                time.sleep(0.01)
                continue
            process, phase = int(rows[0][0]), rows[0][1]
            took = answer(process, session, log, limit)
            if took is not None:
                of_phase = found.setdefault(phase, [0, 0, 0])
                of_phase[0] += 1
                of_phase[1] = max(of_phase[1], took[0])
                of_phase[2] = max(of_phase[2], took[1])
            log.skip()
    finally:
        running.kill()
        running.wait()
    if running.returncode != 0:
        sys.exit("%s failed" % statements[-1])
    return found


def load(server, table, vectors):
    bench_data.load_table(server, "interrupts", table, vectors, "WITH (parallel_workers = 2)")


def main():
    with private_server() as server:
        server.sql("postgres", "CREATE DATABASE interrupts")
        server.sql("interrupts", "CREATE EXTENSION vecdist")
        say("data")
        vectors = bench_generate.make(number("ROWS", 300000), number("DIMS", 128),
                                      option("SPECTRUM", "decaying"), 1)
        load(server, "items", vectors)
        load(server, "few", vectors[:number("SEARCHED", 30000)])
        short = numpy.random.default_rng(1).integers(0, 12, (number("SHORT", 1000000), 4))
        load(server, "short", short.astype("f4"))
        server.sql("interrupts", "CREATE TABLE changed AS SELECT * FROM items",
                   "VACUUM (ANALYZE, FREEZE)", "CHECKPOINT")
        session = Session(server)
        log = Log(server)

        print("| statement | phase | answers | longest CPU time, ms | longest, ms |")
        print("|---|---|---:|---:|---:|")
        indexed = None
        for name, table, *statements in STATEMENTS:
            if not re.search(option("STATEMENTS"), name):
                continue
            builds = statements[-1].startswith("CREATE")
            if builds or indexed != table:
                server.sql("interrupts", "DROP INDEX IF EXISTS i", IN_MEMORY, WORKERS % 2,
                           *([] if builds else [BUILD % (table, "l2")]))
            indexed = table
            for phase, longest in watch(server, statements, session, log).items():
                print("| %s | %s | %d | %.0f | %.0f |" % (name, phase, *longest), flush=True)
        session.close()


if __name__ == "__main__":
    main()
