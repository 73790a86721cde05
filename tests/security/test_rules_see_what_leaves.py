"""What leaves for a model is what rules have looked at: no field of `extra` takes its place, and text is redacted wherever it stands."""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

import pytest

from agent_runtime import (
    Budget,
    BudgetExceededError,
    BudgetSpec,
    ExecutionRequest,
    ModelPolicy,
    OperatorContext,
    PolicyDenied,
    PolicyEngine,
    RedactionPolicy,
    ToolPolicy,
)
from llm_client import (
    ExecutionEngine,
    FunctionProvider,
    MediaPart,
    Message,
    ModelMiddleware,
    OpenAIProvider,
    ReasoningPart,
    RequestSpec,
    TextPart,
    tool,
)
from llm_client.messages import CallPart, RefusalPart, ToolCall
from llm_client.middleware import ModelCall, ProceedCall
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.providers.google.request import GenerateContentFormat
from llm_client.providers.openai.chat_dialect import MISTRAL
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from support.kernels import BOUND, journal, kernel, types
from support.loopback import LoopbackServer, json_reply

pytestmark = pytest.mark.timeout(BOUND * 3)

SECRET = "sk-" + "proj-" + "a1B2c3D4" * 6
PERSONAL = f"mail ann@example.com key {SECRET}"


class Model:
    """A model that remembers what it was asked."""

    def __init__(self, *middleware: ModelMiddleware) -> None:
        self.specs: list[RequestSpec] = []
        self.engine = ExecutionEngine(FunctionProvider(self._answer, model="small"), middleware=middleware)

    async def _answer(self, spec: RequestSpec) -> str:
        self.specs.append(spec)
        return "answer"


def asking(*messages: Message, **values: Any) -> Any:
    spec = RequestSpec(messages=messages or [Message.user("?")], **values)

    async def ask(context: OperatorContext, given: Any) -> str:
        return (await context.model(spec)).content

    return {"ask": ask}


# -- fields of `extra` -----------------------------------------------------------------------------------------------

BOUNDED = ModelPolicy(model_patterns="*", max_tokens=100)
REPLACING: list[dict[str, Any]] = [
    {"model": "large"},
    {"Model": "large"},
    {"messages": [{"role": "user", "content": "other"}]},
    {"me\u017f\u017fages": []},
    {"input": "other"},
    {"contents": []},
    {"system": "other"},
    {"systemInstruction": {"parts": []}},
    {"system_instruction": {"parts": []}},
    {"instructions": "other"},
    {"max_tokens": 9_999},
    {"maxTokens": 9_999},
    {"max_completion_tokens": 9_999},
    {"max_output_tokens": 9_999},
    {"n_predict": 9_999},
    {"generationConfig": {"maxOutputTokens": 9_999}},
    {"generation_config": {"max_output_tokens": 9_999}},
    {"generationConfig": "anything"},
    {"extra_body": {"model": "large"}},
    {"extra_body": {"generationConfig": {"maxOutputTokens": 9_999}}},
    {"models": "large"},
    {"models": [["large"]]},
    {"preset": "mine"},
    {"prompt_id": "mine"},
    {"extra_body": {"preset": "mine"}},
]


@pytest.mark.parametrize("extra", REPLACING, ids=str)
async def test_extra_takes_the_place_of_nothing_that_a_rule_has_looked_at(extra: dict[str, Any]) -> None:
    model, (field,) = Model(), extra
    async with kernel(
        operators=asking(extra=extra), policy_engine=PolicyEngine([BOUNDED]), engine=model.engine
    ) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(PolicyDenied, match="extra") as refused:
            await handle.result()
        assert field in str(refused.value)
        assert "model.started" not in await types(handle)
    assert model.specs == []


