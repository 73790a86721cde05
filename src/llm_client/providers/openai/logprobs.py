"""How likely the tokens of an answer were: OpenAI's two APIs say it alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_client.providers.response import ResponseDraft, token_logprob


def read_logprobs(draft: ResponseDraft, stated: Any) -> None:
    """Take a list of tokens, each with what else might have stood there."""
    for entry in stated if isinstance(stated, list) else ():
        if isinstance(entry, Mapping):
            others = entry.get("top_logprobs")
            told = token_logprob(
                entry.get("token"),
                entry.get("logprob"),
                (
                    (other.get("token"), other.get("logprob"))
                    for other in (others if isinstance(others, list) else ())
                    if isinstance(other, Mapping)
                ),
            )
            if told is not None:
                draft.logprobs.append(told)
