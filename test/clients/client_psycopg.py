"""psycopg 3 with pgvector.psycopg: text, binary, COPY of both kinds."""
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

from client_common import (DIMS, DISTRIBUTED, EXTENSION, METHOD, columns, expect,
                           expect_index, expect_nearest, query, rows, searches)

TYPES = ["int4"] + [type_name for type_name, _, _ in columns.values()]
ATTRIBUTES = ["id"] + [attribute for _, attribute, _ in columns.values()]


def create_table(conn):
    names = ", ".join(f"{column} {type_name}({DIMS})"
                      for column, (type_name, _, _) in columns.items())
    if DISTRIBUTED:
        conn.execute(f"CREATE TABLE items (id int, {names}) PARTITION BY HASH (id)")
        conn.execute("SELECT vecdist.create_distributed_table('items', partitions => 4)")
    else:
        conn.execute(f"CREATE TABLE items (id int PRIMARY KEY, {names})")


def values(row, binary):
    # There is no text dumper for bits with which COPY could do.
    return [row.bits if name == "bit" and not binary else getattr(row, name)
            for name in ATTRIBUTES]


def fill_table(conn):
    """A quarter of the rows each way."""
    quarter = len(rows) // 4
    cursor = conn.cursor()
    for mark, part in (("%t", rows[:quarter]),
                       ("%b", rows[quarter:2 * quarter])):
        cursor.executemany(
            f"INSERT INTO items VALUES ({', '.join([mark] * 5)})",
            [values(row, True) for row in part])
    for how, part in (("TEXT", rows[2 * quarter:3 * quarter]),
                      ("BINARY", rows[3 * quarter:])):
        with cursor.copy(f"COPY items FROM STDIN (FORMAT {how})") as copy:
            if how == "BINARY":
                copy.set_types(TYPES)
            for row in part:
                copy.write_row(values(row, how == "BINARY"))


def check_values(conn):
    """All rows are the same whichever way they come back."""
    for binary in (False, True):
        found = conn.cursor(binary=binary).execute(
            "SELECT id, embedding, half, sparse, bits::text FROM items ORDER BY id").fetchall()
        expect(found, [(row.id, row.vector, row.half, row.sparse, row.bits)
                       for row in rows], f"values, binary = {binary}")
    with conn.cursor().copy("COPY (TABLE items ORDER BY id) TO STDOUT (FORMAT BINARY)") as copy:
        copy.set_types(TYPES)
        expect([row[:4] for row in copy.rows()],
               [(row.id, row.vector, row.half, row.sparse) for row in rows],
               "values of COPY TO")


def check_other_values(conn):
    """NULL, arrays, aggregates."""
    for binary in (False, True):
        cursor = conn.cursor(binary=binary)
        expect(cursor.execute("SELECT NULL::vector, %s::vector", (None,)).fetchone(),
               (None, None), "NULL")
        pair = [rows[0].vector, rows[1].vector]
        expect(cursor.execute("SELECT %s::vector[]", (pair,)).fetchone()[0],
               pair, f"array, binary = {binary}")
        mean = cursor.execute("SELECT avg(embedding) FROM items WHERE id <= 2").fetchone()[0]
        expect(mean, Vector([(a + b) / 2 for a, b in
                             zip(rows[0].values, rows[1].values)]), "avg")


def expect_plan(lines, index, what):
    """An index; of a distributed table, the workers have that."""
    expect_index([line for line, in lines],
                 "Distributed Top-K" if DISTRIBUTED else index, what)


def check_classes(conn):
    """Every operator class, with parameters of both kinds."""
    for column, _, attribute, operator, opclass in searches():
        index = f"{column}_{opclass}"
        conn.execute(f"CREATE INDEX {index} ON items USING {METHOD} ({column} {opclass})")
        for mark in ("%t", "%b"):
            what = f"{column} {operator} {mark}"
            search = (f"SELECT id, {column} {operator.replace('%', '%%')} {mark} AS d "
                      "FROM items ORDER BY d LIMIT 10")
            pair = (getattr(query, attribute),)
            expect_plan(conn.execute("EXPLAIN " + search, pair).fetchall(), index, what)
            expect_nearest(conn.execute(search, pair).fetchall(), operator, 10, what)
        conn.execute(f"DROP INDEX {index}")


