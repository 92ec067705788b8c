"""memcached's command line in terms of `sherwood serve`: what a stand-in for the binary of memcached starts instead.

Some options mean nothing here and change no answer; they are passed over. An option that would change answers and that Sherwood does not have is named,
and the stand-in ends with an error, as a memcached does that was built without it.
"""
import dataclasses
import re

# With a value, and without effect on answers: backlog, users, requests an event, factors and sizes of slab classes.
VALUES_PASSED_OVER = set("ubRfnwPD")
FLAGS_PASSED_OVER = set("vkLr")
# Options with a value, and those without, that memcached's getopt takes besides.
WITH_VALUE = set("aplsmItcUBYeoN") | VALUES_PASSED_OVER
CANNOT = {
    "S": "SASL", "C": "a server without cas numbers", "F": "a server without flush_all", "W": "turning watch off", "X": "turning dumps off",
    "d": "a daemon", "Y": "an authentication file", "e": "a file for memory", "Z": "TLS", "V": "the version", "i": "the licence",
}
# Words of -o for memcached's own slabs and lists: no answer of the protocol depends on them, but some figures of stats do.
INTERNALS = re.compile(
    r"^(no_)?(modern|lru_crawler|lru_maintainer|slab_reassign|slab_automove|relaxed_privileges|drop_privileges|hashpower|hash_algorithm|slab_chunk_max|"
    r"slab_automove_\w+|hot_lru_pct|warm_lru_pct|hot_max_factor|warm_max_factor|lru_crawler_\w+|tail_repair_time|watcher_logbuf_size|"
    r"worker_logbuf_size|read_buf_mem_limit|track_sizes|resp_obj_mem_limit|maxconns_fast|inline_ascii_resp|no_hashexpand|temporary_ttl)$")
MEMORY_MIB_MIN = 2
WORKERS_MAX = 2
# memcached's own defaults, where files rely on them.
CONNECTIONS = "1024"
MEMORY_MIB = 64
VALUE_BYTES_MAX = (16 << 20) - 1


class Cannot(Exception):
    """Sherwood does not do what an option asks for."""


class Wrong(Exception):
    """memcached refuses this option, too."""


@dataclasses.dataclass
class Line:
    """What options have come to so far."""

    ip: str = "127.0.0.1"
    port: str = "11211"
    has_udp: bool = False
    unix: str = ""
    connections: str = CONNECTIONS
    threads: int = 1
    memory_mib: int = MEMORY_MIB
    item_bytes: int = 0
    serve: list = dataclasses.field(default_factory=list)

    def arguments(self):
        """The arguments of `sherwood`."""
        common = ["serve", "--workers", str(min(self.threads, WORKERS_MAX)), "--memory", f"{max(self.memory_mib, MEMORY_MIB_MIN)}MiB",
                  "--max-connections", self.connections, "--pin", "none", "--huge", "off", "--poll", "block", *self.serve, *self._value_max()]
        if self.unix:
            return [*common, "--transport", "none", "--unix", self.unix]
        is_open = not self.ip.startswith("127.")
        allow = ["--allow", "127.0.0.0/8"] if is_open else []
        transport = "udp,tcp" if self.has_udp else "tcp"
        return [*common, "--transport", transport, "--listen", f"{self.ip}:{self.port}", *allow]

    def _value_max(self):
        if self.item_bytes > self.memory_mib << 19:
            raise Wrong(f"-I {self.item_bytes}: more than half of the memory")
        if self.item_bytes > VALUE_BYTES_MAX:
            raise Cannot(f"-I {self.item_bytes}: values beyond {VALUE_BYTES_MAX} bytes")
        return ["--value-max", str(self.item_bytes)] if self.item_bytes else []


def split(words):
    """Pairs of option and value, as getopt reads them: `-m64`, `-m 64`, `-vv`."""
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            raise Wrong(f"{word} is no option")
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            yield {"help": "h", "version": "V", "enable-shutdown": "A", "unix-socket": "s", "port": "p"}.get(name, name), value
            continue
        at = 1
        while at < len(word):
            name, at = word[at], at + 1
            if name in WITH_VALUE:
                rest = word[at:]
                if not rest and not words:
                    raise Wrong(f"-{name} needs a value")
                yield name, rest or words.pop(0)
                break
            yield name, ""


def translate(words):
    """The arguments of `sherwood` for the arguments of memcached."""
    line, udp_port = Line(), None
    for name, value in split(words):
        if name in CANNOT:
            raise Cannot(f"-{name}: {CANNOT[name]}")
        if name == "U":
            udp_port = value
        elif name in TRANSLATED:
            TRANSLATED[name](line, value)
        elif name not in VALUES_PASSED_OVER | FLAGS_PASSED_OVER:
            raise Cannot(f"-{name}")
    # Both transports share the address here; with another port for UDP there is none.
    line.has_udp = udp_port == line.port
    return line.arguments()


def _address(line, value):
    host, _, port = value.partition(":")
    if not re.fullmatch(r"[\d.]+", host) or "," in value:
        raise Wrong(f"-l {value}: no address of this machine")
    line.ip, line.port = host, port or line.port


def _protocol(_, value):
    if value not in ("auto", "ascii", "binary"):
        raise Wrong(f"-B {value}")
    if value == "binary":
        raise Cannot("-B binary: the binary protocol")


def _connections(line, value):
    if int(value) < 1:
        raise Wrong(f"-c {value}")
    line.connections = value


def _threads(line, value):
    if int(value) < 1:
        raise Wrong(f"-t {value}")
    line.threads = int(value)


def _item_size(line, value):
    number, unit = re.fullmatch(r"(\d+)([kmKM]?)", value).groups()
    size = int(number) << {"": 0, "k": 10, "m": 20}[unit.lower()]
    # memcached's own bounds.
    if not 1 << 10 <= size <= 1 << 30:
        raise Wrong(f"-I {value}")
    # It counts header and key with the value; as the limit of values it is some 50 bytes too large.
    line.item_bytes = size


def _more(line, value):
    for word in filter(None, value.split(",")):
        name, _, number = word.partition("=")
        if name == "idle_timeout":
            line.serve += ["--idle-timeout", number]
        elif not INTERNALS.match(name):
            raise Cannot(f"-o {name}")


TRANSLATED = {
    "p": lambda line, value: setattr(line, "port", value),
    "l": _address,
    "s": lambda line, value: setattr(line, "unix", value),
    "a": lambda line, value: line.serve.extend(["--unix-mode", value]),
    "A": lambda line, _: line.serve.append("--allow-shutdown"),
    "M": lambda line, _: line.serve.append("--no-eviction"),
    "m": lambda line, value: setattr(line, "memory_mib", int(value)),
    "I": _item_size, "c": _connections, "t": _threads, "B": _protocol, "o": _more,
}
