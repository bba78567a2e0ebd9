"""Vector files, exact neighbors and recall, for the benchmarks.

A data set is found in a directory in one of three forms:

    NAME.base.EXT  NAME.query.EXT  NAME.gt.ibin     EXT: fbin f16bin u8bin i8bin
    NAME_base.EXT  NAME_query.EXT  NAME_groundtruth.ivecs   EXT: fvecs bvecs
    NAME.hdf5      of ann-benchmarks: train, test, neighbors

The first two may be compressed (.zst).  Neighbors that are missing, or that
belong to more rows than are wanted, are computed.  Vectors are float32 here,
whatever the file holds, and exact answers are those of the float32 values.
"""

import os
import re
import subprocess

import numpy

BIN_TYPES = {"fbin": "<f4", "f16bin": "<f2", "u8bin": "u1", "i8bin": "i1",
             "ibin": "<i4"}
METRICS = ("l2", "cosine", "ip")

_FORMS = (
    (re.compile(r"(?P<name>.+)\.base\.(?:fbin|f16bin|u8bin|i8bin)(?:\.zst)?$"),
     "{}.query.", "{}.gt.ibin"),
    (re.compile(r"(?P<name>.+)_base\.(?:fvecs|bvecs)(?:\.zst)?$"),
     "{}_query.", "{}_groundtruth.ivecs"),
    (re.compile(r"(?P<name>.+)\.hdf5$"), None, None),
)


class Unreadable(Exception):
    """A file that cannot be used, with the reason."""


class DataSet:
    """name, metric, base and queries (float32), neighbors (row numbers)."""

    def __init__(self, name, base, queries, neighbors, metric):
        self.name = name
        self.base = base
        self.queries = queries
        self.neighbors = neighbors
        self.metric = metric

    def __str__(self):
        return "%s, %s: %d x %d, %d queries" % (
            self.name, self.metric, *self.base.shape, len(self.queries))


def list_sets(directory):
    """Names of the data sets in a directory, with the file of each."""
    found = {}
    for file in sorted(os.listdir(directory)):
        for pattern, _, _ in _FORMS:
            match = pattern.match(file)
            if match:
                found.setdefault(match.group("name"),
                                 os.path.join(directory, file))
    return found


def load(path, rows=None, num_queries=None, k=100, metric=None):
    """The data set whose base vectors are in this file.

    Takes the first rows and queries if numbers are given.  Raises Unreadable.
    """
    directory, file = os.path.split(path)
    for pattern, query_form, neighbors_form in _FORMS:
        match = pattern.match(file)
        if match:
            break
    name = match.group("name")

    if query_form is None:
        base, queries, neighbors, stated = _read_hdf5(path)
        metric = metric or stated
    else:
        base = read_vectors(path)
        queries = read_vectors(_find(directory, query_form.format(name)))
        found = _find(directory, neighbors_form.format(name), optional=True)
        neighbors = read_vectors(found, "<i4") if found else None

    # Known neighbors belong to all rows, and to the metric that they tell.
    if neighbors is not None:
        stated = guess_metric(base, queries, neighbors)
        metric = metric or stated
        if metric is None:
            raise Unreadable("the listed neighbors are in no known order; set METRIC")
        if metric != stated:
            neighbors = None
    metric = metric or "l2"
    queries = queries[:num_queries]
    if rows is not None and rows < len(base):
        base = base[:rows]
        neighbors = None
    if neighbors is None:
        neighbors = exact_neighbors(base, queries, k, metric)
    return DataSet(name, base, queries, neighbors[:len(queries)], metric)


def _find(directory, start, optional=False):
    for file in sorted(os.listdir(directory)):
        if file.startswith(start):
            return os.path.join(directory, file)
    if optional:
        return None
    raise Unreadable("%s: no file %s*" % (directory, start))


def _read_bytes(path):
    """A whole file, decompressed."""
    if not path.endswith(".zst"):
        with open(path, "rb") as file:
            return file.read()
    try:
        done = subprocess.run(["zstd", "-dcq", path], check=True,
                              stdout=subprocess.PIPE)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unreadable("%s: zstd failed: %s" % (path, error)) from error
    return done.stdout


def read_vectors(path, dtype="f4"):
    """A .*bin or .*vecs file as an array of the given type."""
    extension = re.sub(r"\.zst$", "", path).rsplit(".", 1)[1]
    data = _read_bytes(path)
    if extension in BIN_TYPES:
        rows, dim = numpy.frombuffer(data, "<u4", 2)
        array = numpy.frombuffer(data, BIN_TYPES[extension], offset=8)
        if len(array) != int(rows) * int(dim):
            raise Unreadable("%s: expected %d x %d elements, found %d"
                             % (path, rows, dim, len(array)))
        return array.reshape(rows, dim).astype(dtype)

    # .fvecs, .ivecs, .bvecs: every row begins with its length
    dim = int(numpy.frombuffer(data, "<i4", 1)[0])
    element = {"fvecs": "<f4", "ivecs": "<i4", "bvecs": "u1"}[extension]
    row = numpy.dtype([("dim", "<i4"), ("x", element, (dim,))])
    if len(data) % row.itemsize != 0:
        raise Unreadable("%s: rows of different length" % path)
    return numpy.frombuffer(data, row)["x"].astype(dtype)


