"""Messages of every kind that a publisher may send, as the JSON text that is sent."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.acceptance.raw_http import RawConnection

HOSTILE = ["\r", "\n", "\r\n", "\n\n", "\0", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c",
           "\x7f", "\ufeff", "\U0001f30a", "\U0010ffff", "\uffff", "é", "data: x", "id: x",
           "event: x", "retry: 1", ":", " ", "}\n\ndata:", "\\", '"', "</script>"]  # fmt: skip

texts = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=6), max_size=8).map("".join)
names = (
    st.sampled_from(
        ["message", "error", "open", "close", "data", " padded ", "a:b", ":", "\ufeffx"]
    )
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128)
).filter(lambda name: not name.startswith("tidewire."))

# JSON says more than Python's own encoder would.
numbers = st.sampled_from(
    ["0", "-0", "-0.0", "1E+2", "1e-7", "0.10", "1e308", "9007199254740993", "1" + "0" * 400]
)
oddities = st.sampled_from(
    [
        r'"\u0000"',
        r'"\ud83c\udf0a \/ \u2028 \u000d\u000A"',
        '{"a":1,"a":2,"":null}',
        '[ 1 ,\t2\r\n,\n3\r]',
        '{"__proto__":{},"type":"close","id":"x"}',
    ]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
encoded = st.builds(
    lambda value, escaped, indent: json.dumps(value, ensure_ascii=escaped, indent=indent),
    values,
    st.booleans(),
    st.sampled_from([None, 2, "\r\n\t"]),
)


class Publication(NamedTuple):
    """One message; ``data`` is JSON text."""

    data: str
    event: str | None = None
    headers: dict[str, str] | None = None
    binary: bool = False

    @property
    def more(self) -> dict[str, Any]:
        """Its members beside the data."""
        members: dict[str, Any] = {}
        if self.event is not None:
            members["event"] = self.event
        if self.headers:
            members["headers"] = self.headers
        if self.binary:
            members["encoding"] = "base64"
        return members

    def command(self, channel: str) -> bytes:
        """What publishes it."""
        rest = json.dumps({"channel": channel, **self.more})
        return f'{{"data":{self.data},{rest[1:]}'.encode()


binaries = st.binary(max_size=300).map(lambda data: f'"{base64.b64encode(data).decode()}"')
headers = st.none() | st.dictionaries(texts, texts, max_size=3)
publications = st.builds(
    Publication, encoded | numbers | oddities, st.none() | names, headers, st.just(False)
) | st.builds(Publication, binaries, st.none() | names, headers, st.just(True))


def publish(
    connection: RawConnection, channel: str, batch: Iterable[Publication]
) -> list[dict[str, Any]]:
    """Publish them in one request; returns the results."""
    commands = b",".join(publication.command(channel) for publication in batch)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/publish", headers, b'{"messages":[%b]}' % commands)
    answer = connection.response()
    assert answer.status == 200, answer
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def _number(digits: str) -> tuple[str, str]:
    return "number", digits


exactly = json.JSONDecoder(
    parse_int=_number, parse_float=_number, object_pairs_hook=lambda members: ("object", members)
).decode
"""Decode JSON so that only what was written equally is equal, but for the space between tokens and
the escapes in strings: numbers have their digits, objects the order of their members.
"""
