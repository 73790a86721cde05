"""How likely the tokens of an answer were: OpenAI's two APIs say it alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_client.messages import TokenLogprob
from llm_client.providers.response import ResponseDraft
from llm_client.providers.stated import token_logprob


def read_choice_logprobs(draft: ResponseDraft, stated: Any) -> None:
    """Take what stands beside a message or a piece of one.

    Some servers, Together among them, write it as OpenAI's first completions had it: lists of tokens and numbers side by side.
    """
    if not isinstance(stated, Mapping):
        return
    tokens, numbers, others = (stated.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if (
        isinstance(stated.get("content"), list)
        or not isinstance(tokens, list)
        or not isinstance(numbers, list)
    ):
        read_logprobs(draft, stated.get("content"))
        return
    draft.say_how_likely(_side_by_side(tokens, numbers, others))


def _side_by_side(tokens: list[Any], numbers: list[Any], others: Any) -> Iterator[TokenLogprob | None]:
    for number, (token, logprob) in enumerate(zip(tokens, numbers, strict=False)):
        at_place = others[number] if isinstance(others, list) and number < len(others) else None
        yield token_logprob(token, logprob, at_place.items() if isinstance(at_place, Mapping) else ())


def read_logprobs(draft: ResponseDraft, stated: object) -> None:
    """Take a list of tokens, each with what else might have stood there."""
    draft.say_how_likely(map(_read, stated if isinstance(stated, list) else ()))


def _read(entry: Any) -> TokenLogprob | None:
    if not isinstance(entry, Mapping):
        return None
    others = entry.get("top_logprobs")
    pairs = [
        (other.get("token"), other.get("logprob"))
        for other in (others if isinstance(others, list) else ())
        if isinstance(other, dict)
    ]
    return token_logprob(entry.get("token"), entry.get("logprob"), pairs)
