"""The files of full-state mode, the reference mode: a part of decode.py."""

from reading import PEER_NAME, Reader, Wrong

# This bit of the kind says that full-state mode wrote it.
FULL_STATE = 0x80
# Larger files stay in one piece.
FIELDS_LIMIT = 256 * 1024


def forbidden_number(reader: Reader, field: str, bits: int) -> int:
    value = reader.number(field, "forbidden", False)
    if value >> bits:
        raise Wrong(f"{field} is too large")
    return value


def forbidden_ufrag(reader: Reader, field: str) -> str:
    ufrag = reader.take(forbidden_number(reader, f"{field}.length", 64), field, "forbidden").decode()
    if not PEER_NAME.fullmatch(ufrag + ".age"):
        raise Wrong("ufrag")
    return ufrag


def optional_number(reader: Reader, field: str, bits: int) -> int | None:
    """A byte 0; or a byte 1 and a number."""
    present = reader.data[reader.at : reader.at + 1]
    if present == b"\0":
        reader.take(1, field, "forbidden")
        return None
    start = reader.at
    if present != b"\1":
        raise Wrong(field)
    reader.at += 1
    value, length = reader.peek_number()
    if value >> bits:
        raise Wrong(f"{field} is too large")
    reader.at = start
    reader.take(1 + length, field, "forbidden")
    return value


def session(reader: Reader) -> str:
    ufrag = forbidden_ufrag(reader, "ufrag")
    profile = forbidden_number(reader, "profile", 16)
    length = forbidden_number(reader, "material.length", 64)
    key, salt = {1: (16, 14), 7: (16, 12), 8: (32, 12)}.get(profile, (0, 0))
    if length == 2 * (key + salt):
        for size, name in ((key, "client key"), (key, "server key"), (salt, "client salt"), (salt, "server salt")):
            reader.take(size, name, "forbidden")
    else:
        reader.codes.add("unfit")
        reader.take(length, "material", "forbidden")
    return f"sessions/{ufrag}.age"


def counters(reader: Reader) -> str:
    fits = True
    forbidden_number(reader, "sender", 32)
    for index in range(forbidden_number(reader, "sessions.count", 64)):
        at = f"sessions[{index}]"
        forbidden_ufrag(reader, f"{at} ufrag")
        reader.take(16, f"{at} id", "forbidden")
        # No address; or one of version 4; or one of version 6.
        address = {b"\0": 1, b"\1\0": 6, b"\1\1": 18}
        first = reader.data[reader.at : reader.at + 1]
        both = reader.data[reader.at : reader.at + 2]
        if first not in address and both not in address:
            raise Wrong("local")
        reader.take(address.get(first) or address[both], f"{at} local", "forbidden")
        fits &= forbidden_number(reader, f"{at} rtcp_ceiling", 32) < 1 << 31
        streams = forbidden_number(reader, f"{at} sent.count", 64)
        fits &= streams <= 64
        for stream in range(streams):
            of = f"{at} sent[{stream}]"
            forbidden_number(reader, f"{of} ssrc", 32)
            last = optional_number(reader, f"{of} last", 64)
            ceiling = forbidden_number(reader, f"{of} ceiling", 64)
            forbidden_number(reader, f"{of} ahead", 16)
            fits &= ceiling < 1 << 48 and (last is None or last < ceiling)
        streams = forbidden_number(reader, f"{at} received.count", 64)
        fits &= streams <= 64
        for stream in range(streams):
            of = f"{at} received[{stream}]"
            forbidden_number(reader, f"{of} ssrc", 32)
            fits &= (optional_number(reader, f"{of} rtp", 64) or 0) < 1 << 48
            fits &= (optional_number(reader, f"{of} rtcp", 32) or 0) < 1 << 31
    if not fits:
        reader.codes.add("unfit")
    return "counters.age"


def full_state(reader: Reader, kind: int, fields: bool) -> tuple[str, str | None]:
    """Session keys and what goes with them: forbidden, all of it."""
    kinds = {3: ("session", session, None), 4: ("counters", counters, "counters.age")}
    name, read, belongs_to = kinds.get(kind & ~FULL_STATE, ("full-state", None, None))
    reader.codes.add("forbidden")
    if read and fields and len(reader.data) <= FIELDS_LIMIT:
        start, items, codes = reader.at, len(reader.items), set(reader.codes)
        try:
            belongs_to = read(reader)
            if reader.at != len(reader.data):
                raise Wrong("more than expected")
        except (Wrong, UnicodeDecodeError):
            reader.at, reader.codes = start, codes | {"unfit"}
            del reader.items[items:]
    reader.take(len(reader.data) - reader.at, "session state", "forbidden")
    return name, belongs_to
