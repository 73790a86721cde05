"""How commands name the database to people."""

import pytest

from agent_runtime.cli.database import flag_for


@pytest.mark.parametrize(
    ("db", "flag"),
    [
        (None, ""),
        ("postgresql://app:correct-horse@db:5432/app", " --db postgresql://app@db:5432/app"),
        ("postgresql://app:a@b/c?d@db/app", " --db postgresql://app@db/app"),
        (
            "postgresql://app@db/app?password=correct-horse&sslmode=require",
            " --db 'postgresql://app@db/app?sslmode=require'",
        ),
        ("sqlite:////tmp/runs.db", " --db sqlite:////tmp/runs.db"),
    ],
)
def test_a_hint_for_another_command_never_repeats_a_password(db: str | None, flag: str) -> None:
    assert flag_for(db) == flag
