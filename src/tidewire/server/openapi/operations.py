"""How one operation is written down: its parameters, its body, its answers and its refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tidewire.server.openapi.problems import problems
from tidewire.server.openapi.values import Json, ref
from tidewire.server.request import Needs

_NEEDED = {
    "nothing": "For everybody.",
    "caller": "For everybody whom the server lets in.",
    "subscribe": "Needs the right `subscribe` in each channel.",
    "publish": "Needs the right `publish` in each channel.",
    "history": "Needs the right `history` in the channel.",
    "presence": "Needs the right `presence` in the channel.",
    "ack": "Needs the right `ack` or `subscribe` in every channel of the consumer.",
    "admin": "For keys with the scope `admin`.",
    "metrics": "For keys with the scope `metrics`.",
}


class Operation(NamedTuple):
    """What the document says of one method of an address.

    *answers* are the responses other than refusals, *refusals* the codes that only some
    addresses have, both by status.
    """

    id: str
    needs: Needs
    summary: str
    answers: Mapping[int, Json]
    description: str = ""
    parameters: Sequence[Json] = ()
    body: Json | None = None
    refusals: Mapping[int, tuple[str, ...]] = {}


Paths = dict[str, dict[str, Operation]]
"""The operations of each path, by method in small letters."""


def written(operation: Operation, tag: str) -> Json:
    """*operation* as OpenAPI has it."""
    description = f"{operation.description} {_NEEDED[operation.needs]}".strip()
    document: Json = {
        "operationId": operation.id,
        "tags": [tag],
        "summary": operation.summary,
        "description": description,
    }
    if operation.parameters:
        document["parameters"] = list(operation.parameters)
    if operation.body is not None:
        document["requestBody"] = operation.body
    if operation.needs == "nothing":
        document["security"] = []
    answers = {str(status): answer for status, answer in operation.answers.items()}
    document["responses"] = answers | problems(operation.needs, dict(operation.refusals))
    return document


def as_head(operation: Operation) -> Operation:
    """The same operation by HEAD, whose answers have no body."""
    return operation._replace(
        id=operation.id.replace("get", "head", 1),
        summary=f"{operation.summary}: the head alone",
        answers={
            status: {name: part for name, part in answer.items() if name != "content"}
            for status, answer in operation.answers.items()
        },
    )


def query(name: str, schema: Json, description: str = "", **more: Any) -> Json:
    """A parameter of the URL; with *required* it must be there."""
    return _parameter("query", name, schema, description, more)


def header(name: str, schema: Json, description: str = "", **more: Any) -> Json:
    """A header of the request."""
    return _parameter("header", name, schema, description, more)


def part_of_path(name: str, schema: Json, description: str = "") -> Json:
    """What stands in the path in the place of its name."""
    return _parameter("path", name, schema, description, {"required": True})


def _parameter(place: str, name: str, schema: Json, description: str, more: Json) -> Json:
    parameter = {"name": name, "in": place, "schema": schema} | more
    return parameter | {"description": description} if description else parameter


def answer(
    description: str,
    schema: Json | None = None,
    headers: Mapping[str, Json] | None = None,
    media: str = "application/json",
) -> Json:
    """A response; *schema* is that of its body, if it has one."""
    document: Json = {"description": description}
    if headers:
        document["headers"] = dict(headers)
    if schema is not None:
        document["content"] = {media: {"schema": schema}}
    return document


def sent(schema: Json, *, required: bool) -> Json:
    """A request's body of JSON."""
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def exactly(value: str) -> Json:
    """A header of an answer that is always there, and always the same."""
    return {"required": True, "schema": {"const": value}}


def always(schema: Json) -> Json:
    """A header of an answer that is always there."""
    return {"required": True, "schema": schema}


NOT_KEPT = {"Cache-Control": exactly("no-store")}

CHANNEL = query("channel", ref("Channel"), required=True)
