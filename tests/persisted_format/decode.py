#!/usr/bin/env python3
"""Decodes a rekindle vault without a line of rekindle's code.

Written (with reading.py, session_state.py and agreement.py) from threat-model/persisted-format.md alone: pyrage opens the age files, the standard library does the rest.
It says of every byte what it is, as `rekindle audit --json` does, and the two must agree.

    decode.py --key-file KEY DIR                     JSON on the standard output
    decode.py --key-file KEY --report REPORT DIR     where an auditor's JSON report (- for the standard input) says something else

With --session-fields it names the fields of full-state mode's files one by one, as an auditor does that was built with that mode;
without, they are one piece.

Exit code 0: nothing found, or the two agree; 1: findings, or they do not agree; 2: could not look.
"""

import argparse
import hashlib
import hmac
import json
import re
import sys
from pathlib import Path

import pyrage

sys.dont_write_bytecode = True  # The tree stays as it is.

from agreement import differences
from reading import PEER_NAME, Longer, Reader, Wrong
from session_state import FULL_STATE, full_state

SALT = b"rekindle vault v1"
MAC_PREFIX = b"rekindle file v1\0"
SCHEMA = 2
PEER_LIMIT, IDENTITY_LIMIT = 256 * 1024, 64 * 1024
SESSION_LIMIT, COUNTERS_LIMIT = 4 * 1024, 64 * 1024 * 1024
EARLIER_LIMIT = 15


# --- keys ---------------------------------------------------------------------------------------------------------


