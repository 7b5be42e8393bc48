"""Attacks by who is let in, on what belongs to others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.attacks.attack import attack

if TYPE_CHECKING:
    from tests.attacks.target import Target


@attack(
    "403 alike, whether the channel exists or not; stars do not reach behind a `#`",
    counts=("rights",),
)
def others_channels(target: Target) -> str:
    """A user reads and writes what is others': histories, private channels, receipts, tickets."""
    target.publish("secret:plans", "attack at dawn")
    target.publish("mallory:#victim", "private")
    headers = target.bearer()
    found = set()
    for channel in ("secret:plans", "secret:nothing-there"):
        for path in (
            "/poll?since=start&channels={}",
            "/longpoll?since=start&channels={}",
            "/sse?since=start&channels={}",
            "/poll?since=start&channels=mallory:a,{}",
            "/history?channel={}",
            "/receipts?channel={}&eventId=a-1",
        ):
            answer = target.get(path.format(channel), headers)
            assert answer.status == 403, (path, answer)
            assert b"dawn" not in answer.body
            problem = {"path": path, **answer.problem}
            del problem["instance"]  # by which the operator finds what the client is not told
            found.add(json.dumps(problem).replace(channel, ""))
        assert target.post("/publish", {"channel": channel, "data": 1}, headers).status == 403
    assert len(found) == 6, found
    quoted = "mallory:%23victim"
    for path in (f"/history?channel={quoted}", f"/poll?since=start&channels={quoted}"):
        assert target.get(path, headers).status == 403, path
    for path, body in (("/tickets", {"user": "victim"}), ("/revoke", {"user": "victim"})):
        assert target.post(path, body, headers).status == 403, path
    for path in ("/metrics", "/history", "/channels"):
        line = target.connect()
        line.request(
            "GET" if path == "/metrics" else "DELETE", f"{path}?channel=live:news", headers
        )
        assert line.response().status == 403, path
    return "19 × 403"


@attack(
    "403 before any tag is looked at; no cache may keep an answer for somebody else",
    counts=("rights",),
)
def others_tags(target: Target) -> str:
    """Tags, cursors and ready answers of a user's polls are shown by another, and by nobody."""
    channel = "secret:" + target.unique("tags")
    target.publish(channel, "hidden")
    path = f"/poll?channels={channel}&since=start"
    readable = {channel: ["subscribe"]}
    reader = target.bearer(channels=readable)
    mine = target.get(path, reader)
    assert mine.status == 200, mine
    assert b"hidden" in mine.body, mine
    control = mine.headers["cache-control"]
    assert "private" in control or "no-store" in control, control
    assert "public" not in control, control
    vary = mine.headers["vary"].lower()
    assert "authorization" in vary, vary
    assert "cookie" in vary, vary
    assert "origin" in vary, vary
    tag = {"If-None-Match": mine.headers["etag"]}
    # One user could not poll so often.
    assert target.get(path, target.bearer() | tag).status == 403
    assert target.get(path, target.bearer()).status == 403
    assert target.get(path, tag).status == 401
    assert target.get(path).status == 401
    cursor = mine.json()["cursor"]
    assert target.get(f"/poll?channels={channel}&cursor={cursor}", target.bearer()).status == 403
    since = {"If-Modified-Since": mine.headers["last-modified"]}
    assert target.get(path, target.bearer() | since).status == 403
    spoofed = {"X-Forwarded-Host": "evil.example", "X-Original-URL": "/healthz"}
    for who in (target.bearer(channels=readable), target.bearer()):
        answer = target.get(path, who | spoofed)
        assert b"evil" not in answer.body, answer
        assert not any("evil" in value for value in answer.headers.values()), answer
    return "6 refusals"


@attack("refused as if it did not exist, or taken up with the rights of who asks alone")
def others_sessions(target: Target) -> str:
    """A stranger takes up another user's session, its channels and its durable consumer."""
    channel = "secret:" + target.unique("session")
    owner = target.bearer(channels={channel: ["subscribe", "history", "ack"]})
    line = target.connect()
    line.open(f"/ws?channels={channel}&consumer=inbox", owner)
    session = line.read_envelope()["session"]
    target.publish(channel, "hidden")
    assert line.read_envelope()["data"] == "hidden"
    stranger = target.bearer()
    for path in (
        f"/poll?session={session}",
        f"/sse?session={session}",
        f"/longpoll?session={session}",
    ):
        answer = target.get(path, stranger)
        assert answer.status in (401, 403, 404), answer
        assert b"hidden" not in answer.body, answer
    answer = target.post(f"/refresh?session={session}", {}, stranger)
    assert answer.status == 404, answer
    ack = target.post("/ack?eventId=x-1&consumer=inbox", {}, stranger)
    assert ack.status in (400, 403, 404), ack
    target.publish(channel, "still there")
    assert line.read_envelope()["data"] == "still there", "the owner was put out"
    return "5 refusals; the owner noticed nothing"


@attack("each is decided in time linear in its length")
def pattern_bombs(target: Target) -> str:
    """ReDoS: a token with patterns of 250 stars, and names that nearly match them."""
    patterns = {"mallory:" + "a*" * 120 + "b": ["subscribe"], "*" * 250: ["history"]}
    headers = target.bearer(channels=patterns)
    name = "mallory:" + "a" * 240
    line = target.connect()
    count = 0
    for number in target.flood(1):
        answer = line.get(f"/history?channel={name[: -1 - number % 100]}c%23{number}", headers)
        assert answer.status == 403, answer
        count += 1
    return f"{count} names"