@pytest.mark.parametrize(
    "extra",
    [
        {"metadata": {"model": "a", "messages": "b"}},
        {"service_tier": "flex", "reasoning": {"max_tokens": 5}, "store": True},
        {"generationConfig": {"responseModalities": ["TEXT"]}},
    ],
    ids=str,
)
async def test_what_the_request_has_no_field_for_leaves_as_it_is(extra: dict[str, Any]) -> None:
    model = Model()
    async with kernel(
        operators=asking(extra=extra), policy_engine=PolicyEngine([BOUNDED]), engine=model.engine
    ) as k:
        await (await k.execute(ExecutionRequest(operator="ask"))).result()
    assert [(spec.extra, spec.max_tokens) for spec in model.specs] == [(extra, 100)]


@pytest.mark.parametrize("extra", REPLACING, ids=str)
@pytest.mark.parametrize(
    "engine",
    [
        None,
        PolicyEngine([ToolPolicy(tool_patterns="pay", decision="deny")]),
        PolicyEngine([BOUNDED], dry_run=True),
    ],
    ids=["no policy", "tools alone", "it only watches"],
)
async def test_where_nothing_rules_on_models_extra_goes_out_as_it_is(
    extra: dict[str, Any], engine: Any
) -> None:
    model = Model()
    given = {} if engine is None else {"policy_engine": engine}
    async with kernel(operators=asking(extra=extra), engine=model.engine, **given) as k:
        await (await k.execute(ExecutionRequest(operator="ask"))).result()
    assert [spec.extra for spec in model.specs] == [extra]


async def test_a_middleware_that_adds_a_field_after_the_ruling_is_refused_too() -> None:
    class Adds(ModelMiddleware):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> Any:
            return await proceed(call.evolve(spec=call.spec.evolve(extra={"model": "large"})))

    model = Model(Adds())
    async with kernel(operators=asking(), policy_engine=PolicyEngine([BOUNDED]), engine=model.engine) as k:
        with pytest.raises(PolicyDenied, match="'model'"):
            await (await k.execute(ExecutionRequest(operator="ask"))).result()
    assert model.specs == []


async def test_a_rule_for_tools_that_redacts_is_not_passed_by_other_messages() -> None:
    model = Model()
    extra = {"tools": [{"type": "web_search"}], "messages": [{"role": "user", "content": PERSONAL}]}
    engine = PolicyEngine([RedactionPolicy(model_patterns=(), tool_patterns="web_search")])
    async with kernel(operators=asking(extra=extra), policy_engine=engine, engine=model.engine) as k:
        with pytest.raises(PolicyDenied, match="'messages'"):
            await (await k.execute(ExecutionRequest(operator="ask"))).result()
    assert model.specs == []


