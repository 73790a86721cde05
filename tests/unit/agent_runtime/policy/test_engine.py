"""What a policy decides, and that the order of its rules does not matter."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.errors import InvalidInput
from agent_runtime.policy.conditions import When
from agent_runtime.policy.engine import PolicyEngine
from agent_runtime.policy.policy import Policy
from agent_runtime.policy.rule import PolicyRule
from agent_runtime.policy.rules import (
    ConstraintPolicy,
    DataAccessPolicy,
    ModelPolicy,
    RedactionPolicy,
    ToolPolicy,
)
from agent_runtime.values.context import ExecutionContext, PolicyRef
from agent_runtime.values.policy import (
    Approval,
    Constraints,
    PolicyAction,
    PolicyContext,
    PolicyDecision,
    PolicyResult,
    PolicySubject,
)
from llm_client.spec import RequestContext

ALLOW, DENY = PolicyDecision.ALLOW, PolicyDecision.DENY
ANN = PolicyContext(scope_id="internal", principal_id="ann")


async def decided(engine: PolicyEngine, tool: str, context: Any = ANN, **arguments: Any) -> PolicyDecision:
    return (await engine.check_tool(tool, context, arguments)).decision


async def test_the_documented_example_decides() -> None:
    engine = PolicyEngine()
    engine.add_rule(ToolPolicy(tool_patterns=["file_*"], allowed_scopes=["internal"]))
    engine.add_rule(ModelPolicy(model_patterns=["gpt-4*"], require_approval=True))

    inside = await engine.check_tool("file_read", ExecutionContext(scope_id="internal"))
    outside = await engine.check_tool("file_read", ExecutionContext(scope_id="tenant-1"))
    model = await engine.check_model("gpt-4o", ExecutionContext(scope_id="internal"))

    assert (inside.allowed, inside.decision) == (True, ALLOW)
    assert (outside.allowed, outside.decision, outside.reason) == (False, DENY, "only for internal")
    assert (model.allowed, model.decision) == (False, PolicyDecision.REQUIRE_APPROVAL)
    assert (await engine.check_tool("other", ExecutionContext())).allowed
    assert (await engine.check_model("gpt-5", ExecutionContext())).allowed


async def test_where_no_rule_applies_the_default_decides() -> None:
    engine = PolicyEngine([ToolPolicy(tool_patterns="read_*")], default={"tool": "deny"})

    assert await decided(engine, "read_mail") is ALLOW
    assert await decided(engine, "send_mail") is DENY
    assert (await engine.check_model("any", ANN)).decision is ALLOW
    assert (await engine.check_job("any", ANN)).allowed
    assert not (await PolicyEngine(default="deny").check_job("any", ANN)).allowed


async def test_bounds_and_redaction_are_no_permission_where_the_default_is_to_deny() -> None:
    engine = PolicyEngine([RedactionPolicy(), ConstraintPolicy(max_output_tokens=5)], default="deny")

    assert (await engine.check_model("m", ANN)).decision is DENY
    engine.add_rule(ModelPolicy(model_patterns="m"))
    result = await engine.check_model("m", ANN)
    assert result.decision is PolicyDecision.CONSTRAIN
    assert result.constraints == Constraints(max_tokens=5, redact=("email", "secrets", "ssn"))


async def test_arguments_decide_between_yes_approval_and_no() -> None:
    engine = PolicyEngine(
        [
            ToolPolicy(
                tool_patterns="refund",
                arguments={"amount": {">": 100}},
                decision="require_approval",
                approvers=["ann", "bob"],
                quorum=2,
                approval_timeout_seconds=60,
                name="large",
            ),
            ToolPolicy(
                tool_patterns="refund", arguments={"amount": {">": 1000}}, decision="deny", name="huge"
            ),
        ]
    )

    assert await decided(engine, "refund", amount=5) is ALLOW
    assert await decided(engine, "refund", amount=500) is PolicyDecision.REQUIRE_APPROVAL
    assert await decided(engine, "refund", amount=5000) is DENY
    large = await engine.check_tool("refund", ANN, {"amount": 500})
    assert large.approval == Approval(timeout_seconds=60, approvers=("ann", "bob"), quorum=2)
    assert large.rule == "large"


async def test_an_argument_that_cannot_be_compared_restricts_and_never_permits() -> None:
    deny = PolicyEngine([ToolPolicy(tool_patterns="pay", arguments={"amount": {">": 100}}, decision="deny")])
    allow = PolicyEngine([ToolPolicy(tool_patterns="pay", arguments={"amount": {"<": 100}})], default="deny")

    assert await decided(deny, "pay", amount="200") is DENY
    assert await decided(deny, "pay", amount="lots") is DENY
    assert await decided(allow, "pay", amount="5") is DENY
    assert await decided(allow, "pay", amount=5) is ALLOW


@pytest.mark.parametrize(
    ("when", "context", "applies"),
    [
        (When(principals="ann"), ANN, True),
        (When(principals="bob"), ANN, False),
        (When(principals="*"), PolicyContext(), True),
        (When(principals="a*"), PolicyContext(), False),
        (When(except_principals="ann"), ANN, False),
        (When(except_scopes="team-*"), PolicyContext(scope_id="team-1"), False),
        (When(tags={"env": ["prod", "staging"]}), PolicyContext(tags={"env": "prod"}), True),
        (When(tags={"env": "prod"}), PolicyContext(), False),
        (When(sessions="s1"), PolicyContext(session_id="s1"), True),
        (When(measures={"spend": {">=": 5}}), PolicyContext(spend=5), True),
        (When(measures={"depth": {">": 2}, "turns": {"<": 3}}), PolicyContext(depth=3, turns=3), False),
        (When(scopes=()), ANN, False),
    ],
)
async def test_conditions_are_about_who_asks_and_how_far_the_job_has_come(
    when: When, context: PolicyContext, applies: bool
) -> None:
    engine = PolicyEngine([ToolPolicy(tool_patterns="*", when=when, decision="deny")])

    assert (await decided(engine, "t", context) is DENY) is applies


async def test_models_are_matched_without_regard_to_case_and_with_their_provider() -> None:
    engine = PolicyEngine([ModelPolicy(model_patterns=["GPT-4*", "anthropic:*"], decision="deny")])

    for name in ("gpt-4o", "Gpt-4O", "openai:gpt-4o", "anthropic:claude"):
        assert not (await engine.check_model(name, ANN)).allowed, name
    assert (await engine.check_model("claude", ANN)).allowed
    assert (await engine.check_model("openai:o3", ANN)).allowed


async def test_limits_of_a_job_become_refusals() -> None:
    engine = PolicyEngine(
        [
            ConstraintPolicy(
                max_turns=2,
                max_tool_calls=3,
                max_tool_calls_per_turn=1,
                max_context_tokens=100,
                max_spend="0.5",
                max_depth=1,
            )
        ]
    )

    async def model(**values: Any) -> bool:
        return (await engine.check_model("m", PolicyContext(**values))).allowed

    async def tool(**values: Any) -> bool:
        return (await engine.check_tool("t", PolicyContext(**values))).allowed

    assert [await model(turns=1), await model(turns=2)] == [True, False]
    assert [await model(context_tokens=100), await model(context_tokens=101)] == [True, False]
    assert [await model(spend=0.4), await model(spend=0.5)] == [True, False]
    assert [await tool(tool_calls=2), await tool(tool_calls=3)] == [True, False]
    assert [await tool(call_index=0), await tool(call_index=1)] == [True, False]
    assert [(await engine.check_job("o", PolicyContext(depth=d))).allowed for d in (1, 2)] == [True, False]


async def test_data_access_is_decided_by_connector() -> None:
    engine = PolicyEngine(
        [DataAccessPolicy(connector_patterns="crm*", allowed_scopes=["sales"], allowed_principals=["ann"])]
    )

    assert (await engine.check_connector("crm", PolicyContext(scope_id="sales", principal_id="ann"))).allowed
    assert not (await engine.check_connector("crm", PolicyContext(scope_id="hr", principal_id="ann"))).allowed
    assert not (
        await engine.check_connector("crm", PolicyContext(scope_id="sales", principal_id="bob"))
    ).allowed
    assert not (await engine.check_connector("crm", PolicyContext(scope_id="sales"))).allowed


async def test_rules_that_contradict_each_other_refuse() -> None:
    models = PolicyEngine(
        [
            ModelPolicy(model_patterns="a*", force_model="x", name="1"),
            ModelPolicy(model_patterns="*b", force_model="y", name="2"),
        ]
    )
    people = PolicyEngine(
        [
            ToolPolicy(tool_patterns="a*", require_approval=True, approvers=["ann"], name="1"),
            ToolPolicy(tool_patterns="*b", require_approval=True, approvers=["bob"], name="2"),
        ]
    )

    assert (await models.check_model("ab", ANN)).reason == "rules force different models: x, y"
    assert (await people.check_tool("ab", ANN)).decision is DENY
    assert (await people.check_tool("ac", ANN)).approval == Approval(approvers=("ann",))


async def test_a_policy_that_only_watches_lets_everything_happen() -> None:
    engine = PolicyEngine([ToolPolicy(tool_patterns="*", decision="deny", reason="no")], dry_run=True)
    result = await engine.check_tool("t", ANN)

    assert (result.allowed, result.decision, result.reason) == (True, DENY, "no")
    assert result.enforced.decision is ALLOW


async def test_a_check_does_not_change_what_it_was_given() -> None:
    engine = PolicyEngine([ToolPolicy(tool_patterns="a", decision="deny")])
    context = ExecutionContext(scope_id="s", request=RequestContext(tags={"k": "v"}))

    assert not (await engine.check_tool("a", context, {"x": 1})).allowed
    assert (await engine.check_tool("b", context)).allowed


def test_the_version_follows_the_rules_and_not_their_order() -> None:
    one, two = ToolPolicy(tool_patterns="a"), ToolPolicy(tool_patterns="b", decision="deny")
    engine = PolicyEngine([one])
    before = engine.policy

    engine.add_rule(two)

    assert engine.policy.version != before.version
    assert engine.policy.version == PolicyEngine([two, one]).policy.version
    assert engine.policy.ref == PolicyRef(name="default", version=engine.policy.version)
    assert PolicyEngine([one], version="7").policy.version == "7"
    assert len(before.rules) == 1


def test_two_rules_cannot_have_one_name() -> None:
    engine = PolicyEngine([ToolPolicy(tool_patterns="a")])

    with pytest.raises(InvalidInput, match="two rules named"):
        engine.add_rule(ToolPolicy(tool_patterns="a"))


@pytest.mark.parametrize(
    "build",
    [
        lambda: ToolPolicy(tool_patterns=[]).rules(),
        lambda: ToolPolicy(tool_patterns=[3]).rules(),
        lambda: ToolPolicy(tool_patterns="a", decision="maybe").rules(),
        lambda: ToolPolicy(tool_patterns="a", decision="constrain").rules(),
        lambda: ToolPolicy(tool_patterns="a", require_approval=True, quorum=0).rules(),
        lambda: ToolPolicy(tool_patterns="a", require_approval=True, approvers=["x"], quorum=2).rules(),
        lambda: ToolPolicy(tool_patterns="a", allowed_scopes="x", when=When(scopes="y")).rules(),
        lambda: ModelPolicy(model_patterns="a", max_tokens=0).rules(),
        lambda: ModelPolicy(model_patterns="a", max_tokens=5, decision="deny").rules(),
        lambda: DataAccessPolicy(connector_patterns="a", decision="require_approval").rules(),
        lambda: When(measures={"mood": 1}),
        lambda: When(arguments={"a..b": 1}),
        lambda: PolicyEngine(default="perhaps"),  # type: ignore[arg-type]  # what a user might write
        lambda: PolicyRule(
            name="r",
            action=PolicyAction.TOOL,
            decision=PolicyDecision.REDACT,
            constraints=Constraints(redact=("x",)),
        ),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_when_it_is_written(build: Any) -> None:
    with pytest.raises(InvalidInput):
        build()


def test_an_explanation_tells_what_every_rule_had_to_say() -> None:
    engine = PolicyEngine(
        [
            ToolPolicy(tool_patterns="pay", arguments={"amount": {">": 9}}, decision="deny", name="big"),
            ToolPolicy(tool_patterns="pay", allowed_principals=["bob"], name="people"),
            ModelPolicy(model_patterns="*", decision="deny", name="models"),
        ]
    )
    told = str(engine.explain("tool", "pay", ANN, {"amount": "a lot"}))

    assert told.splitlines()[0] == "tool 'pay': deny (rule 'big')"
    assert "* big: deny – an argument cannot be compared, so it applies" in told
    assert "* people (other people): deny – applies" in told
    assert "  models: deny – is about models" in told


# -- properties --------------------------------------------------------------------------------------------------

bounds = st.builds(
    Constraints,
    max_tokens=st.none() | st.integers(1, 9),
    model=st.sampled_from([None, "x", "y"]),
    drop_tools=st.lists(st.sampled_from("pq"), max_size=2).map(tuple),
).filter(bool)


@st.composite
def model_rules(draw: st.DrawFn) -> list[PolicyRule]:
    """Draw rules about models named `a` and `ab`."""
    rules = []
    for number in range(draw(st.integers(0, 5))):
        decision = draw(st.sampled_from(PolicyDecision))
        limits = Constraints()
        if decision is PolicyDecision.CONSTRAIN:
            limits = draw(bounds)
        elif decision is PolicyDecision.REDACT:
            limits = Constraints(redact=draw(st.sampled_from([("email",), ("secrets", "ssn")])))
        approval = None
        if decision is PolicyDecision.REQUIRE_APPROVAL:
            approvers = draw(st.none() | st.just(("ann", "bob")) | st.just(("bob", "eve")))
            approval = Approval(quorum=draw(st.integers(1, 2)), approvers=approvers)
        rules.append(
            PolicyRule(
                name=f"r{number}",
                action=PolicyAction.MODEL,
                names=draw(st.sampled_from([("a",), ("a*",), ("*b",)])),
                decision=decision,
                constraints=limits,
                approval=approval,
                permits=draw(st.booleans()),
            )
        )
    return rules


SUBJECTS = [PolicySubject(action=PolicyAction.MODEL, names=(name,), context=ANN) for name in ("a", "ab")]
defaults = st.sampled_from([{}, {PolicyAction.MODEL: "deny"}])


@given(model_rules(), defaults, st.randoms())
def test_the_order_of_rules_never_matters(rules: list[PolicyRule], default: Any, random: Any) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)

    for asked in SUBJECTS:
        assert Policy(rules=rules, defaults=default).decide(asked) == Policy(
            rules=shuffled, defaults=default
        ).decide(asked)


@given(model_rules(), defaults)
def test_a_refusal_overrides_everything(rules: list[PolicyRule], default: Any) -> None:
    for asked in SUBJECTS:
        refused = any(rule.decision is DENY and rule.is_about(asked) for rule in rules)
        result = Policy(rules=rules, defaults=default).decide(asked)

        assert not (refused and result.allowed)
        assert result.allowed == (result.decision not in (DENY, PolicyDecision.REQUIRE_APPROVAL))


@given(model_rules(), model_rules())
def test_more_rules_never_permit_more_where_the_default_is_to_allow(
    rules: list[PolicyRule], more: list[PolicyRule]
) -> None:
    added = [*rules, *(PolicyRule(**{**_fields(rule), "name": f"more {rule.name}"}) for rule in more)]

    for asked in SUBJECTS:
        before, after = Policy(rules=rules).decide(asked), Policy(rules=added).decide(asked)
        assert after.decision.strength >= before.decision.strength


def _fields(rule: PolicyRule) -> dict[str, Any]:
    names = ("name", "action", "names", "when", "decision", "constraints", "approval", "permits")
    return {name: getattr(rule, name) for name in names}


@given(model_rules(), defaults)
def test_results_survive_the_journal(rules: list[PolicyRule], default: Any) -> None:
    for asked in SUBJECTS:
        result = Policy(rules=rules, defaults=default).decide(asked)
        assert PolicyResult.from_dict(result.to_dict()) == result


def test_decisions_are_ordered_as_they_override_each_other() -> None:
    order = ["allow", "redact", "constrain", "require_approval", "deny"]

    for weaker, stronger in itertools.pairwise(order):
        assert PolicyDecision(weaker).strength < PolicyDecision(stronger).strength


def test_a_quorum_of_nobody_in_particular_is_refused_where_it_is_written_and_where_it_is_asked_for() -> None:
    with pytest.raises(InvalidInput, match="a quorum of 2 needs approvers"):
        ToolPolicy(tool_patterns="a", require_approval=True, quorum=2).rules()
    with pytest.raises(InvalidInput, match="a quorum of 2 needs approvers"):
        PolicyEngine.from_dict(
            {"rules": [{"name": "r", "tool": "a", "decision": "require_approval", "quorum": 2}]}
        )
    alone = PolicyRule(
        name="two",
        action=PolicyAction.TOOL,
        decision=PolicyDecision.REQUIRE_APPROVAL,
        approval=Approval(quorum=2),
    )
    named = ToolPolicy(tool_patterns="*", require_approval=True, approvers=["Ann", "bob"], name="who")
    asked = PolicySubject(action=PolicyAction.TOOL, names=("a",), context=ANN)
    refused = Policy(rules=[alone]).decide(asked).enforced
    assert (refused.decision, "needs approvers" in refused.reason) == (PolicyDecision.DENY, True)
    together = Policy(rules=[alone, *named.rules()]).decide(asked).enforced
    assert together.approval == Approval(approvers=("Ann", "bob"), quorum=2)


def test_approvers_of_two_rules_are_the_same_people_however_they_are_written() -> None:
    rules = [
        ToolPolicy(tool_patterns="a", require_approval=True, approvers=names, name=names[0]).rules()[0]
        for names in (["Ann", "bob"], ["ann", "eve"])
    ]
    asked = PolicySubject(action=PolicyAction.TOOL, names=("a",), context=ANN)
    decided = {Policy(rules=order).decide(asked) for order in (tuple(rules), tuple(reversed(rules)))}
    (found,) = {None if one.approval is None else one.approval.approvers for one in decided}
    assert found == ("Ann",)
