"""Policy files: read whole, or refused whole with line and reason."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.errors import PolicyInvalid
from agent_runtime.policy.document import parse_policy, read_policy
from agent_runtime.policy.engine import PolicyEngine
from agent_runtime.policy.rules import (
    ConstraintPolicy,
    DataAccessPolicy,
    ModelPolicy,
    RedactionPolicy,
    ToolPolicy,
)
from agent_runtime.values.document import MAX_FILE_BYTES
from agent_runtime.values.policy import Approval, Constraints, PolicyContext, PolicyDecision

GOOD = """\
policy: production
version: 2026-11-21
default: {tool: deny}
rules:
  - name: readers
    tool: [read_*, "list_*"]
    decision: allow
  - name: large refunds
    tool: refund
    when:
      arguments: {amount: {">": 100}}
      scopes: [shop-*]
      spend: {"<": 5}
    decision: require_approval
    approvers: [ann, bob]
    quorum: 2
    timeout_seconds: 600
    reason: money leaves the house
  - name: short answers
    model: gpt-4*
    max_tokens: 500
    drop_tools: shell_*
  - name: private
    model: "*"
    tool: "*"
    redact: [email, secrets]
  - name: house rules
    limits: {max_turns: 50, max_spend: 2.5}
"""


async def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    engine = await asyncio.to_thread(PolicyEngine.from_yaml, path)
    shop = PolicyContext(scope_id="shop-1")

    assert (engine.policy.name, engine.policy.version) == ("production", "2026-11-21")
    assert (await engine.check_tool("read_mail", shop)).allowed
    assert not (await engine.check_tool("delete_mail", shop)).allowed
    refund = await engine.check_tool("refund", shop, {"amount": 200})
    assert refund.approval == Approval(timeout_seconds=600.0, approvers=("ann", "bob"), quorum=2)
    assert refund.reason == "money leaves the house"
    assert (
        await engine.check_tool("refund", shop.evolve(spend=5), {"amount": 200})
    ).decision is PolicyDecision.DENY
    model = await engine.check_model("gpt-4o", shop)
    assert model.constraints == Constraints(
        max_tokens=500, drop_tools=("shell_*",), redact=("email", "secrets")
    )
    assert not (await engine.check_model("gpt-4o", shop.evolve(turns=50))).allowed


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("rules:\n  - name: a\n    tool: x\n    decision: maybe\n", 2, "'maybe' is no decision"),
        ("rules:\n  - name: a\n    tool: x\n    decision: no\n", 2, "False is no decision"),
        ("rules:\n  - name: a\n    tool: x\n    decison: deny\n", 4, "'decison' is not known here"),
        ("rules:\n  - tool: x\n    decision: deny\n", 2, "a rule needs a name"),
        ("rules:\n  - name: a\n    decision: deny\n", 2, "about a job, model, tool or connector"),
        ("rules:\n  - name: a\n    tool: x\n", 2, "needs a decision"),
        (
            "rules:\n  - name: a\n    tool: x\n    decision: deny\n    when:\n      scope: x\n",
            5,
            "'scope' is no condition",
        ),
        (
            "rules:\n  - {name: a, tool: x, decision: deny}\n  - {name: a, tool: y, decision: deny}\n",
            3,
            "two rules named 'a'",
        ),
        ("rules:\n  - name: a\n    tool: x\n    tool: y\n", 4, "'tool' is there twice"),
        ("rules:\n  - {name: a, tool: {x: y}, decision: deny}\n", 2, "a text or a list of texts"),
        ("rules:\n  - {name: a, model: x, drop_tools: 5}\n", 2, "a text or a list of texts"),
        ("rules:\n  - {name: a, model: x, drop_tools: }\n", 2, "a text or a list of texts"),
        (
            "rules:\n  - {name: a, tool: x, decision: deny, when: {scopes: 5}}\n",
            2,
            "a text or a list of texts",
        ),
        ("rules: [\n", 2, "expected the node content"),
        ("policy: p\nrules: {a: b}\n", 2, "`rules` is a list"),
        ("default: perhaps\n", 1, "cannot be 'perhaps'"),
        ("default: {tool: deny, car: deny}\n", 1, "'car'"),
        ("rules:\n  - name: a\n    limits: {max_turns: many}\n", 3, "max_turns is a number"),
        ("rules:\n  - name: a\n    limits: {max_turn: 3}\n", 3, "'max_turn' is not known"),
        ("rules:\n  - just text\n", 2, "a rule is a mapping"),
        ("rules:\n  - name: a\n    model: x\n    max_tokens: lots\n", 2, "max_tokens is a whole number"),
        ("? [a, b]\n: c\n", 1, "a key is a plain text"),
        ("policy: !!python/object/apply:os.system ['true']\n", 1, "python"),
        ("dry_run: 3\n", 1, "true or false"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(PolicyInvalid) as refused:
        parse_policy(text, source="policy.yaml")

    assert refused.value.line == line
    assert f"policy.yaml:{line}: " in str(refused.value)
    assert reason in str(refused.value)


def test_every_problem_is_named_and_nothing_is_used() -> None:
    text = GOOD + "  - {name: b, tool: x, decision: maybe}\n  - {name: c, decision: deny}\n"

    with pytest.raises(PolicyInvalid) as refused:
        parse_policy(text, source="p")

    assert str(refused.value).splitlines() == [
        "p:29: 'maybe' is no decision; use one of allow, redact, constrain, require_approval, deny",
        "p:30: a rule is about a job, model, tool or connector; none of these keys is there",
    ]


@pytest.mark.parametrize("text", ["", "[]", "just text", "3"])
def test_a_file_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyInvalid, match="a policy is a mapping"):
        parse_policy(text)


async def test_an_empty_list_of_exceptions_is_none() -> None:
    text = "rules:\n  - {name: a, tool: x, decision: deny, when: {except_scopes: , except_principals: }}\n"
    engine = PolicyEngine.from_text(text)

    assert not (await engine.check_tool("x", PolicyContext(scope_id="shop"))).allowed


def test_a_file_cannot_exhaust_the_reader() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    for text in ("\n".join(layers), "a: &a [*a]", "[" * 100_000, "x" * (MAX_FILE_BYTES + 1)):
        with pytest.raises(PolicyInvalid):
            parse_policy(text)


ROUND_TRIPS: list[Any] = [
    ToolPolicy(tool_patterns="a*", allowed_scopes=["s"], allowed_principals=["p"], reason="because"),
    ToolPolicy(
        tool_patterns="a", require_approval=True, approvers=["x", "y"], quorum=2, arguments={"n": {">": 1}}
    ),
    ModelPolicy(model_patterns=["m"], max_tokens=4, force_model="n", drop_tools="t*"),
    DataAccessPolicy(connector_patterns="c", decision="deny"),
    ConstraintPolicy(max_turns=3, max_output_tokens=9, max_spend="0.1", max_depth=2),
    RedactionPolicy(phones=True),
]


@pytest.mark.parametrize("rule", ROUND_TRIPS, ids=lambda rule: type(rule).__name__)
def test_rules_of_python_are_rules_of_a_file(rule: Any) -> None:
    policy = PolicyEngine([rule], name="p", default={"job": "deny"}, dry_run=True).policy
    again = read_policy(policy.to_dict())

    assert again == policy
    assert again.version == policy.version


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!'\" \n#|>,%@?0."), max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(PolicyInvalid):
        assert parse_policy(text).version
