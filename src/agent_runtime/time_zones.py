"""Time zones by their names: the first look at one reads a file, which is done in a thread where others wait."""

from __future__ import annotations

import asyncio
import pkgutil
from collections.abc import Iterable
from datetime import UTC, tzinfo
from functools import cache
from typing import Final

from agent_runtime.errors import ConfigurationError

_NAMES: Final = frozenset((pkgutil.get_data("tzdata", "zones") or b"").decode().split())
"""Of all time zones; read with this module, so that nobody reads a file while others wait."""
_READ: Final = {"UTC"}
"""The names of the time zones that `zone` returns without reading a file."""


@cache
def zone(name: str) -> tzinfo:
    """Return a time zone by its name; the first time its file is read, so call `load_zones` before where others wait.

    Raises:
        ConfigurationError: There is no such zone here.
    """
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        found = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise unknown_zone(name) from error
    _READ.add(name)
    return found


def unknown_zone(name: str) -> ConfigurationError:
    """Return the error that says so."""
    return ConfigurationError(
        f"time zone {name!r} is not known here; names are like 'Europe/Berlin' (`pip install -U tzdata` where it is too new)"
    )


def check_zone(name: str) -> None:
    """Refuse a time zone that does not exist, without reading its file. Raises `ConfigurationError`."""
    if name not in _NAMES:
        raise unknown_zone(name)


async def unknown_zones(names: Iterable[str]) -> frozenset[str]:
    """Read the files of time zones in a thread, where that was not done yet; return those that are not known here."""

    def read() -> frozenset[str]:
        return frozenset(name for name in files if not _is_known(name))

    files = set(names) - _READ
    return await asyncio.to_thread(read) if files else frozenset()


def _is_known(name: str) -> bool:
    try:
        zone(name)
    except ConfigurationError:
        return False
    return True


async def load_zones(names: Iterable[str]) -> None:
    """Read the files of time zones in a thread, where that was not done yet. Raises `ConfigurationError`."""
    files = set(names) - _READ
    if files:
        await asyncio.to_thread(lambda: [zone(name) for name in files])
