"""What a feature costs a worker: two servers side by side, one without it and one with, in alternating rounds.

Compared is the worker's processor time by key (from the scheduler), not the rate, which other work on the machine and a
client at its limit change by more than what is looked for. Servers block while they are idle.
"""
from measuring import rounds
from measuring.load import answered, duration
from measuring.quantities import decimals
from measuring.results import Column
from measuring.trouble import Trouble


def columns(without, with_it):
    """`without` and `with_it` are how the two servers are called in the table."""
    return [
        Column("without_ns", f"{without}, ns", decimals(0)),
        Column("with_ns", f"{with_it}, ns", decimals(0), better="lower"),
        Column("ratio", "ratio", decimals(3)),
        Column("cost_percent", "cost %", decimals(1), has_quartiles=True),
    ]


class Pair:
    """The servers of one binary: `without` the feature, and `with` it."""

    def __init__(self, session, stack, binary, common, without, with_it):
        self.session = session
        self.client = session.client(session.parameters.client_cpus)
        self.servers = {}
        for name, flags in [("without", without), ("with", with_it)]:
            server = stack.enter_context(session.serve(binary, *common, *flags))
            self.servers[name] = server
            self.client.fill(server, "--keys", session.parameters.keys)

    def measure(self, number, flags):
        """Figures of one round: both servers in turn."""
        cost = {name: self._ns_per_key(self.servers[name], flags) for name in rounds.in_turn(self.servers, number)}
        return {
            "without_ns": cost["without"], "with_ns": cost["with"], "ratio": cost["with"] / cost["without"],
            # The rate of a server that is bound by its processor is one by the time of a key.
            "cost_percent": (1 - cost["without"] / cost["with"]) * 100,
        }

    def _ns_per_key(self, server, flags):
        given = self.session.parameters
        before = server.thread_ns("worker-0")
        report = self.client.load(server, "--keys", given.keys, "--value-size", "100",
                                  "--duration", duration(given.seconds), *flags)
        if not answered(report):
            raise Trouble(f"no answer within {given.seconds} s: the machine is too busy, or --seconds too few")
        return (server.thread_ns("worker-0") - before) / answered(report)
