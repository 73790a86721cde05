"""Policies as files: read whole or refused whole, with every line that is wrong and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import InvalidInput, MissingDependency, PolicyInvalid
from agent_runtime.policy.conditions import ALWAYS, When, globs
from agent_runtime.policy.policy import DEFAULT_NAME, Fallback, Policy
from agent_runtime.policy.rule import PolicyRule, approval_of, as_decision, constraints_of
from agent_runtime.policy.rules import ConstraintPolicy
from agent_runtime.values.policy import PolicyAction, PolicyDecision

if TYPE_CHECKING:
    from yaml.nodes import Node

MAX_FILE_BYTES: Final = 1_000_000
MAX_NODES: Final = 50_000
"""Values in one file, references to anchors counted each time."""

_PLAIN_TAGS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
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

Path = tuple[str | int, ...]
"""Where a value stands in a document: keys and list places."""


def read_policy(data: Any, *, source: str = "policy", lines: Mapping[Path, int] | None = None) -> Policy:
    """Build a policy from the values of its file.

    Raises:
        PolicyInvalid: Something in it is wrong; nothing of it is used.
    """
    return _Reading(source, lines or {}).policy(data)


def parse_policy(text: str, *, source: str = "policy") -> Policy:
    """Build a policy from YAML (or JSON) text.

    Raises:
        PolicyInvalid: It is not YAML, or something in it is wrong; nothing of it is used.
        MissingDependency: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise MissingDependency("pyyaml", "yaml") from None
    if len(text.encode()) > MAX_FILE_BYTES:
        raise PolicyInvalid(f"{source}: larger than {MAX_FILE_BYTES:,} bytes")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Path, int] = {}
        data = None if node is None else _Values(source, lines).value(node, ())
    except PolicyInvalid:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        said = getattr(error, "problem", None) or f"not YAML: {type(error).__name__}"
        raise PolicyInvalid(f"{source}{'' if line is None else f':{line}'}: {said}", line=line) from error
    return read_policy(data, source=source, lines=lines)


class _Values:
    """Turns YAML nodes into plain values and remembers on which line each stands."""

    def __init__(self, source: str, lines: dict[Path, int]) -> None:
        from yaml.constructor import SafeConstructor

        self._source = source
        self._lines = lines
        self._scalars = SafeConstructor()
        self._count = 0

    def value(self, node: Node, path: Path) -> Any:
        from yaml.nodes import MappingNode, ScalarNode, SequenceNode

        self._count += 1
        if self._count > MAX_NODES:
            raise PolicyInvalid(f"{self._source}: more than {MAX_NODES:,} values")
        line = node.start_mark.line + 1
        self._lines[path] = line
        if not isinstance(node, ScalarNode) and node.tag not in _PLAIN_TAGS:
            raise PolicyInvalid(f"{self._source}:{line}: the tag {node.tag!r} has no place here", line=line)
        if isinstance(node, SequenceNode):
            return [self.value(child, (*path, place)) for place, child in enumerate(node.value)]
        if not isinstance(node, MappingNode):
            return self._scalars.construct_object(node)
        found: dict[str, Any] = {}
        for key_node, child in node.value:
            key = key_node.value
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise PolicyInvalid(f"{self._source}:{line}: a key is a plain text", line=line)
            if key in found:
                raise PolicyInvalid(f"{self._source}:{line}: {key!r} is there twice", line=line)
            found[key] = self.value(child, (*path, key))
            self._lines[(*path, key)] = line
        return found


