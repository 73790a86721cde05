"""What a stranger makes many of, within every bound on bytes: work and memory grow with their number, and the loop goes on."""

import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import make_dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote_to_bytes
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, create_model

from agent_runtime import BudgetSpec, ExecutionRequest, OperatorContext
from agent_runtime.errors import InvalidInput
from agent_runtime.execution.guards import model_admission, redacted
from agent_runtime.execution.guards.redacted import redacted_messages
from agent_runtime.execution.operations.results import ResultType
from agent_runtime.ledger.token_bounds import text_bytes
from agent_runtime.values import public_data
from llm_client import Agent, Message, ScriptedProvider, Tool, tool
from llm_client.agent import calls as calls_of_agents
from llm_client.agent.calls import MAX_LISTED
from llm_client.agent.structured import OutputType
from llm_client.errors import OutputInvalid, ToolError
from llm_client.json_text import MAX_ALIKE, MAX_OBJECTS, MAX_VALUES, LongFloat, dumps, has_alike
from llm_client.messages import CallPart, MediaPart, ToolCall
from llm_client.providers.turn_order import PlacedCall, blocks_of
from llm_client.redaction import Redactor
from llm_client.tools.arguments import completed
from llm_client.tools.tool import ToolResult
from llm_client.turns import LARGE, read_aside
from llm_client.unseen import is_unseen, without_unseen
from support.kernels import BOUND, kernel
from support.threads import calls_on_the_loop

SECRET = "sk-" + "proj-" + "a1B2c3D4" * 6


@pytest.mark.timeout(20)  # every character was compared with all unseen ones, for minutes
def test_many_different_unseen_characters_are_left_out_at_once() -> None:
    unseen = "".join(map(chr, range(0x40000, 0x40000 + 300_000)))
    assert all(map(is_unseen, unseen[::10_000]))
    assert without_unseen(unseen + "x" * 700_000 + unseen[::-1]) == "x" * 700_000
    assert without_unseen("a\u200b\nb\u200c", keep="\n") == "a\nb"


@pytest.mark.timeout(20)  # each part's call was looked for among all of them
def test_calls_in_another_order_than_their_parts_are_found_at_once() -> None:
    number = 50_000
    made = [ToolCall(f"c{index}", "f", {}) for index in range(number)]
    parts = tuple(CallPart(call_id=f"c{index}") for index in reversed(range(number)))
    blocks = blocks_of(Message(role="assistant", content=parts, tool_calls=tuple(made)), "p")
    assert [block.call.id for block in blocks if isinstance(block, PlacedCall)] == [
        part.call_id for part in parts
    ]


def test_calls_of_one_id_are_placed_in_their_order_and_others_stand_behind() -> None:
    made = tuple(
        ToolCall(call_id, name, {}) for call_id, name in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")]
    )
    parts = (CallPart(call_id="c"), CallPart(call_id="a"), CallPart(call_id="nobodys"))
    blocks = blocks_of(Message(role="assistant", content=parts, tool_calls=made), "p")
    assert [block.call.name for block in blocks if isinstance(block, PlacedCall)] == ["4", "1", "2", "3"]


class Line(BaseModel):
    number: int = 0
    text: str = ""


async def test_arguments_of_countless_values_are_refused_before_they_are_checked() -> None:
    """Whoever checks them keeps the interpreter to himself until he is done, in a thread as well."""
    ran: list[int] = []

    @tool(effect="read")
    async def book(lines: list[Line], numbers: list[int] | None = None) -> str:
        """Book lines."""
        ran.append(len(lines))
        return "booked"

    provider = ScriptedProvider(
        [
            ToolCall("1", "book", {"lines": [{}] * (MAX_OBJECTS - 1)}),
            ToolCall("2", "book", {"lines": [], "numbers": [1] * (MAX_VALUES + 1)}),
            ToolCall("3", "book", {"lines": [{}] * (MAX_OBJECTS - 2)}),
            "done",
        ]
    )
    result = await Agent(provider=provider, tools=[book]).run("go")
    told = [message.text for message in result.messages if message.role == "tool"]
    assert [text.startswith("Error: not run: the arguments have more than") for text in told] == [
        True,
        True,
        False,
    ]
    assert ran == [MAX_OBJECTS - 2]


