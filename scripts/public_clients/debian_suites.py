"""Clients in Go, Ruby and Java, as Debian packages them."""
import os
import pathlib
import platform
import re
import shutil
import subprocess

from public_clients.debian import Missing
from public_clients.memcached_tests import counted, stand_in
from public_clients.outcome import Outcome

SUITE_S = 300


class DebianSuites:
    """The clients and what runs them, below one folder."""

    def __init__(self, work, root, debian, dalli):
        self.work, self.clients, self.debian, self.dalli = work, os.path.join(root, "tests", "clients"), debian, dalli

    def all(self):
        yield "gomemcache of Debian, its tests over TCP and UNIX", self._or_missing(self._gomemcache)
        yield "dalli of Debian (binary), `tests/clients/dalli_test.rb`", self._or_missing(self._dalli_of_debian)
        yield "dalli 3.2 or later (meta), the same over TCP", self._or_missing(lambda target: self._dalli_meta(target.address))
        yield "dalli 3.2 or later (meta), the same over UNIX", self._or_missing(lambda target: self._dalli_meta(target.unix))
        yield "spymemcached of Debian, `tests/clients/Spymemcached.java`", self._or_missing(self._spymemcached)

    @staticmethod
    def _or_missing(run):
        def outcome(target):
            try:
                return run(target)
            except Missing as missing:
                return Outcome(why=str(missing))
        return outcome

    def _gomemcache(self, target):
        go, goroot = self._go()
        self.debian.unpack("golang-github-bradfitz-gomemcache-dev")
        name = pathlib.Path("src", "github.com", "bradfitz", "gomemcache")
        gopath = pathlib.Path(self.work, f"go-{target.port}")
        shutil.copytree(self.debian.path("usr", "share", "gocode", name), gopath / name)
        for test in (gopath / name / "memcache").glob("*_test.go"):
            test.write_text(test.read_text().replace("localhost:11211", target.address))
        # One of its tests starts the program memcached on a UNIX socket.
        stand_in(gopath / "bin", "unix", target.binary, ["memcached"])
        environment = {"GO111MODULE": "off", "GOPATH": str(gopath), "GOCACHE": os.path.join(self.work, "go-cache"), "CGO_ENABLED": "0",
                       "PATH": f"{gopath / 'bin'}:{os.environ['PATH']}"} | ({"GOROOT": goroot} if goroot else {})
        output = _run([go, "test", "-v", "-count=1", "./memcache"], environment, gopath / name)[1]
        outcome = Outcome(passed=len(re.findall(r"^--- PASS", output, re.MULTILINE)), skipped=len(re.findall(r"^--- SKIP", output, re.MULTILINE)))
        outcome.failed = re.findall(r"^--- FAIL: .*(?:\n    .*)?", output, re.MULTILINE)
        return outcome if outcome.passed or outcome.failed else Outcome(why=output.strip()[-200:])

    def _go(self):
        installed = shutil.which("go")
        if installed:
            return installed, None
        compiler = self.debian.depends("golang-go", r"golang-[\d.]+-go")
        self.debian.unpack(compiler, compiler.removesuffix("go") + "src")
        goroot = self.debian.path("usr", "lib", compiler.removeprefix("golang-").removesuffix("-go").join(["go-", ""]))
        return os.path.join(goroot, "bin", "go"), goroot

    def _dalli_of_debian(self, target):
        self.debian.unpack("ruby-dalli")
        gems = sorted(pathlib.Path(self.debian.path("usr", "share", "rubygems-integration", "all", "gems")).glob("dalli-*"))
        return self._dalli(gems[-1] / "lib", target.address, "binary")

    def _dalli_meta(self, server):
        if not self.dalli:
            raise Missing("give a folder of dalli 3.2 or later with --dalli DIR")
        return self._dalli(os.path.join(self.dalli, "lib"), server, "meta")

    def _dalli(self, library, server, protocol):
        ruby, environment = self._ruby()
        words = [ruby, "-W0", "-I", str(library), os.path.join(self.clients, "dalli_test.rb"), server, protocol]
        status, output = _run(words, environment)
        return counted(output, status)

    def _ruby(self):
        installed = shutil.which("ruby")
        if installed:
            return installed, {}
        interpreter = self.debian.depends("ruby", r"ruby[\d.]+")
        self.debian.unpack(interpreter, f"lib{interpreter}", "libyaml-0-2", "libgmp10", "libffi8", "zlib1g")
        version = interpreter.removeprefix("ruby") + ".0"
        multiarch = f"{platform.machine()}-linux-gnu"
        libraries = self.debian.path("usr", "lib")
        ruby_library = os.path.join(libraries, "ruby", version)
        return self.debian.path("usr", "bin", interpreter), {
            "LD_LIBRARY_PATH": os.path.join(libraries, multiarch), "RUBYOPT": "--disable-gems",
            "RUBYLIB": f"{ruby_library}:{os.path.join(libraries, multiarch, 'ruby', version)}"}

    def _spymemcached(self, target):
        java = shutil.which("java")
        if not java:
            raise Missing("no java here (apt-get install default-jdk-headless)")
        self.debian.unpack("libspymemcached-java")
        jar = self.debian.path("usr", "share", "java", "spymemcached.jar")
        words = [java, "-cp", jar, os.path.join(self.clients, "Spymemcached.java"), "127.0.0.1", str(target.port)]
        status, output = _run(words, {})
        return counted(output, status)


def _run(words, environment, folder=None):
    """The exit status and the output."""
    try:
        done = subprocess.run(words, cwd=folder, env=os.environ | environment, timeout=SUITE_S, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace")
    except subprocess.TimeoutExpired as late:
        return -1, (late.stdout or b"").decode(errors="replace") + f"\nnot done after {SUITE_S} s"
    return done.returncode, done.stdout
