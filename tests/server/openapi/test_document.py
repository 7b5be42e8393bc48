"""The document at /openapi.json: every address of the route table, nothing else, and its limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openapi_spec_validator
import pytest

from tidewire.console import static_files
from tidewire.server.openapi import document
from tidewire.server.openapi.document import groups
from tidewire.server.openapi.problems import BY_STATUS
from tidewire.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.conftest import MakeServer, Server

PAGE = Path(__file__).parents[3] / "docs" / "protocol.md"

SETTINGS: list[dict[str, Any]] = [
    {},
    {"echo": True},
    {"path_prefix": "/real/time"},
    {"console": False},
    {"api_key": "k" * 32, "token_cookie": "session"},
]


def routes(server: Server) -> dict[tuple[str, str], str]:
    """What each route needs, by path without prefix and method; the console's are no part of it."""
    prefix = server.settings.path_prefix
    files = {prefix + path for path in static_files()} | {prefix}
    return {
        (path.decode().removeprefix(prefix), method.decode()): endpoint.needs
        for path, endpoints in server.app._routes.items()
        for method, endpoint in endpoints.items()
        if path.decode() not in files
    }


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_route_is_described_and_nothing_else(
    make_server: MakeServer, settings: dict[str, Any]
) -> None:
    server = make_server(**settings)
    described = {
        (path, method.upper()): operation.needs
        for group in groups(server.settings).values()
        for path, operations in group.items()
        for method, operation in operations.items()
    }
    assert described == routes(server)
    written = document(server.settings)["paths"]
    assert {(path, method.upper()) for path in written for method in written[path]} == {*described}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_is_what_openapi_says(settings: dict[str, Any]) -> None:
    openapi_spec_validator.validate(document(Settings(**settings)))


def test_it_is_served(make_server: MakeServer) -> None:
    server = make_server(path_prefix="/real/time", max_channels=7)
    reply = server.get("/real/time/openapi.json", {"Origin": "http://localhost:3000"})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert reply.json == document(server.settings)
    assert reply.json["servers"] == [{"url": "/real/time"}]


def test_anybody_may_read_it(make_server: MakeServer) -> None:
    server = make_server(api_key="k" * 32)
    assert server.get("/openapi.json").status == 200
    assert server.get("/poll?channels=a").status == 401


# Limits


def test_limits_are_those_of_the_settings() -> None:
    made = document(Settings(max_channels=7, max_message_size=1234, ticket_ttl=9.0))
    assert made["components"]["schemas"]["Channels"]["maxItems"] == 7
    assert "1234 bytes" in made["paths"]["/publish"]["post"]["description"]
    assert "9 seconds" in made["paths"]["/tickets"]["post"]["description"]


# Credentials


def test_a_server_that_asks_nobody_says_so() -> None:
    assert document(Settings())["security"] == []


def test_a_server_that_asks_says_how() -> None:
    made = document(Settings(api_key="k" * 32, token_cookie="session"))
    schemes = made["components"]["securitySchemes"]
    assert made["security"] == [{name: []} for name in schemes]
    places = {(scheme.get("in", "header"), scheme.get("name")) for scheme in schemes.values()}
    assert places == {
        ("header", "X-API-Key"),
        ("header", None),  # Authorization: Bearer
        ("query", "token"),
        ("query", "ticket"),
        ("query", "api_key"),
        ("cookie", "session"),
    }
    paths = made["paths"]
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert paths[path]["get"]["security"] == []
    assert "security" not in paths["/poll"]["get"]
    assert "401" in paths["/poll"]["get"]["responses"]
    assert "401" not in paths["/healthz"]["get"]["responses"]


# Refusals


def listed() -> Iterator[tuple[int, str]]:
    """Status and code of each row of the table of errors in docs/protocol.md."""
    for status, code in re.findall(
        r"^\| (\d+) \| `([a-z_0-9]+)` \|", PAGE.read_text("utf-8"), re.M
    ):
        yield int(status), code


ELSEWHERE = {"not_found", "method_not_allowed"}
"""Codes of addresses and methods that are not described."""

BY_WEBSOCKET = {
    "not_subscribed",
    "no_consumer",
    "invalid_upload",
    "too_many_uploads",
    "upload_busy",
    "upload_differs",
    "wrong_offset",
    "checksum_mismatch",
    "upload_refused",
    "taken_over",
    "uploads_off",
    "unknown_upload",
    "storage_unavailable",
}
"""Codes of commands that HTTP has not."""


def test_refusals_are_those_of_the_protocol_page() -> None:
    described = {(status, code) for status, codes in BY_STATUS.items() for code in codes}
    assert described == {row for row in listed() if row[1] not in ELSEWHERE | BY_WEBSOCKET}


def test_every_refusal_is_one_of_some_address() -> None:
    made = document(Settings(echo=True))
    told = {
        (int(name.removeprefix("Refused")[:3]), code)
        for name, answer in made["components"]["responses"].items()
        for code in answer["content"]["application/problem+json"]["schema"]["allOf"][1][
            "properties"
        ]["code"]["enum"]
    }
    assert told == {(status, code) for status, codes in BY_STATUS.items() for code in codes}
