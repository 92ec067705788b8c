"""What an item costs beyond its key and value: Sherwood and memcached, filled until they evict, the same load to both.

Both get the same memory and twice the items that could ever fit (32-byte keys, 100-byte values, no time to live), over UDP
from `sherwood load`. Then, once nothing has changed for two seconds:

  Sherwood    (granted bytes of the region + bytes of the policy) / live items, and the parts of that; `policy may fill` is
              the policy's budget as a share of the slab's pages
  memcached   limit_maxbytes / curr_items, which leaves its hash table and threads out; and its resident set / curr_items

Fails when Sherwood takes more than 56 bytes an item beyond key and value.
"""
import time

from measuring import harness, options, programs
from measuring.load import duration
from measuring.quantities import decimals, size_bytes
from measuring.results import Column
from measuring.trouble import Trouble

ABOUT = "what an item costs beyond key and value, by parts, beside memcached; fails above 56 bytes"
TAKES = "1 minute"
PROGRAM = programs.SERVER
OPTIONS = [options.rounds(1), options.memory("256MiB"), options.serve_flags()]
COLUMNS = [
    Column("items", "items", decimals(0)), Column("item_bytes", "bytes/item", decimals(1)),
    Column("beyond_bytes", "beyond key and value", decimals(1), better="lower"),
    Column("index_load_percent", "index load %", decimals(1)), Column("policy_share_percent", "policy may fill %", decimals(1)),
    Column("evicted", "evicted", decimals(0)), Column("by_pressure", "by pressure", decimals(0)),
]

KEY_BYTES, VALUE_BYTES, AIM_BYTES = 32, 100, 56
PAYLOAD_BYTES = KEY_BYTES + VALUE_BYTES
HEADER_BYTES = 24
STANDS_STILL_S = 2


def run(session):
    for number in session.rounds():
        for binary in session.in_turn(number):
            measure_sherwood(session, binary)
        measure_memcached(session)
    ours = session.median("Sherwood", "all", "beyond_bytes")
    for subject in ["its limit", "its resident set"]:
        theirs = session.median("memcached", subject, "beyond_bytes", None)
        if theirs:
            session.note(f"beyond key and value Sherwood takes {ours / theirs:.2f} of memcached by {subject}")
    session.check("new", ours <= AIM_BYTES, f"{ours:.1f} bytes an item beyond key and value; the aim is {AIM_BYTES}")


def measure_sherwood(session, binary):
    given = session.parameters
    with session.serve(binary, "--memory", given.memory, "--workers", "1", *given.serve) as server:
        general = filled(session, server)
        memory, policy = server.figures("memory"), server.figures("policy")
        items = general["curr_items"]
        fullness = {
            "index_load_percent": 100 * items / general["table_slots"],
            "policy_share_percent": 100 * policy["0:budget_bytes"] / memory["slab_bytes"],  # of the slab's pages
            "evicted": general["evictions"], "by_pressure": general["evicted_by_pressure"],
        }
        record(session, "Sherwood", "all", items, memory["granted_bytes"] + memory["policy_bytes"], binary, fullness)
        for part, count in parts(items, memory):
            session.record("Sherwood", f"of it {part}", {"item_bytes": count / items}, binary)
        resident = {"item_bytes": server.resident_bytes(with_huge_pages=False) / items}
        session.record("Sherwood", "resident set, with buffers of sockets and rings", resident, binary)


def parts(items, memory):
    """Where the bytes of Sherwood are."""
    return [
        ("header", HEADER_BYTES * items), ("rounding to a slot", memory["internal_waste_bytes"]),
        ("index", memory["index_bytes"]), ("policy, beside the region", memory["policy_bytes"]),
        ("free slots and page headers", memory["external_waste_bytes"]),
        ("free pages", memory["free_bytes"] + memory["gathered_bytes"] + memory["rest_bytes"]),
        ("waiting for grace", memory["backlog_bytes"]),
    ]


def measure_memcached(session):
    server = harness.memcached(session.parameters.memory)
    if not server:
        session.skip("memcached", "it is not installed (apt-get install memcached)")
        return
    with server:
        general = filled(session, server)
        items, limit, resident = general["curr_items"], general["limit_maxbytes"], server.resident_bytes()
        record(session, "memcached", "its limit", items, limit)
        record(session, "memcached", "its limit and hash table", items, limit + general["hash_bytes"])
        record(session, "memcached", "its resident set", items, resident)


def record(session, case, subject, items, count, binary=None, more=None):
    figures = {"items": items, "item_bytes": count / items, "beyond_bytes": count / items - PAYLOAD_BYTES}
    session.record(case, subject, figures | (more or {}), binary)


def filled(session, server):
    """Fills it with twice what fits; its figures once it has settled."""
    keys = 2 * size_bytes(session.parameters.memory) // PAYLOAD_BYTES
    session.progress(f"{keys:,} keys of {KEY_BYTES} bytes with values of {VALUE_BYTES} bytes into {server.name}")
    session.client().load(server, "--keys", str(keys), "--key-size", str(KEY_BYTES), "--value-size", str(VALUE_BYTES), "--fill",
                          "--mix", "get:1", "--duration", duration(0.1), "--window", "128")
    general = settled(server)
    if general["evictions"] == 0:
        raise Trouble(f"{server.name} evicted nothing, so it is not full: what was lost of the load? Run it again")
    return general


def settled(server):
    """The figures once the counts of items, the server's and the policy's, have not changed for a while: after a flood the
    policy gets the events that it missed, and then evicts down to its budget."""
    last, since = None, time.monotonic()
    while time.monotonic() - since < STANDS_STILL_S:
        now = (server.stat("curr_items"), server.stats("policy").get("0:items"))
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.1)
    return server.figures()
