"""What the server's own histograms cost: the same server with --watch-one-in 0 and 16, in alternating rounds.

A row is a kind of request; `ratio` is the worker's processor time by key with one in 16 requests watched, over that of a
server that watches none: 1.000 costs nothing.
"""
from measuring import cost, options, programs

ABOUT = "what the server's own histograms cost the worker"
TAKES = "90 seconds"
PROGRAM = programs.SERVER
OPTIONS = [
    options.rounds(9), options.seconds(1.0), options.keys("100k"), options.memory("256MiB"), options.only(), *options.cpus(),
]
COLUMNS = cost.columns("not watched", "one in 16")

CASES = [  # name, flags of load
    ("get, 1 key, trains", ["--mix", "get:1", "--window", "256"]),
    ("get, 20 keys, trains", ["--mix", "get:1", "--window", "32", "--batch", "20"]),
    ("set, trains", ["--mix", "set:1", "--window", "256"]),
    ("get, 1 key, ordinary", ["--mix", "get:1", "--window", "64", "--no-coalesce"]),
]


def run(session):
    given = session.parameters
    common = ["--memory", given.memory, "--cpus", given.server_cpus, "--workers", "1", "--poll", "block", "--watch-one-in"]
    pairs = {binary: cost.Pair(session, session.stack, binary, common, ["0"], ["16"]) for binary in session.binaries}
    for number in session.rounds():
        for case, flags in CASES:
            for binary in session.in_turn(number) if session.wants(case) else []:
                session.record(case, "", pairs[binary].measure(number, ["--dist", "uniform", *flags]), binary)
