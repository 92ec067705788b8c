"""Pipelined gets over one TCP connection, in lock step: the next pipeline is sent when all replies to the last one are there."""
import socket
import time

from measuring.harness import pinned
from measuring.quantities import count
from measuring.trouble import Trouble

KEYS_IN_PIPELINE = 256
PIPELINES = 128  # sent in turn, so that not the same few keys are asked for again and again


def gets(server, keys_per_get, keys, seconds, cpus):
    """Figures of gets of so many keys each; replies are counted, not parsed."""
    depth = max(KEYS_IN_PIPELINE // keys_per_get, 1)
    requests = pipelines(depth, keys_per_get, count(keys))
    host, port = server.address.split(":")
    with pinned(cpus), socket.create_connection((host, int(port))) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        length = reply_bytes(tcp, requests[0], depth, keys_per_get)
        before, began, turns = server.cpu_ns(), time.monotonic(), 0
        buffer = bytearray(1 << 20)
        while time.monotonic() - began < seconds:
            tcp.sendall(requests[turns % len(requests)])
            left = length
            while left:
                left -= tcp.recv_into(buffer, min(left, len(buffer)))
            turns += 1
        took = time.monotonic() - began
    answered = turns * depth * keys_per_get
    return {"requests_per_s": turns * depth / took, "keys_per_s": answered / took,
            "ns_per_key": (server.cpu_ns() - before) / answered}


def pipelines(depth, keys_per_get, keys):
    """The bytes of pipelines of so many gets each."""
    keys_of_one = depth * keys_per_get
    numbers = [i * 7919 % keys for i in range(PIPELINES * keys_of_one)]
    gets_of = [b"get " + b" ".join(b"%016x" % n for n in numbers[i:i + keys_per_get]) + b"\r\n"
               for i in range(0, len(numbers), keys_per_get)]
    return [b"".join(gets_of[i:i + depth]) for i in range(0, len(gets_of), depth)]


def reply_bytes(tcp, requests, depth, keys_per_get):
    """How long the reply to a pipeline is, in which all keys must be there."""
    tcp.sendall(requests)
    reply = b""
    while reply.count(b"END\r\n") < depth:
        reply += tcp.recv(1 << 20)
    if reply.count(b"VALUE ") != depth * keys_per_get:
        raise Trouble("the server lost keys that were filled in: give it less to keep (--keys) or more memory (--memory)")
    return len(reply)
