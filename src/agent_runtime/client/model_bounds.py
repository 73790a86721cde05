"""How much the service takes and tells: how strict it is with what is sent, and what of something long stands in a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue, model_validator

from llm_client.json_text import dumps

MAX_NAMES: Final = 100
"""Of what a client sends: nothing here has as many fields."""
MAX_TAGS: Final = 1_000
MAX_MESSAGES: Final = 2_000
"""Of a conversation."""


def at_most(most: int, what: str) -> BeforeValidator:
    """Return what refuses more of something than anybody means, before each is looked at."""

    def check(sent: object) -> object:
        if isinstance(sent, dict | list) and len(sent) > most:
            raise ValueError(f"there are more than {most:,} {what}")
        return sent

    return BeforeValidator(check)


Tags = Annotated[dict[str, str], at_most(MAX_TAGS, "tags")]


def for_example(**fields: JsonValue) -> ConfigDict:
    """Return what shows an example of a model in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Sent(BaseModel):
    """What a client sends. A name that nobody knows is a mistake, and said to be one."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_names(cls, sent: object) -> object:
        """Refuse more names than anything here has in one sentence: each that nobody knows would be a sentence of its own."""
        if isinstance(sent, dict) and len(sent) > MAX_NAMES:
            raise ValueError(f"there are more than {MAX_NAMES} names here")
        return sent


LISTED_BYTES: Final = 32 * 1024
"""Of one field of one thing in a list."""


def brief(own: dict[str, Any], empty: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields for a list, the longest of them empty.

    Args:
        own: All fields.
        empty: What stands in the place of those that may be long.
    """
    long = [name for name in empty if len(dumps(own[name])) > LISTED_BYTES]
    return {**own, **{name: empty[name] for name in long}, "left_out": long or None}
