"""Which address a key may go to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from llm_client.network import is_here

_PORTS = {"http": 80, "https": 443}


def is_own(address: str, own: str | None, url_variables: Sequence[str]) -> bool:
    """Whether an address is the vendor's own, or the one that an environment variable names as such.

    The keys of a vendor's environment variables go there and nowhere else: an address from a command line, a file or a
    stored job must not be enough to have them sent to somebody.
    """
    given = urlsplit(address)
    if own is not None and _is_same(given, urlsplit(own), with_subdomains=True):
        return True
    named = (os.environ.get(variable) for variable in url_variables)
    return any(_is_same(given, urlsplit(url)) for url in named if url)


def _is_same(given: SplitResult, own: SplitResult, *, with_subdomains: bool = False) -> bool:
    host, own_host = given.hostname or "", own.hostname or ""
    if with_subdomains and is_here(own_host) and is_here(host):
        return True  # a server of one's own on this machine, whatever its port
    is_same_host = host == own_host or (with_subdomains and host.endswith(f".{own_host}"))
    return is_same_host and given.scheme == own.scheme and _port(given) == _port(own)


def _port(url: SplitResult) -> int | None:
    return url.port or _PORTS.get(url.scheme)
