"""Making, ending and listing API keys, and recognising them."""

import asyncio
import logging
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import ApiKey, ApiKeyManager, InvalidInput, Role, StorageError, UnknownKey
from agent_runtime.errors import InvalidTransition
from agent_runtime.ports.audit import INSTALLATION
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock
from llm_client.redaction import redact
from support.kernels import BOUND, kernel, until

DAY = timedelta(days=1)


class Watched:
    """A storage that counts what is asked of it, and fails or waits when it is told to."""

    def __init__(self) -> None:
        self.inner = MemoryStorage()
        self.reads = self.uses = 0
        self.failing = ""
        """What fails: `reads` or `uses`."""
        self.gate: asyncio.Event | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def get_key(self, key_id: str) -> Any:
        self.reads += 1
        found = await self.inner.get_key(key_id)
        await self._pass("reads")
        return found

    async def use_key(self, key_id: str, *, at: datetime, unless_after: datetime) -> None:
        self.uses += 1
        await self._pass("uses")
        await self.inner.use_key(key_id, at=at, unless_after=unless_after)

    async def _pass(self, what: str) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.failing == what:
            raise StorageError("the disk is on fire")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def storage() -> Watched:
    return Watched()


@pytest.fixture
def keys(storage: Watched, clock: FakeClock) -> ApiKeyManager:
    return ApiKeyManager(storage, clock)


async def made(keys: ApiKeyManager, **values: Any) -> tuple[ApiKey, str]:
    return await keys.create(**{"name": "ci", "role": Role.OPERATOR, "scope_id": "a", **values})


# -- making ------------------------------------------------------------------------------------------------------------


async def test_a_key_is_recognised_by_its_text(keys: ApiKeyManager, clock: FakeClock) -> None:
    key, text = await made(keys, principal_id="ada", created_by="grace", expires_at=clock.now() + DAY)

    assert re.fullmatch(rf"ark_{key.key_id}_[\w-]{{43}}", text)
    assert key.key_id.isalnum()
    assert await keys.authenticate(text) == key == await keys.get(key.key_id)
    assert (key.name, key.role, key.scope_id, key.principal_id) == ("ci", Role.OPERATOR, "a", "ada")
    assert (key.created_at, key.created_by, key.expires_at) == (clock.now(), "grace", clock.now() + DAY)


async def test_the_secret_of_a_key_is_stored_nowhere(keys: ApiKeyManager, storage: Watched) -> None:
    key, text = await made(keys)
    secret = text.rpartition(f"{key.key_id}_")[2]
    await keys.authenticate(text)

    assert secret not in repr(storage.inner._state)
    assert secret not in repr(vars(keys)) + repr(await storage.get_key(key.key_id))


async def test_redaction_knows_the_text_of_a_key(keys: ApiKeyManager) -> None:
    for _ in range(50):
        _, text = await made(keys)
        assert text[-43:] not in redact(f"Authorization of somebody, who has sent {text}, is refused")
        assert text[-43:] not in str(redact({"given": ["with", text]}))


async def test_no_two_keys_are_alike(keys: ApiKeyManager) -> None:
    texts = {(await made(keys))[1] for _ in range(200)}
    assert len(texts) == len({text.split("_", 2)[1] for text in texts}) == 200


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""},
        {"name": "a\x00b"},
        {"name": "x" * 600},
        {"name": "ghp_" + "a1B2" * 9},
        {"role": "king"},
        {"scope_id": ""},
        {"scope_id": "\ud800"},
        {"principal_id": ""},
        {"created_by": "a\nb"},
        {"expires_at": FakeClock().now()},
        {"expires_at": FakeClock().now() - DAY},
        {"expires_at": datetime(9999, 1, 1, tzinfo=FakeClock().now().tzinfo)},
        {"expires_at": datetime(2030, 1, 1)},  # noqa: DTZ001 -- refused, for it has no time zone
    ],
)
async def test_a_key_that_cannot_be_is_refused_and_the_field_is_named(
    keys: ApiKeyManager, values: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match=next(iter(values))):
        await made(keys, **values)
    assert await keys.list() == []


