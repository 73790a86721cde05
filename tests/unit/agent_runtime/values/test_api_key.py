"""API keys as values: what a role allows, and until when a key holds."""

from datetime import UTC, datetime, timedelta

import pytest

from agent_runtime import ApiKey, Permission, Role

NOW = datetime(2026, 3, 14, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def key(**values: datetime | None) -> ApiKey:
    return ApiKey(key_id="k", name="ci", role=Role.VIEWER, scope_id=None, created_at=NOW, **values)  # type: ignore[arg-type]  # times alone


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.VIEWER, {Permission.READ}),
        (Role.OPERATOR, {Permission.READ, Permission.OPERATE}),
        (Role.APPROVER, {Permission.READ, Permission.APPROVE}),
        (Role.ADMIN, set(Permission)),
    ],
)
def test_a_role_allows_what_it_is_for_and_nothing_else(role: Role, allowed: set[Permission]) -> None:
    assert {permission for permission in Permission if role.allows(permission)} == allowed


def test_what_is_no_permission_is_allowed_to_nobody() -> None:
    assert not any(role.allows("anything") for role in Role)  # type: ignore[arg-type]  # that is what is tested


def test_a_key_holds_until_it_expires_and_never_once_it_is_revoked() -> None:
    assert key().holds_at(NOW + timedelta(days=36500))
    expires = key(expires_at=NOW)
    assert [expires.holds_at(at) for at in (NOW - SECOND, NOW, NOW + SECOND)] == [True, False, False]
    assert not key(revoked_at=NOW).holds_at(NOW - SECOND)
