"""What a client's tests came to at one server, and a table of several servers side by side."""
import dataclasses


@dataclasses.dataclass
class Outcome:
    """Counts of one suite; `why` instead of them where it could not be run."""

    passed: int = 0
    failed: list = dataclasses.field(default_factory=list)
    skipped: int = 0
    why: str = ""

    def __str__(self):
        if self.why:
            return f"SKIPPED: {self.why}"
        counts = [f"{self.passed} passed"]
        counts += [f"{len(self.failed)} failed"] if self.failed else []
        counts += [f"{self.skipped} skipped"] if self.skipped else []
        return ", ".join(counts)


class Table:
    """Outcomes by suite and server, in the order in which they came."""

    def __init__(self):
        self.rows, self.servers = {}, []

    def add(self, suite, server, outcome):
        self.rows.setdefault(suite, {})[server] = outcome
        self.servers += [server] if server not in self.servers else []
        print(f"{server}: {suite}: {outcome}", flush=True)
        for failure in getattr(outcome, "failed", []):
            print(f"    {failure}", flush=True)

    def text(self):
        """The table as docs/testing.md has it."""
        lines = ["| client | " + " | ".join(self.servers) + " |", "|---" * (len(self.servers) + 1) + "|"]
        for suite, outcomes in self.rows.items():
            cells = [str(outcomes.get(server, "")) for server in self.servers]
            lines.append(f"| {suite} | " + " | ".join(cells) + " |")
        return "\n".join(lines)
