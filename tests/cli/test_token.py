"""Tokens to try things out with; ``tidewire token``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cli.commands import run
from tidewire.access.key_sets import SecretKey
from tidewire.access.tokens import Claims, Tokens

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a secret of more than thirty-two bytes, for tests"


def verified(token: str, *, audience: str | None = None, issuer: str | None = None) -> Claims:
    claims = Tokens(SecretKey(SECRET), audience=audience, issuer=issuer).verify(token.strip())
    assert claims is not None
    return claims


def test_a_token_is_good_for_the_server_with_the_same_secret(tmp_path: Path) -> None:
    result = run(
        *("token", "--sub", "42", "--ttl", "60", "--device", "a phone"),
        *("--channel", "chat:*=subscribe,publish", "--channel", "news = subscribe"),
        cwd=tmp_path,
        TIDEWIRE_TOKEN_SECRET=SECRET,
    )
    assert (result.code, result.err) == (0, "")
    claims = verified(result.out)
    assert (claims.user, claims.device) == ("42", "a phone")
    assert claims.channels == {"chat:*": {"subscribe", "publish"}, "news": {"subscribe"}}
    assert claims.issued is not None
    assert claims.expires == claims.issued + 60
    assert abs(claims.issued - time.time()) < 60
    assert claims.token_id


def test_each_token_has_an_id_of_its_own(tmp_path: Path) -> None:
    made = {
        verified(run("token", "--sub", "42", TIDEWIRE_TOKEN_SECRET=SECRET).out).token_id
        for _ in range(2)
    }
    assert len(made) == 2


def test_it_is_made_for_the_audience_and_the_issuer_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(
        f'token_secret = "{SECRET}"\ntoken_audience = "us"\ntoken_issuer = "https://a.example"\n'
    )
    result = run("token", "--sub", "42", "--config", "other.toml", cwd=tmp_path)
    assert verified(result.out, audience="us", issuer="https://a.example").user == "42"


def test_a_short_secret_is_good_enough_to_try_things_out(tmp_path: Path) -> None:
    result = run("token", "--sub", "42", cwd=tmp_path, TIDEWIRE_TOKEN_SECRET="secret")
    assert result.code == 0
    assert "token_secret has under 32 bytes" in result.err
    assert Tokens(SecretKey("secret")).verify(result.out.strip()) is not None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Missing option '--sub'"),
        (["--sub", ""], "claim 'sub': it is no text"),
        (["--sub", "42", "--ttl", "0"], "--ttl"),
        (["--sub", "42", "--channel", "news"], "'news' has no rights; write it as 'news=subscribe"),
        (["--sub", "42", "--channel", "news=read"], "claim 'channels': rights are a list out of"),
        (["--sub", "42", "--channel", "a b=ack"], "claim 'channels': a name in it is neither"),
    ],
)
def test_what_makes_no_token(arguments: list[str], problem: str, tmp_path: Path) -> None:
    result = run("token", *arguments, cwd=tmp_path, TIDEWIRE_TOKEN_SECRET=SECRET)
    assert (result.code, result.out) == (2, "")
    assert problem in result.err


def test_without_a_secret_there_is_no_token(tmp_path: Path) -> None:
    result = run("token", "--sub", "42", cwd=tmp_path)
    assert (result.code, result.out) == (2, "")
    assert "set token_secret (TIDEWIRE_TOKEN_SECRET)" in result.err
