"""Requests that are no good HTTP/1.1, as bytes, and what each must get.

The table of what an attacker tries, whose aim is mostly that two servers in a row see different
requests in the same bytes; ``tests/server/ambiguous_requests.py`` has more of them for the parser.
"""

from __future__ import annotations

from typing import NamedTuple


class Attack(NamedTuple):
    """What is sent, and the status and the code of the problem that must come back."""

    sent: bytes
    status: int = 400
    code: str = "bad_http"


H = b"Host: localhost"
CHUNKED = b"Transfer-Encoding: chunked"
NO_CHUNKS = b"0\r\n\r\n"
BODY_LIMIT = 8 << 20  # bytes of a batch, by default

TWO_FIRST_LINES = b"GET /healthz HTTP/1.1\r\nX: GET /healthz HTTP/1.1\r\n"


def request(first: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A request with a first line and fields of any kind."""
    return first + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """A publish with a host and these fields."""
    return request(b"POST /publish HTTP/1.1", H, *fields, body=body)


def get(*fields: bytes, target: bytes = b"/healthz") -> bytes:
    """A request without a body, with a host and these fields."""
    return request(b"GET %b HTTP/1.1" % target, H, *fields)


def hosted(*hosts: bytes) -> bytes:
    """A request with these values of ``Host``."""
    return request(b"GET /healthz HTTP/1.1", *(b"Host: " + host for host in hosts))


def aimed(target: bytes, method: bytes = b"GET") -> bytes:
    """A request for a target of any form."""
    return request(b"%b %b HTTP/1.1" % (method, target), H)


def chunks(*parts: bytes) -> bytes:
    """A publish whose body has these bytes, sizes and all."""
    return post(CHUNKED, body=b"".join(parts))


LENGTHS = {
    "CL.TE": post(b"Content-Length: 13", CHUNKED, body=b"0\r\n\r\nSMUGGLED"),
    "TE.CL": post(CHUNKED, b"Content-Length: 3", body=b"8\r\nSMUGGLED\r\n0\r\n\r\n"),
    "CL.TE of no bytes": post(b"Content-Length: 0", CHUNKED, body=NO_CHUNKS),
    "two lengths, one of no bytes": post(b"Content-Length: 0", b"Content-Length: 5", body=b"12345"),
    "two lengths, one with a capital": post(b"content-length: 5", b"CONTENT-LENGTH: 5"),
    "a list of different lengths": post(b"Content-Length: 5, 0", body=b"12345"),
    "a list that ends in a comma": post(b"Content-Length: 5,", body=b"12345"),
    "no length": post(b"Content-Length: ", body=b"12345"),
    "a quoted length": post(b'Content-Length: "5"', body=b"12345"),
    "two numbers": post(b"Content-Length: 5 0", body=b"12345"),
    "a number and a letter": post(b"Content-Length: 5b", body=b"12345"),
    "an octal length": post(b"Content-Length: 0o5", body=b"12345"),
    "a length with a point": post(b"Content-Length: 5.0", body=b"12345"),
    "a length with an exponent": post(b"Content-Length: 5e0", body=b"12345"),
    "a length beyond 64 bits": post(b"Content-Length: 18446744073709551621", body=b"12345"),
    "a length of 5,000 zeros and a 5": post(b"Content-Length: %05001d" % 5, body=b"12345"),
    "a length in Arabic digits": post("Content-Length: ٥".encode(), body=b"12345"),
    "a length with a NUL": post(b"Content-Length: 5\0", body=b"12345"),
    "a folded length": post(b"Content-Length:\r\n 5", body=b"12345"),
    "a length behind a tab": post(b"X: y", b"\tContent-Length: 5", body=b"12345"),
}

CODINGS = {
    "chunkedx": post(b"Transfer-Encoding: chunkedx", body=NO_CHUNKS),
    "identity": post(b"Transfer-Encoding: identity", body=NO_CHUNKS),
    "identity, chunked": post(b"Transfer-Encoding: identity, chunked", body=NO_CHUNKS),
    "gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=NO_CHUNKS),
    "chunked, chunked": post(b"Transfer-Encoding: chunked, chunked", body=NO_CHUNKS),
    "chunked, and nothing": post(b"Transfer-Encoding: chunked,", body=NO_CHUNKS),
    "nothing, and chunked": post(b"Transfer-Encoding: , chunked", body=NO_CHUNKS),
    "chunked twice": post(CHUNKED, CHUNKED, body=NO_CHUNKS),
    "chunked, then another": post(CHUNKED, b"Transfer-Encoding: x", body=NO_CHUNKS),
    "another, then chunked": post(b"Transfer-Encoding: x", CHUNKED, body=NO_CHUNKS),
    "chunked in capitals beside a length": post(
        b"TRANSFER-ENCODING: CHUNKED", b"Content-Length: 5", body=NO_CHUNKS
    ),
    "chunked and a tab": post(CHUNKED + b"\t", body=NO_CHUNKS),
    "chunked behind a vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=NO_CHUNKS),
    "chunked behind a form feed": post(b"Transfer-Encoding: \x0cchunked", body=NO_CHUNKS),
    "chunked behind 0xA0": post(b"Transfer-Encoding: \xa0chunked", body=NO_CHUNKS),
    "chunked and a NUL": post(CHUNKED + b"\0", body=NO_CHUNKS),
    "quoted": post(b'Transfer-Encoding: "chunked"', body=NO_CHUNKS),
    "with a parameter": post(CHUNKED + b";q=1", body=NO_CHUNKS),
    "a space before the colon": post(b"Transfer-Encoding : chunked", body=NO_CHUNKS),
    "a tab before the colon": post(b"Transfer-Encoding\t: chunked", body=NO_CHUNKS),
    "a space before the name": post(b"X: y", b" Transfer-Encoding: chunked", body=NO_CHUNKS),
    "behind a bare LF": post(b"X: y\nTransfer-Encoding: chunked", body=NO_CHUNKS),
    "behind a bare CR": post(b"X: y\rTransfer-Encoding: chunked", body=NO_CHUNKS),
    "folded": post(b"Transfer-Encoding:\r\n chunked", body=NO_CHUNKS),
    "in HTTP/1.0": request(b"POST /publish HTTP/1.0", H, CHUNKED, body=NO_CHUNKS),
    "in HTTP/1.0, kept alive": request(
        b"POST /publish HTTP/1.0", H, CHUNKED, b"Connection: keep-alive", body=NO_CHUNKS
    ),
}

FIELDS = {
    "a folded field": get(b"X: y", b" z"),
    "a field folded by a tab": get(b"X: y", b"\tz"),
    "a folded first field": request(b"GET /healthz HTTP/1.1", b" " + H),
    "a space before the colon": get(b"X : y"),
    "a space in a name": get(b"X Y: z"),
    "an LF for a line's end": request(b"GET /healthz HTTP/1.1", H + b"\nX: y"),
    "an LF for the head's end": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\n",
    "an LF and a CR": b"GET /healthz HTTP/1.1\r\nHost: localhost\n\r\n\r",
    "CRs for all line ends": b"GET /healthz HTTP/1.1\rHost: localhost\r\r",
    "two CRs behind the first line": b"GET /healthz HTTP/1.1\r\r\nHost: localhost\r\n\r\n",
    "two CRs behind a field": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\r\n\r\n",
    "a CR in a name": get(b"X\rY: z"),
    "a NUL in a name": get(b"X\0: y"),
    "a control character in a name": get(b"X\x01: y"),
    "a letter beyond ASCII in a name": get("É: y".encode()),
    "a NUL in a value": get(b"X: y\0z"),
    "an escape in a value": get(b"X: y\x1b[2J"),
    "a vertical tab in a value": get(b"X: y\x0bz"),
    "a form feed in a value": get(b"X: y\x0cz"),
    "a DEL in a value": get(b"X: y\x7f"),
    "a name in brackets": get(b"[X]: y"),
    "an empty line that is not empty": request(b"GET /healthz HTTP/1.1", H, b" "),
    "two content types": get(b"Content-Type: text/plain", b"Content-Type: application/json"),
    "two credentials": get(b"Authorization: Bearer a", b"Authorization: Bearer b"),
    "two origins": get(b"Origin: http://localhost", b"Origin: https://evil.example"),
}

HOSTS = {
    "two": hosted(b"localhost", b"evil.example"),
    "two in HTTP/1.0": request(b"GET /healthz HTTP/1.0", H, H),
    "a list": hosted(b"localhost, evil.example"),
    "a list without a space": hosted(b"localhost,evil.example"),
    "two words": hosted(b"localhost evil.example"),
    "with a tab": hosted(b"localhost\tevil.example"),
    "with a path": hosted(b"localhost/poll"),
    "a URL": hosted(b"http://localhost"),
    "with a user": hosted(b"localhost@evil.example"),
    "with a query": hosted(b"localhost?evil.example"),
    "with a fragment": hosted(b"localhost#evil.example"),
    "with a backslash": hosted(b"localhost\\evil.example"),
    "in quotes": hosted(b'"localhost"'),
    "a port that is a word": hosted(b"localhost:http"),
    "a negative port": hosted(b"localhost:-1"),
    "two ports": hosted(b"localhost:80:80"),
    "an address without an end": hosted(b"[::1"),
    "an address without brackets": hosted(b"::1"),
    "beyond ASCII": hosted("löcalhost".encode()),
    "too long": hosted(b"a" * 1_000),
    "folded": hosted(b"localhost\r\n .evil.example"),
}

TARGETS = {
    "the authority": aimed(b"localhost:8480"),
    "the authority, to publish": aimed(b"localhost:8480", b"POST"),
    "an asterisk": aimed(b"*"),
    "no slash": aimed(b"healthz"),
    "a URL with a user": aimed(b"http://localhost@evil.example/healthz"),
    "a URL with a user and a local host": aimed(b"http://evil.example@localhost/healthz"),
    "a URL without a host": aimed(b"http:///healthz"),
    "a URL with a port alone": aimed(b"http://:80/healthz"),
    "a URL with a backslash": aimed(b"http://localhost\\@evil.example/healthz"),
    "a URL with two ports": aimed(b"http://localhost:80:81/healthz"),
    "a URL of another scheme": aimed(b"ftp://localhost/healthz"),
    "a URL of files": aimed(b"file:///healthz"),
    "a backslash": aimed(b"\\healthz"),
    "a tab": aimed(b"/healthz\t"),
    "a NUL": aimed(b"/healthz\0"),
    "a DEL": aimed(b"/healthz\x7f"),
    "beyond ASCII": aimed("/poll?channels=é".encode()),
    "none": request(b"GET HTTP/1.1", H),
    "a space": aimed(b"/healthz /poll"),
}

FIRST_LINES = {
    "no version (HTTP/0.9)": b"GET /healthz\r\n",
    "HTTP/0.9": request(b"GET /healthz HTTP/0.9", H),
    "HTTP/1.2": request(b"GET /healthz HTTP/1.2", H),
    "HTTP/2.0": request(b"GET /healthz HTTP/2.0", H),
    "HTTP/3.0": request(b"GET /healthz HTTP/3.0", H),
    "HTTP/1.10": request(b"GET /healthz HTTP/1.10", H),
    "HTTP/01.1": request(b"GET /healthz HTTP/01.1", H),
    "HTTP/1": request(b"GET /healthz HTTP/1", H),
    "HTTP/1.": request(b"GET /healthz HTTP/1.", H),
    "HTTP/+1.1": request(b"GET /healthz HTTP/+1.1", H),
    "http/1.1": request(b"GET /healthz http/1.1", H),
    "HTTP": request(b"GET /healthz HTTP", H),
    "a space behind the version": request(b"GET /healthz HTTP/1.1 ", H),
    "a space before the method": request(b" GET /healthz HTTP/1.1", H),
    "tabs for spaces": request(b"GET\t/healthz\tHTTP/1.1", H),
    "a method in small letters": request(b"get /healthz HTTP/1.1", H),
    "a method with a control character": request(b"GE\x01T /healthz HTTP/1.1", H),
    "no method": request(b" /healthz HTTP/1.1", H),
    "a header before it": H + b"\r\n" + get(),
    "the PROXY protocol, 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + get(),
    "the PROXY protocol, 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + get(),
    "SOCKS5": b"\x05\x01\x00",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SMTP": b"EHLO localhost\r\nMAIL FROM:<a@localhost>\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
}

CHUNKS = {
    "a minus": chunks(b"-1\r\nx\r\n", NO_CHUNKS),
    "an underscore": chunks(b"1_0\r\n0123456789abcdef\r\n", NO_CHUNKS),
    "no size": chunks(b"\r\nx\r\n", NO_CHUNKS),
    "no hexadecimal size": chunks(b"z\r\nx\r\n", NO_CHUNKS),
    "a point": chunks(b"1.0\r\nx\r\n", NO_CHUNKS),
    "a space before the size": chunks(b" 1\r\nx\r\n", NO_CHUNKS),
    "a space behind the size": chunks(b"1 \r\nx\r\n", NO_CHUNKS),
    "a tab behind the size": chunks(b"1\t\r\nx\r\n", NO_CHUNKS),
    "a NUL behind the size": chunks(b"1\0\r\nx\r\n", NO_CHUNKS),
    "64 bits and one": chunks(b"10000000000000001\r\nx\r\n", NO_CHUNKS),
    "a CR behind the size": chunks(b"1\rx\r\n", NO_CHUNKS),
    "an LF behind an extension": chunks(b"1;x\nx\r\n", NO_CHUNKS),
    "a line's end in a quoted extension": chunks(b'1;x="\r\n0\r\n\r\n"\r\nx\r\n', NO_CHUNKS),
    "more data than its size": chunks(b"1\r\nxyz\r\n", NO_CHUNKS),
    "less data than its size": chunks(b"5\r\nx\r\n", NO_CHUNKS),
    "no line's end behind the data": chunks(b"1\r\nx1\r\nx\r\n", NO_CHUNKS),
    "an LF behind the data": chunks(b"1\r\nx\n", NO_CHUNKS),
    "a CR behind the data": chunks(b"1\r\nx\r", NO_CHUNKS),
    "an LF behind the last size": chunks(b"1\r\nx\r\n0\n\r\n"),
    "an LF for the end": chunks(b"1\r\nx\r\n0\r\n\n"),
    "a trailer without a colon": chunks(b"0\r\nX\r\n\r\n"),
    "a folded trailer": chunks(b"0\r\nX: y\r\n z\r\n\r\n"),
    "a NUL in a trailer": chunks(b"0\r\nX: y\0\r\n\r\n"),
    "an LF behind a trailer": chunks(b"0\r\nX: y\n\r\n"),
    "a length as a trailer": chunks(b"0\r\nContent-Length: 100\r\n\r\n"),
    "a coding as a trailer": chunks(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
}

TOO_MUCH = {
    "a target over its limit": Attack(aimed(b"/" + b"a" * 8192), 414, "target_too_long"),
    "a field over the limit": Attack(get(b"X: " + b"y" * 20_000), 431, "head_too_large"),
    "a name over the limit": Attack(get(b"X" * 20_000 + b": y"), 431, "head_too_large"),
    "101 fields": Attack(get(*[b"X-%d: y" % n for n in range(100)]), 431, "head_too_large"),
    "101 fields of one name": Attack(get(*[b"X: y"] * 100), 431, "head_too_large"),
    "a chunk's extension of 100 kB": Attack(
        chunks(b"1;" + b"x" * 100_000 + b"\r\nx\r\n", NO_CHUNKS), 431, "head_too_large"
    ),
    "extensions of many chunks": Attack(
        chunks(*[b"1;" + b"x" * 1_000 + b"\r\nx\r\n"] * 200, NO_CHUNKS), 431, "head_too_large"
    ),
    "a size of 100,000 zeros and a 1": Attack(
        chunks(b"0" * 100_000 + b"1\r\nx\r\n", NO_CHUNKS), 431, "head_too_large"
    ),
    "a trailer over the limit": Attack(
        chunks(b"0\r\nX: " + b"y" * 20_000 + b"\r\n\r\n"), 431, "head_too_large"
    ),
    "many trailers": Attack(chunks(b"0\r\n", b"X: y\r\n" * 5_000, b"\r\n"), 431, "head_too_large"),
    "a length over the limit": Attack(
        post(b"Content-Length: %d" % (BODY_LIMIT + 1)), 413, "too_large"
    ),
    "a length of 63 bits": Attack(post(b"Content-Length: %d" % (1 << 63)), 413, "too_large"),
    "a chunk over the limit": Attack(
        chunks(b"%x\r\n" % (BODY_LIMIT + 1), b"x" * (BODY_LIMIT + 1)), 413, "too_large"
    ),
    "chunks over the limit": Attack(
        chunks(*[b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"] * 9), 413, "too_large"
    ),
    "a length over the limit where bodies are of no use": Attack(
        get(b"Content-Length: 100000"), 413, "too_large"
    ),
}


def _refused(kind: str, sent: dict[str, bytes]) -> dict[str, Attack]:
    return {f"{kind}: {name}": Attack(data) for name, data in sent.items()}


REFUSED = (
    _refused("length", LENGTHS)
    | _refused("coding", CODINGS)
    | _refused("field", FIELDS)
    | _refused("host", HOSTS)
    | _refused("target", TARGETS)
    | _refused("first line", FIRST_LINES)
    | _refused("chunk", CHUNKS)
    | {f"too much: {name}": attack for name, attack in TOO_MUCH.items()}
)
"""What must be refused, with the connection closed and nothing behind it answered."""


HANDSHAKE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def upgrade(*fields: bytes, target: bytes = b"/ws", version: bytes = b"HTTP/1.1") -> bytes:
    """A request to upgrade, with a host and these fields."""
    return request(b"GET %b %b" % (target, version), H, *fields)


class Upgrade(NamedTuple):
    """A wish for another protocol, and the status that it must get."""

    sent: bytes
    status: int


UPGRADES = {
    "to HTTP/2": Upgrade(
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        200,
    ),
    "to HTTP/2, with a body": Upgrade(
        post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 2", body=b"{}"), 400
    ),
    "to TLS": Upgrade(get(b"Connection: Upgrade", b"Upgrade: TLS/1.3"), 200),
    "to nothing that is known": Upgrade(get(b"Connection: Upgrade", b"Upgrade: x/1"), 200),
    "by CONNECT": Upgrade(aimed(b"localhost:8480", b"CONNECT"), 404),
    "by CONNECT, in chunks": Upgrade(
        request(b"CONNECT localhost:8480 HTTP/1.1", H, CHUNKED, body=NO_CHUNKS), 404
    ),
    "to WebSocket, of version 12": Upgrade(
        upgrade(*HANDSHAKE[:2], b"Sec-WebSocket-Version: 12"), 426
    ),
    "to WebSocket, without a key": Upgrade(upgrade(*HANDSHAKE[:3]), 400),
    "to WebSocket, with a short key": Upgrade(
        upgrade(*HANDSHAKE[:3], b"Sec-WebSocket-Key: AAAA"), 400
    ),
    "to WebSocket, from a foreign page": Upgrade(
        upgrade(*HANDSHAKE, b"Origin: https://evil.example"), 403
    ),
    "to WebSocket, for a foreign host": Upgrade(
        request(b"GET /ws HTTP/1.1", b"Host: evil.example", *HANDSHAKE), 403
    ),
    "to WebSocket, with a bad query": Upgrade(upgrade(*HANDSHAKE, target=b"/ws?channels=%20"), 400),
    "to WebSocket, with a body": Upgrade(upgrade(*HANDSHAKE, b"Content-Length: 5"), 400),
    "to WebSocket, in chunks": Upgrade(upgrade(*HANDSHAKE, CHUNKED), 400),
    "to WebSocket, in HTTP/1.0": Upgrade(upgrade(*HANDSHAKE, version=b"HTTP/1.0"), 426),
    "to WebSocket or HTTP/2": Upgrade(upgrade(*HANDSHAKE, b"Upgrade: h2c"), 426),
    "to WebSocket, where there is none": Upgrade(upgrade(*HANDSHAKE, target=b"/healthz"), 200),
    "to WebSocket, where nothing is": Upgrade(upgrade(*HANDSHAKE, target=b"/nothing"), 404),
    "to WebSocket, as it should be": Upgrade(upgrade(*HANDSHAKE), 101),
}
"""Behind each of them nothing is a request any more, whether the wish was granted or not."""


class Odd(NamedTuple):
    """A request that looks odd, and the status of its answer."""

    sent: bytes
    status: int


TAKEN = {
    "a body of a GET": Odd(get(b"Content-Length: 60"), 200),
    "a length with zeros before it": Odd(post(b"Content-Length: 0002", body=b"{}"), 400),
    "a length between spaces": Odd(post(b"Content-Length: \t 2 \t", body=b"{}"), 400),
    "chunked behind a tab": Odd(
        post(b"Transfer-Encoding:\tChunked", body=b"2\r\n{}\r\n0\r\n\r\n"), 400
    ),
    "a name like that of a length": Odd(
        get(b"Content_Length: 60", b"Transfer_Encoding: chunked"), 200
    ),
    "no length": Odd(post(), 400),
    "a tab in a value": Odd(get(b"X: y\tz"), 200),
    "a first line in a field": Odd(TWO_FIRST_LINES + H + b"\r\n\r\n", 200),
    "empty lines before it": Odd(b"\r\n\r\n" + get(), 200),
    "empty lines of LF alone before it": Odd(b"\n\n" + get(), 200),
    "two spaces around the target": Odd(request(b"GET  /healthz  HTTP/1.1", H), 200),
    "another protocol, which the parser takes for HTTP": Odd(
        request(b"GET /healthz RTSP/1.1", H), 200
    ),
    "a size with a zero before it": Odd(chunks(b"02\r\n{}\r\n000\r\n\r\n"), 400),
    "trailers that would be headers": Odd(
        chunks(b"2\r\n{}\r\n0\r\nHost: evil.example\r\nX-API-Key: x\r\n\r\n"),
        400,
    ),
    "a URL": Odd(aimed(b"http://localhost/healthz"), 200),
    "a URL with another Host": Odd(
        request(b"GET http://localhost/healthz HTTP/1.1", b"Host: evil.example"), 200
    ),
    "a URL of another host": Odd(aimed(b"http://evil.example/healthz"), 403),
    "a URL of another host, no path": Odd(aimed(b"http://evil.example?channels=a"), 403),
    "another host": Odd(hosted(b"evil.example"), 403),
    "an empty host": Odd(hosted(b""), 403),
    "two slashes and a host": Odd(aimed(b"//evil.example/healthz"), 404),
    "an asterisk with OPTIONS": Odd(aimed(b"*", b"OPTIONS"), 404),
    "an upgrade that Connection does not list": Odd(upgrade(*HANDSHAKE[1:]), 426),
    "an expectation without a body": Odd(get(b"Expect: 100-continue"), 200),
    "an empty expectation": Odd(get(b"Expect:"), 200),
    "two expectations": Odd(
        post(b"Expect: 100-continue, 200-ok", b"Content-Length: 2", body=b"{}"), 400
    ),
    "Connection lists the framing": Odd(
        post(b"Connection: Content-Length, keep-alive", b"Content-Length: 2", body=b"{}"), 400
    ),
}
"""What looks odd and can be read in one way only: one answer, and the next request gets its own."""
