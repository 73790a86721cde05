"""The cache contract, over every cache."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llm_client import Cache, CompletionResult, ConfigurationError, MemoryCache, SQLiteCache
from llm_client.testing.cache_contract import ANSWER, CacheContract, FakeTime


class TestMemoryCache(CacheContract):
    @asynccontextmanager
    async def make(self, *, max_entries: int, ttl: float | None, time: FakeTime) -> AsyncIterator[Cache]:
        yield MemoryCache(max_entries, ttl, clock=time)

    async def test_the_ones_unused_for_longest_go_first(self) -> None:
        cache = MemoryCache(2)
        for key in ("a", "b"):
            await cache.put(key, ANSWER)
        await cache.get("a")
        await cache.put("c", ANSWER)

        assert [key for key in "abc" if await cache.get(key)] == ["a", "c"]


class TestSQLiteCache(CacheContract):
    @pytest.fixture(autouse=True)
    def file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "made.db"

    @asynccontextmanager
    async def make(self, *, max_entries: int, ttl: float | None, time: FakeTime) -> AsyncIterator[Cache]:
        cache = SQLiteCache(self.path, max_entries, ttl, clock=time.utc)
        yield cache
        await cache.aclose()

    async def test_answers_outlive_the_process_that_asked(self, tmp_path: Path) -> None:
        first = SQLiteCache(tmp_path / "cache.db")
        await first.put("key", ANSWER)
        await first.aclose()
        second = SQLiteCache(tmp_path / "cache.db")
        found = await second.get("key")
        await second.aclose()

        assert found == ANSWER

    async def test_two_users_of_one_file_see_each_others_answers(self, tmp_path: Path) -> None:
        caches = [SQLiteCache(tmp_path / "cache.db") for _ in range(2)]
        await caches[0].put("key", ANSWER)
        found = await caches[1].get("key")
        for cache in caches:
            await cache.aclose()

        assert found == ANSWER

    async def test_a_file_that_is_no_database_is_refused_with_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("not a database, but long enough to be read as one" * 20)
        cache = SQLiteCache(path)

        with pytest.raises(ConfigurationError, match=r"notes\.txt"):
            await cache.get("key")
        await cache.aclose()

    async def test_a_damaged_answer_counts_as_none(self, tmp_path: Path) -> None:
        import sqlite3

        cache = SQLiteCache(tmp_path / "cache.db")
        await cache.put("key", ANSWER)
        with sqlite3.connect(tmp_path / "cache.db") as connection:
            connection.execute("UPDATE llm_cache SET result = ?", (b'{"usage": [',))
        connection.close()

        assert await cache.get("key") is None
        await cache.put("key", CompletionResult(content="mended"))
        assert await cache.get("key") == CompletionResult(content="mended")
        await cache.aclose()

    async def test_an_expired_answer_makes_room(self, tmp_path: Path) -> None:
        time = FakeTime()
        cache = SQLiteCache(tmp_path / "cache.db", max_entries=1, ttl=60, clock=time.utc)
        await cache.put("old", ANSWER)
        time.now += 61
        await cache.put("new", ANSWER)

        assert await cache.count() == 1
        await cache.aclose()


@pytest.mark.parametrize("make", [lambda: MemoryCache(0), lambda: SQLiteCache("x.db", 0)])
def test_a_cache_without_room_is_refused(make: object) -> None:
    with pytest.raises(ConfigurationError):
        make()  # type: ignore[operator]