def _read_hdf5(path):
    try:
        import h5py
    except ImportError as error:
        raise Unreadable("%s: needs python3-h5py" % path) from error
    with h5py.File(path, "r") as file:
        stated = {"euclidean": "l2", "angular": "cosine", "dot": "ip"}.get(
            file.attrs.get("distance"))
        return (numpy.asarray(file["train"], "f4"),
                numpy.asarray(file["test"], "f4"),
                numpy.asarray(file["neighbors"], "i4"), stated)


def distances(queries, vectors, metric):
    """Distances of queries (n, dim) to vectors (n, m, dim), in float64."""
    queries = queries[:, None, :].astype("f8")
    vectors = vectors.astype("f8")
    if metric == "l2":
        return ((vectors - queries) ** 2).sum(axis=2)
    products = (vectors * queries).sum(axis=2)
    if metric == "ip":
        return -products
    norms = numpy.sqrt((vectors ** 2).sum(axis=2) * (queries ** 2).sum(axis=2))
    return 1 - products / numpy.where(norms > 0, norms, 1)


def guess_metric(base, queries, neighbors):
    """The metric in whose order the known neighbors are listed, or None."""
    sample = slice(0, 20)
    for metric in METRICS:
        d = distances(queries[sample], base[neighbors[sample]], metric)
        tolerance = 1e-6 * numpy.abs(d).max()
        if (numpy.diff(d, axis=1) >= -tolerance).all():
            if metric == "l2" and _unit_length(base[:1000]):
                return "cosine"         # the same order; what such data are for
            return metric
    return None


def _unit_length(vectors):
    return bool((numpy.abs((vectors ** 2).sum(axis=1) - 1) < 1e-2).all())


def exact_neighbors(base, queries, k, metric):
    """Row numbers of the k nearest, by comparing with every row."""
    k = min(k, len(base))
    lengths = (base.astype("f8") ** 2).sum(axis=1)
    result = numpy.empty((len(queries), k), "i4")
    for start in range(0, len(queries), 100):
        part = queries[start:start + 100]
        # Products in float32 find candidates; float64 puts them in order.
        score = -(part @ base.T)
        if metric == "l2":
            score = lengths + 2 * score
        elif metric == "cosine":
            score = score / numpy.sqrt(numpy.where(lengths > 0, lengths, 1))
        wanted = min(len(base), 2 * k + 10)
        candidates = numpy.argpartition(score, wanted - 1, axis=1)[:, :wanted]
        candidates.sort(axis=1)         # ties by lower row number
        d = distances(part, base[candidates], metric)
        order = numpy.argsort(d, axis=1, kind="stable")[:, :k]
        result[start:start + 100] = numpy.take_along_axis(candidates, order, 1)
    return result


class RecallMeter:
    """Share of the k nearest that an answer holds; ties count as found."""

    def __init__(self, data, k):
        self.data = data
        self.k = k
        nearest = data.base[data.neighbors[:, :k]]
        d = distances(data.queries, nearest, data.metric).max(axis=1)
        self.limit = d + 1e-6 * numpy.abs(d)

    def recall(self, first, answers):
        """Recall of the answers to the queries from number 'first' on."""
        found = 0
        for i, rows in enumerate(answers, first):
            rows = numpy.unique(rows)
            if len(rows) > 0:
                d = distances(self.data.queries[i:i + 1],
                              self.data.base[rows][None], self.data.metric)
                found += min(self.k, int((d <= self.limit[i]).sum()))
        return found / (self.k * len(answers))


def write_fbin(path, vectors):
    """uint32 rows, uint32 dimensions, then the elements as float4."""
    with open(path, "wb") as file:
        numpy.array(vectors.shape, "<u4").tofile(file)
        numpy.ascontiguousarray(vectors, "<f4").tofile(file)


def load_table(server, database, table, vectors, options=""):
    """Make a table (id integer, v vector) of them in a Server's database."""
    file = os.path.join(server.scratch, table + ".copy")
    write_copy(file, vectors)
    os.chmod(file, 0o644)
    server.sql(database, "CREATE TABLE %s (id integer, v vector(%d)) %s"
               % (table, vectors.shape[1], options),
               "COPY %s FROM '%s' (FORMAT binary)" % (table, file))
    os.unlink(file)


def write_copy(path, vectors):
    """Rows (id integer, vector) in the format of COPY ... (FORMAT binary)."""
    dim = vectors.shape[1]
    row = numpy.dtype([("fields", ">i2"),
                       ("id_length", ">i4"), ("id", ">i4"),
                       ("length", ">i4"), ("dim", ">i2"), ("unused", ">i2"),
                       ("x", ">f4", (dim,))])
    with open(path, "wb") as file:
        file.write(b"PGCOPY\n\377\r\n\0" + bytes(8))
        for start in range(0, len(vectors), 10000):
            part = vectors[start:start + 10000]
            rows = numpy.zeros(len(part), row)
            rows["fields"] = 2
            rows["id_length"] = 4
            rows["id"] = numpy.arange(start, start + len(part))
            rows["length"] = 4 + 4 * dim
            rows["dim"] = dim
            rows["x"] = part
            rows.tofile(file)
        file.write(b"\377\377")
