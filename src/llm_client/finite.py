"""Numbers that JSON has no word for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any


def non_finite(value: Any) -> float | None:
    """Return a NaN or an infinity that a value holds; orjson writes `null` in its place, without a word."""
    below = [value]
    while below:
        item = below.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return item
        elif isinstance(item, Mapping):
            below += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            below += item
        elif isinstance(item, Enum):
            below.append(item.value)
        elif is_dataclass(item) and not isinstance(item, type):
            below += [getattr(item, part.name, None) for part in fields(item)]
        elif callable(getattr(type(item), "model_dump", None)):
            below.append(item.model_dump())
    return None
