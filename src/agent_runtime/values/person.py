"""Names of people: what may be one, and when two of them mean the same person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent_runtime.errors import InvalidInput
from agent_runtime.values.checks import check_text
from llm_client.unseen import as_seen, normalized


def person_key(name: str) -> str:
    """Return a name as names are compared: `Ann`, `ANN` and `Ａnn` are one person, and neither blanks nor what nobody sees makes another."""
    folded = as_seen(name).casefold()
    return " ".join(normalized("NFKC", folded).split())


def check_person(field: str, value: object) -> None:
    """Refuse what is no name: text without control characters, of 1 to 512 bytes, of which something can be seen.

    Raises:
        InvalidInput: It names the field.
    """
    if not person_key(check_text(field, value)):
        raise InvalidInput(f"{field} is a name of which something can be seen")


def check_approvers(approvers: Sequence[str] | None, quorum: int) -> None:
    """Refuse approvers who cannot make a quorum.

    Without approvers nobody can tell two people from one who answers twice, so a quorum needs them.

    Raises:
        InvalidInput: It says what is wrong.
    """
    if approvers is None:
        if quorum > 1:
            raise InvalidInput(
                f"a quorum of {quorum} needs approvers: name the people of whom {quorum} must agree"
            )
        return
    if isinstance(approvers, str):
        raise InvalidInput("approvers is a list of principals")
    for approver in approvers:
        check_person("approvers", approver)
    people = len({person_key(approver) for approver in approvers})
    if not people:
        raise InvalidInput("approvers names nobody; None lets everybody answer")
    if people < quorum:
        raise InvalidInput(f"{people} approvers cannot make a quorum of {quorum}")


def find_person(name: str, among: Iterable[str]) -> str | None:
    """Return the name among others that means this person, as it is written there, or `None`."""
    key = person_key(name)
    return next((other for other in among if person_key(other) == key), None)


def different_people(names: Iterable[str]) -> tuple[str, ...]:
    """Return names without those that mean a person who was named before."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(person_key(name), name)
    return tuple(found.values())
