"""Recording a provider's answers to a file, and giving them again without it."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson

from llm_client import errors
from llm_client.codec import (
    dump_event,
    dump_result,
    dump_spec,
    dump_usage,
    load_event,
    load_result,
    load_usage,
)
from llm_client.engine.keys import digest_of
from llm_client.engine.streams import closing
from llm_client.errors import ConfigurationError, ProviderError, ScriptExhausted
from llm_client.json_text import dumps, exact
from llm_client.messages import CompletionResult, Embeddings, StreamEvent
from llm_client.private_files import make_private
from llm_client.providers.base import Provider
from llm_client.redaction import Redactor
from llm_client.spec import RequestContext, RequestSpec

RecordMode = Literal["auto", "record", "replay"]
FORMAT = 1
_MAX_HEAD = 64 * 1024
_ERROR_FIELDS = ("status", "request_id", "retry_after", "vendor_code")


class RecordedProvider:
    """A provider whose answers are kept in a file, one JSON object a line.

    Secrets are redacted before anything is written. An answer is found by its request; equal requests get their answers in
    the order of the recording, and the last one again and again. The file is read when the provider is made; on an event
    loop use `open`.

    Args:
        path: The file.
        provider: Who answers while recording; not needed to replay.
        mode: `record` asks the provider and writes; `replay` only reads; `auto` replays what is there and records the rest.
        redactor: What is taken out.

    Raises:
        ConfigurationError: The file cannot be read, there is nobody to record, or the file that would be written anew is no
            recording.
    """

    def __init__(
        self,
        path: str | Path,
        provider: Provider | None = None,
        *,
        mode: RecordMode = "auto",
        redactor: Redactor | None = None,
    ) -> None:
        self._path = Path(path)
        self._inner = provider
        self._mode = mode
        self._redactor = redactor or Redactor()
        self._writing = asyncio.Lock()
        self._name, self._model = (
            (provider.name, provider.model) if provider is not None else ("recorded", "recorded")
        )
        self._answers: defaultdict[str, deque[dict[str, Any]]] = defaultdict(deque)
        if self._path.is_symlink() and not self._path.exists():
            raise ConfigurationError(f"{self._path} is a link that leads nowhere, and is not written through")
        if mode == "record":
            _discard(self._path)
        elif self._path.exists():
            self._read()
        elif mode == "replay":
            raise ConfigurationError(f"there is no recording at {self._path}")
        if provider is None and mode != "replay":
            raise ConfigurationError("recording needs a provider")

    @classmethod
    async def open(
        cls,
        path: str | Path,
        provider: Provider | None = None,
        *,
        mode: RecordMode = "auto",
        redactor: Redactor | None = None,
    ) -> RecordedProvider:
        """Make a recorded provider without blocking the event loop; the arguments are those of the class."""
        return await asyncio.to_thread(cls, path, provider, mode=mode, redactor=redactor)

    @property
    def name(self) -> str:
        """Name of the provider that was recorded."""
        return self._name

    @property
    def model(self) -> str:
        """Model that was recorded."""
        return self._model

    async def complete(self, spec: RequestSpec, context: RequestContext) -> CompletionResult:
        """Return the recorded answer, or ask for it and record it."""
        key = self._key("complete", spec)
        known = self._take(key)
        if known is not None:
            return load_result(self._answer(known))
        inner = self._recordable()
        try:
            result = await inner.complete(spec, context)
        except ProviderError as error:
            await self._write(key, spec, error=_dump_error(error))
            raise
        await self._write(key, spec, answer=dump_result(result))
        return result

    async def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
        """Yield the recorded events, or ask for them and record them."""
        key = self._key("stream", spec)
        known = self._take(key)
        if known is not None:
            for event in known.get("events", ()):
                yield load_event(event)
            self._answer(known)
            return
        events: list[dict[str, Any]] = []
        try:
            async with closing(self._recordable().stream(spec, context)) as stream:
                async for event in stream:
                    events.append(dump_event(event))
                    yield event
        except ProviderError as error:
            await self._write(key, spec, events=events, error=_dump_error(error))
            raise
        await self._write(key, spec, events=events, answer=True)

    @property
    def embedding_model(self) -> str:
        """Model that the recorded provider asks for embeddings."""
        return getattr(self._inner, "embedding_model", "")

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Embeddings:
        """Return the recorded vectors, or ask for them and record them."""
        key = digest_of(self._redactor.redact(["embed", model, list(texts)]))
        known = self._take(key)
        if known is not None:
            given = load_result(self._answer(known))
            return Embeddings(given.vectors, model=given.model, usage=given.usage)
        answer = Embeddings.of(await self._recordable().embed(texts, model=model))
        given = CompletionResult(vectors=answer, model=answer.model, usage=answer.usage)
        await self._write(key, None, answer=dump_result(given))
        return answer

    async def aclose(self) -> None:
        """Close the recorded provider."""
        if self._inner is not None:
            await self._inner.aclose()

    def _key(self, kind: str, spec: RequestSpec) -> str:
        return digest_of(self._redactor.redact([kind, dump_spec(spec)]))

    def _take(self, key: str) -> dict[str, Any] | None:
        answers = self._answers.get(key)
        if not answers:
            return None
        return answers.popleft() if len(answers) > 1 else answers[0]

    def _answer(self, entry: dict[str, Any]) -> Any:
        if "error" in entry:
            raise _load_error(entry["error"])
        return entry["answer"]

    def _recordable(self) -> Provider:
        if self._inner is None or self._mode == "replay":
            raise ScriptExhausted(f"{self._path} holds no answer to this request")
        return self._inner

    def _read(self) -> None:
        try:
            lines = self._path.read_bytes().splitlines()
            head = orjson.loads(lines[0])
            if head["format"] != FORMAT:
                raise ConfigurationError(
                    f"{self._path} has format {head['format']}; this version reads {FORMAT}"
                )
            self._name, self._model = head["provider"], head["model"]
            for line in lines[1:]:
                entry = exact(orjson.loads(line), line)
                self._answers[entry["key"]].append(entry)
        except (orjson.JSONDecodeError, LookupError, TypeError) as error:
            raise ConfigurationError(f"{self._path} is not a recording") from error

    async def _write(self, key: str, spec: RequestSpec | None, **outcome: Any) -> None:
        entry = {"key": key, "request": None if spec is None else dump_spec(spec), **outcome}
        head = {"format": FORMAT, "provider": self._name, "model": self._model}
        async with self._writing:
            await asyncio.to_thread(_append, self._path, head, self._redactor.redact(entry))


def _discard(path: Path) -> None:
    """Remove a recording, to begin it anew; what is none stays."""
    if not path.exists():
        return
    with path.open("rb") as file:
        first = file.readline(_MAX_HEAD)
    try:
        head = orjson.loads(first) if first else {"format": FORMAT, "provider": ""}
    except orjson.JSONDecodeError:
        head = None
    if not isinstance(head, dict) or not {"format", "provider"} <= head.keys():
        raise ConfigurationError(f"{path} is not a recording, and is not overwritten")
    path.unlink()


def _append(path: Path, head: dict[str, Any], entry: dict[str, Any]) -> None:
    lines = [entry] if path.exists() else [head, entry]
    make_private(path)
    if not path.exists():  # a link that waits for whoever writes through it
        raise ConfigurationError(f"{path} is a link that leads nowhere, and is not written through")
    with path.open("ab") as file:
        for line in lines:
            file.write(dumps(line, default=str) + b"\n")


def _dump_error(error: ProviderError) -> dict[str, Any]:
    fields = {name: getattr(error, name) for name in _ERROR_FIELDS}
    usage = None if error.usage is None else dump_usage(error.usage)
    return {"code": error.code, "message": str(error), "usage": usage, **fields}


def _load_error(data: dict[str, Any]) -> ProviderError:
    kinds: dict[str, Callable[..., ProviderError]] = {
        kind.code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ProviderError)
    }
    usage = data.get("usage")
    return kinds.get(data["code"], ProviderError)(
        data["message"],
        usage=None if usage is None else load_usage(usage),
        **{name: data.get(name) for name in _ERROR_FIELDS},
    )
