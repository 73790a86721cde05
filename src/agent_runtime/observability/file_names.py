"""Names of files and folders made of names that anybody has chosen."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from llm_client.redaction import redact

_SAFE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}", re.ASCII)
_OTHERS: Final = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
"""Names that are devices on Windows, whatever follows a point."""
_KEPT: Final = 40
_READ: Final = 4096


def safe_name(name: str, otherwise: str) -> str:
    """Return a name that is one file's, everywhere: no path, no device, nothing hidden, no secret, and not long.

    A name that had to be changed gets the beginning of its hash, so that two of them stay two.

    Args:
        name: What somebody has called something.
        otherwise: What to call it if nothing of the name can be kept.
    """
    clean = redact(name)
    if _SAFE.fullmatch(clean) and not clean.endswith(".") and not _DEVICES.fullmatch(clean):
        return clean
    kept = _OTHERS.sub("_", clean[:_READ]).strip("_-")[:_KEPT].strip("_-")
    digest = sha256(clean.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept or otherwise}-{digest}"
