"""Every setting of the server, with its unit, range and default.

This is the only place where a setting is written: flags, help, environment variables, the commented
``tidewire.toml``, the error texts and the table in the documentation are made from these fields.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tidewire.settings.describe import Allowed, Secret, Unit, flag_name
from tidewire.settings.values import (
    ENGINE_FORMS,
    check_engine,
    check_host,
    check_jwks_url,
    check_namespace,
    check_networks,
    is_loopback,
    split_list,
)

_Bytes = Annotated[int, Unit("bytes")]
_Messages = Annotated[int, Unit("messages")]
_Milliseconds = Annotated[int, Unit("milliseconds")]
_Seconds = Annotated[float, Unit("seconds")]

_Names = Annotated[tuple[str, ...], BeforeValidator(split_list), Allowed("a list, comma-separated")]
_TEN_YEARS = 315_360_000
_DAY = 86_400

_Policy = Literal["catch_up", "latest", "disconnect"]
_Who = Literal["token", "user", "anyone"]
_Path = Annotated[str, Allowed("nothing, or the path of a file")]

# Strict: a file that says port = "8480" or console = 1 is told so, rather than understood somehow.
# The text of flags and variables is converted before (see sources.py).
_CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NamespaceSettings(BaseModel):
    """What one namespace sets apart from the defaults; ``None`` means the default holds."""

    model_config = _CONFIG

    history_size: Annotated[
        int | None,
        Unit("messages"),
        Field(ge=0, le=100_000_000, description="how many a channel keeps"),
    ] = None
    history_ttl: Annotated[
        float | None,
        Unit("seconds"),
        Field(gt=0, le=_TEN_YEARS, description="how long a message is kept"),
    ] = None
    slow_policy: Annotated[
        _Policy | None, Field(description="what a subscriber gets that has fallen behind")
    ] = None
    conflate_by: Annotated[
        str | None,
        Field(max_length=128, description="the header whose newest of each value `latest` keeps"),
        Allowed("a header's name"),
    ] = None
    allow_subscribe: Annotated[
        _Who | None, Field(description="who may subscribe, and acknowledge what was received")
    ] = None
    allow_publish: Annotated[_Who | None, Field(description="who may publish")] = None
    allow_history: Annotated[_Who | None, Field(description="who may read the history")] = None
    allow_presence: Annotated[_Who | None, Field(description="who may see who is there")] = None


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
        _Names,
        Field(
            description="exact origins that browsers may come from, instead of the server's own "
            "and loopback; * for all"
        ),
    ] = ()
    allowed_hosts: Annotated[
        _Names,
        Field(
            description="accepted Host names, against DNS rebinding; "
            "when empty, the loopback names on a loopback address and any on others"
        ),
    ] = ()
    tls_certificate: Annotated[
        _Path,
        Field(
            description="certificate chain (PEM); with it and `tls_key` the server speaks https "
            "only, and takes new files without a restart"
        ),
    ] = ""
    tls_key: Annotated[_Path, Field(description="private key of that certificate (PEM)")] = ""


class Access(BaseModel):
    """Who may do what"""

    api_key: Annotated[
        str,
        Secret(),
        Field(description="a back end's key, which may do everything"),
        Allowed("a text that cannot be guessed"),
    ] = ""
    api_keys_file: Annotated[
        _Path, Field(description="further keys of back ends, as `tidewire keys` writes them")
    ] = ""
    token_secret: Annotated[
        str,
        Secret(),
        Field(description="HMAC secret of users' tokens (JWT)"),
        Allowed("a text that cannot be guessed, of 32 bytes or more"),
    ] = ""
    token_key_file: Annotated[
        _Path, Field(description="public keys of users' tokens: PEM, or a JWK set")
    ] = ""
    token_jwks_url: Annotated[
        str,
        AfterValidator(check_jwks_url),
        Field(description="where the issuer of users' tokens shows its public keys"),
        Allowed("nothing, or an https address (http on loopback)"),
    ] = ""
    token_jwks_ttl: Annotated[
        _Seconds, Field(ge=1, le=_DAY, description="how long those keys are taken as they are")
    ] = 300.0
    token_audience: Annotated[
        str, Field(description="what `aud` of a token must name"), Allowed("nothing, or a text")
    ] = ""
    token_issuer: Annotated[
        str, Field(description="what `iss` of a token must be"), Allowed("nothing, or a text")
    ] = ""
    token_leeway: Annotated[
        _Seconds,
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
        _Seconds, Field(gt=0, le=60, description="how long a ticket to connect can be used")
    ] = 30.0
    revocation_ttl: Annotated[
        _Seconds,
        Field(
            gt=0,
            le=_TEN_YEARS,
            description="how long a revocation is remembered; no token should live longer",
        ),
    ] = 86_400.0
    allow_subscribe: Annotated[
        _Who,
        Field(
            description="who may subscribe, and acknowledge: those whose token names the channel, "
            "every user, or anyone"
        ),
    ] = "token"
    allow_publish: Annotated[_Who, Field(description="who may publish")] = "token"
    allow_history: Annotated[_Who, Field(description="who may read the history")] = "token"
    allow_presence: Annotated[_Who, Field(description="who may see who is there")] = "token"


class Log(BaseModel):
    """The log"""

    engine: Annotated[
        str,
        AfterValidator(check_engine),
        Field(description="where messages are kept; memory: forgets them when the server ends"),
        Allowed(ENGINE_FORMS),
    ] = "sqlite:///tidewire-data/log.db"
    history_size: Annotated[
        _Messages, Field(ge=0, le=100_000_000, description="how many a channel keeps")
    ] = 10_000
    history_ttl: Annotated[
        _Seconds, Field(gt=0, le=_TEN_YEARS, description="how long a message is kept")
    ] = 3600.0
    idempotency_window: Annotated[
        _Seconds, Field(gt=0, le=_DAY, description="how long the key of a publish is remembered")
    ] = 120.0
    namespaces: Annotated[
        dict[Annotated[str, AfterValidator(check_namespace)], NamespaceSettings],
        Field(description="settings by namespace, the part of a channel before the first colon"),
        Allowed("a table for each namespace (as a flag or a variable: JSON)"),
    ] = {}


class Delivery(BaseModel):
    """Delivery"""

    slow_policy: Annotated[
        _Policy,
        Field(
            description="what a subscriber gets that has fallen behind: all that history holds, "
            "the latest of each channel, or the end of its connection"
        ),
    ] = "catch_up"
    ack_wait: Annotated[
        _Seconds,
        Field(gt=0, le=_DAY, description="time to acknowledge a message until it comes again"),
    ] = 30.0
    max_deliver: Annotated[
        int,
        Unit("deliveries"),
        Field(
            ge=0,
            le=1_000_000,
            description="after so many unacknowledged ones a message goes to the channel "
            "dead-letter:CONSUMER; 0 for never",
        ),
    ] = 5
    consumer_ttl: Annotated[
        _Seconds,
        Field(gt=0, le=_TEN_YEARS, description="how long a consumer that does nothing is known"),
    ] = 2_592_000.0
    session_ttl: Annotated[
        _Seconds,
        Field(gt=0, le=_DAY, description="how long a session outlives its connection"),
    ] = 300.0
    fragment_size: Annotated[
        _Bytes,
        Field(
            ge=1024,
            le=64 << 20,
            description="larger envelopes are sent in parts of this size: frames of a WebSocket, "
            "and events for those who ask for fragments",
        ),
    ] = 32 << 10
    upload_dir: Annotated[
        str,
        Field(description="folder for uploaded files; without one uploads are refused"),
        Allowed("nothing, or a path"),
    ] = ""
    upload_callback: Annotated[
        str,
        Field(
            pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$",
            description="called with each whole upload",
        ),
        Allowed("nothing, or module:function"),
    ] = ""
    max_upload_size: Annotated[
        _Bytes, Field(ge=1, le=1 << 40, description="size of one uploaded file")
    ] = 1 << 30
    upload_ttl: Annotated[
        _Seconds, Field(gt=0, le=_TEN_YEARS, description="how long an unfinished upload is kept")
    ] = 86_400.0


class Limits(BaseModel):
    """Limits"""

    max_message_size: Annotated[
        _Bytes, Field(ge=64, le=64 << 20, description="size of one message")
    ] = 1 << 20
    max_batch_size: Annotated[
        _Bytes, Field(ge=64, le=512 << 20, description="size of one batch body")
    ] = 8 << 20
    max_connections: Annotated[
        int, Field(ge=1, le=10_000_000, description="open connections per worker")
    ] = 18_000
    max_connections_per_ip: Annotated[
        int,
        Field(
            ge=0,
            le=10_000_000,
            description="open connections per client address (in IPv6 per /64 network); 0 for none",
        ),
    ] = 0
    max_connections_per_user: Annotated[
        int,
        Field(
            ge=0,
            le=10_000_000,
            description="streams and held polls per user at a time; 0 for none",
        ),
    ] = 0
    max_connection_rate: Annotated[
        float,
        Unit("connections per second"),
        Field(ge=0, le=1_000_000, description="new connections, twice as many at once; 0 for none"),
    ] = 0.0
    max_memory: Annotated[
        _Bytes,
        Field(
            ge=0,
            le=1 << 50,
            description="memory of the process from which on new clients are refused; 0 for none",
        ),
    ] = 0
    trusted_proxies: Annotated[
        _Names,
        AfterValidator(check_networks),
        Field(
            description="addresses and networks (CIDR) of proxies whose Forwarded and "
            "X-Forwarded-For are believed"
        ),
    ] = ()
    max_channels: Annotated[
        int, Field(ge=1, le=65536, description="channels of one subscription")
    ] = 256
    max_message_rate: Annotated[
        float,
        Unit("messages per second"),
        Field(
            ge=0,
            le=1_000_000,
            description="messages from one WebSocket, or published over HTTP by one caller; "
            "twice as many at once; 0 for none",
        ),
    ] = 0.0
    max_byte_rate: Annotated[
        float,
        Unit("bytes per second"),
        Field(
            ge=0,
            le=1 << 40,
            description="bytes of such messages, twice as many at once; 0 for none",
        ),
    ] = 0.0
    max_control_rate: Annotated[
        float,
        Unit("control frames per second"),
        Field(
            ge=0,
            le=1_000_000,
            description="pings and pongs from one WebSocket, twice as many at once; 0 for none",
        ),
    ] = 50.0
    max_head_size: Annotated[
        _Bytes, Field(ge=1024, le=1 << 20, description="size of a request head")
    ] = 16 << 10
    max_target_size: Annotated[
        _Bytes, Field(ge=256, le=1 << 20, description="size of a request target")
    ] = 8 << 10
    max_json_depth: Annotated[
        int, Field(ge=1, le=512, description="levels of nesting in a JSON body")
    ] = 64
    max_fragments: Annotated[
        int, Field(ge=1, le=1 << 20, description="frames of one WebSocket message")
    ] = 4096


class Timing(BaseModel):
    """Time"""

    head_timeout: Annotated[
        _Seconds, Field(gt=0, le=_DAY, description="time for a whole request head")
    ] = 10.0
    body_timeout: Annotated[
        _Seconds, Field(gt=0, le=_DAY, description="time for a whole request body")
    ] = 30.0
    keepalive_timeout: Annotated[
        _Seconds, Field(gt=0, le=_DAY, description="how long an idle HTTP connection is kept")
    ] = 75.0
    stall_timeout: Annotated[
        _Seconds,
        Field(
            gt=0,
            le=_DAY,
            description="how long a client may take no byte of a stream until it is ended",
        ),
    ] = 60.0
    drain_timeout: Annotated[
        _Seconds, Field(gt=0, le=3600, description="longest drain after SIGTERM")
    ] = 10.0
    ping_interval: Annotated[
        _Seconds, Field(gt=0, le=_DAY, description="time between WebSocket pings")
    ] = 25.0
    pong_timeout: Annotated[
        _Seconds, Field(gt=0, le=_DAY, description="longest wait for the pong")
    ] = 10.0
    sse_heartbeat: Annotated[
        _Seconds, Field(gt=0, le=_DAY, description="time between SSE comments on a quiet stream")
    ] = 15.0
    sse_retry: Annotated[
        _Milliseconds,
        Field(ge=0, le=600_000, description="how long an EventSource waits before it reconnects"),
    ] = 3000
    longpoll_wait: Annotated[
        _Seconds,
        Field(ge=1, le=60, description="how long a long poll is held that does not say so"),
    ] = 30.0
    poll_interval: Annotated[
        _Seconds, Field(gt=0, le=3600, description="time between short polls, as told to pollers")
    ] = 3.0
    min_poll_interval: Annotated[
        _Seconds,
        Field(
            ge=0,
            le=3600,
            description="time between short polls below which they get 429; 0 for none",
        ),
    ] = 0.0


class Other(BaseModel):
    """Other"""

    compression: Annotated[
        bool, Field(description="offer permessage-deflate to WebSocket clients")
    ] = True
    console: Annotated[bool, Field(description="serve the console page at /")] = True
    echo: Annotated[
        bool, Field(description="add GET /echo, a WebSocket that returns every message")
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="least severe line logged")
    ] = "info"
    log_format: Annotated[Literal["pretty", "json"], Field(description="how log lines look")] = (
        "pretty"
    )
    access_log: Annotated[
        bool, Field(description="log a line for each request answered and each stream ended")
    ] = False


SECTIONS: tuple[type[BaseModel], ...] = (Listening, Access, Log, Delivery, Limits, Timing, Other)
"""The groups of settings in the order in which people read them; a docstring is a heading."""


# The bases stand in reverse because fields are collected from the last base to the first.
class Settings(Other, Timing, Limits, Delivery, Log, Access, Listening):
    """The server's settings, validated as a whole before anything starts; frozen.

    ``Settings(port=0, engine="memory:")`` takes values as they are and reads neither the
    environment nor a file; :func:`tidewire.settings.load` does. A wrong value raises
    ``pydantic.ValidationError``.
    """

    model_config = _CONFIG

    @property
    def has_credentials(self) -> bool:
        """Whether there is any key or token to show; without, everybody may do everything."""
        return bool(
            self.api_key
            or self.api_keys_file
            or self.token_secret
            or self.token_key_file
            or self.token_jwks_url
        )

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if not self.insecure and not self.has_credentials and not is_loopback(self.host):
            raise PydanticCustomError(
                "exposed",
                "other machines could publish and subscribe there, because nobody has to show who "
                "they are; set api_key (TIDEWIRE_API_KEY) for back ends or token_secret "
                "(TIDEWIRE_TOKEN_SECRET) for users, take a loopback address such as 127.0.0.1, or "
                "set --insecure (TIDEWIRE_INSECURE=true) to allow everyone",
                {"key": "host"},
            )
        return self

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if bool(self.tls_certificate) != bool(self.tls_key):
            here, missing = ("tls_certificate", "tls_key")
            if self.tls_key:
                here, missing = missing, here
            raise PydanticCustomError(
                "half_of_tls",
                f"{missing} is missing: a certificate is of use with its key only; set both "
                f"({flag_name(missing)}), or neither",
                {"key": here},
            )
        return self

    @model_validator(mode="after")
    def _check_cookie(self) -> Self:
        if self.token_cookie and "*" in self.allowed_origins:
            raise PydanticCustomError(
                "cookies_for_all",
                "with * in allowed_origins any page could do what its visitor may; "
                "name the origins whose pages may use the cookie",
                {"key": "token_cookie"},
            )
        return self

    @model_validator(mode="after")
    def _check_poll_intervals(self) -> Self:
        if self.min_poll_interval > self.poll_interval:
            raise PydanticCustomError(
                "refuses_its_own_interval",
                "it is above poll_interval, so clients that keep to the interval would be refused",
                {"key": "min_poll_interval"},
            )
        return self
