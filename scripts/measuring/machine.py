"""What the machine and the source tree are: a figure without them says nothing."""
import os
import platform
import re
import subprocess


def describe():
    """Kernel, cores, model and memory of this machine."""
    return {
        "kernel": platform.release(),
        "cores": len(allowed_cpus()),
        "model": _first(r"model name\s*:\s*(.+)", "/proc/cpuinfo") or platform.machine(),
        "memory_bytes": meminfo()["MemTotal"] << 10,
    }


def meminfo():
    """/proc/meminfo: KiB (or a count of pages) by name."""
    with open("/proc/meminfo") as file:
        return {name: int(number) for name, number in re.findall(r"(\w+):\s+(\d+)", file.read())}


def allowed_cpus():
    """The processors that this process may use."""
    return sorted(os.sched_getaffinity(0))


def commit(tree):
    """The commit of a source tree, and whether tracked files differ from it; None outside of git."""
    head = _git(tree, "rev-parse", "--short", "HEAD")
    if head is None:
        return None
    return {"commit": head, "is_modified": bool(_git(tree, "status", "--porcelain", "--untracked-files=no"))}


def _git(tree, *words):
    try:
        done = subprocess.run(["git", "-C", tree, *words], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _first(pattern, path):
    with open(path) as file:
        match = re.search(pattern, file.read())
    return match and match[1]
