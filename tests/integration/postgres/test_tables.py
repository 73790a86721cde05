"""The tables of a Postgres database: made, checked, taken back, and as documented."""

from decimal import Decimal

import asyncpg
import pytest
from sqlalchemy.dialects import postgresql

from agent_runtime import PostgresDispatcher, PostgresJobStore, PostgresLedgerWriter, RuntimeKernel
from agent_runtime.errors import ConfigurationError, InvalidInput, SchemaMismatch, StorageError
from agent_runtime.ports.ids import new_id
from agent_runtime.storage import schema
from agent_runtime.storage.migrate import migrate_postgres
from agent_runtime.storage.migrations import HEAD, UNRELEASED
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.storage_contract import NOW, action, commit, job
from agent_runtime.values.budget import LedgerEntry

COLUMNS = """
SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'
"""


async def columns(dsn: str) -> dict[str, dict[str, str]]:
    """Return the type of every column of every table of ours."""
    connection = await asyncpg.connect(dsn)
    found: dict[str, dict[str, str]] = {}
    for table, column, type_ in await connection.fetch(COLUMNS):
        found.setdefault(table, {})[column] = type_
    await connection.close()
    return found


async def test_a_database_without_tables_is_refused_with_what_to_run(postgres_dsn: str) -> None:
    with pytest.raises(SchemaMismatch, match="agent-runtime migrate"):
        await PostgresStorage(postgres_dsn).open()
    with pytest.raises(SchemaMismatch, match="agent-runtime migrate"):
        await RuntimeKernel(storage=PostgresStorage(postgres_dsn)).start()
    with pytest.raises(SchemaMismatch, match="agent-runtime migrate"):
        await PostgresDispatcher(postgres_dsn).open()


async def test_migrations_lead_up_and_back_to_nothing(postgres_dsn: str) -> None:
    assert await migrate_postgres(postgres_dsn) == (None, HEAD)
    assert await migrate_postgres(postgres_dsn) == (HEAD, HEAD)
    with pytest.raises(InvalidInput, match="no schema '9999'; known are base, 0004"):
        await migrate_postgres(postgres_dsn, "9999")
    assert await migrate_postgres(postgres_dsn, "base") == (HEAD, None)
    connection = await asyncpg.connect(postgres_dsn)
    left = await connection.fetch("SELECT relname FROM pg_class WHERE relname ~ '^(runtime|procrastinate)_'")
    assert left == []
    await connection.close()
    assert await migrate_postgres(postgres_dsn) == (None, HEAD)


async def test_the_migrated_tables_have_every_declared_column(database: str) -> None:
    found = await columns(database)
    dialect = postgresql.dialect()
    for table in schema.metadata.sorted_tables:
        assert {column.name for column in table.columns} <= found[table.name].keys()
        json = {column.name for column in table.columns if str(column.type.compile(dialect)) == "JSONB"}
        assert {name for name, type_ in found[table.name].items() if type_ == "jsonb"} == json


async def test_documented_columns_exist_with_their_types(database: str) -> None:
    found = await columns(database)
    assert found["runtime_ledger"]["cost"] == "numeric"
    assert found["runtime_ledger"]["total_tokens"] == "bigint"
    assert found["runtime_actions"]["resume_token"] == "text"
    assert found["runtime_jobs"]["created_at"] == "timestamp with time zone"


async def test_the_documented_columns_hold_exact_dollars_and_never_a_token(database: str) -> None:
    storage = PostgresStorage(database)
    await storage.open()
    asked = action()
    entry = LedgerEntry(
        entry_id="e",
        type="model_usage",
        input_tokens=3,
        output_tokens=4,
        cost=Decimal("0.1234567891"),
        timestamp=NOW,
    )
    await storage.commit(commit(new_actions=[asked], ledger=[entry]))
    await storage.aclose()
    connection = await asyncpg.connect(database)
    assert str(await connection.fetchval("SELECT cost FROM runtime_ledger")) == "0.1234567891"
    assert await connection.fetchval("SELECT total_tokens FROM runtime_ledger") == 7
    assert await connection.fetchval("SELECT resume_token FROM runtime_actions") == asked.token_hash
    await connection.close()


async def test_a_newer_schema_is_refused(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE runtime_schema_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(SchemaMismatch, match="upgrade agent-runtime"):
        await PostgresStorage(database).open()


@pytest.mark.parametrize("revision", sorted(UNRELEASED))
async def test_a_schema_from_before_the_first_release_is_refused(database: str, revision: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE runtime_schema_version SET version_num = $1", revision)
    await connection.close()
    with pytest.raises(SchemaMismatch, match=r"before the first release .* start with a new database"):
        await PostgresStorage(database).open()
    with pytest.raises(SchemaMismatch, match=r"before the first release .* start with a new database"):
        await migrate_postgres(database)


async def test_nothing_ever_quotes_the_password() -> None:
    for dsn in ("postgresql://me:hunter2@127.0.0.1:1/none", "postgresql://me:hunter2@127.0.0.1:x/none"):
        storage = PostgresStorage(dsn)
        with pytest.raises((StorageError, ConfigurationError)) as caught:
            await storage.open()
        assert "hunter2" not in f"{caught.value} {caught.value!r} {storage!r}"


async def test_stores_over_one_pool_are_views_of_one_storage(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=4) as pool:
        assert PostgresJobStore(pool).storage is PostgresLedgerWriter(pool).storage


async def test_a_pool_that_is_too_small_is_refused_with_the_reason(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        with pytest.raises(ConfigurationError, match="max_size"):
            await PostgresStorage(pool).open()


async def test_text_keeps_what_postgres_itself_cannot_hold(database: str) -> None:
    storage = PostgresStorage(database)
    await storage.open()
    odd = "a\x00b\x1ac\x1a0"
    record = job(idempotency_key=odd, principal_id=odd, metadata={odd: [odd]}, job_id=new_id("job"))
    await storage.commit(commit(create=[(record, [])]))
    assert await storage.find_job("default", odd) == record
    await storage.aclose()
