"""memcached's own test files (t/*.t of its sources) at a server, with counts by file.

The files start servers themselves, as `memcached-debug` in the current folder. So they run in a folder of our own where that is a stand-in
(memcached_stand_in.py), and where t/ is a link to the sources, of which nothing is copied.
"""
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

from public_clients.outcome import Outcome

FILE_S = 240
STAND_IN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "memcached_stand_in.py")
# What no text or meta file needs; each with what it needs.
NEEDS = [
    (r"^proxy", "memcached's proxy"),
    (r"^ssl_", "TLS"),
    (r"^(extstore|error-extstore|chunked-extstore|binary-extstore)", "extstore: values on a disk"),
    (r"^(binary|issue_50\.t)", "the binary protocol"),
    (r"^ascii-auth", "an authentication file (-Y)"),
    (r"^(slabs|slabhang|lru|lru-crawler|lru-maintainer|refhang|dyn-maxbytes|64bit|issue_42\.t|issue_183\.t)", "figures or commands of memcached's slabs and lists"),
    (r"^restart", "a file for memory (-e)"),
    (r"^(daemonize|misbehave|issue_61\.t|issue_67\.t|conn-limits\.t)",
     "options of memcached's process (-d, drop_privileges, -R, -p -1, limits of its buffers)"),
    (r"^watcher", "the command watch"),
    (r"^udp\.t", "UDP on another port than TCP"),
]
# Why single checks of other files fail.
KNOWN = {
    "00-startup.t": "-C and -B binary cannot be had; backlog and binding_protocol are what they are",
    "expirations.t": "debugtime, a command of memcached's debug build",
    "flush-all.t": "-F cannot be had",
    "issue_163.t": "items:31:reclaimed: slab classes are others",
    "issue_22.t": "items:31:evicted: slab classes are others",
    "issue_29.t": "1:used_chunks: slab classes are others",
    "item_size_max.t": "-I 32m: values end at 16 MiB",
    "metaget.t": "a blank line is answered CLIENT_ERROR bad command line format, as memcached 1.6.45 does",
    "shutdown.t": "ERROR: shutdown not enabled, as memcached 1.6.18 says it",
    "stats-conns.t": "states and listeners of connections are not told",
    "stats-detail.t": "nothing is counted by prefix",
    "stats.t": "the number of figures; no key is shown by cachedump; get_expired and get_flushed",
    "strtol-testing.t": "slabs automove",
}


def files(folder):
    """The names of all test files."""
    return sorted(path.name for path in pathlib.Path(folder, "t").glob("*.t"))


def need(name):
    """What a file needs that Sherwood does not have on purpose; an empty text for files of the text and meta protocol."""
    return next((why for pattern, why in NEEDS if re.match(pattern, name)), "")


class MemcachedTests:
    """The files of a checkout at one server over one transport."""

    def __init__(self, checkout, work, server, transport):
        self.folder = pathlib.Path(work, f"t-{os.path.basename(server)}-{transport}")
        self.folder.mkdir()
        (self.folder / "t").symlink_to(os.path.abspath(os.path.join(checkout, "t")))
        stand_in(self.folder, transport, server, ["memcached", "memcached-debug"])
        # The one of memcached ends what takes too long; here the whole file is ended.
        _program(self.folder / "timedrun", 'shift; exec "$@"')

    def run(self, name):
        """Counts of one file. What it has left running is ended with it."""
        process = subprocess.Popen(["perl", f"t/{name}"], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, text=True, errors="replace", start_new_session=True)
        try:
            output, is_late = process.communicate(timeout=FILE_S)[0], False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, is_late = process.communicate()[0], True
        _end_group(process.pid)
        return counted(output, process.returncode, is_late)


def stand_in(folder, transport, server, names):
    """Programs of these names that stand in for memcached."""
    folder.mkdir(exist_ok=True)
    words = [sys.executable, STAND_IN, transport, os.path.abspath(server)]
    for name in names:
        _program(folder / name, f'exec {shlex.join(words)} "$@"')


def _program(path, line):
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _end_group(group):
    """Servers that a file forgot; the group is the file's own."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def counted(output, status, is_late=False):
    """What a file printed (TAP), as counts."""
    outcome = Outcome()
    skipped = re.search(r"^1\.\.0 # SKIP ?(.*)", output, re.MULTILINE | re.IGNORECASE)
    if skipped:
        return Outcome(why=f"skips itself: {skipped[1].strip()}")
    for line in re.findall(r"^((?:not )?ok\b.*)", output, re.MULTILINE):
        if re.search(r"# *skip", line, re.IGNORECASE):
            outcome.skipped += 1
        elif line.startswith("ok") or "# TODO" in line:
            outcome.passed += 1
        else:
            outcome.failed.append(line[:160])
    plan = re.search(r"^1\.\.(\d+)", output, re.MULTILINE)
    done = outcome.passed + len(outcome.failed) + outcome.skipped
    if is_late:
        outcome.failed.append(f"not done after {FILE_S} s")
    elif plan and done < int(plan[1]):
        outcome.failed.append(f"ended after {done} of {plan[1]}: {_last_words(output)}")
    elif status and not outcome.failed:
        outcome.failed.append(f"status {status}: {_last_words(output)}")
    return outcome


def _last_words(output):
    lines = [line for line in output.splitlines() if line.strip() and not re.match(r"(not )?ok\b|1\.\.", line)]
    told = [line for line in lines if line.startswith("stand-in ")]
    return " ".join((told[-1:] or lines[-2:]))[:200]
