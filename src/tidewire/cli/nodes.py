"""``tidewire nodes``"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tidewire.cli.options import Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.tables import AsJson, ago, show

if TYPE_CHECKING:
    from tidewire.client import Node

_COLUMNS = (
    "id",
    "host",
    "#pid",
    "address",
    "state",
    "#connections",
    "#of",
    "#messages/s",
    "#cpu",
    "#memory",
    "#up",
    "version",
)


@takes_server
def nodes(server: Server, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Print the servers of the log, with their load.

    A table on a terminal, JSON lines elsewhere. Each worker is a server. It takes a key with the
    scope admin.
    """
    from tidewire.cli.asking import ask

    found = ask(server, lambda asked: asked.nodes(), quiet=quiet)
    show(found.nodes, _COLUMNS, _cells, as_json=as_json)


def _cells(node: Node) -> list[str]:
    return [
        node.id,
        node.host,
        str(node.pid),
        node.address,
        "draining" if node.draining else "ready",
        f"{node.connections:,}",
        f"{node.capacity:,}",
        f"{node.messages:,.1f}",
        f"{node.cpu:.1%}",
        f"{node.memory / (1 << 20):,.0f} MiB",
        ago(time.time() - node.started / 1000),
        node.version,
    ]
