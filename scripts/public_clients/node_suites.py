"""Clients in JavaScript: the tests that come with them, by mocha."""
import contextlib
import functools
import json
import os
import pathlib
import shutil
import subprocess

from public_clients.debian import Missing
from public_clients.outcome import Outcome

SUITE_S = 300
# The clients, and what their tests need; `mocha` of a version that runs both.
PACKAGES = ["memcached@2.2.2", "memcache-plus@0.3.1", "mocha@10", "should@13", "chai@3.5.0", "chance@1", "sinon@1.17", "json-stringify-safe@5"]
DISCOVERY = """
const Client = require('memcache-plus');
const client = new Client({ hosts: ['127.0.0.1:PORT'], autodiscover: true, onNetError: () => {} });
const late = setTimeout(() => { console.log('not ok 1 - no answer'); process.exit(1); }, 10000);
client.set('found', 'yes').then(() => client.get('found')).then(value => {
    const is_right = value === 'yes' && client.hosts.join() === '127.0.0.1:PORT';
    console.log(is_right ? 'ok 1' : `not ok 1 - ${value} from ${client.hosts}`);
    process.exit(0);
}).catch(error => { console.log(`not ok 1 - ${error.message}`); process.exit(1); });
"""


class NodeSuites:
    """Everything that the tests need, below one folder."""

    def __init__(self, work, debian):
        self.folder, self.debian = pathlib.Path(work, "node"), debian

    def all(self):
        yield "memcached 2.2.2 (npm), its tests", self._memcached
        yield "memcache-plus 0.3.1 (npm), its tests", self._memcache_plus
        yield "memcache-plus 0.3.1 (npm), auto discovery", self._discovery

    @functools.cached_property
    def why_not(self):
        """Installs the packages; why that is not possible, or an empty text."""
        if not shutil.which("npm") or not shutil.which("node"):
            return "no node and npm here"
        self.folder.mkdir()
        (self.folder / "package.json").write_text('{"private": true}\n')
        done = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES], cwd=self.folder,
                              capture_output=True, text=True)
        return f"npm install: {done.stderr.strip()[-200:]}" if done.returncode else ""

    def _memcached(self, target):
        # The default port is asked for by one test, which means it.
        ports = {str(11211 + at): str(port) for at, port in enumerate(target.ports)}
        environment = {"MEMCACHED__HOST": "127.0.0.1"}
        # It asks with ping whether a server that was lost is back.
        with contextlib.suppress(Missing):
            ping = self.debian.program("ping", "iputils-ping", "bin", "ping")
            environment["PATH"] = f"{os.path.dirname(ping)}:{os.environ['PATH']}"
        return self._mocha("memcached", target, ports, "test/*.test.js", environment, ["--require", "should"])

    def _memcache_plus(self, target):
        return self._mocha("memcache-plus", target, {"11211": str(target.port), "'localhost'": f"'localhost:{target.port}'"}, "test/*.js", {}, [])

    def _mocha(self, package, target, replacements, pattern, environment, words):
        if self.why_not:
            return Outcome(why=self.why_not)
        folder = self.folder / f"{package}-{target.port}"
        shutil.copytree(self.folder / "node_modules" / package, folder)
        for file in [*folder.glob("test/*.js"), *folder.glob("lib/*.js")]:
            text = file.read_text()
            for old, new in replacements.items():
                text = text.replace(old, new)
            file.write_text(text)
        report = folder / "report.json"
        command = ["node", str(self.folder / "node_modules" / "mocha" / "bin" / "mocha.js"), "--no-config", "--no-opts", "--exit", "--timeout", "5000", *words,
                   "--reporter", "json", "--reporter-option", f"output={report}", *sorted(str(path) for path in folder.glob(pattern))]
        try:
            done = subprocess.run(command, cwd=folder, env=os.environ | environment, timeout=SUITE_S, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            return Outcome(why=f"not done after {SUITE_S} s")
        return _counted(report) if report.exists() else Outcome(why=(done.stderr or done.stdout).strip()[-200:])

    def _discovery(self, target):
        if target.is_memcached:
            return Outcome(why="memcached has no config get cluster")
        if self.why_not:
            return Outcome(why=self.why_not)
        script = DISCOVERY.replace("PORT", str(target.port))
        done = subprocess.run(["node", "-e", script], cwd=self.folder, capture_output=True, text=True, timeout=SUITE_S)
        return Outcome(passed=1) if done.stdout.strip() == "ok 1" else Outcome(failed=[(done.stdout + done.stderr).strip()[-200:]])


def _counted(report):
    told = json.loads(report.read_text())
    outcome = Outcome(passed=told["stats"]["passes"], skipped=told["stats"]["pending"])
    for test in told["failures"]:
        why = " ".join(str(test["err"].get("message", "")).split())[:160]
        outcome.failed.append(f"{test['fullTitle']}: {why}")
    return outcome
