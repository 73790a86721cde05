"""Rules that can never match, or never decide anything: a mistake of whoever wrote them, which nothing else would tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from agent_runtime.policy.comparisons import Comparison, comparisons
from agent_runtime.policy.conditions import When
from agent_runtime.policy.rule import PolicyRule
from agent_runtime.values.policy import PolicyDecision

_WILD: Final = frozenset("*?[")
_NOT_NEGATIVE: Final = Comparison(">=", 0)
"""What every measure is."""


def mistakes(rules: Sequence[PolicyRule]) -> Iterator[tuple[str, str]]:
    """Yield the name of each rule that can never match or decide, and why."""
    for rule in rules:
        why = _never_matches(rule.when) or _is_denied(rule, rules)
        if why is not None:
            yield rule.name, why


def _never_matches(when: When) -> str | None:
    """Return why conditions hold for nothing, as far as that can be seen in them."""
    for name, wanted, refused in (
        ("scopes", when.scopes, when.except_scopes),
        ("principals", when.principals, when.except_principals),
        ("sessions", when.sessions, ()),
        *((f"tags.{tag}", patterns, ()) for tag, patterns in when.tags.items()),
    ):
        if wanted is None:
            continue
        if not wanted:
            return f"`{name}` is empty, which nobody is"
        if _are_covered(wanted, refused):
            return f"`except_{name}` takes away all that `{name}` names"
    for path, given in when.arguments.items():
        if _clash(tests := comparisons(given)):
            return f"no value of `{path}` is {_told(tests)}"
    for measure, given in when.measures.items():
        if _clash((*(tests := comparisons(given)), _NOT_NEGATIVE)):
            return f"`{measure}` is never {_told(tests)}"
    return None


def _told(tests: Sequence[Comparison]) -> str:
    return " and ".join(f"{test.operator} {test.expected!r}" for test in tests)


def _clash(tests: Sequence[Comparison]) -> bool:
    """Whether there is no value that passes all tests, as far as that can be seen in them."""
    for test in tests:
        if test.operator in ("==", "in"):
            named: Sequence[Any] = test.expected if test.operator == "in" else (test.expected,)
            if all(any(one.holds(value) is False for one in tests) for value in named):
                return True
    if len(tests) > 1 and any(test.operator == "exists" and not test.expected for test in tests):
        return True
    below = [test for test in tests if test.operator in ("<", "<=")]
    above = [test for test in tests if test.operator in (">", ">=")]
    return any(
        low.holds(high.expected) is False or high.holds(low.expected) is False
        for low in above
        for high in below
    )


def _is_denied(rule: PolicyRule, rules: Sequence[PolicyRule]) -> str | None:
    """Return why a rule decides nothing: another one denies all that it is about, and deny is stronger."""
    if rule.decision is PolicyDecision.DENY:
        return None
    always = (
        other
        for other in rules
        if other.decision is PolicyDecision.DENY and other.action is rule.action and not other.when.to_dict()
    )
    return next(
        (
            f"{other.name!r} denies all that it is about"
            for other in always
            if _are_covered(rule.names, other.names)
        ),
        None,
    )


def _are_covered(patterns: Iterable[str], by: Iterable[str]) -> bool:
    """Whether all that patterns fit is fitted by others, as far as that can be seen."""
    others = tuple(by)
    return all(
        any(
            one in ("*", pattern) or (_WILD.isdisjoint(pattern) and fnmatchcase(pattern, one))
            for one in others
        )
        for pattern in patterns
    )
