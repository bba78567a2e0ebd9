"""What does distribution cost?  The same vectors on one server and on workers.

Run by "make bench-distributed" (README.md here has tables it made).  A
coordinator and three workers run on this machine.  The same vectors are in one
table, in 8 partitions of the coordinator, and in 8 partitions on 1, 2 and 3
workers.  Each searches with the smallest of EF that reaches RECALL.  All
configurations take turns in blocks of queries; CPU is that of all backends of
all servers.  Then: what an empty search costs beside one prepared statement sent
to a worker, the rows that K = 1000 moves, and recall and CPU at one ef by the
number of local partitions.

Variables, with their defaults:

    VECTORS=file               a set as of bench-single (captions-384 in ../shared/data)
    ROWS=20000  QUERIES=200  BLOCK=50  ROUNDS=3  RECALL=0.99  K=10
    EF='10 14 20 28 40 56 80 113 160'  FIXED_EF=20
    CLIENTS='1 2'           clients at a time
    SHARED_BUFFERS=256MB  MAINTENANCE_WORK_MEM=256MB
"""

import glob
import os
import socket
import statistics
import subprocess
import threading
import time

import bench_data
from bench_server import ROOT, number, option, private_servers, say

OPERATORS = {"l2": "<->", "ip": "<#>", "cosine": "<=>"}
PARTITIONS = 8
WORKERS = ("w1", "w2", "w3")
CONFIGURATIONS = (
    ("one", "one table"),
    ("local8", "8 local partitions"),
    ("on1", "8 partitions on 1 worker"),
    ("on2", "8 partitions on 2 workers"),
    ("on3", "8 partitions on 3 workers"),
)


