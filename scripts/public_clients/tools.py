"""The programs of libmemcached-tools."""
import re
import shutil
import subprocess

from public_clients.outcome import Outcome

TOOL_S = 120
MEMCASLAP = "memcaslap -x 100000 -c 8 -T 1 -v 1.0 -X 100"
MEMCASLAP_UDP = MEMCASLAP.replace("memcaslap", "memcaslap -U")
# What memcaslap says of itself, and what the servers say of the same requests.
TOLD_BY_TOOL = ["cmd_get", "cmd_set", "get_misses", "verify_misses", "verify_failed", "packet_disorder", "packet_drop", "udp_timeout"]
TOLD_BY_SERVER = ["cmd_get", "get_hits", "get_misses", "cmd_set", "protocol_errors", "errors_muted", "busy", "reads_dropped"]


def all():
    """The name of each, and how to run it at a target."""
    yield "`memccapable -a`", lambda target: _memccapable(target.port)
    for tool in ("memcstat", "memcping"):
        yield f"`{tool}`", lambda target, tool=tool: _ends_well(f"{tool} --servers={target.address}")
    yield f"`{MEMCASLAP}`, TCP", lambda target: memcaslap(target, MEMCASLAP)
    yield f"`{MEMCASLAP_UDP}`, UDP", lambda target: memcaslap(target, MEMCASLAP_UDP)


def _run(line):
    """The exit status and the output; None where the program is not there."""
    words = line.split()
    if not shutil.which(words[0]):
        return None
    try:
        done = subprocess.run(words, timeout=TOOL_S, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.TimeoutExpired:
        return -1, f"not done after {TOOL_S} s"
    return done.returncode, done.stdout


def _missing():
    return Outcome(why="no such program (apt-get install libmemcached-tools)")


def _memccapable(port):
    ran = _run(f"memccapable -h 127.0.0.1 -p {port} -a")
    if ran is None:
        return _missing()
    outcome = Outcome()
    for name, verdict in re.findall(r"^(ascii .*?)\s+\[(\w+)\]", ran[1], re.MULTILINE):
        if verdict == "pass":
            outcome.passed += 1
        else:
            outcome.failed.append(f"{name}: {verdict}")
    return outcome if outcome.passed + len(outcome.failed) else Outcome(why=ran[1][-200:])


def _ends_well(line):
    ran = _run(line)
    if ran is None:
        return _missing()
    status, output = ran
    return Outcome(passed=1) if status == 0 else Outcome(failed=[f"status {status}: {output.strip()[-160:]}"])


def memcaslap(target, line):
    """100,000 requests, all values verified: a line of what the tool says and of what the server counted meanwhile."""
    before = target.figures()
    ran = _run(f"{line} -s {target.address}")
    if ran is None:
        return str(_missing())
    after = target.figures()
    said = dict(re.findall(r"^(\w+): (\d+)$", ran[1], re.MULTILINE))
    tool = ", ".join(f"{name} {said[name]}" for name in TOLD_BY_TOOL if name in said) or ran[1][-200:]
    counted = ", ".join(f"{name} {after[name] - before[name]}" for name in TOLD_BY_SERVER if name in after)
    return f"tool: {tool}; server: {counted}"
