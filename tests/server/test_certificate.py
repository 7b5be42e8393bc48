"""The server's certificate: what is wrong with its files, and new ones without a restart."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.certificates import Authority, Pair, replace
from tests.server.fake_loop import FakeLoop
from tidewire.server.certificate import LOOK_SECONDS, Certificate, CertificateError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that issues into the test's directory."""
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """A certificate and its key."""
    return authority.issue()


def why_not(certificate: Path, key: Path) -> str:
    """What is said of files that cannot be used."""
    with pytest.raises(CertificateError) as caught:
        Certificate(certificate, key)
    return str(caught.value)


# What handshakes are made with


def test_a_good_pair(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = Certificate(*pair)
    assert timedelta(days=59) < found.expires - datetime.now(UTC) < timedelta(days=61)
    assert caplog.messages == [f"certificate of localhost, 127.0.0.1, ::1, until {found.expires}"]


def test_only_what_is_safe_is_spoken(pair: Pair) -> None:
    context = Certificate(*pair).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher
        assert cipher["name"].startswith(("TLS_", "ECDHE-")), cipher  # forward secrecy


def test_one_file_may_hold_both(pair: Pair, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
    Certificate(both, both)


def test_a_key_of_rsa(authority: Authority) -> None:
    Certificate(*authority.issue(key=rsa.generate_private_key(65537, 2048)))


# What is wrong


@pytest.mark.parametrize("missing", ["tls_certificate", "tls_key"])
def test_a_file_that_is_not_there(pair: Pair, missing: str) -> None:
    path = Path(pair.settings[missing])
    path.unlink()
    said = why_not(*pair)
    assert said.startswith(f"{missing} {str(path)!r} cannot be read: No such file")
    assert "give the path of a PEM file" in said


@pytest.mark.parametrize("wrong", ["tls_certificate", "tls_key"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\0" * 1000])
def test_a_file_with_something_else(pair: Pair, wrong: str, content: bytes) -> None:
    path = Path(pair.settings[wrong])
    path.write_bytes(content)
    what = {"tls_certificate": "certificate", "tls_key": "private key"}[wrong]
    assert why_not(*pair).startswith(f"{wrong} {str(path)!r} holds no {what} in PEM")


def test_a_directory(pair: Pair, tmp_path: Path) -> None:
    assert "Is a directory" in why_not(tmp_path, pair.key)


def test_the_two_exchanged(pair: Pair) -> None:
    said = why_not(pair.key, pair.certificate)
    assert said.startswith(f"tls_certificate {str(pair.key)!r} holds no certificate")


def test_another_certificates_key(authority: Authority, pair: Pair) -> None:
    other = authority.issue("other")
    said = why_not(pair.certificate, other.key)
    assert f"tls_key {str(other.key)!r} is not the key of" in said
    assert str(pair.certificate) in said


def test_a_chain_that_begins_with_the_authority(authority: Authority, pair: Pair) -> None:
    chain = authority.file.read_bytes() + pair.certificate.read_bytes()
    pair.certificate.write_bytes(chain)
    assert "a chain that begins with the server's own" in why_not(*pair)


def test_an_encrypted_key_is_not_asked_for_at_the_terminal(authority: Authority) -> None:
    said = why_not(*authority.issue(password=b"secret"))
    assert re.search(r"tls_key '.*-key.pem' is encrypted; store it decrypted", said)
    assert "openssl pkey -in" in said


def test_a_weak_key(authority: Authority) -> None:
    said = why_not(*authority.issue(key=rsa.generate_private_key(65537, 1024)))
    assert "is too weak" in said
    assert "2048 bits" in said


@pytest.mark.parametrize(("days", "said"), [(-1, "has ended"), (13, "ends soon"), (15, None)])
def test_an_old_certificate_is_used_and_complained_of(
    authority: Authority, caplog: pytest.LogCaptureFixture, days: int, said: str | None
) -> None:
    Certificate(*authority.issue(lasts=timedelta(days=days)))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [said in warning for warning in warnings if said] == [True] * bool(said)
    assert len(warnings) == bool(said)


# New files


class Watched:
    """A certificate in use, and the time."""

    def __init__(self, pair: Pair) -> None:
        self.certificate = Certificate(*pair)
        self.loop = FakeLoop()
        self.certificate.watch(self.loop.as_loop)

    def look(self, times: int = 1) -> ssl.SSLContext:
        """Let so many looks pass; what handshakes are made with then."""
        self.loop.advance(times * LOOK_SECONDS)
        return self.certificate.context


@pytest.fixture
def watched(pair: Pair) -> Watched:
    """The pair in use."""
    return Watched(pair)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def test_files_that_stay_are_not_read_again(watched: Watched) -> None:
    before = watched.certificate.context
    assert watched.look(10) is before


def test_new_files_are_taken(authority: Authority, pair: Pair, watched: Watched) -> None:
    before = watched.certificate.context, watched.certificate.expires
    pair.replace_by(authority.issue("newer", lasts=timedelta(days=80)))
    assert watched.look(2) is not before[0]
    assert watched.certificate.expires > before[1]


def test_a_pair_that_is_half_written_is_not_read(
    authority: Authority, pair: Pair, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    before = watched.certificate.context
    newer = authority.issue("newer")
    replace(pair.certificate, newer.certificate)
    assert watched.look() is before
    replace(pair.key, newer.key)
    assert watched.look() is before
    assert watched.look() is not before
    assert errors(caplog) == []


def _gone(pair: Pair) -> None:
    pair.key.unlink()


def _broken(pair: Pair) -> None:
    pair.certificate.write_bytes(b"nonsense")


@pytest.mark.parametrize("spoil", [_gone, _broken])
def test_files_that_are_no_good_leave_the_old_ones_in_use(
    authority: Authority,
    pair: Pair,
    watched: Watched,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Pair], None],
) -> None:
    before = watched.certificate.context
    spoil(pair)
    assert watched.look(10) is before
    (said,) = errors(caplog)  # once, not at every look
    assert said.startswith("the certificate in use stays, until ")
    assert "tls_" in said
    pair.replace_by(authority.issue("newer"))
    assert watched.look(2) is not before


def test_a_signal_has_them_read_at_once(
    authority: Authority, pair: Pair, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    before = watched.certificate.context
    pair.replace_by(authority.issue("newer"))
    watched.certificate.reload()
    after = watched.certificate.context
    assert after is not before
    assert watched.look(10) is after
    _broken(pair)
    watched.certificate.reload()
    assert watched.look(10) is after
    assert len(errors(caplog)) == 1


def test_stopping(watched: Watched) -> None:
    watched.certificate.stop()
    assert watched.loop.idle()
