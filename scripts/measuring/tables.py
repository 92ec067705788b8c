"""What the benches of the table have in common: their options, their columns, a row for each line of their CSV."""
from measuring import bench, options
from measuring.quantities import decimals
from measuring.results import Column

OPTIONS = [
    options.rounds(1), options.Option("bench-rounds", options.whole_number, 5, "N", "rounds of the bench within each round"),
    options.Option("items", str, None, "N,...", "items in the table, as numbers"),
    options.Option("key-bytes", str, None, "8|32,...", "bytes of a key"),
    options.Option("threads", str, None, "1|2,...", "threads"), options.Option("load", str, None, "0.8,...", "load of the table"),
    options.Option("huge", str, None, "auto|2m|thp|off,...", "pages"),
    options.Option("only", str, None, "NAME,...", "only cases, or those who are measured, whose names contain one of these"),
    options.switch("smoke", "20,000 items and a few ms: whether it runs, not how fast"),
]
COLUMNS = [
    Column("ops_per_us", "M ops/s", decimals(2), better="higher"), Column("ns_per_op", "ns/op", decimals(1)),
    Column("of_reference", "of REF", decimals(3)), Column("of_ours", "of ours", decimals(3)),
    Column("item_bytes", "B/item", decimals(1)),
]


def run(session):
    for number in session.rounds():
        for binary in session.in_turn(number):
            rows, printed = bench.csv_rows(session.binaries[binary], *flags(session.parameters))
            for row, after in zip(rows, rows[1:] + [None]):
                # What is measured beside ours is neither old nor new, whichever bench it is in.
                session.record(case_of(row), subject_of(row, after), figures(row), binary if row["who"] == "sherwood" else None)
            for line in printed.splitlines():
                if "left out" in line:
                    session.skip(*line.split(" left out ", 1))


def flags(given):
    named = {name: getattr(given, name.replace("-", "_")) for name in ["items", "key-bytes", "threads", "load", "huge", "only"]}
    words = [word for name, value in named.items() if value for word in ("--" + name, value)]
    # The smoke sets all of them, and what comes after it is kept.
    return (["--smoke"] if given.smoke else ["--rounds", str(given.bench_rounds)]) + words


def case_of(row):
    threads = "1 thread" if row["threads"] == "1" else f"{row['threads']} threads"
    return f"{row['items']} items, {row['key_bytes']}-byte keys, {threads}, load {row['load']}, {row['pages']} pages"


def subject_of(row, after):
    """Ours beside a rival comes just before the rival's own row, and has a ratio to itself."""
    batch = "" if row["batch"] == "0" else f", batch {row['batch']}"
    beside = f", beside {after['who']}" if row["who"] == "sherwood" and row["of_ours"] else ""
    return f"{row['case']}: {row['who']}{batch}{beside}"


def figures(row):
    rate = float(row["ops_per_s"])
    found = {"ops_per_us": rate / 1e6, "ns_per_op": 1e9 * int(row["threads"]) / rate}
    for figure, column in [("of_reference", "of_ref"), ("of_ours", "of_ours"), ("item_bytes", "bytes_per_item")]:
        if row[column]:
            found[figure] = float(row[column])
    return found
