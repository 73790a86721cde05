"""Every example in README.md and docs/ works: the blocks of a page run one after the other in one namespace.

A block is fenced as `python`, or `python no-run` for what needs a key or a server: those are compiled only, and the
paragraph before says what they need. A `bash run` block is executed; other languages are text. A block with a `title="name"`
is a file of that name.
"""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```\s*$", re.MULTILINE | re.DOTALL
)
TITLE = re.compile(r' title="([\w.-]+)"')
NEEDS = re.compile(r"\b(needs?|requires?|because)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    language: str
    flags: frozenset[str]
    source: str
    line: int
    before: str
    file: str | None = None

    @property
    def runs(self) -> bool:
        return (self.file is None and self.language == "python") or (
            self.language == "bash" and "run" in self.flags
        )


def blocks(text: str) -> Iterator[Block]:
    end = 0
    for match in FENCE.finditer(text):
        title = TITLE.search(match["info"])
        language, *flags = TITLE.sub("", match["info"]).split() or [""]
        indent = len(match["indent"])
        source = "".join(
            line[indent:] if line.strip() else "\n" for line in match["body"].splitlines(keepends=True)
        )
        paragraphs = [part for part in text[end : match.start()].split("\n\n") if part.strip()]
        line = text.count("\n", 0, match.start("body"))
        yield Block(
            language="python" if language == "py" else language,
            flags=frozenset(flags),
            source=source,
            line=line,
            before=paragraphs[-1] if paragraphs else "",
            file=title[1] if title else None,
        )
        end = match.end()


def run_page(page: Path) -> None:
    """Run the blocks of one page in the current directory."""
    module = types.ModuleType("__docs__")
    sys.modules["__docs__"] = module  # dataclasses and type hints look their module up
    try:
        with asyncio.Runner() as runner:
            for block in blocks(page.read_text(encoding="utf-8")):
                if block.file is not None:
                    Path(block.file).write_text(block.source, encoding="utf-8")
                elif block.language == "python":
                    run_python(block, page, module, runner)
                elif block.runs:
                    run_bash(block)
    finally:
        del sys.modules["__docs__"]


def run_python(block: Block, page: Path, module: types.ModuleType, runner: asyncio.Runner) -> None:
    # A program of its own, as a reader starts it; and a traceback names the page's own lines.
    source = "\n" * block.line + block.source.replace('if __name__ == "__main__":', "if True:")
    code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if "no-run" in block.flags:
        assert NEEDS.search(block.before), f"{page}:{block.line}: say before the block what it needs to run"
    elif code.co_flags & inspect.CO_COROUTINE:
        runner.run(eval(code, module.__dict__))
    else:
        exec(code, module.__dict__)


def run_bash(block: Block) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.source],
        env=environment,
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=50,
    )


def pages_that_run() -> list[Path]:
    return [page for page in PAGES if any(block.runs for block in blocks(page.read_text(encoding="utf-8")))]


@pytest.mark.parametrize("page", pages_that_run(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    run_page(page)


def write_page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def test_blocks_share_a_namespace_and_may_await(tmp_path: Path) -> None:
    page = write_page(
        tmp_path,
        "```python\nimport asyncio\nasync def two():\n    await asyncio.sleep(0)\n    return 2\n```\n"
        "- item\n  ```python\n  assert await two() == 2\n  ```\n",
    )

    run_page(page)


def test_a_failing_block_is_reported_with_its_line(tmp_path: Path) -> None:
    page = write_page(tmp_path, "# Title\n\n```python\nok = 1\nassert ok == 2\n```\n")

    with pytest.raises(AssertionError) as failure:
        run_page(page)

    assert failure.traceback[-1].lineno + 1 == 5


def test_a_block_that_does_not_run_is_compiled_and_explained(tmp_path: Path) -> None:
    run_page(write_page(tmp_path, "This needs a key.\n\n```python no-run\nundefined()\n```\n"))
    with pytest.raises(SyntaxError):
        run_page(write_page(tmp_path, "This needs a key.\n\n```python no-run\ndef\n```\n"))
    with pytest.raises(AssertionError, match="say before the block"):
        run_page(write_page(tmp_path, "Look:\n\n```python no-run\nundefined()\n```\n"))


def test_a_block_with_a_title_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    run_page(
        write_page(
            tmp_path,
            '```yaml title="a.yaml"\na: 1\n```\n```python\nfrom pathlib import Path\nassert Path("a.yaml").read_text() == "a: 1\\n"\n```\n',
        )
    )

    assert (tmp_path / "a.yaml").is_file()


def test_only_marked_shell_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    run_page(write_page(tmp_path, "```bash\nexit 3\n```\n```bash run\necho hello > out\n```\n"))

    assert (tmp_path / "out").read_text() == "hello\n"
    with pytest.raises(subprocess.CalledProcessError):
        run_page(write_page(tmp_path, "```bash run\nexit 3\n```\n"))
