"""A model that needs no network: a function that plays an auditor, turn by turn, from what its tools have returned.

It knows nothing beforehand and decides from the conversation alone, as a real model does, so that it audits any
environment. Its tokens have a price, so that its calls are real entries of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from agent_runtime.demo.licences import HARMLESS
from llm_client.messages import CompletionResult, Message, ToolCall
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.providers.scripted import Delay, FunctionProvider
from llm_client.spec import RequestSpec

NAME: Final = "demo"
MODEL: Final = "licence-auditor-1"
PRICES: Final = {
    f"{NAME}:{MODEL}": ModelPrices.of(input="0.25", output="2.00", source="the demo's own price")
}
"""Dollars per 1,000,000 tokens, about what a small model costs."""
PACKAGES_PER_CALL: Final = 20
CALLS_PER_TURN: Final = 5


def auditor(think_seconds: float) -> FunctionProvider:
    """Return the model.

    Args:
        think_seconds: How long each answer takes.
    """

    def answer(spec: RequestSpec) -> Delay:
        return Delay(think_seconds, next_move(Notes.of(spec.messages)))

    return FunctionProvider(answer, MODEL, name=NAME)


def prices() -> PriceBook:
    """Return the price book that knows what this model costs."""
    return PriceBook(PRICES)


@dataclass(slots=True, kw_only=True)
class Notes:
    """What the auditor can know from the conversation so far."""

    turn: int = 0
    packages: list[str] | None = None
    asked_for: set[str] = field(default_factory=set)
    statements: dict[str, str] = field(default_factory=dict)
    """Statement by package, empty when nothing could be read."""
    judged: set[str] = field(default_factory=set)
    judgements: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Category and reason by statement."""
    answer: Mapping[str, Any] | None = None
    """What the person said; empty when nobody did."""
    report: str | None = None
    """What `write_report` returned."""

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Notes:
        """Read a conversation."""
        notes = cls()
        calls: dict[str, ToolCall] = {}
        for message in messages:
            if message.role == "assistant":
                notes.turn += 1
                calls |= {call.id: call for call in message.tool_calls}
            elif message.role == "tool" and message.tool_call_id in calls:
                notes._learn(calls[message.tool_call_id], message.text)
        return notes

    def _learn(self, call: ToolCall, text: str) -> None:
        value = _json(text)
        match call.name:
            case "list_packages":
                self.packages = [str(row["name"]) for row in _rows(value)]
            case "read_licences":
                self.asked_for.update(call.arguments["names"])
                self.statements |= {row["package"]: row["statement"] for row in _rows(value)}
            case "classify_licences":
                self.judged.update(call.arguments["licences"])
                self.judgements |= {row["licence"]: (row["category"], row["reason"]) for row in _rows(value)}
            case "ask_person":
                self.answer = value if isinstance(value, dict) else {}
            case "write_report":
                self.report = str(value["path"]) if isinstance(value, dict) else text

    def unread(self) -> list[str]:
        """Return the packages whose licence nobody has looked up."""
        return [name for name in self.packages or () if name not in self.asked_for]

    def unjudged(self) -> list[str]:
        """Return the statements nobody has sorted."""
        return sorted(set(self.statements.values()) - self.judged)

    def category(self, package: str) -> tuple[str, str]:
        """Return the category of a package's licence, and why."""
        unknown = ("unknown", "nothing could be read")
        return self.judgements.get(self.statements.get(package, ""), unknown)

    def doubtful(self) -> list[str]:
        """Return the packages that a person should look at."""
        return [name for name in self.packages or () if self.category(name)[0] not in HARMLESS]


def next_move(notes: Notes) -> CompletionResult:
    """Return what the auditor does next."""
    if notes.packages is None:
        return _calls(notes, "I begin with what is installed.", [("list_packages", {})])
    if unread := notes.unread():
        batch = unread[: PACKAGES_PER_CALL * CALLS_PER_TURN]
        calls = [("read_licences", {"names": part}) for part in _parts(batch, PACKAGES_PER_CALL)]
        return _calls(notes, f"I read the licences of {len(batch)} packages.", calls)
    if unjudged := notes.unjudged():
        said = f"They state {len(unjudged)} different licences, which I sort."
        return _calls(notes, said, [("classify_licences", {"licences": unjudged})])
    doubtful = notes.doubtful()
    if doubtful and notes.answer is None:
        question = (
            f"Which of these licences are acceptable ({len(doubtful)} of {len(notes.packages)} packages)?"
        )
        doubts = [_doubt(notes, name) for name in doubtful]
        return _calls(
            notes, "Some need a person's eye.", [("ask_person", {"question": question, "doubts": doubts})]
        )
    if notes.report is None:
        arguments = {"summary": _summary(notes), "findings": _findings(notes)}
        return _calls(notes, "I write the report.", [("write_report", arguments)])
    return CompletionResult(content=f"{_summary(notes)} The report is {notes.report}.")


def _calls(notes: Notes, said: str, calls: Sequence[tuple[str, dict[str, Any]]]) -> CompletionResult:
    return CompletionResult(
        content=said,
        tool_calls=tuple(
            ToolCall(f"call-{notes.turn}-{number}", name, arguments)
            for number, (name, arguments) in enumerate(calls)
        ),
        finish_reason="tool_calls",
    )


def _doubt(notes: Notes, package: str) -> dict[str, str]:
    category, reason = notes.category(package)
    stated = notes.statements.get(package) or "no licence stated"
    return {"package": package, "licence": stated, "why": f"{category}: {reason}"}


def _findings(notes: Notes) -> list[dict[str, Any]]:
    """Group the packages by licence and verdict."""
    groups: dict[tuple[str, str], list[str]] = {}
    for package in notes.packages or ():
        key = (notes.statements.get(package) or "not stated", _verdict(notes, package))
        groups.setdefault(key, []).append(package)
    return [
        {
            "licence": licence,
            "category": notes.category(packages[0])[0],
            "verdict": verdict,
            "packages": packages,
            "note": _note(notes, packages[0], verdict),
        }
        for (licence, verdict), packages in sorted(
            groups.items(), key=lambda group: (-len(group[1]), group[0])
        )
    ]


def _verdict(notes: Notes, package: str) -> str:
    if notes.category(package)[0] in HARMLESS:
        return "fine"
    answer = notes.answer or {}
    if package in answer.get("accepted", ()):
        return "accepted"
    return "rejected" if package in answer.get("rejected", ()) else "open"


def _note(notes: Notes, package: str, verdict: str) -> str:
    if verdict == "fine":
        return ""
    who = (notes.answer or {}).get("answered_by")
    reason = notes.category(package)[1]
    return f"{reason}; decided by {who}" if who and verdict != "open" else reason


def _summary(notes: Notes) -> str:
    verdicts = [_verdict(notes, package) for package in notes.packages or ()]
    fine = verdicts.count("fine")
    text = f"Installed packages: {len(verdicts)}. With a licence that raises no question: {fine}."
    others = {"accepted": "Accepted", "rejected": "Rejected", "open": "Still to be decided"}
    counted = [
        f"{words}: {verdicts.count(verdict)}." for verdict, words in others.items() if verdict in verdicts
    ]
    return " ".join([text, *counted])


def _parts(names: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield list(names[start : start + size])


def _rows(value: Any) -> list[dict[str, Any]]:
    """Return a tool's rows; a failed tool has none, and what it was asked about stays without an answer."""
    return value if isinstance(value, list) else []


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
