"""Shapes of answers of the Messages API: what came, and what may go back (the same, where nothing is said)."""

from __future__ import annotations

from typing import Any

Block = dict[str, Any]


def text(words: str, **fields: Any) -> Block:
    return {"type": "text", "text": words, **fields}


def thinking(words: str, signature: str = "c2ln") -> Block:
    return {"type": "thinking", "thinking": words, "signature": signature}


def use(call_id: str, name: str = "look", /, **arguments: Any) -> Block:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


REDACTED: Block = {"type": "redacted_thinking", "data": "EmwKAh"}
SEARCH: Block = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "Köln"}}
FOUND: Block = {
    "type": "web_search_tool_result",
    "tool_use_id": "srv_1",
    "content": [
        {"type": "web_search_result", "url": "https://k.example", "title": "K", "encrypted_content": "x"}
    ],
}
FAILED_SEARCH: Block = {
    "type": "web_search_tool_result",
    "tool_use_id": "srv_1",
    "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
}
CODE: Block = {
    "type": "server_tool_use",
    "id": "srv_2",
    "name": "code_execution",
    "input": {"code": "print(4)"},
    "caller": {"type": "direct"},
}
RAN: Block = {
    "type": "code_execution_tool_result",
    "tool_use_id": "srv_2",
    "content": {
        "type": "code_execution_result",
        "stdout": "4\n",
        "stderr": "",
        "return_code": 0,
        "content": [],
    },
}
MCP: Block = {"type": "mcp_tool_use", "id": "mcp_1", "name": "q", "server_name": "s", "input": {}}
MCP_RESULT: Block = {
    "type": "mcp_tool_result",
    "tool_use_id": "mcp_1",
    "is_error": False,
    "content": [text("r")],
}
COMPACTION: Block = {"type": "compaction", "content": "What was said so far."}
CITED = text(
    "Köln lies on the Rhine.",
    citations=[{"type": "web_search_result_location", "url": "https://k.example", "cited_text": "Rhine"}],
)
PAGES = text(
    "It rains.",
    citations=[
        {
            "type": "page_location", "cited_text": "Rain.", "document_index": 0, "document_title": "W", "file_id": None,
            "start_page_number": 2, "end_page_number": 4,
        },
        {"type": "char_location", "cited_text": "Wet.", "document_index": 1, "start_char_index": 0, "end_char_index": 4},
    ],
)  # fmt: skip
BASH: Block = {
    "type": "bash_code_execution_tool_result",
    "tool_use_id": "srv_2",
    "content": {
        "type": "bash_code_execution_result", "stdout": "", "stderr": "", "return_code": 0,
        "content": [{"type": "bash_code_execution_output", "file_id": "file_9"}],
    },
}  # fmt: skip

