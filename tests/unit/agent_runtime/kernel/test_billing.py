"""What a failed attempt is billed."""

import pytest

from agent_runtime import ExecutionRequest, JobBlocked
from llm_client import ExecutionEngine, OpenAIProvider
from support.kernels import kernel


async def test_a_call_that_never_left_for_want_of_a_key_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    engine = ExecutionEngine(OpenAIProvider("gpt-5.2"))
    async with kernel(engine=engine) as k:
        handle = await k.execute(ExecutionRequest(prompt="hi"))
        with pytest.raises(JobBlocked, match="OPENAI_API_KEY"):
            await handle.result()

        (entry,) = await k.ledger.entries(job_id=handle.job_id)

    assert (entry.status, entry.uncertain, entry.cost, entry.total_tokens) == ("failed", False, 0, 0)
    await engine.aclose()
