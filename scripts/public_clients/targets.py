"""Servers that clients are run against: Sherwood, or a memcached, over TCP and UDP on one port and over a UNIX socket."""
import contextlib
import dataclasses
import getpass
import os
import re
import socket
import subprocess
import time

from measuring import stats
from measuring.harness import free_port
from measuring.trouble import Trouble

READY_S = 20
STOP_S = 20
# Clients that spread keys over servers want some.
SERVERS = 3


@dataclasses.dataclass
class Target:
    """Some servers of one program. `unix` is the path of the first one."""

    name: str
    binary: str
    ports: list
    unix: str

    @property
    def port(self):
        return self.ports[0]

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def is_memcached(self):
        return os.path.basename(self.binary).startswith("memcached")

    def figures(self):
        """The figures of `stats` that are whole numbers, over UDP."""
        return {name: int(value) for name, value in stats.ask(self.address, "").items() if value.isdigit()}


@contextlib.contextmanager
def sherwood(binary, work):
    """Three servers; the file of --peers names the first."""
    target = Target("Sherwood", binary, [free_port() for _ in range(SERVERS)], os.path.join(work, "sherwood.sock"))
    peers = os.path.join(work, "peers")
    with open(peers, "w") as file:
        file.write(f"127.0.0.1 {target.port}\n")
    common = [binary, "serve", "--workers", "1", "--memory", "32MiB", "--huge", "off", "--poll", "block", "--peers", peers]
    with contextlib.ExitStack() as stack:
        for at, port in enumerate(target.ports):
            unix = ["--unix", target.unix] if at == 0 else []
            stack.enter_context(_started([*common, "--listen", f"127.0.0.1:{port}", *unix], port, at == 0 and target.unix))
        yield target


@contextlib.contextmanager
def memcached(binary, work):
    """Three servers for TCP and UDP, and one more for the UNIX socket: memcached serves no port beside that."""
    said = subprocess.run([binary, "-V"], capture_output=True, text=True).stdout
    version = (re.search(r"\d+\.\d+\.\d+", said) or [said.strip()])[0]
    target = Target(f"memcached {version}", binary, [free_port() for _ in range(SERVERS)], os.path.join(work, f"memcached-{version}.sock"))
    common = [binary, "-m", "64", "-t", "1", "-u", getpass.getuser()]
    with contextlib.ExitStack() as stack:
        for port in target.ports:
            stack.enter_context(_started([*common, "-l", "127.0.0.1", "-p", str(port), "-U", str(port)], port, None))
        stack.enter_context(_started([*common, "-s", target.unix], None, target.unix))
        yield target


@contextlib.contextmanager
def _started(command, port, unix):
    """A server that takes connections, until the end of the `with`."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        deadline = time.monotonic() + READY_S
        while not _accepts(port, unix):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                said = process.communicate()[1].strip()
                raise Trouble(f"{command[0]} takes no connections: {said or 'it said nothing'}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _accepts(port, unix):
    try:
        if port:
            socket.create_connection(("127.0.0.1", port)).close()
        if unix:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(unix)
        return True
    except OSError:
        return False
