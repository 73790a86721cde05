"""Rules that can never match or decide: what nothing else would tell their author."""

from typing import Any

import pytest

from agent_runtime.policy.engine import PolicyEngine
from agent_runtime.policy.mistakes import mistakes


def told(*rules: dict[str, Any]) -> dict[str, str]:
    written = [
        {"decision": "deny", **rule, "name": rule.get("name", f"r{place}")}
        for place, rule in enumerate(rules)
    ]
    return dict(mistakes(PolicyEngine.from_dict({"rules": written}).policy.rules))


def when(**conditions: Any) -> dict[str, Any]:
    return {"tool": "t", "when": conditions}


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ({"scopes": []}, "`scopes` is empty"),
        ({"principals": []}, "`principals` is empty"),
        ({"tags": {"team": []}}, "`tags.team` is empty"),
        ({"scopes": ["a", "b-1"], "except_scopes": ["a", "b-*"]}, "`except_scopes` takes away all"),
        ({"principals": ["ann"], "except_principals": "*"}, "`except_principals` takes away all"),
        ({"arguments": {"n": {">": 10, "<": 5}}}, "no value of `n` is > 10 and < 5"),
        ({"arguments": {"n": {">=": 5, "<": 5}}}, "no value of `n` is"),
        ({"arguments": {"items.*.n": {">": 5, "<=": 5}}}, "no value of `items.*.n`"),
        ({"arguments": {"n": {"in": []}}}, "no value of `n` is in"),
        ({"arguments": {"n": {"in": ["a", "b"], "not_in": ["a", "b", "c"]}}}, "no value of `n`"),
        ({"arguments": {"n": {"==": 3, ">": 4}}}, "no value of `n`"),
        ({"arguments": {"to": {"in": ["a@x.com"], "glob": "*@ok.com"}}}, "no value of `to`"),
        ({"arguments": {"to": {"in": ["a@x.com"], "matches": "@ok"}}}, "no value of `to`"),
        ({"arguments": {"n": {"exists": False, ">": 1}}}, "no value of `n`"),
        ({"turns": {"<": 0}}, "`turns` is never < 0"),
        ({"spend": {"==": -1}}, "`spend` is never == -1"),
    ],
)
def test_conditions_that_hold_for_nothing_are_told_with_the_reason(
    conditions: dict[str, Any], why: str
) -> None:
    assert why in told(when(**conditions))["r0"]


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"scopes": ["a-*"], "except_scopes": ["a-1"]},
        {"scopes": ["*"], "except_scopes": ["a"]},
        {"arguments": {"n": {">": 5, "<": 10}}},
        {"arguments": {"n": {">=": 5, "<=": 5}}},
        {"arguments": {"n": {"in": [1, 20], ">": 10}}},
        {"arguments": {"n": {"exists": True, ">": 1}}},
        {"arguments": {"to": {"in": ["a@ok.com"], "glob": "*@OK.com"}}},
        {"turns": {"<=": 0}},
    ],
)
def test_conditions_that_may_hold_are_not(conditions: dict[str, Any]) -> None:
    assert told(when(**conditions)) == {}


def test_a_rule_about_what_another_one_denies_always_decides_nothing() -> None:
    deny = {"name": "no shell", "tool": ["shell_*", "exec"]}
    allow = {"tool": ["shell_run", "exec"], "decision": "allow"}
    assert told(deny, allow) == {"r1": "'no shell' denies all that it is about"}
    assert told(deny, {**allow, "tool": ["shell_run", "read"]}) == {}
    assert told(deny | {"when": {"scopes": ["a"]}}, allow) == {}
    assert told(deny, {"model": "exec", "max_tokens": 5, "decision": "constrain"}) == {}
