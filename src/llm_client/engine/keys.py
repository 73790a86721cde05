"""Canonical hashes of requests: equal exactly when the answer may be shared."""

from __future__ import annotations

import hashlib

import orjson

from llm_client.codec import dump_spec
from llm_client.json_text import dumps
from llm_client.providers.base import Provider
from llm_client.spec import RequestSpec

VERSION = 1
"""Part of every hash; raised when the form of what is hashed changes."""


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value as canonical JSON, in hexadecimal."""
    text = dumps(value, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(text).hexdigest()


def request_hash(spec: RequestSpec, provider: Provider) -> str:
    """Return a hash of everything that can change the answer: the request, the model, and where it lives."""
    where = [provider.name, spec.model or provider.model, str(getattr(provider, "base_url", None) or "")]
    return digest_of([VERSION, where, dump_spec(spec)])


def scoped_key(tenant_id: str | None, key: str, scope: str | None = None) -> str:
    """Return a caller's key so that no two tenants' keys can be equal, nor those of two scopes of a host.

    A caller inside a scope who names no tenant is the scope's own.
    """
    who = tenant_id if scope is None else scope if tenant_id in (None, scope) else [scope, tenant_id]
    return digest_of([VERSION, who, key])
