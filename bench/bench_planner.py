"""Does the planner choose the faster plan?  Chosen plans and actual times.

Run by "make bench-planner" (README.md here has a table it made).  About forty
queries: tables of several sizes, LIMITs, filters of several selectivities with
and without a btree, filters that agree with the distance or are against it,
several filters, joins, subqueries, partitions, generic plans, more keys, tables
without ANALYZE.  Each is run as planned, with the
vector index forced, and without it, in turn; a time is the least of the rounds.
"ratio" is that of the chosen plan to the best of the three; beyond 2 the choice
was wrong.

Variables, with their defaults:

    ROWS='100 1000 10000 100000'    sizes of tables; filters run on the largest
    DIMS=128  ROUNDS=3  QUERIES=3   vectors that each query is run with
    SHARED_BUFFERS=1GB  MAINTENANCE_WORK_MEM=1GB
"""

from bench_server import number, option, private_server, say

SETTINGS = (
    ("chosen", ""),
    ("index", "enable_seqscan=off enable_sort=off enable_bitmapscan=off"),
    ("exact", "enable_indexscan=off"),
)

SETUP = """
CREATE FUNCTION random_vector(n integer, seed bigint) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(((hashint8extended(i, seed % 100) & 1023)
                      + (hashint8extended(i, seed + 1000) & 1023) * 0.7) / 1024.0)::vector
    FROM generate_series(1, n) i
$$;
CREATE FUNCTION run(query text, settings text, OUT plan text, OUT ms float8)
LANGUAGE plpgsql AS $$
DECLARE
    explained json;
    node json;
    setting text;
BEGIN
    FOREACH setting IN ARRAY string_to_array(settings, ' ') LOOP
        PERFORM set_config(split_part(setting, '=', 1), split_part(setting, '=', 2), true);
    END LOOP;
    IF query LIKE 'PREPARE %' THEN
        SET LOCAL plan_cache_mode = force_generic_plan;
        EXECUTE split_part(query, ';', 1);
        EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || split_part(query, ';', 2)
            INTO explained;
        DEALLOCATE ALL;
    ELSE
        EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || query INTO explained;
    END IF;
    node := explained->0->'Plan';
    ms := explained->0->'Execution Time';
    plan := '';
    LOOP
        IF node->>'Node Type' NOT IN ('Limit', 'Subquery Scan') THEN
            plan := plan || coalesce(node->>'Custom Plan Provider', node->>'Node Type')
                || coalesce(': ' || (node->>'Strategy'), '') || ' ';
        END IF;
        EXIT WHEN node->>'Custom Plan Provider' IS NOT NULL OR node->'Plans' IS NULL;
        node := node->'Plans'->0;
    END LOOP;
END
$$;
"""


def make_table(server, name, rows, dims, analyze=True):
    """A table with columns for filters that are independent (r), and by rank
    of the distance from query 0 (near); those ending in 2 have no btree."""
    server.sql(
        "planner",
        "CREATE TABLE %s AS SELECT i AS id, (hashint8extended(i, 7) & 9999999) %% %d AS r,"
        " 0 AS near, 0 AS r2, 0 AS near2, random_vector(%d, i)::vector(%d) AS v"
        " FROM generate_series(1, %d) i" % (name, rows, dims, dims, rows),
        "UPDATE {0} SET r2 = r, near = rank, near2 = rank FROM"
        " (SELECT id, row_number() OVER (ORDER BY v <-> random_vector({1}, 1000000000)) - 1 AS rank"
        "  FROM {0}) s WHERE s.id = {0}.id".format(name, dims),
        "VACUUM FULL %s" % name,
        "CREATE INDEX ON %s (r)" % name, "CREATE INDEX ON %s (near)" % name,
        "CREATE INDEX ON %s USING vhnsw (v vector_l2_ops)" % name,
        "VACUUM %s %s" % ("ANALYZE" if analyze else "", name))


