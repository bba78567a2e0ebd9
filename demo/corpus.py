"""The demo's texts: what Debian says about its packages.

Every Debian machine has them: "apt-cache dumpavail" prints name, section and
one-line description of each package, and machines that download translations
have the long descriptions as well.
"""

import glob
import subprocess


class Package:
    """One package; text is what the embedding sees."""

    def __init__(self, name, section, description, long_text):
        self.name = name
        self.section = section
        self.description = description
        self.text = " ".join((name.replace("-", " "), description, long_text))


def read_packages():
    """Return all packages, each name once, ordered by name."""
    long_texts = read_long_texts()
    packages = {}
    for record in records(output_of("apt-cache", "dumpavail")):
        name = record.get("Package")
        if not name or name in packages or "Description" not in record:
            continue
        description, _, rest = record["Description"].partition("\n")
        # "contrib/editors" and "editors" are one section to a reader.
        section = record.get("Section", "unknown").rpartition("/")[2]
        packages[name] = Package(
            name,
            section,
            description,
            rest or long_texts.get(record.get("Description-md5"), ""),
        )
    return [packages[name] for name in sorted(packages)]


def read_long_texts():
    """Return the long descriptions this machine has, by checksum."""
    texts = {}
    for path in sorted(glob.glob("/var/lib/apt/lists/*_Translation-en*")):
        # apt keeps the lists compressed or not; its helper reads both.
        listing = output_of("/usr/lib/apt/apt-helper", "cat-file", path)
        for record in records(listing):
            text = record.get("Description-en", "").partition("\n")[2]
            texts[record.get("Description-md5")] = text
    return texts


def output_of(*command):
    """Run a command; return what it prints."""
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return result.stdout.decode("utf-8", "replace")


def records(listing):
    """Split Debian's control format into one dictionary per paragraph."""
    for paragraph in listing.split("\n\n"):
        record = {}
        field = None
        for line in paragraph.split("\n"):
            if line.startswith(" "):
                if field:
                    record[field] += "\n" + line.strip()
            else:
                field, colon, value = line.partition(":")
                if colon:
                    record[field] = value.strip()
        if record:
            yield record
