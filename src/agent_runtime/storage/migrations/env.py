"""What Alembic runs: the migrations, in one transaction, on the database it was given."""

from alembic import context
from sqlalchemy import create_engine, pool

from agent_runtime.storage.migrations import VERSION_TABLE
from agent_runtime.storage.schema import metadata

url = context.config.get_main_option("sqlalchemy.url")
assert url is not None  # noqa: S101 -- `run.config` sets it
engine = create_engine(url, poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
