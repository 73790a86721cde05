"""Packages that are there only with an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Final

from agent_runtime.errors import MissingDependency

EXTRAS: Final = {
    **dict.fromkeys(("asyncpg", "procrastinate", "psycopg", "psycopg_pool"), "postgres"),
    "redis": "redis",
    **dict.fromkeys(("fastapi", "starlette", "prometheus_client", "uvicorn", "websockets"), "server"),
    "opentelemetry": "otel",
    **dict.fromkeys(("cryptography", "jwt"), "jwt"),
}
"""The extra that brings each of them."""


@contextmanager
def optional_packages() -> Iterator[None]:
    """Import in the body what may need such a package.

    Raises:
        MissingDependency: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingDependency(package, EXTRAS[package]) from error


def import_optional(module: str) -> ModuleType:
    """Import a module that may need such a package. Raises `MissingDependency`."""
    with optional_packages():
        return import_module(module)
