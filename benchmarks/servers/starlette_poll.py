"""A short poll as one would write it with Starlette on uvicorn: nothing new, 304 if the client says
it knows.

    python -m benchmarks.servers.starlette_poll CURSOR ETAG
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request


def application(cursor: str, etag: str) -> Starlette:
    """The application; `cursor` and `etag` never change, as nothing is ever published."""

    async def poll(request: Request) -> Response:
        channels = request.query_params.getlist("channels")
        known = request.query_params.get("cursor", cursor)
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return JSONResponse(
            {
                "messages": [],
                "cursor": known,
                "hasNew": not channels,
                "recovered": True,
                "gaps": [],
            },
            headers=headers,
        )

    return Starlette(routes=[Route("/poll", poll)])


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    host, port = listener.getsockname()
    print(f"starlette listening on http://{host}:{port}", flush=True)
    config = uvicorn.Config(
        application(*sys.argv[1:3]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    uvicorn.Server(config).run(sockets=[listener])
