"""Clients in Python: the tests that come with them, in a virtual environment of their own."""
import glob
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

from public_clients.outcome import Outcome

SUITE_S = 300
PACKAGES = ["pymemcache==4.0.0", "meta-memcache==4.3.0", "python-memcached==1.62", "aiomcache==0.8.1",
            "emcache==1.3.3", "django-elastipymemcache==3.0.0", "pytest==9.*", "pytest-asyncio==1.*"]
# Compiled against libmemcached, which may not be there.
COMPILED = "pylibmc==1.6.3"
# Of these the tests are in the source archive only.
ARCHIVES = ["pymemcache==4.0.0", "python-memcached==1.62", "aiomcache==0.8.1", COMPILED]
INI = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nmarkers =\n unit\n integration\n benchmark\n"
# The module of its tests that the archive of python-memcached leaves out.
CAPTURED_STDERR = '''import contextlib, io, sys

@contextlib.contextmanager
def captured_stderr():
    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        yield sys.stderr
    finally:
        sys.stderr = before
'''


class PythonSuites:
    """Everything that the tests need, below one folder."""

    def __init__(self, work, root):
        self.work, self.root = work, root
        self.python = os.path.join(work, "venv", "bin", "python")
        subprocess.run([sys.executable, "-m", "venv", os.path.join(work, "venv")], check=True)
        self.why_not = "" if self._pip("install", *PACKAGES, check=False) else "pip could not install them (is PyPI within reach?)"
        if self.why_not:
            return
        self.has_pylibmc = self._pip("install", COMPILED, check=False)
        for archive in ARCHIVES:
            self._pip("download", "--no-binary", ":all:", "--no-deps", "-d", os.path.join(work, "archives"), archive)
        self.ini = os.path.join(work, "pytest.ini")
        pathlib.Path(self.ini).write_text(INI)

    def _pip(self, command, *words, check=True):
        done = subprocess.run([self.python, "-m", "pip", "-q", command, *words], check=check, capture_output=not check)
        return done.returncode == 0

    def all(self):
        yield "pymemcache 4.0.0, its integration tests over TCP", self._pymemcache
        yield "pymemcache 4.0.0, the same over UNIX", self._pymemcache_unix
        yield "meta-memcache 4.3.0, `tests/clients/meta_memcache_test.py`", lambda target: self._own("meta_memcache_test.py", target)
        yield "python-memcached 1.62, its tests over TCP", lambda target: self._python_memcached(target.address)
        yield "python-memcached 1.62, the same over UNIX", lambda target: self._python_memcached(f"unix:{target.unix}")
        yield "aiomcache 0.8.1, its tests", self._aiomcache
        yield "emcache 1.3.3, `tests/clients/emcache_test.py` over TCP", lambda target: self._own("emcache_test.py", target)
        yield "emcache 1.3.3, the same over UNIX", lambda target: self._own("emcache_test.py", target, MEMCACHED_UNIX=target.unix)
        yield "emcache and django-elastipymemcache 3.0.0, `tests/clients/auto_discovery_test.py`", self._discovery
        yield "pylibmc 1.6.3, its tests (binary)", lambda target: self._pylibmc(target, is_text=False)
        yield "pylibmc 1.6.3, its tests, all in text", lambda target: self._pylibmc(target, is_text=True)

    def _pymemcache(self, target):
        with self._unpacked("pymemcache") as folder:
            return self._pymemcache_in(folder, target)

    def _pymemcache_unix(self, target):
        with self._unpacked("pymemcache") as folder:
            _replace(pathlib.Path(folder, "pymemcache", "test"), "(host, port)", repr(target.unix))
            return self._pymemcache_in(folder, target)

    def _pymemcache_in(self, folder, target):
        return self._pytest(folder, target, "--rootdir", ".", "-m", "integration", "pymemcache/test/test_integration.py",
                            "--server", "127.0.0.1", "--port", str(target.port))

    def _own(self, test, target, **environment):
        return self._pytest(self.root, target, "--rootdir", self.work, os.path.join(self.root, "tests", "clients", test), **environment)

    def _discovery(self, target):
        return Outcome(why="memcached has no config get cluster") if target.is_memcached else self._own("auto_discovery_test.py", target)

    def _python_memcached(self, server):
        with self._unpacked("python[-_]memcached") as folder:
            tests = pathlib.Path(folder, "tests")
            (tests / "__init__.py").touch()
            (tests / "utils.py").write_text(CAPTURED_STDERR)
            _replace(tests, "127.0.0.1:11211", server)
            return self._pytest(folder, None, "--rootdir", ".", "tests")

    def _aiomcache(self, target):
        with self._unpacked("aiomcache") as folder:
            # Its tests start a server in a container unless they are told of one, and import the means for it in any case.
            pathlib.Path(folder, "docker.py").write_text("class Client: pass\n")
            _replace(pathlib.Path(folder, "tests"), "11211", str(target.port))
            return self._pytest(folder, target, "--rootdir", ".", "tests", "--memcached", "127.0.0.1")

    def _pylibmc(self, target, is_text):
        if not self.has_pylibmc:
            return Outcome(why="it does not build (apt-get install libmemcached-dev)")
        with self._unpacked("pylibmc") as folder:
            tests = pathlib.Path(folder, "tests")
            # Two of its tests do not take the port from the environment.
            _replace(tests, '"11211"', f'"{target.port}"')
            _replace(tests, "elasticache()", f"elasticache('{target.address}')")
            if is_text:
                _replace(tests, "binary=True", "binary=False")
            return self._pytest(folder, target, "--rootdir", ".", "tests")

    def _unpacked(self, name):
        folder = tempfile.TemporaryDirectory(dir=self.work)
        archive, = glob.glob(os.path.join(self.work, "archives", f"{name}-*.tar.gz"))
        subprocess.run(["tar", "xf", archive, "--strip-components", "1", "-C", folder.name], check=True)
        return folder

    def _pytest(self, folder, target, *words, **more):
        report = os.path.join(self.work, "junit.xml")
        command = [self.python, "-m", "pytest", "-c", self.ini, "-p", "no:cacheprovider", "-q", "--junitxml", report, *words]
        environment = os.environ | {"PYTHONPATH": folder} | more
        if target:
            environment |= {"MEMCACHED_HOST": "127.0.0.1", "MEMCACHED_PORT": str(target.port)}
        try:
            done = subprocess.run(command, cwd=folder, env=environment, timeout=SUITE_S, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            return Outcome(why=f"not done after {SUITE_S} s")
        # 0 and 1: all passed, some failed. Others: pytest did not get to the tests.
        return _counted(report) if done.returncode in (0, 1) else Outcome(why=" ".join(done.stdout.split()[-30:]))


def _replace(folder, old, new):
    for file in folder.glob("*.py"):
        file.write_text(file.read_text().replace(old, new))


def _counted(report):
    outcome = Outcome()
    for case in xml.parse(report).iter("testcase"):
        problem = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
        if problem is not None:
            why = " ".join(problem.get("message", "").split())[:160]
            outcome.failed.append(f"{case.get('classname')}.{case.get('name')}: {why}")
        elif case.find("skipped") is not None:
            outcome.skipped += 1
        else:
            outcome.passed += 1
    return outcome