@pytest.mark.parametrize("extra", [extra for extra in REPLACING if "models" not in extra], ids=str)
@pytest.mark.parametrize("mode", ["estimate", "hard"])
async def test_a_budget_is_not_passed_by_what_it_has_not_reckoned_with(
    extra: dict[str, Any], mode: Any
) -> None:
    model = Model()
    budgets = BudgetSpec(max_tokens=100_000, mode=mode)
    async with kernel(operators=asking(extra=extra), engine=model.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask", budgets=budgets))
        with pytest.raises(BudgetExceededError, match="extra field"):
            await handle.result()
    assert model.specs == []


async def test_a_budget_that_reckons_with_no_size_lets_it_pass() -> None:
    model = Model()
    async with kernel(operators=asking(extra={"model": "large"}), engine=model.engine) as k:
        k.ledger.set_budget(Budget(max_tokens_total=100_000, exceed_strategy="warn"))
        budgets = BudgetSpec(max_turns=5)
        await (await k.execute(ExecutionRequest(operator="ask", budgets=budgets))).result()
    assert len(model.specs) == 1


# -- models that a vendor may ask instead ----------------------------------------------------------------------------

NO_LARGE = ModelPolicy(model_patterns="large*", decision="deny", reason="too dear")
LISTS = pytest.mark.parametrize(
    "lists", [lambda *m: {"models": list(m)}, lambda *m: {"fallbacks": [{"model": one} for one in m]}]
)


@LISTS
async def test_each_model_of_a_list_has_to_be_one_that_may_be_asked(lists: Any) -> None:
    model = Model()
    async with kernel(
        operators=asking(extra=lists("tiny", "acme/Large-2")),
        policy_engine=PolicyEngine([NO_LARGE]),
        engine=model.engine,
    ) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(PolicyDenied, match=r"'acme/Large-2': .*too dear"):
            await handle.result()
    assert model.specs == []


@LISTS
async def test_bounds_of_each_of_them_hold_and_each_is_on_record(lists: Any) -> None:
    model, extra = Model(), lists("tiny", "medium")
    rules = [ModelPolicy(model_patterns="medium", max_tokens=7, name="medium"), BOUNDED]
    async with kernel(
        operators=asking(extra=extra), policy_engine=PolicyEngine(rules), engine=model.engine
    ) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        await handle.result()
        ruled = [event.data["name"] for event in await journal(handle) if event.type == "policy.decided"]
    assert ruled == ["small", "tiny", "medium"]
    assert [(spec.extra, spec.max_tokens) for spec in model.specs] == [(extra, 7)]


async def test_a_model_that_another_has_to_be_asked_for_is_no_fallback() -> None:
    model = Model()
    rules = [ModelPolicy(model_patterns="large", force_model="small")]
    async with kernel(
        operators=asking(extra={"models": ["large"]}), policy_engine=PolicyEngine(rules), engine=model.engine
    ) as k:
        with pytest.raises(PolicyDenied, match=r"'large'.*'small'"):
            await (await k.execute(ExecutionRequest(operator="ask"))).result()
    assert model.specs == []


async def test_the_body_that_leaves_names_the_model_that_was_ruled_on() -> None:
    answer = {"id": "1", "choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}
    async with LoopbackServer(json_reply(answer)) as server:
        provider = OpenAIProvider("small", base_url=server.url, api_key="k", api="chat")
        operators = asking(extra={"model": "large"})
        async with kernel(
            operators=operators, policy_engine=PolicyEngine([NO_LARGE]), engine=ExecutionEngine(provider)
        ) as k:
            with pytest.raises(PolicyDenied, match="'model'"):
                await (await k.execute(ExecutionRequest(operator="ask"))).result()
        assert server.requests == []


# -- tools, however their field is written ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        {"functions": [{"name": "secret_tool"}]},
        {"Tools": [{"type": "function", "function": {"name": "secret_tool"}}]},
        {"tools": [{"functionDeclarations": [{"name": "secret_tool"}]}]},
        {"extra_body": {"tools": [{"type": "function", "function": {"name": "secret_tool"}}]}},
    ],
    ids=str,
)
async def test_a_tool_that_extra_declares_is_found_however_its_field_is_written(extra: Any) -> None:
    model = Model()
    engine = PolicyEngine([ToolPolicy(tool_patterns="secret_*", decision="deny")])
    async with kernel(operators=asking(extra=extra), policy_engine=engine, engine=model.engine) as k:
        with pytest.raises(PolicyDenied, match="secret_tool"):
            await (await k.execute(ExecutionRequest(operator="ask"))).result()
    assert model.specs == []


# -- what is redacted ------------------------------------------------------------------------------------------------


def document(text: str | bytes, media_type: str = "text/plain", **values: Any) -> MediaPart:
    data = text if isinstance(text, bytes) else text.encode()
    return MediaPart(media_type=media_type, data=b64encode(data).decode(), **values)


async def sent(*parts: Any, name: str | None = None) -> Message:
    """Return a message as it leaves under a rule that redacts; the journal is to hold the same."""
    model = Model()
    message = Message("user", parts, name=name)
    async with kernel(
        operators=asking(message), policy_engine=PolicyEngine([RedactionPolicy()]), engine=model.engine
    ) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        await handle.result()
        (intent,) = [event for event in await journal(handle) if event.type == "model.started"]
    written = json.dumps(intent.body())
    assert SECRET not in written
    assert "ann@" not in written
    (message,) = model.specs[0].messages
    assert all(json.dumps(data) in written for data in data_of(message.content) if data)
    return message


