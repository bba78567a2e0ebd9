"""A private server for the benchmarks, and what all of them need.

It runs below a scratch directory as an ordinary user, from a copied
installation with the library of build/bench (made by "make bench-build") and,
if there is one, pgvector: from PGVECTOR, a .tar.zst to be laid over the copy;
else one in ../shared/peers; else the system's own.

Variables: PGVECTOR, SHARED_BUFFERS=1GB, MAINTENANCE_WORK_MEM=1GB
"""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def option(name, default=""):
    return os.environ.get(name) or default


def number(name, default=None):
    value = option(name)
    return int(value) if value else default


def say(text):
    print(text, file=sys.stderr, flush=True)


class Server:
    """A private server below 'scratch', with vecdist and perhaps pgvector.

    With "like" it shares the installation of another one.
    """

    def __init__(self, scratch, name="data", settings=(), like=None):
        self.scratch = scratch
        self.data = os.path.join(scratch, name)
        self.port = free_port()
        if like is not None:
            self.bin = like.bin
        else:
            self.bin = subprocess.run(
                [os.path.join(ROOT, "dev/temp-install"),
                 os.path.join(ROOT, "build/bench"), os.path.join(scratch, "inst")],
                check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
            self.add_pgvector()
        self.as_user("initdb", "-D", self.data, "-U", "postgres", "-A", "trust",
                     "--no-sync", "--no-locale", "-E", "UTF8")
        with open(os.path.join(self.data, "postgresql.conf"), "a",
                  encoding="ascii") as file:
            file.write("\n".join((
                "listen_addresses = ''",
                "unix_socket_directories = '%s'" % scratch,
                "port = %d" % self.port,
                "shared_buffers = " + option("SHARED_BUFFERS", "1GB"),
                "maintenance_work_mem = " + option("MAINTENANCE_WORK_MEM", "1GB"),
                "max_parallel_maintenance_workers = 0",
                "autovacuum = off",
                "jit = off",
                "max_wal_size = 8GB", *settings, "")))

    def add_pgvector(self):
        """Lay a peer's files over the copied installation, if there are any."""
        major = subprocess.run([os.path.join(self.bin, "postgres"), "--version"],
                               check=True, stdout=subprocess.PIPE,
                               text=True).stdout.split()[2].split(".")[0]
        files = [option("PGVECTOR")] if option("PGVECTOR") else sorted(glob.glob(
            os.path.join(ROOT, "../shared/peers/pgvector-*-pg%s-*.tar.zst" % major)))
        if not files:
            return
        with subprocess.Popen(["zstd", "-dcq", files[-1]],
                              stdout=subprocess.PIPE) as zstd:
            subprocess.run(["tar", "-x", "--no-same-owner", "-C",
                            os.path.join(self.scratch, "inst")],
                           stdin=zstd.stdout, check=True)
        say("pgvector: " + os.path.basename(files[-1]))

    def as_user(self, program, *arguments):
        subprocess.run([os.path.join(ROOT, "dev/as-user"),
                        os.path.join(self.bin, program), *arguments],
                       check=True, stdout=subprocess.DEVNULL, cwd=self.scratch)

    def start(self):
        self.as_user("pg_ctl", "-D", self.data, "-w", "-l",
                     self.data + ".log", "start")

    def postmaster(self):
        with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii") as file:
            return int(file.readline())

    def stop(self):
        if os.path.exists(os.path.join(self.data, "postmaster.pid")):
            self.as_user("pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop")

    def conninfo(self, database):
        return "host=%s port=%d user=postgres dbname=%s" % (self.scratch, self.port, database)

    def sql(self, database, *statements):
        """Run statements in one session; the rows as lines."""
        command = [os.path.join(self.bin, "psql"), "-XqAt", "-v",
                   "ON_ERROR_STOP=1", "-d", self.conninfo(database)]
        for statement in statements:
            command += ["-c", statement]
        done = subprocess.run(command, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.split("\n")[:-1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def private_server(*settings):
    """A running Server with more settings, gone afterwards with all its files."""
    with private_servers(1, settings) as servers:
        yield servers[0]


@contextlib.contextmanager
def private_servers(count, settings=()):
    """As many running Servers, as private_server."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = tempfile.mkdtemp(prefix="vecdist-bench-")
    user = subprocess.run([os.path.join(ROOT, "dev/as-user"), "--name"], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()
    if os.geteuid() == 0:
        os.chown(scratch, pwd.getpwnam(user).pw_uid, -1)
    os.chmod(scratch, 0o755)

    servers = []
    try:
        for i in range(count):
            servers.append(Server(scratch, "data%d" % i, settings,
                                  servers[0] if servers else None))
            servers[i].start()
        yield servers
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(scratch)
