"""Links between the project's own pages lead somewhere."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"!?\[[^\]\n]*\]\((?P<target>[^()\s]+(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\)")
REFERENCE = re.compile(r"^\[[^\]\n]+\]:\s*(?P<target>\S+)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(?P<title>.+?)\s*#*$", re.MULTILINE)
EXTERNAL = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def targets(page: Path) -> list[str]:
    text = INLINE_CODE.sub("", prose(page))
    return [match["target"] for pattern in (LINK, REFERENCE) for match in pattern.finditer(text)]


def anchors(page: Path) -> set[str]:
    """Return the ids that headings get, the way GitHub and the documentation site make them."""
    found: set[str] = set()
    for match in HEADING.finditer(prose(page)):
        slug = re.sub(r"[^\w\- ]", "", match["title"].replace("`", "").lower()).strip().replace(" ", "-")
        number = 0
        while (candidate := slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(candidate)
    return found


def broken(page: Path) -> list[str]:
    dead = []
    for target in targets(page):
        if EXTERNAL.match(target):
            continue
        name, _, anchor = unquote(target).partition("#")
        file = (page.parent / name).resolve() if name else page
        inside = file.is_relative_to(ROOT)
        if (
            not inside
            or not file.exists()
            or (anchor and file.suffix == ".md" and anchor not in anchors(file))
        ):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_is_alive(page: Path) -> None:
    assert broken(page) == []


def test_a_dead_link_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    page = tmp_path / "a.md"
    page.write_text(
        "# One `two`\n[ok](#one-two) [web](https://x) [no](#three) [gone](b.md)\n```\n[x](y)\n```\n"
    )

    assert broken(page) == ["#three", "b.md"]
