"""Figures by row and round."""
from dataclasses import dataclass, field

from measuring import rounds


@dataclass(frozen=True)
class Column:
    """A figure of the table: its name in the JSON, its title, how it is written."""

    figure: str
    title: str
    write: object  # a function from a number to text
    better: str = None  # "lower" or "higher": then old and new are compared by it
    summary: object = rounds.median  # of the rounds, for the table
    has_quartiles: bool = False


@dataclass
class Row:
    """A case, who was measured in it, and by which binary (None: neither old nor new, such as memcached)."""

    case: str
    subject: str
    binary: str
    rounds: list = field(default_factory=list)

    def values(self, figure):
        """The figure in each round that has it."""
        return [figures[figure] for figures in self.rounds if figures.get(figure) is not None]

    def median(self, figure):
        return rounds.median(self.values(figure))

    def medians(self):
        """The median of every figure, by name."""
        names = dict.fromkeys(name for figures in self.rounds for name in figures)
        return {name: self.median(name) for name in names}


class Results:
    """All rows, in the order in which they first came."""

    def __init__(self):
        self._rows = {}

    def record(self, case, subject, binary, figures):
        key = (case, subject, binary)
        self._rows.setdefault(key, Row(*key)).rounds.append(figures)

    def row(self, case, subject, binary="new"):
        return self._rows.get((case, subject, binary))

    def rows(self):
        return list(self._rows.values())

    def compare(self, columns, tolerance_percent):
        """(row, column, comparison) for every row that both binaries have and every column that says what is better."""
        found = [(row, column, pairs) for row in self.rows() for column in columns if column.better
                 for pairs in [self._pairs(row, column.figure)] if pairs]
        return [(row, column, rounds.compare(pairs, column.better, tolerance_percent, len(found)))
                for row, column, pairs in found]

    def _pairs(self, row, figure):
        """Old and new of every round; nothing for rows that are not the new binary's."""
        old = self.row(row.case, row.subject, "old")
        if row.binary != "new" or old is None:
            return []
        return rounds.pairs_of(*([figures.get(figure) for figures in of.rounds] for of in (old, row)))