def data_of(parts: str | Sequence[Any]) -> list[str | None]:
    return [] if isinstance(parts, str) else [part.data for part in parts if isinstance(part, MediaPart)]


@pytest.mark.parametrize(
    "media_type", ["text/plain", " Text/CSV; charset=utf-8", "application/json", "image/svg+xml"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
async def test_a_document_that_is_text_is_read_and_redacted(media_type: str, encoding: str) -> None:
    text = f"é before {PERSONAL} behind"
    ((part,)) = (await sent(document(text.encode(encoding), media_type))).content
    assert isinstance(part, MediaPart)
    assert part.media_type == media_type
    left = b64decode(part.data or "").decode(encoding)
    assert left.startswith("é before mail <REDACTED:email>")
    assert left.endswith("behind")
    assert SECRET not in left


async def test_documents_without_a_secret_stay_as_they_are() -> None:
    parts = (
        document("nothing to see", name="a.txt"),
        document("nothing à voir".encode("latin-1")),
        document(b"\x89PNG\0" + PERSONAL.encode(), "image/png", name="a.png"),
    )
    assert (await sent(TextPart(text="?"), *parts[:2])).content == (TextPart(text="?"), *parts[:2])
    model = Model()
    async with kernel(
        operators=asking(Message.user(parts)),
        policy_engine=PolicyEngine([RedactionPolicy()]),
        engine=model.engine,
    ) as k:
        await (await k.execute(ExecutionRequest(operator="ask"))).result()
    assert model.specs[0].messages[0].content == parts


@pytest.mark.parametrize("data", ["!no base64!", b64encode(PERSONAL.encode("utf-16-le")).decode()])
async def test_a_text_that_nobody_can_read_does_not_leave(data: str) -> None:
    ((part,)) = (await sent(MediaPart(media_type="text/plain", data=data))).content
    assert isinstance(part, MediaPart)
    assert b64decode(part.data or "") == b"<REDACTED:unreadable>"


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda data: data.replace("+", "-").replace("/", "_").rstrip("="),
        lambda data: data[:8] + "\n" + data[8:],
    ],
)
async def test_other_ways_to_write_base64_are_read(wrapped: Any) -> None:
    data = wrapped(b64encode(f"{PERSONAL} ÿÿÿ>>>???".encode()).decode())
    ((part,)) = (await sent(MediaPart(media_type="text/plain", data=data))).content
    assert isinstance(part, MediaPart)
    assert b"<REDACTED:email>" in b64decode(part.data or "")


@pytest.mark.parametrize(
    "url",
    [
        "data:text/plain;base64," + b64encode(PERSONAL.encode()).decode(),
        "DATA:;Base64," + b64encode(PERSONAL.encode()).decode(),
        "data:text/plain," + PERSONAL.replace(" ", "%20").replace("@", "%40"),
    ],
)
async def test_a_document_within_its_url_is_redacted_too(url: str) -> None:
    ((part,)) = (await sent(MediaPart(media_type="text/plain", url=url))).content
    assert isinstance(part, MediaPart)
    head, _, data = (part.url or "").partition(",")
    assert head == url.partition(",")[0]
    if "base64" in head.lower():
        assert b"<REDACTED:email>" in b64decode(data)
    else:
        assert "%3CREDACTED%3Aemail%3E" in data


async def test_names_are_redacted_and_stay_names() -> None:
    message = await sent(document("x", name=f"{PERSONAL}.txt"), name="ann@example.com")
    assert message.name == "REDACTED_email"
    assert isinstance(message.content[0], MediaPart)
    assert (message.content[0].name or "").startswith("mail <REDACTED:email>")


