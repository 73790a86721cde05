"""A turn of the Responses API, taken apart into a message and put together again.

OpenAI pairs each reasoning item with the item that followed it, by their ids and their order, and refuses a history in
which one of them is missing: the reasoning without its follower, or what followed without its reasoning. So each reasoning
remembers what followed it, each text and call the item it was part of, and everything the reasoning that it stood behind.
If the turn has been changed since, it goes back without reasoning and ids instead, and without what OpenAI's own tools have
done behind reasoning, which is nothing without an id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llm_client.json_text import JsonValue, dumps
from llm_client.messages import MediaPart, Message, ReasoningPart, RefusalPart, TextPart, ToolCall
from llm_client.providers.openai.citations import read_annotation
from llm_client.providers.openai.logprobs import read_logprobs
from llm_client.providers.response import ResponseDraft, object_in
from llm_client.providers.turn_order import PlacedCall, blocks_of, tool_name

_REASONING: Final = frozenset({"reasoning"})
_PICTURE: Final = "image_generation_call"
_SERVER_CALLS: Final = ("web_search_call", "file_search_call", "code_interpreter_call", _PICTURE)
_PICTURES: Final = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}
"""The formats in which pictures are drawn (openai-python 3.57, `ImageGenerationCall`)."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
BEHIND: Final = "behind"
"""Under which a part keeps the id of the reasoning that it came behind."""
_Item = tuple[dict[str, Any], Mapping[str, Any]]


def read_items(draft: ResponseDraft, output: Sequence[Mapping[str, Any]], ids: Mapping[int, str]) -> None:
    """Take the items of a response.

    Args:
        draft: What they are added to.
        output: The items.
        ids: Ids of calls that have none in the response, by the number of their item.
    """
    plain = _is_plain(output)
    said = _size(output)
    behind: dict[str, object] = {}
    for number, item in enumerate(output):
        kind = item.get("type")
        if kind == "message":
            _read_message(draft, number, item, behind, plain=plain)
        elif kind == "function_call":
            draft.open_call(number, item.get("call_id") or ids.get(number, ""), item["name"])
            draft.set_arguments(number, item.get("arguments"))
            if not plain:
                about = _others(item, "type", "call_id", "name", "arguments", "status")
                draft.keep_with_call(number, {"item": about, **behind})
            draft.close_call(number)
        else:
            following = output[number + 1] if number + 1 < len(output) else {}
            about = (
                {"following": following.get("id"), "said": said} if kind in _REASONING and said else behind
            )
            draft.add_part(item_part(item, draft.provider, about))
            behind = {BEHIND: item.get("id")} if kind in _REASONING else behind


def _read_message(
    draft: ResponseDraft, number: int, item: Mapping[str, Any], behind: Mapping[str, object], *, plain: bool
) -> None:
    about = _others(item, "type", "content", "role", "status")
    for place, part in enumerate(item.get("content") or ()):
        kind, key = part.get("type"), (number, place)
        if kind == "output_text":
            others = _others(part, "type", "text", "logprobs")
            draft.begin(
                "text", key, **({} if plain else {"item": about, "number": number, **behind} | others)
            )
            draft.add_text(part.get("text") or "", key)
            if isinstance(part.get("annotations"), list):
                draft.cite(map(read_annotation, part["annotations"]), key)
            read_logprobs(draft, part.get("logprobs"))
        elif kind == "refusal":
            draft.begin("refusal", key, item=about, number=number, **behind)
            draft.add_refusal(part["refusal"], key)


def _size(output: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return how much text and how many calls a response holds, so that a turn that was changed is known."""
    parts = [part for item in output if item.get("type") == "message" for part in item.get("content") or ()]
    texts = [part.get("text") or "" for part in parts if part.get("type") == "output_text"]
    return [sum(map(len, texts)), sum(item.get("type") == "function_call" for item in output)]


def _is_plain(output: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one text and calls are all that a response says, so that nothing depends on ids."""
    kinds = [item.get("type") for item in output]
    return (
        not set(kinds) - {"message", "function_call"}
        and kinds.count("message") <= 1
        and all(len(item.get("content") or ()) <= 1 for item in output)
        and "message" not in kinds[1:]
        and not any(
            _others(item, "type", "id", "content", "role", "status", "call_id", "name", "arguments")
            for item in output
        )
        and all(
            part.get("type") == "output_text" and not part.get("annotations")
            for item in output
            if item.get("type") == "message"
            for part in item.get("content") or ()
        )
    )


def item_part(item: object, provider: str, about: Mapping[str, object]) -> MediaPart | ReasoningPart:
    """Carry an item that is neither text nor a function call: reasoning, a picture, or the work of a built-in tool.

    Args:
        item: As it came.
        provider: Vendor name.
        about: What it knows of its turn.
    """
    item = object_in(item)
    if item.get("type") == _PICTURE and item.get("result") and isinstance(item["result"], str):
        return _picture(item, provider, about)
    is_reasoning = item.get("type") in _REASONING
    # The API gives reasoning a `status` and empty fields, and refuses to take some of them back.
    block = _others(item, "status") if is_reasoning else dict(item)
    return ReasoningPart(provider=provider, text=thought_of(item), data={"item": block, **about})


def thought_of(item: Mapping[str, Any]) -> str:
    """Return the words of a reasoning item; of any other, there are none."""
    is_reasoning = item.get("type") in _REASONING
    pieces = (item.get("summary") or item.get("content") or ()) if is_reasoning else ()
    return "\n\n".join(piece.get("text", "") for piece in pieces if isinstance(piece, Mapping))


def server_call(item: Mapping[str, Any]) -> tuple[str | None, object]:
    """Return which of OpenAI's tools an item is a call of, and its arguments as far as they are said; no name for any other item."""
    kind = item.get("type")
    if kind == "mcp_call":
        return item.get("name"), item.get("arguments")
    if kind not in _SERVER_CALLS:
        return None, None
    told = item.get("action")
    if not isinstance(told, Mapping):
        told = {name: item[name] for name in ("queries", "code") if item.get(name)}
    return str(kind).removesuffix("_call"), dict(told)


def _picture(item: Mapping[str, Any], provider: str, about: Mapping[str, object]) -> MediaPart:
    """Return a picture that was drawn; beside its data goes back what else the item says."""
    drawn = item.get("output_format")
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(item.get("size")))
    return MediaPart(
        media_type=_PICTURES.get(drawn, "image/png") if isinstance(drawn, str) else "image/png",
        data=item["result"],
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        provider=provider,
        vendor_data={"item": {name: value for name, value in item.items() if name != "result"}, **about},
    )


