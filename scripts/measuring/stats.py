"""The figures of a running server, asked as any memcached client asks: `stats WORD` over UDP."""
import bisect
import socket

from measuring.trouble import Trouble

TRIES = 5  # loopback loses a datagram when a buffer is full
ANSWER_S = 2


def ask(address, word=""):
    """The figures of `stats WORD` of a server, Sherwood or memcached, as text by name."""
    host, port = address.rsplit(":", 1)
    for request_id in range(TRIES):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(ANSWER_S)
            udp.connect((host, int(port)))
            udp.send(request_id.to_bytes(2, "big") + b"\0\0\0\1\0\0" + f"stats {word}".strip().encode() + b"\r\n")
            try:
                text = _reply(udp)
            except (TimeoutError, socket.timeout, ConnectionRefusedError):
                continue
        lines = [line[5:].split(" ", 1) for line in text.splitlines() if line.startswith("STAT ")]
        return {name: value for name, value in (line for line in lines if len(line) == 2)}
    raise Trouble(f"{address} does not answer stats: was the server ended?")


def _reply(udp):
    """The reply of all its datagrams: each says its number and how many there are."""
    pieces, total = {}, None
    while total is None or len(pieces) < total:
        datagram = udp.recv(65536)
        total = int.from_bytes(datagram[4:6], "big")
        pieces[int.from_bytes(datagram[2:4], "big")] = datagram[8:]
    return b"".join(pieces[number] for number in sorted(pieces)).decode()


class Times:
    """One of the server's histograms: the smallest value of a bucket, and how many. A bucket is 3.2 % wide."""

    def __init__(self, buckets):
        self.buckets = {value: count for value, count in sorted(buckets.items()) if count > 0}

    @staticmethod
    def parse(text):
        pairs = text.split(" ")[1:]  # the first word is the largest value since the start
        pairs = [pair.split(":") for pair in ",".join(pairs).split(",") if pair]
        return Times({int(value): int(count) for value, count in pairs})

    def since(self, earlier):
        return Times({value: count - earlier.buckets.get(value, 0) for value, count in self.buckets.items()})

    def count(self):
        return sum(self.buckets.values())

    def sum(self):
        return sum(value * count for value, count in self.buckets.items())

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
