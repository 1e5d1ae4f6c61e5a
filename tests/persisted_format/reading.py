"""Reads a plaintext field by field: a part of decode.py."""

import hmac
import re
import struct

PEER_NAME = re.compile(r"[A-Za-z0-9]{8,32}\.age")


class Wrong(Exception):
    """What is being decoded is not in the format."""


class Longer(Wrong):
    """A number takes more bytes than it needs."""


class Reader:
    """Reads fields one after the other and lists them."""

    def __init__(self, data: bytes, redaction_key: bytes):
        self.data, self.at, self.items, self.key = data, 0, [], redaction_key
        self.codes = set()
        # SHA-256: those that an identity holds, the one that a peer's answer names.
        self.certificates = []

    def hash(self, value: bytes) -> str:
        return "#" + hmac.digest(self.key, value, "sha256")[:4].hex()

    def item(self, length: int, field: str, cls: str, value: str):
        if length:
            self.items.append([self.at, length, field, cls, value])
            self.at += length

    def take(self, length: int, field: str, cls: str, shown=None) -> bytes:
        value = self.data[self.at : self.at + length]
        if len(value) != length:
            raise Wrong(f"{field} is cut off")
        self.item(length, field, cls, self.hash(value) if shown is None else shown)
        return value

    def peek_number(self) -> tuple[int, int]:
        """bincode 2, standard configuration: the value, and the bytes it takes."""
        rest = self.data[self.at : self.at + 9]
        if not rest:
            raise Wrong("a number is cut off")
        if rest[0] < 251:
            return rest[0], 1
        form, least = {251: ("<H", 251), 252: ("<I", 1 << 16), 253: ("<Q", 1 << 32)}.get(rest[0], (None, 0))
        if form is None or len(rest) < 1 + struct.calcsize(form):
            raise Wrong("a number is cut off or too large")
        (value,) = struct.unpack_from(form, rest, 1)
        if value < least:
            raise Longer()
        return value, 1 + struct.calcsize(form)

    def number(self, field: str, cls: str, shown: bool) -> int:
        value, length = self.peek_number()
        self.take(length, field, cls, str(value) if shown else None)
        return value

    def blob(self, field: str, cls: str) -> bytes:
        length = self.number(f"{field}.length", "public", True)
        return self.take(length, field, cls)

    def sdp(self, field: str, otherwise: str) -> bytes:
        length = self.number(f"{field}.length", "public", True)
        text = self.data[self.at : self.at + length]
        if len(text) != length:
            raise Wrong(f"{field} is cut off")
        text.decode()
        for index, line in enumerate(re.findall(rb"[^\n]*\n|[^\n]+", text)):
            match = re.fullmatch(r"([a-z])=(.*)", line.decode().rstrip("\r\n"), re.DOTALL)
            if not match:
                self.codes.add("unaccounted")
                self.take(len(line), f"{field}[{index}] ?", "unaccounted")
                continue
            kind, value = match.groups()
            label, cls = f"{kind}=", "forbidden" if kind == "k" else otherwise
            if kind == "a":
                name = value.split(":")[0]
                label = f"a={name}" if re.fullmatch(r"[A-Za-z0-9-]{0,40}", name) else "a=?"
                cls = {"crypto": "forbidden", "ice-pwd": "credential"}.get(name, otherwise)
            if cls == "forbidden":
                self.codes.add("forbidden")
            self.take(len(line), f"{field}[{index}] {label}", cls)
        return text