async def test_ids_and_names_of_calls_are_redacted_and_stay_together() -> None:
    """Who asks for a job with messages writes these as well."""
    model = Model()
    calls = [ToolCall(f"{PERSONAL} {number}", f"look {PERSONAL}", {}) for number in range(2)]
    calls.append(ToolCall("call_a1B2c3D4e5F6g7H8", "look", {}))
    parts = [CallPart(call_id=call.id) for call in calls]
    told = [
        Message("assistant", tuple(parts), tuple(calls)),
        *(Message.tool("found", tool_call_id=call.id, name=call.name) for call in calls),
    ]
    async with kernel(
        operators=asking(*told), policy_engine=PolicyEngine([RedactionPolicy()]), engine=model.engine
    ) as k:
        await (await k.execute(ExecutionRequest(operator="ask"))).result()
    said, *answers = model.specs[0].messages
    assert "ann@example.com" not in repr(model.specs[0].messages)
    ids = [call.id for call in said.tool_calls]
    assert len(set(ids)) == 3
    assert ids[2] == "call_a1B2c3D4e5F6g7H8"
    assert [part.call_id for part in said.content if isinstance(part, CallPart)] == ids
    assert [answer.tool_call_id for answer in answers] == ids
    assert [answer.name for answer in answers] == [call.name for call in said.tool_calls]


async def test_thoughts_are_redacted_unless_their_vendor_wants_them_back_as_they_are() -> None:
    (thought,) = (await sent(ReasoningPart(provider="x", text=PERSONAL))).content
    assert isinstance(thought, ReasoningPart)
    assert thought.text.startswith("mail <REDACTED:email>")
    signed = (
        ReasoningPart(provider="x", text="of ann@example.com", data={"block": {"signature": "s"}}),
        document("of ann@example.com", provider="x", vendor_data={"signature": "s"}),
    )
    model = Model()
    async with kernel(
        operators=asking(Message.assistant(signed)),
        policy_engine=PolicyEngine([RedactionPolicy()]),
        engine=model.engine,
    ) as k:
        await (await k.execute(ExecutionRequest(operator="ask"))).result()
    assert model.specs[0].messages[0].content == signed


ELSEWHERE = {"text": None, "fileData": {"fileUri": "u"}, "type": "document", "note": PERSONAL}
"""What no vendor puts beside a text, and what would take its place."""


@pytest.mark.parametrize("provider", ["x", "anthropic", "google", "openai", ""])
async def test_what_is_said_to_be_a_vendors_beside_a_text_is_redacted_or_stays_here(provider: str) -> None:
    item = {"id": "m"}
    known = {"thoughtSignature": "c2ln", "citations": [{"cited_text": "of Bonn"}], "number": 0, "item": item}
    text, cited, refusal, call = (
        await sent(
            TextPart(text=PERSONAL, provider=provider, data=known | ELSEWHERE),
            TextPart(text="x", provider=provider, data={"citations": [{"cited_text": PERSONAL}]}),
            RefusalPart(text=PERSONAL, provider=provider, data=known | ELSEWHERE),
            CallPart(
                call_id="1", provider=provider, data={"item": item, "function": {"arguments": PERSONAL}}
            ),
        )
    ).content
    assert [part.data for part in (text, cited, refusal, call)] == [known, {}, known, {"item": item}]  # type: ignore[union-attr]  # parts, as they were


OVER: dict[str, Any] = dict.fromkeys(
    ("type", "text", "id", "name", "input", "role", "function", "functionCall", "arguments", "call_id"),
    "OVER",
) | dict.fromkeys(("content", "refusal", "status"), "OVER")
BESIDE = OVER | {"item": OVER, "number": 1}


def turn_of(provider: str) -> Message:
    """Return a model's turn in which other words stand beside each part, under the names of the part's own."""
    chunk = {"thinking_chunk": {"type": "document_url", "document_url": "u"}}
    parts = (
        ReasoningPart(provider="mistral", text="hm", data=chunk),
        TextPart(text="said", provider=provider, data=BESIDE),
        RefusalPart(text="refused", provider=provider, data={**BESIDE, "number": 2}),
        CallPart(call_id="c1", provider=provider, data=BESIDE),
    )
    return Message("assistant", parts, (ToolCall("c1", "look", {"where": "here"}),))


