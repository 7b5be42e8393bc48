"""``tidewire token``"""

from __future__ import annotations

import time
import uuid
import warnings
from pathlib import Path
from typing import Annotated

import typer

from tidewire.cli.options import settings_or_exit
from tidewire.cli.terminal import UNUSABLE, fail, say


def token(
    sub: Annotated[str, typer.Option("--sub", metavar="USER", help="The user's id.")],
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel",
            metavar="PATTERN=RIGHTS",
            show_default=False,
            help="A channel or a pattern, and rights there out of subscribe, publish, history, "
            "presence, ack, as in 'chat:*=subscribe,publish'; may be there several times.",
        ),
    ] = None,
    ttl: Annotated[
        int, typer.Option("--ttl", metavar="SECONDS", min=1, help="How long it is good.")
    ] = 3600,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="TEXT", show_default=False, help="The user's device."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            show_default=False,
            help="File with the server's settings instead of tidewire.toml.",
        ),
    ] = None,
) -> None:
    """Print a user's token (JWT), signed with the setting token_secret: to try things out.

    In production users get theirs from your own application, which signs them with the same secret.
    """
    import jwt

    from tidewire.access.claims import claims_of
    from tidewire.access.token_key import SAFE_SECRET
    from tidewire.model import BadRequest

    settings = settings_or_exit(config, {}).settings
    secret = settings.token_secret
    if not secret:
        fail(
            "there is no secret to sign with; set token_secret (TIDEWIRE_TOKEN_SECRET) to what the "
            "server has, such as a line of openssl rand -base64 48",
            UNUSABLE,
        )
    now = int(time.time())
    claims: dict[str, object] = {
        "sub": sub,
        "channels": dict(_granted(text) for text in channel or []),
        "iat": now,
        "exp": now + ttl,
        "jti": uuid.uuid4().hex,
    }
    optional = {"device": device, "aud": settings.token_audience, "iss": settings.token_issuer}
    claims |= {name: value for name, value in optional.items() if value}
    try:
        claims_of(claims)
    except BadRequest as error:
        raise typer.BadParameter(str(error)) from None
    if len(secret.encode()) < SAFE_SECRET:
        say(f"token_secret has under {SAFE_SECRET} bytes: good enough to try things out", "yellow")
    with warnings.catch_warnings():  # of the same, in other words
        warnings.simplefilter("ignore")
        typer.echo(jwt.encode(claims, secret, "HS256"))


def _granted(text: str) -> tuple[str, list[str]]:
    pattern, sign, rights = text.partition("=")
    if not sign:
        raise typer.BadParameter(
            f"{text!r} has no rights; write it as '{text}=subscribe,publish'",
            param_hint="--channel",
        )
    return pattern.strip(), [right.strip() for right in rights.split(",") if right.strip()]
