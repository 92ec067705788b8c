#!/usr/bin/env python3
"""Stands in for the binary of memcached in its own test files.

    memcached_stand_in.py TRANSPORT SERVER [OPTION…]

TRANSPORT is tcp or unix: the test files ask the binary for its help, and take UNIX sockets if that names them. SERVER is a memcached, which gets the
options as they are, or a sherwood, which gets what they mean.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from public_clients import memcached_options as options  # noqa: E402

HELP = {"tcp": "memcached 1.6.45\n-p, --port=<num>\n", "unix": "memcached 1.6.45\n-p, --port=<num>\n-s, --unix-socket=<file>\n"}


def main():
    transport, server, words = sys.argv[1], sys.argv[2], sys.argv[3:]
    if words and words[0] in ("-h", "--help"):
        return print(HELP[transport], end="")
    if transport == "tcp" and any(word.startswith("-s") for word in words):
        sys.exit("stand-in refused -s: it says that it has no UNIX sockets")
    if os.path.basename(server).startswith("memcached"):
        # memcached does not run as root unless it is told to.
        user = ["-u", "root"] if os.geteuid() == 0 and "-u" not in words else []
        os.execv(server, [server, *words, *user])
    try:
        arguments = options.translate(words)
    except (options.Cannot, options.Wrong) as error:
        kind = "cannot" if isinstance(error, options.Cannot) else "refused"
        sys.exit(f"stand-in {kind} {error}")
    os.execv(server, [server, *arguments])


if __name__ == "__main__":
    main()
