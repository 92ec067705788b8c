"""What came out: tables for people, and one JSON object for programs."""
import json
import time

from measuring import machine, programs, quantities, rounds


def text(session, experiment, tolerance_percent):
    """The whole report, as lines."""
    lines = _figures(session.results.rows(), experiment.COLUMNS)
    compared = session.results.compare(experiment.COLUMNS, tolerance_percent)
    if compared:
        lines += ["", *_comparisons(compared, tolerance_percent)]
    lines += session.notes
    lines += [f"SKIPPED {what}: {why}" for what, why in session.skipped]
    lines += [f"FAILED {failure}" for failure in session.failures]
    lines += [f"WORSE {_name(row)}: {column.title} {_change(comparison)}"
              for row, column, comparison in compared if comparison.verdict == "worse"]
    return lines


def is_failed(session, experiment, tolerance_percent):
    """Whether a rule of the experiment was broken or a row is worse."""
    compared = session.results.compare(experiment.COLUMNS, tolerance_percent)
    return bool(session.failures) or any(comparison.verdict == "worse" for _, _, comparison in compared)


def _figures(rows, columns):
    """A line for each row, under its case where a case has several rows; medians of the rounds."""
    columns = [column for column in columns if any(row.values(column.figure) for row in rows)]
    titles = [title for column in columns for title in _titles(column, rows)]
    table, case = [["", *titles]], None
    order = {case: i for i, case in enumerate(dict.fromkeys(row.case for row in rows))}
    for row in sorted(rows, key=lambda row: order[row.case]):
        if row.case != case and row.subject:
            table.append([row.case])
        case = row.case
        who = f"  {row.subject}" if row.subject else row.case
        who += " (old)" if row.binary == "old" else ""
        table.append([who, *(cell for column in columns for cell in _cells(row, column, rows))])
    return _aligned(table)


def _has_spread(column, rows):
    """Behind what old and new are compared by stands how much the rounds differ."""
    return column.better and any(len(row.rounds) > 1 for row in rows)


def _titles(column, rows):
    return [column.title, "spread %"] if _has_spread(column, rows) else [column.title]


def _cells(row, column, rows):
    values = row.values(column.figure)
    cell = column.write(column.summary(values)) if values else "–"
    if column.has_quartiles and len(values) > 1:
        cell += " ({} to {})".format(*map(column.write, rounds.quartiles(values)))
    return [cell, _spread(values)] if _has_spread(column, rows) else [cell]


def _spread(values):
    spread = rounds.spread_percent(values) if len(values) > 1 else None
    return "–" if spread is None else f"{spread:.0f}"


def _comparisons(compared, tolerance_percent):
    """A line for each row and figure by which old and new are compared."""
    table = [["old and new", "figure", "old", "new", "new/old", "of medians", "interval", "verdict"]]
    for row, column, comparison in compared:
        low, high = comparison.interval
        table.append([
            _name(row), column.title, column.write(comparison.old), column.write(comparison.new),
            f"{comparison.median_of_ratios:.3f}", f"{comparison.ratio_of_medians:.3f}", f"{low:.3f}–{high:.3f}",
            _mark(comparison, tolerance_percent),
        ])
    return _aligned(table) + [_legend(len(compared), compared[0][2])]


def _legend(count, comparison):
    of = f"new/old is the median of the ratios of {quantities.plural(len(comparison.ratios), 'round')}"
    if comparison.confidence is None:
        return (f"{of}, interval their least and largest; "
                f"to judge {quantities.plural(count, 'row')} takes {rounds.rounds_needed(count)} rounds")
    return f"{of}; the interval holds the true one with {comparison.confidence * 100:.1f} % confidence"


def _mark(comparison, tolerance_percent):
    """The verdict; with a star where the ratio is beyond the tolerance, whatever the noise."""
    is_beyond = abs(comparison.median_of_ratios - 1) * 100 > tolerance_percent
    return comparison.verdict + (" *" if is_beyond else "")


def _change(comparison):
    return f"{(comparison.median_of_ratios - 1) * 100:+.1f} %"


def _name(row):
    return f"{row.case}, {row.subject}" if row.subject else row.case


def _aligned(table):
    """The first column to the left, the others to the right."""
    width = max(len(line) for line in table)
    widths = [max((len(line[i]) for line in table if len(line) > max(i, 1)), default=0) for i in range(width)]
    return ["  ".join([line[0].ljust(widths[0]), *(cell.rjust(widths[i]) for i, cell in enumerate(line[1:], 1))]).rstrip()
            for line in table]


def as_object(session, experiment, tolerance_percent):
    """The same as one object: every round's figures, medians, comparisons, machine and tree."""
    compared = session.results.compare(experiment.COLUMNS, tolerance_percent)
    return {
        "experiment": session.name,
        "measured_unix_s": int(time.time()),
        "seconds": round(time.monotonic() - session.began, 3),
        "machine": machine.describe(),
        "tree": machine.commit(programs.ROOT),
        "binaries": {name: programs.describe(path) for name, path in session.binaries.items()},
        "parameters": {name.replace("-", "_"): value for name, value in vars(session.parameters).items()},
        "tolerance_percent": tolerance_percent,
        "rows": [_row_object(row) for row in session.results.rows()],
        "comparisons": [_comparison_object(*found) for found in compared],
        "notes": session.notes,
        "skipped": [{"what": what, "why": why} for what, why in session.skipped],
        "failures": session.failures,
        "is_failed": is_failed(session, experiment, tolerance_percent),
    }


def _row_object(row):
    return {"case": row.case, "subject": row.subject, "binary": row.binary, "medians": row.medians(), "rounds": row.rounds}


def _comparison_object(row, column, comparison):
    low, high = comparison.interval
    return {
        "case": row.case, "subject": row.subject, "figure": column.figure, "better": column.better,
        "old": comparison.old, "new": comparison.new, "ratio_of_medians": comparison.ratio_of_medians,
        "median_of_ratios": comparison.median_of_ratios, "ratios": comparison.ratios,
        "interval": {"low": low, "high": high, "confidence": comparison.confidence}, "verdict": comparison.verdict,
    }


def write(path, report):
    with open(path, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
