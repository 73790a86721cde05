"""Prompt packs for tests."""

from pathlib import Path


def prompt_pack(base: Path, name: str = "planner", **files: str) -> Path:
    """Write a pack, `user` into `user.j2` and so on; returns the base folder."""
    pack = base / name
    pack.mkdir(parents=True, exist_ok=True)
    for file, text in ({"system": "You plan.", "user": "Plan {{ goal }}."} | files).items():
        (pack / f"{file}.{'jsonl' if file == 'examples' else 'j2'}").write_text(text, encoding="utf-8")
    return base
