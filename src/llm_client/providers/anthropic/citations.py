"""What a text of Anthropic's Messages API rests on."""

from __future__ import annotations

from collections.abc import Mapping

from llm_client.messages import Citation
from llm_client.providers.stated import index_of, text_of


def read_citation(stated: object) -> Citation | None:
    """Return one of a text's citations, of which it is the passage; `None` for what is none.

    Pages are counted from 1, and the last is left out (Anthropic's guide on citations); `source` is the address of a search result of our own.
    """
    if not isinstance(stated, Mapping):
        return None
    first, behind = index_of(stated.get("start_page_number")), index_of(stated.get("end_page_number"))
    document = stated.get("document_index")
    return Citation(
        url=text_of(stated.get("url")) or text_of(stated.get("source")),
        title=text_of(stated.get("title")) or text_of(stated.get("document_title")),
        quote=text_of(stated.get("cited_text")),
        file_id=text_of(stated.get("file_id")),
        document=index_of(stated.get("search_result_index") if document is None else document),
        pages=None if first is None or behind is None else (first, max(first, behind - 1)),
    )
