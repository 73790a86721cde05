"""`PolicyEngine`: rules that may still be added to, and the questions one asks it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from agent_runtime.errors import InvalidInput
from agent_runtime.policy.document import parse_policy, read_policy
from agent_runtime.policy.policy import DEFAULT_NAME, Explanation, Fallback, Policy
from agent_runtime.policy.rule import PolicyRule
from agent_runtime.policy.rules import Rule
from agent_runtime.values.context import ExecutionContext, execution_of
from agent_runtime.values.policy import PolicyAction, PolicyContext, PolicyResult, PolicySubject

Asker = PolicyContext | ExecutionContext


class PolicyEngine:
    """Decides what tools, models, jobs and connectors may do.

    Args:
        rules: To begin with; more can be added.
        name: By which requests choose this policy.
        version: A version of your own; by default a hash of the rules, so that it changes when they do.
        default: What holds where no rule permits or refuses: `allow` or `deny`, for everything or by action
            (`{"tool": "deny"}`).
        dry_run: Decide, explain and record, but enforce nothing.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        name: str = DEFAULT_NAME,
        version: str | None = None,
        default: Fallback | Mapping[str, Fallback] = "allow",
        dry_run: bool = False,
    ) -> None:
        self._name = name
        self._version = version
        self._defaults = _defaults(default)
        self._dry_run = dry_run
        self._rules: list[PolicyRule] = []
        self._policy: Policy | None = None
        for rule in rules:
            self.add_rule(rule)

    @classmethod
    def of(cls, policy: Policy) -> PolicyEngine:
        """Build an engine that applies a policy."""
        engine = cls(
            policy.rules,
            name=policy.name,
            version=policy.given_version,
            default={action.value: fallback for action, fallback in policy.defaults.items()},
            dry_run=policy.dry_run,
        )
        engine._policy = policy
        return engine

    @classmethod
    def from_yaml(cls, path: str | Path) -> PolicyEngine:
        """Read a policy file.

        Raises:
            PolicyInvalid: Something in it is wrong; the message names every line and reason.
            OSError: The file cannot be read.
        """
        return cls.from_text(Path(path).read_text(encoding="utf-8"), source=str(path))

    @classmethod
    def from_text(cls, text: str, *, source: str = "policy") -> PolicyEngine:
        """Read a policy from YAML or JSON text; `source` names it in errors. Raises as `from_yaml`."""
        return cls.of(parse_policy(text, source=source))

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> PolicyEngine:
        """Read a policy from the values of its file. Raises `PolicyInvalid`."""
        return cls.of(read_policy(data))

    def add_rule(self, rule: Rule) -> None:
        """Add a rule. From then on the policy has another version, unless it was given one.

        Raises:
            InvalidInput: The rule contradicts itself, or one of the same name is there.
        """
        added = rule.rules()
        names = {known.name for known in self._rules}
        for one in added:
            if one.name in names:
                raise InvalidInput(f"there are two rules named {one.name!r}; give one of them a name")
        self._rules += added
        self._policy = None

    @property
    def name(self) -> str:
        """By which requests choose it."""
        return self._name

    @property
    def policy(self) -> Policy:
        """The rules as they stand now, as one version that never changes."""
        if self._policy is None:
            self._policy = Policy(
                name=self._name,
                rules=tuple(self._rules),
                defaults=self._defaults,
                given_version=self._version,
                dry_run=self._dry_run,
            )
        return self._policy

    async def check_tool(
        self, name: str, context: Asker, arguments: Mapping[str, object] | None = None
    ) -> PolicyResult:
        """Ask whether a tool may be called with these arguments."""
        return self.policy.decide(subject(PolicyAction.TOOL, name, context, arguments))

    async def check_model(self, name: str, context: Asker) -> PolicyResult:
        """Ask whether a model may be asked; `name` is a model, or `provider:model`."""
        return self.policy.decide(subject(PolicyAction.MODEL, name, context))

    async def check_job(self, operator: str, context: Asker) -> PolicyResult:
        """Ask whether an operator may be started."""
        return self.policy.decide(subject(PolicyAction.JOB, operator, context))

    async def check_connector(self, name: str, context: Asker) -> PolicyResult:
        """Ask whether a source of data may be used."""
        return self.policy.decide(subject(PolicyAction.CONNECTOR, name, context))

    def explain(
        self,
        action: PolicyAction | str,
        name: str,
        context: Asker,
        arguments: Mapping[str, object] | None = None,
    ) -> Explanation:
        """Return how the policy comes to its answer; nothing is recorded."""
        return self.policy.explain(subject(PolicyAction(action), name, context, arguments))


def subject(
    action: PolicyAction, name: str, context: Asker, arguments: Mapping[str, object] | None = None
) -> PolicySubject:
    """Build a question."""
    asker = execution_of(context)
    known = asker if isinstance(asker, PolicyContext) else PolicyContext.of(asker)
    names: tuple[str, ...] = (name,)
    if action is PolicyAction.MODEL and ":" in name:
        names = (name.partition(":")[2], name)
    return PolicySubject(action=action, names=names, context=known, arguments=arguments or {})


def _defaults(default: Fallback | Mapping[str, Fallback]) -> dict[PolicyAction, Fallback]:
    given = dict.fromkeys(PolicyAction, default) if isinstance(default, str) else default
    if bad := [fallback for fallback in given.values() if fallback not in ("allow", "deny")]:
        raise InvalidInput(f"a default is allow or deny, not {bad[0]!r}")
    return {PolicyAction(action): fallback for action, fallback in given.items() if fallback == "deny"}
