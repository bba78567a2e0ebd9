"""What the demo does with its cluster, over psql.

    client.py embed DIR              read packages, fit the model, keep both
    client.py load DIR               COPY the packages through the coordinator
    client.py search DIR PHRASE...   search; --section S, --limit N, --eventual
    client.py explain DIR PHRASE     how such a search runs
    client.py recall DIR             recall@10 against numpy's exact answer

The connection comes from the environment (PGHOST, ...); DIR keeps the model.
"""

import argparse
import os
import pickle
import re
import subprocess
import sys
import time

import numpy

import corpus
from embedding import Embedding, as_text

HELD_OUT = 200
EF_SEARCH = 100


# --------------------------------------------------------------------------
# Talking to PostgreSQL
# --------------------------------------------------------------------------


def psql(script):
    """Run a script; return its rows as lists of fields."""
    result = subprocess.run(
        ["psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-f", "-"],
        input=script.encode(),
        stdout=subprocess.PIPE,
        check=False,
    )
    if result.returncode != 0:
        sys.exit("the statement failed")
    return [line.split("\t") for line in result.stdout.decode().splitlines()]


def quote(text):
    """Quote a string literal."""
    return "'" + text.replace("'", "''") + "'"


def search_statement(vector, limit, section=None, columns=None):
    """The statement a search sends."""
    where = f"WHERE section = {quote(section)} " if section else ""
    columns = columns or f"name, description, embedding <=> {quote(vector)}"
    return (
        f"SELECT {columns} FROM packages {where}"
        f"ORDER BY embedding <=> {quote(vector)} LIMIT {limit}"
    )


# --------------------------------------------------------------------------
# Commands
# --------------------------------------------------------------------------


def embed(args):
    """Fit the model on all but the held-out texts and keep the result."""
    start = time.monotonic()
    packages = corpus.read_packages()
    if len(packages) < 20 * HELD_OUT:
        sys.exit(f"apt-cache dumpavail knows only {len(packages)} packages")

    # The held-out texts play the part of questions nobody has seen.
    order = numpy.random.default_rng(0).permutation(len(packages))
    held_out = [packages[i] for i in sorted(order[:HELD_OUT])]
    stored = [packages[i] for i in sorted(order[HELD_OUT:])]

    model = Embedding([p.text for p in stored])
    model.save(path(args, "model"))
    numpy.save(path(args, "stored.npy"), model.vectors([p.text for p in stored]))
    numpy.save(path(args, "held_out.npy"), model.vectors([p.text for p in held_out]))
    with open(path(args, "packages"), "wb") as file:
        pickle.dump([(p.name, p.section, p.description) for p in stored], file)
    print(
        f"embedded {len(packages)} descriptions in "
        f"{time.monotonic() - start:.0f} s; {HELD_OUT} stay out of the table"
    )


def load(args):
    """COPY all stored packages, with a line that shows progress."""
    with open(path(args, "packages"), "rb") as file:
        packages = pickle.load(file)
    vectors = numpy.load(path(args, "stored.npy"))
    start = time.monotonic()
    copy = subprocess.Popen(
        [
            "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-c",
            "COPY packages (id, name, section, description, embedding) FROM STDIN",
        ],
        stdin=subprocess.PIPE,
    )
    try:
        for first in range(0, len(packages), 1000):
            lines = []
            for i in range(first, min(first + 1000, len(packages))):
                fields = [escape(field) for field in packages[i]]
                lines.append("\t".join([str(i), *fields, as_text(vectors[i])]) + "\n")
            copy.stdin.write("".join(lines).encode())
            progress(first + len(lines), len(packages), start)
        copy.stdin.close()
    except BrokenPipeError:
        pass
    if copy.wait() != 0:
        sys.exit("COPY failed")
    print(f"\nloaded {len(packages)} rows in {time.monotonic() - start:.1f} s")


def progress(done, total, start):
    """Show how far we are: in place on a terminal, sparsely elsewhere."""
    rate = done / max(time.monotonic() - start, 0.001)
    line = f"COPY: {done} of {total} rows, {rate:.0f} rows/s"
    if sys.stdout.isatty():
        print("\r" + line, end="", flush=True)
    elif done % 10000 == 0 or done == total:
        print(line, flush=True)


