"""Where the time of one search goes.

Run by "make bench-profile" (README.md here has tables it made).  The index of
each set is built as bench_single.py builds it.  For each recall the least ef of
EF that reaches it runs in a loop of prepared queries, and perf takes samples of
the server's process, each with its stack of calls.  A sample belongs to the
group of the innermost function that GROUPS names; one in the kernel to the
kernel.  Microseconds are the share times the CPU time that the server's process
needs for a query, which other work on the machine changes little.

Below each table stands what cannot be gone below: the bytes that the query
reads (slots of expanded elements, rows, matrix, entries) at the speed at which
one core reads memory in order, and a statement with the same parameter that
only reads as many rows.  Elements lie anywhere, so the time of as many pieces of
memory in random order, known beforehand, stands beside the first.

Needs perf (Debian: linux-perf), and the right to use it on the server's process:
be root, or have kernel.perf_event_paranoid at 1 or below and be the server's user.

Variables, with their defaults, and those of bench_single.py for data, index and
server:

    RECALLS='0.95 0.99'
    EF='10 12 14 17 20 24 28 34 40 48 56 68 80 113 160 226 320 640'
    SECONDS=10            of samples for each recall
"""

import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy

import bench_data
import bench_single
from bench_server import number, option, private_server, say

FREQUENCY = 4999        # samples a second; not in step with timers

KERNEL = "the kernel: receiving, sending, interrupts"
REST = "protocol, plan cache, portal, transaction"

# What a function belongs to, with all that it calls and that is not named here
GROUPS = (
    ("search: finding, pinning, prefetching pages",
     r"VhnswVisitPage|VhnswReleasePage|VhnswPrefetch\w+|VhnswGetPageHints"),
    ("search: sketches", r"VhnswEdgeEstimates|DistanceEdgeDots\w*"),
    ("search: bounds", r"\w+_bound"),
    ("search: expanding, pool, table of what was met",
     r"expand|VhnswSearch(Until|Take|HasSettled)|VhnswStreamNext|settle\w*"),
    ("preparing the query: rotation, projection, entries",
     r"VhnswQueryInit|VhnswSearchBegin|VhnswStreamBegin|VhnswGetCache|VhnswEdgeQueryInit"
     r"|VhnswCustomKnowQuery|\w+_prepare"),
    ("vectors out of line", r"VhnswToast\w+"),
    ("exact distances", r"VhnswCustomDistance"),
    ("rows and their visibility", r"table_tuple_fetch_row_version|heapam_\w+|heap_fetch"
     r"|heap_hot_search_buffer|VhnswFetchRow|VhnswPrefetchRows|fetch_row|fetch_again"),
    ("rest of the scan: order of the answer, statistics",
     r"exec_scan|ExecScan|next_row|end_search|start_search|ExecCustomScan|consider_row"),
    ("starting and ending the executor",
     r"(standard_)?Executor(Start|End|Finish)|demand_executor_start|PortalStart|PortalCleanup"),
)


class Profile:
    """What one ef gave."""

    def __init__(self, target, ef, recall):
        self.target = target
        self.ef = ef
        self.recall = recall
        self.cpu = 0            # microseconds for a query, of the server's process
        self.samples = collections.Counter()
        self.counts = {}        # vhnsw_stats() for a query

    def share(self, group):
        return self.samples[group] / max(sum(self.samples.values()), 1)


def group_of(stack):
    """The group of a stack of functions, the innermost first."""
    if stack and stack[0] is None:
        return KERNEL
    for function in stack:
        for group, names in GROUPS:
            if re.fullmatch(names, function or ""):
                return group
    return REST


