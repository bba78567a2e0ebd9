"""Recall on data, and of queries, that do not suit clusters, by both builds.

    make bench-awkward

Every kind is generated, indexed by clusters (vhnsw.build_method = blocked) and
by searching, and asked for the nearest 10 of each query.  What is as near as
the 10th counts.  A line tells CPU seconds of the build, searches found (of
vhnsw_info), and for each ef recall and elements expanded for a query.

Variables, with their defaults:

    KINDS=                names of kinds (default: all)
    METHODS='blocked search'
    EF='10 40'   QUERIES=400
    ROWS=20000            of each kind but many, which has ten times as many
"""

import sys

import numpy

import bench_data
import bench_generate
from bench_server import number, option, private_server, say
from bench_single import CPU_OF_SESSION, OPERATORS, session_seconds

K = 10
KINDS = {}


def kind(name, metric="l2"):
    """Register a function of a random generator, rows and queries that draws
    both."""
    def register(draw):
        KINDS[name] = (metric, draw)
        return draw
    return register


def sphere(random, n, dims):
    result = random.standard_normal((n, dims))
    return result / numpy.linalg.norm(result, axis=1, keepdims=True)


def clusters(random, centers, n, width):
    middle = centers[random.integers(len(centers), size=n)]
    return middle + width * random.standard_normal(middle.shape)


def shell(random, rows, dims):
    """A surface around nothing: queries inside and outside are far from all."""
    return sphere(random, rows, dims) * (1 + 0.01 * random.standard_normal((rows, 1)))


@kind("shell-center")
def shell_center(random, rows, queries):
    return shell(random, rows, 16), 0.1 * random.standard_normal((queries, 16))


@kind("shell-outside")
def shell_outside(random, rows, queries):
    return shell(random, rows, 16), 3 * sphere(random, queries, 16)


@kind("shell-clusters")
def shell_clusters(random, rows, queries):
    """Clusters in all directions, queries far outside."""
    centers = sphere(random, 120, 64)
    return (clusters(random, centers, rows, 0.02),
            3 * sphere(random, queries, 64))


@kind("far-outliers")
def far_outliers(random, rows, queries):
    return (bench_generate.make(rows, 64, "flat", 1),
            5 * bench_generate.make(rows, 64, "flat", 2, queries))


def between(random, base, queries):
    """Queries in the middle between two rows."""
    pairs = random.integers(len(base), size=(2, queries))
    return base, (base[pairs[0]] + base[pairs[1]]) / 2


@kind("halfway")
def halfway(random, rows, queries):
    return between(random, clusters(random, random.standard_normal((120, 64)), rows, 0.25),
                   queries)


@kind("ip-direction", "ip")
def ip_direction(random, rows, queries):
    base = clusters(random, random.standard_normal((120, 256)), rows, 0.25)
    return base, random.standard_normal((queries, 256))


@kind("ip-halfway", "ip")
def ip_halfway(random, rows, queries):
    return between(random, clusters(random, random.standard_normal((120, 256)), rows, 0.25),
                   queries)


@kind("ip-clusters", "ip")
def ip_clusters(random, rows, queries):
    return (bench_generate.make(rows, 64, "clustered", 1),
            bench_generate.make(rows, 64, "clustered", 2, queries))


@kind("near-duplicates")
def near_duplicates(random, rows, queries):
    """Hundreds of elements that are all but equal, of each of a few."""
    centers = random.standard_normal((rows // 500, 32))
    return (clusters(random, centers, rows, 1e-4),
            clusters(random, centers, queries, 1e-4))


@kind("near-duplicates-between")
def near_duplicates_between(random, rows, queries):
    centers = random.standard_normal((rows // 500, 32))
    return clusters(random, centers, rows, 1e-4), random.standard_normal((queries, 32))


@kind("many")
def many(random, rows, queries):
    """Clusters of 20 to 50, far from each other."""
    rows *= 10
    centers = 10 * random.standard_normal((rows // 30, 16))
    return (clusters(random, centers, rows, 0.1),
            clusters(random, centers, queries, 0.1))


def limits_of(base, queries, metric):
    """The distance of the Kth, as SQL tells it."""
    nearest = bench_data.exact_neighbors(base, queries, K, metric)
    result = bench_data.distances(queries, base[nearest], metric).max(axis=1)
    return numpy.sqrt(result) if metric == "l2" else result


def recall(server, operator, ef, limits):
    """The share found, and how many elements a search expanded."""
    lines = server.sql(
        "postgres", "SET enable_seqscan = off; SET vhnsw.ef_search = %d" % ef,
        "SELECT q.id, d FROM queries q, LATERAL (SELECT v %s q.v AS d FROM items"
        " ORDER BY v %s q.v LIMIT %d) f" % (operator, operator, K),
        "SELECT expanded FROM vhnsw_session_stats()")
    found = 0
    for line in lines[:-1]:
        query, distance = line.split("|")
        limit = limits[int(query)]
        found += float(distance) <= limit + 1e-5 * abs(limit)
    return found / (K * len(limits)), int(lines[-1]) / len(limits)


def load(server, table, rows):
    server.sql("postgres", "DROP TABLE IF EXISTS " + table)
    bench_data.load_table(server, "postgres", table, rows)
    server.sql("postgres", "VACUUM (ANALYZE) " + table)


def build(server, method, metric):
    """CPU seconds, and what vhnsw_info says of searches."""
    before, after = server.sql(
        "postgres", "DROP INDEX IF EXISTS items_v", "SET vhnsw.build_method = " + method,
        CPU_OF_SESSION, "CREATE INDEX items_v ON items USING vhnsw (v vector_%s_ops)" % metric,
        CPU_OF_SESSION)
    found, = server.sql("postgres", "SELECT searches_found FROM vhnsw_info('items_v')")
    return session_seconds(after) - session_seconds(before), float(found)


def main():
    names = option("KINDS", " ".join(KINDS)).split()
    efs = [int(ef) for ef in option("EF", "10 40").split()]
    for name in names:
        if name not in KINDS:
            sys.exit(__doc__ + "\nkinds: " + " ".join(KINDS))
    print("%-24s %-8s %7s %6s  %s" % (
        "", "", "CPU s", "found",
        "  ".join("ef %d: recall, expanded" % ef for ef in efs)))
    with private_server() as server:
        server.sql("postgres", "CREATE EXTENSION vecdist")
        for name in names:
            metric, draw = KINDS[name]
            base, queries = (part.astype("f4") for part in draw(
                numpy.random.default_rng(7), number("ROWS", 20000), number("QUERIES", 400)))
            say("%s: %d x %d" % (name, *base.shape))
            load(server, "items", base)
            load(server, "queries", queries)
            limits = limits_of(base, queries, metric)
            for method in option("METHODS", "blocked search").split():
                seconds, found = build(server, method, metric)
                points = [recall(server, OPERATORS[metric], ef, limits) for ef in efs]
                print("%-24s %-8s %7.2f %6.3f  %s" % (
                    name, method, seconds, found,
                    "      ".join("%6.3f %10.1f" % point for point in points)), flush=True)


if __name__ == "__main__":
    main()
