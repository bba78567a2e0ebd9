"""Make a data set where there is no real one of the size or the spectrum.

    bench_generate.py DIRECTORY ROWS DIMS SPECTRUM [QUERIES]

writes SPECTRUM-DIMS.base.fbin and .query.fbin, which bench_single.py reads.

    encoder     like the output of a text encoder: a curved surface of few
                dimensions in a space of many.  Clusters of 64 variables are
                mapped by random waves (the features of Rahimi and Recht,
                "Random Features for Large-Scale Kernel Machines", 2007)

The others are normal deviates around centers that are so themselves, as many as
the square root of the rows, whose variance falls over dimensions:

    decaying    with rank^-0.7
    flat        not at all, the hardest there is for projections
    clustered   as decaying, with rows four times nearer to their centers

How hard these are, 40,000 rows (the last three 20,000): the local intrinsic
dimension (maximum likelihood, 20 neighbors), the distance of the 10th neighbor
in that of the median row, and what share of the squared distances to 32
neighbors the first 64, 128 and 256 principal dimensions hold.

    captions-384, a real encoder    22   0.68    0.47  0.66  0.88
    mnist-784, real                 14   0.52    0.64  0.81  0.94
    encoder-960                     21   0.65    0.49  0.63  0.78
    encoder-1536                    22   0.66    0.48  0.61  0.74
    decaying-960                    54   0.67    0.25  0.34  0.55
    clustered-960                   54   0.23    0.20  0.28  0.54
    flat-960                        97   0.69    0.07  0.14  0.29
"""

import os
import sys

import numpy

VARIABLES = 64              # of the surface, with variance 1 / rank
WAVES = 2048
FREQUENCY = 0.75            # the larger, the more curved: chosen by the table above
NOISE = 0.05


def axes_of(random, dims):
    return numpy.linalg.qr(random.standard_normal((dims, dims)))[0].astype("f4")


def encoder(world, random, centers, dims):
    """A function that draws some rows of a curved surface."""
    scale = numpy.arange(1, VARIABLES + 1) ** -0.5
    middle = world.standard_normal((centers, VARIABLES)) * scale
    waves = world.standard_normal((VARIABLES, WAVES)) \
        * (FREQUENCY / numpy.sqrt((scale ** 2).sum()))
    phases = world.uniform(0, 2 * numpy.pi, WAVES)
    axes = world.standard_normal((WAVES, dims)) / numpy.sqrt(WAVES)

    def draw(n):
        place = middle[random.integers(centers, size=n)] \
            + random.standard_normal((n, VARIABLES)) * scale
        return numpy.cos(place @ waves + phases) @ axes \
            + NOISE * random.standard_normal((n, dims))
    return draw


def normal(world, random, centers, dims, spectrum):
    """A function that draws some rows around centers."""
    scale = numpy.ones(dims) if spectrum == "flat" else numpy.arange(1, dims + 1) ** -0.35
    axes = axes_of(world, dims)
    middle = world.standard_normal((centers, dims)) * scale
    near = 0.25 if spectrum == "clustered" else 1.0

    def draw(n):
        part = middle[random.integers(centers, size=n)] \
            + near * random.standard_normal((n, dims)) * scale
        return part.astype("f4") @ axes
    return draw


def make(rows, dims, spectrum, seed, number=None):
    """Of a world of so many rows, draw a number of them (all)."""
    world = numpy.random.default_rng(7)         # centers and axes
    random = numpy.random.default_rng(seed)
    centers = int(rows ** 0.5)
    if spectrum == "encoder":
        draw = encoder(world, random, centers, dims)
    else:
        draw = normal(world, random, centers, dims, spectrum)
    result = numpy.empty((rows if number is None else number, dims), "f4")
    for first in range(0, len(result), 10000):
        result[first:first + 10000] = draw(min(10000, len(result) - first))
    return result


def write(path, values):
    with open(path, "wb") as file:
        numpy.array(values.shape, "<u4").tofile(file)
        values.astype("<f4").tofile(file)


def main():
    if len(sys.argv) not in (5, 6) \
            or sys.argv[4] not in ("encoder", "decaying", "flat", "clustered"):
        sys.exit(__doc__)
    directory, rows, dims, spectrum = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    queries = int(sys.argv[5]) if len(sys.argv) == 6 else 400
    os.makedirs(directory, exist_ok=True)
    name = os.path.join(directory, "%s-%d" % (spectrum, dims))
    write(name + ".base.fbin", make(rows, dims, spectrum, 1))
    write(name + ".query.fbin", make(rows, dims, spectrum, 2, queries))


if __name__ == "__main__":
    main()
