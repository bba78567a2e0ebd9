"""Make a data set where there is no real one of the size or the spectrum.

    bench_generate.py DIRECTORY ROWS DIMS SPECTRUM [QUERIES]

writes SPECTRUM-DIMS.base.fbin and .query.fbin, which bench_single.py reads.
Rows are normal deviates around centers that are so themselves, as many as the
square root of the rows; spectra say how variance falls over dimensions:

    decaying    with rank^-0.7, about as sentence encoders have it
    flat        not at all, the hardest there is for projections
    clustered   as decaying, with rows four times nearer to their centers
"""

import os
import sys

import numpy


def make(rows, dims, spectrum, seed):
    random = numpy.random.default_rng(7)        # of centers and axes: one world
    centers = int(rows ** 0.5)
    scale = numpy.ones(dims) if spectrum == "flat" else numpy.arange(1, dims + 1) ** -0.35
    axes = numpy.linalg.qr(random.standard_normal((dims, dims)))[0].astype("f4")
    middle = random.standard_normal((centers, dims)) * scale
    random = numpy.random.default_rng(seed)
    result = numpy.empty((rows if seed == 1 else min(rows, 100000), dims), "f4")
    near = 0.25 if spectrum == "clustered" else 1.0
    for first in range(0, len(result), 10000):
        n = min(10000, len(result) - first)
        part = middle[random.integers(centers, size=n)] + \
            near * random.standard_normal((n, dims)) * scale
        result[first:first + n] = part.astype("f4") @ axes
    return result


def write(path, values):
    with open(path, "wb") as file:
        numpy.array(values.shape, "<u4").tofile(file)
        values.astype("<f4").tofile(file)


def main():
    if len(sys.argv) not in (5, 6) or sys.argv[4] not in ("decaying", "flat", "clustered"):
        sys.exit(__doc__)
    directory, rows, dims, spectrum = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    queries = int(sys.argv[5]) if len(sys.argv) == 6 else 400
    os.makedirs(directory, exist_ok=True)
    name = os.path.join(directory, "%s-%d" % (spectrum, dims))
    write(name + ".base.fbin", make(rows, dims, spectrum, 1))
    write(name + ".query.fbin", make(rows, dims, spectrum, 2)[:queries])


if __name__ == "__main__":
    main()
