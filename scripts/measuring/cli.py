"""The command line of `scripts/measure`."""
import argparse
import contextlib
import difflib
import importlib
import os
import pkgutil
import signal
import sys

from measuring import experiments, programs, report, rounds
from measuring.options import positive
from measuring.session import Session
from measuring.trouble import Trouble

USAGE = """usage: scripts/measure EXPERIMENT [OPTIONS]
       scripts/measure EXPERIMENT --help      its rows, rules and options
       scripts/measure --list                 the experiments, a line each, and about how long each takes

Measures this tree's release build (which cargo builds first), or what --new names. With --old another binary or source tree is
measured in the same rounds, in turn, and each row says old, new and their ratio.

Exit status: 0 measured · 1 a rule of the experiment is broken, or a row is worse than --old beyond tolerance and noise ·
2 wrong use, or it could not be measured
"""

EPILOG = """
Figures are medians of the rounds; `spread %` is the largest round less the least, in percent of the median.

old and new:
  Both run in turn in every round; every second round turns their order around. From each round comes one ratio new / old.
  A row is worse when the ratio of the medians and the median of the ratios are both beyond --tolerance, and the interval that
  holds the true median of the ratios (order statistics; 95 % confidence for all rows together) lies wholly on the worse side
  of 1. A star marks what is beyond the tolerance, whatever the noise. A table is not judged with fewer rounds than its rows
  need: 6 for one row, 11 for 51. The client is always the new binary's, so that both servers meet the same one.
"""


def main(words):
    """Runs what the words ask for; the exit status."""
    # Whoever ends this process by SIGTERM ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if words else 2
    try:
        return list_all() if words == ["--list"] else measure(words[0], words[1:])
    except Trouble as trouble:
        print(f"measure: {trouble}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("measure: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def names():
    """The experiments: a file each."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(experiments.__path__))


def load(name):
    """The module of an experiment."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise Trouble(f"there is no experiment {name}: {hint}scripts/measure --list names them all")
    return importlib.import_module(f"measuring.experiments.{name.replace('-', '_')}")


def list_all():
    for name in names():
        experiment = load(name)
        print(f"{name:<18} {experiment.TAKES:<12} {experiment.ABOUT}")
    return 0


def measure(name, words):
    experiment = load(name)
    parser = parser_of(name, experiment)
    given = parser.parse_args(words)
    parameters = argparse.Namespace(**{option.name.replace("-", "_"): getattr(given, option.name.replace("-", "_"))
                                       for option in experiment.OPTIONS})
    if given.old and not any(word.split("=")[0] == "--rounds" for word in words):
        parameters.rounds = max(parameters.rounds, rounds.COMPARED_ROUNDS)
    if given.json:
        refuse_unwritable(given.json)
    binaries = {"new": programs.find(given.new, experiment.PROGRAM)}
    if given.old:
        binaries["old"] = programs.find(given.old, experiment.PROGRAM)
    with contextlib.ExitStack() as stack:
        session = Session(name, parameters, binaries, stack)
        experiment.run(session)
    print("\n".join(report.text(session, experiment, given.tolerance)), flush=True)
    if given.json:
        report.write(given.json, report.as_object(session, experiment, given.tolerance))
    return 1 if report.is_failed(session, experiment, given.tolerance) else 0


def parser_of(name, experiment):
    """The options of one experiment, and those that all have."""
    parser = argparse.ArgumentParser(
        prog=f"scripts/measure {name}", description=experiment.__doc__, epilog=EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in experiment.OPTIONS:
        option.add_to(parser)
    what = experiment.PROGRAM.target
    parser.add_argument("--new", metavar="BINARY", help=f"a built {what}, or a source tree to build it in (default: this tree)")
    parser.add_argument("--old", metavar="BINARY", help="the same of what it is compared with (default: nothing)")
    parser.add_argument("--tolerance", type=positive, default=3.0, metavar="PERCENT",
                        help="how much worse than --old a row may be (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="write machine, commit, parameters and every round's figures there")
    return parser


def refuse_unwritable(path):
    """Before anything is measured, not after."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or not os.access(folder, os.W_OK) or (os.path.exists(path) and not os.access(path, os.W_OK)):
        raise Trouble(f"{path} cannot be written: name a file in a folder that exists")
