"""Shapes of answers of the Responses API: what came, and what may go back (the same, where nothing is said)."""

from __future__ import annotations

from typing import Any

Item = dict[str, Any]


def part(words: str, **fields: Any) -> Item:
    return {"type": "output_text", "text": words, "annotations": [], **fields}


def message(number: int, *parts: Item, **fields: Any) -> Item:
    return {
        "type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": list(parts),
        **fields,
    }  # fmt: skip


def said(words: str) -> Item:
    return {"role": "assistant", "content": words}


def thought(number: int, **fields: Any) -> Item:
    return {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": "gAAA", **fields}


def call(number: int, name: str = "look", arguments: str = "{}", **fields: Any) -> Item:
    return {
        "type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": name, "arguments": arguments,
        **fields,
    }  # fmt: skip


def bare(item: Item) -> Item:
    return {name: value for name, value in item.items() if name != "id"}


REFUSAL: Item = {"type": "refusal", "refusal": "I can't."}
SEARCH: Item = {
    "type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "K", "sources": None}
}  # fmt: skip
CODE: Item = {
    "type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "4", "container_id": "c", "outputs": None
}  # fmt: skip
FILES: Item = {
    "type": "file_search_call",
    "id": "fs_1",
    "status": "completed",
    "queries": ["K"],
    "results": None,
}
IMAGE: Item = {
    "type": "image_generation_call",
    "id": "ig_1",
    "status": "completed",
    "result": "iVBO",
    "revised_prompt": None,
}
DRAWN: Item = {
    **IMAGE,
    "output_format": "webp",
    "size": "1024x1536",
    "quality": "high",
    "revised_prompt": "a cat",
}
FAILED_IMAGE: Item = {**IMAGE, "status": "failed", "result": None, "error": {"message": "no"}}
FILE_CITATION: Item = {"type": "file_citation", "file_id": "file_1", "filename": "a.pdf", "index": 1}
LIKELY: Item = {
    "token": "Yes",
    "logprob": -0.1,
    "bytes": [89],
    "top_logprobs": [{"token": "No", "logprob": -2.5}],
}
CUSTOM: Item = {
    "type": "custom_tool_call",
    "id": "ct_1",
    "call_id": "x",
    "name": "sh",
    "input": "ls",
    "namespace": None,
}
TOOLS: Item = {"type": "tool_search_call", "id": "ts_1", "status": "completed", "arguments": {"q": "a"}}
COMPACTION: Item = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}
CITATION: Item = {
    "type": "url_citation",
    "url": "https://k.example",
    "title": "K",
    "start_index": 0,
    "end_index": 1,
}

