"""Loggers whose records hold no secret: messages, arguments, tracebacks and extras go through one filter where they are made.

A filter of a handler would be somebody else's to add, and one of a parent logger does not see its children's records; so every
logger of this project is made here.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from llm_client.public_text import public_text, without_keys
from llm_client.redaction import redact

MAX_MESSAGE: Final = 8000
MAX_TRACEBACK: Final = 16000
"""Characters."""

_OF_EVERY_RECORD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _PublicRecords(logging.Filter):
    """Makes a record public: its message is put together and cleaned, and a traceback becomes text."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = _message_of(record)
        told = public_text(self._without_keys(said), MAX_MESSAGE)
        # What the message leaves out of its arguments, some sinks read all the same.
        if told != said or redact(record.args) is not record.args:
            record.msg, record.args = told, None
        if record.exc_info:
            record.exc_text = public_text(self._without_keys(_traceback_of(record)), MAX_TRACEBACK)
            record.exc_info = None
        if record.stack_info:
            record.stack_info = public_text(record.stack_info, MAX_TRACEBACK)
        for name in vars(record).keys() - _OF_EVERY_RECORD:
            setattr(record, name, _extra(name, getattr(record, name)))
        return True

    def _without_keys(self, text: str) -> str:
        return text


@dataclass(frozen=True, slots=True)
class _Dropped:
    """Drops records by what they say."""

    is_dropped: Callable[[str], bool]

    def filter(self, record: logging.LogRecord) -> bool:
        return not self.is_dropped(_message_of(record))


class _ForeignRecords(_PublicRecords):
    """Makes records of a library public that logs what it has read: also of keys that have no known form, and were given to somebody who repeats them."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._keys: WeakKeyDictionary[object, tuple[str, ...]] = WeakKeyDictionary()

    def know(self, owner: object, keys: Sequence[str]) -> None:
        """Take keys out as long as somebody lives whose they are."""
        with self._lock:
            self._keys[owner] = tuple(keys)

    def _without_keys(self, text: str) -> str:
        with self._lock:
            keys = sorted({key for given in self._keys.values() for key in given}, key=len, reverse=True)
        return without_keys(text, keys)


def _extra(name: str, value: Any) -> Any:
    """Return what somebody has put into a record under a name, as everybody may read it."""
    if isinstance(value, str) and len(value) > MAX_MESSAGE:
        value = public_text(value, MAX_MESSAGE)
    return redact({name: value}).popitem()[1]


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 -- an argument that cannot be read is no reason to fail
        record.args = None
        return str(record.msg)


def _traceback_of(record: logging.LogRecord) -> str:
    kind, error, trace = record.exc_info or (None, None, None)
    try:
        return "".join(traceback.format_exception(kind, error, trace)).rstrip("\n")
    except Exception:  # noqa: BLE001 -- nor is one that cannot be printed
        return f"{kind}, whose traceback cannot be printed"


_FILTER: Final = _PublicRecords()
_FOREIGN: Final = _ForeignRecords()


def logger_of(name: str) -> logging.Logger:
    """Return the logger of a module."""
    logger = logging.getLogger(name)
    if _FILTER not in logger.filters:
        logger.addFilter(_FILTER)
    return logger


def drop_foreign(names: Sequence[str], is_dropped: Callable[[str], bool]) -> None:
    """Have loggers of libraries drop what they say again and again, and somebody else tells once. Idempotent.

    Args:
        names: Of loggers.
        is_dropped: Whether a message is to go.
    """
    dropping = _Dropped(is_dropped)
    for name in names:
        logger = logging.getLogger(name)
        if dropping not in logger.filters:
            logger.addFilter(dropping)


def clean_foreign(names: Sequence[str], owner: object, keys: Sequence[str]) -> None:
    """Have records of libraries cleaned as our own are: what they log of a server's words goes past our loggers, warnings even without any handler.

    Args:
        names: Of loggers, which hold for those below them as far as they are there by now.
        owner: Whose keys these are.
        keys: What the server may repeat.
    """
    _FOREIGN.know(owner, keys)
    for name in list(logging.root.manager.loggerDict):
        if any(name == wanted or name.startswith(f"{wanted}.") for wanted in names):
            logger = logging.getLogger(name)
            if _FOREIGN not in logger.filters:
                logger.addFilter(_FOREIGN)
