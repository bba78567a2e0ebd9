"""What the types cost from SQL: loading, dumping, and a distance per row.

Run by "make bench-types" (see README.md here for a table it made).  The same
rows as vector and halfvec of vecdist and of pgvector, and as real[]: text and
binary COPY in both directions, and scans that compute a distance of every row
beside one that only looks at every value.

All kinds take turns in every round; a figure is the median of the backend's
CPU time over the rounds, in a session that has used the type before.  Tables
that are loaded are unlogged and fit in memory, so that what is measured is the
type and not the disk.

Variables, with their defaults (and those of bench_server.py):

    ROWS=100000  DIM=384  ROUNDS=5  SHARED_BUFFERS=2GB
"""

import glob
import os
import statistics

import numpy

from bench_server import number, private_server, say

CPU = "SELECT split_part(pg_read_file('/proc/' || pg_backend_pid() || '/schedstat'), ' ', 1)"


class Kind:
    """One type of one extension, in the database of that extension."""

    def __init__(self, server, extension, sql_type):
        self.name = sql_type if extension is None else "%s %s" % (extension, sql_type)
        self.sql_type = sql_type
        self.database = "bench_" + (extension or "vecdist")
        self.server = server
        self.table = sql_type.replace("[]", "_array") + "s"
        self.directory = os.path.join(server.scratch, "out")
        self.times = {}

    def file(self, form):
        return os.path.join(self.directory, "%s.%s.%s" % (self.database, self.table, form))

    def column(self, dim):
        return self.sql_type if "[" in self.sql_type else "%s(%d)" % (self.sql_type, dim)

    def sql(self, *statements):
        return self.server.sql(self.database, *statements)

    def time(self, what, statement):
        """Remember the CPU time of a statement in a warm session, ms."""
        lines = self.sql("SET max_parallel_workers_per_gather = 0",
                         self.warm_up(), CPU, statement, CPU)
        figures = [int(line) for line in lines if len(line) > 6 and line.isdigit()]
        self.times.setdefault(what, []).append((figures[-1] - figures[0]) / 1e6)

    def warm_up(self):
        return ("DO $$ BEGIN PERFORM v::text FROM %s LIMIT 1; END $$" % self.table)

    def median(self, what):
        return statistics.median(self.times[what]) if what in self.times else None


def write_texts(directory, base):
    """The rows as text, once with brackets and once with braces."""
    files = {opening: os.path.join(directory, "rows%d.text" % ord(opening))
             for opening in "[{"}
    with open(files["["], "w", encoding="ascii") as brackets, \
            open(files["{"], "w", encoding="ascii") as braces:
        for row_number, row in enumerate(base):
            elements = ",".join(map(str, row))
            brackets.write("%d\t[%s]\n" % (row_number, elements))
            braces.write("%d\t{%s}\n" % (row_number, elements))
    return files


def make_kinds(server):
    kinds = []
    for extension, name in (("vecdist", "vecdist"), ("pgvector", "vector")):
        if not glob.glob(os.path.join(server.scratch, "inst")
                         + "/**/extension/%s.control" % name, recursive=True):
            say("left out: %s is not installed" % extension)
            continue
        server.sql("postgres", "CREATE DATABASE bench_" + extension)
        server.sql("bench_" + extension, "CREATE EXTENSION " + name)
        kinds += [Kind(server, extension, "vector"), Kind(server, extension, "halfvec")]
    return [Kind(server, None, "real[]")] + kinds


def load_all(kinds, texts, dim):
    for kind in kinds:
        text = texts["{" if "[" in kind.sql_type else "["]
        kind.sql("CREATE TABLE %s (id integer, v %s)" % (kind.table, kind.column(dim)),
                 "COPY %s FROM '%s'" % (kind.table, text),
                 "COPY %s TO '%s' (FORMAT binary)" % (kind.table, kind.file("binary")),
                 "CREATE UNLOGGED TABLE loaded_%s (LIKE %s)" % (kind.table, kind.table),
                 "VACUUM (ANALYZE, FREEZE) %s" % kind.table)


def measure(kinds, texts, query, rounds):
    for round_number in range(rounds):
        say("round %d" % (round_number + 1))
        for kind in kinds:
            text = texts["{" if "[" in kind.sql_type else "["]
            for what, source in (("text in", "'%s'" % text),
                                 ("binary in", "'%s' (FORMAT binary)" % kind.file("binary"))):
                kind.time(what, "COPY loaded_%s FROM %s" % (kind.table, source))
                kind.sql("TRUNCATE loaded_" + kind.table)
            kind.time("text out", "COPY %s TO '%s'" % (kind.table, kind.file("text")))
            kind.time("binary out", "COPY %s TO '%s' (FORMAT binary)"
                      % (kind.table, kind.file("copy")))
        for kind in kinds:
            for what, condition in scans(kind, query):
                kind.time(what, "SELECT count(*) FROM %s WHERE %s"
                          % (kind.table, condition))


def scans(kind, query):
    """Scans as (name, condition); the first only looks at every value."""
    if "[" in kind.sql_type:
        return [("dims", "array_ndims(v) < 0")]
    value = "'[%s]'::%s" % (",".join(str(x) for x in query), kind.sql_type)
    return [("dims", "vector_dims(v) < 0")] + [
        (operator, "v %s %s < -1e9" % (operator, value))
        for operator in ("<->", "<#>", "<=>", "<+>")]


def report(kinds, base):
    rows, dim = base.shape
    columns = ["text in", "binary in", "text out", "binary out",
               "dims", "<->", "<#>", "<=>", "<+>"]
    print("\n%d rows of %d dimensions, CPU ms of the backend\n" % (rows, dim))
    print("| type | " + " | ".join(
        "`%s`" % c if c.startswith("<") else c for c in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for kind in kinds:
        cells = [kind.median(what) for what in columns]
        print("| %s | " % kind.name + " | ".join(
            "-" if cell is None else "%.0f" % cell for cell in cells) + " |")


def main():
    os.environ.setdefault("SHARED_BUFFERS", "2GB")
    rows, dim = number("ROWS", 100000), number("DIM", 384)
    generator = numpy.random.default_rng(20261126)
    base = generator.standard_normal((rows + 1, dim), "f4")
    base /= numpy.sqrt((base ** 2).sum(axis=1, keepdims=True))
    with private_server() as server:
        out = os.path.join(server.scratch, "out")
        os.mkdir(out)
        os.chmod(out, 0o777)
        texts = write_texts(server.scratch, base[:rows])
        kinds = make_kinds(server)
        load_all(kinds, texts, dim)
        measure(kinds, texts, base[rows], number("ROUNDS", 5))
        report(kinds, base[:rows])


if __name__ == "__main__":
    main()
