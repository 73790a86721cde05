"""The rows of executions and calls are a sink like every other: no secret is in them, and no tenant reads another's."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from agent_runtime.observability import ExecutionLogger, LLMCallLogger, LogStore
from agent_runtime.observability.sql.erasing import LogEraser
from agent_runtime.observability.sql.texts import stored_id, stored_json, stored_text
from agent_runtime.ports.erasure import ErasedSubject
from agent_runtime.storage.memory import MemoryStorage
from support.logs import everything
from support.redaction_corpus import ALNUM, PASSWORD, SECRETS, SECRETS_IN_PLACE, body


@pytest.fixture
async def storage() -> AsyncIterator[MemoryStorage]:
    opened = MemoryStorage()
    await opened.open()
    yield opened
    await opened.aclose()


async def test_no_secret_reaches_a_row(storage: MemoryStorage) -> None:
    executions, calls, logs = ExecutionLogger(storage), LLMCallLogger(storage), LogStore(storage)
    for secret in SECRETS.values():
        async with (
            executions.log_execution(
                f"agent {secret}", "run", input_data={"api_key": secret, "text": f"see {secret} here"}
            ) as log,
            calls.log_llm_call("mine", "m", f"the key is {secret}, really") as call,
        ):
            log.output_data, log.metadata = [[f"found {secret} there"]], {"note": f"see {secret} here"}
            call.response, call.metadata = f"it is {secret}", {"note": [f"see {secret} here"]}
        log_row = await executions.start_execution("a", "b")
        await executions.end_execution(log_row, "failed", error_message=f"refused: {secret}")
    content = repr(await everything(logs))
    left = [name for name, secret in SECRETS.items() if "\n" not in secret and secret in content]
    assert left == []
    lines = [line for secret in SECRETS.values() if "\n" in secret for line in secret.splitlines()[1:-1]]
    assert [line for line in lines if line and line in content] == []
    assert "<REDACTED:" in content


@pytest.mark.parametrize("before", [199_980, 199_999, 200_000, 203_000])
async def test_no_secret_is_left_where_a_text_was_cut(storage: MemoryStorage, before: int) -> None:
    secret = SECRETS["openai legacy"]
    logs = LogStore(storage)
    async with ExecutionLogger(storage).log_execution("a", "run") as log:
        log.output_data = "x" * (before - 1) + " " + secret + " y" * 5_000
    ((row,), _) = await everything(logs)
    assert secret[:12] not in str(row.output_data)


LONG = "word " * 41_000


@pytest.mark.parametrize(
    "around", [lambda text: {"a": text, "z": LONG}, lambda text: [LONG[:100_000], [text], LONG]]
)
async def test_no_secret_is_left_in_a_value_that_is_cut(around: Callable[[str], object]) -> None:
    """Its text as JSON escapes what tells of it."""
    left = [
        name for name, (text, secret) in SECRETS_IN_PLACE.items() if secret in repr(stored_json(around(text)))
    ]
    assert left == []
    named = stored_json({"password": PASSWORD, "z": LONG})
    assert PASSWORD not in str(named)
    assert str(named).endswith("characters more)")


@pytest.mark.parametrize("before", [190_500, 195_000, 199_500, 204_000])
@pytest.mark.parametrize(
    "long",
    [
        lambda body: f"<password>{body}</password>",
        lambda body: f"postgres://u:{body}@h/d",
        lambda body: f"password: |\n  {body[:3000]}\n  {body[3000:]}\nend: 1",
    ],
)
async def test_nothing_of_a_long_secret_is_left_at_the_cut(before: int, long: Callable[[str], str]) -> None:
    secret = body(ALNUM, 6_500)
    text = "word " * (before // 5) + long(secret) + " word" * 4_000
    for kept in (stored_text(text), stored_json({"text": text})):
        assert not [at for at in range(0, 6_400, 50) if secret[at : at + 12] in str(kept)]


def test_a_person_is_nobody_else_in_the_rows() -> None:
    key = SECRETS["openai legacy"]
    ids = ["ada", "a" * 510, "b" * 510, "a" * 512, key, key[:-3] + "Q7x", LONG[:500], "\u00e4" * 256]
    kept = [stored_id(one) or "" for one in ids]
    kept += [stored_id(one) or "" for one in kept if "#" in one]  # and nobody may be called like them
    assert len(set(kept)) == len(kept)
    assert kept[0] == "ada"
    assert not [one for one in kept if key in one or len(one.encode()) > 512]


async def test_one_persons_erasure_is_no_others(storage: MemoryStorage) -> None:
    logs, people = LogStore(storage), ["a" * 510, "b" * 510, SECRETS["openai legacy"]]
    for person in people:
        async with ExecutionLogger(storage, principal_id=person).log_execution("a", "run", input_data=1):
            pass
    subject = ErasedSubject(
        scope_id="default", principal_id=people[0], pseudonym="gone", at=datetime.now(UTC)
    )
    assert await LogEraser(storage).erase(subject) == 1
    assert [await logs.count_executions(principal_id=person) for person in people] == [0, 1, 1]


@pytest.mark.parametrize(
    "value",
    [10**400, 10**5_000, [10**400], float("inf"), {"\ud800": "\ud800\x00"}, object(), [[]] * 9],
    ids=["long", "longest", "in a list", "infinite", "half", "object", "lists"],
)
async def test_no_value_reaches_who_logs(storage: MemoryStorage, value: object) -> None:
    executions, calls = ExecutionLogger(storage), LLMCallLogger(storage)
    given: Any = value
    async with (
        executions.log_execution("a", "run", input_data=value, metadata={"of": value}) as log,
        calls.log_llm_call("p", "m", given, metadata={"of": value}) as call,
    ):
        log.output_data, call.response, call.metadata = value, given, {"of": value}
    logs = LogStore(storage)
    assert (await logs.count_executions(status="completed"), await logs.count_llm_calls()) == (1, 1)


class Unprintable:
    """Nothing can be said of it."""

    def __str__(self) -> str:
        raise RuntimeError


async def test_nor_does_one_of_which_no_text_can_be_made(storage: MemoryStorage) -> None:
    given: Any = Unprintable()
    async with LLMCallLogger(storage).log_llm_call("p", "m", given) as call:
        call.response = given
    (_, (row,)) = await everything(LogStore(storage))
    assert row.response == "<cannot be written>"


async def test_a_scope_reads_counts_and_deletes_only_its_own(storage: MemoryStorage) -> None:
    logs = LogStore(storage)
    ids = {}
    for scope in ("mine", "theirs"):
        async with (
            ExecutionLogger(storage, scope_id=scope).log_execution("a", "run", execution_id="same") as log,
            LLMCallLogger(storage, scope_id=scope).log_llm_call("p", "m", "?") as call,
        ):
            log.output_data = call.response = scope
        ids[scope] = call.log.id
    (row,) = await logs.execution("same", scope_id="mine")
    assert row.output_data == "mine"
    strange = LLMCallLogger(storage, scope_id="theirs")
    await strange.start_llm_call(provider="p", model_id="m", execution_log_id=row.id)
    (row,) = await logs.execution("same", scope_id="mine")
    assert [call.scope_id for call in row.llm_calls] == ["mine"]
    assert await logs.count_llm_calls(scope_id="mine") == 1
    assert await logs.llm_call(ids["theirs"], scope_id="mine") is None
    assert (await logs.summary(scope_id="mine"))["llm_call_analytics"]["total_calls"] == 1
    assert set(await logs.usage("scope", scope_id="mine")) == {("mine",)}
    assert set(await logs.latency(by="scope", scope_id="mine")) == {"mine"}
    assert await logs.delete_execution("same", scope_id="mine") == (1, 1)
    assert (await logs.count_llm_calls(), await logs.count_executions()) == (2, 1)
