"""Where a report of `rekindle audit --json` and the decoder do not say the same of the same vault."""

# What is said of a file's content, which both can judge. The auditor alone judges owners, modes, strays and what lies where for how long.
CODES = {
    "cannot-open",
    "certificate",
    "forbidden",
    "full-state",
    "hard-link",
    "mac",
    "name",
    "no-certificate",
    "not-age",
    "not-ours",
    "not-regular",
    "rolled-back",
    "schema",
    "stanza",
    "too-large",
    "unaccounted",
    "unfit",
}
# Files with a name of ours, where such a file belongs.
PLACES = {"identity", "peer", "set-aside", "session", "counters", "rekey"}


def as_decoded(report: dict, file: dict) -> dict:
    """A file of the report in the decoder's words."""
    content = file["content"]
    opened_by = content and content["opened_by"]
    codes = {finding["code"] for finding in report["findings"] if finding["file"] == file["path"]}
    items = ("offset", "length", "field", "class", "value")
    return {
        "path": file["path"],
        "age": file["age"],
        "opened_by": opened_by and opened_by["position"],
        "content": content and {
            **{name: value for name, value in content.items() if name not in ("opened_by", "items")},
            "items": [[item[name] for name in items] for item in content["items"]],
        },
        "codes": sorted(codes & CODES),
    }


def differences(report: dict, decoded: list[dict]) -> list[str]:
    """One line for each; none where the two agree."""
    theirs = {file["path"]: as_decoded(report, file) for file in report["files"] if file["place"] in PLACES}
    ours = {file["path"]: file for file in decoded}
    return list(compare("", theirs, ours))


def compare(at: str, theirs, ours):
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted(theirs.keys() | ours.keys()):
            inside = f"{at}/{name}"
            if name not in ours:
                yield f"{inside}: in the report only"
            elif name not in theirs:
                yield f"{inside}: decoded only"
            else:
                yield from compare(inside, theirs[name], ours[name])
    elif isinstance(theirs, list | tuple) and isinstance(ours, list | tuple) and len(theirs) == len(ours):
        for index, pair in enumerate(zip(theirs, ours)):
            yield from compare(f"{at}[{index}]", *pair)
    elif theirs != ours:
        yield f"{at}: the report says {theirs!r}, decoded is {ours!r}"
