"""What an answer of Google's `generateContent` rests on, and how likely its tokens were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Final

from llm_client.messages import Citation, TokenLogprob
from llm_client.providers.response import MAX_CITATIONS, ResponseDraft, part_of
from llm_client.providers.stated import index_of, span_of, text_of, token_logprob

_KINDS = ("web", "retrievedContext", "maps", "image")
"""Fields of a `GroundingChunk`, one for each kind of source (python-genai 3.6)."""

_STATED = ("groundingMetadata", "citationMetadata")
"""Fields of a candidate that name its sources."""
MAX_STATED: Final = 20 * MAX_CITATIONS
"""Sources and passages of a whole answer that are gone through at its end; what is said of more is left out."""


class Grounding:
    """The sources of an answer or a stream: pages and files, and which passages rest on them.

    A passage is told by its bytes in a part of the answer. Where what stands there is not what the vendor says of it, the source has none.
    """

    def __init__(self) -> None:
        self._stated: list[Mapping[str, object]] = []
        self._room = MAX_STATED

    def take(self, draft: ResponseDraft, candidate: Mapping[str, object]) -> None:
        """Take a candidate, or a piece of one."""
        stated = {name: part for name in _STATED if (part := part_of(candidate, name))}
        if stated:
            self._room -= _weight(stated)
            if self._room >= 0:
                self._stated.append(draft.kept.take(stated))
        draft.say_how_likely(_logprobs(part_of(candidate, "logprobsResult")))

    def end(self, draft: ResponseDraft, starts: Sequence[int] = (0,)) -> None:
        """Put what was taken with the answer.

        Args:
            draft: The answer, whose text is complete.
            starts: Where each of the vendor's parts begins in the text; pieces of a stream are one part.
        """
        told = islice(chain.from_iterable(map(_passages, self._stated)), 2 * MAX_CITATIONS)
        passages = dict.fromkeys(told)  # streams say some of them again
        self._stated = []
        if passages:
            _cite(draft, list(passages), starts)


def _passages(candidate: Mapping[str, object]) -> Iterator[tuple[Any, ...]]:
    """Yield each source with the part, the bytes and the words of a passage; sources without any at the end."""
    grounding = part_of(candidate, "groundingMetadata")
    sources = [_source(chunk) for chunk in _list(grounding, "groundingChunks")]
    used: set[int] = set()
    for support in _list(grounding, "groundingSupports"):
        segment = part_of(support, "segment")
        # A first part or byte is left out, as Google leaves out what is 0.
        start, end = span_of(segment.get("startIndex", 0), segment.get("endIndex"))
        part = index_of(segment.get("partIndex", 0))
        numbers = support.get("groundingChunkIndices")
        for number in numbers if isinstance(numbers, list) else ():
            index = index_of(number)
            if index is not None and index < len(sources) and (source := sources[index]) is not None:
                used.add(index)
                yield source, part, start, end, text_of(segment.get("text"))
    for index, source in enumerate(sources):
        if source is not None and index not in used:
            yield source, None, None, None, None
    recited = part_of(candidate, "citationMetadata")
    for stated in _list(recited, "citations") or _list(recited, "citationSources"):
        if (url := text_of(stated.get("uri"))) is not None:
            start, end = span_of(stated.get("startIndex", 0), stated.get("endIndex"))
            yield Citation(url=url, title=text_of(stated.get("title"))), 0, start, end, None


def _source(chunk: Mapping[str, Any]) -> Citation | None:
    about: Mapping[str, Any] = next(filter(None, (part_of(chunk, kind) for kind in _KINDS)), {})
    page = index_of(about.get("pageNumber"))
    url = text_of(about.get("uri")) or text_of(about.get("sourceUri"))
    title = text_of(about.get("title"))
    if url is None and title is None:
        return None
    return Citation(
        url=url,
        title=title,
        quote=text_of(about.get("text")),
        file_id=text_of(about.get("documentName")),
        pages=None if page is None else (page, page),
    )


def _cite(draft: ResponseDraft, passages: Sequence[tuple[Any, ...]], starts: Sequence[int]) -> None:
    text = draft.text
    asked: dict[int, set[int]] = {}
    for _, part, start, end, _ in passages:
        if part is not None and part < len(starts) and start is not None:
            asked.setdefault(part, set()).update((start, end))
    shifts = {
        (part, byte): shift
        for part, bytes_ in asked.items()
        for byte, shift in _characters(text, starts, part, sorted(bytes_))
    }
    for source, part, start, end, words in passages:
        begin, behind = shifts.get((part, start)), shifts.get((part, end))
        known = begin is not None and behind is not None and _stands(text, begin, behind, words)
        draft.cite([replace(source, start=begin, end=behind) if known else source], block=False)


def _stands(text: str, begin: int, end: int, words: str | None) -> bool:
    """Whether words stand where they are said to, if the vendor names them."""
    return words is None or (end - begin == len(words) and text.startswith(words, begin))


def _characters(
    text: str, starts: Sequence[int], part: int, asked: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Yield bytes of a part with the characters of the whole text that they begin, in one walk through the part."""
    begin = starts[part]
    end = starts[part + 1] if part + 1 < len(starts) else len(text)
    written = text[begin:end].encode("utf-8", "replace")
    counted, behind = begin, 0
    for byte in asked:
        counted += len(written[behind:byte].decode("utf-8", "ignore"))
        behind = byte
        yield byte, counted


def _logprobs(stated: Mapping[str, object]) -> Iterator[TokenLogprob | None]:
    tops = _list(stated, "topCandidates")
    for number, chosen in enumerate(_list(stated, "chosenCandidates")):
        others = _list(tops[number], "candidates") if number < len(tops) else ()
        yield token_logprob(
            chosen.get("token"),
            chosen.get("logProbability"),
            ((other.get("token"), other.get("logProbability")) for other in others),
        )


def _weight(candidate: Mapping[str, object]) -> int:
    """Return how much a candidate says of its sources."""
    grounding, recited = part_of(candidate, "groundingMetadata"), part_of(candidate, "citationMetadata")
    stated = (grounding.get("groundingChunks"), grounding.get("groundingSupports"), *recited.values())
    lists = [entries for entries in stated if isinstance(entries, list)]
    numbers = (support.get("groundingChunkIndices") for support in _list(grounding, "groundingSupports"))
    return sum(map(len, lists)) + sum(len(one) for one in numbers if isinstance(one, list))


def _list(stated: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list; none where there is no list. What is no object keeps its place, as an empty one."""
    entries = stated.get(name)
    return (
        [entry if isinstance(entry, Mapping) else {} for entry in entries]
        if isinstance(entries, list)
        else []
    )
