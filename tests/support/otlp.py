"""A receiver of OTLP over HTTP in this process, and what it has received."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A span as it has arrived."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: tuple[str, ...]
    links: tuple[str, ...]
    failed: bool
    resource: dict[str, Any] = field(compare=False)
    """Who has told of it."""

    @property
    def job_id(self) -> str:
        return str(self.attributes["agent.job.id"])

    @property
    def what(self) -> tuple[str, str, str, str, str]:
        """What of it is the same however often processes have died on the way."""
        operation = str(self.attributes.get("agent.operation.id", ""))
        return self.trace_id, self.span_id, self.parent_id, self.name, operation


@dataclass(slots=True)
class Receiver:
    """What was received, and how the receiver behaves."""

    endpoint: str
    spans: list[Received] = field(default_factory=list)
    requests: int = 0
    refuses: int = 0
    """So many requests are answered with 400, which no exporter repeats."""
    away: bool = False
    """Whether requests are answered with 503."""
    hangs: threading.Event | None = None
    """Until it is set nothing is answered."""
    largest: int = 0
    """Bytes of the largest request."""

    def by_id(self) -> dict[str, Received]:
        """Return the spans, each once; what came twice is the same twice."""
        found: dict[str, Received] = {}
        for span in self.spans:
            assert found.setdefault(span.span_id, span) == span
        return found

    def of_job(self, job_id: str) -> list[Received]:
        return [span for span in self.by_id().values() if span.job_id == job_id]

    def take(self, body: bytes) -> int:
        """Take a request; return the status of the answer."""
        self.requests += 1
        self.largest = max(self.largest, len(body))
        if self.hangs is not None:
            self.hangs.wait(60)
        if self.away:
            return 503
        if self.refuses:
            self.refuses -= 1
            return 400
        self.spans += decoded(body)
        return 200


def decoded(body: bytes) -> Iterator[Received]:
    """Yield the spans of a request."""
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    for resource in request.resource_spans:
        about = {one.key: _value(one.value) for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                assert len(span.trace_id) == 16
                assert len(span.span_id) == 8
                yield Received(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes={one.key: _value(one.value) for one in span.attributes},
                    events=tuple(event.name for event in span.events),
                    links=tuple(link.span_id.hex() for link in span.links),
                    failed=span.status.code == 2,
                    resource=about,
                )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return None if kind is None else getattr(value, kind)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = found.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            pass  # whoever has sent it was killed

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Receiver(f"http://127.0.0.1:{server.server_address[1]}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        if found.hangs is not None:
            found.hangs.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
