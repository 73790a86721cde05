"""Whatever somebody calls an agent or a run, its file is one, and where it belongs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.observability.file_names import safe_name
from support.redaction_corpus import SECRETS

ODD = [
    "", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "a\x00b", "CON", "nul", "com1.txt", "LPT9", "x" * 300, "планировщик",
    "計画", "a b", "-rf", ".hidden", "end.", "a:b", "e\u0301", "😀", "a\nb", "$(x)", "~", "*", "\ud83d",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_an_odd_name_becomes_a_safe_one(name: str, tmp_path: Path) -> None:
    safe = safe_name(name, "agent")

    file = tmp_path / safe
    file.write_text("x")
    assert list(tmp_path.iterdir()) == [file]
    assert safe.isascii()
    assert len(safe) <= 60
    assert not safe.startswith((".", "-"))
    assert not safe.endswith(".")


@pytest.mark.parametrize("name", ["planner", "run_20260128_123456", "a.b-c_D9", "v1.2"])
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert safe_name(name, "agent") == name


def test_names_that_had_to_be_changed_stay_apart() -> None:
    names = {safe_name(name, "agent") for name in [*ODD, "a_b", "a-b"]}
    assert len(names) == len({*ODD, "a_b", "a-b"})


@given(st.text(max_size=400))
def test_no_name_leads_anywhere_else(name: str) -> None:
    safe = safe_name(name, "run")
    assert Path("folder", safe).resolve().parent == Path("folder").resolve()
    assert safe == safe_name(name, "run")


def test_no_name_shows_a_secret() -> None:
    for secret in SECRETS.values():
        assert secret[:200] not in safe_name(secret, "agent")
