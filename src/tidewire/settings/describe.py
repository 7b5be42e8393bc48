"""What people are told about a setting: its unit, what it takes, its heading."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from tidewire.settings.hiding import HIDDEN, hide_passwords

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ENV_PREFIX = "TIDEWIRE_"


@dataclass(frozen=True, slots=True)
class Unit:
    """What the number of a setting counts. Stands in the field's annotation."""

    name: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """In words, what a setting takes whose type does not say so. Stands in its annotation."""

    text: str


@dataclass(frozen=True, slots=True)
class Secret:
    """The setting's value is never shown. Stands in its annotation."""


@dataclass(frozen=True, slots=True)
class Address:
    """The setting's value may be an address with a password, which is never shown.

    Stands in its annotation.
    """


def is_secret(info: FieldInfo) -> bool:
    """Whether the setting's value must not be shown to anybody."""
    return any(isinstance(item, Secret) for item in info.metadata)


def is_address(info: FieldInfo) -> bool:
    """Whether the setting's value is an address, in which a password may stand."""
    return any(isinstance(item, Address) for item in info.metadata)


def presentable(info: FieldInfo, value: object) -> object:
    """*value* as it may be shown to anybody."""
    if value and is_secret(info):
        return HIDDEN
    if is_address(info):
        shown = hide_passwords(text := str(value))
        return value if shown == text else shown
    return value


def flag_name(field: str) -> str:
    """``poll_interval`` as a flag: ``--poll-interval``."""
    return "--" + field.replace("_", "-")


def variable_name(field: str) -> str:
    """``poll_interval`` in the environment: ``TIDEWIRE_POLL_INTERVAL``."""
    return ENV_PREFIX + field.upper()


def value_type(info: FieldInfo) -> Any:
    """The type of a setting, without the ``None`` that stands for *not set*."""
    if get_origin(info.annotation) in (UnionType, Union):
        return next(kind for kind in get_args(info.annotation) if kind is not NoneType)
    return info.annotation


def unit(info: FieldInfo) -> str:
    """``seconds``, ``bytes`` and so on; empty for a setting without a unit."""
    return next((item.name for item in info.metadata if isinstance(item, Unit)), "")


def allowed(info: FieldInfo) -> str:
    """What the setting takes, as it stands in an error: *a whole number from 0 to 65535*."""
    for item in info.metadata:
        if isinstance(item, Allowed):
            return item.text
    kind = value_type(info)
    if kind is bool:
        return "true or false"
    if get_origin(kind) is Literal:
        *most, last = map(str, get_args(kind))
        return f"{', '.join(most)} or {last}"
    if kind in (int, float):
        counted = f" of {unit(info)}" if unit(info) else ""
        return f"{'a whole number' if kind is int else 'a number'}{counted}{_range(info)}"
    raise TypeError(f"a setting of type {kind} needs Allowed(...) in its annotation")


def _range(info: FieldInfo) -> str:
    low = high = above = None
    for item in info.metadata:
        low = getattr(item, "ge", low)
        above = getattr(item, "gt", above)
        high = getattr(item, "le", high)
    if high is None or (low is None) == (above is None):
        raise TypeError("a number needs both ends of its range")
    return f" from {low} to {high}" if above is None else f" above {above} and up to {high}"
