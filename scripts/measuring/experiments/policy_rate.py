"""Records per second that one policy takes in, on one core: `cargo bench --bench policy`, whose page says what it does.

A row is a number of items. `work` in the notes is a sum over everything that was decided: where it differs, old and
new did not do the same. To compare two versions give --old a source tree (cargo builds its bench there) or a built bench.
"""
import re

from measuring import bench, options, programs
from measuring.quantities import decimals
from measuring.results import Column
from measuring.trouble import Trouble

ABOUT = "records per second that the policy takes in, 1 M and 50 M items (1.2 GB)"
TAKES = "1 minute"
PROGRAM = programs.bench("policy")
OPTIONS = [options.rounds(1), options.switch("smoke", "100 K items and few records: whether it runs, not how fast")]
COLUMNS = [
    Column("fill_per_us", "fill, M stores/s", decimals(1), better="higher"),
    Column("mix_per_us", "mix, M records/s", decimals(1), better="higher"),
    Column("item_bytes", "bytes an item", decimals(2), better="lower"),
]
LINE = re.compile(r"^(\d+) items: fill ([\d.]+) M stores/s, mix ([\d.]+) M records/s, ([\d.]+) bytes an item, work (\w+)$", re.M)


def run(session):
    smoke = ["--smoke"] if session.parameters.smoke else []
    for number in session.rounds():
        for binary in session.in_turn(number):
            printed = bench.output(session.binaries[binary], *smoke)
            found = LINE.findall(printed)
            if not found:
                raise Trouble(f"this is not what the bench policy prints: {printed[:200]}")
            for items, fill, mix, item_bytes, work in found:
                figures = {"fill_per_us": float(fill), "mix_per_us": float(mix), "item_bytes": float(item_bytes)}
                session.record(f"{items} items", "", figures, binary)
                session.note(f"{binary}: {items} items, work {work}")