class Client:
    """A bench_pg_client that searches the table items of a schema."""

    def __init__(self, server, schema, files, operator, k):
        self.process = subprocess.Popen(
            [os.path.join(ROOT, "build/bench/bench_pg_client"),
             server.conninfo("bench") + " options='-c search_path=%s,public'" % schema,
             files["queries"], operator, str(k), "vhnsw.ef_search"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("bench_pg_client has ended")
        return answer

    def run(self, first, count):
        """Times in microseconds, and the rows of each answer."""
        times, answers = [], []
        for item in self.ask("run %d %d" % (first, count)).split():
            microseconds, _, ids = item.partition(":")
            times.append(float(microseconds))
            answers.append([int(i) for i in ids.split(",") if i])
        return times, answers

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Proxy:
    """Counts the bytes between a port of its own and a server's."""

    def __init__(self, target):
        self.target = target
        self.bytes = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=ends, daemon=True).start()

    def copy(self, source, sink):
        while True:
            try:
                data = source.recv(65536)
                if data:
                    self.bytes += len(data)
                    sink.sendall(data)
                    continue
            except OSError:
                pass
            sink.close()
            return


def backends_cpu_us(servers):
    """CPU time of all processes that the servers have now."""
    total = 0
    postmasters = {server.postmaster() for server in servers}
    for process in glob.glob("/proc/[0-9]*"):
        try:
            with open(process + "/stat", encoding="utf-8", errors="replace") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            if parent in postmasters:
                with open(process + "/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0]) / 1000
        except OSError:
            continue                    # it has ended
    return total


# ----------------------------------------------------------------------
# Tables
# ----------------------------------------------------------------------

def set_up(coordinator, workers, files, data):
    for server in (coordinator, *workers):
        server.sql("postgres", "CREATE DATABASE bench")
        server.sql("bench", "CREATE EXTENSION vecdist")
    for name, server in zip(WORKERS, workers):
        coordinator.sql("bench", "SELECT vecdist.add_worker('%s', '127.0.0.1:%d')"
                        % (name, server.port))

    columns = "(id integer, v vector(%d))" % data.base.shape[1]
    tables = {"one": ("", None), "empty3": ("PARTITION BY HASH (id)", WORKERS)}
    for n in (1, 2, 4, 8, 16):
        tables["local%d" % n] = ("PARTITION BY HASH (id)", n)
    for n in (1, 2, 3):
        tables["on%d" % n] = ("PARTITION BY HASH (id)", WORKERS[:n])
    for schema, (partitioning, where) in tables.items():
        say("table " + schema)
        statements = ["CREATE SCHEMA " + schema, "SET search_path = %s, public" % schema,
                      "CREATE TABLE items %s %s" % (columns, partitioning)]
        if isinstance(where, int):
            statements += [
                "CREATE TABLE items_%d PARTITION OF items FOR VALUES WITH (MODULUS %d, REMAINDER %d)"
                % (i, where, i) for i in range(where)]
        elif where is not None:
            statements.append("SELECT vecdist.create_distributed_table('items', %d, '{%s}')"
                              % (PARTITIONS, ",".join(where)))
        if schema != "empty3":
            statements.append("COPY items FROM '%s' (FORMAT binary)" % files["copy"])
        statements += ["CREATE INDEX ON items USING vhnsw (v vector_%s_ops)" % data.metric,
                       "ANALYZE items"]
        coordinator.sql("bench", *statements)
    # What a client that asks a worker directly finds there
    workers[0].sql("bench", "CREATE SCHEMA direct", "CREATE TABLE direct.items " + columns,
                   "CREATE INDEX ON direct.items USING vhnsw (v vector_%s_ops)" % data.metric)


# ----------------------------------------------------------------------
# Measuring
# ----------------------------------------------------------------------

def smallest_ef(client, meter, count):
    """The first of EF that reaches RECALL, or the last, and its recall."""
    for ef in option("EF", "10 14 20 28 40 56 80 113 160").split():
        client.ask("ef " + ef)
        recall = meter.recall(0, client.run(0, count)[1])
        if recall >= float(option("RECALL", "0.99")):
            break
    return ef, recall


def compare(servers, files, data, nclients):
    """Lines of the table for so many clients at a time."""
    k = number("K", 10)
    operator = OPERATORS[data.metric]
    count = len(data.queries)
    block = number("BLOCK", 50)
    meter = bench_data.RecallMeter(data, k)
    clients, chosen, times, cpu = {}, {}, {}, {}
    for schema, _ in CONFIGURATIONS:
        clients[schema] = [Client(servers[0], schema, files, operator, k)
                           for _ in range(nclients)]
        chosen[schema] = smallest_ef(clients[schema][0], meter, count)
        for client in clients[schema]:
            client.ask("ef " + chosen[schema][0])
            client.run(0, 5)
        times[schema], cpu[schema] = [], []
    for _ in range(number("ROUNDS", 3)):
        for first in range(0, count, block):
            for schema, _ in CONFIGURATIONS:
                before = backends_cpu_us(servers)
                results = [None] * nclients

                def work(i, these=clients[schema], out=results, start=first):
                    out[i] = these[i].run(start, block)[0]
                threads = [threading.Thread(target=work, args=(i,)) for i in range(nclients)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                cpu[schema].append((backends_cpu_us(servers) - before) / block / nclients)
                for result in results:
                    times[schema] += result
    lines = []
    for schema, title in CONFIGURATIONS:
        ordered = sorted(times[schema])
        lines.append("| %s | %d | %s | %.3f | %.3f | %.3f | %.3f | %.2f |" % (
            title, nclients, chosen[schema][0], chosen[schema][1],
            ordered[len(ordered) // 2] / 1000, ordered[len(ordered) * 99 // 100] / 1000,
            statistics.median(cpu[schema]) / 1000,
            statistics.median(cpu[schema]) / statistics.median(cpu["local8"])))
        for client in clients[schema]:
            client.close()
    return lines


def empty_search(servers, files, data):
    """Median times of a search of nothing, and of a statement to a worker."""
    through = Client(servers[0], "empty3", files, OPERATORS[data.metric], number("K", 10))
    direct = Client(servers[1], "direct", files, OPERATORS[data.metric], number("K", 10))
    times = {through: [], direct: []}
    for _ in range(20):
        for client, taken in times.items():
            taken += client.run(0, 50)[0]
    result = [statistics.median(taken[100:]) / 1000 for taken in times.values()]
    through.close()
    direct.close()
    return result


def rows_moved(servers, files, data):
    """For K = 10 and 1000 on 3 workers: (rows, messages) per search."""
    result = []
    for k in (10, 1000):
        servers[0].sql("bench", "SELECT vecdist.stat_search_reset()")
        client = Client(servers[0], "on3", files, OPERATORS[data.metric], k)
        client.run(0, 20)
        client.close()
        result.append([float(x) for x in servers[0].sql(
            "bench", "SELECT rows_received / searches || ' ' || messages::float8 / searches"
            " FROM vecdist.stat_search WHERE relation = 'on3.items'::regclass")[0].split()])
    return result


def wire_bytes(servers, files, data):
    """Bytes between coordinator and 3 workers for a search, by K."""
    proxies = [Proxy(server.port) for server in servers[1:]]
    for name, proxy in zip(WORKERS, proxies):
        servers[0].sql("bench", "ALTER SERVER %s OPTIONS (SET hosts '127.0.0.1:%d')"
                       % (name, proxy.port))
    result = []
    for k in (10, 1000):
        client = Client(servers[0], "on3", files, OPERATORS[data.metric], k)
        client.run(0, 5)
        time.sleep(0.2)
        before = sum(proxy.bytes for proxy in proxies)
        client.run(5, 20)
        time.sleep(0.2)
        result.append((sum(proxy.bytes for proxy in proxies) - before) / 20)
        client.close()
    for name, server in zip(WORKERS, servers[1:]):
        servers[0].sql("bench", "ALTER SERVER %s OPTIONS (SET hosts '127.0.0.1:%d')"
                       % (name, server.port))
    return result


def by_partitions(servers, files, data):
    """Recall and CPU of one search at FIXED_EF, by local partitions."""
    meter = bench_data.RecallMeter(data, number("K", 10))
    lines = []
    for n in (1, 2, 4, 8, 16):
        client = Client(servers[0], "local%d" % n, files, OPERATORS[data.metric],
                        number("K", 10))
        client.ask("ef %d" % number("FIXED_EF", 20))
        recall = meter.recall(0, client.run(0, len(data.queries))[1])
        before = backends_cpu_us(servers)
        client.run(0, len(data.queries))
        lines.append("| %d | %.3f | %.3f |" % (
            n, recall, (backends_cpu_us(servers) - before) / len(data.queries) / 1000))
        client.close()
    return lines


def planning(servers, data):
    """Planning times of a top-K, and of core's plan, by partitions; median.

    Without a condition, and with one on the partition key that is known when the
    plan is run, so that it carries steps of run-time pruning.
    """
    lines = []
    vector = "[" + ",".join(repr(float(x)) for x in data.queries[0][:8]) + "]"
    for n in (8, 64, 512):
        table = "plan%d" % n
        servers[0].sql("bench", "CREATE TABLE %s (id integer, v vector(8)) PARTITION BY HASH (id)" % table,
                       "SELECT vecdist.create_distributed_table('%s', %d)" % (table, n))
        query = "SELECT id FROM %s %s ORDER BY v <-> '%s' LIMIT 10"
        for condition in ("", "WHERE id = $1"):
            once = ["PREPARE q(int) AS " + query % (table, condition, vector),
                    "EXPLAIN (SUMMARY) EXECUTE q(5)", "DEALLOCATE q"]
            statements = ["SET plan_cache_mode = force_generic_plan"]
            for _ in range(15):
                for setting in ("on", "off"):
                    statements += ["SET vecdist.enable_topk = " + setting, *once]
            found = [float(line.split()[2]) for line in servers[0].sql("bench", *statements)
                     if line.startswith("Planning Time")]
            ours, core = (statistics.median(found[i::2][5:]) for i in (0, 1))
            lines.append("| %d | %s | %.3f | %.3f | %+.3f |" % (
                n, "parameter" if condition else "none", ours, core, ours - core))
    return lines


def main():
    path = option("VECTORS") or sorted(glob.glob(
        os.path.join(ROOT, "../shared/data/captions-384.base.*")))[0]
    data = bench_data.load(path, number("ROWS", 20000), number("QUERIES", 200))
    os.environ.setdefault("SHARED_BUFFERS", "256MB")
    os.environ.setdefault("MAINTENANCE_WORK_MEM", "256MB")
    conf = ("shared_preload_libraries = 'vecdist'", "max_prepared_transactions = 10",
            "listen_addresses = '127.0.0.1'", "max_locks_per_transaction = 1024")
    with private_servers(1 + len(WORKERS), conf) as servers:
        files = {"queries": os.path.join(servers[0].scratch, "queries.fbin"),
                 "copy": os.path.join(servers[0].scratch, "base.copy")}
        bench_data.write_fbin(files["queries"], data.queries)
        bench_data.write_copy(files["copy"], data.base)
        for file in files.values():
            os.chmod(file, 0o644)
        set_up(servers[0], servers[1:], files, data)

        print("%s, %s: %d x %d, %d queries, K = %d" % (
            data.name, data.metric, *data.base.shape, len(data.queries), number("K", 10)))
        print("\n| vectors in | clients | ef | recall | p50, ms | p99, ms | CPU, ms | CPU / local |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for nclients in option("CLIENTS", "1 %d" % os.cpu_count()).split():
            print("\n".join(compare(servers, files, data, int(nclients))), flush=True)

        through, direct = empty_search(servers, files, data)
        print("\nEmpty search on 3 workers %.3f ms, statement to a worker %.3f ms: %+.3f ms"
              % (through, direct, through - direct), flush=True)
        moved = rows_moved(servers, files, data)
        wire = wire_bytes(servers, files, data)
        for k, (rows, messages), sent in zip((10, 1000), moved, wire):
            print("K = %d on 3 workers: %.0f rows of %d (%.2f), %.1f messages, %.0f bytes on the wire"
                  % (k, rows, PARTITIONS * k, rows / (PARTITIONS * k), messages, sent))

        print("\n| local partitions | recall at ef %d | CPU, ms |\n|---:|---:|---:|"
              % number("FIXED_EF", 20))
        print("\n".join(by_partitions(servers, files, data)), flush=True)
        print("\n| partitions on 3 workers | condition on the key | planning, ms | without the scan, ms | difference, ms |"
              "\n|---:|---|---:|---:|---:|")
        print("\n".join(planning(servers, data)))


if __name__ == "__main__":
    main()
