"""The kinds of values that settings are made of, with their units."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict

from tidewire.settings.describe import Allowed, Unit
from tidewire.settings.values import split_list

Bytes = Annotated[int, Unit("bytes")]
Messages = Annotated[int, Unit("messages")]
Milliseconds = Annotated[int, Unit("milliseconds")]
Seconds = Annotated[float, Unit("seconds")]

Names = Annotated[tuple[str, ...], BeforeValidator(split_list), Allowed("a list, comma-separated")]
TEN_YEARS = 315_360_000
DAY = 86_400

Policy = Literal["catch_up", "latest", "disconnect"]
Who = Literal["token", "user", "anyone"]
FilePath = Annotated[str, Allowed("nothing, or the path of a file")]

# Strict: a file that says port = "8480" or console = 1 is told so, rather than understood somehow.
# The text of flags and variables is converted before (see sources.py).
CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
