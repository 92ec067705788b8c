"""The mix of sizes shifts: values of 64 bytes, then 4 KiB, then 48 KiB, then lognormal, each many times the memory.

Every SET is of a key that was not there. Server and policy on one core, client on another. By phase:

  stored, failed   SETs, those that the server answered with an error (there may be none), lost datagrams
  live             key, value and header of all items (`bytes`), as a share of the memory that was granted
  slots            the same with what size classes add (`used_bytes`)
  index            the share that the table takes
  p50 p99 max      of a SET at its client, closed loop; and how many times its median the p99 is
  set, tick        the server's own: processor time of a SET; the longest tick
  owner            the longest part of a tick that freeing memory, the policy's commands, growth and the mover took

Fails when a SET failed, p99 is above 10 times the median, or live bytes are below 88 % of the memory. For values of 64
bytes 84 % are enough: an item of 104 bytes has a slot of 112 and 9.4 bytes of the index, so no more than 85.6 % can be
its own. In the next phase too: nobody reads anything, so the policy keeps the small items, which are cheaper to keep.
"""
from measuring import options, programs
from measuring.load import duration
from measuring.quantities import decimals, size_bytes
from measuring.results import Column

ABOUT = "values of 64 B, 4 KiB, 48 KiB, lognormal, each many times the memory: failed SETs, live bytes, p99"
TAKES = "2 minutes"
PROGRAM = programs.SERVER
OPTIONS = [
    options.rounds(1), options.memory("512MiB", "memory of the server"),
    options.Option("times", options.positive, 4.0, "N", "how many times the memory each phase stores"), *options.cpus(),
]
COLUMNS = [
    Column("stored", "stored", decimals(0)), Column("failed", "failed", decimals(0)), Column("lost", "lost", decimals(0)),
    Column("live_percent", "live %", decimals(1), better="higher"), Column("slots_percent", "slots %", decimals(1)),
    Column("index_percent", "index %", decimals(1)), Column("p50_us", "p50 µs", decimals(0)),
    Column("p99_us", "p99", decimals(0)), Column("max_us", "max", decimals(0)), Column("p99_by_p50", "p99/p50", decimals(1)),
    Column("set_p50_ns", "set p50 ns", decimals(0), better="lower"), Column("set_p99_ns", "p99", decimals(0)),
    Column("tick_max_us", "tick max µs", decimals(0)), Column("owner_max_us", "owner max", decimals(0)),
    Column("owner_p999_us", "p99.9", decimals(0)),
]

RATIO_MAX = 10
HEADER_BYTES = 24
# Keys of each phase have their own length, so that none meets a key of the phase before.
PHASES = [  # name, percent that should be live, mean bytes of a value, --value-size, bytes of a key, datagrams in flight
    ("64 B", 84, 64, "64", 16, 64),
    ("4 KiB", 84, 4096, "4096", 17, 16),
    ("48 KiB", 88, 48 << 10, "49152", 18, 8),
    ("lognormal, mean 2 KiB", 88, 2048, "lognormal:2048:1.2", 19, 16),
]


def run(session):
    given = session.parameters
    for number in session.rounds():
        for binary in session.in_turn(number):
            with session.serve(binary, "--memory", given.memory, "--cpus", given.server_cpus, "--workers", "1",
                               "--watch-one-in", "1") as server:
                for name, live_percent, *sizes in PHASES:
                    session.progress(f"{binary}: {name}")
                    figures = phase(session, server, *sizes)
                    session.record(name, "", figures, binary)
                    check(session, binary, name, live_percent, figures)


def phase(session, server, mean_bytes, value_size, key_bytes, window):
    given = session.parameters
    keys = int(given.times * size_bytes(given.memory) / (mean_bytes + key_bytes + HEADER_BYTES))
    before = server.times()
    fill = session.client(given.client_cpus).load(
        server, "--fill", "--keys", str(max(keys, 1)), "--key-size", str(key_bytes), "--value-size", value_size,
        "--window", str(window), "--mix", "get:1", "--duration", duration(0.01), "--timeout", "500ms")["fill"]
    own = {name: times.since(before[name]) for name, times in server.times().items()}
    return of_client(fill) | of_memory(server.figures()) | {
        "set_p50_ns": own["set_ns"].quantile(.5), "set_p99_ns": own["set_ns"].quantile(.99),
        "tick_max_us": own["tick_ns"].largest() / 1e3, "owner_max_us": own["owner_cpu_ns"].largest() / 1e3,
        "owner_p999_us": own["owner_cpu_ns"].quantile(.999) / 1e3,
    }


def of_client(fill):
    us = fill["latency_us"]
    return {
        "stored": fill["stored"], "failed": fill["errors"], "unanswered": fill["unfilled"], "lost": fill["lost"],
        "p50_us": us["p50"], "p99_us": us["p99"], "max_us": us["max"], "p99_by_p50": us["p99"] / max(us["p50"], 1),
    }


def of_memory(figures):
    granted = figures["cache_granted_bytes"]
    return {
        "live_percent": figures["bytes"] / granted * 100, "slots_percent": figures["used_bytes"] / granted * 100,
        "index_percent": figures["table_slots"] * 8 / granted * 100,
    }


def check(session, binary, name, live_percent, figures):
    failed, unanswered = figures["failed"], figures["unanswered"]
    session.check(binary, not failed and not unanswered, f"{name}: {failed} SETs failed, {unanswered} were never answered")
    session.check(binary, figures["p99_by_p50"] <= RATIO_MAX,
                  f"{name}: p99 of a SET is {figures['p99_by_p50']:.1f} times its median; {RATIO_MAX} is the most")
    session.check(binary, figures["live_percent"] >= live_percent,
                  f"{name}: {figures['live_percent']:.1f} % of the memory is live, not {live_percent}")
