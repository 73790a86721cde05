"""What a `TypedDict` says of its fields counts, also where annotations are texts."""

from __future__ import annotations

from typing import NotRequired, Required, TypedDict

from pydantic import TypeAdapter

from agent_runtime.execution.operations.annotations import readable


class Parcel(TypedDict):
    to: str
    grams: NotRequired[int]


class Note(TypedDict, total=False):
    text: Required[str]
    by: str


def test_a_field_is_required_as_its_annotation_says() -> None:
    parcel, note = (TypeAdapter(readable(kind)).json_schema() for kind in (Parcel, Note))

    assert (parcel["required"], set(parcel["properties"])) == (["to"], {"to", "grams"})
    assert note["required"] == ["text"]
