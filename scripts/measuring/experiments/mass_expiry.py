"""Millions of items with one deadline expire while a client reads others.

Fills a server with small items that all expire in the same second (a deadline in unix time, which every memcached
understands), and with other keys that stay. A client reads the others, open loop, in runs of a second: before the
deadline, and until everything is gone. The table has GET p50 and p99 before and during (medians of those seconds; `by second`
in the notes has all of them, which shows a second in which something else had the core), how long after the
deadline the last item was gone (the deadlines of one second of unix time are spread over it), the longest tick, and the
share of the worker's time that was the owner's own work, meanwhile.

Once with the policy on the worker's core, once with it on the client's (there is no third).

Fails when p99 more than doubles, when it takes longer than 10 s, when more than a quarter of the time is the owner's work, or
when the owner's part of a tick is above 1 ms.
"""
import threading
import time

from measuring import options, programs, rounds
from measuring.quantities import count, decimals
from measuring.results import Column
from measuring.trouble import Trouble

ABOUT = "10 million items that expire in one second, beside a client that reads others"
TAKES = "3 minutes"
PROGRAM = programs.SERVER
OPTIONS = [
    options.rounds(1), options.Option("items", options.count_text, "10m", "N", "items that expire"),
    options.Option("gets-per-s", options.whole_number, 20_000, "N", "offered rate of reads"), *options.cpus(),
]
COLUMNS = [
    Column("gone", "gone", decimals(0)), Column("seconds", "after s", decimals(1), better="lower"),
    Column("expired", "by command", decimals(0)), Column("evicted", "evicted", decimals(0)),
    Column("p50_before_us", "GET p50 µs", decimals(0)), Column("p50_during_us", "during", decimals(0)),
    Column("p99_before_us", "p99", decimals(0)), Column("p99_during_us", "during", decimals(0)),
    Column("p99_ratio", "times", decimals(2)), Column("tick_max_us", "tick max µs", decimals(0)),
    Column("owner_max_us", "owner max", decimals(0)), Column("owner_p999_us", "p99.9", decimals(0)),
    Column("owner_percent", "owner % of time", decimals(1), better="lower"), Column("policy_max_us", "policy max", decimals(0)),
]

OTHERS = 100_000
ITEM_BYTES = 64  # slot: header 24, key 16, value 24
BEFORE_S = 5
LOST_MAX_S = 60
FILLED_MIN_PER_S = 250_000  # a guess on the slow side; the deadline is checked after the fill
SECONDS_MAX, RATIO_MAX, PERCENT_MAX, OWNER_US_MAX = 10, 2, 25, 1_000


def run(session):
    given = session.parameters
    both = ",".join(dict.fromkeys([given.server_cpus, given.client_cpus]))
    for number in session.rounds():
        for place, cpus in [("policy on the worker's core", given.server_cpus), ("policy on the client's core", both)]:
            for binary in session.in_turn(number):
                session.progress(f"{binary}: {place}")
                figures = measure(session, binary, place, cpus)
                session.record(place, "", figures, binary)
                check(session, binary, place, figures)


def measure(session, binary, place, cpus):
    items = count(session.parameters.items)
    # Room for all of them, index and free reserve included: none may be evicted.
    memory = (items * (ITEM_BYTES + 16) + OTHERS * 200) * 5 // 4 + (32 << 20)
    with session.serve(binary, "--memory", str(memory), "--mean-item", str(ITEM_BYTES), "--cpus", cpus, "--workers", "1",
                       "--watch-one-in", "1") as server:
        deadline = fill(session, server, items)
        filled = server.stat("curr_items")
        before = [gets(session, server) for _ in range(BEFORE_S)]
        time.sleep(max(0, deadline - 1.3 - time.time()))
        during, over_at, own = expiry(session, server, deadline)
        session.note(f"{binary}, {place}: p99 by second {by_second(before)} | {by_second(during)}")
        return of_client(before, during) | of_server(own) | {
            "gone": filled - server.stat("curr_items"), "seconds": over_at - deadline,
            "expired": server.stat("expired"), "evicted": server.stat("evictions"),
        }


