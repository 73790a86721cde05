"""Which proxy a URL goes through: the one that was given, or the environment's."""

from __future__ import annotations

from base64 import b64encode
from importlib import import_module
from urllib.parse import SplitResult, unquote, urlsplit

from llm_client.errors import ConfigurationError
from llm_client.providers.transport.port import TransportOptions


def proxy_for(url: SplitResult, options: TransportOptions) -> SplitResult | None:
    """Return the proxy's URL for a target, or `None` to connect directly.

    Raises:
        ConfigurationError: The proxy's URL is not an HTTP URL.
    """
    address = options.proxy or (_from_environment(url) if options.trust_env else None)
    if not address:
        return None
    proxy = urlsplit(address if "://" in address else f"http://{address}")
    if proxy.scheme not in ("http", "https") or not proxy.hostname:
        raise ConfigurationError(
            "only HTTP proxies are supported; their addresses begin with http:// or https://"
        )
    return proxy


def load_modules(*names: str) -> None:
    """Import what a transport needs at its first request. Takes some tens of milliseconds, so call it in a thread."""
    for name in (*names, "urllib.request"):
        import_module(name)


def proxy_authorization(proxy: SplitResult) -> str | None:
    """Return the `Proxy-Authorization` that a proxy's URL asks for."""
    if proxy.username is None:
        return None
    credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return f"Basic {b64encode(credentials.encode()).decode()}"


def _from_environment(url: SplitResult) -> str | None:
    from urllib.request import getproxies, proxy_bypass  # brings the whole of http.client

    proxies = getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    return address
