"""The whole document, and the address that serves it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import msgspec

from tidewire import __version__
from tidewire.server.openapi import (
    admitting,
    consuming,
    managing,
    operating,
    publishing,
    subscribing,
)
from tidewire.server.openapi.operations import Paths, written
from tidewire.server.openapi.values import Json, schemas
from tidewire.server.request import Handler, Request
from tidewire.server.response import JSON, NO_SNIFF
from tidewire.settings import Settings

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

_GROUPS = {
    "Subscribing": subscribing,
    "Publishing": publishing,
    "Consumers": consuming,
    "Letting in": admitting,
    "Managing": managing,
    "Operating": operating,
}

_ABOUT = (
    "Messages over WebSocket, Server-Sent Events, long polling and short polling, with one "
    "envelope and one cursor. Every path also takes OPTIONS, and refuses other methods with 405 "
    "`method_not_allowed` and `Allow`; other paths are 404 `not_found`. A page of another origin "
    "that may use this server finds the headers of CORS in each answer."
)


def groups(settings: Settings) -> dict[str, Paths]:
    """The operations of a server with these *settings*, by the tag of their group."""
    return {tag: group.paths(settings) for tag, group in _GROUPS.items()}


def document(settings: Settings) -> Json:
    """The OpenAPI 3.1 document of a server with these *settings*."""
    shared = _Shared()
    paths = {
        path: {
            method: shared.out_of(written(operation, tag))
            for method, operation in operations.items()
        }
        for tag, group in groups(settings).items()
        for path, operations in group.items()
    }
    schemes = _schemes(settings)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidewire",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": settings.path_prefix or "/"}],
        "tags": [{"name": tag} for tag in _GROUPS],
        "paths": paths,
        "components": {
            "schemas": schemas(settings),
            "parameters": shared.parameters,
            "responses": shared.responses,
            "securitySchemes": schemes,
        },
        "security": [{name: []} for name in schemes] if settings.has_credentials else [],
    }


class _Shared:
    """Parameters and refusals, each written once however many operations have it."""

    def __init__(self) -> None:
        self.parameters: Json = {}
        self.responses: Json = {}

    def out_of(self, operation: Json) -> Json:
        """*operation* with references in their place."""
        parameters = operation.get("parameters", [])
        responses = operation["responses"].items()
        return operation | {
            "parameters": [
                self._kept("parameters", parameter["name"], parameter) for parameter in parameters
            ],
            "responses": {
                status: self._kept("responses", f"Refused{status}", answer)
                if status >= "400"
                else answer
                for status, answer in responses
            },
        }

    def _kept(self, kind: str, name: str, value: Json) -> Json:
        """A reference to *value*, which is kept under *name*, or another if that is taken."""
        known: Json = getattr(self, kind)
        number = 1
        free = name
        while known.setdefault(free, value) != value:
            number += 1
            free = f"{name}.{number}"
        return {"$ref": f"#/components/{kind}/{free}"}


def _schemes(settings: Settings) -> Json:
    schemes: Json = {
        "key": {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "The key of a back end.",
        },
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A user's token, or the key of a back end.",
        },
    }
    for name, what in {
        "token": "A user's token, where no header can be set.",
        "ticket": "A one-time ticket of `POST /tickets`.",
        "api_key": "The key of a back end, where no header can be set.",
    }.items():
        schemes[name] = {"type": "apiKey", "in": "query", "name": name, "description": what}
    if settings.token_cookie:
        schemes["cookie"] = {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.token_cookie,
            "description": "A user's token, for the server's own pages.",
        }
    return schemes


def serve(settings: Settings) -> Handler:
    """The handler of ``GET /openapi.json`` for a server with these *settings*."""

    @cache
    def body() -> bytes:
        return msgspec.json.encode(document(settings))

    def handler(app: App, request: Request, connection: Connection) -> None:
        headers = JSON + NO_SNIFF + b"Cache-Control: no-cache\r\n" + app.cors(request)
        connection.respond(200, headers, body())

    return handler
