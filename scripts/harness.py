"""What the measuring scripts share: a server as a child, its figures, and runs of the load generator.

Servers listen on a free port of loopback; their figures are read as any memcached client reads them, over UDP.
"""
import bisect, json, os, re, socket, statistics, subprocess, sys, tempfile, threading, time

ROOT = os.path.dirname(os.path.abspath(__file__)) + "/.."


def program():
    """The program: SHERWOOD_BIN, or a release build."""
    if "SHERWOOD_BIN" in os.environ:
        return os.path.abspath(os.environ["SHERWOOD_BIN"])
    subprocess.run(["cargo", "build", "--quiet", "--release", "--bin", "sherwood"], check=True, cwd=ROOT)
    return os.path.abspath(os.environ.get("CARGO_TARGET_DIR", ROOT + "/target") + "/release/sherwood")


def size_bytes(text):
    """`64MiB` and its kin, in bytes."""
    if not re.fullmatch(r"[0-9.]+([KMG]iB)?", text):
        sys.exit(f"{text} is no size: write 10GiB or 512MiB")
    for unit, factor in [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]:
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(text)


def stats(address, word=""):
    """The figures of `stats WORD` of a server, ours or memcached, as text by name."""
    host, port = address.rsplit(":", 1)
    for request_id in range(5):  # loopback loses a datagram when a buffer is full
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(2)
            udp.connect((host, int(port)))
            udp.send(request_id.to_bytes(2) + b"\0\0\0\1\0\0" + f"stats {word}".strip().encode() + b"\r\n")
            pieces, total = {}, None
            try:
                while total is None or len(pieces) < total:
                    datagram = udp.recv(65536)
                    total = int.from_bytes(datagram[4:6])
                    pieces[int.from_bytes(datagram[2:4])] = datagram[8:]
            except TimeoutError:
                continue
        text = b"".join(pieces[i] for i in sorted(pieces)).decode()
        return dict(line[5:].split(" ", 1) for line in text.splitlines() if line.startswith("STAT "))
    sys.exit(f"{address} does not answer stats")


def free_port():
    """A port that is free for UDP and TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.1", 0))
        tcp.bind(udp.getsockname())
        return udp.getsockname()[1]


class Server:
    """`sherwood serve` on a free port, and how long it took to be ready."""

    def __init__(self, sherwood, *options):
        self.said = tempfile.TemporaryFile()
        began = time.monotonic()
        self.process = subprocess.Popen(
            [sherwood, "serve", "--listen", "127.0.0.1:0", *options], stdout=subprocess.PIPE, stderr=self.said, text=True)
        self.ready = self.process.stdout.readline()
        self.start_s = time.monotonic() - began
        if not self.ready.startswith("sherwood ready on "):
            self.said.seek(0)
            sys.exit(f"the server did not start: {self.ready}{self.said.read().decode(errors='replace')}")
        self.address = self.ready.split()[3]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def stats(self, word=""):
        """The figures of `stats WORD`, as text by name."""
        return stats(self.address, word)

    def stat(self, name):
        return int(self.stats()[name])

    def times(self):
        """The server's own histograms so far."""
        return {name: Times.parse(told) for name, told in self.stats("buckets").items()}

    def thread_ns(self, name):
        """Processor time that the thread NAME has had, in ns; None where there is no such thread."""
        tasks = f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            if open(f"{tasks}/{task}/comm").read().strip() == name:
                return int(open(f"{tasks}/{task}/schedstat").read().split()[0])
        return None


class Times:
    """Counts by bucket: the smallest value of the bucket, and how many. A bucket is 3.2 % wide."""

    def __init__(self, buckets):
        self.buckets = {value: count for value, count in sorted(buckets.items()) if count > 0}

    @staticmethod
    def parse(told):
        pairs = told.split(" ")[1:]  # the first word is the largest value since the start
        pairs = [pair.split(":") for pair in ",".join(pairs).split(",") if pair]
        return Times({int(value): int(count) for value, count in pairs})

    def since(self, earlier):
        return Times({value: count - earlier.buckets.get(value, 0) for value, count in self.buckets.items()})

    def count(self):
        return sum(self.buckets.values())

    def quantile(self, share):
        """The lower end of the bucket that has this share of the events at or below it; 0 when there are none."""
        left = share * self.count()
        for value, count in self.buckets.items():
            left -= count
            if left <= 0:
                return value
        return 0

    def largest(self):
        return max(self.buckets, default=0)

    def above(self, value):
        """Events of at least this value."""
        values = list(self.buckets)
        return sum(self.buckets[v] for v in values[bisect.bisect_left(values, value):])


def load(sherwood, server, *options, cpu="1"):
    """One run of the load generator against a server, or an address; its report."""
    target = server if isinstance(server, str) else server.address
    command = [sherwood, "load", "--target", target, *(["--cpus", cpu] if cpu else []), "--json", "-", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout.startswith("{"):
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)


class Background:
    """A run of the load generator beside the script; `report()` waits for its end."""

    def __init__(self, sherwood, server, *options, cpu="1"):
        self.result = None
        self.thread = threading.Thread(target=self._run, args=(sherwood, server, options, cpu))
        self.thread.start()

    def _run(self, sherwood, server, options, cpu):
        self.result = load(sherwood, server, *options, cpu=cpu)

    def report(self):
        self.thread.join()
        return self.result


def median(values):
    return statistics.median(values)
