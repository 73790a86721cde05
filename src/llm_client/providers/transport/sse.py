"""Server-sent events, parsed incrementally from bytes.

Follows the event stream format of the WHATWG HTML standard, section 9.2.6, with one difference: an event that is
complete but for its last line end is delivered by `close()`, because some servers leave that line end out.
Data stays bytes: a character that was split over two network packets is whole again before anybody decodes it.
"""

from __future__ import annotations

from typing import NamedTuple

from llm_client.errors import InvalidResponse

MAX_EVENT_BYTES = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One event. Retry times are not kept."""

    event: str
    """Event type; `message` when the server names none."""
    data: bytes
    id: str = ""
    """Its own id; empty when the server gives it none. No model vendor lets a client resume a stream by one, the runtime's service does."""


class SSEParser:
    """Turns pieces of a byte stream into events.

    Args:
        max_event_bytes: Largest event, or unfinished line, that is held in memory.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.delivered = 0
        """Events returned so far."""
        self._limit = max_event_bytes
        self._pieces: list[bytes] = []
        self._pending = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._event = ""
        self._id = ""
        self._first_line = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the events that `chunk` completes. Raises `InvalidResponse` when an event is too large."""
        if self._after_cr and chunk:
            # The line ended with the CR of the last chunk; the LF of a CRLF pair belongs to it.
            self._after_cr = False
            if chunk[0] == 10:
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        head, found, tail = chunk.rpartition(b"\n")
        events: list[ServerSentEvent] = []
        if found:
            if self._pieces:
                head = b"".join((*self._pieces, head))
                self._pieces.clear()
                self._pending = 0
            self._take_lines(head.split(b"\n"), events)
        if tail:
            self._pieces.append(tail)
            self._pending += len(tail)
            self._check_size()
        return events

    def close(self) -> list[ServerSentEvent]:
        """Return what the end of the stream completes: an event without its last line ends."""
        events: list[ServerSentEvent] = []
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self._pending = 0
        self._take_lines([rest, b""] if rest else [b""], events)
        return events

    def _take_lines(self, lines: list[bytes], events: list[ServerSentEvent]) -> None:
        if self._first_line and lines:
            self._first_line = False
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if not line:
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    events.append(ServerSentEvent(self._event or "message", data, self._id))
                    self.delivered += 1
                    self._data.clear()
                    self._data_size = 0
                self._event = self._id = ""
            elif line.startswith(b"data:"):
                self._add_data(line[6:] if line[5:6] == b" " else line[5:])
            elif line[0] != 58:  # a line that starts with a colon is a comment
                self._take_field(line)

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"event":
            self._event = value.removeprefix(b" ").decode("utf-8", "replace")
        elif name == b"id":
            self._id = value.removeprefix(b" ").decode("utf-8", "replace")
        elif name == b"data":
            self._add_data(b"")

    def _add_data(self, value: bytes) -> None:
        self._data.append(value)
        self._data_size += len(value) + 1
        self._check_size()

    def _check_size(self) -> None:
        if self._pending + self._data_size > self._limit:
            raise InvalidResponse(f"the stream holds an event larger than {self._limit} bytes")
