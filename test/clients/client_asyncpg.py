"""asyncpg with pgvector.asyncpg, which speaks binary only."""
import asyncio

import asyncpg
from pgvector import HalfVector, SparseVector, Vector
from pgvector.asyncpg import register_vector

from client_common import (DIMS, DISTRIBUTED, EXTENSION, METHOD, columns, expect,
                           expect_index, expect_nearest, query, rows, searches)


def parameter(row, attribute):
    return asyncpg.BitString(row.bits) if attribute == "bit" else getattr(row, attribute)


def record(row):
    return (row.id, *(parameter(row, attribute)
                      for _, attribute, _ in columns.values()))


async def main():
    conn = await asyncpg.connect()
    await conn.execute(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
    await register_vector(conn)
    await conn.execute("CREATE TABLE items (id int, " + ", ".join(
        f"{column} {type_name}({DIMS})"
        for column, (type_name, _, _) in columns.items()) + ") PARTITION BY HASH (id)")
    if DISTRIBUTED:
        await conn.execute("SELECT vecdist.create_distributed_table('items', partitions => 4)")
    else:
        await conn.execute("CREATE TABLE items_all PARTITION OF items "
                           "FOR VALUES WITH (MODULUS 1, REMAINDER 0)")

    half = len(rows) // 2
    await conn.executemany("INSERT INTO items VALUES ($1, $2, $3, $4, $5)",
                           [record(row) for row in rows[:half]])
    await conn.copy_records_to_table(
        "items", records=[record(row) for row in rows[half:]])

    found = await conn.fetch("TABLE items ORDER BY id")
    expect([tuple(row) for row in found], [record(row) for row in rows], "values")
    expect([type(value) for value in found[0]][1:4],
           [Vector, HalfVector, SparseVector], "types")

    pair = [rows[0].vector, rows[1].vector]
    expect(await conn.fetchval("SELECT $1::vector[]", pair), pair, "array")
    expect(await conn.fetchval("SELECT $1::vector", None), None, "NULL")
    expect(await conn.fetchval("SELECT sum(half) FROM items WHERE id <= 2"),
           HalfVector([a + b for a, b in zip(rows[0].values, rows[1].values)]), "sum")

    for column, _, attribute, operator, opclass in searches():
        index = f"{column}_{opclass}"
        what = f"{column} {operator}"
        search = f"SELECT id, {column} {operator} $1 AS d FROM items ORDER BY d LIMIT $2"
        await conn.execute(
            f"CREATE INDEX {index} ON items USING {METHOD} ({column} {opclass})")
        plan = await conn.fetch("EXPLAIN " + search, parameter(query, attribute), 10)
        expect_index([line for line, in plan],
                     "Distributed Top-K" if DISTRIBUTED else f"items_all_{column}_idx", what)

        # Often enough for a generic plan of the prepared statement
        statement = await conn.prepare(search)
        for _ in range(7):
            found = await statement.fetch(parameter(query, attribute), 10)
            expect_nearest([tuple(row) for row in found], operator, 10, what)
        await conn.execute(f"DROP INDEX {index}")

    try:
        await conn.fetchval("SELECT $1::vector(3)", Vector([1, 2]))
    except asyncpg.DataError as e:
        expect(e.sqlstate, "22000", "SQLSTATE")
    else:
        raise AssertionError("no error from a vector of another length")
    await conn.close()


asyncio.run(main())
