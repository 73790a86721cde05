"""What every `Storage` must do with API keys."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from agent_runtime.audit.erasure import ErasureSubject
from agent_runtime.audit.manager import AuditManager
from agent_runtime.ports.audit import INSTALLATION, Note
from agent_runtime.ports.ids import new_key_id
from agent_runtime.ports.keys import ReplacedKey, StoredKey
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW
from agent_runtime.values.api_key import ApiKey, Role

LATER = NOW + timedelta(hours=1)
NOTE = Note("key.created", {"by": "me"})


def key(name: str = "ci", *, scope_id: str | None = "default", **values: str | datetime | None) -> StoredKey:
    """Return a key that holds."""
    made = ApiKey(key_id=new_key_id(), name=name, role=Role.OPERATOR, scope_id=scope_id, created_at=NOW)
    return StoredKey(key=replace(made, **values), secret_hash=f"hash of {made.key_id}")  # type: ignore[arg-type]  # fields by name


async def added(storage: Storage, *keys: StoredKey) -> None:
    """Store keys."""
    for one in keys:
        assert await storage.add_key(one, note=NOTE)


async def read(storage: Storage, one: StoredKey) -> ApiKey:
    """Return a key as it is now."""
    found = await storage.get_key(one.key.key_id)
    assert found is not None
    assert found.secret_hash == one.secret_hash
    return found.key


async def kinds(storage: Storage, scope_id: str = "default") -> list[str]:
    """Return what a trail has been told."""
    return [entry.kind for entry in await storage.trail(scope_id)]


class KeysContract:
    """The suite."""

    async def test_a_key_comes_back_as_it_was_written(self, storage: Storage) -> None:
        full = key(
            "the\x00name",
            principal_id="ada \x1a",
            created_by="grace",
            expires_at=LATER,
            revoked_at=LATER,
            last_used_at=NOW,
            replaced_by="other",
        )
        plain = key(scope_id=None)
        await added(storage, full, plain)
        assert await storage.get_key(full.key.key_id) == full
        assert await storage.get_key(plain.key.key_id) == plain
        assert await storage.get_key("none") is None
        assert full.secret_hash not in repr(full)

    async def test_keys_are_listed_in_the_order_in_which_they_were_made(self, storage: Storage) -> None:
        made = [key(str(number), scope_id=("a", "b", None)[number % 3]) for number in range(9)]
        made = [
            replace(one, key=replace(one.key, key_id=f"{number:017x}")) for number, one in enumerate(made)
        ]
        await added(storage, *reversed(made))
        everyone = [one.key for one in made]
        assert list(await storage.list_keys()) == everyone
        assert list(await storage.list_keys(after=everyone[3].key_id, limit=2)) == everyone[4:6]
        assert list(await storage.list_keys(scope_id="b")) == everyone[1::3]
        assert list(await storage.list_keys(scope_id="b", after=everyone[1].key_id, limit=1)) == [everyone[4]]
        assert list(await storage.list_keys(scope_id="c")) == []

    async def test_a_key_is_revoked_once(self, storage: Storage) -> None:
        one, other = key(), key()
        await added(storage, one, other)
        note = Note("key.revoked", {"key_id": one.key.key_id})
        assert await storage.revoke_key(one.key.key_id, at=LATER, note=note)
        assert not await storage.revoke_key(
            one.key.key_id, at=LATER + timedelta(hours=1), note=Note("no", {})
        )
        assert not await storage.revoke_key("none", at=LATER, note=Note("no", {}))
        assert await read(storage, one) == replace(one.key, revoked_at=LATER)
        assert await read(storage, other) == other.key
        assert await kinds(storage) == ["key.created", "key.created", "key.revoked"]

    @pytest.mark.parametrize("expires_in", [None, timedelta(minutes=5), timedelta(days=5)])
    async def test_a_key_that_is_replaced_ends_and_no_later_than_it_would(
        self, storage: Storage, expires_in: timedelta | None
    ) -> None:
        expires_at = None if expires_in is None else NOW + expires_in
        old, new = key(expires_at=expires_at), key()
        await added(storage, old)
        assert await storage.add_key(
            new, note=Note("key.rotated", {}), replaces=ReplacedKey(old.key.key_id, LATER)
        )
        ends = LATER if expires_at is None else min(LATER, expires_at)
        assert await read(storage, old) == replace(old.key, replaced_by=new.key.key_id, expires_at=ends)
        assert await read(storage, new) == new.key
        assert await kinds(storage) == ["key.created", "key.rotated"]

    async def test_only_one_key_comes_in_the_place_of_another(self, storage: Storage) -> None:
        old, revoked = key(), key(revoked_at=NOW)
        await added(storage, old, revoked)
        new = [key(), key(), key()]
        replaces = ReplacedKey(old.key.key_id, LATER)
        note = Note("key.rotated", {})
        done = await asyncio.gather(*(storage.add_key(one, note=note, replaces=replaces) for one in new))
        assert sorted(done) == [False, False, True]
        winner = new[done.index(True)].key
        assert (await read(storage, old)).replaced_by == winner.key_id
        assert not await storage.add_key(new[0], note=note, replaces=ReplacedKey(revoked.key.key_id, LATER))
        assert not await storage.add_key(new[0], note=note, replaces=ReplacedKey("none", LATER))
        assert {one.key_id for one in await storage.list_keys()} == {
            old.key.key_id,
            revoked.key.key_id,
            winner.key_id,
        }
        assert (await kinds(storage)).count("key.rotated") == 1

    async def test_the_use_of_a_key_is_written_down_unless_it_was_a_moment_ago(
        self, storage: Storage
    ) -> None:
        one, other = key(), key()
        await added(storage, one, other)
        minute = timedelta(minutes=1)
        for at, expected in ((NOW, NOW), (NOW + minute / 2, NOW), (NOW + minute, NOW + minute)):
            await storage.use_key(one.key.key_id, at=at, unless_after=at - minute)
            assert (await read(storage, one)).last_used_at == expected
        await storage.use_key("none", at=NOW, unless_after=NOW)
        assert await read(storage, other) == other.key

    async def test_what_is_done_to_a_key_for_every_scope_is_told_the_installations_trail(
        self, storage: Storage
    ) -> None:
        mine, everyones = key(scope_id="a"), key(scope_id=None)
        await added(storage, mine, everyones)
        await storage.revoke_key(everyones.key.key_id, at=LATER, note=Note("key.revoked", {"by": "me"}))
        assert await kinds(storage, "a") == ["key.created"]
        assert await kinds(storage, INSTALLATION) == ["key.created", "key.revoked"]
        assert (await AuditManager(storage).verify()).is_intact
        heads = await storage.trail_heads()
        assert [head.scope_id for head in heads] == ["", "a"]
        assert (await AuditManager(storage).verify(heads=heads)).is_intact

    async def test_keys_of_somebody_who_is_erased_open_nothing_and_name_nobody(
        self, storage: Storage
    ) -> None:
        hers = key("ada's laptop", principal_id="ada", created_by="ada")
        gone = key("ada's old one", principal_id="ada", revoked_at=NOW)
        made = key("ci", created_by="ada", principal_id="bot")
        strangers = [key(scope_id=None, principal_id="ada"), key(scope_id="b", principal_id="ada"), key()]
        await added(storage, hers, gone, made, *strangers)

        report = await AuditManager(storage).erase(
            ErasureSubject(scope_id="default", principal_id="ada"), by="me"
        )

        assert report.rows == 3
        left = {one.key_id: one for one in await storage.list_keys()}
        now = left[hers.key.key_id]
        assert now.revoked_at is not None
        assert {now.name, now.principal_id, now.created_by} == {report.pseudonym}
        assert left[gone.key.key_id].revoked_at == NOW
        assert left[gone.key.key_id].name == report.pseudonym
        assert left[made.key.key_id] == replace(made.key, created_by=report.pseudonym)
        assert [left[one.key.key_id] for one in strangers] == [one.key for one in strangers]
        *_, said = await storage.trail("default")
        assert said.kind == "key.revoked"
        assert said.data == {"key_id": hers.key.key_id, "by": None, "pseudonym": report.pseudonym}
        assert (await AuditManager(storage).verify()).is_intact

    async def test_the_keys_of_an_erased_session_stay(self, storage: Storage) -> None:
        one = key(principal_id="s", created_by="s")
        await added(storage, one)
        report = await AuditManager(storage).erase(
            ErasureSubject(scope_id="default", session_id="s"), by="me"
        )
        assert report.rows == 0
        assert await read(storage, one) == one.key

    async def test_keys_that_ended_long_ago_are_forgotten(self, storage: Storage) -> None:
        keys = [
            key("revoked", revoked_at=NOW),
            key("expired", expires_at=NOW),
            key("expired, revoked later", expires_at=NOW, revoked_at=LATER),
            key("revoked later", revoked_at=LATER),
            key("expires", expires_at=LATER),
            key("holds"),
        ]
        await added(storage, *keys)
        before = NOW + timedelta(minutes=1)
        assert await storage.forget("keys", before=before, limit=2) == 2
        assert await storage.forget("keys", before=before, limit=2) == 1
        assert await storage.forget("keys", before=before) == 0
        assert {one.name for one in await storage.list_keys()} == {"revoked later", "expires", "holds"}
