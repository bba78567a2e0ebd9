"""The most memory that a session of a server, with its workers, has used.

Counted are private memory and segments of dynamic shared memory, each once,
but not shared buffers.  It is looked at every 50 ms, so shorter peaks may be
missed.
"""

import threading

INTERVAL = 0.05


class Peak(threading.Thread):
    """Watches what the postmaster starts from here on:

        with Peak(postmaster) as peak:
            ...
        peak.bytes
    """

    def __init__(self, postmaster):
        super().__init__(daemon=True)
        self.postmaster = postmaster
        self.others = self.processes()
        self.bytes = 0
        self.ended = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()

    def run(self):
        while not self.ended.wait(INTERVAL):
            private, segments = 0, {}
            for process in self.processes() - self.others:
                try:
                    private += private_bytes(process)
                    segments.update(shared_segments(process))
                except (FileNotFoundError, ProcessLookupError):
                    pass                # it has ended
            self.bytes = max(self.bytes, private + sum(segments.values()))

    def processes(self):
        return set(read(self.postmaster, "task/%d/children" % self.postmaster).split())


def read(process, name):
    with open("/proc/%s/%s" % (process, name), encoding="utf-8") as file:
        return file.read()


def private_bytes(process):
    for line in read(process, "status").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0                            # it is ending


def shared_segments(process):
    """{file: bytes} of the mapped segments."""
    found = {}
    for line in read(process, "maps").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[5].startswith("/dev/shm/PostgreSQL."):
            start, end = (int(address, 16) for address in fields[0].split("-"))
            found[fields[5]] = end - start
    return found
