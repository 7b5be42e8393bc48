"""Which token is shown when, and what a refusal of it comes to. Time stands still here."""

from __future__ import annotations

import asyncio
import threading
import traceback
from typing import TYPE_CHECKING

import pytest

from tests.client.tokens import token_of
from tidewire.client import Client, Credentials, Forbidden, Interrupted, Refused, Unauthorized

if TYPE_CHECKING:
    from tidewire.client.credentials import Token

EXPIRED = Unauthorized("the token has expired (HTTP 401)", 401, "token_expired")
SECRET = "very.secret.indeed"


class Issuer:
    """Gives tokens of 100 s, one after the other; knows what time it is."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.trouble: Exception | None = None
        self.same = False

    async def __call__(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        number = 1 if self.same else self.asked
        begin = 0 if self.same else self.now
        return token_of(jti=number, iat=1e9 + begin, exp=1e9 + begin + 100)

    def credentials(self) -> Credentials:
        return Credentials(
            get_token=self, clock=lambda: self.now, wall=lambda: 1e9 + self.now, draw=lambda: 0.5
        )


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


async def shown(credentials: Credentials) -> Token:
    token = await credentials.token()
    assert token is not None
    return token


# What is sent


async def test_a_token_a_key_or_nothing() -> None:
    given = Credentials(token=SECRET)
    assert given.headers(await given.token()) == {"Authorization": f"Bearer {SECRET}"}
    key = Credentials(api_key=SECRET)
    assert key.headers(await key.token()) == {"X-API-Key": SECRET}
    nobody = Credentials()
    assert nobody.headers(await nobody.token()) == {}
    assert [bool(one) for one in (given, key, nobody)] == [True, True, False]


def test_one_of_them_at_a_time() -> None:
    with pytest.raises(ValueError, match="give one of token, get_token and api_key"):
        Client(token="a", api_key="b")


@pytest.mark.parametrize("text", ["", "two words", "line\n", "\N{LATIN SMALL LETTER A WITH ACUTE}"])
def test_what_no_header_can_hold_is_not_shown_in_the_error_either(text: str) -> None:
    with pytest.raises(ValueError, match="token is no text of visible ASCII") as raised:
        Client(token=text)
    assert text == "" or text not in str(raised.value)


@pytest.mark.parametrize("credentials", [Credentials(token=SECRET), Credentials(api_key=SECRET)])
async def test_no_repr_has_the_secret(credentials: Credentials) -> None:
    assert SECRET not in f"{credentials!r} {await credentials.token()!r}"


# In good time


async def test_a_token_is_asked_for_once_and_again_before_it_ends(issuer: Issuer) -> None:
    credentials = issuer.credentials()
    first = await shown(credentials)
    issuer.now = 79
    assert await shown(credentials) is first
    assert credentials.seconds_left(first) == 1
    issuer.now = 80
    second = await shown(credentials)
    assert second is not first
    assert issuer.asked == 2


async def test_those_who_come_together_share_one_token(issuer: Issuer) -> None:
    credentials = issuer.credentials()
    tokens = await asyncio.gather(*(shown(credentials) for _ in range(5)))
    assert issuer.asked == 1
    first = tokens[0]
    assert all(token is first for token in tokens)
    newer = await asyncio.gather(*(credentials.newer(first) for _ in range(5)))
    assert issuer.asked == 2
    assert all(token is newer[0] for token in newer)


async def test_while_no_other_is_to_be_had_the_old_one_is_good_to_its_end(issuer: Issuer) -> None:
    credentials = issuer.credentials()
    first = await shown(credentials)
    issuer.now = 80
    issuer.trouble = ConnectionError("the issuer is away")
    assert await shown(credentials) is first
    asked = issuer.asked
    assert await shown(credentials) is first
    assert issuer.asked == asked, "not again with every request"
    issuer.now = 100
    with pytest.raises(Interrupted, match="get_token has failed: ConnectionError"):
        await shown(credentials)


async def test_the_same_token_again_is_no_new_one(issuer: Issuer) -> None:
    issuer.same = True
    credentials = issuer.credentials()
    first = await shown(credentials)
    issuer.now = 80
    assert await credentials.newer(first) is first
    assert credentials.seconds_left(first) == 10
    issuer.same = False
    issuer.now = 90
    assert await shown(credentials) is not first


async def test_a_function_does_not_hold_up_the_loop() -> None:
    asked = threading.Event()

    def get_token() -> str:
        assert asked.wait(30)
        return SECRET

    task = asyncio.create_task(shown(Credentials(get_token=get_token)))
    await asyncio.sleep(0)
    asked.set()
    assert (await task).text == SECRET


async def test_a_function_may_give_a_coroutine(issuer: Issuer) -> None:
    token = await shown(Credentials(get_token=lambda: issuer()))
    assert token.life is not None


# What goes wrong with it


async def test_a_failure_may_pass_and_tells_nothing_of_its_text() -> None:
    async def get_token() -> str:
        raise OSError(f"cannot read {SECRET}")

    with pytest.raises(Interrupted) as raised:
        await Credentials(get_token=get_token).token()
    assert str(raised.value) == "get_token has failed: OSError"


async def test_get_token_can_give_up() -> None:
    async def get_token() -> str:
        raise Refused("you are logged out")

    with pytest.raises(Refused, match="you are logged out"):
        await Credentials(get_token=get_token).token()


@pytest.mark.parametrize("text", [None, b"bytes", "", f"{SECRET}\n"])
async def test_what_is_no_token_is_refused_and_not_shown(text: object) -> None:
    async def get_token() -> object:
        return text

    with pytest.raises(Refused, match="what get_token has returned is no text") as raised:
        await Credentials(get_token=get_token).token()  # type: ignore[arg-type]
    assert SECRET not in "".join(traceback.format_exception(raised.value))


# Refusals


async def test_after_a_refusal_another_is_asked_for_once(issuer: Issuer) -> None:
    credentials = issuer.credentials()
    first = await shown(credentials)
    assert isinstance(credentials.after(EXPIRED, first), Interrupted)
    second = await shown(credentials)
    assert issuer.asked == 2
    error = credentials.after(EXPIRED, second)
    assert isinstance(error, Unauthorized)
    assert error.code == "token_expired"
    assert error.reason == "the token has expired (HTTP 401); a new one was refused, too"


async def test_one_that_was_accepted_may_be_refused_later(issuer: Issuer) -> None:
    credentials = issuer.credentials()
    for _ in range(3):
        token = await shown(credentials)
        credentials.accepted(token)
        assert isinstance(credentials.after(EXPIRED, token), Interrupted)


async def test_one_that_has_ended_was_not_refused(issuer: Issuer) -> None:
    """A held poll is the first that shows it, and is answered when it has ended."""
    credentials = issuer.credentials()
    for _ in range(3):
        token = await shown(credentials)
        issuer.now += 95
        assert isinstance(credentials.after(EXPIRED, token), Interrupted)


async def test_the_refusals_of_those_who_showed_the_same_count_once(issuer: Issuer) -> None:
    credentials = issuer.credentials()
    first = await shown(credentials)
    for _ in range(3):
        assert isinstance(credentials.after(EXPIRED, first), Interrupted)
    second = await shown(credentials)
    assert isinstance(credentials.after(EXPIRED, first), Interrupted)
    assert await shown(credentials) is second


@pytest.mark.parametrize(
    "error",
    [
        Unauthorized("show who you are", 401, "no_credentials"),
        Unauthorized("no such key", 401, "unknown_key"),
        Forbidden("you may not", 403, "forbidden"),
        Interrupted("the connection broke"),
        Refused("no such channel", 400, "invalid_channel"),
    ],
)
async def test_what_no_other_token_would_change(issuer: Issuer, error: Refused) -> None:
    credentials = issuer.credentials()
    token = await shown(credentials)
    assert credentials.after(error, token) is error
    assert await shown(credentials) is token


async def test_a_proxy_that_checks_tokens_has_no_code_for_it(issuer: Issuer) -> None:
    credentials = issuer.credentials()
    error = Unauthorized("the server answered HTTP 401", 401)
    assert isinstance(credentials.after(error, await shown(credentials)), Interrupted)


async def test_a_token_that_was_given_is_the_only_one() -> None:
    credentials = Credentials(token=SECRET)
    assert credentials.after(EXPIRED, await shown(credentials)) is EXPIRED
