"""Shapes of answers of `generateContent`: what came, and what may go back (the same, where nothing is said)."""

from __future__ import annotations

from typing import Any

Part = dict[str, Any]


def signed(part: Part, signature: str = "c2ln") -> Part:
    return {**part, "thoughtSignature": signature}


def text(words: str) -> Part:
    return {"text": words}


def call(call_id: str, name: str = "look", /, **arguments: Any) -> Part:
    return {"functionCall": {"name": name, "args": arguments, "id": call_id}}


THOUGHT: Part = {"text": "hm", "thought": True}
CODE: Part = {"executableCode": {"language": "PYTHON", "code": "print(4)"}}
RAN: Part = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "4\n"}}
ASKED: Part = {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["Köln"]}, "id": "g1"}}
FOUND: Part = {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "response": {"hits": []}, "id": "g1"}}
IMAGE: Part = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
FILE: Part = {"fileData": {"mimeType": "image/png", "fileUri": "https://f.example/1"}}
DRAFT: Part = {**IMAGE, "thought": True}

SHAPES: dict[str, list[Part] | tuple[list[Part], list[Part]]] = {
    "a text": [text("Yes.")],
    "a signed text": [signed(text("Yes."))],
    "two signed texts": [signed(text("One."), "YQ=="), signed(text("Two."), "Yg==")],
    "a text and a signed one": [text("One."), signed(text("Two."))],
    "a signed text and another": [signed(text("One.")), text("Two.")],
    "a signature alone": [signed(text(""))],
    "thoughts": ([THOUGHT, text("Yes.")], [text("Yes.")]),
    "thoughts alone": ([THOUGHT], []),
    "signed thoughts": [signed(THOUGHT), text("Yes.")],
    "thoughts between": ([text("One."), THOUGHT, signed(text("Two."))], [text("One."), signed(text("Two."))]),
    "a call": [signed(call("c1", city="Köln"))],
    "a call without arguments": [signed(call("c1"))],
    "two calls, the first signed": [signed(call("c1", a=1)), call("c2", b=2)],
    "two signed calls": [signed(call("c1"), "YQ=="), signed(call("c2"), "Yg==")],
    "text and a call": [text("I look."), signed(call("c1"))],
    "a call and then text": [signed(call("c1")), text("That is it.")],
    "text between calls": [signed(call("c1")), text("And:"), call("c2")],
    "a signed text and a call": [signed(text("I look."), "YQ=="), signed(call("c1"), "Yg==")],
    "thoughts and a call": ([THOUGHT, signed(call("c1"))], [signed(call("c1"))]),
    "a name that no vendor takes": (
        [signed(call("c1", "functions.exec"))],
        [signed(call("c1", "functions_exec"))],
    ),
    "a deep call": [signed(call("c1", a={"b": [1, None, {"c": "ü"}]}))],
    "code": [CODE, RAN, text("4.")],
    "signed code": [signed(CODE, "YQ=="), signed(RAN, "Yg=="), text("4.")],
    "code behind text": [text("I compute."), signed(CODE), RAN, text("4.")],
    "code and a call": [CODE, RAN, signed(call("c1"))],
    "code twice": [CODE, RAN, CODE, RAN, text("4.")],
    "code alone": [CODE],
    "a search": [ASKED, FOUND, text("Rhine.")],
    "a signed search": [signed(ASKED, "YQ=="), signed(FOUND, "Yg=="), text("Rhine.")],
    "a search and a call": [signed(ASKED), FOUND, signed(call("c1"))],
    "an image": [IMAGE],
    "a signed image": [signed(IMAGE)],
    "text and an image": [text("Here:"), signed(IMAGE)],
    "an image and text": [signed(IMAGE), text("There.")],
    "two images": [signed(IMAGE, "YQ=="), text("and"), signed(IMAGE, "Yg==")],
    "a sketch among the thoughts": [signed(DRAFT), signed(IMAGE)],
    "an image by address": [FILE, text("There.")],
    "sound": [{"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}],
    "an image that has a name": [
        {"inlineData": {"mimeType": "image/png", "data": "iVBO", "displayName": "a.png"}}
    ],
    "a part nobody knows": [signed({"brandNew": {"deep": [1, None]}}), text("Yes.")],
    "an image and a call": [signed(IMAGE), signed(call("c1"))],
    "everything": [signed(text("a")), CODE, RAN, signed(IMAGE), signed(call("c1")), text("z")],
}


def joined(parts: list[Part]) -> list[Part]:
    """Return parts with neighbouring unsigned texts as one: a stream cuts those anywhere."""
    left: list[Part] = []
    for part in parts:
        plain = set(part) == {"text"}
        if plain and left and set(left[-1]) == {"text"}:
            left[-1] = text(left[-1]["text"] + part["text"])
        else:
            left.append(part)
    return left


def streamed(parts: list[Part], reason: str = "STOP", **end: Any) -> list[dict[str, Any]]:
    """Return the chunks of an answer; unsigned texts come in pieces. The last one has further fields."""
    pieces: list[Part] = []
    for part in parts:
        words = part.get("text")
        cut = (
            [{**part, "text": each} for each in (words[:1], words[1:])]
            if words and len(part) == 1
            else [part]
        )
        pieces += cut
    chunks: list[dict[str, Any]] = [{"candidates": [{"content": {"parts": [piece]}}]} for piece in pieces]
    return [
        *chunks,
        {"candidates": [{"finishReason": reason, **end}], "usageMetadata": {"promptTokenCount": 1}},
    ]
