"""One key that verifies tokens, and the algorithms that it is pinned to.

What a token says about its algorithm is only compared with the key's, never followed (RFC 8725
sections 2.1 and 3.1): a public key cannot become an HMAC secret, and ``none`` is no algorithm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWTError, get_algorithm_by_name
from jwt.algorithms import Algorithm

from tidewire.access.strict_json import json_object
from tidewire.access.unusable import Unusable

_HMAC = ("HS256", "HS384", "HS512")
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}
# "EdDSA" is what most issuers write, "Ed25519" and "Ed448" what RFC 9864 has in its place.
_EDWARDS = {"EdDSA", "Ed25519", "Ed448"}

SHARED_ALGORITHMS = frozenset(_HMAC)
"""Those whose key signs as well as it verifies, so that it must be secret."""
PUBLIC_ALGORITHMS = frozenset({*_RSA, *_CURVES.values(), *_EDWARDS})
"""Those whose keys issuers show to everybody."""

SAFE_SECRET = 32
"""Bytes of a secret below which it could be guessed (RFC 7518 section 3.2)."""
MAX_KEY_ID = 255
_RSA_BITS = range(2048, 8193)  # RFC 7518 section 3.3; longer ones take long to verify with
_MOST_KEYS = 100

_BY_KIND = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA", "oct": "HS256"}
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class UnusableKey(Unusable, ValueError):
    """No tokens can be verified with it. The text says why, and has nothing of the key in it."""


class Key:
    """A key; ``id`` is the ``kid`` by which tokens name it, if it has one."""

    __slots__ = ("_algorithms", "_material", "id")

    def __init__(self, material: Any, algorithms: Mapping[str, Algorithm], id: str | None) -> None:
        self.id = id
        self._material = material
        self._algorithms = algorithms

    @property
    def algorithms(self) -> frozenset[str]:
        """What a token that this key verifies may name as its ``alg``."""
        return frozenset(self._algorithms)

    def fits(self, algorithm: str) -> bool:
        """Whether a token with this ``alg`` could be by this key."""
        return algorithm in self._algorithms

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether *signature* of *signed* was made with this key and this algorithm of its own."""
        verifier = self._algorithms.get(algorithm)
        return verifier is not None and verifier.verify(signed, self._material, signature)


def secret_key(secret: bytes, id: str | None = None, only: str | None = None) -> Key:
    """The key that an HMAC *secret* is.

    Raises:
        UnusableKey: if it is empty, or is a public key or a certificate: no secret at all.
    """
    try:
        prepared = get_algorithm_by_name("HS256").prepare_key(secret)
    except PyJWTError as error:
        raise UnusableKey(
            "an empty text is no secret" if not secret else "it is no secret but a public key"
        ) from error
    return Key(prepared, _verifiers(_HMAC, only), id)


def public_key(material: object, id: str | None = None, only: str | None = None) -> Key:
    """The key that a public key of ``cryptography`` is; *only* narrows its algorithms to one.

    Raises:
        UnusableKey: if its kind, its curve or its size is not for signatures of tokens.
    """
    names: Iterable[str]
    match material:
        case RSAPublicKey():
            if material.key_size not in _RSA_BITS:
                raise UnusableKey(f"{material.key_size} bits are no size for an RSA key")
            names = _RSA
        case EllipticCurvePublicKey():
            if material.curve.name not in _CURVES:
                raise UnusableKey(f"the curve {material.curve.name} is not for tokens")
            names = [_CURVES[material.curve.name]]
        case Ed25519PublicKey():
            names = ["EdDSA", "Ed25519"]
        case Ed448PublicKey():
            names = ["EdDSA", "Ed448"]
        case _:
            raise UnusableKey(f"{type(material).__name__} is no public key for signatures")
    return Key(material, _verifiers(names, only), id)


def pem_keys(data: bytes) -> list[Key]:
    """The public keys in *data*, one or several in PEM.

    Raises:
        UnusableKey: if there is none, or anything else among them.
    """
    keys = []
    for block in _PEM.finditer(data):
        kind = block[1].decode()
        if "PRIVATE" in kind:
            raise UnusableKey(
                "it holds a private key, which nobody but the issuer should have: put the public "
                "one there (openssl pkey -pubout)"
            )
        if "PUBLIC KEY" not in kind:
            raise UnusableKey(f"it holds a {kind.lower()}, not a public key")
        try:
            material = load_pem_public_key(block[0])
        except (ValueError, UnsupportedAlgorithm):
            raise UnusableKey("its public key is damaged, or of an unknown kind") from None
        keys.append(public_key(material))
    if not keys:
        raise UnusableKey("there is no public key in it, neither PEM nor a JWK set")
    return keys


def jwk_set(data: bytes, *, secrets: bool) -> tuple[list[Key], list[str]]:
    """The keys for signatures in a JWK set (RFC 7517) or a single JWK, and why others are not used.

    With *secrets* there may be HMAC secrets among them: only where nobody else can read it.

    Raises:
        UnusableKey: if it is none, or has more than 100 keys.
    """
    try:
        document = json_object(data)
    except ValueError as error:
        raise UnusableKey(f"it is no JWK set: {error}") from None
    members = document.get("keys", [document] if "kty" in document else None)
    if not isinstance(members, list):
        raise UnusableKey('it is no JWK set: an array "keys" is missing')
    if len(members) > _MOST_KEYS:
        raise UnusableKey(f"{len(members)} keys are more than {_MOST_KEYS}")
    keys, problems = [], []
    for number, member in enumerate(members, 1):
        try:
            key = _jwk(member, secrets=secrets)
        except UnusableKey as error:
            problems.append(f"key {number}: {error}")
        else:
            if key is not None:
                keys.append(key)
    return keys, problems


def _jwk(member: object, *, secrets: bool) -> Key | None:
    """One JWK; ``None`` if it is for something else than signatures, as keys may well be."""
    if not isinstance(member, dict):
        raise UnusableKey("it is no object")
    id, only, kind = member.get("kid"), member.get("alg"), member.get("kty")
    if id is not None and not (isinstance(id, str) and 1 <= len(id) <= MAX_KEY_ID):
        raise UnusableKey(f"kid is no text of 1 to {MAX_KEY_ID} characters")
    uses = member.get("key_ops", ["verify"])
    if member.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        return None
    if not isinstance(kind, str) or kind not in _BY_KIND:
        raise UnusableKey("kty is not RSA, EC, OKP or oct")
    if only is not None and not isinstance(only, str):
        raise UnusableKey("alg is no text")
    if only is not None and only not in PUBLIC_ALGORITHMS | SHARED_ALGORITHMS:
        return None
    if kind == "oct" and not secrets:
        raise UnusableKey("it is an HMAC secret, and everybody can read it here")
    if kind != "oct" and "d" in member:
        raise UnusableKey("it is a private key, which nobody but the issuer should have")
    try:
        material = get_algorithm_by_name(_BY_KIND[kind]).from_jwk(member)
    except (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        raise UnusableKey("its parameters are missing, damaged or of an unknown kind") from None
    if kind != "oct":
        return public_key(material, id, only)
    if len(material) < SAFE_SECRET:
        raise UnusableKey(f"a secret has at least {SAFE_SECRET} bytes")
    return secret_key(material, id, only)


def _verifiers(names: Iterable[str], only: str | None) -> dict[str, Algorithm]:
    if only is not None:
        if only not in names:
            raise UnusableKey(f"its alg is {only}, which is not for such a key")
        names = [only]
    return {name: get_algorithm_by_name("EdDSA" if name in _EDWARDS else name) for name in names}
