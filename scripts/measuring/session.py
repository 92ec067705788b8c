"""What an experiment gets: its parameters, the binaries, the rounds, and a place for figures, failures and remarks."""
import sys
import time

from measuring import rounds
from measuring.harness import Sherwood
from measuring.load import Client
from measuring.results import Results


class Session:
    """One run of one experiment. Servers that live through several rounds are entered into `stack`."""

    def __init__(self, name, parameters, binaries, stack):
        self.name, self.parameters, self.binaries, self.stack = name, parameters, binaries, stack
        self.results = Results()
        self.failures, self.notes, self.skipped = [], [], []
        self.began = time.monotonic()

    def client(self, cpus=None):
        return Client(self.binaries["new"], cpus)

    def serve(self, binary, *options):
        """A server of the binary `new` or `old`."""
        return Sherwood(self.binaries[binary], *options, name=f"sherwood ({binary})")

    def rounds(self, of=""):
        """The numbers of the rounds from 0 on, with a line on stderr after each."""
        count = self.parameters.rounds
        for number in range(count):
            began = time.monotonic()
            yield number
            seconds = time.monotonic() - began
            self.progress(f"round {number + 1} of {count}{of and ', '}{of}: {seconds:.1f} s")

    def in_turn(self, round_number):
        """The binaries in the order of this round."""
        return rounds.in_turn(self.binaries, round_number)

    def wants(self, case):
        """Whether --only leaves this case in."""
        only = getattr(self.parameters, "only", None)
        return not only or only in case

    def record(self, case, subject, figures, binary=None):
        """Figures of one round; binary None is for what is neither old nor new, such as memcached."""
        self.results.record(case, subject, binary, figures)

    def median(self, case, subject, figure, binary="new"):
        """The median so far; None without any."""
        row = self.results.row(case, subject, binary)
        return row and row.median(figure)

    def check(self, binary, holds, text):
        """A rule of the experiment. Where the old binary breaks it, that is a note, and no failure of this run."""
        if holds:
            return
        if binary == "new":
            self.failures.append(text)
        else:
            self.note(f"old: {text}")

    def note(self, text):
        """A remark under the table; the same one in a later round is not repeated."""
        if text not in self.notes:
            self.notes.append(text)

    def skip(self, what, why):
        if (what, why) not in self.skipped:
            self.skipped.append((what, why))

    def progress(self, text):
        print(f"measure {self.name}: {text}", file=sys.stderr, flush=True)
