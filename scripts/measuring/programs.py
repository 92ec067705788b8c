"""Which binary is measured, and how cargo builds it."""
import functools
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from measuring.trouble import Trouble

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


@dataclass(frozen=True)
class Program:
    """A target of cargo, and the command that builds it."""

    target: str
    command: tuple

    def build(self, tree):
        """Builds it in a source tree; the path that cargo names."""
        command = ["cargo", *self.command]
        print(f"measure: {' '.join(command)} in {tree} (minutes, where it is not built yet)", file=sys.stderr, flush=True)
        try:
            done = subprocess.run([*command, "--message-format=json-render-diagnostics"], cwd=tree, env=_environment(tree),
                                  stdout=subprocess.PIPE, text=True)
        except FileNotFoundError:
            raise Trouble("cargo is not there: install Rust (rustup.rs), or name a built program with --new") from None
        paths = [message["executable"] for message in map(json.loads, done.stdout.splitlines())
                 if message.get("executable") and message["target"]["name"] == self.target]
        if done.returncode or not paths:
            raise Trouble(f"{self.target} was not built in {tree}; what cargo says about it is above")
        return paths[-1]


SERVER = Program("sherwood", ("build", "--release", "--bin", "sherwood"))
SERVER_AND_ECHO = Program("sherwood", ("build", "--release", "--bin", "sherwood", "--example", "load_echo"))
SERVER_AND_STREAM_ECHO = Program(
    "sherwood", ("build", "--release", "--bin", "sherwood", "--example", "stream_echo"))
PEERS = Program("table", ("build", "--release", "--manifest-path", "benches/peers/Cargo.toml", "--bin", "table"))


def bench(name):
    return Program(name, ("bench", "--workspace", "--no-run", "--bench", name))


def _environment(tree):
    """CARGO_TARGET_DIR holds for the tree of this script only: another tree's build would overwrite this one's."""
    is_ours = os.path.realpath(tree) == ROOT
    return {name: value for name, value in os.environ.items() if is_ours or name != "CARGO_TARGET_DIR"}


def find(given, program):
    """The binary that is meant: nothing for the build of this tree, a source tree, or a program."""
    if given is None:
        return program.build(ROOT)
    path = os.path.abspath(given)
    if os.path.isdir(path):
        if not os.path.exists(os.path.join(path, "Cargo.toml")):
            raise Trouble(f"{given} is a folder without Cargo.toml: name a program or a source tree of Sherwood")
        return program.build(path)
    if not os.access(path, os.X_OK):
        raise Trouble(f"there is no program {given}: name a built {program.target} or a source tree of Sherwood")
    return path


def echo_beside(binary, name="load_echo"):
    """An example where cargo puts it beside a server; None where it was not built."""
    path = os.path.join(os.path.dirname(binary), "examples", name)
    return path if os.access(path, os.X_OK) else None


@functools.lru_cache  # old and new may be the same
def describe(path):
    """What a report says of a binary."""
    with open(path, "rb") as file:
        digest = hashlib.blake2b(file.read(), digest_size=16).hexdigest()
    return {"path": path, "blake2b": digest}