async def test_a_role_may_be_given_as_its_word(keys: ApiKeyManager) -> None:
    key, _ = await made(keys, role="admin")
    assert key.role is Role.ADMIN


# -- recognising -------------------------------------------------------------------------------------------------------


async def test_what_is_no_key_is_none_and_asks_the_storage_nothing(
    keys: ApiKeyManager, storage: Watched
) -> None:
    key, text = await made(keys)
    hostile: list[Any] = [
        *(
            "",
            "ark",
            "ark__",
            "\x00",
            "\ud800",
            text + "\x00",
            text + "\n",
            "\n" + text,
            text[:-1],
            text + "x",
        ),
        *(text.upper(), text.replace("ark_", "ARK_"), text.replace("_", "-"), " " + text, f"Bearer {text}"),
        *("ark_" * 300_000, "a" * 1_000_000, text + "=" * 1_000_000, "ark_" + "0" * 1_000_000),
        *(
            text.replace(key.key_id, "०" * len(key.key_id)),
            text.replace(key.key_id, "\ud800" * len(key.key_id)),
        ),
        *(text[:-1] + "\ud800", text[:-1] + "é", text.replace(key.key_id, "..%2f" + key.key_id[5:])),
        *(None, 7, text.encode(), [text], {"text": text}),
    ]
    storage.reads = 0
    assert [one for one in hostile if await keys.authenticate(one) is not None] == []
    assert storage.reads == 0


@given(st.one_of(st.text(), st.from_regex(r"ark_[0-9a-z]{15,19}_[\w-]{40,46}"), st.binary()))
def test_whatever_is_given_is_answered(text: Any) -> None:
    assert asyncio.run(ApiKeyManager(MemoryStorage()).authenticate(text)) is None


async def test_a_wrong_secret_opens_nothing(keys: ApiKeyManager) -> None:
    (one, text), (other, other_text) = await made(keys), await made(keys)
    assert await keys.authenticate(text.replace(one.key_id, other.key_id)) is None
    for place in range(len(text) - 43, len(text)):
        changed = "A" if text[place] != "A" else "B"
        assert await keys.authenticate(text[:place] + changed + text[place + 1 :]) is None
    assert await keys.authenticate(text.replace(one.key_id, "0" * 17)) is None
    assert await keys.authenticate(other_text) is not None