class _Reading:
    """One pass over a document, which gathers every problem before it gives up."""

    def __init__(self, source: str, lines: Mapping[Path, int]) -> None:
        self._source = source
        self._lines = lines
        self._problems: list[tuple[int | None, str]] = []

    def policy(self, data: Any) -> Policy:
        if not isinstance(data, Mapping):
            self._problem((), "a policy is a mapping with a list of `rules`")
            raise self._refusal()
        self._check_keys(data, _TOP, ())
        rules: list[PolicyRule] = []
        listed = data.get("rules", [])
        if isinstance(listed, Sequence) and not isinstance(listed, str):
            for place, one in enumerate(listed):
                rules += self._rules(one, ("rules", place), rules)
        else:
            self._problem(("rules",), "`rules` is a list")
        name, version = data.get("policy", DEFAULT_NAME), data.get("version")
        if not isinstance(name, str) or not name:
            self._problem(("policy",), "`policy` is the policy's name, a text")
        if version is not None and not isinstance(version, (str, int, float)):
            version = str(version)  # YAML reads 2026-11-21 as a date
        dry_run = data.get("dry_run", False)
        if not isinstance(dry_run, bool):
            self._problem(("dry_run",), "`dry_run` is true or false")
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
            self._problem(
                ("default",),
                "`default` is allow or deny, or one of them for each of job, model, tool, connector",
            )
            return {}
        found: dict[PolicyAction, Fallback] = {}
        for action, fallback in given.items():
            if action not in _ACTIONS or fallback not in ("allow", "deny"):
                self._problem(("default", action), f"the default of {action!r} cannot be {fallback!r}")
            elif fallback == "deny":
                found[PolicyAction(action)] = "deny"
        return found

    def _rules(self, data: Any, path: Path, before: Sequence[PolicyRule]) -> list[PolicyRule]:
        """Read one entry of `rules`: a rule, or limits."""
        if not isinstance(data, Mapping):
            self._problem(path, "a rule is a mapping")
            return []
        problems = len(self._problems)
        found: list[PolicyRule] = []
        try:
            found = self._limits(data, path) if "limits" in data else self._rule(data, path)
        except (InvalidInput, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            self._problem(path, str(error))
        taken = {rule.name for rule in before}
        for rule in found:
            if rule.name in taken:
                self._problem((*path, "name"), f"there are two rules named {rule.name!r}")
        return [] if len(self._problems) > problems else found

    def _limits(self, data: Mapping[str, Any], path: Path) -> list[PolicyRule]:
        self._check_keys(data, {"name", "limits", "when"}, path)
        limits = data["limits"]
        if not isinstance(limits, Mapping) or not limits:
            raise InvalidInput(f"limits maps {', '.join(sorted(_LIMITS))} to numbers")
        self._check_keys(limits, _LIMITS, (*path, "limits"))
        for name, value in limits.items():
            number = isinstance(value, (int, float, str) if name == "max_spend" else int)
            if name in _LIMITS and (not number or isinstance(value, bool)):
                self._problem((*path, "limits", name), f"{name} is a number, not {value!r}")
                return []
        known = {name: value for name, value in limits.items() if name in _LIMITS}
        named = {"name": data["name"]} if "name" in data else {}
        return list(ConstraintPolicy(**known, **named, when=self._when(data, path)).rules())

    def _rule(self, data: Mapping[str, Any], path: Path) -> list[PolicyRule]:
        if not self._check_keys(data, _RULE, path):
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

    def _when(self, data: Mapping[str, Any], path: Path) -> When:
        given = data.get("when")
        if given is None:
            return ALWAYS
        try:
            if not isinstance(given, Mapping):
                raise InvalidInput("`when` maps conditions to what they compare with")
            return When.from_dict(given)
        except InvalidInput as error:
            self._problem((*path, "when"), str(error))
            return ALWAYS

    def _check_keys(self, data: Mapping[str, Any], known: set[str], path: Path) -> bool:
        unknown = [key for key in data if key not in known]
        for key in unknown:
            self._problem((*path, key), f"{key!r} is not known here; known are {', '.join(sorted(known))}")
        return not unknown

    def _problem(self, path: Path, reason: str) -> None:
        while path and path not in self._lines:
            path = path[:-1]
        self._problems.append((self._lines.get(path), reason))

    def _refusal(self) -> PolicyInvalid:
        said = [
            f"{self._source}{'' if line is None else f':{line}'}: {reason}"
            for line, reason in sorted(self._problems, key=lambda problem: problem[0] or 0)
        ]
        return PolicyInvalid(
            "\n".join(said), line=min((line for line, _ in self._problems if line), default=None)
        )
