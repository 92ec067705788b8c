"""Sherwood, memcached and a bare echo over loopback, in interleaved rounds; medians.

The echo (examples/load_echo.rs) answers with the same bytes and looks nothing up: the limit that the kernel sets.
Servers block while idle, so their processor time is work: `ns/key` is all of it (from the scheduler) by keys answered, and
is what old and new are compared by. `client` is the client's headroom: 2.0 means that it could have sent twice as much;
below 1.5 (with a `<`) the rate may be the client's limit. Open loops, one request at a time and two workers come in
rounds of their own, after the peak is known. memcached's rows and the echo's are SKIPPED where it is not there.
"""
from measuring import harness, options, programs, tcp
from measuring.load import answered, duration
from measuring.quantities import decimals, thousands
from measuring.results import Column
from measuring.trouble import Trouble

ABOUT = "rates, processor time and latency beside memcached (UDP, TCP) and beside a bare echo, the kernel's limit"
TAKES = "5 minutes"
PROGRAM = programs.SERVER_AND_ECHO
OPTIONS = [
    options.rounds(3), options.seconds(1.0), options.keys("1m"), options.memory("1GiB"), options.only(), *options.cpus(),
]


def headroom(value):
    return f"{'<' if value < 1.5 else ''}{value:.1f}"


COLUMNS = [
    Column("requests_per_s", "requests/s", thousands), Column("keys_per_s", "keys/s", thousands),
    Column("datagrams_per_s", "datagrams/s", thousands), Column("ns_per_key", "ns/key", decimals(0), better="lower"),
    Column("p50_us", "p50 µs", decimals(0)), Column("p99_us", "p99", decimals(0)), Column("p999_us", "p99.9", decimals(0)),
    Column("loss_percent", "loss %", decimals(2)), Column("client_headroom", "client", headroom),
    Column("forwarded_per_key", "forwarded/key", decimals(3)),
]

VALUE_BYTES = 100
PROTOCOLS = {"echo": ["text"], "memcached": ["text"], "sherwood": ["text", "meta", "batch"]}
PEAK, PEAK_MIXED = "1 key, trains, 1 peer", "50 gets, 50 sets"
CASES = [  # name, keys of a datagram, flags of load
    (PEAK, 1, ["--window", "256"]),
    ("1 key, trains, 64 peers", 1, ["--window", "16", "--connections", "64"]),
    ("20 keys, trains, 1 peer", 20, ["--window", "32"]),
    ("20 keys, trains, 1 peer, window 128", 20, ["--window", "128"]),
    ("20 keys, trains, 1 peer, window 256", 20, ["--window", "256"]),
    ("20 keys, trains, 64 peers", 20, ["--window", "2", "--connections", "64"]),
    ("95 gets, 5 sets", 1, ["--window", "256", "--mix", "get:95,set:5"]),
    (PEAK_MIXED, 1, ["--window", "256", "--mix", "get:50,set:50"]),
    ("sets", 1, ["--window", "256", "--mix", "set:1"]),
    ("1 key, ordinary, 1 peer", 1, ["--window", "64", "--no-coalesce"]),
    ("1 key, ordinary, 64 peers", 1, ["--window", "2", "--connections", "64", "--no-coalesce"]),
    ("20 keys, ordinary, 1 peer", 20, ["--window", "8", "--no-coalesce"]),
]
ONE_AT_A_TIME = "1 key, one request at a time"
STEERED = [
    ("2 workers, frames of 20 gets", 20, ["--window", "16"]),
    ("2 workers, frames of a set", 1, ["--window", "32", "--mix", "set:1"]),
    ("2 workers, 50 gets, 50 sets in frames", 1, ["--window", "32", "--mix", "get:50,set:50"]),
]
STEERINGS = [("steered", []), ("not steered", ["--no-steering"])]


def run(session):
    bench = Loopback(session)
    for number in session.rounds("closed loops"):
        bench.closed_loops(number)
    open_loops = bench.open_loops()
    for number in session.rounds("open loops, one at a time, two workers"):
        for case, flags in open_loops:
            bench.open_loop(case, flags, number)
        bench.one_at_a_time(number)
        bench.two_workers(number)


