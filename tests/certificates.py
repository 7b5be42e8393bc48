"""A certificate authority of the tests' own, and certificates for servers on this machine."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

NAMES = ("localhost", "127.0.0.1", "::1")
A_DAY = timedelta(days=1)


class Pair(NamedTuple):
    """The files of a certificate and its key."""

    certificate: Path
    key: Path

    @property
    def settings(self) -> dict[str, Any]:
        """The server's settings that name them."""
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}

    def replace_by(self, other: Pair) -> None:
        """Put the contents of *other* into these files, as whoever renews certificates does."""
        replace(self.certificate, other.certificate)
        replace(self.key, other.key)


def replace(file: Path, other: Path) -> None:
    """Put what is in *other* in the place of *file*, at once."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(other.read_bytes())
    fresh.rename(file)


class Authority:
    """Issues certificates into *directory*; ``file`` is its own one, for clients to trust."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Tests' own authority")
        builder = _builder(self._name, self._name, self._key, 90 * A_DAY)
        whole = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(whole, True)
        self.certificate = builder.sign(self._key, SHA256())
        self.file = directory / "authority.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        stem: str = "server",
        *,
        key: Key | None = None,
        lasts: timedelta = 60 * A_DAY,
        password: bytes | None = None,
    ) -> Pair:
        """A certificate for this machine, in ``STEM.pem``, and its key in ``STEM-key.pem``."""
        key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
        names = x509.SubjectAlternativeName([_general(name) for name in NAMES])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = _builder(_name(stem), self._name, key, lasts)
        builder = builder.add_extension(names, False).add_extension(usage, False)
        certificate = builder.sign(self._key, SHA256())
        pair = Pair(self._directory / f"{stem}.pem", self._directory / f"{stem}-key.pem")
        pair.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        hidden: KeySerializationEncryption = NoEncryption()
        if password is not None:
            hidden = BestAvailableEncryption(password)
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
        return pair

    def client_context(self) -> ssl.SSLContext:
        """What a client trusts: this authority and no other."""
        return ssl.create_default_context(cafile=str(self.file))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, lasts: timedelta
) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + lasts
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(end, datetime.now(UTC)) - A_DAY)
        .not_valid_after(end)
    )
