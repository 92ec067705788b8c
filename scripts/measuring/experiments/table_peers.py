"""The table beside papaya, dashmap, scc, quick_cache, moka and locked maps (benches/peers/src/maps says how).

About an hour with everything, and up to 10 GiB of memory; ten minutes with --items 1000000. --only takes parts of names: sherwood
(ours over load, batch, page size), papaya, dashmap, ... A rival for which the memory is too small is SKIPPED.
"""
from measuring import programs, tables

ABOUT = "the table beside papaya, dashmap, scc, quick_cache, moka and locked maps; ten minutes with --items 1000000"
TAKES = "1 hour"
PROGRAM = programs.PEERS
OPTIONS, COLUMNS, run = tables.OPTIONS, tables.COLUMNS, tables.run
