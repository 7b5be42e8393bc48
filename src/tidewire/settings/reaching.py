"""Settings: where the server listens, and who may do what there."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from tidewire.settings.describe import Allowed, Secret
from tidewire.settings.kinds import DAY, TEN_YEARS, FilePath, Names, Seconds, Who
from tidewire.settings.values import check_host, check_jwks_url


class Listening(BaseModel):
    """Where it listens"""

    host: Annotated[
        str,
        AfterValidator(check_host),
        Field(description="address to listen on"),
        Allowed("an IP address or a host name"),
    ] = "127.0.0.1"
    port: Annotated[
        int, Field(ge=0, le=65535, description="port to listen on; 0 picks a free one")
    ] = 8480
    path_prefix: Annotated[
        str,
        Field(pattern=r"^(/[A-Za-z0-9_.~-]+)*$", description="put before every path"),
        Allowed("nothing, or a path such as /realtime, without a slash at its end"),
    ] = ""
    insecure: Annotated[
        bool, Field(description="serve other than loopback addresses without access control")
    ] = False
    allowed_origins: Annotated[
        Names,
        Field(
            description="exact origins that browsers may come from, instead of the server's own "
            "and loopback; * for all"
        ),
    ] = ()
    allowed_hosts: Annotated[
        Names,
        Field(
            description="accepted Host names, against DNS rebinding; "
            "when empty, the loopback names on a loopback address and any on others"
        ),
    ] = ()
    tls_certificate: Annotated[
        FilePath,
        Field(
            description="certificate chain (PEM); with it and `tls_key` the server speaks https "
            "only, and takes new files without a restart"
        ),
    ] = ""
    tls_key: Annotated[FilePath, Field(description="private key of that certificate (PEM)")] = ""


class Access(BaseModel):
    """Who may do what"""

    api_key: Annotated[
        str,
        Secret(),
        Field(description="a back end's key, which may do everything"),
        Allowed("a text that cannot be guessed"),
    ] = ""
    api_keys_file: Annotated[
        FilePath, Field(description="further keys of back ends, as `tidewire keys` writes them")
    ] = ""
    token_secret: Annotated[
        str,
        Secret(),
        Field(description="HMAC secret of users' tokens (JWT)"),
        Allowed("a text that cannot be guessed, of 32 bytes or more"),
    ] = ""
    token_key_file: Annotated[
        FilePath, Field(description="public keys of users' tokens: PEM, or a JWK set")
    ] = ""
    token_jwks_url: Annotated[
        str,
        AfterValidator(check_jwks_url),
        Field(description="where the issuer of users' tokens shows its public keys"),
        Allowed("nothing, or an https address (http on loopback)"),
    ] = ""
    token_jwks_ttl: Annotated[
        Seconds, Field(ge=1, le=DAY, description="how long those keys are taken as they are")
    ] = 300.0
    token_audience: Annotated[
        str, Field(description="what `aud` of a token must name"), Allowed("nothing, or a text")
    ] = ""
    token_issuer: Annotated[
        str, Field(description="what `iss` of a token must be"), Allowed("nothing, or a text")
    ] = ""
    token_leeway: Annotated[
        Seconds,
        Field(ge=0, le=300, description="by how much the issuer's clock may be ahead or behind"),
    ] = 0.0
    token_cookie: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]*$",
            description="cookie that may hold a user's token; only pages of the server's own or an "
            "allowed origin can use it",
        ),
        Allowed("nothing, or a cookie's name"),
    ] = ""
    ticket_ttl: Annotated[
        Seconds, Field(gt=0, le=60, description="how long a ticket to connect can be used")
    ] = 30.0
    revocation_ttl: Annotated[
        Seconds,
        Field(
            gt=0,
            le=TEN_YEARS,
            description="how long a revocation is remembered; no token should live longer",
        ),
    ] = 86_400.0
    allow_subscribe: Annotated[
        Who,
        Field(
            description="who may subscribe, and acknowledge: those whose token names the channel, "
            "every user, or anyone"
        ),
    ] = "token"
    allow_publish: Annotated[Who, Field(description="who may publish")] = "token"
    allow_history: Annotated[Who, Field(description="who may read the history")] = "token"
    allow_presence: Annotated[Who, Field(description="who may see who is there")] = "token"
