"""Runs of `sherwood load` against a server."""
import json
import subprocess

from measuring.trouble import Trouble


class Client:
    """The load generator of one binary: always the new one's, so that old and new servers meet the same client."""

    def __init__(self, binary, cpus=None):
        self.binary, self.cpus = binary, cpus

    def load(self, server, *options):
        """One run; its report."""
        done = self._run(server, options, self.cpus)
        if not done.stdout.startswith("{"):
            raise Trouble(f"{' '.join(done.args)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def try_load(self, server, *options, cpus=None):
        """The same, or None where the load generator refuses, as for a protocol that it does not speak."""
        done = self._run(server, options, cpus or self.cpus)
        return json.loads(done.stdout) if done.stdout.startswith("{") else None

    def _run(self, server, options, cpus):
        pin = ["--cpus", cpus] if cpus else []
        command = [self.binary, "load", "--target", server.address, *pin, "--warmup", "0s", *options, "--json", "-"]
        return subprocess.run(command, capture_output=True, text=True)

    def fill(self, server, *options):
        """Sets every key once; the report of that."""
        return self.load(server, "--fill", "--mix", "get:1", "--duration", "1ms", *options)["fill"]


def duration(seconds):
    """As the load generator wants it."""
    return f"{max(int(seconds * 1000), 1)}ms"


def answered(report):
    """Keys that were answered."""
    return sum(command["sent"] - command["lost"] for command in report["commands"].values())
