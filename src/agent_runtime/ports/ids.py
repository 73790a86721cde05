"""Fresh ids and secrets, the one place where the core draws on chance."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import time

from llm_client.chance import random_name

_counter = itertools.count()
_process = ""


def new_id(prefix: str) -> str:
    """Return an id such as `job-18a2…`: 64 bits of time in nanoseconds, then 48 random bits.

    Ids of about the same time stand side by side in an index, and within a process their order is that of creation.
    An id is a name, not a secret.
    """
    return f"{prefix}-{time.time_ns():016x}{random_name(6)}"


def new_token() -> str:
    """Return a 256-bit secret, safe in URLs."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Return what is stored of such a secret, from which nobody finds it: it is too long to be guessed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_key_id() -> str:
    """Return the id of an API key, 17 hexadecimal digits: 44 bits of time in milliseconds, then 24 random bits."""
    return f"{time.time_ns() // 1_000_000:011x}{random_name(3)}"


def new_seed() -> str:
    """Return 128 random bits that a job's own chance is drawn from."""
    return random_name(16)


def new_commit_id() -> str:
    """Return an id that grows with time within a process, so that indexes on it grow at their end."""
    global _process  # noqa: PLW0603 -- one random part per process, drawn again after a fork
    if not _process.startswith(f"{os.getpid():x}-"):
        _process = f"{os.getpid():x}-{random_name(6)}"
    return f"{time.time_ns():x}-{_process}-{next(_counter):x}"
