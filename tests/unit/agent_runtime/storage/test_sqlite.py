"""What only the SQLite storage can do, or get wrong."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from agent_runtime.errors import SchemaMismatch, StorageClosed, StorageError, StorageFull
from agent_runtime.ports.commit import Commit, NewEvent
from agent_runtime.ports.ids import new_commit_id, new_id
from agent_runtime.storage.migrate import migrate_sqlite
from agent_runtime.storage.migrations import HEAD, REVISIONS, UNRELEASED
from agent_runtime.storage.migrations.run import config, downgrade, upgrade
from agent_runtime.storage.schema import sqlite_script
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.testing.storage_contract import NOW, Recorder, commit, job
from support.next_release import NEXT, become_next_release

TRY_LOCK = """
import sys, pathlib
from agent_runtime.storage.sqlite.executor_lock import ExecutorLock
print(ExecutorLock(pathlib.Path(sys.argv[1])).acquire())
"""


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[SQLiteStorage]:
    storage = SQLiteStorage(tmp_path / "runs.db")
    await storage.open()
    yield storage
    await storage.aclose()


def schema_of(path: Path) -> dict[str, str]:
    """Return the SQL of every table and index, white space folded."""
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    finally:
        connection.close()
    return {name: " ".join(sql.replace('"', "").split()) for name, sql in rows}


async def test_a_new_file_and_a_migrated_one_have_the_same_schema(
    storage: SQLiteStorage, tmp_path: Path
) -> None:
    migrated = tmp_path / "migrated.db"
    await asyncio.to_thread(upgrade, f"sqlite:///{migrated}")
    assert schema_of(migrated) == schema_of(storage.path)
    opened = SQLiteStorage(migrated)
    await opened.open()
    await opened.aclose()
    await asyncio.to_thread(downgrade, f"sqlite:///{migrated}", "base")
    assert set(schema_of(migrated)) <= {"runtime_schema_version"}


def test_the_shipped_script_is_the_declared_schema() -> None:
    shipped = (
        Path(__import__("agent_runtime.storage.sqlite").__file__).parent / "storage" / "sqlite" / "schema.sql"
    )
    assert shipped.read_text() == sqlite_script()


def test_the_listed_revisions_are_those_of_alembic() -> None:
    scripts = ScriptDirectory.from_config(config("sqlite://"))
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == REVISIONS
    assert scripts.get_current_head() == HEAD


def test_opening_a_new_file_imports_no_migration_machinery(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from agent_runtime.storage.sqlite import SQLiteStorage\n"
        "async def main():\n"
        f"    storage = SQLiteStorage({str(tmp_path / 'new.db')!r})\n"
        "    await storage.open()\n"
        "    await storage.aclose()\n"
        "asyncio.run(main())\n"
        "print([name for name in ('alembic', 'sqlalchemy', 'pydantic', 'httpx2') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my shopping list\n" * 100)
    with pytest.raises(StorageError, match="not a usable SQLite database"):
        await SQLiteStorage(path).open()
    assert path.read_text() == "my shopping list\n" * 100


async def test_a_newer_schema_is_refused_with_what_to_do(storage: SQLiteStorage) -> None:
    await storage.aclose()
    connection = sqlite3.connect(storage.path)
    connection.execute("UPDATE runtime_schema_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(SchemaMismatch, match="upgrade agent-runtime"):
        await SQLiteStorage(storage.path).open()


@pytest.mark.parametrize("revision", sorted(UNRELEASED))
async def test_a_schema_from_before_the_first_release_is_refused(
    storage: SQLiteStorage, revision: str
) -> None:
    await storage.aclose()
    connection = sqlite3.connect(storage.path)
    connection.execute("UPDATE runtime_schema_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()
    with pytest.raises(SchemaMismatch, match=r"before the first release .* start with a new database"):
        await SQLiteStorage(storage.path).open()
    with pytest.raises(SchemaMismatch, match=r"before the first release .* start with a new database"):
        await migrate_sqlite(storage.path)


async def test_an_older_file_is_migrated_when_it_is_opened(
    storage: SQLiteStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = job()
    await storage.commit(commit(create=[(record, [])]))
    await storage.aclose()
    become_next_release(monkeypatch, tmp_path / "next")
    newer = SQLiteStorage(storage.path)
    await newer.open()
    assert await newer.get_job(record.job_id) == record
    await newer.aclose()
    assert await migrate_sqlite(storage.path) == (NEXT, NEXT)
    assert "note" in schema_of(storage.path)["runtime_jobs"]


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder"):
        await SQLiteStorage(tmp_path / "nowhere" / "runs.db").open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
async def test_a_read_only_file_is_refused(storage: SQLiteStorage) -> None:
    await storage.aclose()
    storage.path.chmod(stat.S_IRUSR)
    with pytest.raises(StorageError):
        await SQLiteStorage(storage.path).open()


async def test_a_full_disk_fails_the_commit_that_did_not_fit_and_nothing_else(storage: SQLiteStorage) -> None:
    record = job()
    await storage.commit(commit(create=[(record, [])]))
    claim = await storage.claim(record.job_id, owner="w", at=NOW)
    assert claim is not None

    def limit(pages: int) -> object:
        return storage._writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    (pages,) = await storage._reader.run(lambda db: db.execute("PRAGMA page_count").fetchone())
    await limit(pages + 2)
    big = commit(
        job_id=record.job_id, fence=1, events=[NewEvent("custom.big", None, {}, os.urandom(500_000))]
    )
    small = [commit(job_id=record.job_id, fence=1, events=[NewEvent(f"custom.{n}")]) for n in range(3)]
    outcomes = await asyncio.gather(
        *(storage.commit(c) for c in [small[0], big, *small[1:]]), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [int, StorageFull, int, int]
    await limit(1_000_000)
    assert await storage.commit(big) == 5
    assert [event.seq for event in await storage.events(record.job_id)] == [1, 2, 3, 4, 5]


async def test_a_closed_storage_says_so(storage: SQLiteStorage) -> None:
    await storage.aclose()
    await storage.aclose()
    with pytest.raises(StorageClosed):
        await storage.commit(commit())
    with pytest.raises(StorageClosed):
        await storage.get_job("job")


async def test_what_was_committed_is_there_after_reopening(storage: SQLiteStorage) -> None:
    record = job()
    await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
    await storage.aclose()
    again = SQLiteStorage(storage.path)
    await again.open()
    assert [event.type for event in await again.events(record.job_id)] == ["job.created"]
    await again.aclose()


async def test_a_copy_of_the_files_at_any_moment_is_whole(storage: SQLiteStorage, tmp_path: Path) -> None:
    """A crash leaves the database and its log as they are; whatever was acknowledged must be in them."""
    record = job()
    await storage.commit(commit(create=[(record, [])]))
    await storage.claim(record.job_id, owner="w", at=NOW)
    for number in range(20):
        await storage.commit(commit(job_id=record.job_id, fence=1, events=[NewEvent(f"custom.{number}")]))
    for suffix in ("", "-wal"):
        shutil.copy(f"{storage.path}{suffix}", f"{tmp_path / 'copy.db'}{suffix}")
    copied = SQLiteStorage(tmp_path / "copy.db")
    await copied.open()
    assert len(await copied.events(record.job_id)) == 21
    await copied.aclose()


async def test_another_process_writing_is_noticed(storage: SQLiteStorage) -> None:
    told = asyncio.Event()

    class Ear(Recorder):
        def on_remote_change(self, changes: object = None) -> None:
            told.set()

    storage.listen(Ear())
    other = SQLiteStorage(storage.path)
    await other.open()
    await other.commit(commit(create=[(job(), [])]))
    async with asyncio.timeout(5):
        await told.wait()
    await other.aclose()


async def test_our_own_commits_are_not_taken_for_anothers(storage: SQLiteStorage) -> None:
    told: list[str] = []

    class Ear(Recorder):
        def on_remote_change(self, changes: object = None) -> None:
            told.append("elsewhere")

    storage.listen(Ear())
    for _ in range(20):
        await storage.commit(commit(create=[(job(), [])]))
    await asyncio.sleep(0.15)
    assert told == []


async def test_one_storage_object_at_a_time_may_execute(storage: SQLiteStorage) -> None:
    assert await storage.acquire_executor()
    assert await storage.acquire_executor()
    child = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-c",
            TRY_LOCK,
            str(storage.path),
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert child.stdout.strip() == "False"


async def test_ids_of_commits_and_jobs_grow_with_time() -> None:
    ids = [new_id("job") for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert len({new_commit_id() for _ in range(1000)}) == 1000


async def test_a_commit_without_fence_may_not_move_a_job(storage: SQLiteStorage) -> None:
    record = job()
    await storage.commit(commit(create=[(record, [])]))
    with pytest.raises(ValueError, match="fenced"):
        await storage.commit(Commit(commit_id="c", at=NOW, job_id=record.job_id, events=[NewEvent("x")]))


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A process that hides nothing by itself."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}


@pytest.mark.usefixtures("open_umask")
async def test_whatever_a_new_database_consists_of_is_for_its_owner_only(tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path / "runs.db")
    await storage.open()
    assert await storage.acquire_executor()
    await storage.commit(commit(create=[(job(), [])]))
    assert modes(tmp_path) == dict.fromkeys(
        ("runs.db", "runs.db-wal", "runs.db-shm", "runs.db.lock"), "0o600"
    )
    await storage.aclose()
    await migrate_sqlite(tmp_path / "migrated.db")
    assert modes(tmp_path)["migrated.db"] == "0o600"


@pytest.mark.usefixtures("open_umask")
async def test_a_database_that_its_owner_has_opened_to_others_stays_so(storage: SQLiteStorage) -> None:
    await storage.aclose()
    storage.path.chmod(0o640)
    again = SQLiteStorage(storage.path)
    await again.open()
    await again.commit(commit(create=[(job(), [])]))
    assert modes(storage.path.parent)["runs.db-wal"] == "0o640"
    await again.aclose()
