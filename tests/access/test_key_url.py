"""The keys at an issuer's address: a real server that rotates, fails, is slow, and floods."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.access.issuer import ec_signer, hmac_signer, jwks, rsa_signer
from tests.access.key_server import KeyServer, key_server
from tidewire.access.key_source import Elsewhere
from tidewire.access.key_url import KeyUrl
from tidewire.access.token_key import UnusableKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FIRST, SECOND = ec_signer("ES256", 0), ec_signer("ES256", 1)
# Nothing happens by itself within a test unless it says so.
LONG = 3600.0


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with key_server() as server:
        server.body = jwks(first=FIRST)
        yield server


@asynccontextmanager
async def keys_of(
    server: KeyServer, *, ttl: float = LONG, cool_down: float = LONG, patience: float = 30.0
) -> AsyncIterator[KeyUrl]:
    """The keys of *server*, not fetched yet."""
    keys = KeyUrl(server.url, ttl=ttl, cool_down=cool_down, timeout=patience)
    try:
        yield keys
    finally:
        await keys.close()


def known(keys: KeyUrl) -> list[str | None]:
    """The ids of the keys for ES256."""
    return [key.id for key in keys.find(None, "ES256")]


# Fetching


async def test_keys_are_there_after_a_fetch(server: KeyServer) -> None:
    async with keys_of(server) as keys:
        assert (known(keys), keys.version()) == ([], 0)
        assert keys.elsewhere("first", "ES256") is Elsewhere.TO_FETCH
        await keys.fetch()
        assert (known(keys), keys.version()) == (["first"], 1)
        assert keys.elsewhere("first", "ES256") is Elsewhere.NOWHERE
        [key] = keys.find("first", "ES256")
        assert key.verifies("ES256", b"x", FIRST.sign(b"x"))


async def test_what_is_asked_for(server: KeyServer) -> None:
    async with keys_of(server) as keys:
        await keys.fetch()
    lines = server.requests[0].lower().split("\r\n")
    assert lines[0] == "get /keys http/1.1"
    assert "accept-encoding: identity" in lines
    assert not any(line.startswith(("cookie:", "authorization:")) for line in lines)


async def test_all_who_wait_share_one_fetch(server: KeyServer) -> None:
    async with keys_of(server) as keys:
        server.hold()
        waiting = [asyncio.create_task(keys.fetch()) for _ in range(50)]
        await server.asked(1)
        assert keys.elsewhere("any", "ES256") is Elsewhere.TO_FETCH  # to wait with the others
        server.release()
        await asyncio.gather(*waiting)
        assert len(server.requests) == 1


async def test_who_goes_away_takes_the_keys_from_nobody(server: KeyServer) -> None:
    async with keys_of(server) as keys:
        server.hold()
        gone, stays = asyncio.create_task(keys.fetch()), asyncio.create_task(keys.fetch())
        await server.asked(1)
        gone.cancel()
        server.release()
        await stays
        assert known(keys) == ["first"]
        assert gone.cancelled()


async def test_an_unknown_kid_is_fetched_once_in_a_while(server: KeyServer) -> None:
    async with keys_of(server) as keys:
        await keys.fetch()
        for number in range(1000):
            assert keys.elsewhere(f"invented-{number}", "ES256") is Elsewhere.NOWHERE
        assert len(server.requests) == 1
    async with keys_of(server, cool_down=0) as keys:
        await keys.fetch()
        server.body = jwks(first=FIRST, second=SECOND)
        assert keys.elsewhere("second", "ES256") is Elsewhere.TO_FETCH
        await keys.fetch()
        assert keys.elsewhere("second", "ES256") is Elsewhere.NOWHERE
        assert known(keys) == ["first", "second"]


async def test_nothing_is_fetched_for_what_cannot_be_there(server: KeyServer) -> None:
    async with keys_of(server, cool_down=0) as keys:
        for algorithm in ("HS256", "none", "", "x"):
            assert keys.elsewhere("first", algorithm) is Elsewhere.NOWHERE


# Rotation


async def test_keys_are_fetched_again_when_they_are_old(server: KeyServer) -> None:
    async with keys_of(server, ttl=0.01) as keys:
        await keys.fetch()
        server.body = jwks(second=SECOND)
        asked = len(server.requests)
        # The one that may be under way could have the old keys yet; after the next it has not.
        await server.asked(asked + 3)
        assert known(keys) == ["second"]
        assert keys.version() == 2


async def test_the_same_keys_are_no_change(server: KeyServer) -> None:
    async with keys_of(server) as keys:
        await keys.fetch()
        await keys.fetch()
        assert len(server.requests) == 2
        assert keys.version() == 1


async def test_keys_that_the_issuer_takes_away_are_gone(
    server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with keys_of(server) as keys:
        await keys.fetch()
        server.body = b'{"keys":[]}'
        await keys.fetch()
        assert (known(keys), keys.version()) == ([], 2)
        assert "there is none at" in caplog.text


# Trouble


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": 500}, "it answers with status 500"),
        ({"status": 404}, "it answers with status 404"),
        ({"status": 302, "headers": {"Location": "/keys"}}, "it answers with status 302"),
        ({"body": b"<html>"}, "it is no JWK set: not JSON"),
        ({"body": b"{}"}, 'an array "keys" is missing'),
        ({"body": b'{"keys":[' + b" " * (256 << 10) + b"]}"}, "it answers with more than 262,144"),
        ({"headers": {"Content-Length": "999"}}, "peer closed connection"),
        (
            {"body": gzip.compress(bytes(10 << 20)), "headers": {"Content-Encoding": "gzip"}},
            "it answers with a compressed body",
        ),
    ],
)
async def test_while_it_fails_the_old_keys_hold_on(
    server: KeyServer, change: dict[str, object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with keys_of(server) as keys:
        await keys.fetch()
        for name, value in change.items():
            setattr(server, name, value)
        await keys.fetch()
        assert (known(keys), keys.version()) == (["first"], 1)
        assert reason in caplog.text
        assert "the 1 that are known hold on" in caplog.text
        assert keys.elsewhere("other", "ES256") is Elsewhere.OUT_OF_REACH
        assert keys.elsewhere("first", "ES256") is Elsewhere.NOWHERE


async def test_a_slow_issuer_holds_up_nobody_for_long(
    server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with keys_of(server, patience=0.05) as keys:
        server.hold()
        await keys.fetch()
        assert "no whole answer within 0.05 s; none is known" in caplog.text
        assert keys.elsewhere("first", "ES256") is Elsewhere.OUT_OF_REACH


async def test_an_issuer_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:  # and on which nobody listens
        taken.bind(("127.0.0.1", 0))
        keys = KeyUrl(f"http://127.0.0.1:{taken.getsockname()[1]}/keys")
        await keys.fetch()
        assert "cannot be fetched" in caplog.text
        assert keys.elsewhere("first", "ES256") is Elsewhere.OUT_OF_REACH
        await keys.close()


async def test_trouble_is_told_once_and_its_end_too(
    server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tidewire.access")
    async with keys_of(server, cool_down=0) as keys:
        server.status = 500
        await keys.fetch()
        await server.asked(5)  # it goes on trying by itself
        server.status = 200
        await keys.fetch()
        await keys.fetch()  # the one that was under way may have failed yet
        assert known(keys) == ["first"]
    told = [record.getMessage() for record in caplog.records if record.name == "tidewire.access"]
    begin, end = told
    assert begin.endswith(f"from {server.url}: it answers with status 500; none is known")
    assert end == f"keys of users' tokens can be fetched again from {server.url}"


async def test_members_that_cannot_be_used_are_told(
    server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.body = jwks(secret=hmac_signer(), first=FIRST, short=rsa_signer(bits=1024))
    async with keys_of(server) as keys:
        await keys.fetch()
        assert known(keys) == ["first"]
        assert keys.find(None, "HS256") == []
        assert "key 1: it is an HMAC secret, and everybody can read it here" in caplog.text
        assert "key 3: 1024 bits are no size for an RSA key" in caplog.text


async def test_closed_it_fetches_nothing(server: KeyServer) -> None:
    keys = KeyUrl(server.url)
    server.hold()
    waiting = asyncio.create_task(keys.fetch())
    await server.asked(1)
    await keys.close()
    await waiting
    await keys.fetch()
    assert len(server.requests) == 1
    assert keys.elsewhere("first", "ES256") is Elsewhere.OUT_OF_REACH


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://192.0.2.1/keys",
        "http://127.0.0.1.evil.example/keys",
        "ftp://127.0.0.1/keys",
        "file:///etc/keys",
        "https:///keys",
        "127.0.0.1/keys",
        "",
    ],
)
def test_keys_come_from_where_nobody_can_change_them_on_the_way(url: str) -> None:
    with pytest.raises(UnusableKey, match="keys are fetched from an https address"):
        KeyUrl(url)


async def test_what_is_secret_in_an_address_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = KeyUrl("http://me:hidden@127.0.0.1:1/keys?key=hidden")
    await keys.fetch()
    await keys.close()
    assert "http://127.0.0.1:1/keys" in caplog.text
    assert "hidden" not in caplog.text


def certificate(directory: Path) -> Path:
    """A certificate of localhost by itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    path.write_bytes(
        made.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


@pytest.mark.parametrize("trusted", [True, False])
async def test_https_needs_a_certificate_that_is_trusted(
    trusted: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with key_server(tls) as server, keys_of(server) as keys:
        server.body = jwks(first=FIRST)
        await keys.fetch()
        assert known(keys) == (["first"] if trusted else [])
        assert ("certificate verify failed" in caplog.text.lower()) is not trusted
