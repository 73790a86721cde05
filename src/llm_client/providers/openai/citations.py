"""What an answer of OpenAI's two APIs, and of the servers that speak them, rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_client.json_text import whole_value
from llm_client.messages import Citation
from llm_client.providers.response import ResponseDraft
from llm_client.providers.stated import index_of, span_of, text_of


def read_annotation(stated: object) -> Citation | None:
    """Return an annotation as a citation; `None` for what is none.

    Chat Completions puts what it says of a page into a field of its own, `url_citation`; OpenRouter adds the page's `content`. A
    `file_citation` has the one place at which it stands (openai-python 3.57, `response_output_text`).
    """
    if not isinstance(stated, Mapping):
        return None
    inner = stated.get("url_citation")
    about = inner if isinstance(inner, Mapping) else stated
    url, file_id = text_of(about.get("url")), text_of(about.get("file_id"))
    if url is None and file_id is None:
        return None
    start, end = span_of(about.get("start_index"), about.get("end_index"))
    if start is None and stated.get("type") == "file_citation":
        start = end = index_of(about.get("index"))
    return Citation(
        start=start,
        end=end,
        url=url,
        title=text_of(about.get("title")) or text_of(about.get("filename")),
        quote=text_of(about.get("content")),
        file_id=file_id,
    )


class StatedSources:
    """What a Chat Completions answer, or its stream, says it rests on.

    Args:
        draft: The answer.
    """

    def __init__(self, draft: ResponseDraft) -> None:
        self._draft = draft
        self._listed: list[Any] = []

    def take(self, payload: Mapping[str, object], message: Mapping[str, object]) -> None:
        """Take what stands beside an answer or a piece of it, and in it.

        Perplexity and xAI list their sources beside the answer, Perplexity again in each piece of a stream: `search_results` with titles, or
        `citations` with addresses alone.
        """
        annotations = message.get("annotations")
        if isinstance(annotations, list):
            self._draft.cite(map(read_annotation, map(whole_value, annotations)), block=False)
        listed = payload.get("search_results") or payload.get("citations")
        if isinstance(listed, list) and listed:
            self._listed = listed

    def end(self) -> None:
        """Put what was listed behind what was cited."""
        self._draft.cite(map(_source, map(whole_value, self._listed)), block=False)
        self._listed = []


def _source(stated: Any) -> Citation | None:
    if isinstance(stated, str):
        return Citation(url=stated) if stated else None
    if not isinstance(stated, Mapping) or (url := text_of(stated.get("url"))) is None:
        return None
    return Citation(url=url, title=text_of(stated.get("title")), quote=text_of(stated.get("snippet")))
