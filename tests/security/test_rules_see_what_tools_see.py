"""A rule rules on what will be done: on the arguments as the tool takes them, and on a model whatever it is called."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from agent_runtime import (
    ExecutionContext,
    ExecutionRequest,
    ModelPolicy,
    OperatorContext,
    PolicyEngine,
    StepFailed,
    ToolPolicy,
)
from llm_client import (
    Agent,
    ConfigurationError,
    Message,
    ModelPrices,
    PriceBook,
    RequestContext,
    RequestSpec,
    ScriptedProvider,
    tool,
)
from llm_client.json_text import loads
from llm_client.messages import ToolCall
from llm_client.model_names import canonical_model, checked_model
from llm_client.providers.google.provider import GoogleProvider
from llm_client.tools.arguments import completed
from llm_client.tools.tool import Tool
from support.kernels import BOUND, journal, kernel, pending

pytestmark = pytest.mark.timeout(BOUND * 3)

WHO = ExecutionContext(scope_id="s")
PAID: list[int] = []
HIDDEN = SecretStr("x")


@pytest.fixture(autouse=True)
def nothing_paid() -> None:
    PAID.clear()


@tool
async def pay(amount: int = 5_000, to: str = "acme") -> str:
    """Pay somebody."""
    PAID.append(amount)
    return f"paid {amount}"


async def run(
    arguments: Mapping[str, Any], *rules: Any, default: str = "allow", tools: tuple[Tool, ...] = (pay,)
) -> str:
    """Let an agent call `pay` once, and return what the model was told."""
    agent = Agent(
        provider=ScriptedProvider([[ToolCall("c1", tools[0].name, dict(arguments))], "done"]),
        tools=tools,
        name="payer",
    )
    engine = PolicyEngine(rules, default={"tool": default})  # type: ignore[dict-item]  # a test's own two words
    async with kernel(agent=agent, policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(prompt="pay"))
        await handle.result(timeout=BOUND)
        (told,) = [
            event for event in await journal(handle) if event.type in ("tool.completed", "tool.failed")
        ]
        return str(told.data.get("error", "done"))


DEAR = ToolPolicy(tool_patterns="pay", arguments={"amount": {">": 100}}, decision="deny", name="dear")
CHEAP = ToolPolicy(tool_patterns="pay", arguments={"amount": {"<=": 100}}, name="cheap")


@pytest.mark.parametrize(
    "arguments", [{}, {"to": "eve"}, {"amount": 5_000}, {"amount": "5000"}, {"amount": 5000.0}]
)
async def test_a_rule_rules_on_defaults_and_on_converted_values(arguments: dict[str, Any]) -> None:
    assert "dear" in await run(arguments, DEAR)
    assert "no rule permits it" in await run(arguments, CHEAP, default="deny")
    assert PAID == []


@pytest.mark.parametrize("arguments", [{"amount": 7}, {"amount": "7"}, {"amount": 7.0, "to": "eve"}])
async def test_what_is_permitted_is_run_as_it_was_ruled_on(arguments: dict[str, Any]) -> None:
    assert await run(arguments, DEAR, CHEAP, default="deny") == "done"
    assert PAID == [7]


async def test_a_call_that_cannot_be_made_is_not_asked_about() -> None:
    async def buy(context: OperatorContext, given: Any) -> str:
        try:
            return str(await context.tool("pay", amount="lots"))
        except StepFailed as error:
            return f"failed: {error}"

    engine = PolicyEngine([ToolPolicy(tool_patterns="pay", require_approval=True)])
    async with kernel(operators={"buy": buy}, tools=[pay], policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="buy"))
        assert "amount" in (await handle.result(timeout=BOUND)).content
    assert PAID == []


async def test_people_are_shown_what_is_run() -> None:
    agent = Agent(
        provider=ScriptedProvider([[ToolCall("c1", "pay", {"amount": "20"})], "done"]),
        tools=[pay],
        name="payer",
    )
    engine = PolicyEngine([ToolPolicy(tool_patterns="pay", require_approval=True)])
    async with kernel(agent=agent, policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(prompt="pay"))
        question = await pending(handle)
        assert question.payload["arguments"] == {"amount": 20, "to": "acme"}
        await handle.resolve_action(question.action_id, {"approved": True})
        await handle.result(timeout=BOUND)
    assert PAID == [20]


@tool
async def send(to: list[str], body: str = "") -> str:
    """Send a message."""
    return f"sent to {to}"


@pytest.mark.parametrize(
    ("to", "permitted"),
    [
        (["a@ok.com"], True),
        (["a@ok.com", "b@ok.com"], True),
        (["a@ok.com", "evil@x.com"], False),
        (["evil@x.com\n@ok.com"], False),
        (["evil@x.com\u2028@ok.com"], False),
        ([], False),
    ],
)
async def test_every_match_must_be_one_that_is_permitted(to: list[str], permitted: bool) -> None:
    ours = ToolPolicy(tool_patterns="send", arguments={"to.*": {"glob": "*@ok.com"}}, name="ours")

    assert (await run({"to": to}, ours, default="deny", tools=(send,)) == "done") is permitted


@pytest.mark.parametrize("to", [["a@ok.com", "x@evil.com"], ["x@evil.com\n"], ["x@evil.com\u200b"]])
async def test_any_match_is_enough_to_refuse(to: list[str]) -> None:
    theirs = ToolPolicy(
        tool_patterns="send", arguments={"to.*": {"glob": "*@evil.com"}}, decision="deny", name="theirs"
    )

    assert "theirs" in await run({"to": to}, theirs, tools=(send,))


async def ordered(what: dict[str, Any]) -> str:
    PAID.append(what["account"] == 12345)
    return "ordered"


order = Tool(
    name="order", description="Order.", parameters={"type": "object"}, handler=ordered, effect="read"
)


async def test_no_digits_behind_a_number_make_it_another_one_to_a_rule() -> None:
    """What a tool compares, adds or sends on is the nearest float."""
    account = "what.account"
    blocked = ToolPolicy(
        tool_patterns="order", arguments={account: {"in": [12345]}}, decision="deny", name="blocked"
    )
    others = ToolPolicy(tool_patterns="order", arguments={account: {"!=": 12345}}, name="others")
    given = loads('{"what": {"account": 12345.000000000000000000001}}')

    assert "blocked" in await run(given, blocked, tools=(order,))
    assert "no rule permits it" in await run(given, others, default="deny", tools=(order,))
    assert PAID == []


async def test_what_is_missing_cannot_be_told() -> None:
    unknown = {"path": "/etc/passwd"}
    for rule, decision in ((DEAR, "deny"), (CHEAP, "deny")):
        engine = PolicyEngine([rule], default={"tool": "deny" if rule is CHEAP else "allow"})
        assert (await engine.check_tool("pay", WHO, unknown)).decision == decision


def test_completed_arguments_are_complete_and_stay_so() -> None:
    @tool
    def order(
        count: int, note: str | None = None, key: SecretStr = HIDDEN, tags: tuple[str, ...] = ("a",)
    ) -> None:
        """Order something."""

    once = completed(order, {"count": "3", "key": "k"})

    assert once == {"count": 3, "note": None, "key": "k", "tags": ["a"]}
    assert completed(order, once) == once
    assert "key" not in completed(order, {"count": 3})  # prints as stars: a rule about it cannot tell


def test_defaults_of_a_schema_are_filled_in_where_they_stand() -> None:
    inner = {"type": "object", "properties": {"limit": {"type": "integer", "default": 10}}}
    schema = {
        "type": "object",
        "properties": {"q": {"type": "string"}, "mode": {"default": "deep"}, "page": inner},
    }
    foreign = Tool(name="search", description="", parameters=schema, handler=print)

    assert completed(foreign, {"q": "x", "page": {}}) == {"q": "x", "mode": "deep", "page": {"limit": 10}}
    assert completed(foreign, {"mode": "fast"}) == {"mode": "fast"}


SPELLINGS = [
    "gemini-2.5-pro", "models/gemini-2.5-pro", "google/gemini-2.5-pro", "publishers/google/models/gemini-2.5-pro", "Gemini-2.5-PRO",
    "tunedModels/gemini-2.5-pro", "x/../gemini-2.5-pro", "models/x/../gemini-2.5-pro", "./gemini-2.5-pro", " gemini-2.5-pro ",
    "gemini-2.5-pro\n", "gemini\u20112.5\u2011pro", "gemini\u22122.5-pro", "gemini-2.5\u200b-pro", "ｇｅｍｉｎｉ-2.5-pro", "models//gemini-2.5-pro",
    "models%2Fgemini-2.5-pro", "models\\gemini-2.5-pro", "gemini -2.5-pro",
]  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("pattern", ["gemini-2.5-pro", "gemini-*", "models/gemini-2.5-pro", "GEMINI-2.5*"])
async def test_a_model_is_refused_however_it_is_written(name: str, pattern: str) -> None:
    engine = PolicyEngine([ModelPolicy(model_patterns=pattern, decision="deny")])

    assert not (await engine.check_model(name, WHO)).allowed
    assert not (await engine.check_model(f"google:{name}", WHO)).allowed


async def test_a_provider_is_refused_with_the_model_however_both_are_written() -> None:
    engine = PolicyEngine([ModelPolicy(model_patterns="google:gemini-*", decision="deny")])

    assert not (await engine.check_model("Google:models/gemini-2.5-pro", WHO)).allowed
    assert (await engine.check_model("openai:gpt-5.2", WHO)).allowed


async def test_a_permit_is_for_the_model_and_not_for_one_whose_name_ends_alike() -> None:
    engine = PolicyEngine([ModelPolicy(model_patterns=["gpt-5.2", "acme/*"])], default={"model": "deny"})

    assert (await engine.check_model("gpt-5.2", WHO)).allowed
    assert (await engine.check_model("acme/llama", WHO)).allowed
    for other in ("evil/gpt-5.2", "acme/../gpt-6", "tunedModels/gpt-5.2", "gpt-5.2/x"):
        assert not (await engine.check_model(other, WHO)).allowed, other


@pytest.mark.parametrize(
    "name",
    [
        "../../v1/keys",
        "x/../gemini",
        "a b",
        " gemini",
        "gemini\n",
        "gemini?key=1",
        "gemini#",
        "a//b",
        "x\\y",
        "gemini\u2011pro",
        "%2e%2e/x",
    ],
)
async def test_a_name_that_leads_elsewhere_never_reaches_the_wire(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no model's name"):
        checked_model(name)
    provider = GoogleProvider(model=name, api_key="k", base_url="http://127.0.0.1:9")
    spec = RequestSpec(messages=[Message.user("hi")], model=name)
    with pytest.raises(ConfigurationError, match="no model's name"):
        await provider.complete(spec, RequestContext())
    await provider.aclose()


@pytest.mark.parametrize(
    "name",
    [
        "gpt-5.2",
        "openai/gpt-oss-120b:free",
        "llama3.2:3b-instruct-q4_K_M",
        "ft:gpt-4.1:acme::BxY12",
        "accounts/fireworks/models/x",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "meta-llama/Llama-4@latest",
    ],
)
def test_real_names_pass(name: str) -> None:
    assert checked_model(name) == name


def test_a_model_has_one_price_however_it_is_written() -> None:
    prices = PriceBook({"google:gemini-x": ModelPrices.of(input=1, output=2)})

    assert canonical_model("models/Gemini-X") == "gemini-x"
    assert prices.prices("google", "models/gemini-x") == prices.prices("google", "gemini-x") is not None