ONE_HASH = 2**61 - 1
"""Python takes whole numbers modulo this for their hashes."""


def alike(kind: str, count: int) -> list[Any]:
    """Return different numbers of one hash, as JSON has them: all of them begin a set's search at one place."""
    numbers = [ONE_HASH * number for number in range(1, count + 1)]
    written: dict[str, Callable[[int], Any]] = {
        "int": int,
        "text": str,
        "uuid": lambda number: str(UUID(int=number)),
        "decimal": lambda number: f"{number}.0",
        "long": lambda number: LongFloat(f"{number}.00"),
    }
    return [written[kind](number) for number in numbers]


@pytest.mark.parametrize("kind", ["int", "text", "uuid", "decimal", "long"])
async def test_numbers_of_one_hash_are_refused_before_a_set_compares_each_with_all(kind: str) -> None:
    """20,000 of them held the event loop for two seconds at a stretch from the thread that they were checked in, 60,000 for twenty."""
    ran: list[int] = []

    @tool(effect="read")
    async def book(
        numbers: set[int] | set[Decimal] | set[UUID] | None = None, named: dict[int, int] | None = None
    ) -> str:
        """Book numbers."""
        ran.append(len(numbers or named or ()))
        return "booked"

    provider = ScriptedProvider(
        [
            ToolCall("1", "book", {"numbers": alike(kind, 5_000)}),
            ToolCall("2", "book", {"named": dict.fromkeys(map(str, alike("int", 5_000)), 1)}),
            ToolCall("3", "book", {"numbers": alike(kind, MAX_ALIKE)}),
            ToolCall("4", "book", {"numbers": alike(kind, 1) * 1_000}),
            "done",
        ]
    )
    started = time.process_time()
    result = await Agent(provider=provider, tools=[book]).run("go")
    assert time.process_time() - started < 5.0
    told = [message.text for message in result.messages if message.role == "tool"]
    assert ["more than 100 different numbers that a set" in text for text in told] == [
        True,
        True,
        False,
        False,
    ]
    assert ran == [MAX_ALIKE, 1]


def test_nor_does_a_typed_answer_or_an_edit_bring_such_numbers_into_a_set() -> None:
    @tool(effect="read")
    async def book(numbers: set[int]) -> str:
        """Book numbers."""
        return "booked"

    with pytest.raises(OutputInvalid, match="more than 100 different numbers"):
        OutputType(set[int]).parse(dumps({"value": alike("text", 5_000)}).decode())
    with pytest.raises(ToolError, match="more than 100 different numbers"):
        completed(book, {"numbers": alike("int", 5_000)})
    with pytest.raises(InvalidInput, match="more than 100 different numbers"):
        ResultType(set[int]).told(alike("int", 5_000))


Wide: Any = create_model("Wide", **{f"field_{number}": (int, ...) for number in range(60)})  # type: ignore[call-overload]  # names are not known to mypy


class Rows(BaseModel):
    rows: list[int | float | UUID | Decimal | datetime | bool] = []
    wide: list[Wide] = []
    by_name: dict[str, list[int] | list[bool] | Wide] | None = None


