"""Text in, text out, with a logger."""

import asyncio
from typing import Any

import pytest

from llm_client import (
    LLM,
    Chunks,
    ConfigurationError,
    Delay,
    ExecutionEngine,
    FunctionProvider,
    ProviderUnavailable,
    RetryConfig,
    ScriptedProvider,
)


class Log:
    """A logger that remembers."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.started: list[dict[str, Any]] = []
        self.ended: list[dict[str, Any]] = []

    async def start_llm_call(self, **values: Any) -> int:
        if self.broken == "start":
            raise OSError("no database")
        self.started.append(values)
        return len(self.started)

    async def end_llm_call(self, log: int, **values: Any) -> None:
        if self.broken == "end":
            raise OSError("no database")
        self.ended.append({"log": log, **values})


def test_a_question_is_answered_in_ordinary_code() -> None:
    provider = ScriptedProvider(["42"])

    assert LLM(provider, system="Be brief.").inference("What?", temperature=0.5) == "42"
    assert [message.text for message in provider.requests[0].messages] == ["Be brief.", "What?"]
    assert provider.requests[0].temperature == 0.5


async def test_not_inside_an_event_loop() -> None:
    with pytest.raises(ConfigurationError, match="inference_async"):
        LLM(ScriptedProvider(["x"])).inference("What?")


async def test_a_call_is_logged_with_its_tokens_and_links() -> None:
    log = Log()
    llm = LLM(ScriptedProvider(["42"], model="m"), llm_call_logger=log)
    answer = await llm.inference_async("What?", execution_log_id="exec", report_id="rep", metadata={"k": 1})

    assert answer == "42"
    usage = log.ended[0]["usage"]
    assert (usage.input_tokens, usage.output_tokens, usage.requests) == (2, 1, 1)
    assert log.started == [
        {
            "provider": "scripted",
            "model_id": "m",
            "call_type": "inference",
            "prompt": "What?",
            "is_streaming": False,
            "execution_log_id": "exec",
            "report_id": "rep",
            "completion_id": None,
            "metadata": {"k": 1},
        }
    ]
    assert log.ended == [
        {
            "log": 1,
            "status": "completed",
            "response": "42",
            "error_message": None,
            "input_tokens": 2,
            "output_tokens": 1,
            "chunks_count": None,
            "first_token_ms": None,
            "usage": usage,
            "metadata": None,
        }
    ]


async def test_a_stream_yields_text_and_is_logged_with_its_chunks() -> None:
    log = Log()
    llm = LLM(ScriptedProvider([Chunks(["a", "b", "c"])]), llm_call_logger=log)
    chunks = [chunk async for chunk in llm.inference_stream("What?")]

    assert chunks == ["a", "b", "c"]
    assert (log.started[0]["call_type"], log.started[0]["is_streaming"]) == ("inference_stream", True)
    assert (log.ended[0]["status"], log.ended[0]["response"], log.ended[0]["chunks_count"]) == (
        "completed",
        "abc",
        3,
    )
    assert log.ended[0]["first_token_ms"] >= 0


async def test_a_failure_is_logged_and_raised() -> None:
    log = Log()
    engine = ExecutionEngine(ScriptedProvider([ProviderUnavailable("down")]), retry=RetryConfig(attempts=1))
    with pytest.raises(ProviderUnavailable):
        await LLM(engine, llm_call_logger=log).inference_async("What?")

    assert (log.ended[0]["status"], log.ended[0]["error_message"]) == ("failed", "down")


async def test_a_cancelled_call_is_logged_as_that() -> None:
    log = Log()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await LLM(ScriptedProvider([Delay(60, "x")]), llm_call_logger=log).inference_async("What?")

    assert log.ended[0]["status"] == "cancelled"


async def test_a_stream_that_is_closed_early_is_logged_with_what_had_come() -> None:
    log = Log()
    stream = LLM(ScriptedProvider([Chunks(["a", "b"])]), llm_call_logger=log).inference_stream("What?")
    async for _ in stream:
        break
    await stream.aclose()

    assert (log.ended[0]["status"], log.ended[0]["response"], log.ended[0]["chunks_count"]) == (
        "cancelled",
        "a",
        1,
    )


@pytest.mark.parametrize("broken", ["start", "end"])
async def test_a_logger_that_fails_touches_nothing_and_causes_no_second_call(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = FunctionProvider(lambda _: "42")

    assert await LLM(provider, llm_call_logger=Log(broken)).inference_async("What?") == "42"
    assert len(provider.requests) == 1
    assert "no database" in caplog.text
