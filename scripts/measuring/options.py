"""Options of experiments: each has a name, a kind, a default and a help text."""
import argparse
import shlex
from dataclasses import dataclass

from measuring import machine, quantities


@dataclass(frozen=True)
class Option:
    """`--name METAVAR`; without a metavar a switch."""

    name: str
    kind: object
    default: object
    metavar: str
    help: str

    def add_to(self, parser):
        if self.metavar is None:
            parser.add_argument("--" + self.name, action="store_true", help=self.help)
            return
        default = "none" if self.default in (None, []) else self.default
        parser.add_argument("--" + self.name, type=self.kind, default=self.default, metavar=self.metavar,
                            help=f"{self.help} (default: {default})")


def kind_of(parse, is_valid=lambda value: True):
    """A type for argparse that repeats what is wrong with a value."""
    def read(text):
        try:
            value = parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if not is_valid(value):
            raise argparse.ArgumentTypeError(f"{text} is too small")
        return value
    return read


whole_number = kind_of(int, lambda value: value > 0)
positive = kind_of(float, lambda value: value > 0)
count_text = kind_of(lambda text: quantities.count(text) and text)
size_text = kind_of(lambda text: quantities.size_bytes(text) and text)
cpu_list = str
flags = kind_of(shlex.split)


def rounds(default):
    return Option("rounds", whole_number, default, "N", "rounds of everything; with --old at least 11 unless you give it")


def seconds(default, of="measured seconds of each run"):
    return Option("seconds", positive, default, "S", of)


def memory(default, of="memory of each server"):
    return Option("memory", size_text, default, "SIZE", of)


def keys(default, of="keys that are read, all of which fit"):
    return Option("keys", count_text, default, "N", of)


def policy(default):
    return Option("policy", str, default, "NAME", "wtinylfu, s3fifo, lru or none")


def serve_flags():
    return Option("serve", flags, [], "FLAGS", 'more flags of `sherwood serve`, as in --serve="--mean-item 160"')


def only():
    return Option("only", str, None, "TEXT", "only cases whose name contains TEXT")


def cpus():
    """Where server and client run: the first two processors that may be used, or the only one."""
    allowed = machine.allowed_cpus()
    return [
        Option("server-cpus", cpu_list, str(allowed[0]), "LIST", "processors of the server"),
        Option("client-cpus", cpu_list, str(allowed[min(1, len(allowed) - 1)]), "LIST", "processors of the client"),
    ]


def switch(name, of):
    return Option(name, None, False, None, of)
