"""What Alembic runs: the migrations on the database it was given, in one transaction, or as SQL for Postgres."""

from alembic import context
from sqlalchemy import create_engine, pool

from agent_runtime.storage.migrations import VERSION_TABLE
from agent_runtime.storage.schema import metadata


def write_sql() -> None:
    """Write the SQL; whoever runs it keeps the transaction."""
    context.configure(
        dialect_name="postgresql",
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        literal_binds=True,
        transactional_ddl=False,
    )
    context.run_migrations()


def migrate() -> None:
    """Run the migrations."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None  # noqa: S101 -- `run.config` sets it
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


if context.is_offline_mode():
    write_sql()
else:
    migrate()
