"""Sherwood, memcached and a bare echo over TCP, in interleaved rounds; medians, and ratios of each round.

The echo (examples/stream_echo.rs) scans for line ends, answers with 100-byte values and looks nothing up: the limit of one
thread over TCP. Each server has one CPU; Sherwood's policy thread runs on it, too. Clients are closed loops of `sherwood load`.
`of echo` and `× memcached` are rates by those of the same round; `p99 of echo` likewise. `client` is the client's headroom:
below 1.5 (with a `<`) the rate may be the client's limit. Idle connections are held by another process than the client.
`in lock step` is another client, which sends a pipeline when it has all replies to the last one, and counts them without parsing: where
`sherwood load` takes longer for a request than a server does, this one shows the server.
One row is a few connections beside none, and beside 100 that never read what they are sent; `p99 of quiet` is by the p99 without these.
The last rows are UDP: a server without TCP, one with TCP, and one with 1,000 idle connections; `of UDP only` is by rate,
`cost` by processor time of a key. What is not there is SKIPPED: a server without TCP, memcached, the echo.
"""
import contextlib
import resource
import select
import socket
import time

from measuring import harness, options, programs, tcp
from measuring.load import answered, duration
from measuring.quantities import decimals, thousands
from measuring.results import Column
from measuring.trouble import Trouble

ABOUT = "rates, processor time and latency over TCP beside memcached and a bare echo; UDP beside idle connections"
TAKES = "4 minutes"
PROGRAM = programs.SERVER_AND_STREAM_ECHO
OPTIONS = [
    options.rounds(5), options.seconds(1.0), options.keys("100k"), options.memory("1GiB"), options.only(),
    options.Option("memcached", str, None, "PATH", "another memcached to measure beside the installed one"),
    options.serve_flags(), *options.cpus(),
]


def headroom(value):
    return f"{'<' if value < 1.5 else ''}{value:.1f}"


COLUMNS = [
    Column("requests_per_s", "requests/s", thousands), Column("keys_per_s", "keys/s", thousands, better="higher"),
    Column("ns_per_key", "ns/key", decimals(0), better="lower"),
    Column("p50_us", "p50 µs", decimals(0)), Column("p99_us", "p99", decimals(0)),
    Column("of_echo", "of echo", decimals(2)), Column("times_memcached", "× memcached", decimals(2)),
    Column("times_other", "× other", decimals(2)), Column("p99_of_echo", "p99 of echo", decimals(2)),
    Column("p99_of_quiet", "p99 of quiet", decimals(2)),
    Column("of_udp_only", "of UDP only", decimals(3)), Column("cost_of_udp_only", "cost", decimals(3)),
    Column("client_headroom", "client", headroom),
]

VALUE_BYTES = 100
IDLE_CONNECTIONS = 1000
MEMCACHED_CONNECTIONS = "4096"
CASES = [  # name, keys of a get, flags of load, idle connections beside them
    ("64 connections, 1 get in flight", 1, ["--connections", "64", "--window", "1"], 0),
    ("8 × 32 gets", 1, ["--connections", "8", "--window", "32"], 0),
    ("1 × 256 gets", 1, ["--connections", "1", "--window", "256"], 0),
    ("8 × 4 gets of 20 keys", 20, ["--connections", "8", "--window", "4"], 0),
    ("8 × 32, half sets", 1, ["--connections", "8", "--window", "32", "--mix", "get:50,set:50"], 0),
    ("8 × 32, all sets", 1, ["--connections", "8", "--window", "32", "--mix", "set:1"], 0),
    ("1,000 connections, 1 in 10 busy", 1, ["--connections", "100", "--window", "1"], 900),
]
LOCK_STEP_CASE = "1 × 256 gets, in lock step"
SLOW_CASE = "8 connections, 1 get in flight, beside slow readers"
SLOW_FLAGS = ["--transport", "tcp", "--connections", "8", "--window", "1"]
SLOW_READERS = 100
SLOW_BUFFER_BYTES = 64 << 10  # of a slow reader's socket: the kernel's default would take gigabytes of all of them
SLOW_PIPELINE = b"get %016x\r\n" % 0 * 1000
SLOW_QUIET_S = 0.2  # none of them takes more for so long, and the server uses less than this share of it: all are stuck
SLOW_QUIET_SHARE = 0.05
SLOW_PATIENCE_S = 60
UDP_CASES = [
    ("UDP, 1 key, trains", 1, ["--window", "256"]),
    ("UDP, 20 keys, trains", 20, ["--window", "32"]),
    ("UDP, 1 key, ordinary", 1, ["--window", "64", "--no-coalesce"]),
]
UDP_ONLY, UDP_AND_TCP, UDP_AND_IDLE = "UDP only", "TCP on", f"TCP on, {IDLE_CONNECTIONS:,} idle"


