"""Running migrations with Alembic, from code: there is no `alembic.ini`."""

from __future__ import annotations

import io
import os
from pathlib import Path

from alembic import command
from alembic.config import Config

_HERE = Path(__file__).parent
FOLDERS = [_HERE / "versions"]
"""Where the revisions are."""


def config(url: str) -> Config:
    """Return the Alembic configuration of the database at `url`."""
    settings = Config()
    settings.set_main_option("script_location", str(_HERE))
    settings.set_main_option("version_locations", os.pathsep.join(map(str, FOLDERS)))
    settings.set_main_option("path_separator", "os")
    settings.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return settings


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to a revision."""
    command.upgrade(config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Take the database at `url` back to a revision, or to nothing with `base`."""
    command.downgrade(config(url), revision)


def script(url: str, before: str | None, after: str, *, down: bool) -> str:
    """Return the SQL that leads a Postgres database from one revision to another, without transaction control."""
    settings = config(url)
    settings.output_buffer = buffer = io.StringIO()
    span = after if before is None else f"{before}:{after}"
    (command.downgrade if down else command.upgrade)(settings, span, sql=True)
    return buffer.getvalue()
