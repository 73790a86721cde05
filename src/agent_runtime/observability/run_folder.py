"""The folder of a run: numbered files, each of them whole, and a summary of them. Several processes may write to one.

Who writes holds a lock on the file that has the last number given. A number is given before its file is written, so one that a process
took with it into its death stays free; what such a process wrote and did not add up, the next one adds up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from agent_runtime.observability.summary import Summary
from agent_runtime.observability.yaml_text import yaml_text
from llm_client.private_files import bounded_content, make_private_folder

NUMBERS: Final = ".numbering"
SUMMARY: Final = "summary.yaml"
MAX_SUMMARY_BYTES: Final = 256 * 1024
"""More than a summary has. A folder may have been made by anybody, with anything in it."""
_HEAD_BYTES: Final = 16 * 1024
"""Of a call's file: what is added up stands before its texts."""
LOCK_SECONDS: Final = 5.0
"""How long another process is waited for that holds the lock."""
_AGAIN_SECONDS: Final = 0.01
_CALL: Final = re.compile(r"call_(\d{3,})_.*\.(yaml|json)")
_YAML_FACT: Final = re.compile(r"[a-z_]+: [^ \[{&*|>!].*")
_JSON_FACT: Final = re.compile(r'  "[a-z_]+": [^ \[{].*')
_OPEN: Final = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFile:
    """What is to be written of a call."""

    name: str
    """The agent's, as a part of a file's name."""
    document: Mapping[str, Any]


class RunFolder:
    """Writes a run's calls; for one thread.

    Args:
        path: The folder.
        format: `yaml` or `json`.
        facts: What the summary tells besides the sums.
    """

    def __init__(self, path: Path, format: str, facts: Callable[[], Mapping[str, str]]) -> None:  # noqa: A002 -- as the public name
        self._path = path
        self._format = format
        self._facts = facts
        self._summary: Summary | None = None
        self.lost = 0
        """Calls that could not be written, and that no summary tells of yet."""
        self._stamp: tuple[int, int] | None = None
        """Of the summary that we wrote last: nobody else has written one if it is still there."""

    def write(self, files: Sequence[CallFile]) -> Exception | None:
        """Write calls, and the summary. What cannot be written is counted in `lost`, and the first reason returned."""
        reason: Exception | None = None
        written = 0
        try:
            with self._locked() as numbers:
                last = self._last_number(numbers)
                summary = self._added_up(last)
                os.pwrite(numbers, b"%020d\n" % (last + len(files)), 0)
                self._summary = None  # until it is on disk it says more than anybody can read
                for number, file in enumerate(files, last + 1):
                    name = f"call_{number:03d}_{file.name}.{self._format}"
                    try:
                        self._write(name, self._encoded(file.document))
                    except Exception as error:  # noqa: BLE001 -- of the disk, or of a value that is no JSON
                        reason = reason or error
                        self.lost += 1
                    else:
                        summary.add(number, file.document)
                    written += 1
                self._sum_up(summary, last + len(files))
        except OSError as error:
            reason = reason or error
            self.lost += len(files) - written
        return reason

    def _sum_up(self, summary: Summary, last: int) -> None:
        summary.counts["last_call"] = last
        summary.counts["lost_calls"] += self.lost
        self._write(SUMMARY, yaml_text(summary.document(self._facts())).encode())
        self._summary, self._stamp, self.lost = summary, self._stamp_of_summary(), 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file with the last number, for this process alone."""
        until = time.monotonic() + LOCK_SECONDS
        while True:
            make_private_folder(self._path)
            numbers = os.open(self._path / NUMBERS, os.O_RDWR | _OPEN, 0o600)
            try:
                if self._try_to_lock(numbers):
                    try:
                        yield numbers
                    finally:  # closing it would not do: a process that was forked meanwhile has it open
                        fcntl.flock(numbers, fcntl.LOCK_UN)
                    return
                if time.monotonic() > until:
                    raise OSError(errno.EAGAIN, f"another process holds {self._path / NUMBERS}")
            finally:
                os.close(numbers)
            time.sleep(_AGAIN_SECONDS)

    def _try_to_lock(self, numbers: int) -> bool:
        try:
            fcntl.flock(numbers, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there, held = (self._path / NUMBERS).stat(), os.fstat(numbers)
        except (BlockingIOError, FileNotFoundError):
            return False
        return there.st_ino == held.st_ino  # else somebody has removed the folder meanwhile

    def _last_number(self, numbers: int) -> int:
        text = os.pread(numbers, 64, 0).strip()
        if text.isdigit():
            return int(text)
        return max(self._numbered(), default=0)

    def _numbered(self) -> dict[int, Path]:
        found = {}
        for path in self._path.iterdir():
            if match := _CALL.fullmatch(path.name):
                found[int(match[1])] = path
        return found

    def _added_up(self, last: int) -> Summary:
        """Return the summary, with the files that its writer has not added up."""
        if self._summary is not None and self._stamp == self._stamp_of_summary():
            return Summary(self._summary.document({}))
        summary = Summary(self._read_summary())
        if summary.last_call < last:
            for number, path in sorted(self._numbered().items()):
                if summary.last_call < number:
                    summary.add(number, _facts_of(path))
            for rest in self._path.glob(".*.tmp"):  # of a process that is gone: we hold the lock
                rest.unlink(missing_ok=True)
        return summary

    def _stamp_of_summary(self) -> tuple[int, int] | None:
        try:
            there = (self._path / SUMMARY).stat()
        except FileNotFoundError:
            return None
        return there.st_ino, there.st_mtime_ns

    def _read_summary(self) -> dict[str, Any] | None:
        try:
            content = bounded_content(self._path / SUMMARY, MAX_SUMMARY_BYTES)
            found = _from_yaml(content) if len(content) <= MAX_SUMMARY_BYTES else None
        except Exception:  # noqa: BLE001 -- what cannot be read adds nothing up
            return None
        return found if isinstance(found, dict) else None

    def _encoded(self, document: Mapping[str, Any]) -> bytes:
        if self._format == "yaml":
            return yaml_text(document).encode("utf-8", "replace")
        return orjson.dumps(
            document,
            option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE,
            default=str,
        )

    def _write(self, name: str, content: bytes) -> None:
        """Write a file that is there as a whole or not at all."""
        temporary = self._path / f".{name}.tmp"
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_TRUNC | _OPEN, 0o600)
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(file, rest) :]
            finally:
                os.close(file)
            temporary.replace(self._path / name)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def _facts_of(path: Path) -> dict[str, Any]:
    """Return what a call's file says on lines of its own, before its texts; nothing if it cannot be read."""
    try:
        head = bounded_content(path, _HEAD_BYTES).decode("utf-8", "replace")
        lines = [line.rstrip(",") for line in head.splitlines()[:-1]]
        if path.suffix == ".json":
            found = orjson.loads("{" + ",".join(line for line in lines if _JSON_FACT.fullmatch(line)) + "}")
        else:
            found = _from_yaml("\n".join(line for line in lines if _YAML_FACT.fullmatch(line)).encode())
    except Exception:  # noqa: BLE001 -- as above
        return {}
    return found if isinstance(found, dict) else {}


def _from_yaml(content: bytes) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(content, Loader=loader)  # noqa: S506 -- both are safe ones
