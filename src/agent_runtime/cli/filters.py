"""Times, lengths of time and tags, as they are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from agent_runtime.errors import InvalidInput
from agent_runtime.ports.clock import SystemClock

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class _Moment(click.ParamType[datetime]):
    """A day or a time, in UTC where it has no zone, or how long ago it was."""

    name = "time"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        ago = _AGO.fullmatch(value)
        try:
            if ago is not None:
                return SystemClock().now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time: write 2026-11-05, 2026-11-05T08:00, or how long ago, such as 90m, 12h or 7d",
                param,
                ctx,
            )


class _Length(click.ParamType[timedelta]):
    """A length of time."""

    name = "length"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        written = _AGO.fullmatch(value)
        if written is None:
            self.fail(f"{value!r} is no length of time: write 90m, 12h or 30d", param, ctx)
        return timedelta(**{_UNITS[written[2]]: int(written[1])})


MOMENT: Final = _Moment()
LENGTH: Final = _Length()


def read_tags(context: click.Context, option: click.Parameter, written: Iterable[str]) -> dict[str, str]:
    """Return tags that are written as `name=value`.

    Raises:
        InvalidInput: One is not, or a name is given twice.
    """
    del context, option
    tags: dict[str, str] = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not equals or not name or name in tags:
            raise InvalidInput(f"{text!r}: a tag is written NAME=VALUE, each name once")
        tags[name] = value
    return tags
