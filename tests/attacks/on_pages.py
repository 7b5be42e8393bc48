"""Attacks by way of a user's browser: from pages of others, and by what a page may be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.raw_http import RawConnection
from tests.attacks.attack import attack

if TYPE_CHECKING:
    from tests.attacks.target import Target


@attack("403 before any 101; the port, the scheme and the ends of a name count", counts=("origin",))
def cross_site_sockets(target: Target) -> str:
    """CSWSH: pages of other origins open WebSockets, with the user's cookie and with a token."""
    cookie = f"{target.facts.cookie}={target.token()}"
    origins = [
        "https://evil.example",
        "null",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://evilapp.example.com",
        "https://app.example.com@evil.example",
        "https://APP.example.com.",
        "https://realtime.example.com",
        "http://localhost",
        "file://",
        "",
    ]
    for origin in origins:
        for shown in ({"Cookie": cookie}, target.bearer()):
            answer = target.connect().handshake(
                "/ws?channels=mallory:a", {"Origin": origin, **shown}
            )
            assert answer.status == 403, (origin, answer)
            assert "access-control-allow-origin" not in answer.headers, answer
    answer = target.connect().handshake("/ws?channels=mallory:a", {"Cookie": cookie})
    assert answer.status == 401, "a cookie alone is not enough"
    return f"{2 * len(origins)} × 403"


@attack(
    "403 by its origin, 401 without one: a cookie counts for pages of ours only",
    counts=("origin", "credentials"),
)
def cross_site_posts(target: Target) -> str:
    """CSRF: forms of other sites publish, acknowledge and ask for tickets with a user's cookie."""
    channel = "mallory:" + target.unique("forged")
    cookie = {"Cookie": f"{target.facts.cookie}={target.token()}"}
    form = {"Content-Type": "text/plain"}
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    body = {"channel": channel, "data": "forged"}
    paths = ["/publish", "/ack?eventId=a-1&consumer=x", "/tickets", "/refresh?session=a"]
    for path in paths:
        assert target.post(path, body, cookie | form | foreign).status == 403, path
        assert target.post(path, body, cookie | form | {"Origin": "null"}).status == 403, path
        assert target.post(path, body, cookie | form).status == 401, path
        plain = {"Sec-Fetch-Site": "cross-site"}
        assert target.post(path, body, cookie | form | plain).status == 401, path
    for path in ("/publish", "/poll?channels=mallory:a"):
        line = target.connect()
        line.request("OPTIONS", path, foreign | {"Access-Control-Request-Method": "POST"})
        answer = line.response()
        assert answer.status == 403, answer
        assert "access-control-allow-origin" not in answer.headers, answer
    answer = target.get(f"/history?channel={channel}", target.bearer())
    assert answer.json()["messages"] == []
    return f"{4 * len(paths) + 2} refusals"


@attack("403 for another `Host`, and for a URL of another host", counts=("host",))
def foreign_hosts(target: Target) -> str:
    """DNS rebinding, and use as a proxy: hosts that are not the server's own."""
    hosts = ["evil.example", "127.0.0.1", "localhost", f"{target.facts.authority}.evil.example"]
    for host in hosts * 5:
        with target.connect() as line:
            line.request("GET", "/poll?channels=live:news", target.bearer() | {"Host": host})
            assert line.response().status == 403, host
    for absolute in ("http://evil.example/healthz", "http://169.254.169.254/latest/meta-data"):
        with target.connect() as line:
            assert line.get(absolute).status in (403, 404), absolute
    return f"{5 * len(hosts) + 2} × 403"


BREAKS = ["%0d%0a", "%0a", "%0d", "%e5%98%8d%e5%98%8a", "%00"]


PLACES = [
    "/poll?channels=mallory:a{}",
    "/poll?channels=mallory:a&cursor={}",
    "/sse?channels=mallory:a&since={}",
    "/sse?channels=mallory:a&device={}",
    "/longpoll?channels=mallory:a&session={}",
    "/history?channel=mallory:{}",
    "/receipts?channel=mallory:a&eventId={}",
    "/{}",
    "//evil.example/{}",
]


@attack("refused, or taken as it is: no field and no line appears in any head")
def header_injection(target: Target) -> str:
    """Ends of lines in whatever may come back in a head: names, cursors, ids, paths, origins."""
    headers = target.bearer()
    count = 0
    for place in PLACES:
        for line_end in BREAKS:
            evil = f"a{line_end}Injected:%20yes{line_end}{line_end}<script>"
            line = target.connect()
            line.request("GET", place.format(evil), headers)
            head = line.read_until(b"\r\n\r\n")
            assert b"injected" not in head.lower(), head
            assert b"\n" not in head.replace(b"\r\n", b""), head
            line.socket.close()
            count += 1
    return f"{count} requests"


@attack("JSON with `nosniff` and a closed set of words: never HTML")
def echoed_markup(target: Target) -> str:
    """Markup in everything that an error may repeat, as a browser would be made to ask for it."""
    markup = "<script>alert(1)</script>"
    quoted = "%3Cscript%3Ealert(1)%3C/script%3E"
    headers = target.bearer()
    answers = [
        target.get(f"/poll?channels={quoted}", headers),
        target.get(f"/poll?channels=mallory:a&since={quoted}", headers),
        target.get(f"/poll?channels=mallory:a&cursor={quoted}", headers),
        target.get(f"/{quoted}", headers),
        target.get("/poll?channels=live:news", headers | {"Origin": markup}),
        target.get("/healthz", {"Host": markup}),
        target.post("/publish", {"channel": markup, "data": 1}, headers),
        target.post("/publish", {"channel": "mallory:a", "data": 1, markup: 1}, headers),
    ]
    for answer in answers:
        assert 400 <= answer.status < 500, answer
        assert answer.headers["content-type"] == "application/problem+json", answer
        assert answer.headers["x-content-type-options"] == "nosniff", answer
    return f"{len(answers)} problems in JSON"


@attack("the parameter means nothing: `application/json` and `nosniff`")
def jsonp(target: Target) -> str:
    """A page of another origin tries to read answers as a script, by `callback` and `jsonp`."""
    headers = target.bearer()
    for name in ("callback", "jsonp", "cb"):
        answer = target.get(f"/poll?channels=live:news&{name}=steal", headers)
        assert answer.status == 200, answer
        assert answer.headers["content-type"] == "application/json", answer
        assert answer.headers["x-content-type-options"] == "nosniff", answer
        assert answer.body.startswith(b"{"), answer
        headers = target.bearer()  # another user: this one has polled
    return "3 answers in JSON"


@attack("no answer is compressed: its length tells nothing of what stands beside the guess")
def compressed_answers(target: Target) -> str:
    """BREACH: answers that hold both a secret and what the attacker guesses, by their length."""
    accept = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    paths = ["/poll?channels=live:news&since=-10", "/history?channel=live:news&limit=10"]
    for path in paths:
        answer = target.get(path, target.bearer() | accept)
        assert answer.status == 200, answer
        assert "content-encoding" not in answer.headers, answer
    answer = target.get("/metrics", target.back_end | accept)
    assert "content-encoding" not in answer.headers, answer
    line: RawConnection = target.connect()
    line.request("GET", "/sse?channels=live:news", target.bearer() | accept)
    assert "content-encoding" not in line.head()[1]
    return "4 answers as they are"
