"""psycopg 3 with pgvector.psycopg: text, binary, COPY of both kinds."""
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

from client_common import (DIMS, EXTENSION, METHOD, columns, expect,
                           expect_index, expect_nearest, query, rows, searches)

TYPES = ["int4"] + [type_name for type_name, _, _ in columns.values()]
ATTRIBUTES = ["id"] + [attribute for _, attribute, _ in columns.values()]


def values(row, binary):
    # There is no text dumper for bits with which COPY could do.
    return [row.bits if name == "bit" and not binary else getattr(row, name)
            for name in ATTRIBUTES]


with psycopg.connect("", autocommit=True) as conn:
    conn.execute(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
    register_vector(conn)
    conn.execute("CREATE TABLE items (id int PRIMARY KEY, " + ", ".join(
        f"{column} {type_name}({DIMS})"
        for column, (type_name, _, _) in columns.items()) + ")")

    # A quarter of the rows each way
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

    # All of them are the same whichever way they come back
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

    # NULL, arrays, aggregates
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

    # Every operator class, with parameters of both kinds
    for column, type_name, attribute, operator, opclass in searches():
        index = f"{column}_{opclass}"
        conn.execute(f"CREATE INDEX {index} ON items USING {METHOD} ({column} {opclass})")
        for mark in ("%t", "%b"):
            what = f"{column} {operator} {mark}"
            search = (f"SELECT id, {column} {operator.replace('%', '%%')} {mark} AS d "
                      "FROM items ORDER BY d LIMIT 10")
            pair = (getattr(query, attribute),)
            plan = conn.execute("EXPLAIN " + search, pair).fetchall()
            expect_index([line for line, in plan], index, what)
            expect_nearest(conn.execute(search, pair).fetchall(), operator, 10, what)
        conn.execute(f"DROP INDEX {index}")

    # Errors have the SQLSTATEs that the client's exceptions are made from
    for statement, error in (
            ("SELECT '[1,2]'::vector(3)", psycopg.errors.DataException),
            ("SELECT '[1,2'::vector", psycopg.errors.InvalidTextRepresentation),
            ("SELECT '[1e5]'::halfvec", psycopg.errors.NumericValueOutOfRange)):
        try:
            conn.execute(statement)
        except error as e:
            expect(type(e), error, statement)
        else:
            raise AssertionError(f"no error: {statement}")
