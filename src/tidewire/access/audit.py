"""What was done with the rights of an operator, and by whom: a line each, whatever the log level.

The logger ``tidewire.audit`` has these lines and no others.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidewire.access.caller import Caller

logger = logging.getLogger("tidewire.audit")


def audit(action: str, caller: Caller | str, **facts: object) -> None:
    """Note that *caller* has done *action*, such as ``purge``; *facts* say to what, and from where.

    It is called once the thing is done. Who was not allowed to do it is in the log as refused.
    """
    logger.info(action, extra={"facts": {"caller": str(caller), **facts}})