def run(session):
    bench = Streams(session)
    for number in session.rounds("streams"):
        bench.streams(number)
    if session.wants(SLOW_CASE):
        for number in session.rounds("slow readers"):
            bench.slow_readers(number)
    if any(session.wants(case) for case, *_ in UDP_CASES) and bench.start_udp():
        for number in session.rounds("UDP beside TCP"):
            bench.udp(number)


class Streams:
    """The servers that live through all rounds."""

    def __init__(self, session):
        self.session, self.given = session, session.parameters
        self.client = session.client(self.given.client_cpus)
        self.udp_servers = {}
        self.servers = [*self._start_echo(), *self._start_ours(), *self._start_memcacheds()]
        for subject, server, _ in self.servers:
            if subject != "echo":
                self._fill(server, "tcp")

    def _start_echo(self):
        binary = programs.echo_beside(self.session.binaries["new"], "stream_echo")
        if not binary:
            self.session.skip("echo", "no examples/stream_echo beside the binary (cargo build --release --example stream_echo)")
            return []
        server = harness.stream_echo(binary, VALUE_BYTES, self.given.server_cpus)
        return [("echo", self.session.stack.enter_context(server), None)]

    def _start_ours(self):
        """Those of new and old that take connections."""
        servers = []
        for binary in self.session.binaries:
            server = self.session.stack.enter_context(self._serve(binary))
            if takes_connections(server):
                servers.append(("sherwood", server, binary))
            else:
                self.session.skip(f"sherwood ({binary})", "it does not listen for TCP")
        return servers

    def _serve(self, binary, *flags):
        return self.session.serve(binary, "--memory", self.given.memory, "--cpus", self.given.server_cpus, "--workers", "1",
                                  "--poll", "block", *flags, *self.given.serve)

    def _start_memcacheds(self):
        servers = []
        for subject, binary in [("memcached", "memcached"), ("other memcached", self.given.memcached)]:
            server = binary and harness.memcached(
                self.given.memory, self.given.server_cpus, binary, ["-c", MEMCACHED_CONNECTIONS], has_udp=False)
            if server:
                servers.append((subject, self.session.stack.enter_context(server), None))
            elif binary:
                self.session.skip(subject, f"there is no program {binary} (apt-get install memcached)")
        return servers

    def _fill(self, server, transport):
        flags = ["--transport", transport] if transport == "tcp" else []
        report = self.client.fill(server, "--keys", self.given.keys, "--value-size", str(VALUE_BYTES), *flags)
        if report["unfilled"]:
            raise Trouble(f"{server.name} could not be filled with {self.given.keys} keys: give less --keys or more --memory")

    def streams(self, number):
        for case, keys, flags, idle in CASES:
            if not self.session.wants(case):
                continue
            found = {}
            for who in self.servers if number % 2 == 0 else self.servers[::-1]:
                with idle_connections(who[1], idle):
                    found[who] = self._load(who[1], keys, ["--transport", "tcp", *flags])
            self._record(case, found)
        if self.session.wants(LOCK_STEP_CASE):
            turns = self.servers if number % 2 == 0 else self.servers[::-1]
            self._record(LOCK_STEP_CASE, {who: self._gets_in_lock_step(who[1]) for who in turns})

    def _gets_in_lock_step(self, server):
        return tcp.gets(server, 1, self.given.keys, self.given.seconds, self.given.client_cpus)

    def _record(self, case, found):
        """Writes down the figures of a round, with their ratios."""
        base = {subject: figures for (subject, _, _), figures in found.items()}
        for subject, server, binary in self.servers:
            figures = found[subject, server, binary]
            for other, name in [("echo", "of_echo"), ("memcached", "times_memcached"), ("other memcached", "times_other")]:
                if other in base and other != subject:
                    figures[name] = figures["keys_per_s"] / base[other]["keys_per_s"]
            if "echo" in base and subject != "echo" and base["echo"].get("p99_us"):
                figures["p99_of_echo"] = figures["p99_us"] / base["echo"]["p99_us"]
            self.session.record(case, subject, figures, binary)

    def slow_readers(self, number):
        """The same connections with and without those that never read, on each server but the echo."""
        for subject, server, binary in self.servers:
            if subject == "echo":
                continue
            found = {}
            for count in (0, SLOW_READERS) if number % 2 == 0 else (SLOW_READERS, 0):
                with slow_readers(server, count):
                    found[count] = self._load(server, 1, SLOW_FLAGS)
            quiet = found[0]["p99_us"]
            if quiet:
                found[SLOW_READERS]["p99_of_quiet"] = found[SLOW_READERS]["p99_us"] / quiet
            for count, figures in found.items():
                self.session.record(SLOW_CASE, f"{subject}, {count} slow", figures, binary)

    def _load(self, server, keys, flags):
        """Figures of one run."""
        mix = [] if "--mix" in flags else ["--mix", "get:1"]
        before = server.cpu_ns()
        report = self.client.load(
            server, "--keys", self.given.keys, *mix, "--dist", "uniform", "--value-size", str(VALUE_BYTES),
            "--batch", str(keys), "--duration", duration(self.given.seconds), *flags)
        cpu_ns = server.cpu_ns() - before
        count, us = answered(report), next(iter(report["commands"].values()))["latency_us"]
        if not count:
            raise Trouble(f"{server.name} answered nothing within {self.given.seconds} s: give more --seconds")
        return {
            "requests_per_s": count / keys / report["seconds"], "keys_per_s": count / report["seconds"],
            "ns_per_key": cpu_ns / count, "p50_us": us["p50"], "p99_us": us["p99"],
            "client_headroom": report["client"]["headroom"] or 0,
        }

    def start_udp(self):
        """Servers of the new binary, with and without TCP, and the connections that do nothing; whether there are any."""
        if not any(binary == "new" for _, _, binary in self.servers):
            self.session.skip("UDP beside TCP", "the server does not listen for TCP")
            return False
        for subject, flags in [(UDP_ONLY, ["--transport", "udp"]), (UDP_AND_TCP, []), (UDP_AND_IDLE, [])]:
            server = self.session.stack.enter_context(self._serve("new", *flags))
            self._fill(server, "udp")
            self.udp_servers[subject] = server
        self.session.stack.enter_context(idle_connections(self.udp_servers[UDP_AND_IDLE], IDLE_CONNECTIONS))
        return True

    def udp(self, number):
        subjects = list(self.udp_servers)
        for case, keys, flags in UDP_CASES:
            if not self.session.wants(case):
                continue
            order = subjects if number % 2 == 0 else subjects[::-1]
            found = {subject: self._load(self.udp_servers[subject], keys, flags) for subject in order}
            for subject in subjects:
                if subject != UDP_ONLY:
                    found[subject]["of_udp_only"] = found[subject]["keys_per_s"] / found[UDP_ONLY]["keys_per_s"]
                    found[subject]["cost_of_udp_only"] = found[subject]["ns_per_key"] / found[UDP_ONLY]["ns_per_key"]
                self.session.record(case, subject, found[subject], "new")


