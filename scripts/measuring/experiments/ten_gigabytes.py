"""One process with much memory: start, fill, read back, evict, change sizes, stop, start again. Times, resident set, pauses.

The server times every tick (`--watch-one-in 1`) and the stages in it; the columns of a stage are its longest time in a tick and how
many were above 1 ms. `reclaim` frees memory, `policy_commands` executes what the policy asks for, `move_pages` is the mover and the growing table,
`turn` is the kernel. Times are on the wall: a stage from which the kernel took the processor is longer, too. So the processor
time of the first three together (`owner`) and of all but the kernel's (`work`) stand beside them, and how long the worker
waited for its processor.

Fails when the processor time of `owner` was above 1 ms in any tick. Refused where the machine has too little free memory.
"""
import time

from measuring import machine, options, programs
from measuring.load import answered, duration
from measuring.quantities import decimals, gibibytes, size_bytes, thousands
from measuring.results import Column
from measuring.trouble import Trouble

ABOUT = "much memory: start, fill, read back, evict, change sizes, restart; fails on a pause above 1 ms of the owner's work"
TAKES = "3 minutes"
PROGRAM = programs.SERVER
OPTIONS = [
    options.rounds(1), options.memory("10GiB", "memory of the server"),
    options.seconds(20.0, "how long to evict and to change sizes, each"), options.serve_flags(),
]
STAGES = ["reclaim", "policy_commands", "move_pages", "syscall", "owner_cpu", "work_cpu"]
COLUMNS = [
    Column("seconds", "s", decimals(1)), Column("rate_per_s", "commands/s", thousands, better="higher"),
    Column("resident_bytes", "resident", gibibytes), Column("ticks", "ticks", decimals(0)),
    Column("tick_p50_us", "tick p50 µs", decimals(0)), Column("tick_p999_us", "p99.9", decimals(0)),
    Column("tick_max_us", "max", decimals(0)), Column("tick_pauses", ">1 ms", decimals(0)),
    *(column for stage in STAGES for column in [
        Column(f"{stage}_max_us", f"{stage} µs", decimals(0)), Column(f"{stage}_pauses", ">1 ms", decimals(0))]),
    Column("waited_s", "no CPU s", decimals(1)),
]

KEY_BYTES, VALUE_BYTES = 32, 100
ITEM_BYTES = 190  # what such an item takes of --memory, with some room: all keys fit
PAUSE_NS = 1_000_000


def run(session):
    given = session.parameters
    memory_bytes = size_bytes(given.memory)
    for number in session.rounds():
        for binary in session.in_turn(number):
            refuse_if_short(memory_bytes)
            Life(session, binary, memory_bytes).run()
    pauses = sum(session.median(name, "", "owner_cpu_pauses") for name in Life.PHASES)
    session.check("new", pauses == 0, f"{pauses:.0f} ticks had more than 1 ms of processor time of reclamation, commands and mover")


def refuse_if_short(memory_bytes):
    """The memory, a tenth of it for the policy, and a gigabyte for the load generator and others."""
    needed = memory_bytes + memory_bytes // 10 + (1 << 30)
    meminfo = machine.meminfo()
    available = meminfo["MemAvailable"] << 10
    if meminfo["HugePages_Free"] * meminfo["Hugepagesize"] << 10 >= memory_bytes:
        available += memory_bytes
    if available < needed:
        raise Trouble(f"{gibibytes(needed)} are needed and {gibibytes(available)} are available: free some, or give less, "
                      "as in --memory 4GiB")