def make_partitions(server, table, dims):
    """The rows of a table in eight partitions."""
    server.sql(
        "planner",
        "CREATE TABLE parted (id integer, r2 bigint, v vector(%d)) PARTITION BY HASH (id)" % dims,
        *["CREATE TABLE parted_%d PARTITION OF parted FOR VALUES WITH (MODULUS 8, REMAINDER %d)"
          % (i, i) for i in range(8)],
        "INSERT INTO parted SELECT id, r2, v FROM " + table,
        "CREATE INDEX ON parted USING vhnsw (v vector_l2_ops)", "VACUUM ANALYZE parted")


def make_cases(tables):
    """(description, query with {q} for the distance, {v} the vector) of all cases.

    What is prepared comes in two statements, and gets a generic plan.
    """
    cases = []
    for rows, table in tables:
        for limit in (1, 10, 100, 1000):
            if limit <= rows:
                cases.append(("%d rows, LIMIT %d" % (rows, limit),
                              "SELECT id FROM %s ORDER BY {q} LIMIT %d" % (table, limit)))
    rows, table = tables[-1]
    for column, how in (("r", "btree"), ("r2", "no btree")):
        for share in (0.5, 0.1, 0.01, 0.001):
            cases.append(("%s: %g %% pass" % (how, share * 100),
                          "SELECT id FROM %s WHERE %s < %d ORDER BY {q} LIMIT 10"
                          % (table, column, max(1, int(rows * share)))))
    for column, how in (("near", "btree"), ("near2", "no btree")):
        cases.append((how + ": nearest 10 % pass",
                      "SELECT id FROM %s WHERE %s < %d ORDER BY {q} LIMIT 10"
                      % (table, column, rows // 10)))
        cases.append((how + ": farthest 10 % pass",
                      "SELECT id FROM %s WHERE %s >= %d ORDER BY {q} LIMIT 10"
                      % (table, column, rows - rows // 10)))
    generic = "PREPARE s (vector, integer) AS SELECT id FROM %s " % table
    cases += [
        ("btree: 0.1 % OR nearest 0.1 % pass",
         "SELECT id FROM %s WHERE r < %d OR near < %d ORDER BY {q} LIMIT 10"
         % (table, rows // 1000, rows // 1000)),
        ("no btree: 1 % OR 10 % pass",
         "SELECT id FROM %s WHERE r2 < %d OR near2 %% 10 = 3 ORDER BY {q} LIMIT 10"
         % (table, rows // 100)),
        ("btree: 10 % AND no btree: 10 % pass",
         "SELECT id FROM %s WHERE r < %d AND near2 %% 10 = 3 ORDER BY {q} LIMIT 10"
         % (table, rows // 10)),
        ("subquery LIMIT 100, 10 % pass above",
         "SELECT id FROM (SELECT id, r2 FROM %s ORDER BY {q} LIMIT 100) s WHERE r2 %% 10 = 3"
         % table),
        ("8 partitions, LIMIT 10", "SELECT id FROM parted ORDER BY {q} LIMIT 10"),
        ("8 partitions, no btree: 10 % pass",
         "SELECT id FROM parted WHERE r2 < %d ORDER BY {q} LIMIT 10" % (rows // 10)),
        ("8 partitions, no btree: 0.1 % pass",
         "SELECT id FROM parted WHERE r2 < %d ORDER BY {q} LIMIT 10" % (rows // 1000)),
        ("generic plan, LIMIT $2", generic + "ORDER BY v <-> $1 LIMIT $2; EXECUTE s('{v}', 10)"),
        ("generic plan, btree: 1 % pass, $2", generic
         + "WHERE r < $2 ORDER BY v <-> $1 LIMIT 10; EXECUTE s('{v}', %d)" % (rows // 100)),
        ("generic plan, no btree: 10 % pass, $2", generic
         + "WHERE r2 < $2 ORDER BY v <-> $1 LIMIT 10; EXECUTE s('{v}', %d)" % (rows // 10)),
        ("ORDER BY distance, id", "SELECT id FROM %s ORDER BY {q}, id LIMIT 10" % table),
        ("OFFSET 200", "SELECT id FROM %s ORDER BY {q} LIMIT 10 OFFSET 200" % table),
        ("no LIMIT", "SELECT id FROM %s ORDER BY {q}" % table),
        ("join, every row has a partner",
         "SELECT t.id FROM %s t JOIN parts ON parts.id = t.r2 %% 100 ORDER BY {q} LIMIT 10" % table),
        ("join, one of ten has",
         "SELECT t.id FROM %s t JOIN parts ON parts.id = t.r2 %% 1000 ORDER BY {q} LIMIT 10" % table),
        ("LATERAL, ten vectors",
         "SELECT s.id FROM parts p, LATERAL (SELECT id FROM %s t ORDER BY t.v <-> p.v LIMIT 5) s"
         " WHERE p.id < 10" % table),
        ("never analyzed, LIMIT 10", "SELECT id FROM fresh ORDER BY {q} LIMIT 10"),
        ("never analyzed, a filter", "SELECT id FROM fresh WHERE r2 < 100 ORDER BY {q} LIMIT 10"),
    ]
    return cases


def measure(server, query, dims):
    """{setting: (plan, ms)}; times are sums over the query vectors."""
    result = {}
    queries = number("QUERIES", 3)
    rounds = number("ROUNDS", 3)
    for vector in range(queries):
        text = query.replace("{q}", "v <-> '%s'" % server.vectors[vector]) \
            if "parts" not in query else \
            query.replace("{q}", "t.v <-> '%s'" % server.vectors[vector])
        text = text.replace("{v}", server.vectors[vector])
        best = {}

        # The first round fills the caches of the session.
        lines = server.sql("planner", *[
            "SELECT * FROM run($q$%s$q$, '%s')" % (text, settings)
            for _, settings in SETTINGS * (rounds + 1)])
        for (name, _), line in zip(SETTINGS * rounds, lines[len(SETTINGS):]):
            plan, _, ms = line.rpartition("|")
            best[name] = (plan.strip(), min(float(ms), best.get(name, ("", 1e9))[1]))
        for name, (plan, ms) in best.items():
            result[name] = (plan, result.get(name, ("", 0))[1] + ms)
    return {name: (plan, ms / queries) for name, (plan, ms) in result.items()}


def run(server):
    dims = number("DIMS", 128)
    sizes = [int(rows) for rows in option("ROWS", "100 1000 10000 100000").split()]
    server.sql("postgres", "CREATE DATABASE planner")
    server.sql("planner", "CREATE EXTENSION vecdist", SETUP)
    tables = []
    for rows in sizes:
        say("table of %d rows" % rows)
        make_table(server, "items_%d" % rows, rows, dims)
        tables.append((rows, "items_%d" % rows))
    make_partitions(server, tables[-1][1], dims)
    make_table(server, "fresh", min(sizes[-1], 10000), dims, analyze=False)
    server.sql("planner",
               "CREATE TABLE parts AS SELECT i AS id, random_vector(%d, i + 1000000)"
               " AS v FROM generate_series(0, 99) i" % dims, "ANALYZE parts")
    server.vectors = server.sql(
        "planner", "SELECT random_vector(%d, 1000000000 + i) FROM generate_series(0, %d) i"
        % (dims, number("QUERIES", 3) - 1))

    print("| query | chosen plan | ms | index, ms | exact, ms | ratio |")
    print("|---|---|---:|---:|---:|---:|")
    wrong = 0
    for description, query in make_cases(tables):
        found = measure(server, query, dims)
        best = min(ms for _, ms in found.values())
        ratio = found["chosen"][1] / best
        wrong += ratio > 2
        print("| %s | %s | %.3f | %.3f | %.3f | %.1f |"
              % (description, *found["chosen"], found["index"][1],
                 found["exact"][1], ratio), flush=True)
    print("\nChoices that were wrong by more than a factor of 2: %d" % wrong)


def main():
    with private_server() as server:
        run(server)


if __name__ == "__main__":
    main()
