"""The contract of ``tidewire.log.engine`` as tests: every engine passes all of them, unchanged.

An engine's own test file plugs in with a fixture ``storages``, a function that makes new, empty
storage of its kind::

    class TestRedis(EngineContract, DurableContract, SharedContract):
        @pytest.fixture
        def storages(self) -> Callable[[], Storage]:
            return lambda: RedisStorage(...)

``EngineContract`` is for all engines, ``DurableContract`` for those that find their log again
after they were closed, ``SharedContract`` for those of which several may share one log. Besides
these there are only tests of what is an engine's own: its files, its failures, its processes.
"""

from __future__ import annotations

from tests.log.contract_appending import AppendingContract
from tests.log.contract_discarding import DiscardingContract
from tests.log.contract_durable import DurableContract
from tests.log.contract_expiry import ExpiryContract
from tests.log.contract_keys import KeysContract
from tests.log.contract_model import ModelContract
from tests.log.contract_purging import PurgingContract
from tests.log.contract_reading import ReadingContract
from tests.log.contract_records import RecordsContract
from tests.log.contract_shared import SharedContract
from tests.log.contract_starting import StartingContract
from tests.log.contract_versions import VersionsContract

__all__ = ["DurableContract", "EngineContract", "SharedContract"]


class EngineContract(
    AppendingContract,
    KeysContract,
    ReadingContract,
    DiscardingContract,
    StartingContract,
    PurgingContract,
    ExpiryContract,
    VersionsContract,
    RecordsContract,
    ModelContract,
):
    """What holds for every engine."""
