"""Policies as files: read whole or refused whole, with every line that is wrong and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent_runtime.errors import FileInvalid, InvalidInput, PolicyInvalid
from agent_runtime.policy.conditions import ALWAYS, When, globs
from agent_runtime.policy.policy import DEFAULT_NAME, Fallback, Policy
from agent_runtime.policy.rule import PolicyRule, approval_of, as_decision, constraints_of
from agent_runtime.policy.rules import ConstraintPolicy
from agent_runtime.values.document import Place, Problems, read_yaml
from agent_runtime.values.policy import PolicyAction, PolicyDecision

_TOP: Final = {"policy", "version", "default", "dry_run", "rules"}
_BOUNDS: Final = {"max_tokens", "force_model", "drop_tools", "redact"}
_APPROVAL: Final = {"approvers", "quorum", "timeout_seconds"}
_ACTIONS: Final = {action.value for action in PolicyAction}
_RULE: Final = {"name", "when", "decision", "reason", "permits", *_ACTIONS, *_BOUNDS, *_APPROVAL}
_LIMITS: Final = {
    "max_turns",
    "max_tool_calls",
    "max_tool_calls_per_turn",
    "max_context_tokens",
    "max_output_tokens",
    "max_spend",
    "max_depth",
}


def read_policy(data: object, *, source: str = "policy", lines: Mapping[Place, int] | None = None) -> Policy:
    """Build a policy from the values of its file.

    Raises:
        PolicyInvalid: Something in it is wrong; nothing of it is used.
    """
    return _Reading(source, lines or {}).policy(data)


def parse_policy(text: str, *, source: str = "policy") -> Policy:
    """Build a policy from YAML (or JSON) text.

    Raises:
        PolicyInvalid: It is not YAML, or something in it is wrong; nothing of it is used.
    """
    try:
        read = read_yaml(text, source=source)
    except FileInvalid as error:
        raise PolicyInvalid(str(error), line=error.line) from error
    return read_policy(read.values, source=source, lines=read.lines)


class _Reading:
    """One pass over a document, which gathers every problem before it gives up."""

    def __init__(self, source: str, lines: Mapping[Place, int]) -> None:
        self._problems = Problems(source, lines)

    def policy(self, data: Any) -> Policy:
        if not isinstance(data, Mapping):
            self._problems.add((), "a policy is a mapping with a list of `rules`")
            raise self._refusal()
        self._problems.check_keys(data, _TOP, ())
        rules: list[PolicyRule] = []
        listed = data.get("rules", [])
        if isinstance(listed, Sequence) and not isinstance(listed, str):
            for place, one in enumerate(listed):
                rules += self._rules(one, ("rules", place), rules)
        else:
            self._problems.add(("rules",), "`rules` is a list")
        name, version = data.get("policy", DEFAULT_NAME), data.get("version")
        if not isinstance(name, str) or not name:
            self._problems.add(("policy",), "`policy` is the policy's name, a text")
        if version is not None and not isinstance(version, (str, int, float)):
            version = str(version)  # YAML reads 2026-11-21 as a date
        dry_run = data.get("dry_run", False)
        if not isinstance(dry_run, bool):
            self._problems.add(("dry_run",), "`dry_run` is true or false")
        defaults = self._defaults(data.get("default", {}))
        if self._problems:
            raise self._refusal()
        return Policy(
            name=name,
            rules=rules,
            defaults=defaults,
            given_version=None if version is None else str(version),
            dry_run=dry_run,
        )

    def _defaults(self, given: Any) -> dict[PolicyAction, Fallback]:
        if isinstance(given, str):
            given = dict.fromkeys(_ACTIONS, given)
        if not isinstance(given, Mapping):
            self._problems.add(
                ("default",),
                "`default` is allow or deny, or one of them for each of job, model, tool, connector",
            )
            return {}
        found: dict[PolicyAction, Fallback] = {}
        for action, fallback in given.items():
            if action not in _ACTIONS or fallback not in ("allow", "deny"):
                self._problems.add(("default", action), f"the default of {action!r} cannot be {fallback!r}")
            elif fallback == "deny":
                found[PolicyAction(action)] = "deny"
        return found

    def _rules(self, data: Any, path: Place, before: Sequence[PolicyRule]) -> list[PolicyRule]:
        """Read one entry of `rules`: a rule, or limits."""
        if not isinstance(data, Mapping):
            self._problems.add(path, "a rule is a mapping")
            return []
        problems = len(self._problems)
        found: list[PolicyRule] = []
        try:
            found = self._limits(data, path) if "limits" in data else self._rule(data, path)
        except (InvalidInput, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            self._problems.add(path, str(error))
        taken = {rule.name for rule in before}
        for rule in found:
            if rule.name in taken:
                self._problems.add((*path, "name"), f"there are two rules named {rule.name!r}")
        return [] if len(self._problems) > problems else found

    def _limits(self, data: Mapping[str, Any], path: Place) -> list[PolicyRule]:
        self._problems.check_keys(data, {"name", "limits", "when"}, path)
        limits = data["limits"]
        if not isinstance(limits, Mapping) or not limits:
            raise InvalidInput(f"limits maps {', '.join(sorted(_LIMITS))} to numbers")
        self._problems.check_keys(limits, _LIMITS, (*path, "limits"))
        for name, value in limits.items():
            number = isinstance(value, (int, float, str) if name == "max_spend" else int)
            if name in _LIMITS and (not number or isinstance(value, bool)):
                self._problems.add((*path, "limits", name), f"{name} is a number, not {value!r}")
                return []
        known = {name: value for name, value in limits.items() if name in _LIMITS}
        named = {"name": data["name"]} if "name" in data else {}
        return list(ConstraintPolicy(**known, **named, when=self._when(data, path)).rules())

    def _rule(self, data: Mapping[str, Any], path: Place) -> list[PolicyRule]:
        if not self._problems.check_keys(data, _RULE, path):
            return []
        actions = [action for action in sorted(_ACTIONS) if action in data]
        if not actions:
            raise InvalidInput("a rule is about a job, model, tool or connector; none of these keys is there")
        name = data.get("name")
        if not isinstance(name, str) or not name:
            raise InvalidInput("a rule needs a name")
        reason, permits = data.get("reason", ""), data.get("permits", True)
        if not isinstance(reason, str) or not isinstance(permits, bool):
            raise InvalidInput("`reason` is a text and `permits` true or false")
        bounds = constraints_of({key: data[key] for key in _BOUNDS & data.keys()})
        implied = "redact" if bounds.redact else "constrain" if bounds else None
        decision = data.get("decision", implied)
        if decision is None:
            raise InvalidInput(f"a rule needs a decision: {', '.join(PolicyDecision)}")
        when = self._when(data, path)
        return [
            PolicyRule(
                name=name if len(actions) == 1 else f"{name}: {action}",
                action=PolicyAction(action),
                names=globs(data[action]),
                when=when,
                decision=as_decision(decision),
                reason=reason,
                constraints=bounds,
                approval=approval_of(data),
                permits=permits,
            )
            for action in actions
        ]

    def _when(self, data: Mapping[str, Any], path: Place) -> When:
        given = data.get("when")
        if given is None:
            return ALWAYS
        try:
            if not isinstance(given, Mapping):
                raise InvalidInput("`when` maps conditions to what they compare with")
            return When.from_dict(given)
        except InvalidInput as error:
            self._problems.add((*path, "when"), str(error))
            return ALWAYS

    def _refusal(self) -> PolicyInvalid:
        return PolicyInvalid(str(self._problems), line=self._problems.line)
