"""The Rust crate `memcache`: the program in tests/clients/memcache_crate, which cargo builds with what crates.io has."""
import functools
import os
import re
import shutil
import subprocess

from public_clients.outcome import Outcome

SUITE_S = 300
# What follows the address, by the name of the row.
WAYS = {
    "TCP, text": "memcache://{address}?protocol=ascii",
    "UNIX, text": "memcache://{unix}?protocol=ascii",
    "TCP, binary (its default)": "memcache://{address}",
    "UDP, text": "memcache+udp://{address}?protocol=ascii",
    "UDP, binary": "memcache+udp://{address}",
}


class CrateSuites:
    """The program, built when it is first asked for."""

    def __init__(self, root):
        self.manifest = os.path.join(root, "tests", "clients", "memcache_crate", "Cargo.toml")
        self.target = os.path.join(root, "target", "clients", "memcache_crate")

    def all(self):
        for way, url in WAYS.items():
            yield f"crate memcache 0.21.0, {way}", lambda target, url=url: self._run(url.format(address=target.address, unix=target.unix))

    @functools.cached_property
    def why_not(self):
        if not shutil.which("cargo"):
            return "no cargo here"
        done = self._cargo(["build"])
        return f"cargo build: {done.stderr.strip()[-200:]}" if done.returncode else ""

    def _cargo(self, words):
        command = ["cargo", words[0], "--quiet", "--manifest-path", self.manifest, *words[1:]]
        return subprocess.run(command, env=os.environ | {"CARGO_TARGET_DIR": self.target}, capture_output=True, text=True, timeout=SUITE_S)

    def _run(self, url):
        if self.why_not:
            return Outcome(why=self.why_not)
        try:
            output = self._cargo(["run", "--", url]).stdout
        except subprocess.TimeoutExpired:
            return Outcome(why=f"not done after {SUITE_S} s")
        counts = re.search(r": (\d+) of \d+ passed", output)
        if not counts:
            return Outcome(why=output.strip()[-200:] or "it printed nothing")
        return Outcome(passed=int(counts[1]), failed=[line.strip() for line in output.splitlines()[1:]])
