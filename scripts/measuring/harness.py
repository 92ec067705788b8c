"""Servers as children of the measuring process: Sherwood, memcached and the echo.

Each listens on a free port of loopback, runs on the processors that it is given, and is ended by its process id, also when
the measurement is interrupted: use it in a `with`, or enter it into a stack.
"""
import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from measuring import quantities, stats
from measuring.trouble import Trouble

READY_S = 600  # a large server prefaults its memory first
STOP_S = 60


def free_port():
    """A port that is free for UDP and TCP."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                tcp.bind(udp.getsockname())
                return udp.getsockname()[1]
    raise Trouble("no port of 127.0.0.1 is free for both UDP and TCP")


def cpu_set(text):
    """`0,2-3` as a set of numbers."""
    ranges = [part.split("-") for part in text.split(",")]
    return {cpu for part in ranges for cpu in range(int(part[0]), int(part[-1]) + 1)}


@contextlib.contextmanager
def pinned(cpus):
    """This thread, and the children that it starts meanwhile, run on these processors; on all of before with None."""
    before = os.sched_getaffinity(0)
    try:
        if cpus:
            os.sched_setaffinity(0, cpu_set(cpus))
        yield
    except OSError as error:
        raise Trouble(f"CPU {cpus} cannot be used ({error}): see --server-cpus and --client-cpus") from None
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """A process that listens on loopback, for UDP unless it is said otherwise, and what the kernel says of it."""

    def __init__(self, name, command, port, cpus=None, protocol="udp"):
        self.name, self.address = name, f"127.0.0.1:{port}"
        self._start(command, cpus)
        self._until(lambda: _listens(port, protocol))

    def _start(self, command, cpus):
        self.log = tempfile.TemporaryFile()
        with pinned(cpus):
            self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def _until(self, is_ready):
        deadline = time.monotonic() + READY_S
        while not is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                output = self.output().strip() or "it printed nothing"
                self.log.close()
                raise Trouble(f"{self.name} did not start: {output}")
            time.sleep(0.005)

    def output(self):
        """What it wrote so far. Read by position: the child writes where its own offset is, which is the same one."""
        return os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.log.close()

    def stop(self):
        """Ends it by SIGTERM, and by SIGKILL if it does not listen to that; the seconds that it took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return time.monotonic() - began

    def stats(self, word=""):
        """The figures of `stats WORD`, as text by name."""
        return stats.ask(self.address, word)

    def stat(self, name):
        return int(self.stats()[name])

    def figures(self, word=""):
        """The figures of `stats WORD` that are whole numbers, by name."""
        return {name: int(value) for name, value in self.stats(word).items() if value.isdigit()}

    def cpu_ns(self):
        """Processor time that its threads have had."""
        return sum(ran for _, ran, _ in self._threads())

    def thread_ns(self, name):
        """Processor time that the thread NAME has had."""
        return next(ran for thread, ran, _ in self._threads() if thread == name)

    def waited_s(self):
        """How long its workers were ready to run and had no processor."""
        return sum(waited for thread, _, waited in self._threads() if thread.startswith("worker-")) / 1e9

    def _threads(self):
        """Name, ns on a processor and ns waiting for one, of each thread."""
        tasks = f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/comm") as comm, open(f"{tasks}/{task}/schedstat") as schedstat:
                ran, waited = schedstat.read().split()[:2]
                yield comm.read().strip(), int(ran), int(waited)

    def resident_bytes(self, with_huge_pages=True):
        """Resident pages; those of the huge page pool are counted apart by the kernel."""
        names = "VmRSS|HugetlbPages" if with_huge_pages else "VmRSS"
        with open(f"/proc/{self.process.pid}/status") as status:
            return sum(int(kib) << 10 for kib in re.findall(rf"(?:{names}):\s+(\d+) kB", status.read()))


class Sherwood(Server):
    """`sherwood serve` on a port that the kernel chooses, and how long it took to be ready."""

    def __init__(self, binary, *options, name="sherwood"):
        self.name = name
        began = time.monotonic()
        self._start([binary, "serve", "--listen", "127.0.0.1:0", *options], None)
        self._until(lambda: self._ready_line() is not None)
        self.start_s = time.monotonic() - began
        self.ready = self._ready_line()
        self.address = self.ready.split()[3]

    def _ready_line(self):
        match = re.search(r"^(sherwood ready on .*)\n", self.output(), re.MULTILINE)
        return match and match[1]

    def times(self):
        """Its own histograms so far, by name."""
        return {name: stats.Times.parse(text) for name, text in self.stats("buckets").items()}


def memcached(memory, cpus=None, binary="memcached", flags=(), has_udp=True):
    """memcached with one thread on TCP, and on UDP if it is to have that; None where it is not installed."""
    if not shutil.which(binary):
        return None
    port = str(free_port())
    mib = quantities.size_bytes(memory) >> 20
    command = [binary, "-U", port if has_udp else "0", "-p", port, "-l", "127.0.0.1", "-t", "1", "-m", str(mib),
               "-u", getpass.getuser(), *flags]
    return Server("memcached", command, int(port), cpus, "udp" if has_udp else "tcp")


def echo(binary, value_bytes, cpus=None):
    """examples/load_echo.rs: answers with the same bytes as Sherwood and looks nothing up."""
    port = free_port()
    return Server("echo", [binary, f"127.0.0.1:{port}", str(value_bytes)], port, cpus)


def stream_echo(binary, value_bytes, cpus=None):
    """examples/stream_echo.rs: the same over TCP."""
    port = free_port()
    return Server("echo", [binary, f"127.0.0.1:{port}", str(value_bytes)], port, cpus, "tcp")


def _listens(port, protocol):
    # Of TCP, 0A is the state of a listener, and behind an address stands the peer's.
    socket_of = f"0100007F:{port:04X}" + (" 00000000:0000 0A" if protocol == "tcp" else "")
    with open(f"/proc/net/{protocol}") as table:
        return socket_of in table.read()