class Life:
    """A server from its start to the stop of the one after it."""

    PHASES = ["fill", "read back", "evict: keys twice", "sizes 300 to 1500"]

    def __init__(self, session, binary, memory_bytes):
        self.session, self.binary, self.memory_bytes = session, binary, memory_bytes
        self.keys = memory_bytes // ITEM_BYTES
        self.client = session.client()

    def run(self):
        with self._start("start") as server:
            self._fill(server)
            self._read_back(server)
            self._evict(server, 2 * self.keys, ["--mix", "get:50,set:50", "--window", "256"], self.PHASES[2])
            self._evict(server, self.keys, ["--mix", "get:20,set:80", "--window", "128", "--value-size", "300-1500"],
                        self.PHASES[3])
            policy_bytes = int(server.stats("memory")["policy_bytes"])
            self.session.note(f"{self.binary}: the policy has {gibibytes(policy_bytes)}")
            self._stop(server, "stop")
        with self._start("restart") as server:
            if server.stat("curr_items") != 0:
                raise Trouble("a new process has old items: this is a fault of the server")
            self._stop(server, "stop again")

    def _start(self, name):
        self.session.progress(f"{self.binary}: {name}")
        server = self.session.serve(self.binary, "--memory", f"{self.memory_bytes >> 20}MiB", "--workers", "1",
                                    "--watch-one-in", "1", *self.session.parameters.serve)
        self._record(name, {"seconds": server.start_s, "resident_bytes": server.resident_bytes()})
        return server

    def _stop(self, server, name):
        seconds = server.stop()
        if server.process.returncode != 0:
            raise Trouble(f"the server did not stop cleanly: {server.output().strip()}")
        self._record(name, {"seconds": seconds})

    def _record(self, name, figures):
        self.session.record(name, "", figures, self.binary)

    def _load(self, server, keys, *flags):
        sizes = [] if "--value-size" in flags else ["--value-size", str(VALUE_BYTES)]
        return self.client.load(server, "--keys", str(keys), "--key-size", str(KEY_BYTES), "--verify", *sizes, *flags)

    def _phase(self, server, name, load):
        """Runs `load`, which gives its figures and a note of them, and records what the ticks did meanwhile."""
        self.session.progress(f"{self.binary}: {name}")
        before, waited, began = server.times(), server.waited_s(), time.monotonic()
        figures, note = load()
        seconds = time.monotonic() - began
        of = {stage.removesuffix("_ns"): times.since(before[stage]) for stage, times in server.times().items()}
        self._record(name, figures | ticks(of) | {
            "seconds": seconds, "resident_bytes": server.resident_bytes(), "waited_s": server.waited_s() - waited,
        })
        self.session.note(f"{self.binary}, {name}: {note}")

    def _fill(self, server):
        def load():
            fill = self._load(server, self.keys, "--fill", "--window", "256", "--mix", "get:1", "--duration", "100ms")["fill"]
            self.fill_s = fill["seconds"]
            items = server.stat("curr_items")
            return {"rate_per_s": fill["stored"] / fill["seconds"], "items": items}, f"{items:,} items"
        self._phase(server, "fill", load)
        items = server.stat("curr_items")
        if items != self.keys:
            raise Trouble(f"{self.keys:,} keys were set and {items:,} are there: run it again, with more memory if it stays so")

    def _read_back(self, server):
        # A read is cheaper than a store, so every key has its turn in as much time.
        seconds = max(self.fill_s, self.session.parameters.seconds)

        def load():
            read = self._load(server, self.keys, "--protocol", "batch", "--batch", "20", "--window", "64", "--mix", "get:1",
                              "--dist", "sequential", "--duration", duration(seconds))
            get, verify = read["commands"]["get"], read["verify"]
            if verify["wrong"] or get["misses"]:
                raise Trouble(f"{verify['wrong']} values were wrong and {get['misses']} missed: this is a fault of the server")
            busy = "" if verify["checked"] >= self.keys else "; the machine was too busy to read all keys back in this time"
            figures = {"rate_per_s": get["rate_per_s"], "checked": verify["checked"], "reads_of_a_key": get["sent"] / self.keys}
            return figures, (f"{verify['checked']:,} values checked, 0 wrong, 0 missed, "
                             f"each key {figures['reads_of_a_key']:.1f} times{busy}")
        self._phase(server, "read back", load)

    def _evict(self, server, keys, flags, name):
        def load():
            before = server.figures()
            report = self._load(server, keys, *flags, "--dist", "uniform", "--duration",
                                duration(self.session.parameters.seconds))
            after = server.figures()
            more = {name: after[figure] - before[figure] for name, figure in [
                ("stored", "total_items"), ("evicted", "evictions"), ("by_pressure", "evicted_by_pressure"),
                ("pages_moved", "pages_moved")]}
            return {"rate_per_s": answered(report) / report["seconds"]} | more, (
                "{stored:,} stored, {evicted:,} evicted ({by_pressure:,} by pressure), {pages_moved:,} pages moved".format(**more))
        self._phase(server, name, load)


def ticks(of):
    """Figures of the server's own histograms."""
    tick = of["tick"]
    figures = {
        "ticks": tick.count(), "tick_p50_us": tick.quantile(.5) / 1e3, "tick_p999_us": tick.quantile(.999) / 1e3,
        "tick_max_us": tick.largest() / 1e3, "tick_pauses": tick.above(PAUSE_NS),
    }
    for stage in STAGES:
        figures[f"{stage}_max_us"] = of[stage].largest() / 1e3
        figures[f"{stage}_pauses"] = of[stage].above(PAUSE_NS)
    return figures