def encoded(form: Any, provider: str) -> Any:
    messages = [Message.user("go"), turn_of(provider), Message.tool("ok", "c1", "look"), Message.user("on")]
    body = form.encode(RequestSpec(messages=messages), "m", stream=False)
    return body.get("messages") or body.get("contents") or body["input"]


def test_what_is_said_to_be_a_vendors_takes_the_place_of_nothing_that_a_part_says() -> None:
    said, refused, called = encoded(MessagesFormat(), "anthropic")[1]["content"]
    assert (said["type"], said["text"]) == ("text", "said")
    assert (refused["type"], refused["text"]) == ("text", "refused")
    assert called.items() >= {"type": "tool_use", "id": "c1", "name": "look"}.items()
    assert called["input"] == {"where": "here"}

    said, refused, called = encoded(GenerateContentFormat("v1beta"), "google")[1]["parts"]
    assert (said["text"], refused["text"], called["functionCall"]["name"]) == ("said", "refused", "look")

    _, said, refused, called, *_ = encoded(ResponsesFormat("openai"), "openai")
    for item, kind, words in ((said, "output_text", "said"), (refused, "refusal", "refused")):
        assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
        (content,) = item["content"]
        assert content["type"] == kind
        assert words in content.values()
    assert called.items() >= {"type": "function_call", "call_id": "c1", "name": "look"}.items()
    assert json.loads(called["arguments"]) == {"where": "here"}

    turn = encoded(ChatFormat("openai"), "openai")[1]
    assert (turn["role"], turn["content"], turn["refusal"]) == ("assistant", "said", "refused")
    (called,) = turn["tool_calls"]
    assert (called["type"], called["id"], called["function"]["name"]) == ("function", "c1", "look")
    thought, *_ = encoded(ChatFormat("mistral", MISTRAL), "mistral")[1]["content"]
    assert thought["type"] == "thinking"


def test_what_is_nobodys_goes_to_nobody() -> None:
    for form in (
        MessagesFormat(),
        GenerateContentFormat("v1beta"),
        ResponsesFormat("openai"),
        ChatFormat("openai"),
    ):
        assert "OVER" not in json.dumps(encoded(form, ""))


@tool
async def strange() -> list[Any]:
    """Give values that are called like a document."""
    return [{"type": "media", "media_type": 5, "data": ["ann@example.com"]}, {"type": "media", "of": 1}]


async def test_values_that_are_only_called_like_a_document_pass() -> None:
    async def read(context: OperatorContext, given: Any) -> Any:
        return await context.tool("strange")

    engine = PolicyEngine([RedactionPolicy()])
    async with kernel(operators={"read": read}, tools=[strange], policy_engine=engine) as k:
        output = (await (await k.execute(ExecutionRequest(operator="read"))).result()).output
    assert output == [
        {"type": "media", "media_type": 5, "data": ["<REDACTED:email>"]},
        {"type": "media", "of": 1},
    ]


@tool
async def report() -> list[Any]:
    """Give a document."""
    return ["see", document(PERSONAL, "text/markdown", name="ann@example.com")]


async def test_documents_that_a_tool_gives_are_redacted_for_everybody() -> None:
    found: list[Any] = []

    async def read(context: OperatorContext, given: Any) -> Any:
        found.extend(await context.tool("report"))

    engine = PolicyEngine([RedactionPolicy(model_patterns=())])
    async with kernel(operators={"read": read}, tools=[report], policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="read"))
        await handle.result()
        (outcome,) = [event for event in await journal(handle) if event.type == "tool.completed"]
    raw = b64encode(PERSONAL.encode()).decode()
    for said in (str(outcome.body()), str(found)):
        assert raw[:40] not in said
        assert "ann@" not in said
    assert found[0]["text"] == "see"
    assert found[1]["name"] == "<REDACTED:email>"
    assert "<REDACTED:email>" in b64decode(found[1]["data"]).decode()
