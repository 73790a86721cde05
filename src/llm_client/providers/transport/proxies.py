"""Which proxy a URL goes through: the one that was given, or the environment's; and whether that may read what is sent."""

from __future__ import annotations

from base64 import b64encode
from importlib import import_module
from urllib.parse import SplitResult, unquote, urlsplit

from llm_client.errors import ConfigurationError
from llm_client.network import is_here
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


def is_read_by(proxy: SplitResult | None, url: SplitResult) -> bool:
    """Whether a proxy on another machine reads what is sent to a URL: it tunnels what is encrypted, and nothing else."""
    return proxy is not None and url.scheme == "http" and not is_here(proxy.hostname or "")


def exposed() -> ConfigurationError:
    """Return what says that a secret would be read on the way."""
    return ConfigurationError(
        "a key is not sent unencrypted through the proxy, which is another machine: use https, no proxy, or plain_http=True "
        "if nobody can read along"
    )


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
    if is_here(url.hostname or ""):
        return (
            None  # another machine's "localhost" is not this one, and nobody there is to read what is for it
        )
    from urllib.request import getproxies, proxy_bypass  # brings the whole of http.client

    proxies = getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    return address