def takes_connections(server):
    """Whether it listens for TCP."""
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return False
    return True


def connect(server):
    host, port = server.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)))


@contextlib.contextmanager
def idle_connections(server, count):
    """Connections that say nothing, as long as this lasts."""
    allow_files(count + 256)
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connect(server))
        yield


@contextlib.contextmanager
def slow_readers(server, count):
    """Connections that have asked for more than they and the server have room for, and read nothing, as long as this lasts."""
    allow_files(count + 256)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(server)) for _ in range(count)]
        for one in slow:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SLOW_BUFFER_BYTES)
            one.setblocking(False)
        began = time.monotonic()
        while slow and not is_stuck(server, slow):
            if time.monotonic() - began > SLOW_PATIENCE_S:
                raise Trouble(f"{server.name} goes on with what peers ask that do not read")
        yield


def is_stuck(server, slow):
    """Sends what connections have room for; whether none has any, and the server does nothing more."""
    before = server.cpu_ns()
    writable = select.select([], slow, [], SLOW_QUIET_S)[1]
    for one in writable:
        with contextlib.suppress(BlockingIOError):
            one.send(SLOW_PIPELINE)
    return not writable and server.cpu_ns() - before < SLOW_QUIET_SHARE * SLOW_QUIET_S * 1e9


def allow_files(count):
    """This process may have so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise Trouble(f"{count} open files are needed and {hard} allowed: see ulimit -Hn")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
