"""SQLAlchemy with pgvector.sqlalchemy: what it makes of models and indexes."""
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR, avg
from sqlalchemy import (ClauseElement, Executable, Index, Integer, MetaData, cast,
                        create_engine, func, inspect, select, text)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from client_common import (DIMS, EXTENSION, METHOD, columns, distances, expect,
                           expect_index, expect_nearest, query, rows, searches)

METHODS = {"<->": "l2_distance", "<#>": "max_inner_product",
           "<=>": "cosine_distance", "<+>": "l1_distance",
           "<~>": "hamming_distance", "<%>": "jaccard_distance"}


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id = mapped_column(Integer, primary_key=True)
    embedding = mapped_column(VECTOR(DIMS))
    half = mapped_column(HALFVEC(DIMS))
    sparse = mapped_column(SPARSEVEC(DIMS))
    bits = mapped_column(BIT(DIMS))


def attribute_of(row, name):
    return row.bits if name == "bit" else getattr(row, name)


class Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement):
        self.statement = statement


@compiles(Explain)
def compile_explain(element, compiler, **kw):
    return "EXPLAIN " + compiler.process(element.statement, **kw)


def plan_of(session, statement):
    return [row[0] for row in session.execute(Explain(statement))]


def make_index(name, *expressions, **options):
    index = Index(name, *expressions, postgresql_using=METHOD,
                  postgresql_with={"m": 16, "ef_construction": 64}, **options)
    index.create(engine)
    return index


def drop_index(index):
    index.drop(engine)
    Item.__table__.indexes.discard(index)


engine = create_engine("postgresql+psycopg://")
with Session(engine) as session:
    session.execute(text(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}"))
    session.commit()
    Base.metadata.create_all(engine)
    session.add_all([Item(id=row.id, embedding=row.values, half=row.half,
                          sparse=row.sparse, bits=row.bits) for row in rows])
    session.add(Item(id=0))
    session.commit()

with Session(engine) as session:
    found = session.scalars(select(Item).where(Item.id > 0).order_by(Item.id)).all()
    expect([(i.id, i.embedding, i.half, i.sparse, i.bits) for i in found],
           [(r.id, r.values, r.values, r.sparse, r.bits) for r in rows], "values")
    expect(session.get(Item, 0).embedding, None, "NULL")
    expect(session.scalar(select(avg(Item.embedding)).where(Item.id.in_([1, 2]))),
           [(a + b) / 2 for a, b in zip(rows[0].values, rows[1].values)], "avg")
    session.execute(text("DELETE FROM items WHERE id = 0"))
    session.commit()

    # What tools read from the catalogs
    reflected = MetaData()
    reflected.reflect(engine)
    expect([str(reflected.tables["items"].c[column].type) for column in columns][:3],
           [f"VECTOR({DIMS})", f"HALFVEC({DIMS})", f"SPARSEVEC({DIMS})"],
           "reflected types")

    for column, _, attribute, operator, opclass in searches():
        what = f"{column} {operator}"
        index = make_index(f"{column}_{opclass}", getattr(Item, column),
                           postgresql_ops={column: opclass})
        distance = getattr(getattr(Item, column), METHODS[operator])(
            attribute_of(query, attribute))
        search = select(Item.id, distance).order_by(distance).limit(10)
        expect_index(plan_of(session, search), index.name, what)
        found = [tuple(row) for row in session.execute(search)]
        expect_nearest(found, operator, 10, what)
        near = select(func.count()).where(distance <= found[4][1])
        expect(session.scalar(near) >= 5, True, f"{what} in WHERE")

        shown, = inspect(engine).get_indexes("items")
        expect((shown["name"], shown["dialect_options"]["postgresql_using"]),
               (index.name, METHOD), "reflected index")
        session.commit()
        drop_index(index)

    # An index over halves of vectors
    index = make_index("halves", cast(Item.embedding, HALFVEC(DIMS)).label("half"),
                       postgresql_ops={"half": "halfvec_l2_ops"})
    distance = cast(Item.embedding, HALFVEC(DIMS)).l2_distance(query.values)
    search = select(Item.id, distance).order_by(distance).limit(10)
    expect_index(plan_of(session, search), "halves", "halves")
    expect_nearest([tuple(row) for row in session.execute(search)], "<->", 10, "halves")
    session.commit()
    drop_index(index)

    # An index over signs of vectors; what it finds is sorted by the vectors
    index = make_index(
        "signs", cast(func.binary_quantize(Item.embedding), BIT(DIMS)).label("signs"),
        postgresql_ops={"signs": "bit_hamming_ops"})
    signs = cast(func.binary_quantize(Item.embedding), BIT(DIMS))
    hamming = signs.hamming_distance(query.bits)
    near = select(Item.id, Item.embedding, hamming.label("hamming")).order_by(hamming).limit(50)
    expect_index(plan_of(session, near), "signs", "signs")
    near = near.subquery()
    exact = near.c.embedding.cosine_distance(query.values)
    found = session.execute(
        select(near.c.id, exact, near.c.hamming).order_by(exact).limit(10)).all()
    expect(len(found), 10, "reranked rows")
    expect([d for _, d, _ in found], sorted(d for _, d, _ in found), "reranked order")
    by_bits = sorted(distances["<~>"][1](row.bits, query.bits) for row in rows)
    expect(max(bits for _, _, bits in found) <= by_bits[49], True, "reranked bits")