SHAPES: dict[str, list[Item] | tuple[list[Item], list[Item]]] = {
    "a text": ([message(1, part("Yes."))], [said("Yes.")]),
    "a text of a phase": [message(1, part("Yes."), phase="final_answer")],
    "two phases": [message(1, part("I look."), phase="commentary"), message(2, part("Yes."), phase="final_answer")],
    "two messages": [message(1, part("One.")), message(2, part("Two."))],
    "a message of two texts": [message(1, part("One."), part("Two."))],
    "a message of two texts behind reasoning": [thought(1), message(1, part("One."), part("Two."))],
    "reasoning": [thought(1), message(1, part("Yes."))],
    "reasoning with a summary": [thought(1, summary=[{"type": "summary_text", "text": "hm"}]), message(1, part("Yes."))],
    "reasoning with a status and nulls": (
        [thought(1, status="completed", content=None), message(1, part("Yes."))],
        [thought(1), message(1, part("Yes."))],
    ),
    "reasoning in the open": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        message(1, part("Yes.")),
    ],
    "reasoning that cannot be read": (
        [{"type": "reasoning", "id": "rs_1", "summary": []}, message(1, part("Yes."))],
        [said("Yes.")],
    ),
    "reasoning that cannot be read before a call": ([{"type": "reasoning", "id": "rs_1", "summary": []}, call(1)], [bare(call(1))]),
    "reasoning alone": ([thought(1)], []),
    "two reasonings alone": ([thought(1), thought(2)], []),
    "two reasonings": [thought(1), thought(2), message(1, part("Yes."))],
    "reasoning at the end": ([thought(1), message(1, part("Yes.")), thought(2)], [thought(1), message(1, part("Yes."))]),
    "reasoning between": [thought(1), message(1, part("I look.")), thought(2), call(1)],
    "a refusal": [message(1, REFUSAL)],
    "reasoning and a refusal": [thought(1), message(1, REFUSAL)],
    "text and a refusal": [message(1, part("Well."), REFUSAL)],
    "a call": ([call(1)], [bare(call(1))]),
    "text and a call": ([message(1, part("I look.")), call(1)], [said("I look."), bare(call(1))]),
    "reasoning and a call": [thought(1), call(1, arguments='{"city":"Köln"}')],
    "reasoning and two calls": [thought(1), call(1), call(2, "list", '{"b":[1,null]}')],
    "reasoning for each call": [thought(1), call(1), thought(2), call(2)],
    "a call and then text": [call(1), message(1, part("That is it."))],
    "text between calls": [call(1), message(1, part("And:")), call(2)],
    "a call of a namespace": [call(1, namespace="crm")],
    "reasoning and a call of a namespace": [thought(1), call(1, namespace="crm")],
    "a name that no vendor takes": ([thought(1), call(1, "functions.exec")], [thought(1), call(1, "functions_exec")]),
    "a search": [SEARCH, message(1, part("Rhine."))],
    "reasoning and a search": [thought(1), SEARCH, message(1, part("Rhine."))],
    "a search and a call": [thought(1), SEARCH, thought(2), call(1)],
    "code": [CODE, message(1, part("4."))],
    "files": [FILES, message(1, part("Rhine."))],
    "an image": [IMAGE],
    "an image and text": [IMAGE, message(1, part("There."))],
    "a picture of a format": [DRAWN],
    "a picture behind reasoning": [thought(1), DRAWN, message(1, part("There."))],
    "a picture and a call": [thought(1), DRAWN, thought(2), call(1)],
    "two pictures": [DRAWN, {**DRAWN, "id": "ig_2", "result": "R0lG"}, message(1, part("There."))],
    "a picture that failed": [FAILED_IMAGE, message(1, part("Sorry."))],
    "a citation of a file": [FILES, message(1, part("K", annotations=[FILE_CITATION]))],
    "how likely its tokens were": ([message(1, part("Yes", logprobs=[LIKELY]))], [said("Yes")]),
    "a custom call": [CUSTOM],
    "a search for tools": [TOOLS, call(1, namespace="crm")],
    "compaction": [COMPACTION, message(1, part("And on."))],
    "citations": [SEARCH, message(1, part("K", annotations=[CITATION]))],
    "citations without a search": [message(1, part("K", annotations=[CITATION]))],
    "an item nobody knows": [{"type": "brand_new", "id": "bn_1", "deep": [1, None]}, message(1, part("Yes."))],
    "everything": [
        thought(1), SEARCH, thought(2), CODE, message(1, part("a"), phase="commentary"), thought(3), call(1, namespace="n"), call(2),
    ],
}  # fmt: skip


def streamed(output: list[Item], last: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of an answer that ends with this response."""
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r", "model": "m"}}]
    for number, item in enumerate(output):
        place = {"output_index": number}
        start = {**item, "content": []} if item["type"] == "message" else item
        start = {**start, "arguments": ""} if item["type"] == "function_call" else start
        events.append({"type": "response.output_item.added", **place, "item": start})
        for index, each in enumerate(item.get("content") or () if item["type"] == "message" else ()):
            kind, words = ("output_text", each["text"]) if "text" in each else ("refusal", each["refusal"])
            deltas = [
                {"type": f"response.{kind}.delta", **place, "content_index": index, "delta": letter}
                for letter in words
            ]
            events += deltas
        if item["type"] == "function_call":
            delta = {"type": "response.function_call_arguments.delta", **place}
            events += [{**delta, "delta": letter} for letter in item["arguments"]]
        events.append({"type": "response.output_item.done", **place, "item": item})
    return [*events, {"type": "response.completed", "response": last}]
