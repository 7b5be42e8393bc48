"""What is shown of a client's request, and what is taken out of any text."""

from __future__ import annotations

import time

import pytest

from tidewire.server.redacting import LONGEST_TARGET, Scrubber, scrub, shown_target

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/poll?channels=a,b&since=-3", "/poll?channels=a,b&since=-3"),
        (b"/healthz", "/healthz"),
        (b"/sse?token=abc&channels=a", "/sse?token=***&channels=a"),
        (b"/ws?ticket=abc", "/ws?ticket=***"),
        (
            b"/publish?api_key=abc&channel=a&key=order-17",
            "/publish?api_key=***&channel=a&key=order-17",
        ),
        (b"/ws?a=1&Access-Token=abc", "/ws?a=1&Access-Token=***"),
        (b"/ws?token", "/ws?token"),
        (b"/ws?token=", "/ws?token=***"),
        (b"/ws?tok%65n=abc", "/ws?tok%65n=***"),
        (b"/ws?a=1;token=abc", "/ws?a=1;token=***"),
        (b"/ws?a=token%3Dabc", "/ws?a=token%3D***"),
        (b"/ws%3Ftoken%3Dabc", "/ws?token=***"),
        (b"/ws?a=b?token=abc", "/ws?a=b?token=***"),
        (b"/" + JWT.encode(), "/***"),
        (b"/ws?\xff\x1b=\n", "/ws?ÿ\x1b=\n"),  # escaped where it is written
    ],
)
def test_targets(target: bytes, shown: str) -> None:
    assert shown_target(target) == shown


def test_a_target_is_not_shown_at_length() -> None:
    assert len(shown_target(b"/poll?channels=" + b"a" * 8000)) == LONGEST_TARGET


@pytest.mark.parametrize(
    "text",
    [
        "GET https://a.example/?token=abc123abc123 HTTP/1.1",
        '{"url": "/ws?api-key=abc123abc123"}',
        "Authorization: Bearer abc123abc123",
        "{b'authorization': b'Bearer abc123abc123', b'host': b'a.example'}",
        "x-api-key: abc123abc123",
        "[(b'X-API-Key', b'abc123abc123')]",
        "Cookie: session=abc123abc123; theme=dark",
        "set-cookie=abc123abc123",
        "it said bearer abc123abc123",
        "Basic abc123abc123==",
        "password=abc123abc123",
    ],
)
def test_texts(text: str) -> None:
    shown = scrub(text)
    assert "abc123" not in shown
    assert "***" in shown


def test_things_that_look_like_secrets() -> None:
    assert scrub(f"jwt {JWT}, and so on") == "jwt ***, and so on"
    assert scrub("key tw_" + "a" * 43) == "key ***"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization takes Bearer and a token or a key",
        "a ticket stands for who you are: show it",
        "the token has expired: get a new one",
        "publish chat:1: it has no grant, and allow_publish = 'token'",
        "/history?channel=token&key=17",
    ],
)
def test_what_we_say_ourselves_stays(text: str) -> None:
    assert scrub(text) == text


def test_secrets_that_are_known() -> None:
    scrubber = Scrubber(["correct horse", "", "abc"])
    assert scrubber.scrub("the key is correct horse, abc") == "the key is ***, abc"


def test_it_takes_linear_time() -> None:
    begin = time.thread_time()  # in which no halt of the machine is
    for piece in ("token", "token=", "authorization", "bearer ", "eyJ", "tw_", "api-", "'=", "."):
        scrub(piece * 20_000)
    assert time.thread_time() - begin < 2
