"""The OpenAPI document of this server, made from its settings: ``GET /openapi.json``.

Each module has the addresses of one group. That they are those of the route table, with the same
methods and needs, ``tests/server/openapi`` sees to; that the server answers as is written here,
``tests/conformance/test_openapi.py``.
"""

from tidewire.server.openapi.document import document, serve

__all__ = ["document", "serve"]
