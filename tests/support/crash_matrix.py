"""The crash matrix: at which moments of which steps a process is killed, what came of it, and its table in the docs.

`make matrix` writes the table anew from a run; every other run compares what it sees with what the table says.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from agent_runtime import ExecutionHandle, RuntimeKernel
from support import mixed_job
from support.kernels import journal

RESULTS = "CRASH_MATRIX_RESULTS"
"""Environment variable: the file to which results are added, instead of comparing them with the table."""
PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
BEGIN, END = "<!-- crash matrix: written by `make matrix` -->\n", "<!-- end of the crash matrix -->\n"
STORAGES = ("SQLite", "Postgres")
MOMENTS_OF_A_STEP = (
    "before its intent",
    "after its intent",
    "before its effect",
    "after its effect",
    "seen by the operator, not yet written",
    "before its outcome",
    "after its outcome",
)
Moments = tuple[str | None, ...]


def _effect(kind: str, name: str, *, seen: str | None = None) -> Moments:
    started, completed = f"{kind}.started:{name}", f"{kind}.completed:{name}"
    return (
        f"before:{started}", f"after:{started}", f"inside:{name}", f"after:{name}",
        seen, f"before:{completed}", f"after:{completed}",
    )  # fmt: skip


ROWS: Mapping[str, Moments] = {
    "model call": _effect("model", "model"),
    "`read` tool": (None, None, *_effect("tool", "look")[2:]),
    "`idempotent` tool": _effect("tool", "save"),
    "`reconcilable` tool": _effect("tool", "book"),
    "`unsafe` tool": _effect("tool", "pay"),
    "approval, in a tool": (
        "before:action.required:approval", "after:action.required:approval",
        "before:action.resolved", "after:action.resolved", None,
        "before:tool.resumed:pay", "after:tool.resumed:pay",
    ),
    "`read` step": (None, None, *_effect("step", "peek", seen="seen:peek")[2:]),
    "time, chance": (
        None, None, None, None, "seen:now", "before:value.recorded:now", "after:value.recorded:now",
    ),
    "`idempotent` step": _effect("step", "note", seen="seen:note"),
    "`gather` of such": (
        "before:branch.opened:gather", "after:branch.opened:gather", "inside:left", "after:left",
        None, "before:step.completed:left", "after:step.completed:left",
    ),
    "child job": (
        "before:child.started", "after:child.started", "inside:deliver", "after:deliver", None,
        "before:child.ended", "after:child.ended",
    ),
    "`continue_as_new`": (
        None, None, None, None, None, "before:job.succeeded:continued", "after:job.succeeded:continued",
    ),
    "timer": (
        "before:timer.set", "after:timer.set", None, None, None, "before:timer.fired", "after:timer.fired",
    ),
    "question": (
        "before:action.required:confirm", "after:action.required:confirm", None, None, None, None, None,
    ),
    "`unsafe` step": _effect("step", "seal"),
    "end of the job": (None, None, None, None, None, "before:job.succeeded", "after:job.succeeded"),
}  # fmt: skip
"""Moments by step; for an approval the effect is its answer, for a child what the child does."""
_FUNCTIONS = {
    "model call": "model",
    "`read` tool": "look",
    "`idempotent` tool": "save",
    "`reconcilable` tool": "book",
    "`unsafe` tool": "pay",
    "`read` step": "peek",
    "`idempotent` step": "note",
    "`gather` of such": "left",
    "child job": "deliver",
    "`unsafe` step": "seal",
}
_TURNS = 4
"""Calls of the model in a run that nobody disturbs."""
MOMENTS = tuple(dict.fromkeys(moment for row in ROWS.values() for moment in row if moment))
IN_WORKERS = tuple(moment for moment in MOMENTS if not moment.endswith("action.resolved"))
"""Those that a worker reaches; the answer to a question is written by whoever answers."""


def row_of(moment: str) -> str:
    """Return the step that a moment belongs to."""
    return next(name for name, moments in ROWS.items() if moment in moments)


async def observe(moment: str, handle: ExecutionHandle, k: RuntimeKernel, world: Path) -> str:
    """Say what came of the step that the kill hit, as counted from outside when the job had ended."""
    row = row_of(moment)
    function = _FUNCTIONS.get(row)
    if function is None:
        return "once"  # its promises have been checked: one entry in the journal, one answer, one end
    times = Counter(kind for kind, _ in mixed_job.effects(world))[function]
    if function == "model":
        uncertain = sum(entry.uncertain for entry in await k.ledger.entries(job_id=handle.job_id))
        asked = "once" if times == _TURNS else "asked again"
        return f"{asked}; one attempt is billed at its maximum" if uncertain else asked
    unknown = [event for event in await journal(handle) if event.type.endswith(".unknown")]
    happened = {1: "once", 2: "twice"}[times]
    if times == 2 and not row.startswith("`read`"):
        happened += ", under one key"
    return f"{happened}; a person is asked" if unknown else happened


def settle(storage: str, moment: str, seen: str) -> None:
    """Note a result for the table, or compare it with the table."""
    if (path := os.environ.get(RESULTS)) is not None:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps([storage, moment, seen]) + "\n")
        return
    said = published()[storage, moment]
    assert seen == said, f"{moment} on {storage}: {seen!r}; docs/guarantees.md says {said!r} (make matrix)"


def render(results: Mapping[tuple[str, str], str]) -> str:
    """Return the table."""
    lines = [
        f"| killed … | {' | '.join(MOMENTS_OF_A_STEP)} |",
        "|---" * (len(MOMENTS_OF_A_STEP) + 1) + "|",
    ]
    for name, moments in ROWS.items():
        cells = [_cell(results, moment) for moment in moments]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(results: Mapping[tuple[str, str], str], moment: str | None) -> str:
    if moment is None:
        return "–"
    seen = {storage: results[storage, moment] for storage in STORAGES if (storage, moment) in results}
    if len(seen) == len(STORAGES) and len(set(seen.values())) == 1:
        return seen[STORAGES[0]]
    return "<br>".join(f"{storage}: {result}" for storage, result in seen.items())


def published() -> dict[tuple[str, str], str]:
    """Return what the table in the docs says."""
    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        for moment, cell in zip(ROWS[row[0]], row[1:], strict=True):
            if moment is not None:
                found |= {(storage, moment): result for storage, result in _read(cell).items()}
    return found


def _read(cell: str) -> dict[str, str]:
    named = dict(part.split(": ", 1) for part in cell.split("<br>") if part.split(": ", 1)[0] in STORAGES)
    return named or dict.fromkeys(STORAGES, cell)


def write(results: Path) -> None:
    """Put the results of a run into the page."""
    found = {
        (storage, moment): seen for storage, moment, seen in map(json.loads, results.read_text().splitlines())
    }
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{render(found)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    write(parser.parse_args().results)
