"""What people and models have said to each other is in files that only their owner reads."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_client import CompletionResult, Conversation, SQLiteCache
from llm_client.private_files import make_private, make_private_folder


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """A process that hides nothing by itself."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_a_new_file_is_private_and_one_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    make_private(new)
    assert mode(new) == "0o600"
    old.write_text("kept")
    old.chmod(0o644)
    make_private(old)
    assert mode(old) == "0o644"
    assert old.read_text() == "kept"
    make_private(tmp_path / "nowhere" / "file")  # whoever opens it says so


def test_new_folders_are_private_up_to_the_first_one_that_is_there(tmp_path: Path) -> None:
    os.umask(0)
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    make_private_folder(there / "a" / "b")
    make_private_folder(there / "a" / "b")
    assert [mode(folder) for folder in (there, there / "a", there / "a" / "b")] == [
        "0o755",
        "0o700",
        "0o700",
    ]


async def test_a_conversation_is_not_written_through_a_link_that_waits_for_it(tmp_path: Path) -> None:
    folder, victim = tmp_path / "shared", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("kept")
    (folder / f".notes.json.{os.getpid()}.tmp").symlink_to(victim)
    (folder / "notes.json").symlink_to(victim)
    await Conversation().save(folder / "notes.json")
    assert victim.read_text() == "kept"


async def test_a_cache_of_answers_and_its_log_are_private(tmp_path: Path) -> None:
    cache = SQLiteCache(tmp_path / "cache.db")
    await cache.put("k", CompletionResult(content="hello"))
    assert {mode(path) for path in tmp_path.iterdir()} == {"0o600"}
    await cache.aclose()


async def test_a_saved_conversation_is_private_unless_its_owner_has_opened_it(tmp_path: Path) -> None:
    path = tmp_path / "conversation.json"
    await Conversation().save(path)
    assert mode(path) == "0o600"
    path.chmod(0o640)
    await Conversation().save(path)
    assert mode(path) == "0o640"
