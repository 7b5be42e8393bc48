"""Fuzzed: what strangers say of themselves: origins, addresses, tokens; patterns, validators."""

from __future__ import annotations

import hmac
import ipaddress
import json
from base64 import urlsafe_b64encode

from tests.fuzz.dialogues import check_refusal
from tests.fuzz.pieces import numbers
from tidewire.access.addresses import Addresses, counted
from tidewire.access.key_source import KeySource
from tidewire.access.origins import Origins
from tidewire.access.patterns import is_pattern, matches
from tidewire.access.token_key import secret_key
from tidewire.access.tokens import Claims, Tokens
from tidewire.model import TidewireError
from tidewire.transports import polling

NOW = 1_800_000_000
SECRET = b"not a secret that anybody else has"
KEYS = KeySource([secret_key(SECRET)])

OWN = Origins((), (), loopback_only=False)
LISTED = Origins(
    ("https://a.example", "http://b.example:8080"), ("a.example",), loopback_only=False
)
BEHIND_PROXIES = Addresses(("10.0.0.0/8", "fd00::/8"))


def origins(data: bytes) -> None:
    """Of the origins that are listed only those pass, and no host but the one that is listed."""
    origin, _, host = data.decode("latin-1").partition("\n")
    assert OWN.allowed(origin, host) in (True, False)
    if LISTED.allowed(origin, host):
        assert origin.lower() in ("https://a.example", "http://b.example:8080")
    if LISTED.host_allowed(host):
        assert host.strip().lower().startswith("a.example")


def addresses(data: bytes) -> None:
    """Whatever the headers are, the client has an address; only proxies are believed."""
    forwarded, _, others = data.partition(b"\n")
    headers = {b"forwarded": forwarded} if forwarded else {}
    if others:
        headers[b"x-forwarded-for"] = others
    for peer, trusted in (("10.0.0.1", True), ("192.0.2.7", False), ("fd00::1", True)):
        found = BEHIND_PROXIES.client(peer, headers)
        ipaddress.ip_address(found)  # raises if it is none
        assert trusted or found == peer
        assert counted(found)


def patterns(data: bytes) -> None:
    """A pattern has the names that a slow and simple reading of it has."""
    pattern, _, name = data.decode("latin-1").partition("\n")
    if is_pattern(pattern):
        assert matches(pattern, name) == has(pattern, name)


def has(pattern: str, name: str) -> bool:
    """The same, letter by letter of the pattern: where in *name* what was read so far can end."""
    ends = {0}
    for letter in pattern:
        if letter == "*":
            ends |= {
                end
                for begin in ends
                for end in range(begin + 1, len(name) + 1)
                if "#" not in name[begin:end]
            }
        else:
            ends = {end + 1 for end in ends if name[end : end + 1] == letter}
    return len(name) in ends


def validators(data: bytes) -> None:
    """Conditions of a poll hold or do not; a date or a tag can be anything."""
    header, _, rest = data.partition(b"\n")
    since = header.decode("latin-1")
    assert polling.unmodified_since(since, NOW * 1000) in (True, False)
    cursor = polling.tagged_cursor(rest)
    tag = polling.entity_tag("epoch1", 5)
    if polling.matches(rest, tag):
        assert tag in rest or rest.strip() == b"*"
    if cursor is not None:
        assert str(cursor).encode() in rest


def tokens(data: bytes) -> None:
    """A token is refused, or says what the JSON says that was signed; nothing without the key."""
    (which,), rest = numbers(data, 1)
    if which % 2:
        assert claims_of(rest.decode("latin-1")) is None
        return
    header, _, body = rest.partition(b"\n")
    signed = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (header, body))
    signature = urlsafe_b64encode(hmac.digest(SECRET, signed, "sha256")).rstrip(b"=")
    claims = claims_of(f"{signed.decode()}.{signature.decode()}")
    if claims is not None:
        assert json.loads(header)["alg"] == "HS256"
        said = json.loads(body)
        assert claims.user == said["sub"]
        assert claims.expires == said["exp"] > NOW
        channels = said.get("channels", {})
        assert claims.channels == {name: set(rights) for name, rights in channels.items()}


def claims_of(token: str) -> Claims | None:
    """What is made of *token*; ``None`` if it is refused."""
    try:
        return Tokens(KEYS, clock=lambda: NOW).verify(token)
    except TidewireError as error:
        check_refusal(error)
    return None