@pytest.mark.parametrize(
    ("given", "is_refused"),
    [
        ({"rows": ["x"] * 190_000}, True),
        ({"wide": [{}] * 19_000}, True),
        ({"by_name": {str(number): {} for number in range(8_000)}}, True),
        ({"rows": [1] * 50_000}, False),
        ({"wide": [{f"field_{number}": number for number in range(60)}] * 1_500}, False),
    ],
    ids=["types", "fields", "both", "numbers", "records"],
)
async def test_values_in_which_countless_mistakes_can_be_made_are_refused_before_they_are_checked(
    given: dict[str, Any], is_refused: bool
) -> None:
    """60 KB of `{}` are a million mistakes, all of which are told in one go: it held the loop for more than a second, from a thread."""

    @tool(effect="read")
    async def book(book: Rows) -> str:
        """Book rows."""
        return "booked"

    provider = ScriptedProvider([ToolCall("1", "book", {"book": given}), "done"])
    result = await Agent(provider=provider, tools=[book]).run("go")
    (told,) = [message.text for message in result.messages if message.role == "tool"]
    assert told.startswith("Error: not run: more than 400,000 mistakes") is is_refused
    if not is_refused:
        assert completed(book, {"book": given})
        assert OutputType(Rows).parse(dumps(given).decode())
        return
    with pytest.raises(ToolError, match="more than 400,000 mistakes"):
        completed(book, {"book": given})
    with pytest.raises(OutputInvalid, match="more than 400,000 mistakes"):
        OutputType(Rows).parse(dumps(given).decode())


def test_what_looks_for_such_numbers_looks_at_each_character_once() -> None:
    texts = ["1" * 4_999 + "x", "1_" * 2_499 + "x", " " * 4_999, "1." + "1" * 4_990 + "e", "a-" * 17] * 200
    started = time.process_time()
    assert not has_alike(texts)
    assert time.process_time() - started < 1.0


def test_nor_is_a_typed_answer_of_countless_values_checked() -> None:
    kind = OutputType(list[Line])
    few = dumps({"value": [{}] * (MAX_OBJECTS - 1)}).decode()
    assert len(kind.parse(few)) == MAX_OBJECTS - 1
    with pytest.raises(OutputInvalid, match="more than 200,000 values, or 20,000 lists and objects"):
        kind.parse(dumps({"value": [{}] * MAX_OBJECTS}).decode())


def named(name: str) -> Tool:
    async def look_up() -> str:
        return "found"

    return Tool(name=name, description="d", parameters={"type": "object"}, handler=look_up)


async def test_a_name_that_nobody_has_is_compared_with_few_and_few_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[str, Sequence[str]]] = []
    compare = calls_of_agents.get_close_matches

    def noted(word: str, names: Sequence[str], number: int) -> list[str]:
        compared.append((word, names))
        return compare(word, names, number)

    monkeypatch.setattr(calls_of_agents, "get_close_matches", noted)
    tools = [named(f"tool_{number:03}_{'a' * (number % 50)}") for number in range(500)]
    long = "a" * 500
    provider = ScriptedProvider([[ToolCall("1", long, {}), ToolCall("2", "tol_004_aaaa", {})], "done"])
    result = await Agent(provider=provider, tools=tools).run("go")
    first, second = (message.text for message in result.messages if message.role == "tool")
    assert len(compared) == 1
    assert len(compared[0][1]) <= MAX_LISTED
    assert first.endswith(f"and {500 - MAX_LISTED} more")
    assert second.endswith("did you mean 'tool_004_aaaa'?")


