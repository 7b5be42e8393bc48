"""The server's certificate: read at the start, and again whenever its files change.

OpenSSL reads the files and has the last word. Why it refused them is found out afterwards, because
it names neither the file nor a remedy.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tidewire.access.unusable import Unusable

if TYPE_CHECKING:
    from cryptography import x509

logger = logging.getLogger("tidewire.server")

LOOK_SECONDS = 2.0
SOON = timedelta(days=14)

# TLS 1.2 with forward secrecy and authenticated encryption; TLS 1.3 has nothing else.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_Signature = tuple[tuple[int, int, int], ...] | None


class CertificateError(Unusable):
    """The certificate or its key cannot be used; the text says which file, and what to do."""


class Certificate:
    """The certificate in use: ``context`` is for the next handshake, ``expires`` when it ends.

    New files take effect by themselves once two looks, ``LOOK_SECONDS`` apart, have found them the
    same: so a pair that is half written is not read. If they are no good the old certificate stays,
    and the log says why, once. Connections keep the certificate that they began with.
    """

    context: ssl.SSLContext
    expires: datetime

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read both files.

        Raises:
            CertificateError: if they cannot be used.
        """
        self._certificate = certificate
        self._key = key
        self._seen = self._taken = self._signature()
        self._timer: asyncio.TimerHandle | None = None
        self._use()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look for new files from now on."""
        self._timer = loop.call_later(LOOK_SECONDS, partial(self._look, loop))

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def reload(self) -> None:
        """Read the files now, whether they have changed or not."""
        self._taken = self._seen = self._signature()
        try:
            self._use()
        except CertificateError as error:
            logger.error("the certificate in use stays, until %s: %s", self.expires, error)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        seen, self._seen = self._seen, self._signature()
        if self._seen == seen != self._taken:
            self.reload()
        self.watch(loop)

    def _signature(self) -> _Signature:
        """What changes with the files; ``None`` while one is not there."""
        try:
            found = [os.stat(path) for path in (self._certificate, self._key)]
        except OSError:
            return None
        return tuple((file.st_mtime_ns, file.st_size, file.st_ino) for file in found)

    def _use(self) -> None:
        context = _context_of(self._certificate, self._key)
        found = _first_of(self._certificate)
        self.context = context
        self.expires = found.not_valid_after_utc
        now = datetime.now(UTC)
        if self.expires - now < SOON:
            ends = "has ended" if self.expires < now else "ends soon"
            logger.warning("the certificate %s: %s; renew it", ends, self.expires)
        logger.info("certificate of %s, until %s", _names_of(found), self.expires)


def _context_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """What handshakes are made with.

    TLS 1.2 or newer, HTTP/1.1 only, neither compression nor renegotiation; which of the ciphers is
    the client's choice, because a phone without AES in hardware is better off with ChaCha20.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])

    def ask() -> NoReturn:  # OpenSSL would ask for it at the terminal
        raise CertificateError(
            f"tls_key {str(key)!r} is encrypted; store it decrypted, readable by the server only: "
            f"openssl pkey -in {key} -out NEW"
        )

    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise CertificateError(
                f"{name} {str(path)!r} cannot be read: {error.strerror}; give the path of a PEM "
                "file that this user may read"
            ) from error
    try:
        context.load_cert_chain(certificate, key, ask)
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(_why(error, certificate, key)) from error
    return context


def _why(error: OSError, certificate: Path, key: Path) -> str:
    """Which of the two OpenSSL did not like, and why."""
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return (
            f"tls_key {str(key)!r} is not the key of the certificate in {str(certificate)!r}; give "
            "the key that it was made for, and a chain that begins with the server's own"
        )
    try:
        _first_of(certificate)
    except CertificateError as no_certificate:
        return str(no_certificate)
    said = reason.replace("_", " ").lower()
    if "too small" in said or "too weak" in said:
        return (
            f"tls_certificate {str(certificate)!r} is too weak ({said}); make one with a key of "
            "256 bits (ECDSA) or 2048 bits (RSA) or more"
        )
    return (
        f"tls_key {str(key)!r} holds no private key in PEM ({said}); it begins with "
        "-----BEGIN PRIVATE KEY-----"
    )


def _first_of(certificate: Path) -> x509.Certificate:
    """The first certificate in the file, which is the server's own."""
    # Not at the top: who speaks no TLS does without it.
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise CertificateError(
            f"tls_certificate {str(certificate)!r} holds no certificate in PEM; give the chain "
            "that your authority sent, the server's own certificate first"
        ) from error


def _names_of(certificate: x509.Certificate) -> str:
    """The names that it is for."""
    from cryptography.x509 import (
        DNSName,
        ExtensionNotFound,
        IPAddress,
        SubjectAlternativeName,
    )

    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return certificate.subject.rfc4514_string()
    addresses = map(str, names.get_values_for_type(IPAddress))
    return ", ".join([*names.get_values_for_type(DNSName), *addresses])
