"""What this user has agreed to on this machine: settings files by their content, and agents by what they are made of.

A folder comes from anywhere, and so does a row of a shared database. Neither may say which code runs here or where the key of a vendor
goes; this user's own data folder may, since only commands of this user write to it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from llm_client.json_text import JsonObject, JsonValue
from llm_client.private_files import make_private_folder

MAX_AGENTS: Final = 1_000
"""Agents that are remembered; the ones that were used longest ago make room."""


def data_folder() -> Path:
    """Return where this user's data is kept, in the platform's own place."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        given = os.environ.get("XDG_DATA_HOME")
        # The XDG Base Directory Specification has a relative path ignored; one would lead into the folder one stands in.
        base = Path(given) if given and Path(given).is_absolute() else Path.home() / ".local" / "share"
    return base / "agent-runtime"


class TrustStore:
    """Remembers what was agreed to: one small file each, which its owner alone can read, so that processes never overwrite each other's.

    Args:
        folder: Where; by default in the user's data folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder if folder is not None else data_folder() / "trusted"

    def trusts(self, file: Path, content: bytes) -> bool:
        """Whether a file was agreed to with just this content."""
        kept = self._read("files", _digest(str(place_of(file)).encode()))
        return kept is not None and kept.get("sha256") == _digest(content)

    def trust(self, file: Path, content: bytes) -> None:
        """Agree to a file with this content, whatever else was agreed to for it before."""
        path = str(place_of(file))
        self._write("files", _digest(path.encode()), {"file": path, "sha256": _digest(content)})

    def forget(self, file: Path) -> bool:
        """Take the agreement back; say whether there was one."""
        entry = self._entry("files", _digest(str(place_of(file)).encode()))
        there = entry.exists()
        entry.unlink(missing_ok=True)
        return there

    def remember_agent(self, parts: JsonObject) -> str:
        """Keep what an agent is made of, or an audit of the demo, and return the name by which it is found again."""
        name = agent_name(parts)
        self._write("agents", name, dict(parts))
        kept = sorted((self._folder / "agents").glob("*.json"), key=_age)
        for old in kept[:-MAX_AGENTS]:
            old.unlink(missing_ok=True)
        return name

    def agent(self, name: object) -> dict[str, JsonValue] | None:
        """Return what the agent of this name is made of, or `None` if this user has never run it here."""
        if not (isinstance(name, str) and name.isalnum() and len(name) == 64):
            return None
        parts = self._read("agents", name)
        return parts if parts is not None and agent_name(parts) == name else None

    def _entry(self, kind: str, name: str) -> Path:
        return self._folder / kind / f"{name}.json"

    def _read(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            kept = json.loads(self._entry(kind, name).read_bytes())
        except (OSError, ValueError):
            return None
        return kept if isinstance(kept, dict) else None

    def _write(self, kind: str, name: str, content: Mapping[str, Any]) -> None:
        entry = self._entry(kind, name)
        make_private_folder(entry.parent)
        written = entry.with_name(f"{name}.{os.getpid()}.new")
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(content, sort_keys=True).encode())
        written.replace(entry)


def place_of(file: Path) -> Path:
    """Return the one place of a settings file: its name in the folder it stands in, wherever the folder's own name leads.

    A link is not followed: what a file names is looked for in the folder with the link, which is another one's.
    """
    return file.absolute().parent.resolve() / file.name


def agent_name(parts: JsonObject) -> str:
    """Return the name of an agent that is made of these parts: a hash of them."""
    return _digest(json.dumps(parts, sort_keys=True).encode())


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0
