"""What steps return: the declared type decides, in the first run and in every later one."""

import dataclasses
import enum
import functools
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, computed_field

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    InvalidInput,
    JobFailed,
    OperatorContext,
    ResultNotSerializable,
)
from agent_runtime.execution.operations.results import ResultType
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury
from llm_client import Agent, ScriptedProvider, tool
from llm_client.messages import Message, ToolCall
from support.kernels import BOUND, DOOMED, kernel, pending, resumed, types

pytestmark = pytest.mark.timeout(BOUND * 3)

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    DARK = ("dark", 1)


class Size(enum.StrEnum):
    SMALL = "small"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    price: Decimal
    on: date
    sum: Decimal = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sum", self.price)


class Moment(datetime):
    """What libraries for times return."""


class Point(NamedTuple):
    x: int
    at: datetime


class Row(TypedDict, total=False):
    id: UUID
    colours: set[Colour]


class Box(BaseModel, Generic[T]):
    model_config = ConfigDict(extra="forbid", strict=True)

    inside: T = Field(alias="theContent")
    size: Size | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def label(self) -> str:
        return f"{self.size}"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int


zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), ZoneInfo("Europe/Berlin")])
numbers = st.decimals(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.none() | zones)
dates = st.dates()
texts = st.text(st.characters(exclude_categories=["Cs"]))
items = st.builds(Item, name=texts, price=numbers, on=dates)
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, texts),
    (Decimal, numbers),
    (datetime, moments),
    (date, dates),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (bytes, st.binary()),
    (Colour, st.sampled_from(Colour)),
    (Size, st.sampled_from(Size)),
    (Level, st.sampled_from(Level)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Annotated[Decimal, Field(ge=0)], st.decimals(min_value=0, allow_nan=False, allow_infinity=False)),
    (Decimal | str, st.one_of(numbers, numbers.map(str))),
    (UUID | str, st.one_of(st.uuids(), st.uuids().map(str))),
    (date | str, st.one_of(dates, dates.map(str))),
    (float | Decimal, st.one_of(numbers, st.floats(allow_nan=False, allow_infinity=False))),
    (bytes | str, st.one_of(st.binary(), texts)),
    (Item, items),
    (Point, st.builds(Point, st.integers(), moments)),
    (Cat | Dog, st.builds(Cat, lives=st.integers()) | st.builds(Dog, lives=st.integers())),
]
HASHABLE: list[tuple[Any, st.SearchStrategy[Any]]] = LEAVES[:-1]


