"""An issuer of tokens: keys of every kind, and tokens made by hand, right ones and wrong ones.

It signs with ``cryptography`` alone, so that what the server uses to verify is not checked against
itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a secret of more than thirty-two bytes, for tests"
NOW = 1_800_000_000
CLAIMS = {"sub": "42", "exp": NOW + 3600, "channels": {"chat:*": ["subscribe", "publish"]}}

_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, ec.EllipticCurve] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
    "ES256K": ec.SECP256K1(),
}
_CURVE_NAMES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "ES256K": "secp256k1"}

Sign = Callable[[bytes], bytes]


class Signer(NamedTuple):
    """A private key and one of its algorithms."""

    algorithm: str
    sign: Sign
    public: Any
    jwk: dict[str, str]

    @property
    def pem(self) -> bytes:
        """The public key, as it may be put into a file."""
        data: bytes = self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return data

    def token(
        self,
        claims: dict[str, Any] | bytes | None = None,
        header: dict[str, Any] | bytes | None = None,
        *,
        kid: str | None = None,
    ) -> str:
        """A token with these *claims*; *header* stands in the place of the usual one."""
        if header is None:
            header = {"alg": self.algorithm, "typ": "JWT"} | ({"kid": kid} if kid else {})
        return token(header, CLAIMS if claims is None else claims, self.sign)


def b64(data: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    """A number as JWKs have it."""
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def token(header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes, sign: Sign) -> str:
    """A token of these parts, signed whatever they are."""
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)
    ]
    signed = ".".join(map(b64, parts))
    return f"{signed}.{b64(sign(signed.encode()))}"


def hmac_signer(algorithm: str = "HS256", secret: bytes = SECRET.encode()) -> Signer:
    """Who knows *secret*."""
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    jwk = {"kty": "oct", "k": b64(secret)}
    return Signer(algorithm, lambda data: hmac.digest(secret, data, digest), None, jwk)


@cache
def _rsa_key(which: int, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def rsa_signer(algorithm: str = "RS256", which: int = 0, bits: int = 2048) -> Signer:
    """The RSA key number *which*; the same one for all its algorithms."""
    key = _rsa_key(which, bits)
    digest = _HASHES[algorithm[2:]]
    pad = (
        padding.PSS(padding.MGF1(digest), digest.digest_size)
        if algorithm.startswith("PS")
        else padding.PKCS1v15()
    )
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    return Signer(algorithm, lambda data: key.sign(data, pad, digest), key.public_key(), jwk)


@cache
def ec_signer(algorithm: str = "ES256", which: int = 0) -> Signer:
    """The key number *which* on the curve of *algorithm*."""
    key = ec.generate_private_key(_CURVES[algorithm])
    digest = _HASHES[algorithm[2:5]]
    size = (key.curve.key_size + 7) // 8

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    numbers = key.public_key().public_numbers()
    jwk = {
        "kty": "EC",
        "crv": _CURVE_NAMES[algorithm],
        "x": b64(numbers.x.to_bytes(size, "big")),
        "y": b64(numbers.y.to_bytes(size, "big")),
    }
    return Signer(algorithm, sign, key.public_key(), jwk)


@cache
def edwards_signer(curve: str = "Ed25519", which: int = 0, algorithm: str = "EdDSA") -> Signer:
    """The key number *which* on an Edwards *curve*."""
    key: ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
    if curve == "Ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = ed448.Ed448PrivateKey.generate()
    public = key.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signer(algorithm, key.sign, public, {"kty": "OKP", "crv": curve, "x": b64(raw)})


def every_signer() -> list[Signer]:
    """One for each algorithm."""
    return [
        *map(hmac_signer, ("HS256", "HS384", "HS512")),
        *map(rsa_signer, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *map(ec_signer, ("ES256", "ES384", "ES512", "ES256K")),
        edwards_signer("Ed25519"),
        edwards_signer("Ed448"),
    ]


def jwks(**signers: Signer) -> bytes:
    """The JWK set of these keys, by ``kid``."""
    keys = [{**signer.jwk, "kid": kid, "use": "sig"} for kid, signer in signers.items()]
    return json.dumps({"keys": keys}).encode()