def hkdf(secret: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869), 32 bytes: one block."""
    prk = hmac.digest(SALT, secret, "sha256")
    return hmac.digest(prk, info + b"\x01", "sha256")


class Identity:
    """One identity of the key file, and the keys that come from it."""

    def __init__(self, line: str):
        self.age = pyrage.x25519.Identity.from_str(line)
        text = str(self.age).upper().encode()
        self.mac_key = hkdf(text, b"record mac")
        self.redaction_key = hkdf(text, b"audit redaction")

    def mac(self, name: str, content: bytes) -> bytes:
        encoded = name.encode()
        return hmac.digest(self.mac_key, MAC_PREFIX + bytes([len(encoded)]) + encoded + content, "sha256")


def read_key_file(path: Path) -> list[Identity]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return [Identity(line) for line in lines if line and not line.startswith("#")]


# --- the age file from outside ------------------------------------------------------------------------------------


def base64_length(text: bytes) -> int:
    if not re.fullmatch(rb"[A-Za-z0-9+/]*", text) or len(text) % 4 == 1:
        raise Wrong("base64")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    unused = {0: 0, 2: 15, 3: 3}[len(text) % 4]
    if text and alphabet.index(text[-1:]) & unused:
        raise Wrong("base64 with unused bits")
    return len(text) * 3 // 4


def age_outside(file: bytes) -> dict:
    """The header's stanzas and the sizes of all parts."""
    at = 0

    def line() -> bytes:
        nonlocal at
        end = file.find(b"\n", at)
        if end < 0:
            raise Wrong("no end of the header")
        text, at = file[at:end], end + 1
        return text

    if line() != b"age-encryption.org/v1":
        raise Wrong("version line")
    stanzas = []
    while True:
        start, first = at, line()
        if first.startswith(b"--- "):
            if base64_length(first[4:]) != 32:
                raise Wrong("header MAC")
            break
        if not first.startswith(b"-> "):
            raise Wrong("stanza")
        words = first[3:].split(b" ")
        if not all(re.fullmatch(rb"[!-~]+", word) for word in words):
            raise Wrong("word")
        body = 0
        while True:
            text = line()
            if len(text) > 64:
                raise Wrong("long line")
            body += base64_length(text)
            if len(text) < 64:
                break
        if words[0] == b"X25519" and (len(words) != 2 or base64_length(words[1]) != 32 or body != 32):
            raise Wrong("X25519")
        stanzas.append({"type": words[0].decode(), "arguments": len(words) - 1, "body_bytes": body, "bytes": at - start})
    encrypted = len(file) - at - 16
    if encrypted < 16:
        raise Wrong("payload")
    chunks = -(-encrypted // 65552)
    last = encrypted - (chunks - 1) * 65552
    if last < 16 or (last == 16 and chunks > 1):
        raise Wrong("last chunk")
    return {
        "version": "v1",
        "stanzas": stanzas,
        "header_bytes": at,
        "nonce_bytes": 16,
        "plaintext_bytes": encrypted - 16 * chunks,
        "tag_bytes": 16 * chunks,
    }


def stanzas_are_as_written(age: dict) -> bool:
    recipients = sum(s["type"] == "X25519" for s in age["stanzas"])
    filler = sum(s["type"].endswith("-grease") and s["bytes"] <= 256 for s in age["stanzas"])
    return recipients == 1 and filler <= 1 and recipients + filler == len(age["stanzas"])


# --- the plaintext ------------------------------------------------------------------------------------------------


def header(reader: Reader) -> dict:
    if reader.data[:8] != b"rekindle" or len(reader.data) < 12:
        raise Wrong("header")
    reader.take(8, "magic", "public")
    schema, kind = reader.data[8:10]
    reader.take(1, "schema", "public", str(schema))
    reader.take(1, "kind", "public", str(kind))
    boot = reader.number("boot", "public", True)
    written_at = reader.number("written_at", "public" if kind in (1, 1 | FULL_STATE) else "personal-data", True)
    if kind == 1 | FULL_STATE:
        reader.codes.add("full-state")
    return {"schema": schema, "kind": kind, "boot": boot, "written_at": written_at}


def peer(reader: Reader) -> str:
    """Reads a peer's record; returns the file name it belongs to."""
    role = reader.peek_number()
    if role not in ((0, 1), (1, 1)):
        raise Wrong("role")
    reader.take(1, "role", "personal-data")
    channel = reader.blob("channel", "personal-data").decode()
    ufrag = reader.blob("ice.ufrag", "public").decode()
    if not PEER_NAME.fullmatch(ufrag + ".age"):
        raise Wrong("ufrag")
    password = reader.blob("ice.pwd", "credential").decode()
    offer = reader.sdp("offer", "personal-data")
    answer = reader.sdp("answer", "public")
    reader.number("joined_at", "personal-data", False)
    named = [line[22:] for line in answer.split(b"\n") if line.startswith(b"a=fingerprint:sha-256 ")]
    digits = named[0].strip().replace(b":", b"").lower() if named else b""
    if re.fullmatch(rb"[0-9a-f]{64}", digits):
        reader.certificates.append(digits.decode())
    fits = (
        1 <= len(channel.encode()) <= 128
        and not re.search("[\x00-\x1f\x7f-\x9f]", channel)
        and re.fullmatch(r"[A-Za-z0-9+/]{22,256}", password)
        and all(1 <= len(sdp) <= 96 * 1024 and b"\0" not in sdp for sdp in (offer, answer))
    )
    if not fits:
        reader.codes.add("unfit")
    return f"peers/{ufrag}.age"


# The identity's two DER structures. Each value is (tag, content): a list holds values, bytes are constant, and a string
# names a field with the lengths it may have.
EC_KEY = [(0x06, bytes.fromhex("2a8648ce3d0201")), (0x06, bytes.fromhex("2a8648ce3d030107"))]
ECDSA = [(0x06, bytes.fromhex("2a8648ce3d040302"))]


def name_of(who: str) -> list:
    return [(0x31, [(0x30, [(0x06, bytes.fromhex("550405")), (0x13, (who, "public", 32, 32))])])]


CERTIFICATE = (0x30, [
    (0x30, [
        (0xA0, [(0x02, b"\x02")]),
        (0x02, ("serial number", "public", 16, 16)),
        (0x30, ECDSA),
        (0x30, name_of("issuer")),
        (0x30, [(0x17, ("not before", "public", 13, 13)), (0x18, ("not after", "public", 15, 15))]),
        (0x30, name_of("subject")),
        (0x30, [(0x30, EC_KEY), (0x03, ("public key", "public", 66, 66))]),
    ]),
    (0x30, ECDSA),
    (0x03, ("signature", "public", 9, 73)),
])
PRIVATE_KEY = (0x30, [
    (0x02, b"\x00"),
    (0x30, EC_KEY),
    (0x04, [(0x30, [
        (0x02, b"\x01"),
        (0x04, ("scalar", "long-lived-secret", 32, 32)),
        (0xA1, [(0x03, ("public key", "public", 66, 66))]),
    ])]),
])


def der(shape: tuple, data: bytes, parts: list) -> bytes:
    """Appends [name, class, bytes] for what is expected next; returns the rest."""

    def structure(piece: bytes):
        if parts and parts[-1][0] == "structure":
            parts[-1][2] += piece
        else:
            parts.append(["structure", "public", piece])

    tag, content = shape
    if len(data) < 2 or data[0] != tag:
        raise Wrong("tag")
    length, head = data[1], 2
    if length == 0x81:
        length, head = (data[2] if len(data) > 2 and data[2] >= 0x80 else -1), 3
    elif length == 0x82:
        length, head = (int.from_bytes(data[2:4]) if len(data) > 3 and data[2] else -1), 4
    elif length > 0x7F:
        raise Wrong("length")
    value, rest = data[head : head + length], data[head + length :]
    if length < 0 or len(value) != length:
        raise Wrong("length")
    structure(data[:head])
    if isinstance(content, list):
        for inside in content:
            value = der(inside, value, parts)
        if value:
            raise Wrong("more inside than expected")
    elif isinstance(content, bytes):
        if value != content:
            raise Wrong("constant")
        structure(value)
    else:
        name, cls, least, most = content
        if not least <= length <= most:
            raise Wrong(name)
        parts.append([name, cls, value])
    return rest


def check_identity(certificate: bytes, private_key: bytes) -> tuple[list, list]:
    parts = ([], [])
    if der(CERTIFICATE, certificate, parts[0]) or der(PRIVATE_KEY, private_key, parts[1]):
        raise Wrong("more than expected")
    fields = {name: value for name, _, value in parts[0]}
    point = fields["public key"]
    digest = hashlib.sha256(point[1:]).digest()
    serial = bytes([digest[0] & 0x3F | 0x40]) + digest[1:16]
    name = digest[16:].hex().encode()
    dates_are_days = all(re.fullmatch(rb"\d+000000Z", fields[date]) for date in ("not before", "not after"))
    if (
        point[0] != 0
        or fields["serial number"] != serial
        or not fields["issuer"] == fields["subject"] == name
        or not dates_are_days
        or {name: value for name, _, value in parts[1]}["public key"] != point
    ):
        raise Wrong("a field that is not what it must be")
    return parts


def identity(reader: Reader) -> str:
    certificate_and_key(reader, "")
    count = reader.number("earlier.count", "public", True)
    if count > EARLIER_LIMIT:
        reader.codes.add("unfit")
    for index in range(count):
        certificate_and_key(reader, f"earlier[{index}] ")
    return "identity.age"


def certificate_and_key(reader: Reader, prefix: str):
    blobs = []
    start = reader.at
    for _ in range(2):
        length, size = reader.peek_number()
        blobs.append(reader.data[reader.at + size : reader.at + size + length])
        if len(blobs[-1]) != length:
            raise Wrong("cut off")
        reader.at += size + length
    reader.at = start
    reader.certificates.append(hashlib.sha256(blobs[0]).hexdigest())
    classes = ("public", "long-lived-secret")
    try:
        parts = check_identity(*blobs)
    except Wrong:
        reader.codes.add("certificate")
        parts = [[["whole", cls, blob]] for cls, blob in zip(classes, blobs)]
    for field, pieces in zip(("certificate", "private_key"), parts):
        reader.number(f"{prefix}{field}.length", "public", True)
        for name, cls, piece in pieces:
            reader.take(len(piece), f"{prefix}{field} {name}", cls)


def body(reader: Reader, kind: int, fields: bool) -> tuple[str, str | None]:
    """Reads what the kind calls for; returns the kind's name and the file name the content belongs to."""
    names = {1: ("identity", identity), 1 | FULL_STATE: ("identity", identity), 2: ("peer", peer)}
    if kind & FULL_STATE and kind not in names:
        return full_state(reader, kind, fields)
    if kind not in names:
        raise Wrong("kind")
    name, read = names[kind]
    belongs_to = read(reader)
    if reader.at != len(reader.data):
        raise Wrong("more than expected")
    return name, belongs_to


def plaintext(data: bytes, redaction_key: bytes, fields: bool) -> dict:
    """All there is in a plaintext; what cannot be decoded is one item at the end, called unaccounted."""
    content = data[: max(0, len(data) - 32)]
    reader = Reader(content, redaction_key)
    result = {"schema": None, "kind": None, "boot": None, "written_at": None, "name": None, "certificates": []}
    known, code, rest = 0, None, ("mac", "public")
    try:
        kept = header(reader)
        known = len(reader.items)
        result.update(kept, kind=None)
        if kept["schema"] != SCHEMA:
            code = "schema"
        else:
            result["kind"], result["name"] = body(reader, kept["kind"], fields)
    except (Wrong, UnicodeDecodeError) as error:
        code = "unaccounted" if known or isinstance(error, Longer) else "not-ours"
    if code:
        # Only the header stands.
        reader.certificates = []
        reader.items, reader.codes = reader.items[:known], {code} | (reader.codes & {"full-state"})
        reader.at = sum(item[1] for item in reader.items)
        rest = ("unaccounted", "unaccounted")
    reader.data = data
    reader.take(len(data) - reader.at, *rest)
    return {**result, "certificates": reader.certificates, "items": reader.items, "codes": reader.codes}


# --- the vault ----------------------------------------------------------------------------------------------------


def decode_file(path: Path, shown: str, name: str, limit: int, identities: list[Identity], fields: bool) -> dict:
    """One age file that should be under this name."""
    decoded = decode_sealed(path, shown, name, limit, identities, fields)
    if decoded["content"] is None and (name == "counters.age" or name.startswith("sessions/")):
        # By its place.
        decoded["codes"].add("forbidden")
    return decoded


def decode_sealed(path: Path, shown: str, name: str, limit: int, identities: list[Identity], fields: bool) -> dict:
    result = {"path": shown, "age": None, "opened_by": None, "content": None, "codes": set()}
    codes = result["codes"]
    if path.is_symlink() or not path.is_file():
        codes.add("not-regular")
        return result
    if path.stat().st_nlink > 1:
        codes.add("hard-link")
        return result
    if path.stat().st_size > limit:
        codes.add("too-large")
        return result
    file = path.read_bytes()
    try:
        result["age"] = age_outside(file)
    except Wrong:
        codes.add("not-age")
        return result
    if not stanzas_are_as_written(result["age"]):
        codes.add("stanza")
    for position, candidate in enumerate(identities):
        try:
            data = pyrage.decrypt(file, [candidate.age])
        except pyrage.DecryptError:
            continue
        result["opened_by"] = position
        break
    else:
        codes.add("cannot-open")
        return result
    content = plaintext(data, identities[0].redaction_key, fields)
    codes |= content.pop("codes")
    split = max(0, len(data) - 32)
    right = hmac.compare_digest(candidate.mac(name, data[:split]), data[split:])
    content["mac"] = "right" if right else "wrong"
    if not right:
        codes.add("mac")
    if content["name"] not in (None, name):
        codes.add("name")
    content["name"] = name
    kinds = {"identity.age": "identity", "peers": "peer", "sessions": "session", "counters.age": "counters"}
    expected = kinds[name.split("/")[0]]
    if content["kind"] not in (None, "full-state", expected):
        codes.add("name")
    result["content"] = content
    return result


def decode_vault(folder: Path, identities: list[Identity], fields: bool) -> list[dict]:
    files = []
    boot, certificates = None, []

    def read(path: str, name: str, limit: int):
        files.append(decode_file(folder / path, path, name, limit, identities, fields))
        return files[-1]

    def add(path: str, name: str, limit: int, ahead: int = 0):
        decoded = read(path, name, limit)
        written = (decoded["content"] or {}).get("boot")
        if boot is not None and written is not None and written > boot + ahead:
            decoded["codes"].add("rolled-back")
        return decoded

    def is_there(name: str) -> bool:
        return (folder / name).exists() or (folder / name).is_symlink()

    def entries(place: str) -> list[str]:
        there = all((folder / part).is_dir() and not (folder / part).is_symlink() for part in (place, place.split("/")[0]))
        return sorted(p.name for p in (folder / place).iterdir()) if there else []

    if is_there("identity.age"):
        add("identity.age", "identity.age", IDENTITY_LIMIT)
        boot = (files[0]["content"] or {}).get("boot")
        certificates = (files[0]["content"] or {}).get("certificates", [])
    if is_there("counters.age"):
        add("counters.age", "counters.age", COUNTERS_LIMIT, ahead=1)
    for place in ("peers", "set-aside", "sessions"):
        for entry in entries(place):
            stem = entry.split(".")[0] + ".age"
            if not PEER_NAME.fullmatch(stem if place == "set-aside" else entry):
                continue
            if place == "sessions":
                add(f"{place}/{entry}", f"{place}/{entry}", SESSION_LIMIT)
                continue
            decoded = add(f"{place}/{entry}", f"peers/{stem}", PEER_LIMIT)
            if certificates and set((decoded["content"] or {}).get("certificates", [])) - set(certificates):
                decoded["codes"].add("no-certificate")
    # A rekey that runs or was cut off: what is in its folder is not compared with identity.age, which may be in there itself.
    for rekey in ("rekey", ".tmp-rekey"):
        if "identity.age" in entries(rekey):
            read(f"{rekey}/identity.age", "identity.age", IDENTITY_LIMIT)
        for place in (f"{rekey}/peers", f"{rekey}/old-peers"):
            for entry in filter(PEER_NAME.fullmatch, entries(place)):
                read(f"{place}/{entry}", f"peers/{entry}", PEER_LIMIT)
    for file in files:
        file["codes"] = sorted(file["codes"])
    return sorted(files, key=lambda file: file["path"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--session-fields", action="store_true")
    parser.add_argument("--report")
    parser.add_argument("dir", type=Path)
    arguments = parser.parse_args()
    try:
        files = decode_vault(arguments.dir, read_key_file(arguments.key_file), arguments.session_fields)
        report = arguments.report and json.loads(sys.stdin.read() if arguments.report == "-" else Path(arguments.report).read_text())
    except (OSError, ValueError, pyrage.IdentityError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if report:
        lines = differences(report, files)
        print(*lines or [f"they agree on {len(files)} files"], sep="\n")
        return int(bool(lines))
    json.dump({"files": files}, sys.stdout, indent=1)
    print()
    return int(any(file["codes"] for file in files))


if __name__ == "__main__":
    sys.exit(main())
