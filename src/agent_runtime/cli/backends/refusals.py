"""What a service does not do, in a sentence that says what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runtime.errors import ServiceError, ServiceUnreachable

if TYPE_CHECKING:
    from agent_runtime.cli.backends.address import Server


def explained(error: ServiceError, server: Server) -> ServiceError:
    """Return the error with a hint; one that says enough itself stays as it is."""
    if isinstance(error, ServiceUnreachable):
        return ServiceUnreachable(
            f"{server.url}: {error} (is the service there, and does the address begin right?)"
        )
    hint = _hint(error, server)
    if hint is None:
        return error
    return ServiceError(
        f"{server.url}: {hint}", status=error.status, code=error.code, instance=error.instance
    )


def _hint(error: ServiceError, server: Server) -> str | None:
    match error.status, error.code:
        case 401, _ if server.key is None:
            return "the service asks for a key: set AGENT_RUNTIME_API_KEY, or name the file that holds it with --key-file"
        case 401, _:
            return f"the service does not know this key, or it holds no more ({server.key_from}); `keys create` makes another one"
        case 403, "FORBIDDEN":
            return f"{error}; that takes another key than this one ({server.key_from})"
        case 404 | 405, "NOT_FOUND" | "METHOD_NOT_ALLOWED":
            return f"this is no service of agent-runtime, or one of another release ({error})"
        case status, _ if (
            error.code == ServiceError.code and status is not None
        ):  # no problem of ours: a proxy's, say
            return f"{error}"
        case _:
            return None
