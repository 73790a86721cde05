"""Whatever strangers' code says – errors, names, events, reasons – reaches journal, rows and logs cut, redacted and whole."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    JobBlocked,
    JobCancelled,
    JobFailed,
    OperatorContext,
    StepFailed,
)
from agent_runtime.operators.result import OperatorResult
from agent_runtime.ports.commit import NewEvent, Signal
from llm_client import Agent, ExecutionEngine, FunctionProvider, ScriptedProvider, tool
from llm_client.errors import InvalidRequest, RateLimited
from llm_client.logs import logger_of
from llm_client.messages import Message, ToolCall
from llm_client.public_text import MAX_PUBLIC_CHARACTERS, public_text, text_of
from llm_client.spec import RequestSpec
from support.kernels import BOUND, journal, kernel, resumed, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 3)

SECRET = "sk-" + "ant-api03-" + "A1b2C3d4E5f6G7h8" * 3
"""Put together at run time, so that scanners find none in the file."""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class MuteAndOut(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class Coded(Exception):
    @property
    def code(self) -> str:
        raise RuntimeError("no code")


ODD: dict[str, BaseException] = {
    "surrogate": ValueError("half \ud83d of it"),
    "nul": ValueError("nul \x00 and escape \x1b[2K"),
    "mute": Mute(),
    "mute and out": MuteAndOut(),
    "long": ValueError("x" * 5_000_000),
    "secret": ValueError(f"key {SECRET} refused"),
    "behind the cut": ValueError("y" * (MAX_PUBLIC_CHARACTERS - 10) + SECRET),
    "many secrets": ValueError(f"{SECRET} " * 400 + SECRET[:30]),
    "coded": Coded("odd"),
    "none": ValueError(),
}


async def everything_of(handle: Any) -> str:
    """All that is public of a job, as one text."""
    events = [(event.type, event.operation_id, dict(event.data)) for event in await journal(handle)]
    return repr((events, await handle.job()))


def has_secret(text: str) -> bool:
    return any(SECRET[start : start + 16] in text for start in range(4, len(SECRET) - 16))


@pytest.mark.parametrize("error", list(ODD.values()), ids=ODD)
async def test_a_failure_of_a_step_is_known_whatever_its_text_is(error: BaseException) -> None:
    said: list[str] = []

    async def fails() -> None:
        raise error

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.step(fails)
        except StepFailed as failed:
            said.append(str(failed))
        await context.action(ActionSpec(type="confirm"))
        return "caught"

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await resumed(handle)).content == "caught"
        text = await everything_of(handle)
    assert said == [said[0]] * 2
    assert len(said[0]) < MAX_PUBLIC_CHARACTERS + 200
    said[0].encode()
    assert not has_secret(text)
    assert not has_secret(said[0])


@pytest.mark.parametrize("error", list(ODD.values()), ids=ODD)
async def test_a_job_that_fails_with_any_text_ends_and_its_parent_goes_on(error: BaseException) -> None:
    async def fails(context: OperatorContext, given: object) -> None:
        raise error

    async def parent(context: OperatorContext, given: object) -> str:
        try:
            await context.child("fails")
        except Exception as failed:
            return str(failed)
        return "no failure"

    async with kernel(operators=[fails, parent]) as k:
        handle = await k.execute(ExecutionRequest(operator="parent"))
        content = (await handle.result()).content
        assert "failed" in content
        assert not has_secret(content + await everything_of(handle))


async def test_a_tool_whose_error_has_no_readable_text_is_a_failed_call() -> None:
    @tool
    async def mute() -> str:
        """Say nothing."""
        raise Mute

    agent = Agent(provider=ScriptedProvider([ToolCall("1", "mute", {}), "ok"]), tools=[mute])
    async with kernel(agent=agent) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        assert (await handle.result()).content == "ok"
        assert "tool.failed" in [event.type for event in await journal(handle)]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


def text_of_logs(logs: pytest.LogCaptureFixture) -> str:
    formatter = logging.Formatter("%(message)s")
    return "\n".join(formatter.format(record) for record in logs.records)


class Receipt(BaseModel):
    number: int


async def test_a_parked_job_does_not_repeat_the_recorded_value_it_cannot_read(
    logged: pytest.LogCaptureFixture,
) -> None:
    returns: list[Any] = [str, Receipt]

    async def operator(context: OperatorContext, given: object) -> None:
        def pay() -> Any:
            return SECRET

        pay.__annotations__["return"] = returns.pop(0)
        await context.step(pay)
        await context.action(ActionSpec(type="confirm"))

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        with pytest.raises(JobBlocked) as blocked:
            await resumed(handle)
        text = await everything_of(handle)
    assert "no longer fits" in text
    assert not has_secret(text + str(blocked.value) + text_of_logs(logged))


async def test_an_operator_that_raises_while_it_is_cancelled_tells_no_secret(
    logged: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def operator(context: OperatorContext, given: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError(f"could not release {SECRET}") from None

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await begun.wait()
        await handle.cancel(f"because of {SECRET}")
        with pytest.raises(JobCancelled) as cancelled:
            await handle.result()
        text = await everything_of(handle)
    import gc

    gc.collect()
    assert not has_secret(text + str(cancelled.value) + text_of_logs(logged))


async def test_names_events_progress_and_results_tell_no_secret_and_a_resume_knows_the_names_again() -> None:
    async def operator(context: OperatorContext, given: object) -> OperatorResult:
        await context.step(lambda: None, name=f"call {SECRET}")
        await context.emit(
            "custom.note", {"token": SECRET, "deep": [{"header": f"Bearer {SECRET}"}], "api_key": "x1"}
        )
        await context.emit("artifact.created", {"name": "a", "url": f"https://u:{SECRET}@example.com/"})
        await context.progress(0.5, f"half of {SECRET}")
        await context.action(ActionSpec(type="confirm"))
        await context.step(lambda: None, name=f"then {SECRET}")
        return OperatorResult(content="done", error=None)

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        result = await resumed(handle)
        text = await everything_of(handle)
    assert result.content == "done"
    assert not has_secret(text + repr(result.artifacts))
    assert "x1" not in text


async def test_what_a_vendor_says_beside_its_error_tells_no_secret(logged: pytest.LogCaptureFixture) -> None:
    def answer(spec: Any) -> str:
        raise RateLimited("slow down", status=429, request_id=f"req {SECRET}", vendor_code=SECRET)

    async with kernel(agent=Agent(provider=FunctionProvider(answer))) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        await status_becomes(handle, "sleeping", "failed", "waiting", "blocked")
        text = await everything_of(handle)
        assert "model.failed" in text or "attempt_failed" in text
    assert not has_secret(text + text_of_logs(logged))


def test_every_event_and_signal_is_public_from_the_moment_it_is_made() -> None:
    data = {"reason": f"{SECRET} and \ud800", "deep": {"list": [("Authorization", "Basic abc")], "n": 7}}
    for made in (NewEvent("x.y", None, data), Signal("s", "j", "x.y", None, data)):
        assert not has_secret(repr(made.data))
        assert "abc" not in repr(made.data)
        assert made.data["deep"]["n"] == 7
        made.data["reason"].encode()
    harmless = {"name": "render", "input": "0123456789abcdef", "count": 3, "list": [1.5, None, True]}
    assert NewEvent("x.y", None, harmless).data is harmless


def test_log_records_tell_no_secret_in_message_arguments_and_traceback(
    logged: pytest.LogCaptureFixture,
) -> None:
    logger = logger_of("agent_runtime.tests")
    try:
        raise ValueError(f"inside {SECRET}")
    except ValueError as error:
        logger.exception("went wrong with %s: %r %d%%", SECRET, error, 7)
    logger.warning("half \ud800 and %s", Mute())
    logger.warning("100 % of it")
    text = text_of_logs(logged)
    assert not has_secret(text)
    assert "Traceback" in text
    assert "7%" in text
    assert "100 % of it" in text
    text.encode()
    assert all(record.exc_info is None for record in logged.records)


def test_a_text_is_cut_before_it_is_redacted_and_nothing_of_a_secret_at_the_cut_remains() -> None:
    for before in range(MAX_PUBLIC_CHARACTERS - 80, MAX_PUBLIC_CHARACTERS + 5):
        assert not has_secret(public_text("z " * (before // 2) + SECRET + " tail"))
    assert len(public_text("a" * 10_000_000)) == MAX_PUBLIC_CHARACTERS
    assert text_of(Mute()) == "Mute, whose text cannot be read"
    assert text_of(ValueError()) == "ValueError"


async def test_what_a_provider_says_beside_its_error_may_be_anything() -> None:
    async def refuse(_: RequestSpec) -> str:
        code: Any = {"why": object()}
        raise InvalidRequest("no such model", vendor_code=code, status=404)

    async def asks(context: OperatorContext, given: Any) -> str:
        return (await context.model(RequestSpec(messages=[Message.user("hello")]))).content

    async with kernel(engine=ExecutionEngine(FunctionProvider(refuse)), operators=[asks]) as k:
        handle = await k.execute(ExecutionRequest(operator="asks"))
        with pytest.raises(JobFailed, match="no such model"):
            await handle.result(timeout=BOUND)
        failed = next(one for one in await journal(handle) if one.type == "model.failed")
    assert failed.data["provider_error"] == {"model": "function", "provider": "function", "status": 404}
