"""Attacks on who may do what: forged and repeated credentials, and other people's things."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from contextlib import suppress
from itertools import cycle
from typing import TYPE_CHECKING, Any

from tests.attacks.attack import attack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.attacks.target import Target

PUBLIC_KEY = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"


def encoded(part: object) -> str:
    """A part of a token."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: dict[str, object], claims: object, key: bytes) -> str:
    """A token with any header, signed with HMAC."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"


def forgeries(target: Target) -> Iterator[str]:
    """Tokens that say their bearer is somebody who may do everything."""
    good = target.token()
    header, claims, signature = good.split(".")
    wanted: dict[str, Any] = {
        "sub": "root",
        "aud": target.facts.audience,
        "exp": int(time.time()) + 600,
        "channels": {"*": ["subscribe", "publish", "history"]},
    }
    jwk = {"kty": "oct", "k": encoded(b"mine")}
    for name in ("none", "None", "NONE", "nOnE", ""):
        yield f"{encoded({'alg': name})}.{encoded(wanted)}."
        yield f"{encoded({'alg': name})}.{encoded(wanted)}.{signature}"
    yield f"{header}.{encoded(wanted)}.{signature}"
    yield f"{header}.{encoded(wanted)}."
    yield f"{header}.{claims}."
    yield f"{header}.{claims}.{signature[:-2]}"
    yield f"{header}.{claims}.{signature}="
    yield f"{header}.{claims}.{signature}.{signature}"
    yield signed({"alg": "HS256"}, wanted, b"")
    yield signed({"alg": "HS256"}, wanted, b"secret")
    yield signed({"alg": "HS256", "jwk": jwk}, wanted, b"mine")
    yield signed({"alg": "RS256"}, wanted, PUBLIC_KEY)
    yield signed({"alg": "HS256"}, wanted, PUBLIC_KEY)
    yield signed({"alg": "HS256", "kid": "../../../../dev/null"}, wanted, b"")
    yield signed({"alg": "HS256", "kid": "x' UNION SELECT 'a"}, wanted, b"a")
    yield signed({"alg": "HS256", "jku": "http://127.0.0.1:1/keys"}, wanted, b"mine")
    yield signed({"alg": "HS256", "x5u": "http://127.0.0.1:1/cert"}, wanted, b"mine")
    yield signed({"alg": "HS256", "crit": ["exp"]}, wanted, b"mine")
    yield signed({"alg": "HS256", "typ": "JWT" * 10_000}, wanted, b"mine")
    yield ".." + signature
    yield "a" * 5_000


@attack(
    "401 each; a key of its own, a key's name and an address in a token are no use",
    counts=("credentials",),
)
def forged_tokens(target: Target) -> str:
    """A stream of forged tokens: alg none, confusion, jwk, jku, kid, cut and changed signatures."""
    tokens = list(forgeries(target))
    count = 0
    for text in cycle(tokens):
        answer = target.get("/poll?channels=live:news", {"Authorization": f"Bearer {text}"})
        # One may be longer than a head may be.
        if answer.status != 503:
            assert answer.status in (401, 431), (text, answer)
            count += 1
        if count >= 4 * len(tokens):
            break
    return f"{count} × 401"


@attack("401: too old, too early, for another service, without an end", counts=("credentials",))
def unfit_tokens(target: Target) -> str:
    """Tokens that the operator's application did sign, for another time or another service."""
    now = int(time.time())
    unfit: list[dict[str, Any]] = [
        {"exp": now - 1},
        {"exp": None},
        {"exp": "never"},
        {"exp": 1e300},
        {"nbf": now + 60},
        {"iat": now + 3600},
        {"aud": "other.example.com"},
        {"aud": None},
        {"aud": [["realtime.example.com"]]},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\r\nb"},
        {"channels": {"mallory:*": ["everything"]}},
        {"channels": ["*"]},
        {"limits": {"messages": -1}},
    ]
    for claims in unfit * 3:
        token = target.bearer("mallory", **claims)
        answer = target.get("/poll?channels=mallory:a", token)
        assert answer.status == 401, (claims, answer)
    return f"{3 * len(unfit)} × 401"


@attack("closed with 4401, or the held poll answered 401, when the token's time is over")
def outstayed_tokens(target: Target) -> str:
    """Streams and a held poll that stay longer than the token which opened them."""
    lasts = 5  # not less: it must not be over before all three are there
    began = time.monotonic()
    socket = target.websocket(headers=target.bearer(lasts=lasts))
    events = target.stream("/sse?channels=mallory:a", target.bearer(lasts=lasts))
    poll = target.connect()
    poll.request("GET", "/longpoll?channels=mallory:a&wait=60", target.bearer(lasts=lasts))
    assert socket.read_close().close_code == 4401
    assert b"4401" in events.read_to_end()
    assert poll.response().status == 401
    seconds = time.monotonic() - began
    assert seconds < lasts + 10, seconds
    return f"all three ended after {seconds:.1f} s"


