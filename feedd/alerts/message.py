"""What is to be told -> the JSON that a receiver gets, and the text in it.

Pure. Called by `service` and by the command that tries the ways. The form is documented; `version` changes with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from msgspec import Struct

from feedd.troubles import KINDS, Known, Trouble

VERSION: Final = 1
SHOWN: Final = 5  # of each kind, in the text
LISTED: Final = 100  # in all, in the lists
_LONGEST: Final = 300
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Who writes articles decides on paths and topics: no receiver is to take them for links or calls for everybody, such as
# <!channel> or @all.
_HARMLESS = str.maketrans({"<": "‹", ">": "›", "@": "＠"})


class Sender(Struct, frozen=True):
    """Whose alerts these are."""

    title: str
    url: str


def encode(
    sender: Sender, told: Sequence[Trouble], resolved: Sequence[Known], *, message_id: str, now: int,
) -> bytes:
    """The message as JSON; times in RFC 3339. `message_id` is the same whenever it is tried again."""
    return _json({
        "version": VERSION, "id": message_id, "at": _time(now), "site": sender.url,
        "text": _text(sender, told, resolved),
        "troubles": [
            {"key": _plain(x.key), "kind": x.kind, "since": _time(x.since_at), "text": _plain(x.text),
             "details": [_plain(line) for line in x.details]} for x in told[:LISTED]
        ],
        "resolved": [
            {"key": _plain(x.key), "kind": x.kind, "since": _time(x.since_at), "until": _time(x.gone_at),
             "text": _plain(x.text)} for x in resolved[:LISTED]
        ],
        "more": max(len(told) - LISTED, 0) + max(len(resolved) - LISTED, 0),
    })  # fmt: skip


def encode_test(sender: Sender, *, message_id: str, now: int) -> bytes:
    """A message with nothing to tell."""
    text = f"{_plain(sender.title)}: this is a test of alerts, all is well".translate(_HARMLESS)
    return _json({
        "version": VERSION, "id": message_id, "at": _time(now), "site": sender.url, "text": text, "test": True,
        "troubles": [], "resolved": [], "more": 0,
    })  # fmt: skip


def text_of(body: bytes) -> str:
    """The text in an encoded message."""
    return str(json.loads(body)["text"])


def _text(sender: Sender, told: Sequence[Trouble], resolved: Sequence[Known]) -> str:
    counts = [f"{len(told)} new"] if told else []
    counts += [f"{len(resolved)} resolved"] if resolved else []
    lines = [f"{_plain(sender.title)}: {', '.join(counts)}"]
    for kind, troubles in _by_kind(told):
        for trouble in troubles[:SHOWN]:
            lines.append(f"• {_plain(trouble.text)}")
            lines += [f"   {_plain(line)}" for line in trouble.details]
        lines += [f"• and {len(troubles) - SHOWN} more of {kind}"] if len(troubles) > SHOWN else []
    for kind, over in _by_kind(resolved):
        lines += [f"• resolved: {_plain(each.text)}" for each in over[:SHOWN]]
        lines += [f"• resolved: {len(over) - SHOWN} more of {kind}"] if len(over) > SHOWN else []
    return "\n".join(lines).translate(_HARMLESS)


def _by_kind(items: Iterable[Any]) -> Iterable[tuple[str, list[Any]]]:
    ordered = sorted(items, key=lambda item: KINDS.index(item.kind))
    return [(kind, list(group)) for kind, group in groupby(ordered, key=lambda item: item.kind)]


def _plain(text: str) -> str:
    """On one line of no great length, without what a terminal would obey or JSON cannot hold."""
    line = _ODD.sub("\N{REPLACEMENT CHARACTER}", text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
