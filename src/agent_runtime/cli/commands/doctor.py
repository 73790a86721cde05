"""`agent-runtime doctor`: is everything here that is needed, and does it work?"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import available_timezones

import click

from agent_runtime.cli.database import db_option, name_of, reading, settings_for
from agent_runtime.cli.exit_codes import FAILED, OK, describe
from agent_runtime.cli.output.amounts import counted
from agent_runtime.cli.output.printable import say
from agent_runtime.errors import AgentRuntimeError, ConfigurationError
from agent_runtime.worker.standing import is_alive
from llm_client.errors import DISTRIBUTION

if TYPE_CHECKING:
    from agent_runtime.settings import Settings
    from agent_runtime.values.standing_budget import Budget

Verdict = Literal["ok", "note", "problem"]

_REQUIREMENT: Final = re.compile(r"(?P<package>[\w.-]+)[^;]*;.*extra == ['\"](?P<extra>[\w.-]+)['\"]")
KEYS: Final = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "openai": ("OPENAI_API_KEY",),
}
SHOWN: Final = 3
"""Budgets that are named."""
MIN_FREE_BYTES: Final = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    detail: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@db_option
def doctor(db: str | None, as_json: bool) -> int:
    """Check Python, packages, the database, time zones and keys. No key is shown, nothing is sent to a vendor, and nothing is changed.

    A write to the database is tried and taken back; a database that is not there is not made.

    The exit code is 1 when there is a problem.
    """
    findings = list(_examine(db))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            say(f"{finding.verdict:<7}  {finding.what:<{width}}  {finding.detail}")
    return FAILED if any(finding.verdict == "problem" for finding in findings) else OK


def _examine(db: str | None) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    try:
        settings = settings_for(db)
    except ConfigurationError as error:
        yield Finding(what="settings", verdict="problem", detail=str(error))
    else:
        yield _settings()
        yield from _database(settings)
    yield from _keys()


def _settings() -> Finding:
    from agent_runtime.settings import settings_in_use

    in_use = settings_in_use()
    if in_use is not None and in_use.ignored:
        return Finding(what="settings", verdict="note", detail=str(in_use))
    file = "" if in_use is None else f" and {in_use.path}"
    return Finding(what="settings", verdict="ok", detail=f"from the environment{file}")


def _python() -> Finding:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(what="python", verdict="ok", detail=detail)


def _packages() -> Iterator[Finding]:
    yield Finding(what=DISTRIBUTION, verdict="ok", detail=version(DISTRIBUTION))
    for extra, packages in sorted(_extras().items()):
        found = {package: _version(package) for package in packages}
        missing = [package for package, number in found.items() if number is None]
        if missing:
            detail = f"not installed: pip install '{DISTRIBUTION}[{extra}]'"
            yield Finding(what=f"extra {extra}", verdict="note", detail=detail)
        else:
            detail = ", ".join(f"{package} {number}" for package, number in found.items())
            yield Finding(what=f"extra {extra}", verdict="ok", detail=detail)


def _extras() -> dict[str, list[str]]:
    """Return the packages of each extra, as the distribution itself names them."""
    extras: dict[str, list[str]] = {}
    for text in requires(DISTRIBUTION) or ():
        named = _REQUIREMENT.match(text)
        if named is not None and named["extra"] != "all":  # which is the others
            extras.setdefault(named["extra"], []).append(named["package"])
    return extras


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _database(settings: Settings) -> Iterator[Finding]:
    """Look at the database; one that does not exist yet is not made."""
    from agent_runtime.storage.examination import lacks_of
    from agent_runtime.storage.opening import sqlite_path

    path = sqlite_path(settings.storage)
    if path is not None:
        yield _disk(path)
        if not path.exists() or not path.stat().st_size:
            yield Finding(what="database", verdict="note", detail=f"{path} is made by the first run")
            return
    try:
        lacks = asyncio.run(lacks_of(settings.storage))
        for lack in lacks:
            yield Finding(what="database", verdict="problem", detail=lack)
        if not lacks and settings.storage != "memory://":
            yield Finding(what="writing", verdict="ok", detail="a row was written and taken back")
        yield from asyncio.run(_opened(settings))
    except (AgentRuntimeError, ConfigurationError, OSError) as error:
        yield Finding(what="database", verdict="problem", detail=describe(error)[0] or str(error))


async def _opened(settings: Settings) -> list[Finding]:
    async with reading(settings) as kernel:
        count = await kernel.jobs.count()
        budgets = await kernel.ledger.budgets()
        workers = [
            worker
            for worker in await kernel.storage.list_workers()
            if is_alive(worker) and not worker.only_waits
        ]
    zones = await asyncio.to_thread(lambda: list(_zones(budgets)))  # which reads files
    pids = ", ".join(str(worker.info.get("pid")) for worker in workers)
    return [
        Finding(
            what="database",
            verdict="ok",
            detail=f"{name_of(settings)}: its schema is current, {counted(count, 'job')}",
        ),
        Finding(
            what="executor", verdict="ok", detail=f"pid {pids}" if pids else "no process executes jobs now"
        ),
        *zones,
    ]


def _zones(budgets: Sequence[Budget]) -> Iterator[Finding]:
    """Say which budgets' days cannot be told here: their time zones are in no file of this machine."""
    from agent_runtime.time_zones import zone

    missing: dict[str, list[str]] = {}
    for budget in budgets:
        try:
            zone(budget.timezone)
        except ConfigurationError:
            missing.setdefault(budget.timezone, []).append(budget.budget_id)
    for name, ids in sorted(missing.items()):
        more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        detail = (
            f"{name!r} is not known here, and budgets are in it: {', '.join(sorted(ids)[:SHOWN])}{more}; what spends from them is "
            "blocked (pip install -U tzdata)"
        )
        yield Finding(what="time zones", verdict="problem", detail=detail)
    known = len(available_timezones())
    if not known:
        detail = "no time zone but UTC is known here: pip install tzdata"
        yield Finding(what="time zones", verdict="note", detail=detail)
    elif not missing:
        yield Finding(what="time zones", verdict="ok", detail=f"{known} are known")


def _disk(path: Path) -> Finding:
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:,.1f} GiB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Finding(what="disk", verdict="problem", detail=f"{folder} cannot be written")
    return Finding(what="disk", verdict="ok" if free >= MIN_FREE_BYTES else "problem", detail=detail)


def _keys() -> Iterator[Finding]:
    """Say which vendors' keys are set; never what they are."""
    from llm_client.providers.presets import PRESETS

    vendors = {
        **KEYS,
        **{name: preset.key_variables for name, preset in PRESETS.items() if preset.key_required},
    }
    for vendor, variables in sorted(vendors.items()):
        present = [variable for variable in variables if os.environ.get(variable)]
        detail = f"{present[0]} is set" if present else f"{' or '.join(variables)} is not set"
        yield Finding(what=f"key {vendor}", verdict="ok" if present else "note", detail=detail)
