"""The built-in model: it knows only what its tools have told it."""

from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.demo.auditor import CALLS_PER_TURN, PACKAGES_PER_CALL, Notes, next_move
from agent_runtime.demo.licences import judge
from llm_client.messages import CompletionResult, Message

MAX_TURNS = 60


class World:
    """An environment of packages and the person who is asked, as the tools would present them."""

    def __init__(
        self, packages: dict[str, str], accepted: Sequence[str] = (), broken: str | None = None
    ) -> None:
        self.packages = packages
        self.accepted = set(accepted)
        self.broken = broken
        self.asked: list[list[str]] = []
        self.findings: list[dict[str, Any]] = []

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        if name == self.broken:
            return "Error: OSError: the disk is on fire"
        return getattr(self, name)(**arguments)

    def list_packages(self) -> Any:
        return [{"name": name, "version": "1"} for name in self.packages]

    def read_licences(self, names: list[str]) -> Any:
        assert len(names) <= PACKAGES_PER_CALL
        return [{"package": name, "statement": self.packages[name]} for name in names]

    def classify_licences(self, licences: list[str]) -> Any:
        judged = [judge(licence) for licence in licences]
        return [{"licence": one.licence, "category": one.category, "reason": one.reason} for one in judged]

    def ask_person(self, question: str, doubts: list[dict[str, str]]) -> Any:
        names = [doubt["package"] for doubt in doubts]
        self.asked.append(names)
        accepted = [name for name in names if name in self.accepted]
        rejected = [name for name in names if name not in self.accepted]
        return {"answered_by": "ann", "accepted": accepted, "rejected": rejected, "not_asked": []}

    def write_report(self, summary: str, findings: list[dict[str, Any]]) -> Any:
        self.findings = findings
        return {"path": "/report.md", "sha256": "0" * 64}


def audit(world: World) -> CompletionResult:
    """Play the conversation to its end and return the last answer."""
    messages = [Message.user("Audit.")]
    for _ in range(MAX_TURNS):
        answer = next_move(Notes.of(messages))
        messages.append(answer.message())
        if not answer.tool_calls:
            return answer
        assert len(answer.tool_calls) <= CALLS_PER_TURN
        for call in answer.tool_calls:
            value = world.call(call.name, call.arguments)
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            messages.append(Message.tool(text, call.id, call.name))
    raise AssertionError("the auditor does not come to an end")


def verdicts(world: World) -> dict[str, str]:
    """Return the verdict of every package, which must have exactly one."""
    found = [(package, finding["verdict"]) for finding in world.findings for package in finding["packages"]]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_the_doubtful_are_asked_about_once_and_reported_as_the_person_said() -> None:
    world = World({"a": "MIT", "b": "GPL-3.0-only", "c": "MPL-2.0", "d": ""}, accepted=["c"])

    answer = audit(world)

    assert world.asked == [["b", "c", "d"]]
    assert verdicts(world) == {"a": "fine", "b": "rejected", "c": "accepted", "d": "rejected"}
    assert "/report.md" in answer.content


def test_nobody_is_asked_when_nothing_is_doubtful() -> None:
    world = World({"a": "MIT", "b": "Apache-2.0"})

    audit(world)

    assert world.asked == []
    assert set(verdicts(world).values()) == {"fine"}


def test_an_empty_environment_is_reported_as_one() -> None:
    assert audit(World({})).content.startswith("Installed packages: 0.")


def test_what_a_failed_tool_did_not_tell_stays_open() -> None:
    unread, unjudged, unanswered = (
        World({"a": "MIT", "b": "GPL-3.0-only"}, broken=broken)
        for broken in ("read_licences", "classify_licences", "ask_person")
    )

    for world in (unread, unjudged, unanswered):
        audit(world)

    assert set(verdicts(unread).values()) == {"rejected"}  # asked about both, and the person took neither
    assert set(verdicts(unjudged).values()) == {"rejected"}
    assert verdicts(unanswered) == {"a": "fine", "b": "open"}


def test_an_auditor_without_any_tool_that_works_still_ends() -> None:
    class Nothing(World):
        def call(self, name: str, arguments: dict[str, Any]) -> Any:
            return "Error: no"

    assert audit(Nothing({"a": "MIT"})).content


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8), st.sampled_from(["MIT", "GPL-3.0-only", "", "odd"]), max_size=230
    )
)
def test_every_package_of_any_environment_is_in_the_report_once(packages: dict[str, str]) -> None:
    world = World(packages, accepted=list(packages)[::2])

    audit(world)

    assert verdicts(world).keys() == packages.keys()
    assert len(world.asked) <= 1