def within(inner: tuple[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    """Annotations around another one, each with values."""
    kind, values = inner
    pairs: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (kind, values),
        (kind | None, st.none() | values),
        (list[kind], st.lists(values, max_size=3)),
        (Sequence[kind], st.lists(values, max_size=3)),
        (tuple[kind, ...], st.lists(values, max_size=3).map(tuple)),
        (tuple[str, kind], st.tuples(texts, values)),
        (list[kind] | tuple[kind, ...], st.lists(values, max_size=3).map(tuple)),
        (dict[str, kind], st.dictionaries(texts, values, max_size=3)),
        (Box[kind], values.map(lambda value: Box[kind](theContent=value, size=Size.SMALL))),
    ]
    return st.one_of([st.tuples(st.just(annotation), strategy) for annotation, strategy in pairs])


def hashed(inner: tuple[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    kind, values = inner
    return st.one_of(
        st.tuples(st.just(set[kind]), st.sets(values, max_size=3)),
        st.tuples(st.just(frozenset[kind]), st.frozensets(values, max_size=3)),
        st.tuples(st.just(dict[kind, int]), st.dictionaries(values, st.integers(), max_size=3)),
        st.tuples(
            st.just(dict[tuple[kind, int], str]), st.dictionaries(st.tuples(values, st.integers()), texts)
        ),
    )


returned = st.one_of(
    st.sampled_from(LEAVES).flatmap(within),
    st.sampled_from([leaf for leaf in HASHABLE if leaf[0] is not Item]).flatmap(hashed),
    st.tuples(st.just(set[Item]), st.sets(items, max_size=2)),
    st.tuples(
        st.just(Row), st.fixed_dictionaries({"id": st.uuids(), "colours": st.sets(st.sampled_from(Colour))})
    ),
)


def function_of(annotation: Any, value: Any) -> Callable[[], Any]:
    def give() -> Any:
        return value

    give.__annotations__["return"] = annotation
    return give


async def both_runs(*functions: Callable[[], Any]) -> list[list[Any]]:
    """Return what steps give in a job's first run, and in the one that resumes it."""
    seen: list[list[Any]] = []

    async def operator(context: OperatorContext, given: object) -> None:
        seen.append([await context.step(function, effect="read") for function in functions])
        await context.action(ActionSpec(type="confirm"))

    async with kernel(operators=[operator]) as k:
        await resumed(await k.execute(ExecutionRequest(operator="operator")))
    assert len(seen) == 2
    return seen


def typed(value: Any) -> Any:
    """A value with the types of all that is in it, to compare by."""
    if isinstance(value, (list, tuple)):
        return type(value), [typed(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(map(repr, map(typed, value)))
    if isinstance(value, dict):
        return type(value), sorted(repr((typed(key), typed(item))) for key, item in value.items())
    if isinstance(value, BaseModel):
        return type(value), typed(dict(value))
    return type(value), value


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(returned)
def test_every_type_comes_back_from_its_content(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    content, as_read = ResultType(annotation).write(value)
    assert typed(ResultType(annotation).read(content)) == typed(as_read) == typed(value)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(st.lists(returned, min_size=20, max_size=30))
async def test_a_step_gives_the_same_value_of_the_same_type_in_every_run(
    pairs: list[tuple[Any, Any]],
) -> None:
    first, resumed = await both_runs(*(function_of(kind, value) for kind, value in pairs))
    for (_, value), one, other in zip(pairs, first, resumed, strict=True):
        assert typed(one) == typed(other) == typed(value)


@pytest.mark.parametrize(
    ("annotation", "given_", "wanted"),
    [
        (Decimal, "12.50", Decimal("12.50")),
        (float, 5, 5.0),
        (Item, {"name": "a", "price": "1", "on": "2026-01-01"}, Item("a", Decimal(1), date(2026, 1, 1))),
        (tuple[int, ...], [1, 2], (1, 2)),
        (None, {"said": "nothing"}, {"said": "nothing"}),
        (str, 7, 7),
        (int, "seven", "seven"),
        (str, None, None),
        (Item, {"no": "item"}, {"no": "item"}),
        (list[str], (1, 2), [1, 2]),
        (dict[str, int], {"$plain": "x"}, {"$plain": "x"}),
        (Any, (1, [2]), [1, [2]]),
        (Path, Path("a/b"), Path("a/b")),
        (dict, {"$decimal": "1"}, {"$decimal": "1"}),
        (Any, {"$decimal": "1"}, {"$decimal": "1"}),
        (Awaitable[Decimal], Decimal(1), Decimal(1)),
        (Colour | str, Colour.RED, Colour.RED),
        (str, Size.SMALL, "small"),
        (datetime, Moment(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
async def test_the_declared_type_decides_whatever_was_returned(
    annotation: Any, given_: Any, wanted: Any
) -> None:
    for value in await both_runs(function_of(annotation, given_)):
        assert typed(value[0]) == typed(wanted)


@dataclasses.dataclass
class Prices:
    """Not hashable, as dataclasses are that can be compared."""

    price: Decimal

    def ask(self) -> Decimal:
        return self.price

    async def __call__(self) -> "Decimal | None":
        return self.price


async def test_methods_partial_functions_objects_and_classes_say_what_they_return() -> None:
    prices = Prices(Decimal(2))
    asked = functools.partial(lambda price: price, Decimal(3))
    asked.func.__annotations__["return"] = Decimal
    made = functools.partial(Decimal, "4")
    for values in await both_runs(prices.ask, prices, asked, made):
        assert typed(values) == typed([Decimal(2), Decimal(2), Decimal(3), Decimal(4)])


class Bare:
    pass


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Any, Decimal(1)),
        (Any, UUID(int=1)),
        (Any, [Colour.RED]),
        (Any, Size.SMALL),
        (Any, {"deep": [date(2026, 1, 1)]}),
        (Any, {1: "a"}),
        (Any, float("nan")),
        (Any, [1.0, float("inf")]),
        (float, float("nan")),
        (list[float], [float("-inf")]),
        (Decimal, Decimal("NaN")),
        (Bare, Bare()),
    ],
)
async def test_what_would_come_back_as_something_else_is_refused_and_the_sentence_names_the_step(
    annotation: Any, value: Any
) -> None:
    said: list[str] = []

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.step(function_of(annotation, value), name="ask")
        except ResultNotSerializable as error:
            said.append(str(error))
        await context.action(ActionSpec(type="confirm"))

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await resumed(handle)
        assert "step.failed" in await types(handle)
    assert len(said) == 2
    assert said[0] == said[1]
    assert "step 'ask'" in said[0]


async def test_a_subclass_is_not_cut_down_to_the_class_that_is_declared() -> None:
    class Animal(BaseModel):
        name: str

    class Bird(Animal):
        wings: int

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.step(function_of(Animal, Bird(name="a", wings=2)))
        except ResultNotSerializable as error:
            return str(error)
        return "cut down"

    async with kernel(operators=[operator]) as k:
        result = await (await k.execute(ExecutionRequest(operator="operator"))).result()
    assert "a Bird does not come back as what it is" in result.content


class Unreadable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def circle() -> list[Any]:
    ring: list[Any] = []
    ring.append({"ring": ring})
    return ring


@pytest.mark.parametrize(
    "argument",
    [
        {(1, 2): "tuple"},
        2**70,
        2**20_000,
        circle(),
        Unreadable(),
        {Unreadable: [Unreadable()]},
        "\ud800",
        float("nan"),
        {1, "a"},
        b"\xff",
        Decimal("NaN"),
        NoneType,
        open,
        [[[[0] * 3] * 3] * 3],
        functools.reduce(lambda inner, _: [inner], range(5000), []),
    ],
    ids=lambda argument: type(argument).__name__,
)
async def test_arguments_may_be_anything_and_a_resume_knows_them_again(argument: Any) -> None:
    def take(first: Any, *, named: Any) -> str:
        return "taken"

    async def operator(context: OperatorContext, given: object) -> str:
        taken = await context.step(take, argument, named=argument, effect="idempotent")
        await context.action(ActionSpec(type="confirm"))
        return str(taken)

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await resumed(handle)).content == "taken"
        assert "job.warning" not in await types(handle)


async def test_a_result_that_a_person_tells_is_checked_against_the_steps_type_and_asked_for_again() -> None:
    storage = MemoryStorage()
    dying = DyingStorage(storage, lambda commit: False)

    async def pay() -> Decimal:
        dying.die()
        return Decimal(1)

    seen: list[Any] = []

    async def operator(context: OperatorContext, given: object) -> str:
        seen.append(await context.step(pay))
        await context.action(ActionSpec(type="confirm"))
        return str(seen[-1])

    doomed = kernel(dying, operators={"operator": operator}, options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="operator"))
    await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators={"operator": operator}) as k:
        handle = k.handle(handle.job_id)
        question = await pending(handle)
        await handle.resolve_action(question.action_id, {"outcome": "done", "result": "about twelve"})
        again = await pending(handle)
        assert again.action_id != question.action_id
        assert "does not fit what is declared" in again.payload["problem"]
        await handle.resolve_action(again.action_id, {"outcome": "done", "result": "12.50"})
        assert (await resumed(handle)).content == "12.50"
    assert typed(seen[-2:]) == typed([Decimal("12.50")] * 2)


@pytest.mark.parametrize(
    ("output_type", "answer", "output"),
    [
        (list[Item], '{"value": [{"name": "a", "price": "1.5", "on": "2026-01-01"}]}', None),
        (dict[str, Item], '{"a": {"name": "a", "price": "1.5", "on": "2026-01-01"}}', None),
        (Item, '{"name": "a", "price": "1.5", "on": "2026-01-01"}', None),
        (tuple[int, Decimal], '{"value": [1, "2.5"]}', [1, "2.5"]),
        (set[int], '{"value": [1, 1]}', [1]),
        (date, '{"value": "2026-01-01"}', "2026-01-01"),
        (dict[date, Decimal], '{"2026-01-01": "1"}', {"2026-01-01": "1"}),
        (Colour, '{"value": "red"}', "red"),
    ],
)
async def test_an_agents_answer_of_any_type_is_the_result_of_its_job(
    output_type: Any, answer: str, output: Any
) -> None:
    agent = Agent(provider=ScriptedProvider([answer] * 2), output_type=output_type)
    bare = (await agent.run("go")).output
    async with kernel(agent=agent) as k:
        result = await (await k.execute(ExecutionRequest(prompt="go"))).result()
    if output is not None:
        assert result.output == output
    assert typed(TypeAdapter(output_type).validate_python(result.output)) == typed(bare)


async def test_an_operator_may_give_back_dataclasses_and_models_with_whatever_they_hold() -> None:
    async def operator(context: OperatorContext, given: object) -> Any:
        return {"items": [Item("a", Decimal("1.5"), date(2026, 1, 1))], "cat": (Cat(lives=9),)}

    async with kernel(operators=[operator]) as k:
        result = await (await k.execute(ExecutionRequest(operator="operator"))).result()
    assert result.output == {
        "items": [{"name": "a", "price": "1.5", "on": "2026-01-01", "sum": "1.5"}],
        "cat": [{"kind": "cat", "lives": 9}],
    }


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize("number", [NAN, INFINITY, -INFINITY])
async def test_numbers_that_json_has_no_word_for_are_refused_everywhere(number: float) -> None:
    async def gives(context: OperatorContext, given: object) -> Any:
        return {"deep": [number, None]}

    async def tells(context: OperatorContext, given: object) -> None:
        await context.emit("custom.measured", {"value": number})

    async def asks(context: OperatorContext, given: object) -> str:
        return str((await context.action(ActionSpec(type="input"))).resolution)

    async def calls(context: OperatorContext, given: object) -> str:
        call = Message(role="assistant", tool_calls=(ToolCall("1", "weigh", {"value": number}),))
        agent = Agent(provider=ScriptedProvider(["ok"]))
        return (await agent.run("go", messages=[call, Message.tool("1", "1", "weigh")])).content

    @tool
    async def weigh() -> Any:
        """Weigh."""
        return {"weight": number}

    agent = Agent(provider=ScriptedProvider([ToolCall("1", "weigh", {}), "ok"]), tools=[weigh])
    async with kernel(agent=agent, operators=[gives, tells, asks, calls]) as k:
        for request in (
            lambda: ExecutionRequest(operator="asks", input={"a": [number]}),
            lambda: ExecutionRequest(operator="asks", metadata={"a": number}),
        ):
            with pytest.raises(ResultNotSerializable, match="JSON"):
                await k.execute(request())
        for name in ("gives", "tells", "calls"):
            with pytest.raises(JobFailed, match="not JSON"):
                await (await k.execute(ExecutionRequest(operator=name))).result()
        handle = await k.execute(ExecutionRequest(operator="asks"))
        question = await pending(handle)
        with pytest.raises(InvalidInput):
            await handle.resolve_action(question.action_id, {"value": number})
        await handle.resolve_action(question.action_id, {"value": None})
        assert (await handle.result()).content == "{'value': None}"
        with pytest.raises(ResultNotSerializable):
            ActionSpec(type="input", payload={"a": number})
        handle = await k.execute(ExecutionRequest(prompt="weigh it"))
        assert (await handle.result()).content == "ok"
        assert "tool.failed" in await types(handle)
