"""Every setting of the server, with its unit, range and default.

The fields stand in this module and in those that it takes its sections from, and nowhere else:
flags, help, environment variables, the commented ``tidewire.toml``, the error texts and the table
in the documentation are made from them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from tidewire.settings.bounding import Limits, Timing
from tidewire.settings.describe import flag_name
from tidewire.settings.keeping import Delivery, Log
from tidewire.settings.kinds import CONFIG
from tidewire.settings.reaching import Access, Listening
from tidewire.settings.scaling import Scaling
from tidewire.settings.values import is_loopback


class Other(BaseModel):
    """Other"""

    compression: Annotated[
        bool, Field(description="offer permessage-deflate to WebSocket clients")
    ] = True
    console: Annotated[
        bool, Field(description="serve the console page at /, and what it is made of")
    ] = True
    client_script: Annotated[
        bool,
        Field(description="serve the JavaScript client at /client.js, without the console, too"),
    ] = True
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


SECTIONS: tuple[type[BaseModel], ...] = (
    Listening,
    Access,
    Log,
    Delivery,
    Limits,
    Timing,
    Scaling,
    Other,
)
"""The groups of settings in the order in which people read them; a docstring is a heading."""


# The bases stand in reverse because fields are collected from the last base to the first.
class Settings(Other, Scaling, Timing, Limits, Delivery, Log, Access, Listening):
    """The server's settings, validated as a whole before anything starts; frozen.

    ``Settings(port=0, engine="memory:")`` takes values as they are and reads neither the
    environment nor a file; :func:`tidewire.settings.load` does. A wrong value raises
    ``pydantic.ValidationError``.
    """

    model_config = CONFIG

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

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.engine == "memory:" and self.workers != 1:
            raise PydanticCustomError(
                "memory_of_one",
                "a log in memory is one process's own; set engine to sqlite:///tidewire-data/"
                "log.db (TIDEWIRE_ENGINE), which all workers share, or leave workers at 1",
                {"key": "workers"},
            )
        return self
