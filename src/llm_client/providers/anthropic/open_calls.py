"""Calls of Anthropic's own tools and their results, which may stand in different turns.

A model that calls a tool of the vendor's beside one of ours leaves the first without a result: Anthropic runs it when ours are answered, and its
next answer begins with that result. A turn that was paused goes on likewise. Code that calls our tools is open over several turns. So a call goes
back where it stood as long as its result is there or can still come, which takes a conversation that ends in such turns and in results of ours
alone (Anthropic's page on server tools, "Mixing server tools and client tools in one turn"). What has lost its other half is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

Block = dict[str, Any]
_CALLS: Final = frozenset({"server_tool_use", "mcp_tool_use"})
_RESULT: Final = "_tool_result"
_OURS: Final = "tool_result"


def paired(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the turns, of the vendor's calls with those alone whose result is there or can still come, and of results with those of such calls."""
    open_from = _open_from(turns)
    answered = {
        block["tool_use_id"]: number
        for number, turn in enumerate(turns)
        for block in _blocks(turn)
        if _is_result(block)
    }
    kept: set[object] = set()
    lost: set[object] = set()
    left: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        blocks = _blocks(turn)
        for block in blocks:
            if block["type"] in _CALLS:
                has_place = number >= open_from or answered.get(block.get("id"), -1) >= number
                (kept if has_place else lost).add(block.get("id"))
        left.append({**turn, "content": list(_left(blocks, kept, lost))} if blocks else turn)
    return left


def _left(blocks: Iterable[Block], kept: set[object], lost: set[object]) -> Iterator[Block]:
    """Yield the blocks of a turn that may go out, without what names a call that may not."""
    for block in blocks:
        caller = block.get("caller")
        if block["type"] in _CALLS and block.get("id") not in kept:
            continue
        if _is_result(block) and block.get("tool_use_id") not in kept:
            continue
        if isinstance(caller, dict) and caller.get("tool_id") in lost:
            block = {name: value for name, value in block.items() if name != "caller"}  # noqa: PLW2901 -- the same block, called by nobody else
        yield block


def _open_from(turns: Sequence[dict[str, Any]]) -> int:
    """Return from which turn on the model's turn is not over: what follows is its own, or results of our tools and nothing else."""
    number = len(turns)
    while number and (turns[number - 1]["role"] == "assistant" or _only_answers(turns[number - 1])):
        number -= 1
    return number


def _only_answers(turn: dict[str, Any]) -> bool:
    blocks = turn["content"]
    return not isinstance(blocks, str) and all(block["type"] == _OURS for block in blocks)


def _blocks(turn: dict[str, Any]) -> Sequence[Block]:
    """Return the blocks of a turn of the model's, if it has any."""
    blocks: str | Sequence[Block] = turn["content"]
    return () if turn["role"] != "assistant" or isinstance(blocks, str) else blocks


def _is_result(block: Block) -> bool:
    """Whether a block is the result of a tool of the vendor's."""
    kind = block["type"]
    return isinstance(kind, str) and kind.endswith(_RESULT) and "tool_use_id" in block