async def test_a_secret_is_compared_in_the_same_way_where_there_is_no_key(
    keys: ApiKeyManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ids there are must not be told by how long the answer takes."""
    import agent_runtime.keys.manager as module

    compared: list[tuple[int, int]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(module, "compare_digest", compare)
    key, text = await made(keys)
    await keys.authenticate(text)
    await keys.authenticate(text.replace(key.key_id, "0" * 17))
    assert compared == [(64, 64), (64, 64)]


async def test_a_key_holds_until_the_moment_when_it_expires(keys: ApiKeyManager, clock: FakeClock) -> None:
    _, text = await made(keys, expires_at=clock.now() + timedelta(seconds=10))
    clock.move(seconds=9, milliseconds=999)
    assert await keys.authenticate(text) is not None
    clock.move(milliseconds=1)
    assert await keys.authenticate(text) is None


async def test_many_requests_read_a_key_once_a_second(
    keys: ApiKeyManager, storage: Watched, clock: FakeClock
) -> None:
    _, text = await made(keys)
    for _ in range(3):
        for _ in range(50):
            assert await keys.authenticate(text) is not None
        clock.move(seconds=1)
    assert storage.reads == 3


async def test_requests_at_the_same_time_read_a_key_once_and_one_that_goes_takes_nobody_with_it(
    keys: ApiKeyManager, storage: Watched
) -> None:
    _, text = await made(keys)
    storage.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(keys.authenticate(text)) for _ in range(20)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        storage.gate.set()
    assert asking[0].cancelled()
    assert all(task.result() is not None for task in asking[1:])
    assert storage.reads == 1


async def test_ids_that_are_tried_push_no_key_in_use_out_of_the_memory(
    keys: ApiKeyManager, storage: Watched
) -> None:
    key, text = await made(keys)
    await keys.authenticate(text)
    for number in range(1500):
        assert await keys.authenticate(text.replace(key.key_id, f"{number:017x}")) is None
    storage.reads = 0
    assert await keys.authenticate(text) is not None
    assert storage.reads == 0


async def test_no_more_than_a_thousand_keys_are_remembered(keys: ApiKeyManager) -> None:
    texts = [(await made(keys))[1] for _ in range(1100)]
    assert all([await keys.authenticate(text) for text in texts])
    assert len(keys._known._known) == 1000


async def test_a_storage_that_fails_is_said_and_is_not_taken_for_a_wrong_key(
    keys: ApiKeyManager, storage: Watched
) -> None:
    _, text = await made(keys)
    storage.failing, storage.gate = "reads", asyncio.Event()
    asking = [asyncio.ensure_future(keys.authenticate(text)) for _ in range(5)]
    await asyncio.sleep(0)
    storage.gate.set()
    failed = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(error) for error in failed} == {StorageError}
    assert storage.reads == 1
    storage.failing = ""
    assert await keys.authenticate(text) is not None


# -- revoking ----------------------------------------------------------------------------------------------------------


async def test_a_revoked_key_opens_nothing_any_more(keys: ApiKeyManager, clock: FakeClock) -> None:
    key, text = await made(keys)
    assert await keys.authenticate(text) is not None
    revoked = await keys.revoke(key.key_id, by="grace")
    assert revoked.revoked_at == clock.now()
    assert await keys.authenticate(text) is None
    clock.move(hours=1)
    assert (await keys.revoke(key.key_id)).revoked_at == revoked.revoked_at


async def test_a_revocation_is_seen_by_other_processes_within_a_second(
    keys: ApiKeyManager, storage: Watched, clock: FakeClock
) -> None:
    elsewhere = ApiKeyManager(storage, clock)
    key, text = await made(keys)
    assert await elsewhere.authenticate(text) is not None
    await keys.revoke(key.key_id)
    clock.move(seconds=1)
    assert await elsewhere.authenticate(text) is None


async def test_what_was_read_before_a_revocation_is_not_remembered_after_it(
    keys: ApiKeyManager, storage: Watched
) -> None:
    key, text = await made(keys)
    storage.gate = asyncio.Event()
    asking = asyncio.ensure_future(keys.authenticate(text))
    while not storage.reads:
        await asyncio.sleep(0)
    gate, storage.gate = storage.gate, None
    await keys.revoke(key.key_id)
    gate.set()
    await asking  # it may be answered either way: it came before
    assert await keys.authenticate(text) is None


# -- rotating ----------------------------------------------------------------------------------------------------------


async def test_a_rotated_key_holds_for_the_overlap_beside_the_new_one(
    keys: ApiKeyManager, clock: FakeClock
) -> None:
    old, text = await made(keys, principal_id="ada", expires_at=clock.now() + 30 * DAY)
    clock.move(days=10)
    new, new_text = await keys.rotate(old.key_id, overlap=timedelta(hours=1), by="grace")

    assert (new.name, new.role, new.scope_id, new.principal_id) == ("ci", Role.OPERATOR, "a", "ada")
    assert (new.created_by, new.expires_at) == ("grace", clock.now() + 30 * DAY)
    for moved, holds in ((0, True), (3599, True), (3600, False)):
        clock.move(seconds=moved and moved - (clock.now() - new.created_at).total_seconds())
        assert (await keys.authenticate(text) is not None) is holds
        assert await keys.authenticate(new_text) is not None
    assert (await keys.get(old.key_id)).replaced_by == new.key_id


async def test_without_an_overlap_the_old_key_ends_at_once(keys: ApiKeyManager) -> None:
    old, text = await made(keys)
    assert await keys.authenticate(text) is not None
    new, new_text = await keys.rotate(old.key_id)
    assert await keys.authenticate(text) is None
    assert await keys.authenticate(new_text) == new
    assert new.expires_at is None


async def test_an_overlap_does_not_let_a_key_live_longer(keys: ApiKeyManager, clock: FakeClock) -> None:
    old, _ = await made(keys, expires_at=clock.now() + DAY)
    await keys.rotate(old.key_id, overlap=30 * DAY)
    assert (await keys.get(old.key_id)).expires_at == old.expires_at


async def test_a_key_that_has_ended_is_not_rotated(keys: ApiKeyManager, clock: FakeClock) -> None:
    revoked, _ = await made(keys)
    await keys.revoke(revoked.key_id)
    expired, _ = await made(keys, expires_at=clock.now() + DAY)
    rotated, _ = await made(keys)
    await keys.rotate(rotated.key_id, overlap=10 * DAY)
    clock.move(days=1)
    for key, why in ((revoked, "revoked"), (expired, "expired"), (rotated, "in its place")):
        with pytest.raises(InvalidTransition, match=why):
            await keys.rotate(key.key_id)
    assert len(await keys.list()) == 4


async def test_of_two_who_rotate_a_key_at_once_one_has_the_new_key(keys: ApiKeyManager) -> None:
    old, _ = await made(keys)
    done = await asyncio.gather(*(keys.rotate(old.key_id) for _ in range(2)), return_exceptions=True)
    assert sum(isinstance(one, InvalidTransition) for one in done) == 1
    assert len(await keys.list()) == 2


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=99999)])
async def test_an_overlap_has_bounds(keys: ApiKeyManager, overlap: timedelta) -> None:
    key, _ = await made(keys)
    with pytest.raises(InvalidInput, match="overlap"):
        await keys.rotate(key.key_id, overlap=overlap)


# -- who sees what -----------------------------------------------------------------------------------------------------


async def test_a_scope_hides_the_keys_of_others_and_those_for_every_scope(keys: ApiKeyManager) -> None:
    (mine, _), (other, _), (all_, _) = [await made(keys, scope_id=scope) for scope in ("a", "b", None)]
    assert await keys.list(scope_id="a") == [mine]
    assert {key.key_id for key in await keys.list()} == {mine.key_id, other.key_id, all_.key_id}
    for hidden in (other, all_):
        for call in (keys.get, keys.revoke, keys.rotate):
            with pytest.raises(UnknownKey):
                await call(hidden.key_id, scope_id="a")
    assert await keys.get(all_.key_id) == all_


@pytest.mark.parametrize("key_id", ["none", "", "\x00", "\ud800", "x" * 1_000_000])
async def test_a_key_that_is_not_there_is_unknown(keys: ApiKeyManager, key_id: str) -> None:
    for call in (keys.get, keys.revoke, keys.rotate):
        with pytest.raises(UnknownKey):
            await call(key_id)


async def test_keys_are_listed_in_pages(keys: ApiKeyManager, clock: FakeClock) -> None:
    everyone = []
    for _ in range(7):
        everyone.append((await made(keys))[0])
    everyone.sort(key=lambda key: key.key_id)
    pages, after = [], None
    while page := await keys.list(after=after, limit=3):
        pages += page
        after = page[-1].key_id
    assert pages == everyone
    for limit in (0, 1001):
        with pytest.raises(InvalidInput, match="limit"):
            await keys.list(limit=limit)


async def test_the_trail_says_who_has_done_what_to_which_key_and_names_nobody_else(
    keys: ApiKeyManager, storage: Watched, clock: FakeClock
) -> None:
    key, text = await made(keys, created_by="grace", principal_id="ada", name="ada's laptop")
    new, _ = await keys.rotate(key.key_id, by="grace", overlap=DAY)
    await keys.revoke(new.key_id, by="grace")
    await keys.revoke(new.key_id, by="grace")
    everyones, _ = await made(keys, scope_id=None)
    told = [(entry.kind, entry.data) for entry in await storage.trail("a")]
    ends_at = (clock.now() + DAY).isoformat()
    assert told == [
        ("key.created", {"key_id": key.key_id, "role": "operator", "expires_at": None, "by": "grace"}),
        (
            "key.rotated",
            {"key_id": key.key_id, "new_key_id": new.key_id, "ends_at": ends_at, "by": "grace"},
        ),
        ("key.revoked", {"key_id": new.key_id, "by": "grace"}),
    ]
    (said,) = await storage.trail(INSTALLATION)
    assert said.data["key_id"] == everyones.key_id
    assert not {"ada", text} & set(str(told).split("'"))


# -- when it was used --------------------------------------------------------------------------------------------------


async def used(keys: ApiKeyManager, key: ApiKey, at: datetime | None) -> None:
    """Wait until a use is written down."""

    async def is_written() -> bool:
        return (await keys.get(key.key_id)).last_used_at == at

    await until(is_written)


async def test_the_use_of_a_key_is_written_down_once_a_minute(
    keys: ApiKeyManager, storage: Watched, clock: FakeClock
) -> None:
    key, text = await made(keys)
    assert (await keys.get(key.key_id)).last_used_at is None
    for minutes in (1, 2):
        first = clock.now()
        for _ in range(4):
            await keys.authenticate(text)
            await used(keys, key, first)
            clock.move(seconds=15)
        assert storage.uses == minutes


async def test_two_processes_together_write_it_down_once_a_minute(
    keys: ApiKeyManager, storage: Watched, clock: FakeClock
) -> None:
    elsewhere = ApiKeyManager(storage, clock)
    key, text = await made(keys)
    await keys.authenticate(text)
    first = clock.now()
    await used(keys, key, first)
    clock.move(seconds=30)
    await elsewhere.authenticate(text)
    await asyncio.sleep(0)
    assert storage.uses == 1
    assert (await keys.get(key.key_id)).last_used_at == first


async def test_what_does_not_hold_is_not_used(keys: ApiKeyManager, storage: Watched) -> None:
    key, text = await made(keys)
    await keys.authenticate(text[:-1] + ("A" if text[-1] != "A" else "B"))
    await keys.revoke(key.key_id)
    await keys.authenticate(text)
    await asyncio.sleep(0)
    assert storage.uses == 0


async def test_a_request_waits_for_no_note_of_its_key(keys: ApiKeyManager, storage: Watched) -> None:
    key, text = await made(keys)
    written = storage.gate = asyncio.Event()
    first = asyncio.ensure_future(keys.authenticate(text))
    while not storage.reads:
        await asyncio.sleep(0)
    storage.gate.set()
    assert await first is not None
    storage.gate = written = asyncio.Event()
    async with asyncio.timeout(BOUND):
        for _ in range(10):
            assert await keys.authenticate(text) is not None
    assert storage.uses <= 1
    written.set()
    await used(keys, key, (await keys.get(key.key_id)).created_at)


async def test_a_note_that_fails_fails_no_request_and_is_tried_again_a_minute_later(
    keys: ApiKeyManager, storage: Watched, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    key, text = await made(keys)
    storage.failing = "uses"
    for _ in range(5):
        assert await keys.authenticate(text) is not None
        await asyncio.sleep(0)
        clock.move(seconds=10)
    assert storage.uses == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    storage.failing = ""
    clock.move(seconds=10)
    await keys.authenticate(text)
    await used(keys, key, clock.now())


async def test_closing_lets_a_use_be_written_down_and_waits_for_no_storage_that_stands_still(
    keys: ApiKeyManager, storage: Watched
) -> None:
    key, text = await made(keys)
    await keys.authenticate(text)
    await keys.aclose()
    assert (await storage.inner.get_key(key.key_id)).key.last_used_at == key.created_at  # type: ignore[union-attr]

    _, other = await made(keys)
    await keys.authenticate(text)
    await keys.authenticate(other)
    storage.gate = asyncio.Event()
    async with asyncio.timeout(BOUND):
        await keys.aclose()
        await keys.aclose()
    assert not keys._notes


# -- in a kernel -------------------------------------------------------------------------------------------------------


async def test_a_kernel_has_its_keys() -> None:
    clock = FakeClock()
    async with kernel(MemoryStorage(), operators=[], clock=clock) as k:
        key, text = await k.keys.create(name="ci", role=Role.VIEWER, scope_id=None)
        assert key.created_at == clock.now()
        assert await k.keys.authenticate(text) == key


def test_the_text_of_a_key_is_not_in_the_repr_of_its_parts() -> None:
    from agent_runtime.keys.text import read_key_text

    secret = "a1B2" * 10 + "xyz"
    parts = read_key_text(f"ark_{'0' * 17}_{secret}")
    assert parts is not None
    assert secret not in repr(parts)
    assert str(parts).endswith(secret)
