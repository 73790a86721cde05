"""What a failed attempt to ask a model is billed with, for everybody who keeps a bound."""

from __future__ import annotations

from typing import Final

from llm_client.errors import AuthenticationError, LLMClientError, ProviderError
from llm_client.usage import Usage

_LOST_BEHIND: Final = frozenset({408, 502, 504, 520, 522, 524})
"""What a gateway says that has lost patience, or the connection: the model behind it may go on writing, and is paid for.

408, 502 and 504 as in RFC 9110; 520, 522 and 524 as Cloudflare documents them.
"""


def billed(error: BaseException) -> Usage | None:
    """Return what a failed attempt is billed with; `None` when nobody knows, and it may be all that it can have used.

    What never left, and what the vendor refused, cost nothing. An answer that was lost – or that broke our own code, or that
    went on after the vendor had last counted it – may have cost the most it can have been.
    """
    if not isinstance(error, ProviderError):
        return Usage() if isinstance(error, LLMClientError) else None
    if error.usage is not None:
        return error.usage if error.usage.is_plausible and error.usage_is_final else None
    if not error.usage_is_final:  # a part of an answer has come, whatever status has followed it
        return None
    refused = error.status is not None and error.status >= 400 and error.status not in _LOST_BEHIND
    # Nobody listens there, or there is no key to send.
    never_sent = isinstance(error, AuthenticationError) or not error.has_left
    return Usage() if refused or never_sent else None
