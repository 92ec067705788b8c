"""nutcracker (twemproxy) of Debian before two servers: a smoke test of what a proxy does with them."""
import os
import socket
import subprocess
import time

from measuring.harness import free_port
from public_clients.debian import Missing
from public_clients.outcome import Outcome

READY_S = 10
KEYS = 1_000
CONFIGURATION = """\
cache:
  listen: 127.0.0.1:{port}
  hash: fnv1a_64
  distribution: ketama
  auto_eject_hosts: true
  server_retry_timeout: 2000
  server_failure_limit: 2
  timeout: 2000
  servers:
   - 127.0.0.1:{first}:1
   - 127.0.0.1:{second}:1
"""


class Nutcracker:
    """The proxy, unpacked where it is not installed."""

    def __init__(self, work, debian):
        self.work, self.debian = work, debian

    def all(self):
        yield "nutcracker of Debian before two servers", self._run

    def _run(self, target):
        try:
            program = self.debian.program("nutcracker", "nutcracker", "usr", "sbin", "nutcracker")
        except Missing as missing:
            return Outcome(why=str(missing))
        port = free_port()
        file = os.path.join(self.work, f"nutcracker-{port}.yml")
        with open(file, "w") as out:
            out.write(CONFIGURATION.format(port=port, first=target.ports[0], second=target.ports[1]))
        process = subprocess.Popen([program, "-c", file, "-o", f"{file}.log", "-s", str(free_port())], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            return _asked(process, port, target)
        finally:
            process.terminate()
            process.communicate()


def _asked(process, port, target):
    """Stores and reads through the proxy, one check after the other."""
    proxy, outcome = _connected(process, port), Outcome()
    if proxy is None:
        return Outcome(why=f"nutcracker takes no connections: {process.stderr.read().strip()[-200:]}")
    servers = [_Text(socket.create_connection(("127.0.0.1", number))) for number in target.ports[:2]]
    keys = [f"proxied{number}" for number in range(KEYS)]

    def check(name, is_right):
        if is_right:
            outcome.passed += 1
        else:
            outcome.failed.append(name)

    stored = proxy.ask("".join(f"set {key} 0 0 {len(key)}\r\n{key}\r\n" for key in keys), KEYS)
    check("pipelined sets", stored == ["STORED"] * KEYS)
    check("a multiget over both servers", len(_values(proxy, keys)) == KEYS)
    held = [len(_values(server, keys)) for server in servers]
    check(f"each key on one server, both used: {held}", sum(held) == KEYS and all(held))
    check("incr", proxy.ask("set count 0 0 2\r\n40\r\nincr count 2\r\n", 2) == ["STORED", "42"])
    check("delete", proxy.ask("delete proxied0\r\ndelete proxied0\r\n", 2) == ["DELETED", "NOT_FOUND"])
    large = "v" * 500_000
    check("a value of 500 KB", proxy.ask(f"set large 0 0 {len(large)}\r\n{large}\r\n", 1) == ["STORED"] and _values(proxy, ["large"]) == {"large": large})
    check("a touch", proxy.ask("touch proxied1 100\r\n", 1) == ["TOUCHED"])
    return outcome


class _Text:
    """A connection that speaks memcached's text."""

    def __init__(self, connection):
        self.connection = connection
        connection.settimeout(10)
        self.lines = connection.makefile("r", newline="\r\n")

    def ask(self, request, answers):
        self.connection.sendall(request.encode())
        return [self.lines.readline().strip() for _ in range(answers)]


def _values(client, keys):
    client.connection.sendall(f"get {' '.join(keys)}\r\n".encode())
    found = {}
    while (line := client.lines.readline().strip()).startswith("VALUE"):
        _, key, _, length = line.split()
        found[key] = client.lines.read(int(length))
        client.lines.readline()
    return found


def _connected(process, port):
    deadline = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return _Text(socket.create_connection(("127.0.0.1", port)))
        except OSError:
            time.sleep(0.02)
    return None