def turn_items(message: Message, provider: str) -> list[dict[str, JsonValue]]:
    """Return an assistant message as input items, with its reasoning if the turn is still what it was."""
    items = _items(message, provider)
    said = [len(message.text), len(message.tool_calls)]
    while items and items[-1][0].get("type") in _REASONING:
        items.pop()  # nothing has followed it
    if all(_is_followed(items, number, said) for number in range(len(items))) and _is_led(items):
        return [item for item, _ in items]
    plain: list[dict[str, JsonValue]] = []
    has_thought = False
    for item, about in items:
        has_thought = has_thought or item.get("type") in _REASONING or about.get(BEHIND) is not None
        if _stands_alone(item) or not has_thought:
            plain.append(_plain_item(item))
    return plain


def call_item(call: ToolCall) -> dict[str, JsonValue]:
    """Return a tool call as an input item."""
    arguments = dumps(call.arguments).decode()
    return {"type": "function_call", "call_id": call.id, "name": tool_name(call.name), "arguments": arguments}


def _items(message: Message, provider: str) -> list[_Item]:
    """Return the items of a turn, and what each reasoning knows of its turn."""
    items: list[_Item] = []
    open_number: int | None = None
    for block in blocks_of(message, provider):
        if isinstance(block, TextPart | RefusalPart):
            number, about = block.data.get("number"), _item_of(block.data)
            content = _content(block)
            if number is not None and number == open_number:
                items[-1][0]["content"].append(content)
            elif number is not None and about.get("id"):
                ours = {"type": "message", "role": "assistant", "status": "completed", "content": [content]}
                items.append(({**about, **ours}, block.data))
            elif block.text:
                phase = {name: about[name] for name in ("phase",) if name in about}
                items.append(({**phase, "role": "assistant", "content": block.text}, {}))
                number = None
            open_number = number
            continue
        open_number = None
        if isinstance(block, PlacedCall):
            items.append(({**_item_of(block.data), **call_item(block.call)}, block.data))
        elif isinstance(block, ReasoningPart):
            if "item" in block.data:
                items.append((block.data["item"], block.data))
        elif isinstance(
            block.vendor_data.get("item"), dict
        ):  # other media have no place in a model's turns here
            items.append(({**block.vendor_data["item"], "result": block.data}, block.vendor_data))
    return items


def _content(block: TextPart | RefusalPart) -> dict[str, Any]:
    if isinstance(block, RefusalPart):
        return {"type": "refusal", "refusal": block.text}
    others = {name: value for name, value in block.data.items() if name not in ("item", "number", BEHIND)}
    return {"annotations": [], **others, "type": "output_text", "text": block.text}


def _item_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an item said beside the text or the call in it."""
    item = data.get("item")
    return item if isinstance(item, Mapping) else {}


def _is_followed(items: Sequence[_Item], number: int, said: list[int]) -> bool:
    """Whether a reasoning item stands before what it stood before, and can be read by OpenAI; others always do."""
    item, about = items[number]
    if item.get("type") not in _REASONING:
        return True
    readable = bool(item.get("encrypted_content") or item.get("content"))
    following = about.get("following")
    return (
        readable
        and about.get("said") in (None, said)
        and (following is None or items[number + 1][0].get("id") == following)
    )


def _is_led(items: Sequence[_Item]) -> bool:
    """Whether everything that has an id stands behind the reasoning that it came behind, and the id is one that is taken back.

    Gateways give ids of some hundred letters, which their own interface then refuses.
    """
    last: object = None
    for item, about in items:
        if "id" in item and not (isinstance(item["id"], str) and _ID.fullmatch(item["id"])):
            return False
        if item.get("type") in _REASONING:
            last = item.get("id")
        elif "id" in item and about.get(BEHIND) not in (None, last):
            return False
    return True


def _stands_alone(item: Mapping[str, Any]) -> bool:
    """Whether an item is something without the reasoning before it, and without an id."""
    return item.get("role") is not None or item.get("type") in ("function_call", "compaction")


def _plain_item(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item without the id that binds it to its reasoning."""
    if item.get("type") == "message":
        text = "".join(part.get("text") or part.get("refusal") or "" for part in item["content"])
        return {"role": "assistant", "content": text} | {
            name: item[name] for name in ("phase",) if name in item
        }
    if item.get("type") == "function_call":
        return {name: value for name, value in item.items() if name != "id"}
    return item


def _others(item: Mapping[str, Any], *known: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in known and value is not None}