class Loopback:
    """The servers that live through all rounds: the echo, Sherwood (new and old) and memcached."""

    def __init__(self, session):
        self.session, self.given = session, session.parameters
        self.client = session.client(self.given.client_cpus)
        self.echo = self._start_echo()
        self.sherwoods = {binary: session.stack.enter_context(self._serve(binary)) for binary in session.binaries}
        self.memcached = self._start_memcached()
        for server in [*self.sherwoods.values(), *([self.memcached] if self.memcached else [])]:
            self._fill(server)

    def _start_echo(self):
        binary = programs.echo_beside(self.session.binaries["new"])
        if not binary:
            self.session.skip("echo", "no examples/load_echo beside the binary (cargo build --release --example load_echo)")
            return None
        return self.session.stack.enter_context(harness.echo(binary, VALUE_BYTES, self.given.server_cpus))

    def _start_memcached(self):
        server = harness.memcached(self.given.memory, self.given.server_cpus)
        if not server:
            self.session.skip("memcached", "it is not installed (apt-get install memcached)")
            return None
        return self.session.stack.enter_context(server)

    def _serve(self, binary, poll="block", workers=1, cpus=None, flags=()):
        return self.session.serve(binary, "--memory", self.given.memory, "--cpus", cpus or self.given.server_cpus,
                                  "--workers", str(workers), "--poll", poll, *flags)

    def _fill(self, server):
        if self._load(server, "text", 1, ["--window", "64", "--fill"]) is None:
            raise Trouble(f"{server.name} could not be filled with {self.given.keys} keys: give less --keys or more --memory")

    def _contestants(self, number):
        """Subject, server and binary (of Sherwood only), in the order of this round."""
        ours = [("sherwood", self.sherwoods[binary], binary) for binary in self.session.in_turn(number)]
        others = [("echo", self.echo, None), ("memcached", self.memcached, None)]
        return [who for who in [others[0], *ours, others[1]] if who[1]]

    def _load(self, server, protocol, keys, flags, cpus=None):
        """Figures of one run; None where the load generator does not speak the protocol."""
        mix = [] if "--mix" in flags else ["--mix", "get:1"]
        before = server.cpu_ns()
        report = self.client.try_load(
            server, "--keys", self.given.keys, *mix, "--dist", "uniform", "--value-size", str(VALUE_BYTES),
            "--protocol", protocol, "--batch", str(keys), "--duration", duration(self.given.seconds), *flags, cpus=cpus)
        return report and figures(report, keys, server.cpu_ns() - before)

    def _measure(self, case, who, protocol, keys, flags):
        subject, server, binary = who
        result = self._load(server, protocol, keys, flags)
        if result:
            self.session.record(case, f"{subject} {protocol}", result, binary)
        else:
            self.session.skip(f"{subject} {protocol}", "this client does not speak it")

    def closed_loops(self, number):
        for case, keys, flags in CASES:
            if not self.session.wants(case):
                continue
            for who in self._contestants(number):
                for protocol in PROTOCOLS[who[0]]:
                    self._measure(case, who, protocol, keys, flags)
            if self.memcached and case.endswith("trains, 1 peer"):
                piped = tcp.gets(self.memcached, keys, self.given.keys, self.given.seconds, self.given.client_cpus)
                self.session.record(case, "memcached TCP", piped)

    def open_loops(self):
        """Rates at half of the peak of gets, and at twice that of half gets and half sets."""
        loops = []
        for case, peak_of, times, flags in [
            ("open loop at half of the peak", PEAK, 0.5, []),
            ("open loop at twice the peak, 50 gets, 50 sets", PEAK_MIXED, 2, ["--mix", "get:50,set:50"]),
        ]:
            peak = self.session.median(peak_of, "sherwood text", "keys_per_s")
            if peak and self.session.wants(case):
                loops.append((case, ["--rate", str(max(int(peak * times), 1)), *flags]))
        return loops

    def open_loop(self, case, flags, number):
        # What the echo cannot do either is the machine's: a client that is held up cannot ask in time.
        for who in self._contestants(number):
            if who[0] == "sherwood" or (who[0] == "echo" and "--mix" not in flags):
                self._measure(case, who, "text", 1, flags)

    def one_at_a_time(self, number):
        """Window 1. The server that polls without blocking lives for its own run only: it would take the core from others."""
        if not self.session.wants(ONE_AT_A_TIME):
            return
        flags = ["--window", "1", "--no-coalesce"]
        for who in self._contestants(number):
            self._measure(ONE_AT_A_TIME, who, "text", 1, flags)
        for binary in self.session.in_turn(number):
            with self._serve(binary, "busy") as busy:
                self._fill(busy)
                self.session.record(ONE_AT_A_TIME, "sherwood busy", self._load(busy, "text", 1, flags), binary)

    def two_workers(self, number):
        """Two workers, frames that the kernel brings to the owner of their first key, and frames that it does not.

        Client and workers share the cores, so the rate is not the point, but `ns/key`: what a key costs the server."""
        cases = [case for case in STEERED if self.session.wants(case[0])]
        cpus = ",".join(dict.fromkeys([self.given.server_cpus, self.given.client_cpus]))
        if len(harness.cpu_set(cpus)) < 2:
            self.session.skip("2 workers", "they need two processors")
            return
        for name, steering in STEERINGS if cases else []:
            for binary in self.session.in_turn(number):
                with self._serve(binary, workers=2, cpus=cpus, flags=steering) as server:
                    self._fill(server)
                    for case, keys, flags in cases:
                        self._record_steered(server, (case, name, binary), keys, flags, cpus)

    def _record_steered(self, server, row, keys, flags, cpus):
        case, name, binary = row
        before = server.stat("forwarded")
        result = self._load(server, "batch", keys, [*flags, "--owners", "2", "--connections", "8"], cpus)
        if not result:
            self.session.skip("frames to 2 workers", "this client does not speak them")
            return
        forwarded = server.stat("forwarded") - before
        result["forwarded_per_key"] = forwarded / max(result["keys_per_s"] * self.given.seconds, 1)
        self.session.record(case, name, result, binary)


def figures(report, keys, cpu_ns):
    """What a run of the load generator says, and what the server had of its processor meanwhile."""
    events, seconds, count = report["events"], report["seconds"], answered(report)
    us = next(iter(report["commands"].values()))["latency_us"]
    return {
        "requests_per_s": count / keys / seconds, "keys_per_s": count / seconds,
        "datagrams_per_s": (events["datagrams_sent"] + events["datagrams_received"]) / seconds,
        "ns_per_key": cpu_ns / max(count, 1), "p50_us": us["p50"], "p99_us": us["p99"], "p999_us": us["p999"],
        "loss_percent": report["loss_ratio"] * 100, "client_headroom": report["client"]["headroom"] or 0,
    }
