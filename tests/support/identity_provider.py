"""An identity provider on loopback: a real server of keys, and tokens signed with them."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from agent_runtime import Role
from agent_runtime.ports.clock import Clock
from agent_runtime.server import JwtConfig
from support.loopback import LoopbackServer, Received, Reply, json_reply

ISSUER = "https://login.example.com/"
AUDIENCE = "https://agents.example.com"
SUBJECT = "auth0|5f7c8ec7c33c6c004bbafe82"
PERSON = f"{ISSUER}#{SUBJECT}"
ROLES = {"agents:" + role: role for role in (Role.ADMIN, Role.APPROVER, Role.OPERATOR, Role.VIEWER)}


def private_key(name: str, kind: str = "RS256") -> Any:
    """Return the same key for a name in all tests of a process: making one takes a while."""
    return _made(name, "RSA" if kind.startswith(("RS", "PS")) else kind)


@cache
def _made(name: str, kind: str) -> Any:
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=1024 if name == "short" else 2048)
    curves = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
    return (
        ed25519.Ed25519PrivateKey.generate() if kind == "EdDSA" else ec.generate_private_key(curves[kind]())
    )


def public_jwk(name: str, kind: str = "RS256", **more: Any) -> dict[str, Any]:
    """Return what a provider says of a key."""
    told = get_default_algorithms()[kind].to_jwk(private_key(name, kind).public_key(), as_dict=True)
    told.pop("key_ops", None)
    return {**told, "kid": name, **more}


def signed(payload: Any, header: Mapping[str, Any], key: Any) -> str:
    """Return a token with whatever header, signed or not, as somebody makes one who keeps to no rules."""
    algorithm = str(header["alg"])
    parts = [
        json.dumps(header).encode(),
        payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
    ]
    text = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = b""
    if algorithm != "none":
        maker = get_default_algorithms()[algorithm]
        signature = maker.sign(text, key)
    return (text + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


class IdentityProvider:
    """Publishes keys, and signs tokens with them.

    Args:
        clock: By which the tokens expire; the machine's by default.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self.keys: list[dict[str, Any]] = [public_jwk("first")]
        self.answer: Reply | None = None
        """Instead of its keys."""
        self._server = LoopbackServer(self._reply)

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._server.__aexit__(*exc)

    def _reply(self, received: Received) -> Reply:
        known = received.target == "/jwks.json"
        return self.answer or (json_reply({"keys": self.keys}) if known else json_reply({}, status=404))

    @property
    def fetched(self) -> list[str]:
        """Which of its pages were asked for."""
        return [received.target for received in self._server.requests]

    @property
    def url(self) -> str:
        return self._server.url

    def config(self, **more: Any) -> JwtConfig:
        """Return what a service is told of it."""
        given = {"scope_claim": "org_id"} if "scope_id" not in more else {}
        return JwtConfig(
            **{
                "issuer": ISSUER,
                "audience": AUDIENCE,
                "jwks_url": f"{self.url}/jwks.json",
                "roles": ROLES,
                **given,
                **more,
            }
        )

    def now(self) -> int:
        return int(time.time() if self._clock is None else self._clock.now().timestamp())

    def claims(self, **more: Any) -> dict[str, Any]:
        """Return what a token says; `None` leaves a claim out."""
        now = self.now()
        said = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": SUBJECT,
            "iat": now,
            "exp": now + 600,
            "org_id": "acme",
            "roles": ["agents:admin"],
            **more,
        }
        return {name: value for name, value in said.items() if value is not None}

    def token(
        self,
        *,
        key: str = "first",
        kind: str = "RS256",
        header: Mapping[str, Any] | None = None,
        role: Role | None = None,
        **claims: Any,
    ) -> str:
        """Return a token; `None` leaves a claim, or a part of the header, out."""
        if role is not None:
            claims["roles"] = [f"agents:{role}"]
        head = {"alg": kind, "typ": "JWT", "kid": key, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        return signed(self.claims(**claims), head, private_key(key, kind))


__all__ = [
    "AUDIENCE",
    "ISSUER",
    "PERSON",
    "ROLES",
    "SUBJECT",
    "IdentityProvider",
    "private_key",
    "public_jwk",
    "signed",
]