SHAPES: dict[str, list[Block] | tuple[list[Block], list[Block]]] = {
    "a text": [text("Yes.")],
    "two texts": [text("Yes. "), text("No.")],
    "an empty text before another": ([text(""), text("Yes.")], [text("Yes.")]),
    "a blank text before thinking": (
        [text("\n\n"), thinking("2+2"), text("It is 4.")],
        [thinking("2+2"), text("It is 4.")],
    ),
    "a blank text at the end": ([text("Yes."), text(" ")], [text("Yes.")]),
    "a blank text before a call": ([text("\n"), use("t1")], [use("t1")]),
    "blank texts alone": ([text("\n\n"), text(" \t")], []),
    "thinking and text": [thinking("hm"), text("Yes.")],
    "thinking without words": [thinking(""), text("Yes.")],
    "redacted thinking": [REDACTED, text("Yes.")],
    "two kinds of thinking": [thinking("hm"), REDACTED, text("Yes.")],
    "thinking alone": ([thinking("hm")], []),
    "redacted thinking alone": ([REDACTED], []),
    "thinking that was cut": ([thinking("hm", "")], []),
    "text and then thinking": ([text("Yes."), thinking("hm")], [text("Yes.")]),
    "thinking, text, thinking": ([thinking("a"), text("Yes."), thinking("b")], [thinking("a"), text("Yes.")]),
    "thinking between texts": [text("One."), thinking("hm"), text("Two.")],
    "a call": [use("t1", city="Köln")],
    "a call without arguments": [use("t1")],
    "text and a call": [text("Let me look."), use("t1", a=1)],
    "a call and then text": [use("t1", a=1), text("That was it.")],
    "two calls": [use("t1", a=1), use("t2", "list", b=[1, {"c": None}])],
    "text between calls": [use("t1"), text("And:"), use("t2")],
    "thinking between calls": [thinking("a"), use("t1"), thinking("b"), use("t2")],
    "thinking before a call": [thinking("a"), use("t1")],
    "a call whose caller is named": [{**use("t1"), "caller": {"type": "code_execution", "tool_id": "srv_2"}}],
    "a name that no vendor takes": (
        [use("t1", "functions.exec"), use("t2", "x<|channel|>y"), use("t3", "a b")],
        [use("t1", "functions_exec"), use("t2", "x_channel_y"), use("t3", "a_b")],
    ),
    "one id twice": ([use("t1", a=1), use("t1", a=2)], [use("t1", a=1), use("t1-2", a=2)]),
    "an answer behind its search": [text("I look."), SEARCH, FOUND, text("Rhine.")],
    "a search, thinking and a call": [
        thinking("a"), text("I look."), SEARCH, FOUND, text("Rhine."), thinking("b"), use("t1"),
    ],
    "a search in front": [SEARCH, FOUND, text("Rhine.")],
    "a search that failed": [SEARCH, FAILED_SEARCH, text("No luck.")],
    "a search that was cut": ([text("I look."), SEARCH], [text("I look.")]),
    "two searches": [SEARCH, FOUND, {**SEARCH, "id": "srv_9"}, {**FOUND, "tool_use_id": "srv_9"}, text("Yes.")],
    "code": [text("I compute."), CODE, RAN, text("4.")],
    "code and a call": [CODE, RAN, use("t1")],
    "a search and thinking at the end": ([SEARCH, FOUND, text("x"), thinking("b")], [SEARCH, FOUND, text("x")]),
    "a foreign server": [MCP, MCP_RESULT, text("r.")],
    "compaction": [COMPACTION, text("And on.")],
    "compaction and a call": [COMPACTION, thinking("a"), text("And on."), use("t1")],
    "citations": [SEARCH, FOUND, CITED, text(" That is all.")],
    "citations of documents": [text("Well: "), PAGES, text(" Take care.")],
    "code that made a file": [CODE, BASH, text("There.")],
    "a block nobody knows": [{"type": "brand_new", "value": {"deep": [1, None]}}, text("Yes.")],
    "a picture of letters": [text("Grüße 🎉 你好"), use("t1", city="Łódź 🎉")],
}  # fmt: skip


def streamed(blocks: list[Block], stop_reason: str) -> list[dict[str, Any]]:
    """Return the events of an answer; every text comes in pieces."""
    start = {
        "type": "message_start",
        "message": {"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 1}},
    }
    events: list[dict[str, Any]] = [start, {"type": "ping"}]
    for index, block in enumerate(blocks):
        begun, deltas = _pieces(block)
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append(
        {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": {"output_tokens": 1}}
    )
    return [*events, {"type": "message_stop"}]


def _pieces(block: Block) -> tuple[Block, list[dict[str, Any]]]:
    import json

    kind = block["type"]
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": each} for each in block.get("citations", ())]
        said = [{"type": "text_delta", "text": piece} for piece in halves(block["text"])]
        return {"type": "text", "text": ""} | ({"citations": []} if cited else {}), [*cited, *said]
    if kind == "thinking":
        thought = [{"type": "thinking_delta", "thinking": piece} for piece in halves(block["thinking"])]
        signed = [{"type": "signature_delta", "signature": block["signature"]}] if block["signature"] else []
        return {**block, "thinking": "", "signature": ""}, [*thought, *signed]
    if kind == "compaction":
        pieces = [{"type": "compaction_delta", "content": piece} for piece in halves(block["content"])]
        return {**block, "content": None}, pieces
    if "input" in block:
        written = json.dumps(block["input"])
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *halves(written))]
        return {**block, "input": {}}, deltas
    return block, []


def halves(words: str) -> list[str]:
    """Return a text in two pieces, none where there is none."""
    middle = len(words) // 2
    return [piece for piece in (words[:middle], words[middle:]) if piece]
