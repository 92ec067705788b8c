"""What the policy and the wheel cost the reads: the same server with `--policy wtinylfu` and with `--policy none`.

With one core the policy runs on the worker's thread, between ticks, and its whole work is in the worker's time by key; with a
core of its own (the client's; there is no third) only what the worker does for it: records, events, commands. The aims are
10 % on a shared core and 3 % with a core of its own. `cost` is the share of the throughput of a worker that is bound
by its processor, with quartiles of the rounds; the last columns are how long the policy held up a tick.
"""
import contextlib

from measuring import cost, options, programs
from measuring.quantities import decimals
from measuring.results import Column

ABOUT = "what the policy costs the reads, with a core of its own and without"
TAKES = "4 minutes"
PROGRAM = programs.SERVER
OPTIONS = [
    options.rounds(9), options.seconds(1.0), options.keys("100k"), options.memory("256MiB"), options.only(), *options.cpus(),
]
COLUMNS = cost.columns("none", "wtinylfu") + [
    Column("policy_p999_us", "in a tick: p99.9 µs", decimals(0)),
    Column("policy_max_us", "longest", decimals(0), summary=max),
]

CASES = [  # name, flags of load
    ("get, 1 key, trains, uniform", ["--mix", "get:1", "--dist", "uniform", "--window", "256"]),
    ("get, 1 key, trains, Zipf 0.99", ["--mix", "get:1", "--dist", "zipf:0.99", "--window", "256"]),
    ("get, 20 keys, trains, uniform", ["--mix", "get:1", "--dist", "uniform", "--window", "64", "--batch", "20"]),
    ("get, 1 key, ordinary, uniform", ["--mix", "get:1", "--dist", "uniform", "--window", "64", "--no-coalesce"]),
    ("95 gets, 5 sets with a ttl, trains", ["--mix", "get:95,set:5", "--dist", "uniform", "--window", "256", "--ttl", "100"]),
]


def run(session):
    given = session.parameters
    both = ",".join(dict.fromkeys([given.server_cpus, given.client_cpus]))
    for place, cpus in [("shared core", given.server_cpus), ("core of its own", both)]:
        with contextlib.ExitStack() as stack:
            measure(session, stack, place, cpus)


def measure(session, stack, place, cpus):
    common = ["--memory", session.parameters.memory, "--cpus", cpus, "--workers", "1", "--poll", "block", "--policy"]
    pairs = {binary: cost.Pair(session, stack, binary, common, ["none"], ["wtinylfu"]) for binary in session.binaries}
    for number in session.rounds(place):
        for case, flags in CASES:
            for binary in session.in_turn(number) if session.wants(case) else []:
                session.record(place, case, one_round(pairs[binary], number, flags), binary)


def one_round(pair, number, flags):
    """The cost, and how long the policy held up ticks meanwhile (nothing where it has a thread of its own)."""
    before = pair.servers["with"].times()["policy_ns"]
    figures = pair.measure(number, flags)
    held = pair.servers["with"].times()["policy_ns"].since(before)
    if held.count():
        figures |= {"policy_p999_us": held.quantile(.999) / 1e3, "policy_max_us": held.largest() / 1e3}
    return figures
