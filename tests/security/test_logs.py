"""The rows of executions and calls are a sink like every other: no secret is in them, and no tenant reads another's."""

from collections.abc import AsyncIterator

import pytest

from agent_runtime.observability import ExecutionLogger, LLMCallLogger, LogStore
from agent_runtime.storage.memory import MemoryStorage
from support.logs import everything
from support.redaction_corpus import SECRETS


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
