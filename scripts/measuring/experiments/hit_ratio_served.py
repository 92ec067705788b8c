"""The hit ratio of a running server, over UDP, beside that of `sherwood simulate`: what does the asynchronous path cost?

A trace is replayed by `sherwood load --trace` (a get; a set after a miss; one request in flight per key, so that each key
sees the trace's own order) against a server with an empty cache, in rounds. Then `simulate` replays it in a cache of as
many items: the server's own budget (`stats policy`) divided by the slot of an item. So that every item has one slot size,
keys have 16 bytes and values one size (a trace with sizes is refused), which is chosen so that the budget holds about as
many items as --cases says; at least some 15,000, because the least memory holds as many of the largest that lie in one piece.
Each round has another seed, since the server draws one at its start; medians are compared. With one processor for the
server (--server-cpus 0) the policy has no thread of its own and runs between the ticks.

The difference is what hit records that come late or not at all, evictions that take a moment, and pressure cost together.
Fails when it is more than --cost-max points.
"""
import json
import os
import subprocess
import time

from measuring import machine, options, programs
from measuring.quantities import decimals, thousands
from measuring.results import Column
from measuring.trouble import Trouble

ABOUT = "the hit ratio of a running server over UDP beside that of `simulate`; fails when it loses more than half a point"
TAKES = "2 minutes"
PROGRAM = programs.SERVER
TRACES = os.path.join(os.path.dirname(programs.ROOT), "shared", "traces")


def cases(text):
    """`scarab:25837,oltp:18688` as names and numbers."""
    pairs = [case.split(":") for case in text.split(",")]
    if not all(len(pair) == 2 and pair[1].isdigit() for pair in pairs):
        raise ValueError(f"{text} is not TRACE:ITEMS,TRACE:ITEMS")
    return [(name, int(items)) for name, items in pairs]


OPTIONS = [
    options.rounds(3), options.Option("traces", str, TRACES, "FOLDER", "where TRACE.ctr.zst are"),
    options.Option("cases", options.kind_of(lambda text: cases(text) and text), "scarab:25837,oltp:18688", "TRACE:ITEMS,...",
                   "traces, and about how many items the cache holds"),
    options.Option("window", options.whole_number, 64, "N", "requests in flight"),
    options.Option("server-cpus", str, ",".join(map(str, machine.allowed_cpus()[:2])), "LIST", "processors of the server"),
    options.Option("client-cpus", str, str(machine.allowed_cpus()[:2][-1]), "LIST", "processors of the client"),
    options.Option("cost-max", options.positive, 0.5, "POINTS", "points that the asynchronous path may cost"),
]
COLUMNS = [
    Column("items", "items", decimals(0)), Column("slot_bytes", "slot", decimals(0)),
    Column("served_percent", "served %", decimals(2), better="higher"), Column("simulated_percent", "simulated %", decimals(2)),
    Column("lost_points", "lost points", decimals(2)), Column("gets_per_s", "gets/s", thousands),
    Column("lost", "lost", decimals(0)), Column("by_policy", "evicted by policy", decimals(0)),
    Column("by_pressure", "by pressure", decimals(0)), Column("records_sent", "hit records sent", decimals(0)),
    Column("records_dropped", "dropped", decimals(0)),
]

# Longer values are kept in chunks, with slots of their own: with the least memory, chunks begin at 1 KiB.
KEY_BYTES, HEADER_BYTES, VALUE_BYTES_MAX = 16, 24, 900
PAGE_BYTES = 2 << 20
PUBLISHED_S = 0.3  # figures are published every 100 ms


def run(session):
    given = session.parameters
    if not os.path.isdir(given.traces):
        session.skip("all", f"no traces in {given.traces}: --traces names another folder")
        return
    sized = [(name, *sizes_for(session, items)) for name, items in cases(given.cases)]
    for number in session.rounds():
        for name, memory_bytes, value_bytes in sized:
            for binary in session.in_turn(number):
                session.record(name, "", one_round(session, binary, name, memory_bytes, value_bytes, number + 1), binary)
    for name, *_ in sized:
        served, simulated = (session.median(name, "", figure) for figure in ["served_percent", "simulated_percent"])
        session.note(f"{name}: served {served:.2f} %, simulated {simulated:.2f} %, difference {served - simulated:+.2f} points")
        session.check("new", simulated - served <= given.cost_max,
                      f"{name}: served loses {simulated - served:.2f} points; {given.cost_max} is the most")


def slot_bytes(value_bytes):
    """The slot of an item: units of 16 bytes, beyond 32 of them in steps of a sixteenth of a power of two
    (cache/src/memory/class.rs)."""
    units = -(-(HEADER_BYTES + KEY_BYTES + value_bytes) // 16)
    if units > 32:
        step = 1 << ((units - 1).bit_length() - 1 - 4)
        units = -(-units // step) * step
    return units * 16


def serve(session, binary, memory_bytes):
    return session.serve(binary, "--workers", "1", "--cpus", session.parameters.server_cpus, "--memory", str(memory_bytes),
                         "--huge", "off")


def sizes_for(session, items):
    """Memory and value size with which the budget holds about so many items."""
    memory_bytes = max(16 << 20, -(-items * 400 // PAGE_BYTES) * PAGE_BYTES)
    with serve(session, "new", memory_bytes) as server:
        time.sleep(PUBLISHED_S)
        budget = server.figures("policy")["0:budget_bytes"]
    fitting = [value for value in range(8, VALUE_BYTES_MAX, 8) if slot_bytes(value) * items <= budget]
    return memory_bytes, max(fitting, default=8)


def one_round(session, binary, name, memory_bytes, value_bytes, seed):
    """One replay of each: hit ratios in percent, and what went on."""
    trace = os.path.join(session.parameters.traces, f"{name}.ctr.zst")
    if not os.path.exists(trace):
        raise Trouble(f"there is no trace {trace}: see --traces and --cases")
    with serve(session, binary, memory_bytes) as server:
        report = session.client(session.parameters.client_cpus).load(
            server, "--trace", trace, "--window", str(session.parameters.window), "--key-size", str(KEY_BYTES),
            "--value-size", str(value_bytes))
        time.sleep(PUBLISHED_S)
        general, policy = server.figures(), server.figures("policy")
    if report["trace"]["sizes_unknown"] < report["trace"]["records"]:
        raise Trouble(f"{trace} has sizes of its own, so its items cannot be counted by the budget: use one without")
    figures = of_server(general) | of_client(report)
    figures |= {"items": policy["0:budget_bytes"] // slot_bytes(value_bytes), "slot_bytes": slot_bytes(value_bytes)}
    figures["simulated_percent"] = simulated(session.binaries[binary], trace, figures["items"], seed)
    return figures | {"lost_points": figures["simulated_percent"] - figures["served_percent"]}


def of_client(report):
    get = report["commands"]["get"]
    return {
        "served_percent": get["hits"] / max(get["hits"] + get["misses"], 1) * 100, "gets_per_s": get["rate_per_s"],
        "lost": sum(command["lost"] + command["errors"] for command in report["commands"].values()),
    }


def of_server(general):
    return {
        "records_sent": general["hit_records_sent"], "records_dropped": general["hit_records_dropped"],
        "by_policy": general["evicted_by_policy"], "by_pressure": general["evicted_by_pressure"],
    }


def simulated(binary, trace, items, seed):
    command = [binary, "simulate", "--trace", trace, "--items", str(items), "--seed", str(seed), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Trouble(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)["hit_ratio"] * 100
