"""The port to a vendor's format: a request in, an answer out, no I/O in between.

A wire format is pure: it turns values into JSON and JSON into values, so every one of them is tested without a
network, and one provider class does the sending for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from llm_client.errors import InvalidResponse, ProviderError
from llm_client.json_text import JsonValue
from llm_client.messages import CompletionResult, StreamEvent
from llm_client.providers.failures import Origin, failure_of_event
from llm_client.providers.response import ResponseDraft
from llm_client.spec import RequestSpec
from llm_client.usage import Usage

UNREADABLE: Final = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


class StreamReader(ABC):
    """Reads one streamed answer, event by event.

    Args:
        origin: Who was asked.
        request_id: The vendor's id of the request, if a header gave it.
    """

    def __init__(self, origin: Origin, request_id: str | None) -> None:
        self.draft = ResponseDraft(provider=origin.provider, model=origin.model, request_id=request_id)
        """What has arrived."""
        self.complete = False
        """Whether the vendor's end marker has been seen."""
        self.size = 0
        """Bytes of the stream so far."""
        self.usage_is_final = True
        """Whether nothing of the answer has come after the usage in the draft."""
        self._origin = origin

    @abstractmethod
    def read(self, payload: object) -> list[StreamEvent]:
        """Take the JSON of one event. Raises `ProviderError` when it reports a failure; unknown events give nothing."""

    def failure(self, payload: object, *, usage: bool) -> ProviderError:
        """Return what an error event means, with the draft's usage if the event itself states it."""
        failure = failure_of_event(payload, self._origin, request_id=self.draft.request_id)
        if usage and self.draft.usage is not None and not self.draft.usage.is_nothing:
            failure.usage = self.draft.usage
        return failure

    def read_done_mark(self) -> list[StreamEvent]:
        """Take the literal `[DONE]`, which ends some vendors' streams, and which proxies add to others'."""
        return []

    def end(self) -> list[StreamEvent]:
        """Learn that nothing more comes; return what that tells of the answer."""
        return []

    def may_end(self) -> bool:
        """Whether the stream may end here without its marker, because nothing can be missing any more."""
        return self.complete

    def result(self, *, partial: bool = False) -> CompletionResult:
        """Return the whole answer, or what has arrived of it."""
        return self.draft.result(partial=partial)


class WireFormat(Protocol):
    """One vendor API's way to write requests and answers."""

    def path(self, model: str, *, stream: bool) -> str:
        """Return what follows the base URL."""
        ...

    def encode(self, spec: RequestSpec, model: str, *, stream: bool) -> dict[str, JsonValue]:
        """Return the request's body. Raises `ConfigurationError` for what the API cannot express."""
        ...

    def decode(self, payload: object, origin: Origin, request_id: str | None) -> CompletionResult:
        """Read a whole answer.

        Raises:
            ProviderError: The answer reports a failure. A `LookupError`, `TypeError`, `ValueError` or
                `AttributeError` means that it does not have the promised form.
        """
        ...

    def usage(self, payload: object) -> Usage:
        """Read what a body says was used, be it an answer or a failure. Raises like `decode`."""
        ...

    def reader(self, origin: Origin, request_id: str | None) -> StreamReader:
        """Return the reader of a new stream."""
        ...


@contextmanager
def readable(origin: Origin, request_id: str | None = None) -> Iterator[None]:
    """Turn a failed reading of a vendor's JSON into `InvalidResponse`."""
    try:
        yield
    except UNREADABLE as error:
        raise unreadable(origin, error, request_id) from error


def unreadable(origin: Origin, error: Exception, request_id: str | None) -> InvalidResponse:
    """Return what an answer is that nobody can read."""
    return InvalidResponse(
        f"{origin.provider} answered 200 in a form this client does not know: {type(error).__name__}: {error}",
        status=200,
        provider=origin.provider,
        model=origin.model,
        request_id=request_id,
    )
