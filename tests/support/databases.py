"""Postgres databases that have their tables already, one for each test."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from agent_runtime.storage.postgres import PostgresStorage
from support.services import Postgres


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """The name of a database with tables and no rows; copying it is quicker than migrating each."""
    name = f"template_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE DATABASE {name}")

    async def migrate() -> None:
        await PostgresStorage(postgres.dsn(name)).setup()

    asyncio.run(migrate())
    return name


def copied(postgres: Postgres, template: str) -> Iterator[str]:
    """Make a database from the template, and drop it afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield postgres.dsn(name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    """The address of a migrated database that this test alone uses."""
    yield from copied(postgres, postgres_template)


@pytest.fixture(scope="module")
def module_database(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    """The address of a migrated database that the tests of one module share."""
    yield from copied(postgres, postgres_template)