@attack(
    "closed with 4401 within a second, and let in no more with that token", counts=("credentials",)
)
def revoked_users(target: Target) -> str:
    """10 streams of a user that the operator has thrown out, who comes back with the old token."""
    user = target.unique("revoked")
    headers = target.bearer(user)
    lines = [target.websocket(headers=headers) for _ in range(10)]
    began = time.monotonic()
    assert target.post("/revoke", {"user": user}, target.back_end).status == 204
    for line in lines:
        assert line.read_close().close_code == 4401
    seconds = time.monotonic() - began
    assert seconds < 10, seconds
    for _ in range(10):
        assert target.get("/poll?channels=mallory:a", headers).status == 401
    return f"10 streams ended after {seconds:.2f} s"


@attack("401: a ticket is good once, for seconds, from one origin", counts=("credentials",))
def replayed_tickets(target: Target) -> str:
    """A captured handshake is repeated, at the same moment and later, and from another page."""
    page = {"Origin": target.facts.origin}
    for _ in range(5):
        answer = target.post("/tickets", {}, target.bearer() | page)
        assert answer.status == 200, answer
        ticket = answer.json()["ticket"]
        target.secrets.append(ticket)
        lines = target.connections(10)
        for line in lines:
            line.request("GET", f"/poll?channels=mallory:a&ticket={ticket}", page)
        found = Counter(line.response().status for line in lines)
        assert found == {200: 1, 401: 9}, found
        ticket = target.post("/tickets", {}, target.bearer() | page).json()["ticket"]
        target.secrets.append(ticket)
        evil = target.get(f"/poll?channels=mallory:a&ticket={ticket}")
        assert evil.status == 401, evil
        honest = target.get(f"/poll?channels=mallory:a&ticket={ticket}", page)
        assert honest.status == 401, "it was shown from another place before"
    return "5 × 1 of 10, 10 × 401"


@attack(
    "401; all keys cost the same to refuse, and none is compared byte by byte",
    counts=("credentials",),
)
def guessed_keys(target: Target) -> str:
    """Keys and tickets are guessed, as fast as connections allow."""
    count = 0
    line = target.connect()
    for number in target.flood():
        guess = hashlib.sha256(str(number).encode()).hexdigest()
        headers = [{"X-API-Key": guess}, {"Authorization": f"Bearer {guess}"}, {}][number % 3]
        query = "" if headers else f"&ticket={guess}"
        answer = line.get(f"/poll?channels=secret:plans{query}", headers)
        assert answer.status == 401, answer
        count += 1
    return f"{count} × 401"


@attack("shown nowhere: not in a log, not in an error, and gone from what is handled")
def secrets_in_addresses(target: Target) -> str:
    """Tokens, keys and tickets in addresses, of requests that work and of some that fail."""
    for _ in range(20):
        token = target.token()
        for path in (
            f"/poll?channels=mallory:a&token={token}",
            f"/nothing?token={token}",
            f"/poll?token={token}&channels=%ff",
            f"/poll?channels=secret:plans&token={token}",
            f"/poll?channels=mallory:a&api_key={token}",
            f"/poll?channels=mallory:a&ticket={token}",
        ):
            answer = target.get(path)
            assert token.encode() not in answer.body, answer
            assert answer.status in (200, 400, 401, 403, 404, 429, 503), answer
    return "120 addresses"


@attack("what is remembered of strangers is bounded, and thrown away first")
def endless_variety(target: Target) -> str:
    """10,000 different origins, hosts, tokens, keys, pollers and queries: caches that only grow."""
    count = 0
    long = "x" * 4_000
    for number in target.flood(2):
        variety = [
            {"Origin": f"https://{number}.{long}.example"},
            {"Host": f"{number}.example"},
            {"Authorization": f"Bearer {number}{long}"},
            {"X-API-Key": f"{number}{long}"},
            {"User-Agent": f"{number}{long}", "X-Forwarded-For": f"10.0.{number % 250}.1"},
            {"Last-Event-ID": f"{number}{long}"},
        ]
        line = target.connect()
        with suppress(ConnectionError):  # those that come too fast are cut off
            for headers in variety:
                line.request("GET", f"/poll?channels=mallory:{number}&device={number}", headers)
            for _ in variety:
                answer = line.response()
                assert 400 <= answer.status < 500 or answer.status == 503, answer
                count += 1
        line.socket.close()
    return f"{count} varieties"
