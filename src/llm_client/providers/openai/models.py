"""What OpenAI's model names say about a model, wherever it is served."""

from __future__ import annotations

import re

_REASONING = re.compile(r"(^|/)(o\d|gpt-[5-9]|gpt-\d\d|codex)")


def reasons(model: str) -> bool:
    """Whether a name is that of one of OpenAI's reasoning models.

    Only these may be asked for encrypted reasoning, and they refuse `max_tokens` in favour of
    `max_completion_tokens`.
    """
    return _REASONING.search(model) is not None
