"""What the clients in Python share: rows, and the answers they expect.

A client is called with the name of the extension to create and that of the
access method to index with, perhaps with "distributed" for a table of the
cluster, and connects to PGDATABASE.  It fails by an
exception.  Values are multiples of 1/8, so that every type has them exactly.
"""
import math
import random
import sys

from pgvector import Bit, HalfVector, SparseVector, Vector

DIMS = 8
ROWS = 200
EXTENSION, METHOD = sys.argv[1:3]
DISTRIBUTED = sys.argv[3:] == ["distributed"]

_random = random.Random(6)


def _values():
    values = [_random.randint(-40, 40) / 8 for _ in range(DIMS)]
    values[_random.randrange(DIMS)] = 0.0
    return values if any(values) else _values()


class Row:
    """One row, as lists, and as values of the package pgvector."""

    def __init__(self, number):
        self.id = number
        self.values = _values()
        self.bits = "".join("1" if v > 0 else "0" for v in self.values)
        self.vector = Vector(self.values)
        self.half = HalfVector(self.values)
        self.sparse = SparseVector(self.values)
        self.bit = Bit(self.bits)


rows = [Row(number) for number in range(1, ROWS + 1)]
query = Row(0)


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def _of_bits(function):
    def distance(a, b):
        a, b = int(a, 2), int(b, 2)
        return function((a & b).bit_count(), (a | b).bit_count())
    return distance


# operator: (part of the name of its operator classes, distance)
distances = {
    "<->": ("l2", math.dist),
    "<#>": ("ip", lambda a, b: -_dot(a, b)),
    "<=>": ("cosine",
            lambda a, b: 1 - _dot(a, b) / math.sqrt(_dot(a, a) * _dot(b, b))),
    "<+>": ("l1", lambda a, b: sum(abs(x - y) for x, y in zip(a, b))),
    "<~>": ("hamming", _of_bits(lambda both, either: either - both)),
    "<%>": ("jaccard", _of_bits(lambda both, either: 1 - both / either
                                if both else 1)),
}

# column: (its type, attribute of Row, operators)
columns = {
    "embedding": ("vector", "vector", ("<->", "<#>", "<=>", "<+>")),
    "half": ("halfvec", "half", ("<->", "<#>", "<=>", "<+>")),
    "sparse": ("sparsevec", "sparse", ("<->", "<#>", "<=>", "<+>")),
    "bits": ("bit", "bit", ("<~>", "<%>")),
}


def searches():
    """Every (column, type, attribute, operator, operator class)."""
    for column, (type_name, attribute, operators) in columns.items():
        for operator in operators:
            yield (column, type_name, attribute, operator,
                   f"{type_name}_{distances[operator][0]}_ops")


def expect(actual, wanted, what):
    if actual != wanted:
        raise AssertionError(f"{what}: {actual!r}, not {wanted!r}")


def expect_nearest(found, operator, k, what):
    """Are these the (id, distance) of the k rows nearest to the query?"""
    function = distances[operator][1]
    attribute = "bits" if operator in ("<~>", "<%>") else "values"

    def distance(row):
        return function(getattr(row, attribute), getattr(query, attribute))

    by_id = {row.id: row for row in rows}
    wanted = sorted(distance(row) for row in rows)[:k]
    expect(len(found), k, f"{what}: number of rows")
    expect(len({number for number, _ in found}), k, f"{what}: different rows")
    for (number, shown), exact in zip(found, wanted):
        for value in (shown, distance(by_id[number])):
            if not math.isclose(value, exact, rel_tol=1e-5, abs_tol=1e-5):
                raise AssertionError(f"{what}: {value}, not {exact}")


def expect_index(plan, index, what):
    """Does this plan, a list of lines, use the index?"""
    if not any(index in line for line in plan):
        raise AssertionError(f"{what}: no {index} in\n" + "\n".join(plan))