def check_forms(conn):
    """
    The forms in which frameworks write a search, also with a plan that does
    not know the values: all use the index, or the expression's.
    """
    conn.execute(f"CREATE INDEX plain ON items USING {METHOD} (embedding vector_cosine_ops)")
    conn.execute(f"CREATE INDEX halves ON items USING {METHOD} "
                 f"((embedding::halfvec({DIMS})) halfvec_cosine_ops)")
    text = query.vector.to_text()
    for index, order, parameter in (
            ("plain", "embedding <=> {}", query.vector),
            ("plain", "embedding <=> {}", text),
            ("plain", "embedding <=> {}::vector", text),
            ("plain", f"embedding <=> {{}}::vector({DIMS})", text),
            ("plain", "embedding <=> CAST({} AS vector)", text),
            ("plain", "embedding OPERATOR(public.<=>) {}", query.vector),
            ("halves", f"embedding::halfvec({DIMS}) <=> {{}}", query.half),
            ("halves", f"embedding::halfvec({DIMS}) <=> {{}}::halfvec({DIMS})", text),
            ("halves", f"(CAST(embedding AS halfvec({DIMS}))) <=> {{}}", text)):
        search = f"SELECT id, {order} AS d FROM items ORDER BY {order} LIMIT {{}}"
        for mode in ("force_custom_plan", "force_generic_plan"):
            what = f"{order}, {mode}"
            conn.execute(f"SET plan_cache_mode = {mode}")
            conn.execute(f"PREPARE search AS {search.format('$1', '$1', '$2')}")
            plan = conn.execute(f"EXPLAIN EXECUTE search ('{text}', 10)").fetchall()
            expect_plan(plan, index, what)
            expect(any("$1" in line for line, in plan), mode == "force_generic_plan", what)
            conn.execute("DEALLOCATE search")
            found = conn.execute(search.format("%s", "%s", "%s"),
                                 (parameter, parameter, 10), prepare=True).fetchall()
            expect_nearest(found, "<=>", 10, what)
    conn.execute("RESET plan_cache_mode")

    # A bound on the distance beside the order
    near = conn.execute(
        "SELECT id, embedding <=> %(q)s AS distance FROM items WHERE embedding <=> %(q)s < %(d)s "
        "ORDER BY distance LIMIT 5", {"q": query.vector, "d": 1.5}).fetchall()
    expect_nearest(near, "<=>", 5, "a bound on the distance")

    # Signs first, then the distances of what they find
    conn.execute(f"CREATE INDEX signs ON items USING {METHOD} "
                 f"((binary_quantize(embedding)::bit({DIMS})) bit_hamming_ops)")
    found = conn.execute(
        f"SELECT id, embedding <=> %(q)s FROM (SELECT * FROM items ORDER BY "
        f"binary_quantize(embedding)::bit({DIMS}) <~> binary_quantize(%(q)s) LIMIT 200) s "
        f"ORDER BY embedding <=> %(q)s LIMIT 5", {"q": query.vector}).fetchall()
    expect_nearest(found, "<=>", 5, "signs, then distances")


def check_session(conn):
    """A batch as it comes from LangChain, settings, and what tools watch."""
    conn.execute(f"BEGIN; SELECT pg_advisory_xact_lock(1573678846307946496); "
                 f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}; COMMIT;")
    with conn.transaction():
        conn.execute(f"SET LOCAL {METHOD}.ef_search = 100")
        conn.execute("SET LOCAL ivfflat.probes = 10")
        plan = conn.execute("EXPLAIN (ANALYZE) SELECT id FROM items ORDER BY embedding <=> %s "
                            "LIMIT 3", (query.vector,)).fetchall()
        expect(any("ef: 100" in line.lower() or "ef 100" in line for line, in plan), True,
               "ef_search")
    if not DISTRIBUTED:
        conn.execute("ALTER TABLE items ALTER COLUMN embedding SET STORAGE PLAIN")
        conn.execute("ALTER TABLE items SET (parallel_workers = 2)")
    phases = conn.execute(
        "SELECT pg_indexam_progress_phasename(oid, 1), ARRAY(SELECT "
        "pg_indexam_progress_phasename(oid, n) FROM generate_series(1, 20) AS n) "
        "FROM pg_am WHERE amname = %s", (METHOD,)).fetchone()
    expect((phases[0], "loading tuples" in phases[1]), ("initializing", True), "phases")


def check_errors(conn):
    """Exceptions are made from SQLSTATEs."""
    for statement, error in (
            ("SELECT '[1,2]'::vector(3)", psycopg.errors.DataException),
            ("SELECT '[1,2'::vector", psycopg.errors.InvalidTextRepresentation),
            ("SELECT '[1e5]'::halfvec", psycopg.errors.NumericValueOutOfRange),
            ("SELECT id FROM items ORDER BY embedding <=> '[1,2]' LIMIT 1",
             psycopg.errors.DataException)):
        try:
            conn.execute(statement)
        except error as e:
            expect(type(e), error, statement)
        else:
            raise AssertionError(f"no error: {statement}")


with psycopg.connect("", autocommit=True) as connection:
    connection.execute(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
    register_vector(connection)
    create_table(connection)
    fill_table(connection)
    check_values(connection)
    check_other_values(connection)
    check_classes(connection)
    check_forms(connection)
    check_session(connection)
    check_errors(connection)
