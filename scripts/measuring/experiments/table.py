"""The table against the limit of the memory: `cargo bench --bench table`, whose page says what it does.

REF is a synthetic GET without table logic: what the memory gives. `of REF` is the median of the ratios within the bench's own
rounds. To compare two versions give --old a source tree (cargo builds its bench there) or a built bench.
"""
from measuring import programs, tables

ABOUT = "the table beside the limit of the memory"
TAKES = "1 minute"
PROGRAM = programs.bench("table")
OPTIONS, COLUMNS, run = tables.OPTIONS, tables.COLUMNS, tables.run
