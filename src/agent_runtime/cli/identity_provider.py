"""The identity provider whose tokens `serve` takes, as options and variables name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypedDict, TypeVar, Unpack

import click

from agent_runtime.server.jwt.config import JwtConfig
from agent_runtime.values.api_key import Role

Command = TypeVar("Command", bound=Callable[..., object])

_OPTIONS: Final = (
    ("issuer", "URL", "Take tokens of this identity provider, too: `iss`, letter for letter."),
    ("audience", "NAME", "What the provider calls this service: `aud`."),
    ("jwks_url", "URL", "Where the provider's public keys are."),
    ("scope_claim", "CLAIM", "The claim that names the tenant."),
    ("scope", "SCOPE", "The one scope that all tokens are for, instead."),
    ("role_claim", "CLAIM", "The claim that gives the role (default: roles)."),
)


class Named(TypedDict):
    """What was given of it."""

    jwt_issuer: str | None
    jwt_audience: str | None
    jwt_jwks_url: str | None
    jwt_scope_claim: str | None
    jwt_scope: str | None
    jwt_role_claim: str | None
    jwt_roles: tuple[str, ...]


def jwt_options(command: Command) -> Command:
    """Add the options, each of which is also a variable `AGENT_RUNTIME_JWT_…`."""
    command = click.option(
        "--jwt-role",
        "jwt_roles",
        multiple=True,
        metavar="VALUE=ROLE",
        envvar="AGENT_RUNTIME_JWT_ROLES",
        help="Which role a value of that claim gives. May be repeated; the first one that a token has counts.",
    )(command)
    for name, shown, said in reversed(_OPTIONS):
        command = click.option(
            f"--jwt-{name.replace('_', '-')}",
            metavar=shown,
            envvar=f"AGENT_RUNTIME_JWT_{name.upper()}",
            help=said,
        )(command)
    return command


def identity_provider(
    **named: Unpack[Named],
) -> JwtConfig | None:
    """Return the identity provider that was named, or `None`; an empty variable is as good as none.

    Raises:
        click.UsageError: Something is missing.
        InvalidInput: A value is none that can be meant.
    """
    if not any(named.values()):
        return None
    for name in ("jwt_issuer", "jwt_audience", "jwt_jwks_url", "jwt_roles"):
        if not named[name]:
            option = name.replace("_", "-").removesuffix("s")
            raise click.UsageError(f"tokens need --{option} as well")
    return JwtConfig(
        issuer=str(named["jwt_issuer"]),
        audience=str(named["jwt_audience"]),
        jwks_url=str(named["jwt_jwks_url"]),
        scope_claim=named["jwt_scope_claim"] or None,
        scope_id=named["jwt_scope"] or None,
        role_claim=named["jwt_role_claim"] or "roles",
        roles=dict(map(_role, named["jwt_roles"])),
    )


def _role(text: str) -> tuple[str, Role]:
    value, separator, role = text.rpartition("=")
    if not separator or not value or role not in list(Role):
        raise click.UsageError(f"--jwt-role is VALUE=ROLE, where a role is one of {', '.join(Role)}")
    return value, Role(role)
