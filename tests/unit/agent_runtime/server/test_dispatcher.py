"""The dispatcher of JSON-RPC 2.0: the examples of its specification, and whatever may come instead of a request."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from agent_runtime.errors import InboxFull
from agent_runtime.server.rpc.dispatcher import MAX_BATCH, Dispatcher
from agent_runtime.server.rpc.methods import Method, Params, table
from agent_runtime.server.rpc.refusals import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR
from agent_runtime.values.api_key import Permission

SPECIFICATION = (
    # rpc call with positional parameters
    ('{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}', '{"jsonrpc": "2.0", "result": 19, "id": 1}'),
    ('{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}', '{"jsonrpc": "2.0", "result": -19, "id": 2}'),
    # rpc call with named parameters
    ('{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}', '{"jsonrpc": "2.0", "result": 19, "id": 3}'),
    ('{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}', '{"jsonrpc": "2.0", "result": 19, "id": 4}'),
    # a Notification
    ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    # rpc call of non-existent method
    ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}'),
    # rpc call with invalid JSON
    ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}'),
    # rpc call with invalid Request object
    ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}'),
    # rpc call Batch, invalid JSON
    (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]',
        '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
    ),
    # rpc call with an empty Array
    ("[]", '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}'),
    # rpc call with an invalid Batch (but not empty)
    ("[1]", '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]'),
    # rpc call with invalid Batch
    (
        "[1,2,3]",
        """[
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}
        ]""",
    ),
    # rpc call Batch
    (
        """[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
        ]""",
        """[
        {"jsonrpc": "2.0", "result": 7, "id": "1"},
        {"jsonrpc": "2.0", "result": 19, "id": "2"},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
        {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
        ]""",
    ),
    # rpc call Batch (all notifications)
    (
        """[
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
        ]""",
        None,
    ),
)  # fmt: skip
"""https://www.jsonrpc.org/specification, section 7, letter for letter."""


class Subtract(Params):
    minuend: int
    subtrahend: int


class Sum(Params):
    first: int = 0
    second: int = 0
    third: int = 0


class Hello(Params):
    number: int


class Nothing(Params):
    pass


class Scene:
    """Methods, and what has become of them."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.running = self.most = 0
        self.go_on = asyncio.Event()

    async def subtract(self, _: object, given: Subtract) -> int:
        return given.minuend - given.subtrahend

    async def sum(self, _: object, given: Sum) -> int:
        return given.first + given.second + given.third

    async def hello(self, _: object, given: Hello) -> None:
        self.heard.append(given.number)

    async def data(self, _: object, __: Nothing) -> list[object]:
        return ["hello", 5]

    async def wait(self, _: object, __: Nothing) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go_on.wait()
        self.running -= 1
        return self.most

    async def full(self, _: object, __: Nothing) -> None:
        raise InboxFull(identity="a", scope_id="acme", limit=20)

    async def broken(self, _: object, __: Nothing) -> None:
        raise KeyError("hunter2")

    async def unwritable(self, _: object, __: Nothing) -> object:
        return object()

    def dispatcher(self, *, room: int = 16) -> Dispatcher:
        found: tuple[tuple[str, type[Params], Any], ...] = (
            ("subtract", Subtract, self.subtract),
            ("sum", Sum, self.sum),
            ("notify_hello", Hello, self.hello),
            ("notify_sum", Sum, self.sum),
            ("get_data", Nothing, self.data),
            ("wait", Nothing, self.wait),
            ("full", Nothing, self.full),
            ("broken", Nothing, self.broken),
            ("unwritable", Nothing, self.unwritable),
        )
        methods = table(
            Method(
                name=name, params=params, result=Any, permission=Permission.READ, summary="", answer=answer
            )
            for name, params, answer in found
        )
        return Dispatcher(methods, lambda method: None, room=room)


def without_data(said: Any) -> Any:
    """Leave out what a server may say beside what the specification shows."""
    if isinstance(said, list):
        return [without_data(each) for each in said]
    if "error" in said:
        said["error"].pop("data", None)
    return said


async def asked(text: str, scene: Scene | None = None) -> Any:
    answered = await (scene or Scene()).dispatcher().answer(text, None)
    return None if answered is None else json.loads(answered)


@pytest.mark.parametrize(("said", "wanted"), SPECIFICATION)
async def test_the_specification_is_answered_as_it_says(said: str, wanted: str | None) -> None:
    answered = await asked(said)

    assert (None if answered is None else without_data(answered)) == (
        None if wanted is None else json.loads(wanted)
    )


@pytest.mark.parametrize(
    "id_",
    ['"x"', '""', "0", "-1", "1.5", "null", "9007199254740993", "123456789012345678901234567890",
     "3.14159265358979323846264338327950288", '"\\u00e4"'],
)  # fmt: skip
async def test_any_legal_id_comes_back_digit_for_digit(id_: str) -> None:
    answered = await Scene().dispatcher().answer('{"jsonrpc":"2.0","method":"sum","id":' + id_ + "}", None)

    assert answered is not None
    assert answered.decode() == '{"jsonrpc":"2.0","id":' + id_.replace("\\u00e4", "ä") + ',"result":0}'


@pytest.mark.parametrize("id_", ["true", "[]", "{}"])
async def test_an_id_of_another_type_makes_an_invalid_request_without_an_id(id_: str) -> None:
    answered = await asked('{"jsonrpc":"2.0","method":"sum","id":' + id_ + "}")

    assert (answered["id"], answered["error"]["code"]) == (None, INVALID_REQUEST)


async def test_the_calls_of_an_array_go_on_side_by_side_as_far_as_there_is_room() -> None:
    scene = Scene()
    batch = json.dumps([{"jsonrpc": "2.0", "method": "wait", "id": number} for number in range(5)])
    answering = asyncio.ensure_future(scene.dispatcher(room=3).answer(batch, None))
    async with asyncio.timeout(5):
        while scene.running < 3:
            await asyncio.sleep(0)
    scene.go_on.set()

    answered = json.loads(await answering or b"")
    assert [one["id"] for one in answered] == [0, 1, 2, 3, 4]
    assert scene.most == 3


async def test_an_array_that_is_too_long_is_refused_as_one() -> None:
    batch = [{"jsonrpc": "2.0", "method": "sum", "id": 1}] * (MAX_BATCH + 1)

    answered = await asked(json.dumps(batch))

    assert (answered["id"], answered["error"]["code"]) == (None, INVALID_REQUEST)


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ([1, 2, 3], None),
        ([1], "subtrahend"),
        ({"minuend": 1}, "subtrahend"),
        ({"minuend": 1, "subtrahend": 1, "more": 1}, "more"),
        ({"minuend": "hunter2", "subtrahend": 1}, "minuend"),
    ],
)
async def test_params_that_do_not_fit_are_named_and_not_repeated(params: Any, place: str | None) -> None:
    answered = await asked(json.dumps({"jsonrpc": "2.0", "method": "subtract", "params": params, "id": 1}))

    error = answered["error"]
    assert error["code"] == INVALID_PARAMS
    assert error["data"]["code"] == "INVALID_INPUT"
    assert place is None or [one["place"] for one in error["data"]["errors"]] == [place]
    assert "hunter2" not in json.dumps(error)


async def test_what_the_runtime_refuses_has_a_code_of_its_own_range_and_the_codes_of_problems() -> None:
    error = (await asked('{"jsonrpc":"2.0","method":"full","id":1}'))["error"]

    assert error["code"] == -32029
    assert error["data"] == {"code": "INBOX_FULL", "status": 429, "retryAfter": 5}


@pytest.mark.parametrize("method", ["broken", "unwritable"])
async def test_of_a_mistake_of_ours_nothing_is_told_but_its_name_in_the_log(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = json.dumps([{"jsonrpc": "2.0", "method": one, "id": one} for one in (method, "sum")])

    failed, other = await asked(text)

    assert failed["error"]["code"] == INTERNAL_ERROR
    assert failed["error"]["data"]["instance"] in caplog.text
    assert "hunter2" not in json.dumps(failed)
    assert other["result"] == 0


async def test_a_notification_is_done_and_not_answered_even_when_it_fails() -> None:
    scene = Scene()

    assert await asked('{"jsonrpc":"2.0","method":"notify_hello","params":[7]}', scene) is None
    assert await asked('{"jsonrpc":"2.0","method":"notify_hello","params":["x"]}', scene) is None
    assert await asked('{"jsonrpc":"2.0","method":"full"}', scene) is None
    assert scene.heard == [7]


@pytest.mark.timeout(120)
async def test_of_ten_thousand_random_frames_each_request_is_answered_and_none_with_a_mistake_of_ours() -> (
    None
):
    chance = random.Random(20_261_201)
    dispatcher = Scene().dispatcher()
    for _ in range(10_000):
        text = frame(chance)
        answered = await dispatcher.answer(text, None)
        wanted = expected(text)
        told = None if answered is None else json.loads(answered)
        assert shape(told) == wanted, text
        assert not any(one.get("error", {}).get("code") == INTERNAL_ERROR for one in as_list(told)), text


VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    2**70,
    "",
    "x",
    "2.0",
    [],
    [1],
    {},
    {"number": 1},
    [[[]]],
    "\ud800",
)
NAMES = ("sum", "subtract", "notify_hello", "get_data", "nothing", "rpc.x", "", 1, None)


def frame(chance: random.Random) -> str:
    """Return a text that is a request, nearly one, or nothing of the kind."""
    kind = chance.random()
    if kind < 0.35:
        said = [request(chance) for _ in range(chance.randrange(5))]
        text = json.dumps(said)
    else:
        text = json.dumps(request(chance) if kind < 0.9 else chance.choice(VALUES))
    if chance.random() < 0.25:
        at = chance.randrange(len(text) + 1)
        text = (
            text[:at]
            + chance.choice(["", "}", "[", '"', "\x00", "é", ","])
            + text[at + chance.randrange(3) :]
        )
    return text


def request(chance: random.Random) -> Any:
    if chance.random() < 0.1:
        return chance.choice(VALUES)
    said: dict[str, Any] = {"jsonrpc": "2.0" if chance.random() < 0.9 else chance.choice(VALUES)}
    for name, values in (("method", NAMES), ("params", VALUES), ("id", VALUES)):
        if chance.random() < 0.8:
            said[name] = chance.choice(values)
    return said


def expected(text: str) -> Any:
    """Return the ids that have to be answered, by the letter of the specification."""
    try:
        said = json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    except ValueError:
        return PARSE_ERROR
    if not isinstance(said, list):
        return id_of(said)
    if not said:
        return INVALID_REQUEST
    ids = [found for one in said if (found := id_of(one)) is not None]
    return ids or None


def id_of(said: Any) -> Any:
    """Return the id that an answer has, in a list of one; `None` where there is no answer."""
    is_object = isinstance(said, dict)
    given = said.get("id") if is_object else None
    legal = given is None or (isinstance(given, str | int | float) and not isinstance(given, bool))
    is_request = (
        is_object
        and said.get("jsonrpc") == "2.0"
        and isinstance(said.get("method"), str)
        and isinstance(said.get("params", {}), dict | list)
        and legal
    )
    if is_request and "id" not in said:
        return None
    return [whole(given) if legal else None]


def whole(value: Any) -> Any:
    return value.replace("\ud800", "\ufffd") if isinstance(value, str) else value


def shape(told: Any) -> Any:
    if told is None:
        return None
    if isinstance(told, list):
        return [[one["id"]] for one in told]
    if told.get("error", {}).get("code") == PARSE_ERROR:
        return PARSE_ERROR
    if told.get("error", {}).get("data", {}).get("detail") == "an empty array asks for nothing":
        return INVALID_REQUEST
    return [told["id"]]


def as_list(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [] if told is None else [told]
