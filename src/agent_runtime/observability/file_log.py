"""Model calls as files: one for each attempt, and a summary of them all, for whoever wants to read what was asked and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Final, Literal

from agent_runtime.errors import ConfigurationError
from agent_runtime.observability.document import LogLevel, document_of
from agent_runtime.observability.file_names import safe_name
from agent_runtime.observability.run_folder import CallFile, RunFolder
from agent_runtime.observability.writer import WRITER, awaited
from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.values.call_record import CallRecord
from llm_client.background import TOLD_SECONDS
from llm_client.logs import logger_of
from llm_client.public_text import public_text, text_of

logger = logger_of(__name__)

LogFormat = Literal["yaml", "json"]
ROOM_SECONDS: Final = 5.0
"""How long a run waits at most for a writer that does not keep up, before its next call."""
_LONGEST_NAME: Final = 200
_NEVER: Final = float("-inf")


class FileCallLogger:
    """Writes each call to a file of its own: `{output_dir}/{run_id}/llm_calls/call_001_planner.yaml`, and `summary.yaml` beside them.

    A thread of the process writes; `record` only hands over. When more waits than `writer.MAX_PENDING_BYTES`, further records lose
    their texts, and the summary says how many; a full disk or a folder that cannot be written is a warning and a count in it. Files
    are there as a whole or not at all, and only their owner may read them. A run id that was used before goes on with its numbers.

    Args:
        output_dir: Where runs have their folders.
        run_id: The run's name.
        log_level: How much of a call is written.
        format: Of the files.
        sanitize: Whether secrets are taken out.
        clock: Tells the time of the summary.
    """

    def __init__(
        self,
        output_dir: Path,
        run_id: str,
        *,
        log_level: LogLevel = "standard",
        format: LogFormat = "yaml",  # noqa: A002 -- the documented name
        sanitize: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.run_id = run_id
        """The run's name, as it was given."""
        self.path = output_dir / safe_name(run_id, "run") / "llm_calls"
        """The folder of the files."""
        self.log_level = log_level
        self.format = format
        self.sanitize = sanitize
        self.wants_payloads = log_level == "full"
        self._clock = clock or SystemClock()
        self._shown_run_id = public_text(run_id, _LONGEST_NAME)
        self._folder = RunFolder(self.path, format, self._facts)
        self._told_of_failure = _NEVER
        self._told_of_crowd = _NEVER
        self._refused = 0

    def record(self, record: CallRecord) -> None:
        """Take a record; from any thread, at any time."""
        if self.log_level == "minimal" and record.has_content:
            record = record.without_content()
        weight = record.weight()
        if not WRITER.has_room(weight) and record.has_content:
            record = record.without_content()
            weight = record.weight()
            self._tell_of_crowd()
        if not WRITER.put(self, record, weight):
            self._refused += 1
            self._tell_of_crowd()

    async def room(self) -> None:
        """Return when there is room for further records, or after `ROOM_SECONDS`."""
        until = monotonic() + ROOM_SECONDS
        while not WRITER.is_calm and (left := until - monotonic()) > 0:  # others have waited as well
            await awaited(WRITER.reached(), left)

    def flush(self) -> None:
        """Return when everything that was handed over before is written, or has failed to be.

        Raises:
            ConfigurationError: The calling thread runs an event loop; use `await flush_async()` there.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            WRITER.reached().result()
            return
        raise ConfigurationError(
            "a blocking call inside a running event loop would stop it; write `await logger.flush_async()`"
        )

    async def flush_async(self) -> None:
        """Return when everything that was handed over before is written, or has failed to be."""
        await awaited(WRITER.reached())

    def write(self, records: Sequence[CallRecord]) -> None:
        """Write records to their files; called by the writer's thread."""
        reason: Exception | None = None
        files = []
        for record in records:
            try:
                files.append(self._file(record))
            except Exception as error:  # noqa: BLE001 -- a record that cannot be read costs no other one
                reason = error
                self._folder.lost += 1
        refused, self._refused = self._refused, 0
        self._folder.lost += refused
        reason = self._folder.write(files) or reason
        if reason is not None:
            self._tell_of_failure(reason)

    def _file(self, record: CallRecord) -> CallFile:
        document = document_of(record, self._shown_run_id, self.log_level, sanitize=self.sanitize)
        if not record.has_content and self.log_level != "minimal":
            document["content_dropped"] = True
        return CallFile(name=safe_name(record.agent_name, "agent"), document=document)

    def _facts(self) -> Mapping[str, str]:
        return {
            "run_id": self._shown_run_id,
            "timestamp": self._clock.now().isoformat(timespec="milliseconds"),
            "log_level": self.log_level,
            "format": self.format,
        }

    def _tell_of_failure(self, reason: Exception) -> None:
        now = monotonic()
        if now - self._told_of_failure >= TOLD_SECONDS:
            self._told_of_failure = now
            logger.warning(
                "model calls cannot be written to %s (%s); %d were lost by now",
                self.path,
                text_of(reason),
                self._folder.lost,
            )

    def _tell_of_crowd(self) -> None:
        now = monotonic()
        if now - self._told_of_crowd >= TOLD_SECONDS:
            self._told_of_crowd = now
            logger.warning(
                "records of model calls come faster than they can be written to %s: their texts are left out",
                self.path,
            )
