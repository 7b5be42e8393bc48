"""Errors: one status and one stable code each."""

from __future__ import annotations

import pytest

from tidewire.model import (
    BadRequest,
    EngineUnavailable,
    Forbidden,
    InvalidChannel,
    InvalidCursor,
    InvalidKey,
    InvalidTicket,
    InvalidToken,
    KeysUnavailable,
    MethodNotAllowed,
    NoCredentials,
    NotFound,
    Replaced,
    TidewireError,
    TokenExpired,
    TooLarge,
    TooManyRequests,
    TooManySingleAcks,
    Unauthorized,
    Unavailable,
    UnknownConsumer,
)

CONTRACT = [
    (BadRequest("x"), 400, "malformed"),
    (InvalidChannel("x"), 400, "invalid_channel"),
    (InvalidCursor("x"), 400, "invalid_cursor"),
    (Unauthorized("x"), 401, "unauthorized"),
    (NoCredentials("x"), 401, "no_credentials"),
    (InvalidToken("x"), 401, "invalid_token"),
    (TokenExpired("x"), 401, "token_expired"),
    (InvalidKey("x"), 401, "unknown_key"),
    (InvalidTicket("x"), 401, "invalid_ticket"),
    (Forbidden("x"), 403, "forbidden"),
    (NotFound("x"), 404, "not_found"),
    (UnknownConsumer("x"), 404, "unknown_consumer"),
    (Replaced("x"), 409, "replaced"),
    (TooManySingleAcks("x"), 409, "too_many_single_acks"),
    (MethodNotAllowed("x", allowed="GET"), 405, "method_not_allowed"),
    (TooLarge("x"), 413, "too_large"),
    (TooManyRequests("x", retry_after=1.5), 429, "too_many_requests"),
    (Unavailable("x"), 503, "unavailable"),
    (EngineUnavailable("x"), 503, "engine_unavailable"),
    (KeysUnavailable("x"), 503, "keys_unavailable"),
]


def every_error(base: type[TidewireError]) -> set[type[TidewireError]]:
    below = set(base.__subclasses__())
    return below.union(*(every_error(error) for error in below))


@pytest.mark.parametrize(
    ("error", "status", "code"), CONTRACT, ids=[type(error).__name__ for error, _, _ in CONTRACT]
)
def test_status_and_code_are_the_contract(error: TidewireError, status: int, code: str) -> None:
    assert (error.status, error.code) == (status, code)
    assert error.title
    assert error.detail == str(error) == "x"


def test_no_error_is_missing_from_the_contract() -> None:
    of_the_model = {
        e for e in every_error(TidewireError) if e.__module__ == "tidewire.model.errors"
    }
    assert of_the_model == {type(error) for error, _, _ in CONTRACT}


def test_a_code_of_its_own_leaves_the_others_alone() -> None:
    special = BadRequest("x", code="too_deep")
    assert (special.status, special.code, special.title) == (400, "too_deep", BadRequest.title)
    assert BadRequest("x").code == "malformed"


def test_a_wrong_channel_or_cursor_is_a_bad_request() -> None:
    assert issubclass(InvalidChannel, BadRequest)
    assert issubclass(InvalidCursor, BadRequest)
    assert issubclass(EngineUnavailable, Unavailable)


def test_why_is_not_told() -> None:
    error = InvalidToken("get another one", why="the signature does not fit the key 'a'")
    assert error.why == "the signature does not fit the key 'a'"
    assert str(error) == error.detail == "get another one"
    assert Unauthorized("x").why == ""


def test_what_some_errors_carry() -> None:
    assert MethodNotAllowed("x", allowed="GET, OPTIONS").allowed == "GET, OPTIONS"
    assert TooManyRequests("x", retry_after=1.5).retry_after == 1.5