def peak_of(work: Callable[[], Any]) -> int:
    """Return how many bytes something takes at once, at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_text_whose_normal_form_is_eighteen_times_as_long_is_never_written_out() -> None:
    text = "\ufdfa" * 1_000_000
    assert text_bytes(text[:10]) == 330
    assert peak_of(lambda: text_bytes(text)) < 16 * len(text)


async def test_a_document_of_percent_signs_is_read_piece_by_piece() -> None:
    url = "data:text/plain," + "%41" * 300_000
    message = Message(role="user", content=(MediaPart(media_type="text/plain", url=url),))
    cleaner = Redactor()
    assert peak_of(lambda: redacted._redacted(message, cleaner)) < 12 * len(url)
    quoted = "".join(f"%{ord(letter):02x}" for letter in SECRET)
    told = "data:text/plain," + "%41" * 21_840 + "%20" + quoted + "%20" + "%41" * 30_000
    (left,) = await redacted_messages(
        [Message(role="user", content=(MediaPart(media_type="text/plain", url=told),))], ("secrets",)
    )
    assert isinstance(left.content[0], MediaPart)
    assert SECRET.encode() not in unquote_to_bytes(str(left.content[0].url))


@given(st.text(alphabet="%4aé1é ", max_size=40))
def test_pieces_of_a_document_in_a_url_are_what_the_whole_is(payload: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(redacted, "_PIECE", 5)
        assert redacted._unquoted(payload) == unquote_to_bytes(payload)
        written = payload.encode()
        assert "".join(map(quote, redacted._in_pieces(written))) == quote(written)


@pytest.fixture
def on_loop(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Where long values are redacted: whether that is the thread of the event loop."""
    found = calls_on_the_loop(
        monkeypatch, Redactor, "redact", lambda _, value: not isinstance(value, str | None)
    )
    monkeypatch.setattr(public_data, "redact", Redactor().redact)
    return found


@pytest.mark.parametrize("slots", [True, False])
async def test_what_has_slots_is_as_large_as_what_it_holds(slots: bool) -> None:
    kind = make_dataclass("Page", [("items", list[int])], slots=slots)

    def is_here() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert await read_aside(kind([1] * LARGE), is_here) is False
    assert await read_aside(kind([1]), is_here) is True


async def test_hard_budgets_look_at_long_calls_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = calls_on_the_loop(monkeypatch, model_admission, "bound_input")
    long = "\ufdfa" * LARGE
    calls = [
        ToolCall("1", "f", {}, malformed=long),
        ToolCall("1", "f", {"text": long}),
        ToolCall("1", "f", {"text": "short"}),
    ]

    async def operator(context: OperatorContext, given: int) -> None:
        asked = Message(role="assistant", content="", tool_calls=(calls[given],))
        agent = Agent(provider=ScriptedProvider(["done"]))
        await agent.run("on", messages=[Message.user("go"), asked, Message.tool("x", "1", "f")])

    budgets = BudgetSpec(max_tokens=10**9, mode="hard")
    async with kernel(operators={"talk": operator}) as k:
        for number in range(len(calls)):
            request = ExecutionRequest(operator="talk", input=number, budgets=budgets)
            await (await k.execute(request)).result(timeout=BOUND)
    assert looked == [False, False, True]


async def test_rules_that_redact_look_at_long_calls_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = calls_on_the_loop(monkeypatch, redacted, "_redacted")
    long = "long " * LARGE
    for call in (
        ToolCall("1", "f", {}, malformed=long),
        ToolCall("1", "f", {"text": long}),
        ToolCall("1", "f", {"text": "short"}, malformed="short"),
    ):
        await redacted_messages([Message(role="assistant", content="", tool_calls=(call,))], ("secrets",))
    assert looked == [False, False, True]


COUNTLESS = {"items": [{"pin": [[[]]]}] * (LARGE // 4)}


async def test_long_values_beside_a_short_text_are_redacted_in_a_thread(on_loop: list[bool]) -> None:
    @tool(effect="read")
    async def fetch(long: bool) -> ToolResult:
        """Fetch something."""
        return ToolResult(content="ok", value=COUNTLESS if long else {"pin": "1"})

    replies = [ToolCall("1", "fetch", {"long": True}), ToolCall("2", "fetch", {"long": False}), "done"]
    await Agent(provider=ScriptedProvider(replies), tools=[fetch]).run("go")
    assert on_loop == [False, True]


async def test_long_data_of_an_event_is_redacted_in_a_thread(on_loop: list[bool]) -> None:
    async def tells(context: OperatorContext, given: Any) -> None:
        await context.emit("custom.progress", COUNTLESS)

    async with kernel(operators=[tells]) as k:
        handle = await k.execute(ExecutionRequest(operator="tells"))
        await handle.result(timeout=BOUND)
        await k.aclose()
    assert False in on_loop
    assert True not in on_loop