def read_samples(file):
    """How many samples each group has, from a file of perf."""
    text = subprocess.run(["perf", "script", "-i", file, "-F", "ip,sym,dso"], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    samples = collections.Counter()
    for sample in text.split("\n\n"):
        stack = []
        for line in sample.splitlines():
            # address, function, (file); what the compiler appends is left out
            match = re.match(r"\s*[0-9a-f]+ (\S+?)(?:\.\S+)? \((.*)\)$", line)
            if match:
                kernel = match.group(2).startswith("[") and match.group(2) != "[vdso]"
                stack.append(None if kernel else match.group(1))
        if stack:
            samples[group_of(stack)] += 1
    return samples


Part = collections.namedtuple("Part", "name count size")     # pieces of memory


class Perf:
    """Samples of a process, from __enter__ to __exit__."""

    def __init__(self, pid, file):
        self.command = ["perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", str(FREQUENCY),
                        "-p", str(pid), "-o", file]
        self.process = None

    def __enter__(self):
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        early = self.process.poll() is not None
        if not early:
            self.process.send_signal(signal.SIGINT)
        message = self.process.communicate()[1]
        if early:
            sys.exit("perf has failed: " + message.strip())


class Search:
    """The index of a set, and a session that searches it."""

    def __init__(self, server, data):
        self.data = data
        self.k = number("K", 10)
        self.files = bench_single.Files(server.scratch, data)
        self.system = bench_single.PostgresSystem("vhnsw", server, data, self.files)
        self.meter = bench_data.RecallMeter(data, self.k)
        self.block = min(bench_single.BLOCK, len(data.queries))

    def recall(self, ef):
        found = []
        for first in range(0, len(self.data.queries) - self.block + 1, self.block):
            answers = self.system.run(ef, first, self.block)[2]
            found.append(self.meter.recall(first, answers))
        return sum(found) / len(found)

    def cpu(self, seconds):
        """Run queries for a while: CPU time of the server's process for one, in
        microseconds, and how many there were."""
        server = self.system.processes[1:]
        end = time.monotonic() + seconds
        before = bench_single.cpu_us(server)
        count = 0
        while time.monotonic() < end:
            first = count % (len(self.data.queries) - self.block + 1)
            self.system.ask("run %d %d" % (first, self.block))
            count += self.block
        return (bench_single.cpu_us(server) - before) / count, count

    def statistics(self):
        """What the searches of the index have done, since they were reset."""
        names = "searches expanded scored heap_fetches".split()
        values = self.system.ask("sql SELECT %s FROM vhnsw_stats('items_v')"
                                 % " || ' ' || ".join(names)).split()
        return dict(zip(names, map(int, values)))

    def profile(self, profile, server):
        """Fill a Profile in."""
        file = os.path.join(server.scratch, "perf.data")
        self.system.ask("ef %d" % profile.ef)
        self.cpu(1)                     # warm up
        before = self.statistics()
        profile.cpu, count = self.cpu(max(number("SECONDS", 10) / 2, 1))
        after = self.statistics()
        profile.counts = {name: (after[name] - before[name]) / count for name in before}
        with Perf(self.system.processes[1], file):
            self.cpu(number("SECONDS", 10))
        profile.samples = read_samples(file)
        os.unlink(file)

    def statement(self):
        """CPU time of a statement that takes a vector and gives rows, but does not search."""
        self.system.ask("prepare 0 SELECT id FROM items WHERE $1 IS NOT NULL LIMIT %d" % self.k)
        self.cpu(1)
        return self.cpu(3)[0]

    def bytes_read(self, profile):
        """The Parts that a query must read at least."""
        info = self.system.sql(
            "SELECT concat_ws(' ', dimensions, sketch_dimensions, bytes_per_element, entries)"
            " FROM vhnsw_info('items_v')")[0].split()
        dims, sketch_dims, slot, entries = map(int, info)
        matrix = 4 * dims * sketch_dims if sketch_dims < dims else 0
        return (Part("%.0f elements of %d bytes" % (profile.counts["expanded"], slot),
                     profile.counts["expanded"], slot),
                Part("%.0f rows" % profile.counts["heap_fetches"],
                     profile.counts["heap_fetches"], 4 * dims + 40),
                Part("matrix", 1, matrix),
                Part("%d entries" % entries, 1, entries * (dims + 24)))


class Memory:
    """How fast one core reads memory that is in no cache."""

    def __init__(self):
        self.words = numpy.ones(1 << 25, "u8")

    def speed(self):
        """Bytes in a microsecond, in order."""
        best = 0
        for _ in range(5):
            start = time.process_time()
            self.words.max()
            best = max(best, self.words.nbytes / (time.process_time() - start))
        return best / 1e6

    def pieces_us(self, count, size):
        """Microseconds for pieces of so many bytes in random order."""
        words = -(-size // 8)
        pieces = self.words[:len(self.words) // words * words].reshape(-1, words)
        order = numpy.random.default_rng(1).permutation(len(pieces))[:20000]
        room = numpy.empty((100, words), "u8")
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            for first in range(0, len(order) - 99, 100):
                numpy.take(pieces, order[first:first + 100], axis=0, out=room, mode="clip")
            best = min(best, (time.process_time() - start) / (len(order) // 100 * 100))
        return 1e6 * best * count


def find_ef(search, target):
    """The least ef of the list with this recall; the last if there is none."""
    for ef in map(int, option("EF", "10 12 14 17 20 24 28 34 40 48 56 68 80 113 160 226 320 640")
                  .split()):
        recall = search.recall(ef)
        if recall >= target:
            break
    return Profile(target, ef, recall)


def report(search, profiles, statement, memory):
    print("\n#### %s\n" % search.data)
    print("| |" + "".join(" recall %g (ef %d: %.3f) | us |" % (p.target, p.ef, p.recall)
                          for p in profiles))
    print("|---|" + "---:|---:|" * len(profiles))
    for group in [group for group, _ in GROUPS] + [REST, KERNEL]:
        if any(p.share(group) >= 0.0005 for p in profiles):
            print("| %s |" % group
                  + "".join(" %.1f %% | %.1f |" % (100 * p.share(group), p.cpu * p.share(group))
                            for p in profiles))
    print("| **the server's process** |" + "".join(" | **%.0f** |" % p.cpu for p in profiles))
    print("| samples |" + "".join(" %d | |" % sum(p.samples.values()) for p in profiles))
    print()
    speed = memory.speed()
    for p in profiles:
        parts = [part for part in search.bytes_read(p) if part.size]
        size = sum(part.count * part.size for part in parts)
        limit = size / speed + statement
        print("Recall %g: %s: %.0f kB, %.0f us in order at %.1f GB/s (%.0f us in random order); "
              "the statement alone %.0f us. The query takes %.1f times the sum of the first and "
              "the last." % (
                  p.target, ", ".join(part.name for part in parts), size / 1000, size / speed,
                  speed / 1000, sum(memory.pieces_us(part.count, part.size) for part in parts),
                  statement, p.cpu / limit))
    sys.stdout.flush()


def main():
    if shutil.which("perf") is None:
        sys.exit("bench-profile needs perf (Debian: linux-perf)")
    paths = bench_single.chosen_files()
    with private_server() as server:
        memory = Memory()
        for path in paths:
            try:
                data = bench_data.load(path, number("ROWS"), number("QUERIES"),
                                       metric=option("METRIC") or None)
            except bench_data.Unreadable as reason:
                say("left out: %s" % reason)
                continue
            say(str(data))
            try:
                search = Search(server, data)
            except bench_single.Skipped as reason:
                say("left out: %s" % reason)
                continue
            profiles = [find_ef(search, float(target))
                        for target in option("RECALLS", "0.95 0.99").split()]
            if len({profile.ef for profile in profiles}) == 1:
                profiles = profiles[-1:]        # the least effort reaches them all
            for profile in profiles:
                say("%s: ef %d" % (data.name, profile.ef))
                search.profile(profile, server)
            statement = search.statement()
            report(search, profiles, statement, memory)
            search.system.close()


if __name__ == "__main__":
    main()
