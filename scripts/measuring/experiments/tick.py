"""What a request costs a worker without a kernel: `cargo bench --bench tick`, whose page says what it does.

Processor time of the thread by datagram, in ns; a round runs the bench once, which takes the median and the least of nine
rounds of its own. To compare two versions give --old a source tree (cargo builds its bench there) or a built bench.
"""
import re

from measuring import bench, options, programs, quantities
from measuring.quantities import decimals
from measuring.results import Column
from measuring.trouble import Trouble

ABOUT = "what a request costs a worker without a kernel: to compare two versions"
TAKES = "15 seconds"
PROGRAM = programs.bench("tick")
OPTIONS = [
    options.rounds(1), options.keys("100k"), options.policy("wtinylfu"), options.only(),
    options.switch("smoke", "a few ticks only: whether it runs, not how fast"),
]
COLUMNS = [
    Column("median_ns", "ns by datagram, median", decimals(0), better="lower"), Column("least_ns", "least", decimals(0)),
]


def run(session):
    given = session.parameters
    flags = ["--keys", str(quantities.count(given.keys)), "--policy", given.policy] + ["--smoke"] * given.smoke
    for number in session.rounds():
        for binary in session.in_turn(number):
            for case, median, least in figures(bench.output(session.binaries[binary], *flags)):
                if session.wants(case):
                    session.record(case, "", {"median_ns": float(median), "least_ns": float(least)}, binary)


def figures(printed):
    """Name, median and least of each line of the bench's table."""
    found = re.findall(r"^(.+?)\s+(\d+)\s+(\d+)$", printed, re.MULTILINE)
    if not found:
        raise Trouble(f"this is not what the bench tick prints, so --new or --old names another program: {printed[:200]}")
    return found