def fill(session, server, items):
    """Fills in what stays, and what expires; when it expires."""
    fill_keys(session, server, OTHERS, "20", "100", "0")
    deadline = int(time.time() + items / FILLED_MIN_PER_S + 3 + BEFORE_S + 2)
    fill_keys(session, server, items, "16", "24", str(deadline))
    late = time.time() - (deadline - BEFORE_S - 1)
    if late > 0:
        raise Trouble(f"the fill ended {late:.0f} s too late for what comes before the deadline: use a quieter machine")
    if server.stat("curr_items") < (items + OTHERS) * 0.999:
        raise Trouble("items were lost on the way in, so there is nothing to measure: run it again")
    return deadline


def fill_keys(session, server, keys, key_bytes, value_bytes, ttl):
    session.client(session.parameters.client_cpus).fill(
        server, "--keys", str(keys), "--key-size", key_bytes, "--value-size", value_bytes, "--ttl", ttl, "--window", "128")


def expiry(session, server, deadline):
    """Reads the others until everything else is gone: latencies by second, when it was over, what the server did."""
    watch = TickProfiler(server)
    times, began = server.times(), time.time()
    during = []
    while watch.over_at is None and time.time() < deadline + LOST_MAX_S:
        during.append(gets(session, server))
    watch.stop()
    own = {name: of.since(times[name]) for name, of in server.times().items()}
    own["seconds"] = time.time() - began
    return during, watch.over_at or float("inf"), own


def gets(session, server):
    """A second of reads of what stays: latencies in µs."""
    given = session.parameters
    report = session.client(given.client_cpus).load(
        server, "--keys", str(OTHERS), "--key-size", "20", "--mix", "get:1", "--rate", str(given.gets_per_s),
        "--arrivals", "poisson", "--duration", "1s", "--no-coalesce")
    if report["hit_ratio"] < 1:
        raise Trouble("keys without a deadline are gone: this is a fault of the server")
    return report["commands"]["get"]["latency_us"]


def of_client(before, during):
    before, during = ({name: rounds.median([us[name] for us in slices]) for name in ["p50", "p99"]} for slices in (before, during))
    return {
        "p50_before_us": before["p50"], "p50_during_us": during["p50"], "p99_before_us": before["p99"],
        "p99_during_us": during["p99"], "p99_ratio": during["p99"] / max(before["p99"], 1),
    }


def of_server(own):
    owner = own["owner_cpu_ns"]
    return {
        "tick_max_us": own["tick_ns"].largest() / 1e3, "owner_max_us": owner.largest() / 1e3,
        "owner_p999_us": owner.quantile(.999) / 1e3, "owner_percent": owner.sum() / 1e9 / own["seconds"] * 100,
        "policy_max_us": own["policy_ns"].largest() / 1e3,
    }


def by_second(slices):
    return " ".join(f"{us['p99']:.0f}" for us in slices)


def check(session, binary, place, figures):
    before, during = figures["p99_before_us"], figures["p99_during_us"]
    for holds, text in [
        (figures["p99_ratio"] <= RATIO_MAX, f"GET p99 went from {before:.0f} to {during:.0f} µs"),
        (figures["seconds"] <= SECONDS_MAX, f"it took {figures['seconds']:.1f} s"),
        (figures["owner_percent"] <= PERCENT_MAX, f"{figures['owner_percent']:.0f} % of the worker's time was the owner's work"),
        (figures["owner_max_us"] <= OWNER_US_MAX, f"a tick was held up for {figures['owner_max_us']:.0f} µs"),
    ]:
        session.check(binary, holds, f"{place}: {text}")


class TickProfiler(threading.Thread):
    """Asks for the number of items until only the others are left, and notes when."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.over_at, self.is_stopped = server, None, False
        self.start()

    def run(self):
        while not self.is_stopped and self.over_at is None:
            if self.server.stat("curr_items") <= OTHERS:
                self.over_at = time.time()
            time.sleep(0.02)

    def stop(self):
        self.is_stopped = True
        self.join()