def escape(text):
    """Write a string as a field of COPY's text format."""
    return re.sub(r"[\t\n\r\\]", lambda match: "\\" + match.group(), text)


def search(args):
    """Search one or more phrases and print what is near."""
    model = Embedding.load(path(args, "model"))
    setting = f"SET vhnsw.ef_search = {EF_SEARCH};"
    if args.eventual:
        setting += "SET vecdist.read_consistency = 'eventual';"
    for phrase in args.phrase:
        vector = model.vectors([phrase])[0]
        if not vector.any():
            print(f'no package uses any of the words of "{phrase}"')
            continue
        where = f" WHERE section = '{args.section}'" if args.section else ""
        print(f'"{phrase}"{where}')
        statement = search_statement(as_text(vector), args.limit, args.section)
        for name, description, distance in psql(f"{setting} {statement};"):
            print(f"    {float(distance):.3f}  {name:<24.24}  {description[:60]}")


HOW_TO_READ = """
Each worker got one message, searched its partitions through their indexes and
returned the nearest of all of them together: "rows" came from a partition, and
all that it kept back is at least as far away as its "bound".  The last row of
the answer is not farther than any bound, so no partition has a row that belongs
into it: that is what "Merge Certified: yes" says, from what came back."""


def explain(args):
    """Print the plan of a search, with the vector shortened."""
    model = Embedding.load(path(args, "model"))
    vector = as_text(model.vectors([args.phrase[0]])[0])
    statement = search_statement(vector, args.limit, args.section, "name")
    setting = "SET vecdist.read_consistency = 'eventual';" if args.eventual else ""
    shown = re.sub(r"'\[.*?\]'", "'[...]'", statement)
    print(f"EXPLAIN (ANALYZE, COSTS OFF) {shown};")
    plan = [
        re.sub(r"'\[[^']*\]'", "'[...]'", "\t".join(row))
        for row in psql(
            f"SET vhnsw.ef_search = {EF_SEARCH}; {setting}"
            f"EXPLAIN (ANALYZE, COSTS OFF) {statement};"
        )
    ]
    for line in plan:
        print("    " + line)
    print(HOW_TO_READ)
    if not any("Merge Certified: yes" in line for line in plan):
        sys.exit("the merge is not certified")


def recall(args):
    """Search for the held-out texts and compare with the exact answer.

    The reference is numpy's, computed from the vectors as they were sent; it
    shares no code with the server.  A row as near as the tenth counts, even if
    another of several equally near ones stands in the reference.
    """
    stored = numpy.load(path(args, "stored.npy"))
    queries = numpy.load(path(args, "held_out.npy"))
    queries = queries[queries.any(axis=1)]
    limit = 10
    exact = 1 - (queries / norms(queries)) @ (stored / norms(stored)).T
    exact[:, ~stored.any(axis=1)] = numpy.inf
    tenth = numpy.partition(exact, limit - 1, axis=1)[:, limit - 1]

    script = [f"SET vhnsw.ef_search = {EF_SEARCH};"]
    for i, query in enumerate(queries):
        script.append(search_statement(as_text(query), limit, columns=f"{i}, id") + ";")
    start = time.monotonic()
    answer = psql("\n".join(script))
    seconds = time.monotonic() - start

    found = sum(exact[int(i), int(id)] <= tenth[int(i)] + 1e-5 for i, id in answer)
    print(
        f"recall@10 over {len(queries)} texts that are not in the table: "
        f"{found / (limit * len(queries)):.4f} "
        f"(ef_search {EF_SEARCH}; {1000 * seconds / len(queries):.1f} ms each)"
    )


def norms(rows):
    """The lengths of rows, as a column; 1 for a row of zeros."""
    lengths = numpy.linalg.norm(rows, axis=1, keepdims=True)
    return numpy.where(lengths > 0, lengths, 1)


def path(args, name):
    """A file of the demo's directory."""
    return os.path.join(args.dir, name)


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = {
        function.__name__: function
        for function in (embed, load, search, explain, recall)
    }
    parser.add_argument("command", choices=commands)
    parser.add_argument("dir")
    parser.add_argument("phrase", nargs="*")
    parser.add_argument("--section")
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--eventual", action="store_true")
    args = parser.parse_intermixed_args()
    commands[args.command](args)


if __name__ == "__main__":
    main()
