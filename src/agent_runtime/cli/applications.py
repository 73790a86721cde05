"""The user's application, on the database that `--db` names."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from agent_runtime.app import Application, load_app, made_app, storage_url_of, uses_storage
from agent_runtime.cli.database import name_of
from agent_runtime.errors import ConfigurationError
from agent_runtime.settings import DATABASE_URL, ENV_PREFIX

if TYPE_CHECKING:
    from agent_runtime.settings import Settings

Loaded = Application | Awaitable[Application]


def loaded_app(path: str, settings: Settings, db: str | None) -> Loaded:
    """Load an application: its settings name the database that `--db` names.

    Raises:
        ConfigurationError: There is none.
    """
    if db is not None:
        os.environ.pop(DATABASE_URL, None)
        os.environ[f"{ENV_PREFIX}STORAGE"] = settings.storage
    return load_app(path)


async def database_of(loaded: Loaded) -> str:
    """Return the storage URL of an application.

    Raises:
        ConfigurationError: Nobody else can open its storage.
    """
    url = storage_url_of(await made_app(loaded))
    if url is None or url.startswith("memory:"):
        raise ConfigurationError(
            "the application keeps its jobs in its memory, or on connections of its own: make the key there, with kernel.keys.create"
        )
    return url


async def obeying_app(loaded: Loaded, settings: Settings, db: str | None) -> Application:
    """Return the application, once its factory has made it.

    Raises:
        ConfigurationError: It keeps its jobs in another database than the one that `--db` names.
    """
    application = await made_app(loaded)
    if db is not None and not uses_storage(application, settings.storage):
        raise ConfigurationError(
            f"the application names its database itself, and not {name_of(settings)}: leave --db away, or let it read its settings "
            "(Settings.load())"
        )
    return application
